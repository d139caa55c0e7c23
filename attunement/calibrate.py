"""Proposes safety limits from what an engine shows when nobody tunes it."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite
from time import sleep
from typing import Protocol

import attrs
import numpy as np
from numpy import float64
from numpy.typing import NDArray

from attunement.coherence import mean_square
from attunement.engine_protocol import AttunableEngine
from attunement.foreign import described
from attunement.measurement import MeasurementError, unmeasured
from attunement.sources import SourceError
from kernel import ActuatorError

_SETTLING_CYCLES = 32
_STEP_CYCLES = 16
_STEP_PAIRS = 4
_STALE_MAX = 1000
_STALE_PAUSE_S = 0.01

_ENTROPY_FLOOR = 1e-6
_ENTROPY_MARGIN = 2.0
_STEP_MARGIN = 5.0
# So that what is severe lies beyond it: no entropy rises by more than 1.
_ENTROPY_MOST = 0.5
_SEVERE_ENTROPY_FACTOR = 10.0
_H_MARGIN = 1.5
# One node agrees with itself: a limit at 1 would call the first rounding error unsafe.
_H_DISTANCE_LEAST = 1e-3
_SEVERE_H_FACTOR = 2.0


class CalibrationError(RuntimeError):
    """No limits can be proposed."""


class CalibratedEngine(AttunableEngine, Protocol):
    """An engine that runs a cycle when told to; one that offers ``in_runaway`` is asked that as well."""

    @property
    def cycle(self) -> int:
        """Number of the newest cycle; it stands still when no new sample came in."""

    @property
    def cycle_alpha(self) -> float:
        """The α that the newest cycle ran with."""

    def run_cycle(self) -> None:
        """Advance by one cycle."""

    def normalize_C(self, c: float) -> float:
        """Map a mean square of Ω onto [0, 1], monotonically."""

    def get_alpha_multiplier(self) -> float:
        """Return the α applied now."""

    def get_entropy_rate(self) -> float:
        """Return the smoothed rise of entropy [1/cycle]."""

    def get_h_internal(self) -> float:
        """Return the internal coherence in [0, 1]."""


@attrs.frozen
class Baseline:
    """What an engine showed at α = 1, and the limits proposed from it.

    A step of α downwards makes Ω more even, so it raises the entropy by itself. A limit taken from the noise
    at one α alone would call every retreat unsafe; hence the margin over the answer to a step, which also
    covers the larger answers above α = 1.

    Attributes:
        cycles: Cycles measured at α = 1.
        quantile: Share of the cycles that the quantiles leave on the good side.
        entropy_rate: Quantile of the entropy rate [1/cycle].
        step_entropy_rate: Largest entropy rate while α stepped down and up [1/cycle].
        h_internal: The opposite quantile of the internal coherence.
        coherence: Mean Ĉ.
        safe_share: Share of the cycles at α = 1 within the proposed limits.
        entropy_max: The largest of twice the quantile, five times the step's answer and 1e-6, at most 0.5
            [1/cycle].
        entropy_severe: Ten times ``entropy_max``, at most 1 [1/cycle].
        h_internal_min: At 1.5 times the quantile's distance from 1, and at 1e-3 from it at least.
        h_internal_severe: At twice the distance of ``h_internal_min`` from 1.
    """

    cycles: int
    quantile: float
    entropy_rate: float
    step_entropy_rate: float
    h_internal: float
    coherence: float
    safe_share: float
    entropy_max: float
    entropy_severe: float
    h_internal_min: float
    h_internal_severe: float

    def to_yaml(self) -> str:
        """Write the limits, and their grounds, as a fragment of the configuration for a person to accept."""
        return (
            f"# measured over {self.cycles} cycles at alpha = 1, quantile {self.quantile:g}:\n"
            f"# entropy rate {self.entropy_rate:.3g} per cycle, {self.step_entropy_rate:.3g} at a step,\n"
            f"# H_internal {self.h_internal:.4f}, C_hat {self.coherence:.4f};\n"
            f"# {self.safe_share:.2%} of these cycles are within the limits below\n"
            "attunement:\n"
            "  safety:\n"
            f"    entropy_max: {self.entropy_max:.9f}\n"
            f"    h_internal_min: {self.h_internal_min:.9f}\n"
            f"    entropy_severe: {self.entropy_severe:.9f}\n"
            f"    h_internal_severe: {self.h_internal_severe:.9f}\n"
        )


def calibrate(
    engine: CalibratedEngine, cycles: int = 1000, quantile: float = 0.99, step: float = 0.02
) -> Baseline:
    """Run the engine at α = 1, then through small steps below it, and propose limits that it keeps.

    32 cycles settle the history, ``cycles`` are measured at α = 1, and 128 more while α goes four times down
    by ``step`` and back. A cycle without a new sample is waited out and not counted. α is as before when this
    returns or raises. This moves α without the kernel: it is for an engine that is not yet under control.

    Args:
        engine: The engine; nothing else may set its α meanwhile.
        cycles: Cycles to measure, at least 1.
        quantile: Share of cycles that the quantiles leave on the good side, in [0.5, 1].
        step: Step of α, in (0, 0.5]; the rate limit ``delta_alpha_max`` is the natural choice.

    Raises:
        CalibrationError: An argument is out of range, α was moved by somebody, the engine is in runaway,
            the source stands still, or entropy rises so fast that no limit has room.
        SourceError: The source cannot deliver, or ended too early.
        MeasurementError: The engine raised, or gave what is no figure.
        ActuatorError: The engine did not take an α, or was not given its own back.
    """
    if not cycles >= 1:
        raise CalibrationError(f"cycles is {cycles}, must be at least 1")
    if not 0.5 <= quantile <= 1:
        raise CalibrationError(f"quantile is {quantile}, must lie in [0.5, 1]")
    if not 0 < step <= 0.5:
        raise CalibrationError(f"step is {step}, must lie in (0, 0.5]")
    with _alpha_given_back(engine):
        _hold(engine, 1.0, _SETTLING_CYCLES)
        held = _hold(engine, 1.0, cycles)
        stepped = [_hold(engine, level, _STEP_CYCLES) for level in (1 - step, 1.0) * _STEP_PAIRS]
    return _baseline(held, float(np.concatenate(stepped)[:, 0].max()), quantile)


@contextmanager
def _alpha_given_back(engine: CalibratedEngine) -> Iterator[None]:
    try:
        alpha = engine.get_alpha_multiplier()
    except Exception as error:
        raise unmeasured(error) from error
    cause = ""
    try:
        yield
    except Exception as error:
        cause = f"{error}; "
        raise
    finally:
        # What went wrong before is said as well: an engine that is gone is the cause of both.
        _set(engine, alpha, f"{cause}alpha was not put back to {alpha:g}")


def _set(engine: CalibratedEngine, alpha: float, failed: str) -> None:
    try:
        engine.set_alpha_multiplier(alpha)
    except Exception as error:
        raise ActuatorError(f"{failed}: engine raised {described(error)}") from error


def _hold(engine: CalibratedEngine, alpha: float, cycles: int) -> NDArray[float64]:
    """Return entropy rate, H_internal and Ĉ of every cycle at ``alpha``, [cycles, 3]."""
    _set(engine, alpha, f"alpha = {alpha:g} was not taken")
    return np.array([_measure(engine, alpha) for _ in range(cycles)])


def _measure(engine: CalibratedEngine, alpha: float) -> tuple[float, float, float]:
    try:
        figures = _measured(engine, alpha)
    except (CalibrationError, SourceError):
        raise
    except Exception as error:
        raise unmeasured(error) from error
    for name, figure in zip(("entropy_rate", "h_internal", "C_hat"), figures, strict=True):
        if not isfinite(figure):
            raise MeasurementError(f"{name} is {figure}, must be finite")
    return figures


def _measured(engine: CalibratedEngine, alpha: float) -> tuple[float, float, float]:
    _run_fresh_cycle(engine)
    if engine.cycle_alpha != alpha:
        raise CalibrationError(f"alpha is {engine.cycle_alpha:g} in cycle {engine.cycle}, must be {alpha:g}")
    in_runaway = getattr(engine, "in_runaway", None)
    if in_runaway is not None and in_runaway():
        raise CalibrationError(f"the engine is in runaway at alpha = {alpha:g} in cycle {engine.cycle}")
    coherence = engine.normalize_C(mean_square(engine.sample_omega_snapshot()))
    return float(engine.get_entropy_rate()), float(engine.get_h_internal()), float(coherence)


def _run_fresh_cycle(engine: CalibratedEngine) -> None:
    before = engine.cycle
    for _ in range(_STALE_MAX):
        engine.run_cycle()
        if engine.cycle != before:
            return
        sleep(_STALE_PAUSE_S)
    raise CalibrationError(f"the source stood still for {_STALE_MAX} reads after cycle {before}")


def _baseline(held: NDArray[float64], step_entropy_rate: float, quantile: float) -> Baseline:
    entropy_rates, h_internals, coherences = held.T
    entropy_rate = float(np.quantile(entropy_rates, quantile))
    h_internal = float(np.quantile(h_internals, 1 - quantile))
    entropy_max = _entropy_max(entropy_rate, step_entropy_rate)
    h_internal_min = max(1 - max(_H_MARGIN * (1 - h_internal), _H_DISTANCE_LEAST), 0.0)
    safe = (entropy_rates <= entropy_max) & (h_internals >= h_internal_min)
    return Baseline(
        cycles=len(held),
        quantile=quantile,
        entropy_rate=entropy_rate,
        step_entropy_rate=step_entropy_rate,
        h_internal=h_internal,
        coherence=float(coherences.mean()),
        safe_share=float(safe.mean()),
        entropy_max=entropy_max,
        entropy_severe=min(_SEVERE_ENTROPY_FACTOR * entropy_max, 1.0),
        h_internal_min=h_internal_min,
        h_internal_severe=max(1 - _SEVERE_H_FACTOR * (1 - h_internal_min), 0.0),
    )


def _entropy_max(entropy_rate: float, step_entropy_rate: float) -> float:
    wanted = max(_ENTROPY_MARGIN * entropy_rate, _STEP_MARGIN * step_entropy_rate, _ENTROPY_FLOOR)
    limit = min(wanted, _ENTROPY_MOST)
    if not max(entropy_rate, step_entropy_rate) < limit:
        raise CalibrationError(
            f"the entropy rate is {entropy_rate:.3g} per cycle and {step_entropy_rate:.3g} at a step, must "
            f"be below {_ENTROPY_MOST:g} for a limit to leave it room"
        )
    return limit
