"""Perturbation-based extremum seeking."""

import math
from typing import Final

from optimizers.errors import OptimizerSettingError
from optimizers.excitation import coin
from optimizers.figures import LARGEST, LARGEST_DERIVED, StateReader, clip, optional
from optimizers.protocol import Space, State, Verdict
from optimizers.tuner import LAST_TICK, Sample, Tuner, Wish

SMOOTHING: Final = 0.5
"""Weight of the newest demodulated product, in parts of one over the period."""
SWING_SHARE: Final = 0.7
"""Part of delta_max that the sine may take per cycle; the rest is left for the climb."""
SAMPLES: Final = 16
"""Samples that size the perturbation."""


class ExtremumSeeker(Tuner):
    """α = θ + a·sin(2πt/period); θ integrates J demodulated by the perturbation.

    J less its running mean (the washout filter) times the perturbation, over the perturbation's mean
    square, is the gradient in the mean over a period (Krstić and Wang, Automatica 2000). The perturbation
    is taken as it was measured, not as it was asked for: a refused or reverted α would else turn the
    sign.

    Args:
        space: limits of α.
        gain: integral gain per cycle, in units of α² per unit of J.
        period: cycles of one sine.
        seed: decides the first direction.

    Raises:
        OptimizerSettingError: a setting is out of its range.
    """

    name = "extremum_seeking"
    mode = "gradient"

    def __init__(self, space: Space, gain: float = 0.02, period: int = 8, seed: int = 0) -> None:
        if not 0.0 < gain <= LARGEST:
            raise OptimizerSettingError(f"seeking_gain is {gain}, must lie in (0, {LARGEST}]")
        if not 4 <= period <= 10_000:
            raise OptimizerSettingError(f"seeking_period is {period}, must lie in [4, 10000]")
        self._gain, self._period = gain, period
        super().__init__(space, window=4, seed=seed)

    def _forget(self) -> None:
        self._centre: float | None = None
        self._phase = 0
        self._mean: float | None = None
        self._product = 0.0
        self._square = 0.0

    def _halt(self) -> None:
        self._centre = None

    @property
    def signal_to_noise(self) -> float | None:
        """Absolute gradient in standard errors, None while α has not swung."""
        if self.gradient is None or not self._square > 0.0 or not self.sigma > 0.0:
            return None
        return abs(self.gradient) * math.sqrt(self._square * self._period) / self.sigma

    def _learn(self, _base: float, sample: Sample) -> None:
        if sample.verdict is Verdict.REVERTED:
            self._phase += self._period // 2
        if self._mean is None:
            self._mean = sample.objective
        washed = sample.objective - self._mean
        self._mean += washed / self._period
        swing = sample.alpha - (sample.alpha if self._centre is None else self._centre)
        share = SMOOTHING / self._period
        self._product += share * (washed * swing - self._product)
        self._square += share * (swing * swing - self._square)
        if self._square > (self._resolution / 2) ** 2:
            self.gradient = clip(self._product / self._square, -LARGEST, LARGEST)

    def _wish(self, base: float) -> Wish | None:
        limit = self.space.delta_max
        centre = base if self._centre is None else self._centre
        if self.gradient is not None:
            room = (1.0 - SWING_SHARE) * limit
            centre += clip(self._gain * self.gradient, -room, room)
        self._centre = clip(clip(centre, *self.allowed()), base - limit, base + limit)
        self._phase += 1
        turn = 2.0 * math.pi * self._phase / self._period
        reach = min(self.excitation(SAMPLES), SWING_SHARE * limit * self._period / (2.0 * math.pi))
        sign = 1.0 if coin(self.seed, 0) else -1.0
        return Wish(self._centre + sign * reach * math.sin(turn))

    def _dump(self) -> State:
        return {
            "centre": optional(self._centre),
            "phase": self._phase,
            "mean": optional(self._mean),
            "product": self._product,
            "square": self._square,
        }

    def _load(self, reader: StateReader) -> None:
        self._centre = reader.optional("centre")
        self._phase = reader.integer("phase", 0, LAST_TICK)
        self._mean = reader.optional("mean", LARGEST_DERIVED)
        self._product = reader.number("product", -LARGEST_DERIVED, LARGEST_DERIVED)
        self._square = reader.number("square", 0.0, LARGEST_DERIVED)
