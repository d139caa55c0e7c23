"""How far to move α in order to learn something, and a slow triangle that does it."""

import hashlib
import math

import attrs

from optimizers.figures import StateReader, clip
from optimizers.protocol import Space, State

SMALLEST_SHARE = 1 / 20
TRIANGLE_SHARE = 0.7
"""Part of delta_max that the triangle may use per cycle; the rest is left for the climb."""
ASSUMED_DROP = 0.1
"""Assumed loss of J half the range away from the peak, where no curvature is known."""


def assumed_curvature(space: Space) -> float:
    """Return |d²J/dα²| of a parabola that loses ASSUMED_DROP half the range from its peak."""
    half = (space.alpha_max - space.alpha_min) / 2
    return 2 * ASSUMED_DROP / half**2


def amplitude(space: Space, sigma: float, samples: int, curvature: float | None = None) -> float:
    """Return the excitation of α that weighs what it costs against what it teaches.

    √(σ/(κ·√n)): the loss ½κa² of exciting by a, against the error σ/(a·√n) of the slope after n samples, at
    curvature κ.
    """
    kappa = assumed_curvature(space) if curvature is None else curvature
    wanted = math.sqrt(sigma / (kappa * math.sqrt(samples)))
    return clip(wanted, SMALLEST_SHARE * space.delta_max, space.delta_max)


def coin(seed: int, count: int) -> bool:
    """Return the count-th toss of a fair coin that the seed decides."""
    return hashlib.blake2b(f"{seed}:{count}".encode(), digest_size=1).digest()[0] < 128


@attrs.define
class Triangle:
    """Offset from the centre that runs up and down between ± the amplitude."""

    offset: float = 0.0
    rising: bool = True

    def advance(self, reach: float, pace: float) -> float:
        """Move by at most pace towards the turning point at ±reach, and return the new offset."""
        if abs(self.offset) >= reach:
            self.rising = self.offset < 0.0
        goal = reach if self.rising else -reach
        self.offset += clip(goal - self.offset, -pace, pace)
        return self.offset

    def state(self) -> State:
        """Give offset and direction."""
        return {"offset": self.offset, "rising": int(self.rising)}

    @staticmethod
    def restored(reader: StateReader) -> "Triangle":
        """Return the memory that `state` gave."""
        return Triangle(reader.number("offset"), bool(reader.integer("rising", 0, 1)))
