"""Numbers beside T11 and T12: the recursion itself, run under many schedules of α, against what is proved.

In the notation of `recursion.py`, with the weights of the window normalised to sum 1 and the alignment
q_t = proj(f_t)/p in [−1, 1], the exponent is

    x_t = clamp(c_t · Σ_k ω_k q_{t−k} exp(x_{t−k}), −K, K)

Exponents are natural logarithms of growth factors; loop gains are plain numbers. What is simulated proves
nothing; it shows how near the bound real runs come, and what happens where the bound ends.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy import float64
from numpy.typing import NDArray

FOLD = math.exp(-1)
K_MAX = 10.0
WINDOW = 8
DIMENSIONS = 3
ALPHA_MIN, ALPHA_MAX, STEP_MAX = 0.8, 1.2, 0.02
RUNS, CYCLES = 48, 400
SEED = 20240229
FREE = 0
LOOP_GAINS = tuple(round(0.02 * k, 2) for k in range(1, 19))
RAMP = tuple(round(0.3 + 0.005 * k, 3) for k in range(25))

Array = NDArray[float64]


def weights() -> Array:
    """Return the weights of the window, newest first; they sum to 1."""
    falling = np.exp(-0.5 * np.arange(WINDOW))
    return np.asarray(falling / falling.sum(), dtype=float64)


def exponents(loop_gain: Array, alignment: Array, history: Array) -> Array:
    """Return the exponents x_t of runs side by side.

    Args:
        loop_gain: c_t, shape [cycles, runs].
        alignment: q_t, shape [cycles, runs].
        history: Exponents of the window before the first cycle, newest first, shape [WINDOW, runs]; fully
            aligned.

    Returns:
        Exponents, shape [cycles, runs].
    """
    omega, past = weights(), np.exp(history)
    found = np.empty_like(loop_gain)
    for t in range(len(loop_gain)):
        found[t] = np.clip(loop_gain[t] * (omega @ past), -K_MAX, K_MAX)
        past = np.vstack((alignment[t] * np.exp(found[t]), past[:-1]))
    return found


def exponent_bound(loop_gain: float) -> float:
    """Return the smallest κ with κ·exp(−κ) = loop_gain, by bisection, for 0 < loop_gain ≤ 1/e."""
    low, high = 0.0, 1.0
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if middle * math.exp(-middle) < loop_gain else (low, middle)
    return high


def unstable_exponent(loop_gain: float) -> float:
    """Return the κ ≥ 1 with κ·exp(−κ) = loop_gain, from which a run no longer returns."""
    low, high = 1.0, 50.0
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if middle * math.exp(-middle) > loop_gain else (low, middle)
    return high


def schedules(cycles: int, runs: int, random: np.random.Generator) -> Array:
    """Return α(t), shape [cycles, runs]: by turns free, thrown between the bounds, rate limited, constant."""
    free = random.uniform(ALPHA_MIN, ALPHA_MAX, (cycles, runs))
    thrown = np.where(random.random((cycles, runs)) < 0.5, ALPHA_MIN, ALPHA_MAX)
    walk = np.clip(
        1 + np.cumsum(random.uniform(-STEP_MAX, STEP_MAX, (cycles, runs)), 0), ALPHA_MIN, ALPHA_MAX
    )
    constant = np.full((cycles, runs), ALPHA_MAX)
    # The first is number FREE.
    return np.choose(np.arange(runs) % 4, (free, thrown, walk, constant))


def alignments(cycles: int, runs: int, random: np.random.Generator) -> Array:
    """Return q_t, shape [cycles, runs]: random directions in the first half of the runs, then aligned."""
    directions = random.normal(size=(cycles, runs, DIMENSIONS))
    directions /= np.linalg.norm(directions, axis=2, keepdims=True)
    mean = directions.mean(axis=2) * math.sqrt(DIMENSIONS)
    return np.asarray(np.where(np.arange(runs) < runs // 2, mean, 1.0), dtype=float64)


def measure(loop_gain: float, runs: int = RUNS, cycles: int = CYCLES, seed: int = SEED) -> dict[str, float]:
    """Return what runs at a largest loop gain ≤ 1/e came to, beside κ and c·exp(κ).

    `exponent_max` is over all runs, of which some start at κ under a constant α and so attain the bound;
    `exponent_free` is over those whose α is drawn anew every cycle, in the second half of them. Two
    histories, both within the hypothesis m ≤ exp(κ), are run under the same inputs and schedules;
    `factor_max` is the largest quotient of their distances over one window and the window before it.
    """
    random = np.random.default_rng(seed)
    gain = loop_gain / ALPHA_MAX * schedules(cycles, runs, random)
    alignment = alignments(cycles, runs, random)
    kappa = exponent_bound(loop_gain)
    starts = kappa * (1 - random.random((2, WINDOW, runs)))
    starts[0] = kappa
    one, other = (exponents(gain, alignment, start) for start in starts)
    apart = [np.abs(starts[0] - starts[1]).max(axis=0)]
    whole = np.abs(one - other)[: cycles // WINDOW * WINDOW].reshape(-1, WINDOW, runs)
    apart += list(whole.max(axis=1))
    # Below this the difference of two doubles is rounding, not distance.
    factors = [after[before > 1e-9] / before[before > 1e-9] for before, after in itertools.pairwise(apart)]
    return {
        "loop_gain": loop_gain,
        "kappa": kappa,
        "exponent_max": float(np.abs(one).max()),
        "exponent_free": float(np.abs(one[cycles // 2 :, np.arange(runs) % 4 == FREE]).max()),
        "factor_bound": loop_gain * math.exp(kappa),
        "factor_max": float(np.concatenate(factors).max()),
    }


def ramp(gains: Sequence[float], cycles: int = CYCLES) -> dict[str, list[float]]:
    """Return the exponent in which an aligned run ends at each loop gain, taken up and then down again."""
    ends: list[float] = []
    history = np.zeros((WINDOW, 1))
    for gain in (*gains, *reversed(gains)):
        run = exponents(np.full((cycles, 1), gain), np.ones((cycles, 1)), history)
        history = run[: -WINDOW - 1 : -1]
        ends.append(float(run[-1, 0]))
    return {"loop_gain": list(gains), "up": ends[: len(gains)], "down": ends[len(gains) :][::-1]}


def companion() -> Mapping[str, Any]:
    """Return all numbers of the figure, to six digits: the grid, the ramp and the fold."""
    grid = [measure(gain) for gain in LOOP_GAINS]
    return {
        "fold": float(f"{FOLD:.6g}"),
        "grid": [{name: float(f"{value:.6g}") for name, value in row.items()} for row in grid],
        "ramp": {name: [float(f"{x:.6g}") for x in values] for name, values in ramp(RAMP).items()},
    }
