"""A predictor of the limits: where the next measurement would still be inside every one of them.

It spares a kernel refusals and an engine exposure. Nobody trusts it: the kernel judges every α all the same.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from optimizers.errors import OptimizerStateError
from optimizers.figures import LARGEST_DERIVED, StateReader, measured
from optimizers.protocol import Space, State

Array = NDArray[np.float64]

STANDARD_ERRORS: Final = 3.25
"""Standard errors of a new measurement that are kept from a limit."""
SURPRISE: Final = 6.0
"""Standard errors by which a broken limit was not foreseen: a jump, that no line describes."""
POINTS: Final = 20
"""Points on either side of α at which the margins are predicted, over delta_max."""
WORTH: Final = 2.0
"""Weight of the first guess of the noise, in measurements."""
MEMORY: Final = 60.0
"""Measurements over which the noise of a margin is averaged."""
FIRST_NOISE: Final = 1 / 20
LEAST_NOISE: Final = 1e-4
"""Standard deviation of the noise, in parts of the first margin, that is assumed at first and at least."""
DRIFT: Final = (0.1, 0.03, 0.03)
"""Random walk per cycle of level, slope (per delta_max) and trend, in standard deviations of the noise."""
PERSISTENCE: Final = 0.95
"""Part of a trend that lasts to the next cycle: a limit that has stopped must not be fled from any longer."""

ARRAYS: Final = ("mean", "variance", "least", "cov")

_ONWARD: Final = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, PERSISTENCE]])
_WALK: Final = np.diag(np.square(DRIFT))


class Guard:
    """Lines of the margins in α and time, each with its own noise and one common covariance.

    A margin is level + slope·(α − first α), and its level moves every cycle by a damped trend (Gardner and
    McKenzie, Management Science 1985). All margins are measured at the same α, so one covariance in units of
    the noise variance serves all.

    Args:
        space: limits of α.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._first = (space.alpha_min + space.alpha_max) / 2
        self._names: tuple[str, ...] = ()
        self._mean: Array = np.zeros((0, 3))
        self._variance: Array = np.zeros(0)
        self._least: Array = np.zeros(0)
        self._cov: Array = np.zeros((3, 3))
        self._count = 0
        self._foreseen: tuple[float, tuple[float, float]] | None = None
        self._steps = np.linspace(-space.delta_max, space.delta_max, 2 * POINTS + 1)

    def learn(self, alpha: float, margins: object) -> bool:
        """Take in the margins measured at α.

        Returns:
            Whether a limit was broken that no line had foreseen.
        """
        self._foreseen = None
        told = _sound(margins)
        if not told:
            return False
        names, figures = tuple(name for name, _ in told), np.array([figure for _, figure in told])
        if names != self._names:
            self._begin(names, figures, alpha)
        h = np.array([1.0, (alpha - self._first) / self._space.delta_max, 0.0])
        mean, cov = self._predicted()
        gain = cov @ h
        spread = 1.0 + float(h @ gain)
        error = figures - mean @ h
        scaled = error / np.sqrt(self._variance * spread)
        if bool(((figures < 0.0) & (scaled < -SURPRISE)).any()):
            self._mean, self._cov = mean, cov
            return True
        self._count += 1
        worth = min(self._count + WORTH, MEMORY)
        miss = np.minimum(error * error / spread, 9.0 * self._variance)
        self._mean = mean + error[:, None] * (gain / spread)
        self._cov = cov - gain[:, None] * gain / spread
        self._variance = np.maximum(self._variance + (miss - self._variance) / worth, self._least)
        return False

    @staticmethod
    def figures(margins: object) -> tuple[float, ...]:
        """Return the figures of margins without their names, none where they are malformed."""
        return tuple(figure for _, figure in _sound(margins))

    def _begin(self, names: tuple[str, ...], figures: Array, alpha: float) -> None:
        size = np.maximum(np.abs(figures), 1e-9)
        self._names, self._count, self._first = names, 0, alpha
        self._mean = np.stack([figures, np.zeros_like(figures), np.zeros_like(figures)], axis=1)
        self._variance = (FIRST_NOISE * size) ** 2
        self._least = (LEAST_NOISE * size) ** 2
        # A step of delta_max is taken to change a margin by a fifth, until it has been measured.
        self._cov = np.diag([1.0, 16.0, 0.01])

    def _predicted(self) -> tuple[Array, Array]:
        """Return mean and covariance one cycle on."""
        mean, cov = self._mean @ _ONWARD.T, _ONWARD @ self._cov @ _ONWARD.T + _WALK
        return mean, cov

    def range(self, base: float) -> tuple[float, float]:
        """Return the lowest and highest α within delta_max of base where every margin should hold next cycle.

        Both are the same α, the one that promises most, when base itself would not hold.
        """
        if not self._names:
            return -math.inf, math.inf
        if self._foreseen is None or self._foreseen[0] != base:
            self._foreseen = base, self._range(base)
        return self._foreseen[1]

    def _range(self, base: float) -> tuple[float, float]:
        alphas = base + self._steps
        mean, cov = self._predicted()
        h = np.zeros((3, len(alphas)))
        h[0] = 1.0
        h[1] = (alphas - self._first) / self._space.delta_max
        spread = np.sqrt(1.0 + np.einsum("ik,ij,jk->k", h, cov, h))
        noise = np.sqrt(self._variance)[:, None]
        worst = ((mean @ h - STANDARD_ERRORS * noise * spread) / noise).min(axis=0)
        safe = (worst >= 0.0).tolist()
        if not safe[POINTS]:
            best = self._retreat(worst)
            return float(alphas[best]), float(alphas[best])
        low, high = POINTS, POINTS
        while low > 0 and safe[low - 1]:
            low -= 1
        while high < 2 * POINTS and safe[high + 1]:
            high += 1
        return (
            -math.inf if low == 0 else float(alphas[low]),
            math.inf if high == 2 * POINTS else float(alphas[high]),
        )

    def _retreat(self, worst: Array) -> int:
        holding = np.flatnonzero(worst >= 0.0)
        if len(holding):
            return int(holding[np.argmin(np.abs(holding - POINTS))])
        return int(np.argmax(worst))

    def state(self) -> State:
        """Give the memory in JSON's types."""
        return {
            "names": "\n".join(self._names),
            "count": self._count,
            "first": self._first,
            **{key: [float(figure) for figure in getattr(self, f"_{key}").flat] for key in ARRAYS},
        }

    def restore(self, reader: StateReader) -> None:
        """Take the memory back; after an OptimizerStateError it is not to be used any more."""
        text = reader.text("names")
        names = tuple(text.split("\n")) if text else ()
        shapes = {"mean": (len(names), 3), "variance": (len(names),), "least": (len(names),), "cov": (3, 3)}
        for key, shape in shapes.items():
            rows = reader.rows(key, 1, math.prod(shape), LARGEST_DERIVED)
            if len(rows) != math.prod(shape):
                raise OptimizerStateError(f"{key} must be a list of {math.prod(shape)} numbers")
            setattr(self, f"_{key}", np.array([row[0] for row in rows]).reshape(shape))
        if not bool(np.all(self._variance > 0.0)):
            raise OptimizerStateError("variance must lie above 0")
        self._names, self._count = names, reader.integer("count", 0, 2**53)
        self._first = reader.number("first")
        self._foreseen = None


def _sound(margins: object) -> list[tuple[str, float]]:
    if not isinstance(margins, tuple):
        return []
    found = []
    for item in margins:
        if not (isinstance(item, tuple) and len(item) == 2 and type(item[0]) is str and _is_name(item[0])):
            return []
        figure = measured(item[1])
        if figure is None:
            return []
        found.append((item[0], figure))
    return found


def _is_name(text: str) -> bool:
    """Say whether a state can hold it: names stand there a line each, and no text for none."""
    return text != "" and text.isprintable()
