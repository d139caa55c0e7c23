"""Noise, fits, excitation, walls and the protocol's values."""

import copy
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizers import HOLD, Hold, OptimizerSettingError, Space, fit
from optimizers.blocked import EXPOSED, FIRST_WAIT, LONGEST_WAIT, Blocked, located
from optimizers.excitation import Triangle, amplitude, assumed_curvature, coin
from optimizers.noise import Noise, pseudo_residual


def test_hold_is_one_value_through_copies():
    assert Hold() is HOLD
    assert copy.deepcopy(HOLD) is HOLD
    assert pickle.loads(pickle.dumps(HOLD)) is HOLD
    assert repr(HOLD) == "HOLD"


@pytest.mark.parametrize(
    ("figures", "key"),
    [
        ((math.nan, 1.2, 0.02), "alpha_min"),
        ((0.8, math.inf, 0.02), "alpha_max"),
        ((0.8, 1.2, None), "delta_max"),
        ((0.8, 1.2, True), "delta_max"),
        ((0.8, 1.2, 0.0), "delta_max"),
        ((0.8, 1.2, -0.02), "delta_max"),
        ((1.2, 1.2, 0.02), "alpha_min"),
    ],
)
def test_space_refuses(figures, key):
    with pytest.raises(OptimizerSettingError, match=key):
        Space(*figures)


@pytest.mark.parametrize("sigma", [0.0, 0.005, 0.02])
def test_noise_is_estimated_whatever_alpha_does(sigma):
    rng = np.random.default_rng(1)
    for path in (lambda i: 1.0, lambda i: 1.0 + 0.01 * (i % 2), lambda i: 0.8 + 0.004 * i):
        noise, samples = Noise(), []
        for alpha in map(path, range(100)):
            samples += [(alpha, 0.9 - 0.5 * (alpha - 1.0) + sigma * rng.standard_normal())]
            noise.learn(samples[-4:])
        assert noise.known
        assert 0.6 * sigma - 1e-9 <= noise.sigma <= 1.6 * sigma + 1e-9


def test_noise_is_unknown_at_first_and_robust_to_one_jump():
    noise = Noise()
    assert not noise.known
    assert noise.sigma == 0.0
    samples = [(1.0, 0.5 + 0.001 * (-1) ** i + (0.3 if i > 20 else 0.0)) for i in range(40)]
    for end in range(1, 41):
        noise.learn(samples[max(0, end - 4) : end])
    assert noise.sigma < 0.005


def test_no_residual_from_samples_that_say_nothing_about_noise():
    assert pseudo_residual([(1.0, 0.5)]) is None
    assert pseudo_residual([(1.0, 0.5), (1.1, 0.6)]) is None
    assert pseudo_residual([(1.0, 0.5), (1.2, 0.6), (1.1, 0.6)]) is None


def test_line_has_the_slope_and_error_of_ordinary_least_squares():
    alphas = [1.0, 1.01, 1.02, 1.03]
    line = fit.line(alphas, [2 * a - 1 for a in alphas], 0.01)
    assert line.slope == pytest.approx(2.0)
    assert line.error == pytest.approx(0.01 / math.sqrt(5e-4))
    assert line.significance == pytest.approx(2.0 / line.error)


def test_line_error_is_widened_by_a_misfit():
    alphas = [0.9, 1.0, 1.1]
    bent = [0.0, 1.0, 0.0]
    assert fit.line(alphas, bent, 1e-3, misfit=True).error > 100 * fit.line(alphas, bent, 1e-3).error


@pytest.mark.parametrize("alphas", [[], [1.0], [1.0, 1.0, 1.0]])
def test_no_fit_without_spread(alphas):
    assert fit.line(alphas, [0.5] * len(alphas), 0.01) is None
    assert fit.parabola(alphas, [0.5] * len(alphas), 0.01, 1.0, (-5.0, 10.0), 0.95) is None


@given(slope=st.floats(-5, 5), curvature=st.floats(-40, 40))
def test_parabola_is_recovered_without_noise(slope, curvature):
    alphas = [0.98, 0.99, 1.0, 1.01, 1.02, 1.03]
    objectives = [0.3 + slope * (a - 1) + curvature / 2 * (a - 1) ** 2 for a in alphas]
    curve = fit.parabola(alphas, objectives, 1e-9, 1.0, (-5.0, 100.0), 1.0)
    assert curve.slope == pytest.approx(slope, abs=1e-3)
    assert curve.curvature == pytest.approx(curvature, abs=1e-2)
    assert curve.at(1.02) == pytest.approx(objectives[4], abs=1e-6)
    assert curve.line.slope == curve.slope


def test_curvature_prior_holds_where_the_samples_are_silent():
    curve = fit.parabola([0.999, 1.0, 1.001], [0.51, 0.49, 0.5], 0.02, 1.0, (-5.0, 10.0), 0.95)
    assert curve.curvature == pytest.approx(-5.0, abs=1.0)


@given(sigma=st.floats(0, 1e3), samples=st.integers(1, 1000))
def test_amplitude_lies_within_the_rate(sigma, samples):
    space = Space(0.8, 1.2, 0.02)
    assert 0.001 <= amplitude(space, sigma, samples) <= 0.02
    assert amplitude(space, sigma, samples, 32.0) <= amplitude(space, sigma, samples, 2.0)


def test_assumed_curvature_loses_a_tenth_half_the_range_away():
    assert assumed_curvature(Space(0.8, 1.2, 0.02)) / 2 * 0.2**2 == pytest.approx(0.1)


def test_triangle_turns_at_its_reach_and_keeps_its_pace():
    triangle = Triangle()
    path = [0.0, *(triangle.advance(0.02, 0.014) for _ in range(40))]
    steps = np.abs(np.diff(path))
    assert max(path) == pytest.approx(0.02)
    assert min(path) == pytest.approx(-0.02)
    assert steps.max() <= 0.014 + 1e-15
    assert steps.min() > 0.0


def test_coin_is_fair_and_seeded():
    tosses = [coin(7, count) for count in range(400)]
    assert 150 < sum(tosses) < 250
    assert tosses == [coin(7, count) for count in range(400)]
    assert tosses != [coin(8, count) for count in range(400)]


def test_wall_is_searched_by_halving():
    blocked, base, tick = Blocked(0.001), 1.04, 0
    while True:
        target = min(base + 0.02, blocked.range(tick)[1])
        if target == base:
            break
        tick += 1
        if target > 1.05:
            blocked.hit(base, target, tick)
        else:
            base = target
            blocked.passed(base)
    assert 1.05 - 0.001 <= base <= 1.05
    assert tick <= 8


def test_wall_is_knocked_at_ever_more_rarely_and_forgotten_when_it_opens():
    blocked = Blocked(0.001)
    knocks = []
    for tick in range(1000):
        if blocked.range(tick)[1] > 1.05:
            knocks.append(tick)
            blocked.hit(1.05, 1.0505, tick)
    gaps = np.diff(knocks)
    assert gaps[0] == FIRST_WAIT
    assert list(gaps) == sorted(gaps)
    assert len(knocks) <= 8
    assert gaps.max() <= LONGEST_WAIT
    blocked.passed(1.06)
    assert blocked.range(1000) == (-math.inf, math.inf)


def test_wall_below_and_retreat():
    blocked = Blocked(0.001)
    blocked.hit(1.0, 0.98, 0)
    blocked.hit(1.0, 1.02, 0, retreat=True)
    blocked.hit(1.0, 1.0, 0)
    assert blocked.range(1) == (0.99, 1.0)
    blocked.passed(0.985)
    assert blocked.range(1)[0] == pytest.approx(0.9825)
    assert blocked.range(FIRST_WAIT) == (0.98, 1.0)
    blocked.passed(1.01)
    assert blocked.range(FIRST_WAIT) == (0.98, 1.0)
    assert blocked.range(EXPOSED * FIRST_WAIT) == (0.98, 1.02)
    blocked.passed(0.97)
    assert blocked.range(1)[0] == -math.inf


@pytest.mark.parametrize(
    ("broken", "measured", "answer"),
    [
        (("loop_gain[L_phi]",), False, True),
        (("unheard_of",), False, True),
        (("entropy_rate",), False, False),
        (("entropy_rate",), True, True),
        (("mode", "cycle"), True, False),
        (("mode", "drive[L_mu]"), False, True),
        ((), True, False),
    ],
)
def test_which_limits_speak_of_an_alpha(broken, measured, answer):
    assert located(broken, measured) is answer
