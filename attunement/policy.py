"""From the configuration's decimals to the kernel's limits."""

from decimal import ROUND_FLOOR, Context, Decimal

from attunement.config_schema import ROOT, Config, ConfigError
from kernel import Limits, Outcome
from kernel.limits import TOLERANCE_LAST, limits_checks
from kernel.quantity import NANO, Nano, round_nearest
from kernel.safety_kernel import describe
from kernel.state import Verdict

TOLERANCE_AUTO_MAX = Nano(NANO // 20)
"""Largest fall of the objective that a commit may be granted when the tolerance is taken from the noise."""

_EXACT = Context(prec=60, rounding=ROUND_FLOOR)


def kernel_limits(config: Config) -> Limits:
    """Return the policy that a configuration describes, each decimal as the nearest nano integer.

    Raises:
        ConfigError: a figure is so small, or two so near, that the policy is not well formed in nano units.
    """
    limits = _rounded(config)
    broken = describe(Verdict(Outcome.REFUSED, limits_checks(limits)))
    if broken:
        raise ConfigError(*(f"{ROOT} gives a policy whose {line}, in steps of 1e-9" for line in broken))
    return limits


def _rounded(config: Config) -> Limits:
    safety = config.safety
    return Limits(
        alpha_min=round_nearest("alpha_min", config.alpha_min),
        alpha_max=round_nearest("alpha_max", config.alpha_max),
        alpha_safe=round_nearest("alpha_safe", config.alpha_safe),
        step_max=round_nearest("delta_alpha_max", config.delta_alpha_max),
        entropy_max=round_nearest("entropy_max", safety.entropy_max),
        entropy_severe=round_nearest("entropy_severe", config.entropy_severe),
        h_internal_min=round_nearest("h_internal_min", safety.h_internal_min),
        h_internal_severe=round_nearest("h_internal_severe", config.h_internal_severe),
        drive_max=round_nearest("k_max", safety.k_max),
        loop_gain_max=loop_gain_bound(round_nearest("kappa", safety.kappa)),
        tolerance_max=_tolerance_max(config),
        reverts_max=safety.reverts_max,
        missed_max=safety.missed_max,
    )


def loop_gain_bound(kappa: Nano) -> Nano:
    """Return c_max: the largest nano integer not above κ·exp(-κ), for κ in (0, 1] given in nano.

    60 digits are carried, so the result is the floor unless κ·exp(-κ) lies within 1e-50 of an integer.
    """
    exact = Decimal(kappa).scaleb(-9, _EXACT)
    bound = _EXACT.multiply(exact, _EXACT.exp(-exact))
    return Nano(int(bound.scaleb(9, _EXACT).to_integral_value(rounding=ROUND_FLOOR)))


def _tolerance_max(config: Config) -> Nano:
    tolerance = config.safety.tolerance
    if not config.safety.revert_on_failure:
        return Nano(TOLERANCE_LAST)
    return TOLERANCE_AUTO_MAX if tolerance == "auto" else round_nearest("tolerance", tolerance)
