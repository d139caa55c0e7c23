"""Bayesian optimization by Gaussian processes, of J and of the margins to the limits."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky

from optimizers.errors import OptimizerSettingError, OptimizerStateError
from optimizers.excitation import coin
from optimizers.figures import LARGEST_DERIVED, StateReader, optional
from optimizers.fit import scale
from optimizers.protocol import Outcome, Space, State
from optimizers.tuner import LAST_TICK, Sample, Tuner, Wish

Array = NDArray[np.float64]

LENGTH: Final = 1.0
"""Length scale of the kernel, in halves of the range of α."""
SIGNAL: Final = 0.2
"""Prior standard deviation of J."""
CELLS: Final = 40
"""Parts of the range of α whose samples are averaged: memory without end, at a bounded cost."""
MARGIN_NOISE: Final = 0.1
"""Standard deviation of a margin's noise, in parts of its prior standard deviation, that is assumed."""
NEAR: Final = 10
"""Points on either side of α within delta_max, beside the middles of the cells."""
JITTER: Final = 1e-9


class SafeGp(Tuner):
    """Goes to the α with the largest upper confidence bound of J among those that should be safe.

    One covariance of α serves J and every margin; a margin's own size is its prior standard deviation. An α
    counts as safe where the lower confidence bound of every margin lies above 0. (After SafeOpt, Sui et al.,
    ICML 2015, with UCB in the place of its expanders; the rate limit makes every step an expansion.)

    Args:
        space: limits of α.
        beta: standard deviations of the confidence bounds.
        forgetting: weight of a sample relative to the next newer one, in (0, 1].
        seed: decides the first direction.

    Raises:
        OptimizerSettingError: a setting is out of its range.
    """

    name = "safe_gp"
    mode = "gradient"

    def __init__(self, space: Space, beta: float = 2.0, forgetting: float = 0.99, seed: int = 0) -> None:
        if not 0.0 <= beta <= 100.0:
            raise OptimizerSettingError(f"gp_beta is {beta}, must lie in [0, 100]")
        if not 0.0 < forgetting <= 1.0:
            raise OptimizerSettingError(f"gp_forgetting is {forgetting}, must lie in (0, 1]")
        self._beta, self._forgetting = beta, forgetting
        self._length = LENGTH * (space.alpha_max - space.alpha_min) / 2
        edges = np.linspace(space.alpha_min, space.alpha_max, CELLS + 1)
        self._grid: Array = (edges[1:] + edges[:-1]) / 2
        super().__init__(space, window=4, seed=seed)

    def _forget(self) -> None:
        # A row per cell: weight, and weighted sums of α, J and every margin.
        self._sums: Array = np.zeros((CELLS, 3))
        self._told: tuple[float, ...] = ()
        self._clear: float | None = None

    def _halt(self) -> None:
        self._clear = None

    @property
    def signal_to_noise(self) -> float | None:
        """Absolute gradient in standard errors, None before two samples."""
        return self._clear

    def tell(self, outcome: Outcome) -> None:
        """Take in one measured cycle. Never raises, whatever the figures are."""
        self._told = self.guard.figures(outcome.margins)
        super().tell(outcome)

    def _learn(self, _base: float, sample: Sample) -> None:
        row = np.array([1.0, sample.alpha, sample.objective, *self._told])
        if len(row) != self._sums.shape[1]:
            self._sums = np.zeros((CELLS, len(row)))
        self._sums *= self._forgetting
        self._sums[int(np.argmin(np.abs(self._grid - sample.alpha)))] += row

    def _wish(self, base: float) -> Wish | None:
        if int(np.count_nonzero(self._sums[:, 0])) < 2:
            limit = self.space.delta_max
            return Wish(base + (limit if coin(self.seed, 0) else -limit))
        near = base + np.linspace(-self.space.delta_max, self.space.delta_max, 2 * NEAR + 1)
        alphas = np.concatenate([self._grid, near])
        mean, deviation, room = self._posterior(alphas)
        centre = len(self._grid) + NEAR
        slope = float(mean[centre + 1] - mean[centre - 1]) / float(near[NEAR + 1] - near[NEAR - 1])
        self.gradient = slope
        self._clear = abs(slope) * self._length / max(float(deviation[centre]), self.sigma, JITTER)
        low, high = self.allowed()
        allowed = (alphas >= low) & (alphas <= high) & (room >= 0.0)
        if not bool(np.any(allowed)):
            return None
        bound = np.where(allowed, mean + self._beta * deviation, -math.inf)
        return Wish(float(alphas[int(np.argmax(bound))]))

    def _posterior(self, alphas: Array) -> tuple[Array, Array, Array]:
        """Return mean and standard deviation of J, and the worst margin in its own sizes, at alphas."""
        seen = self._sums[self._sums[:, 0] > JITTER]
        weight, (x, y, *margins) = seen[:, 0], (seen[:, 1:] / seen[:, :1]).T
        level = float(np.average(y, weights=weight))
        noise = scale(max(self.sigma, JITTER), level)
        similar = self._similarity(x, x)
        predicted, spread = self._solve(similar, (noise / SIGNAL) ** 2 / weight, y - level, x, alphas)
        room = np.full(len(alphas), math.inf)
        if margins:
            table = np.array(margins).T
            table = table / np.maximum(np.abs(table).max(axis=0), JITTER)
            typical = np.average(table, axis=0, weights=weight)
            deviations, wide = self._solve(similar, MARGIN_NOISE**2 / weight, table - typical, x, alphas)
            room = (deviations + typical).min(axis=1) - self._beta * MARGIN_NOISE * wide
        return level + predicted, SIGNAL * spread, room

    def _solve(
        self, similar: Array, variance: Array, values: Array, x: Array, alphas: Array
    ) -> tuple[Array, Array]:
        """Return the posterior mean of values, and its standard deviation for a prior one of 1."""
        factor = cholesky(similar + np.diag(variance + JITTER), lower=True)
        cross = self._similarity(alphas, x)
        solved = cho_solve((factor, True), cross.T)
        spread = np.sqrt(np.maximum(1.0 - np.einsum("ij,ji->i", cross, solved), 0.0))
        return solved.T @ values, spread

    def _similarity(self, first: Array, second: Array) -> Array:
        distance = (first[:, None] - second[None, :]) / self._length
        return np.asarray(np.exp(-0.5 * distance * distance))

    def _dump(self) -> State:
        return {
            "width": self._sums.shape[1],
            "sums": [float(figure) for figure in self._sums.flat],
            "clear": optional(self._clear),
        }

    def _load(self, reader: StateReader) -> None:
        width = reader.integer("width", 3, LAST_TICK)
        rows = reader.rows("sums", width, CELLS, LARGEST_DERIVED)
        if len(rows) != CELLS:
            raise OptimizerStateError(f"sums has {len(rows)} rows, must have {CELLS}")
        self._sums = np.array(rows)
        self._clear = reader.optional("clear", LARGEST_DERIVED)
