"""A bank of parabolas J(α), each tracked by a Kalman filter, weighed by what they predicted."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from optimizers.errors import OptimizerStateError
from optimizers.figures import LARGEST_DERIVED, StateReader, clip, optional
from optimizers.fit import Line
from optimizers.protocol import Space, State

Array = NDArray[np.float64]

LAGS: Final = (0.0, 2.0, 5.0, 10.0)
"""Time constants, in cycles, of a first-order lag between α and J."""
GENTLE: Final = (0.1, 0.05)
SHARP: Final = (1.0, 1.5)
"""Prior mean and standard deviation of the loss of J half the range away from the peak.

Two narrow ones: a wide one invents sharp peaks out of noise, which a small dither then never refutes.
"""
STILL: Final = (0.0003, 0.0)
MOVING: Final = (0.004, 0.002)
"""Random walk per cycle of the peak and of its velocity, in parts of the range of α."""
KINDS: Final = ((STILL, GENTLE), (MOVING, GENTLE), (STILL, SHARP), (MOVING, SHARP))
KIND_PRIOR: Final = (0.0, -0.5, -3.5, -4.0)
"""Log-odds of each."""
PERSISTENCE: Final = 0.98
"""Part of the peak's velocity that lasts to the next cycle."""
SLOPE_DROP: Final = 0.3
"""Prior standard deviation of the slope, as the change of J over half the range."""
LEVEL_ERROR: Final = 0.1
LEVEL_WALK: Final = 0.02
"""Random walk of the level per cycle, in standard deviations of the noise."""
FIRST_SIGMA: Final = 0.005
LEAST_SIGMA: Final = 1e-4
MOST_SIGMA: Final = 100.0
"""Standard deviation of one J that is assumed at first, worth FIRST_WORTH samples, at least, and at most.

Ĉ lies in [0, 1]: what is larger is no noise, and would be believed for thousands of cycles after it is gone.
"""
FIRST_WORTH: Final = 2.0
NOISE_MEMORY: Final = 100.0
"""Samples over which the noise is averaged."""
RELISTEN: Final = 5.0
"""Samples that the noise is worth when another shape is believed."""
HEARD: Final = 15.0
"""Samples from which a measured noise is relied on."""
REPLAYED: Final = 40
"""First samples that are kept, and filtered anew when the noise turns out to be another than was assumed."""
REPLAY_RATIO: Final = 1.4
MEMORY: Final = 0.99
LAG_MEMORY: Final = 0.998
"""Part of the log-likelihood of a kind, and of a lag, kept per cycle: lags hardly change."""
LAG_PRIOR: Final = 1.0
"""Log-odds against a lag."""
HABIT: Final = 1.0
"""Log-likelihood by which another model must be better before it is believed."""
CERTAIN: Final = 6.0
PAIR: Final = 3.0
OUTLIER: Final = 4.0
"""Standard deviations of one innovation, of each of two alike, and of TOGETHER's mean that are no noise."""
TOGETHER: Final = 4
LEAST_LIKELIHOOD: Final = 1e-12
FEW: Final = 5
"""Measurements before which nothing is known of the noise."""
GREEN: Final = 8
"""Measurements before which nothing can be a surprise."""
MISFIT_MEMORY: Final = 30.0
LEAST_CURVATURE: Final = 1.0
JUMP: Final = 0.5
"""Standard deviation of a step of the peak, in halves of the range, and the curvature's relative change."""
RECURVED: Final = 0.3
STATES: Final = 4
ARRAYS: Final = ("mean", "cov", "late", "kind_fit", "lag_fit")
LAST_COUNT: Final = 2**53


class ModelBank:
    """All models together, and the one that is believed.

    A model is J = θ₀ + θ₁x + θ₂x² with x = α − middle of the range, seen through a first-order lag, whose
    peak walks or moves with a velocity w (the fourth state): a move dp of the peak p turns θ by (2θ₂p,
    −2θ₂)·dp. All are one Kalman filter each (Kalman, J. Basic Eng. 1960), batched. Log-likelihoods pick the
    lag, then the kind. The noise comes from differences of neighbouring innovations, in which drift
    cancels. A surprising innovation inflates the covariances: J has changed.

    Args:
        space: limits of α.
    """

    def __init__(self, space: Space) -> None:
        self.middle = (space.alpha_max + space.alpha_min) / 2
        self.half = (space.alpha_max - space.alpha_min) / 2
        kinds = np.tile(np.array(KINDS), (len(LAGS), 1, 1))
        self._walk: Array = 2.0 * self.half * kinds[:, 0, 0]
        self._push: Array = 2.0 * self.half * kinds[:, 0, 1]
        self._drop, self._drop_error = kinds[:, 1, 0], kinds[:, 1, 1]
        self._moving = self._push > 0.0
        shares = [-math.expm1(-1.0 / lag) if lag else 1.0 for lag in LAGS]
        self._share: Array = np.repeat(np.array(shares), len(KINDS))[:, None]
        self._kind_prior: Array = np.tile(np.array(KIND_PRIOR), len(LAGS))
        self._lag_prior: Array = np.array([-LAG_PRIOR if lag else 0.0 for lag in LAGS])
        # What `_predicted` turns by a move of the peak: nothing, where it does not move.
        self._stay: Array = np.tile(np.diag([1.0, 1.0, 1.0, PERSISTENCE]), (len(self._share), 1, 1))
        self.alarms = 0
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Forget J and its noise."""
        self.variance = FIRST_SIGMA**2
        self._worth = FIRST_WORTH
        self._assumed = self.variance
        self._early: list[tuple[float, float]] = []
        self._is_early = True
        self._empty()

    def _empty(self) -> None:
        count = len(self._share)
        self.age = 0
        self.since = 0
        self.misfit = 1.0
        self._mean: Array = np.zeros((count, STATES))
        self._cov: Array = np.zeros((count, STATES, STATES))
        self._late: Array = np.zeros((count, 2))
        self._kind_fit: Array = self._kind_prior.copy()
        self._lag_fit: Array = self._lag_prior.copy()
        self._top = 0
        self._misses: list[float] = []
        self._before: float | None = None

    @property
    def sigma(self) -> float:
        """Estimated standard deviation of one measurement of J."""
        return math.sqrt(self.variance)

    @property
    def is_heard(self) -> bool:
        """Whether the noise has been measured long enough to tell a fall of J from it."""
        return self._worth >= HEARD

    @property
    def lag(self) -> float:
        """Time constant of the lag that is believed, cycles."""
        return LAGS[self._top // len(KINDS)]

    @property
    def is_moving(self) -> bool:
        """Whether the peak is believed to move."""
        return bool(self._moving[self._top])

    @property
    def velocity(self) -> float:
        """Move of the peak per cycle."""
        return float(self._mean[self._top, 3]) if self.is_moving else 0.0

    @property
    def curvature(self) -> Line:
        """d²J/dα² with its standard error."""
        variance = float(self._cov[self._top, 2, 2])
        return Line(2.0 * float(self._mean[self._top, 2]), 2.0 * math.sqrt(max(variance, 0.0)))

    def slope(self, alpha: float) -> Line:
        """Return dJ/dα at alpha with its standard error."""
        x, m, c = alpha - self.middle, self._mean[self._top], self._cov[self._top]
        variance = float(c[1, 1] + 4.0 * x * c[1, 2] + 4.0 * x * x * c[2, 2])
        return Line(float(m[1] + 2.0 * x * m[2]), math.sqrt(max(variance, 0.0)))

    def at(self, alpha: float) -> float:
        """Return J at alpha."""
        x, m = alpha - self.middle, self._mean[self._top]
        return float(m[0] + m[1] * x + m[2] * x * x)

    def learn(self, alpha: float, objective: float) -> bool:
        """Take in one measurement.

        Returns:
            Whether it says that J has changed.
        """
        alarms = self.alarms
        # What overflows is found by `_is_sound`.
        with np.errstate(over="ignore", invalid="ignore"):
            sound = self._take_in(alpha - self.middle, objective) and self._is_sound()
        if not sound:
            # Where J is huge, or huge and then small, rounding leaves variances below 0. Such a model knows
            # nothing any more, neither of J nor of the noise, which was measured on the same figures.
            self._begin_anew()
            self.alarms += 1
        return self.alarms > alarms

    def _take_in(self, x: float, objective: float) -> bool:
        sound = self._filter(x, objective)
        if sound and self._is_early:
            self._early.append((x, objective))
            ratio = self.variance / self._assumed
            self._is_early = len(self._early) < REPLAYED
            if self.age >= FEW and not 1.0 / REPLAY_RATIO <= ratio <= REPLAY_RATIO:
                sound = self._replay()
            if not self._is_early:
                self._early = []
        return sound

    def _is_sound(self) -> bool:
        """Say whether no variance is negative, and no figure so large that the next cycle could overflow."""
        figures = (self.variance, self.misfit, self._before or 0.0, *self._misses)
        if not all(abs(figure) <= LARGEST_DERIVED for figure in figures):
            return False
        # All else is bounded by these.
        bounded = all(bool((np.abs(array) <= LARGEST_DERIVED).all()) for array in (self._mean, self._cov))
        return bounded and bool((np.diagonal(self._cov, axis1=1, axis2=2) >= 0.0).all())

    def restart(self) -> None:
        """Forget J but not the noise: α is somewhere else."""
        self._empty()
        self._early = []
        self._is_early = False

    def _replay(self) -> bool:
        """Filter the first samples anew: too little noise assumed is too much believed, for good."""
        kept = self.variance, self._worth, self.alarms, self.since
        self._assumed = self.variance
        self._empty()
        sound = True
        for x, objective in self._early:
            self.variance = kept[0]
            sound = self._filter(x, objective) and sound
        self.variance, self._worth, self.alarms, self.since = kept
        return sound

    def _filter(self, x: float, objective: float) -> bool:
        """Take in one measurement.

        Returns:
            Whether every model could say how far off it may be; else the bank knows nothing any more.
        """
        if self.age == 0:
            self._begin(x, objective)
        self.age += 1
        self.since += 1
        mean, cov = self._predicted()
        self._late += self._share * (np.array([x, x * x]) - self._late)
        h = np.zeros((len(self._share), STATES))
        h[:, 0] = 1.0
        h[:, 1:3] = self._late
        gain = np.einsum("mij,mj->mi", cov, h)
        spread = np.einsum("mi,mi->m", h, gain) + self.variance
        if not bool(np.all(spread > 0.0)):
            return False
        error = objective - np.einsum("mi,mi->m", h, mean)
        self._mean = mean + gain * (error / spread)[:, None]
        self._cov = cov - gain[:, :, None] * (gain / spread[:, None])[:, None, :]
        # In this order: a model that explains a change must not hide it.
        self._watch(error, spread)
        self._weigh(error, spread)
        self._listen(float(error[self._top]) * math.sqrt(self.variance / float(spread[self._top])))
        return True

    def _begin(self, x: float, objective: float) -> None:
        count, half = len(self._share), self.half
        self._mean = np.tile([objective, 0.0, 0.0, 0.0], (count, 1))
        self._mean[:, 2] = -self._drop / half**2
        self._cov = np.zeros((count, STATES, STATES))
        self._cov[:, 0, 0] = LEVEL_ERROR**2
        self._cov[:, 1, 1] = (SLOPE_DROP / half) ** 2
        self._cov[:, 2, 2] = (self._drop_error / half**2) ** 2
        self._cov[:, 3, 3] = 10.0 * self._push**2
        self._late = np.tile([x, x * x], (count, 1))

    def _predicted(self) -> tuple[Array, Array]:
        """Return means and covariances one cycle on."""
        turn = np.maximum(-2.0 * self._mean[:, 2], LEAST_CURVATURE)
        peak = np.minimum(np.maximum(self._mean[:, 1] / turn, -2.0 * self.half), 2.0 * self.half)
        move = self._stay.copy()
        move[:, 0, 3] = -turn * peak * self._moving
        move[:, 1, 3] = turn * self._moving
        mean = np.einsum("mij,mj->mi", move, self._mean)
        cov = move @ self._cov @ move.transpose(0, 2, 1)
        walk = (turn * self._walk) ** 2
        drift = walk * peak
        cov[:, 0, 0] += drift * peak + LEVEL_WALK**2 * self.variance
        cov[:, 0, 1] -= drift
        cov[:, 1, 0] -= drift
        cov[:, 1, 1] += walk
        cov[:, 3, 3] += self._push**2
        return mean, cov

    def _weigh(self, error: Array, spread: Array) -> None:
        """Score the prediction of every model, and believe the best lag, and the best kind at that lag."""
        score = -0.5 * (np.log(spread / self.variance) + np.minimum(error * error / spread, OUTLIER**2))
        kinds = len(KINDS)
        fit, gain = self._kind_fit.reshape(-1, kinds), score.reshape(-1, kinds)
        weight, best = np.exp(fit - fit.max(axis=1, keepdims=True)), gain.max(axis=1)
        likelihood = (weight * np.exp(gain - best[:, None])).sum(axis=1) / weight.sum(axis=1)
        lag_gain = best + np.log(np.maximum(likelihood, LEAST_LIKELIHOOD))
        self._lag_fit = _faded(self._lag_fit, self._lag_prior, LAG_MEMORY) + lag_gain - lag_gain.max()
        self._kind_fit = _faded(self._kind_fit, self._kind_prior, MEMORY) + score - score.max()
        lag, kind = divmod(self._top, kinds)
        lag = _preferred(self._lag_fit, lag)
        kind = _preferred(self._kind_fit[lag * kinds : (lag + 1) * kinds], kind)
        before, self._top = self._top, lag * kinds + kind
        if self._drop[before] != self._drop[self._top]:
            # The noise of a wrong shape was its misfit.
            self._worth = min(self._worth, RELISTEN)

    def _watch(self, error: Array, spread: Array) -> None:
        miss = float(error[self._top]) / math.sqrt(float(spread[self._top]))
        self.misfit += (min(miss * miss, OUTLIER**2) - self.misfit) / min(self.age + 1.0, MISFIT_MEMORY)
        self._misses = [*self._misses[-TOGETHER + 1 :], miss]
        if self.age > GREEN and self._is_surprised():
            self._alarm(error)

    def _is_surprised(self) -> bool:
        misses = self._misses
        if len(misses) < 2:
            return abs(misses[-1]) > CERTAIN
        twice = min(abs(misses[-1]), abs(misses[-2])) > PAIR and misses[-1] * misses[-2] > 0.0
        together = abs(sum(misses)) / math.sqrt(len(misses)) > OUTLIER
        return abs(misses[-1]) > CERTAIN or twice or together

    def _alarm(self, error: Array) -> None:
        """Loosen every model: the peak, the level and the curvature may be elsewhere."""
        self.alarms += 1
        self.since = 0
        self._misses = []
        turn = np.maximum(-2.0 * self._mean[:, 2], LEAST_CURVATURE)
        self._cov[:, 0, 0] += error * error
        self._cov[:, 1, 1] += (turn * JUMP * self.half) ** 2
        self._cov[:, 2, 2] += (RECURVED * self._mean[:, 2]) ** 2
        self._kind_fit = self._kind_prior.copy()

    def _listen(self, residual: float) -> None:
        """Take the noise from the difference of two innovations that follow one another."""
        if self._before is not None:
            change = clip(residual - self._before, -LARGEST_DERIVED, LARGEST_DERIVED)
            miss = min(change**2 / 2.0, 9.0 * self.variance)
            self._worth = min(self._worth + 1.0, NOISE_MEMORY)
            variance = self.variance + (miss - self.variance) / self._worth
            self.variance = clip(variance, LEAST_SIGMA**2, MOST_SIGMA**2)
        self._before = residual

    def state(self) -> State:
        """Give the memory in JSON's types."""
        return {
            "age": self.age,
            "since": self.since,
            "alarms": self.alarms,
            "top": self._top,
            "misses": list(self._misses),
            "misfit": self.misfit,
            "variance": self.variance,
            "worth": self._worth,
            "assumed": self._assumed,
            "before": optional(self._before),
            "is_early": int(self._is_early),
            "early": [figure for sample in self._early for figure in sample],
            **{key: [float(figure) for figure in getattr(self, f"_{key}").flat] for key in ARRAYS},
        }

    def restore(self, reader: StateReader) -> None:
        """Take the memory back; after an OptimizerStateError it is not to be used any more."""
        count = len(self._share)
        self.age = reader.integer("age", 0, LAST_COUNT)
        self.since = reader.integer("since", 0, LAST_COUNT)
        self.alarms = reader.integer("alarms", 0, LAST_COUNT)
        self._top = reader.integer("top", 0, count - 1)
        self._misses = [row[0] for row in reader.rows("misses", 1, TOGETHER, LARGEST_DERIVED)]
        self.misfit = reader.number("misfit", 0.0, LARGEST_DERIVED)
        self.variance = reader.number("variance", LEAST_SIGMA**2, MOST_SIGMA**2)
        self._worth = reader.number("worth", 1.0, NOISE_MEMORY)
        self._assumed = reader.number("assumed", LEAST_SIGMA**2, MOST_SIGMA**2)
        self._before = reader.optional("before", LARGEST_DERIVED)
        self._is_early = bool(reader.integer("is_early", 0, 1))
        self._early = [(x, objective) for x, objective in reader.rows("early", 2, REPLAYED)]
        for key in ARRAYS:
            array = getattr(self, f"_{key}")
            rows = reader.rows(key, array.size, 1, LARGEST_DERIVED)
            if not rows:
                raise OptimizerStateError(f"{key} must be a list of {array.size} numbers")
            setattr(self, f"_{key}", np.array(rows[0]).reshape(array.shape))


def _faded(fit: Array, prior: Array, memory: float) -> Array:
    return memory * fit + (1.0 - memory) * prior


def _preferred(fit: Array, habitual: int) -> int:
    best = int(np.argmax(fit))
    return best if fit[best] > fit[habitual] + HABIT else habitual
