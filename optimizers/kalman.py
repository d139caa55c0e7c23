"""Newton ascent on a bank of Kalman-filtered parabolas, with a dither no larger than it has to be."""

import math
from typing import Final, Literal

from optimizers.errors import OptimizerSettingError
from optimizers.excitation import Triangle, assumed_curvature, coin
from optimizers.figures import LARGEST, LARGEST_DERIVED, StateReader, clip
from optimizers.fit import Line
from optimizers.model_bank import ModelBank
from optimizers.protocol import Space, State, Verdict
from optimizers.tuner import Sample, Tuner, Wish

SURE: Final = 2.0
"""Significance at which a curvature is believed."""
CLEAR: Final = 3.0
"""Significance of the slope at which climbing alone teaches enough."""
LEAST_SAMPLES: Final = 4
MOVING_SAMPLES: Final = 10
"""Samples that still tell something of a moving peak."""
SMALLEST: Final = 1 / 40
LARGEST_SHARE: Final = 2.0
"""Amplitude of the dither, in parts of delta_max."""
PACE_SHARE: Final = 0.7
"""Part of delta_max that the dither may take per cycle; the rest is left for following the peak."""
STILL_PACE: Final = 0.24
MOVING_PACE: Final = 1.0
"""Pace of the dither per cycle, in its amplitudes: slow while the peak stands still, which wears less."""
GROWTH: Final = 1.05
SHRINKAGE: Final = 0.8
LEAST_RATE: Final = 0.3
"""Bounds of the share of a Newton step, and how it changes when the slope keeps or changes its sign."""


class KalmanTuner(Tuner):
    """Goes to the peak of the believed parabola, as fast as the rate permits, and swings around it.

    The swing is a triangle of amplitude √(σ/(κ·√n)): what it costs, ½κa², against what n samples teach. It
    stops while the slope is clear and the peak is far, for then the climb teaches enough. Where no
    curvature can be seen the step follows the sign of the slope, times the share of it that is signal. The
    learning rate of the step, 1/curvature, adapts itself; a share of it shrinks when the slope changes sign
    significantly and grows back when it does not, so that it never dies.

    Args:
        space: limits of α.
        lr: learning rate in units of α² per unit of J, or "auto": one over the measured curvature.
        epsilon: amplitude of the dither in units of α, or "auto": sized from the measured noise.
        seed: decides the first direction.

    Raises:
        OptimizerSettingError: a setting is out of its range.
    """

    name = "kalman"
    mode = "gradient"

    def __init__(
        self,
        space: Space,
        lr: float | Literal["auto"] = "auto",
        epsilon: float | Literal["auto"] = "auto",
        seed: int = 0,
    ) -> None:
        if lr != "auto" and not 0.0 < lr <= LARGEST:
            raise OptimizerSettingError(f"lr is {lr}, must be auto or lie in (0, {LARGEST}]")
        if epsilon != "auto" and not 0.0 < epsilon <= space.delta_max:
            limit = space.delta_max
            raise OptimizerSettingError(f"epsilon is {epsilon}, must be auto or lie in (0, {limit}]")
        self._lr, self._epsilon = lr, epsilon
        super().__init__(space, window=4, seed=seed)

    def _forget(self) -> None:
        self.bank = ModelBank(self.space)
        self._triangle = Triangle(rising=coin(self.seed, 0))
        self._rate = 1.0
        self._sign = 0

    def _halt(self) -> None:
        """Keep the model: it holds whoever moved α."""

    @property
    def signal_to_noise(self) -> float | None:
        """Absolute slope in standard errors, None before the first sample."""
        if self._base is None or self.bank.age == 0:
            return None
        return abs(self.bank.slope(self._base).significance)

    @property
    def peak(self) -> float | None:
        """The peak of the believed parabola, once it is believed and α is there; else None."""
        if self._base is None or not self.bank.curvature.significance < -SURE:
            return None
        away = -self.bank.slope(self._base).slope / self.bank.curvature.slope
        return self._base + away if abs(away) <= self.space.delta_max / 2 else None

    def take_over(self, other: Tuner) -> None:
        """Become the active tuner after another one: its walls, and a model that has all to learn."""
        self.inherit(other)
        self.bank.restart()

    def _learn(self, base: float, sample: Sample) -> None:
        if sample.verdict is Verdict.STOPPED:
            # What is measured then is what nobody proposed, and α may be somewhere else at the end of it.
            self.bank.restart()
            return
        if sample.verdict is Verdict.REVERTED:
            self._triangle = Triangle(rising=base > sample.alpha)
        self.bank.learn(sample.alpha, sample.objective)
        slope = self.bank.slope(base)
        self.gradient = clip(slope.slope, -LARGEST_DERIVED, LARGEST_DERIVED)
        self._adapt(slope)

    def _adapt(self, slope: Line) -> None:
        sign = int(math.copysign(1.0, slope.slope)) if abs(slope.significance) >= SURE else 0
        if sign * self._sign < 0:
            self._rate = max(self._rate * SHRINKAGE, LEAST_RATE)
        else:
            self._rate = min(self._rate * GROWTH, 1.0)
        self._sign = sign or self._sign

    def _wish(self, base: float) -> Wish | None:
        return Wish(self._target(base))

    def _target(self, base: float) -> float:
        bank, limit = self.bank, self.space.delta_max
        if bank.since <= 1:
            # Nothing is known yet, or nothing any more: the largest step tells most.
            return base + (limit if self._triangle.rising else -limit)
        slope, reach = bank.slope(base), self._amplitude()
        step = self._step(slope) + bank.velocity
        if abs(slope.significance) >= CLEAR and abs(step) > reach + limit:
            self._triangle = Triangle(rising=step > 0.0)
            swing = 0.0
        else:
            pace = (MOVING_PACE if bank.is_moving else STILL_PACE) * reach
            swing = self._triangle.advance(reach, min(pace, PACE_SHARE * limit))
        return clip(base + step, *self.allowed()) + swing

    def _step(self, slope: Line) -> float:
        limit, curvature = self.space.delta_max, self.bank.curvature
        if self._lr != "auto":
            return clip(self._lr * slope.slope, -limit, limit)
        step = -self._rate * slope.slope / curvature.slope if curvature.slope < 0.0 else slope.slope * LARGEST
        if curvature.significance < -SURE:
            return step
        power = min(abs(slope.significance), math.sqrt(LARGEST)) ** 2
        return clip(step, -limit, limit) * power / (1.0 + power)

    def _amplitude(self) -> float:
        if self._epsilon != "auto":
            return self._epsilon
        bank, limit = self.bank, self.space.delta_max
        samples = max(bank.since, LEAST_SAMPLES)
        if bank.is_moving:
            samples = min(samples, MOVING_SAMPLES)
        curvature = bank.curvature
        kappa = max(-curvature.slope, assumed_curvature(self.space))
        if curvature.significance < -SURE:
            kappa = -curvature.slope
        wanted = math.sqrt(bank.sigma / (kappa * math.sqrt(samples)))
        return clip(wanted, SMALLEST * limit, LARGEST_SHARE * limit)

    def _dump(self) -> State:
        return {
            "rate": self._rate,
            "sign": self._sign,
            **self._triangle.state(),
            **{f"bank.{key}": value for key, value in self.bank.state().items()},
        }

    def _load(self, reader: StateReader) -> None:
        self._rate = reader.number("rate", LEAST_RATE, 1.0)
        self._sign = reader.integer("sign", -1, 1)
        self._triangle = Triangle.restored(reader)
        part = StateReader(reader.part("bank."))
        self.bank = ModelBank(self.space)
        self.bank.restore(part)
        part.finish()
