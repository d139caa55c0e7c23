"""Standard deviation of the measurement noise, from differences of neighbouring samples."""

import math
from collections import deque
from statistics import median

import attrs

from optimizers.figures import LARGEST_DERIVED, StateReader
from optimizers.protocol import State

REMEMBERED = 41
FEWEST = 3
RECENT = 4
NORMAL_MAD = 1.4826
"""Ratio of the standard deviation to the median absolute deviation of a normal distribution."""


def pseudo_residual(samples: list[tuple[float, float]]) -> float | None:
    """Return one noise residual of unit gain from the newest of some (α, J) samples, oldest first.

    Two samples at the same α give (J₂ − J₁)/√2. Three samples in a row with α rising or falling give the
    distance of the middle one from the line through its neighbours (Gasser, Sroka and Jennen-Steinmetz,
    Biometrika 1986). Neither needs a model of J.
    """
    newest_alpha, newest = samples[-1]
    for alpha, objective in reversed(samples[-RECENT:-1]):
        if alpha == newest_alpha:
            return (newest - objective) / math.sqrt(2.0)
    if len(samples) < 3:
        return None
    (first_alpha, first), (middle_alpha, middle) = samples[-3], samples[-2]
    if not min(first_alpha, newest_alpha) < middle_alpha < max(first_alpha, newest_alpha):
        return None
    share = (middle_alpha - first_alpha) / (newest_alpha - first_alpha)
    residual = middle - (1.0 - share) * first - share * newest
    return residual / math.sqrt(1.0 + share**2 + (1.0 - share) ** 2)


@attrs.define
class Noise:
    """Robust scale of the latest residuals."""

    residuals: deque[float] = attrs.field(factory=lambda: deque(maxlen=REMEMBERED))

    def learn(self, samples: list[tuple[float, float]]) -> None:
        """Take in the newest of these (α, J) samples, oldest first."""
        residual = pseudo_residual(samples)
        if residual is not None:
            self.residuals.append(abs(residual))

    @property
    def known(self) -> bool:
        """Whether there are residuals enough to speak of a noise level."""
        return len(self.residuals) >= FEWEST

    @property
    def sigma(self) -> float:
        """Standard deviation of one measurement of J; 0 while it is not known."""
        return NORMAL_MAD * median(self.residuals) if self.known else 0.0

    def state(self) -> State:
        """Give the residuals."""
        return {"residuals": list(self.residuals)}

    @staticmethod
    def restored(reader: StateReader) -> "Noise":
        """Return the memory that `state` gave."""
        rows = reader.rows("residuals", 1, REMEMBERED, LARGEST_DERIVED)
        return Noise(deque((row[0] for row in rows), maxlen=REMEMBERED))
