"""What is simulated keeps what is proved, and runs away where the proof says that the bound ends."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from proofs.companion import (
    ALPHA_MAX,
    ALPHA_MIN,
    FOLD,
    K_MAX,
    STEP_MAX,
    WINDOW,
    alignments,
    companion,
    exponent_bound,
    exponents,
    measure,
    ramp,
    schedules,
    unstable_exponent,
    weights,
)

FIGURES = Path(__file__).resolve().parents[2] / "docs" / "figures"
ROUNDING = 1e-12


@pytest.mark.parametrize("loop_gain", [0.05, 0.15, 0.25, 0.35, 0.3678])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_exponent_and_contraction_keep_their_bounds(loop_gain: float, seed: int) -> None:
    found = measure(loop_gain, runs=16, cycles=120, seed=seed)
    assert found["exponent_max"] <= found["kappa"] + ROUNDING
    assert found["factor_max"] <= found["factor_bound"] + ROUNDING
    assert found["factor_bound"] == pytest.approx(found["kappa"])
    assert found["exponent_free"] < found["exponent_max"]
    assert found["factor_max"] > 0


def test_the_bound_is_attained_and_not_loose() -> None:
    found = measure(0.3, runs=16, cycles=120)
    assert found["exponent_max"] == pytest.approx(found["kappa"], rel=1e-9)


@pytest.mark.parametrize("loop_gain", [0.01, 0.2, 0.36])
def test_the_bounds_are_the_two_solutions(loop_gain: float) -> None:
    for kappa in (exponent_bound(loop_gain), unstable_exponent(loop_gain)):
        assert kappa * math.exp(-kappa) == pytest.approx(loop_gain, rel=1e-9)
    assert exponent_bound(loop_gain) < 1 < unstable_exponent(loop_gain)


def test_past_the_fold_it_runs_away_and_does_not_come_back() -> None:
    gains = (0.3, FOLD - 0.003, FOLD + 0.003, 0.4)
    found = ramp(gains)
    assert found["up"][:2] == pytest.approx([exponent_bound(gain) for gain in gains[:2]], rel=1e-2)
    assert found["up"][2:] == [K_MAX, K_MAX]
    assert found["down"] == [K_MAX] * 4


def test_above_the_point_of_no_return_a_small_loop_gain_does_not_help() -> None:
    for start, end in ((0.99, exponent_bound(0.3)), (1.01, K_MAX)):
        history = np.full((WINDOW, 1), unstable_exponent(0.3) * start)
        run = exponents(np.full((400, 1), 0.3), np.ones((400, 1)), history)
        assert run[-1, 0] == pytest.approx(end)


def test_schedules_and_alignments_are_what_the_theorem_supposes() -> None:
    random = np.random.default_rng(5)
    alpha, alignment = schedules(200, 8, random), alignments(200, 8, random)
    assert alpha.min() == ALPHA_MIN
    assert alpha.max() == ALPHA_MAX
    assert np.abs(np.diff(alpha[:, 2::4], axis=0)).max() <= STEP_MAX + ROUNDING
    assert np.abs(alignment).max() <= 1 + ROUNDING
    assert (alignment[:, 4:] == 1).all()
    assert weights().sum() == pytest.approx(1)


def test_the_figure_shows_these_numbers() -> None:
    kept = json.loads((FIGURES / "recursion.json").read_text(encoding="utf-8"))
    fresh = companion()
    assert kept["fold"] == fresh["fold"]
    assert kept["ramp"] == {name: pytest.approx(values) for name, values in fresh["ramp"].items()}
    assert kept["grid"] == [pytest.approx(row, rel=1e-4) for row in fresh["grid"]]
    assert "the fold at 1/e" in (FIGURES / "recursion.svg").read_text(encoding="utf-8")
