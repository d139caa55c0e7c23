"""From the configuration's decimals to the kernel's limits."""

from fractions import Fraction

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attunement.config_schema import Config, ConfigError, SafetyConfig
from attunement.policy import TOLERANCE_AUTO_MAX, kernel_limits, loop_gain_bound
from kernel import Limits
from kernel.limits import LOOP_GAIN_FOLD, TOLERANCE_LAST, hold, limits_checks
from kernel.quantity import NANO, Nano


def enclosed_exp_minus(x):
    """Two rationals around exp(-x), 0 < x <= 1, by the alternating series."""
    term, total = Fraction(1), Fraction(1)
    for n in range(1, 26):
        term *= -x / n
        total += term
    return total, total - term


def safety(**changes):
    return Config(safety=SafetyConfig(**changes))


def test_the_defaults_are_these_integers():
    assert kernel_limits(Config()) == Limits(
        alpha_min=800_000_000,
        alpha_max=1_200_000_000,
        alpha_safe=800_000_000,
        step_max=20_000_000,
        entropy_max=2_000_000,
        entropy_severe=20_000_000,
        h_internal_min=950_000_000,
        h_internal_severe=800_000_000,
        drive_max=10_000_000_000,
        loop_gain_max=365_912_693,
        tolerance_max=50_000_000,
        reverts_max=8,
        missed_max=5,
    )


@given(st.integers(1, NANO))
def test_the_loop_gain_bound_is_the_floor_of_kappa_times_exp_minus_kappa(kappa):
    low, high = enclosed_exp_minus(Fraction(kappa, NANO))
    bound = loop_gain_bound(Nano(kappa))
    assert low < high
    assert bound <= kappa * low
    assert kappa * high < bound + 1


def test_at_kappa_one_the_bound_is_the_fold():
    assert loop_gain_bound(Nano(NANO)) == LOOP_GAIN_FOLD


@given(st.integers(1, NANO - 1))
def test_the_bound_rises_with_kappa_and_never_passes_the_fold(kappa):
    assert loop_gain_bound(Nano(kappa)) <= loop_gain_bound(Nano(kappa + 1)) <= LOOP_GAIN_FOLD


def test_the_tolerance_that_a_commit_may_be_granted():
    assert kernel_limits(safety(tolerance="auto")).tolerance_max == TOLERANCE_AUTO_MAX
    assert kernel_limits(safety(tolerance=0.01)).tolerance_max == 10_000_000
    assert kernel_limits(safety(tolerance=0.0)).tolerance_max == 0
    assert kernel_limits(safety(tolerance=0.01, revert_on_failure=False)).tolerance_max == TOLERANCE_LAST


@given(
    low=st.floats(0.1, 0.99),
    high=st.floats(1.01, 3.0),
    delta=st.floats(1e-6, 0.02),
    entropy=st.floats(0.0, 0.09),
    h=st.floats(0.0, 1.0),
    kappa=st.floats(1e-6, 1.0),
)
def test_a_configuration_of_ordinary_size_is_always_a_well_formed_policy(low, high, delta, entropy, h, kappa):
    limits = kernel_limits(
        Config(
            alpha_min=low,
            alpha_max=high,
            delta_alpha_max=delta,
            safety=SafetyConfig(entropy_max=entropy, h_internal_min=h, kappa=kappa),
        )
    )
    assert hold(limits_checks(limits))
    assert limits.alpha_safe == limits.alpha_min


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (Config(delta_alpha_max=1e-10), "step_max is 0"),
        (safety(kappa=1e-12), "loop_gain_max is 0"),
        (safety(kappa=1e-11, k_max=1e-10), "drive_max is 0"),
        (
            Config(alpha_min=1.0, alpha_max=1.0000000001, delta_alpha_max=1e-10, alpha_initial=1.0),
            "alpha_min is 1, must lie in",
        ),
    ],
)
def test_what_vanishes_in_nano_units_is_no_policy(config, name):
    with pytest.raises(ConfigError, match=f"attunement gives a policy whose {name}"):
        kernel_limits(config)


def test_every_broken_figure_is_named():
    config = attrs.evolve(safety(kappa=1e-12), delta_alpha_max=1e-10)
    with pytest.raises(ConfigError) as caught:
        kernel_limits(config)
    assert len(caught.value.problems) == 2
