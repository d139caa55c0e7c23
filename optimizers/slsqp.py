"""Sequential least squares programming on a local quadratic surrogate of J."""

from collections import deque
from typing import Any, Final

import numpy as np
from attrs import astuple, fields
from numpy.typing import NDArray
from scipy.optimize import minimize

from optimizers import fit
from optimizers.dithered import DitheredTuner
from optimizers.errors import OptimizerSettingError
from optimizers.excitation import assumed_curvature
from optimizers.figures import LARGEST_DERIVED, StateReader, clip, optional
from optimizers.protocol import Space, State
from optimizers.tuner import Sample

DAMPING: Final = 0.5
"""Part of the way to the surrogate's peak that is taken per cycle."""
PRIOR_WIDTH: Final = 2.0
"""Standard deviation of the curvature's prior, in assumed curvatures."""
CLEAR: Final = 2.0
"""Significance at which a measured curvature sizes the excitation."""
ALARM: Final = 4.0
"""Noise deviations of a prediction error that count as a surprise."""
SURPRISES: Final = 2
"""Surprises in a row that discard the older samples."""
SOLVE_EVERY: Final = 2
"""Cycles between two runs of SLSQP, most of whose time is its set-up."""
ITERATIONS: Final = 20
TOLERANCE: Final = 1e-9


class SlsqpSurrogate(DitheredTuner):
    """Fit a parabola to the latest samples, and maximise it under bounds and rate with scipy's SLSQP.

    SLSQP reports success while breaking the rate constraint often enough that its flag is not read: its
    answer is taken only when it is finite, keeps bounds and rate, and is no worse on the surrogate than
    staying. Else the way goes towards the best sample of the window. A row of samples that the surrogate
    did not expect discards the older ones.

    Args:
        space: limits of α.
        window: number of samples in the fit.
        forgetting: weight of a sample relative to the next newer one, in (0, 1].
        seed: decides the first direction of the excitation.

    Raises:
        OptimizerSettingError: a setting is out of its range.
    """

    name = "slsqp"
    mode = "gradient"

    def __init__(self, space: Space, window: int = 60, forgetting: float = 0.95, seed: int = 0) -> None:
        if not 4 <= window <= 10_000:
            raise OptimizerSettingError(f"slsqp_window is {window}, must lie in [4, 10000]")
        if not 0.0 < forgetting <= 1.0:
            raise OptimizerSettingError(f"slsqp_forgetting is {forgetting}, must lie in (0, 1]")
        super().__init__(space, window, forgetting, seed)

    def _forget(self) -> None:
        super()._forget()
        self._curve: fit.Parabola | None = None
        self._trusted: fit.Parabola | None = None
        self._surprises = 0
        self._peak: float | None = None
        self._peak_age = 0

    def _halt(self) -> None:
        super()._halt()
        self._peak = None

    def _learn(self, base: float, sample: Sample) -> None:
        trusted = self._trusted
        surprise = trusted is not None and not (
            abs(sample.objective - trusted.at(sample.alpha)) <= ALARM * trusted.noise
        )
        self._surprises = self._surprises + 1 if surprise else 0
        if self._surprises >= SURPRISES:
            # J has changed: what was learnt before describes another engine.
            self._surprises = 0
            self._samples = deque(list(self._samples)[-SURPRISES:], maxlen=self._samples.maxlen)
            self._peak = None
        super()._learn(base, sample)
        if self._surprises == 0:
            # A fit that has taken in the first surprise would not be surprised by the second.
            self._trusted = self._curve

    def _estimate(self, base: float) -> fit.Line | None:
        kappa = assumed_curvature(self.space)
        alphas, objectives = [a for a, _ in self._samples], [j for _, j in self._samples]
        prior = (-kappa, PRIOR_WIDTH * kappa)
        self._curve = fit.parabola(alphas, objectives, self.sigma, base, prior, self._forgetting)
        return None if self._curve is None else self._curve.line

    def _advance(self, centre: float, estimate: fit.Line, room: float) -> float:
        self._peak_age += 1
        if self._peak is None or self._peak_age >= SOLVE_EVERY:
            self._peak, self._peak_age = self._find_peak(centre, estimate, room), 0
        return clip(centre + DAMPING * (self._peak - centre), centre - room, centre + room)

    def _find_peak(self, centre: float, estimate: fit.Line, room: float) -> float:
        curve = self._curve
        low, high = self.allowed()
        if curve is None or not low < high:
            return centre
        start = clip(centre, low, high)
        # The rate limits what is gone until the next solution, of which DAMPING is gone per cycle.
        rate = room * SOLVE_EVERY / DAMPING
        slope = estimate.slope + curve.curvature * (start - curve.centre)
        move = solve(slope, curve.curvature, low - start, high - start, rate)
        if move is None:
            best, _ = max(self._samples, key=lambda sample: sample[1])
            return clip(best, low, high)
        return start + move

    def _swing(self) -> float:
        curve = self._curve
        if curve is not None and curve.curvature < -CLEAR * curve.curvature_error:
            return self.excitation(self._effective_samples(), -curve.curvature)
        return super()._swing()

    def _dump(self) -> State:
        return {
            **super()._dump(),
            "curve": _flat(self._curve),
            "trusted": _flat(self._trusted),
            "surprises": self._surprises,
            "peak": optional(self._peak),
            "peak_age": self._peak_age,
        }

    def _load(self, reader: StateReader) -> None:
        super()._load(reader)
        self._curve = _parabola(reader, "curve")
        self._trusted = _parabola(reader, "trusted")
        self._surprises = reader.integer("surprises", 0, SURPRISES)
        self._peak = reader.optional("peak")
        self._peak_age = reader.integer("peak_age", 0, SOLVE_EVERY)


def _flat(curve: fit.Parabola | None) -> list[float]:
    return [] if curve is None else list(astuple(curve))


def _parabola(reader: StateReader, key: str) -> fit.Parabola | None:
    rows = reader.rows(key, len(fields(fit.Parabola)), 1, LARGEST_DERIVED)
    return fit.Parabola(*rows[0]) if rows else None


def solve(slope: float, curvature: float, low: float, high: float, rate: float) -> float | None:
    """Return the x with the largest surrogate under bounds and rate, None when SLSQP's answer is unusable.

    Args:
        slope: dJ/dα at x = 0.
        curvature: d²J/dα².
        low, high: bounds of x, with low ≤ 0 ≤ high.
        rate: largest |x|, above 0.
    """
    # In units of the rate and of the larger term, SLSQP's absolute tolerances mean the same for every J.
    scale = max(abs(slope), abs(curvature) * rate, fit.ROUNDING)
    slope, curvature = slope / scale, curvature * rate / scale

    def loss(u: NDArray[np.float64]) -> float:
        return -float(slope * u[0] + 0.5 * curvature * u[0] ** 2)

    def slope_of_loss(u: NDArray[np.float64]) -> NDArray[np.float64]:
        return -(slope + curvature * u)

    start = _closed_form(slope, curvature, low / rate, high / rate)
    within_rate: Any = {
        "type": "ineq",
        "fun": lambda u: np.array([1.0 - u[0], 1.0 + u[0]]),
        "jac": lambda _u: np.array([[-1.0], [1.0]]),
    }
    answer = minimize(
        loss,
        np.array([start]),
        jac=slope_of_loss,
        method="SLSQP",
        bounds=[(low / rate, high / rate)],
        constraints=[within_rate],
        options={"maxiter": ITERATIONS},
    )
    sound = _is_sound(float(answer.x[0]), low / rate, high / rate, loss(answer.x))
    return clip(clip(rate * float(answer.x[0]), low, high), -rate, rate) if sound else None


def _closed_form(slope: float, curvature: float, low: float, high: float) -> float:
    """Return the start of the search: the parabola's peak, or the better end, cut to what is allowed."""
    peak = -slope / curvature if curvature < 0.0 else float(np.copysign(1.0, slope))
    return clip(clip(peak, -1.0, 1.0), low, high)


def _is_sound(u: float, low: float, high: float, loss: float) -> bool:
    return low - TOLERANCE <= u <= high + TOLERANCE and abs(u) <= 1.0 + TOLERANCE and loss <= TOLERANCE
