"""Gradient ascent with momentum on a finite-difference gradient."""

import math
from collections import deque
from typing import Final, Literal

from optimizers import fit
from optimizers.errors import OptimizerSettingError
from optimizers.excitation import assumed_curvature, coin
from optimizers.figures import LARGEST, LARGEST_DERIVED, StateReader, clip, optional
from optimizers.protocol import Space, State, Verdict
from optimizers.tuner import LAST_TICK, Sample, Tuner, Wish

DECISIVE: Final = 2.5
"""Significance at which an estimate is acted on before the averaging window is full."""
CLIMBING: Final = 2.0
"""Significance of the rise over the latest steps that makes a further probe unnecessary."""
CLEAR: Final = 5.0
"""Significance at which a measured curvature limits the step."""
PRIOR_WIDTH: Final = 20.0
"""Width of the prior of the curvature, in assumed curvatures: nearly none."""
GROWTH: Final = 1.5
DECISIVE_GROWTH: Final = 2.5
SHRINKAGE: Final = 0.5
SMALLEST_RADIUS_SHARE: Final = 1 / 3
"""Part of the probe distance below which disagreement alone does not shrink a step."""
EPISODE_LAST: Final = 16
CLIMB_LAST: Final = 6
_UP, _DOWN = 1, -1


class GradientAscent(Tuner):
    """Probe on both sides, average, step with momentum, and climb on while the steps show a clear rise.

    With lr a number, the step is the momentum velocity v ← momentum·v + lr·dJ/dα. With lr "auto" the step
    is a radius times the share of the estimate that is signal, z²/(1+z²) at significance z. The radius
    grows while successive estimates agree in sign and halves when they do not (the Rprop rule, Riedmiller
    and Braun 1993); agreement alone brings it back, so it never dies. A clear curvature limits the step to
    the parabola's peak.

    Args:
        space: limits of α.
        lr: learning rate in units of α² per unit of J, or "auto".
        momentum: share of the velocity that is kept, in [0, 1).
        epsilon: probe distance in units of α, or "auto": sized from the measured noise, at most delta_max.
        averaging_window: number of two-sided estimates that are averaged.
        seed: decides which side is probed first.

    Raises:
        OptimizerSettingError: a setting is out of its range.
    """

    name = "gradient"
    mode = "gradient"

    def __init__(
        self,
        space: Space,
        lr: float | Literal["auto"] = "auto",
        momentum: float = 0.85,
        epsilon: float | Literal["auto"] = "auto",
        averaging_window: int = 3,
        seed: int = 0,
    ) -> None:
        if lr != "auto" and not 0.0 < lr <= LARGEST:
            raise OptimizerSettingError(f"lr is {lr}, must be auto or lie in (0, {LARGEST}]")
        if not 0.0 <= momentum < 1.0:
            raise OptimizerSettingError(f"momentum is {momentum}, must lie in [0, 1)")
        if epsilon != "auto" and not 0.0 < epsilon <= space.delta_max:
            limit = space.delta_max
            raise OptimizerSettingError(f"epsilon is {epsilon}, must be auto or lie in (0, {limit}]")
        if not 1 <= averaging_window <= 1000:
            window = averaging_window
            raise OptimizerSettingError(f"gradient_averaging_window is {window}, must lie in [1, 1000]")
        self._lr = lr
        self._momentum = momentum
        self._epsilon = epsilon
        self._averaging_window = averaging_window
        super().__init__(space, window=4, seed=seed)
        if epsilon != "auto":
            self._resolution = min(self._resolution, epsilon / 2)
        if lr != "auto":
            self._resolution = 1e-9

    def _forget(self) -> None:
        self._velocity = 0.0
        self._steps = 0
        self._radius = self.space.delta_max
        self._direction = 0
        self._tosses = 0
        self._episode: deque[tuple[float, float]] = deque(maxlen=EPISODE_LAST)
        self._climb: deque[tuple[float, float]] = deque(maxlen=CLIMB_LAST)
        self._estimates: deque[fit.Line] = deque(maxlen=self._averaging_window)
        self._significance: float | None = None

    @property
    def signal_to_noise(self) -> float | None:
        """Absolute averaged gradient in standard errors, None before the first estimate."""
        return None if self._significance is None else abs(self._significance)

    def _halt(self) -> None:
        self._velocity, self._steps = 0.0, 0
        self._climb.clear()
        self._episode.clear()

    def _learn(self, base: float, sample: Sample) -> None:
        point = (sample.alpha, sample.objective)
        if sample.verdict is Verdict.COMMITTED:
            self._episode.clear()
            if self._climb:
                self._climb.append(point)
        elif sample.verdict is Verdict.REVERTED and not sample.probed:
            self._halt()
            self._estimates.clear()
            self._radius = max(self._radius * SHRINKAGE, self._resolution)
            self._direction = 0
        if sample.alpha == base or sample.probed:
            self._episode.append(point)

    def _wish(self, base: float) -> Wish | None:
        if len(self._climb) > 1:
            step = self._climb_on(base)
            if step is not None:
                return Wish(base + step)
            self._climb.clear()
        probe = self._next_probe(base)
        if probe is not None:
            return Wish(probe, probe=True)
        step = self._decide(base)
        if step is not None and abs(step) >= self._resolution:
            return Wish(base + step)
        probe = self._next_probe(base)
        return None if probe is None else Wish(probe, probe=True)

    def _next_probe(self, base: float) -> float | None:
        """Return the α of the next probe, None when the episode has all that walls and bounds permit."""
        low, high = self._reach(base)
        wanted = self._probe_distance()
        room = {_UP: min(wanted, high - base), _DOWN: min(wanted, base - low)}
        done = {_UP if alpha > base else _DOWN for alpha, _ in self._episode if alpha != base}
        sides = [side for side in (_UP, _DOWN) if side not in done and room[side] >= wanted / 2]
        if not sides:
            return None
        if len(sides) == 2:
            self._tosses += 1
            sides = sides if coin(self.seed, self._tosses) else sides[::-1]
        return base + sides[0] * room[sides[0]]

    def _probe_distance(self) -> float:
        if self._epsilon != "auto":
            return self._epsilon
        return self.excitation(2 * self._averaging_window)

    def _decide(self, base: float) -> float | None:
        """Turn the finished episode into an estimate, and return the step once the estimates suffice."""
        episode, newest = list(self._episode), self._episode[-1] if self._episode else None
        self._episode.clear()
        alphas, objectives = [alpha for alpha, _ in episode], [objective for _, objective in episode]
        estimate = fit.line(alphas, objectives, self.sigma)
        if newest is None or estimate is None:
            return None
        self._episode.append(newest)
        self._estimates.append(estimate)
        mean = _mean(list(self._estimates))
        self.gradient, self._significance = mean.slope, mean.significance
        decisive = abs(mean.significance) >= DECISIVE
        if not decisive and len(self._estimates) < self._averaging_window:
            return None
        if decisive:
            self._estimates.clear()
            level = [objective for alpha, objective in episode if alpha == base]
            if level:
                self._climb.append((base, sum(level) / len(level)))
        return self._step(mean, _distance_to_peak(episode, base, self.sigma, assumed_curvature(self.space)))

    def _climb_on(self, base: float) -> float | None:
        """Return the next step of the climb, None when the latest steps show no clear rise."""
        rise = fit.line([a for a, _ in self._climb], [j for _, j in self._climb], self.sigma)
        if rise is None or not rise.significance * self._direction >= CLIMBING:
            return None
        self.gradient, self._significance = rise.slope, rise.significance
        peak = _distance_to_peak(list(self._climb), base, self.sigma, assumed_curvature(self.space))
        return self._step(rise, peak)

    def _step(self, estimate: fit.Line, peak: float) -> float:
        limit = self.space.delta_max
        if self._lr != "auto":
            self._direction = _UP if estimate.slope > 0.0 else _DOWN
            velocity = self._momentum * self._velocity + self._lr * estimate.slope
            self._velocity = clip(velocity, -LARGEST, LARGEST)
            return clip(self._velocity, -limit, limit)
        significance = clip(estimate.significance, -1e6, 1e6)
        signal = significance**2 / (1.0 + significance**2)
        direction = _UP if significance > 0.0 else _DOWN if significance < 0.0 else 0
        if direction * self._direction > 0:
            growth = DECISIVE_GROWTH if abs(significance) >= DECISIVE else GROWTH
            self._radius = min(self._radius * growth, limit)
        elif direction * self._direction < 0:
            floor = SMALLEST_RADIUS_SHARE * self._probe_distance()
            self._radius = min(self._radius, max(self._radius * SHRINKAGE, floor))
            self._velocity, self._steps = 0.0, 0
        self._direction = direction
        self._steps += 1
        drive = direction * self._radius * signal
        self._velocity = self._momentum * self._velocity + (1.0 - self._momentum) * drive
        return clip(self._velocity / (1.0 - self._momentum**self._steps), -peak, peak)

    def take_over(self, other: Tuner) -> None:
        """Become the active tuner after another one: its walls, no velocity, and nothing half measured."""
        self.inherit(other)
        self._halt()
        self._estimates.clear()
        self._significance = None

    def _dump(self) -> State:
        return {
            "velocity": self._velocity,
            "steps": self._steps,
            "radius": self._radius,
            "direction": self._direction,
            "tosses": self._tosses,
            "episode": [figure for point in self._episode for figure in point],
            "climb": [figure for point in self._climb for figure in point],
            "estimates": [figure for one in self._estimates for figure in (one.slope, one.error)],
            "significance": optional(self._significance),
        }

    def _load(self, reader: StateReader) -> None:
        limit = self.space.delta_max
        self._velocity = reader.number("velocity")
        self._steps = reader.integer("steps", 0, LAST_TICK)
        self._radius = reader.number("radius", 0.0, limit)
        self._direction = reader.integer("direction", _DOWN, _UP)
        self._tosses = reader.integer("tosses", 0, LAST_TICK)
        episode, climb = reader.rows("episode", 2, EPISODE_LAST), reader.rows("climb", 2, CLIMB_LAST)
        self._episode = deque(((a, j) for a, j in episode), maxlen=EPISODE_LAST)
        self._climb = deque(((a, j) for a, j in climb), maxlen=CLIMB_LAST)
        estimates = reader.rows("estimates", 2, self._averaging_window, LARGEST_DERIVED)
        self._estimates = deque((fit.Line(g, e) for g, e in estimates), maxlen=self._averaging_window)
        self._significance = reader.optional("significance", LARGEST_DERIVED)


def _mean(estimates: list[fit.Line]) -> fit.Line:
    """Return the mean weighted by the inverse variances."""
    weights = [1.0 / max(one.error, fit.ROUNDING) ** 2 for one in estimates]
    total = sum(weights)
    slope = sum(weight * one.slope for weight, one in zip(weights, estimates, strict=True)) / total
    return fit.Line(slope, math.sqrt(1.0 / total))


def _distance_to_peak(
    points: list[tuple[float, float]], base: float, sigma: float, curvature: float
) -> float:
    """Return how far from base a parabola through these points peaks, inf when they show no clear peak."""
    prior = (0.0, PRIOR_WIDTH * curvature)
    curve = fit.parabola([a for a, _ in points], [j for _, j in points], sigma, base, prior, 1.0)
    if curve is None or not curve.curvature < -CLEAR * curve.curvature_error:
        return math.inf
    return abs(curve.slope / curve.curvature)
