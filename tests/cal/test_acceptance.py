"""The evidence that settles a trial: means, and a tolerance sized by the noise."""

import random
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attunement.acceptance import BASE_SAMPLES, AcceptanceTest
from kernel import MalformedQuantityError
from kernel.limits import TOLERANCE_LAST
from kernel.quantity import NANO, Nano

CEILING = Nano(NANO // 20)
OBJECTIVES = st.floats(-1e6, 1.0)


def measured(test, alpha, *objectives):
    for objective in objectives:
        test.observe(alpha, objective)
        test.stay(alpha, objective)


def test_without_a_base_a_trial_is_compared_with_itself():
    evidence = AcceptanceTest(None, CEILING).compare(0.5)
    assert evidence == (500_000_000, 500_000_000, 0)


def test_the_base_is_the_mean_at_the_committed_alpha():
    test = AcceptanceTest(0.0, CEILING)
    measured(test, 1.0, 0.1, 0.2, 0.6)
    assert test.compare(0.9) == (300_000_000, 900_000_000, 0)


def test_the_base_begins_anew_at_another_alpha():
    test = AcceptanceTest(0.0, CEILING)
    measured(test, 1.0, 0.1, 0.2)
    measured(test, 1.01, 0.7)
    assert test.compare(0.9).before == 700_000_000
    measured(test, 1.0, 0.4)
    assert test.compare(0.9).before == 400_000_000


def test_the_base_is_the_newest_samples():
    test = AcceptanceTest(0.0, CEILING)
    measured(test, 1.0, *[0.9] * 5, *[0.5] * BASE_SAMPLES)
    assert test.compare(0.5).before == 500_000_000


def test_a_trial_is_no_part_of_the_base():
    test = AcceptanceTest(0.0, CEILING)
    measured(test, 1.0, 0.5)
    test.observe(1.01, 0.9)
    assert test.compare(0.9).before == 500_000_000


def test_a_tolerance_given_as_a_figure_is_that_figure():
    test = AcceptanceTest(0.01, CEILING)
    measured(test, 1.0, 0.1, 0.9, 0.1, 0.9)
    assert test.compare(0.5).tolerance == 10_000_000


def test_until_the_noise_is_known_nothing_is_tolerated():
    test = AcceptanceTest(None, CEILING)
    measured(test, 1.0, 0.5, 0.51)
    assert test.compare(0.5).tolerance == 0


def test_a_noiseless_engine_is_granted_nothing():
    test = AcceptanceTest(None, CEILING)
    measured(test, 1.0, *[0.5] * 20)
    assert test.compare(0.5).tolerance == 0


def test_the_tolerance_is_three_standard_errors_of_the_difference():
    dice = random.Random(5)
    test = AcceptanceTest(None, CEILING)
    measured(test, 1.0, *(dice.gauss(0.5, 0.001) for _ in range(60)))
    expected = 3 * 0.001 * (1 + 1 / BASE_SAMPLES) ** 0.5
    assert test.compare(0.5).tolerance / NANO == pytest.approx(expected, rel=0.35)


def test_a_trial_that_is_no_worse_is_seldom_reverted():
    dice = random.Random(7)
    test = AcceptanceTest(None, CEILING)
    measured(test, 1.0, *(dice.gauss(0.5, 0.001) for _ in range(60)))
    reverted = 0
    for _ in range(2000):
        evidence = test.compare(dice.gauss(0.5, 0.001))
        reverted += not evidence.before - evidence.tolerance <= evidence.after
        measured(test, 1.0, dice.gauss(0.5, 0.001))
    assert reverted <= 40


def test_great_noise_is_granted_no_more_than_the_ceiling():
    test = AcceptanceTest(None, CEILING)
    measured(test, 1.0, 0.1, 0.9, 0.2, 0.8, 0.1, 0.9)
    assert test.compare(0.5).tolerance == CEILING


def test_a_policy_that_reverts_nothing_grants_all_there_is():
    assert AcceptanceTest(None, Nano(TOLERANCE_LAST)).compare(0.5).tolerance == TOLERANCE_LAST
    assert AcceptanceTest(0.0, Nano(TOLERANCE_LAST)).compare(0.5).tolerance == TOLERANCE_LAST


@pytest.mark.parametrize("objective", [nan, inf, -inf, None, "0.5", True])
def test_what_is_no_number_is_no_evidence(objective):
    with pytest.raises(MalformedQuantityError):
        AcceptanceTest(None, CEILING).compare(objective)


@given(
    history=st.lists(st.tuples(st.sampled_from([0.98, 1.0, 1.01]), OBJECTIVES), max_size=40),
    objective=OBJECTIVES,
)
def test_evidence_is_always_integers_within_the_ceiling(history, objective):
    test = AcceptanceTest(None, CEILING)
    for alpha, value in history:
        measured(test, alpha, value)
    evidence = test.compare(objective)
    assert all(type(figure) is int for figure in evidence)
    assert 0 <= evidence.tolerance <= CEILING
    assert evidence.after == round(objective * NANO) or abs(evidence.after - objective * NANO) <= 1
