"""A one-step forecast of Ĉ and of the entropy rate, and how far it was off; it decides nothing."""

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import attrs
import numpy as np
from numpy.typing import NDArray

from attunement.measurement import Measurement
from attunement.telemetry import CycleReport
from kernel.quantity import to_float

FIGURES: Final = ("C_hat", "entropy_rate")
WINDOW: Final = 64
LEAST_STEPS: Final = 8
RIDGE: Final = 1e-3
TINY: Final = 1e-18

FloatArray = NDArray[np.float64]


@attrs.frozen
class Forecast:
    """What is expected of one figure, and what came of it; None where there is nothing to tell.

    Attributes:
        expected: Forecast for the next cycle, in [0, 1].
        error: Newest figure less its forecast.
        rms_error: Root mean square of the errors within the window.
        naive_rms_error: The same, had each figure been forecast to stay as it was.
    """

    expected: float | None = None
    error: float | None = None
    rms_error: float | None = None
    naive_rms_error: float | None = None


@attrs.frozen
class Forecasts:
    """What is expected of one cycle.

    Attributes:
        cycle: Number of the cycle; None when the newest one gave no reading to forecast from.
        figures: By name, see `FIGURES`.
    """

    cycle: int | None = None
    figures: dict[str, Forecast] = attrs.field(factory=lambda: dict.fromkeys(FIGURES, Forecast()))


class Predictor:
    """Forecasts one figure y by y' = y + a·(y − y₋₁) + b·(ȳ − y) + c·(α' − α), fitted to the newest steps.

    a is how far a movement carries on, b how fast y returns to its mean ȳ over the window, c how it follows a
    step of α. The fit is least squares with a ridge (Hoerl and Kennard, 1970), so that a window in which α
    rests is no division by zero.
    """

    def __init__(self) -> None:
        self._levels: deque[float] = deque(maxlen=WINDOW)
        # What was known before each step, as in the formula, and the change that it brought.
        self._known: deque[tuple[float, float, float]] = deque(maxlen=WINDOW)
        self._changes: deque[float] = deque(maxlen=WINDOW)
        self._errors: deque[float] = deque(maxlen=WINDOW)
        self._naive_errors: deque[float] = deque(maxlen=WINDOW)
        self._before: tuple[float, float, float] = (0.0, 0.0, 0.0)
        self._figure = 0.0
        self._expected: float | None = None

    def learn(self, figure: float) -> float | None:
        """Take in what came of the step that was last forecast; return its error, None if it was none."""
        change = figure - self._figure
        self._known.append(self._before)
        self._changes.append(change)
        if self._expected is None:
            return None
        error = figure - self._expected
        self._errors.append(error)
        self._naive_errors.append(change)
        return error

    def forecast(self, figure: float, moved: float, alpha_step: float) -> float | None:
        """Return what is expected next; None while too little is known.

        Args:
            figure: As measured now.
            moved: Its change over the step that led here, 0 when that was not seen.
            alpha_step: Change of α for the next cycle.
        """
        self._levels.append(figure)
        mean = math.fsum(self._levels) / len(self._levels)
        self._figure, self._before = figure, (moved, mean - figure, alpha_step)
        self._expected = None
        if len(self._changes) >= LEAST_STEPS:
            change = float(np.dot(self._before, _fitted(self._known, self._changes)))
            self._expected = min(1.0, max(0.0, figure + change))
        return self._expected

    @property
    def figure(self) -> float:
        """What was measured last."""
        return self._figure

    def told(self, expected: float | None, error: float | None) -> Forecast:
        """Return a forecast with how well the ones before it did."""
        return Forecast(expected, error, _rms(self._errors), _rms(self._naive_errors))


class Forecaster:
    """Consumes telemetry, and forecasts the next cycle from each reading.

    A cycle that is not the next one (one was missed, or left out by a full feed), or that ran at another α
    than foreseen, teaches nothing and is no error.

    Args:
        watchers: Told every forecast, in the thread that consumes.
    """

    def __init__(self, watchers: Sequence[Callable[[Forecasts], object]] = ()) -> None:
        self._predictors = {name: Predictor() for name in FIGURES}
        self._watchers = tuple(watchers)
        self._foreseen: tuple[int, float] | None = None
        self.latest = Forecasts()

    def consume(self, report: CycleReport) -> None:
        """Take in one cycle."""
        measurement = report.measurement
        if measurement is None:
            self._foreseen = None
            found = {name: one.told(None, None) for name, one in self._predictors.items()}
            self._tell(Forecasts(None, found))
            return
        is_foreseen = self._foreseen == (measurement.cycle, measurement.alpha)
        alpha = to_float(report.state.alpha)
        self._foreseen = (measurement.cycle + 1, alpha)
        found = {}
        for (name, predictor), figure in zip(self._predictors.items(), _figures(measurement), strict=True):
            moved = figure - predictor.figure if is_foreseen else 0.0
            error = predictor.learn(figure) if is_foreseen else None
            expected = predictor.forecast(figure, moved, alpha - measurement.alpha)
            found[name] = predictor.told(expected, error)
        self._tell(Forecasts(measurement.cycle + 1, found))

    def _tell(self, forecasts: Forecasts) -> None:
        self.latest = forecasts
        for watcher in self._watchers:
            watcher(forecasts)


def _figures(measurement: Measurement) -> tuple[float, float]:
    return (measurement.c_hat, measurement.entropy_rate)


def _fitted(known: Sequence[tuple[float, float, float]], changes: Sequence[float]) -> FloatArray:
    rows = np.array(known)
    squares = rows.T @ rows
    # The last term keeps a column of zeros from making the matrix singular; no figure is as small.
    squares += np.diag(RIDGE * np.diag(squares) + TINY)
    solved: FloatArray = np.linalg.solve(squares, rows.T @ np.array(changes))
    return solved


def _rms(errors: Sequence[float]) -> float | None:
    return math.sqrt(math.fsum(error * error for error in errors) / len(errors)) if errors else None
