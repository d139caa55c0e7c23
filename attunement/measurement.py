"""One cycle of an engine as floats, and as the kernel's integers."""

from math import isfinite
from operator import index
from typing import Any

import attrs

from attunement.coherence import CoherenceDensityMeter, SnapshotError
from attunement.engine_protocol import AttunableEngine, capabilities
from attunement.foreign import described
from kernel import Limits, Reading
from kernel.quantity import round_down, round_nearest, round_up, to_float
from kernel.state import SCALES, PerScale

_NEEDED = {
    "cycle": "whether a reading is new",
    "cycle_alpha": "whether a reading was taken at the present α",
    "get_entropy_rate": "entropy_rate",
    "get_h_internal": "h_internal",
    "get_gains": "drive and loop_gain",
}


class EngineCapabilityError(TypeError):
    """An engine lacks what a check of the kernel needs; such checks are not skipped."""


class MeasurementError(Exception):
    """A cycle gave no usable reading."""


@attrs.frozen
class Measurement:
    """One cycle as measured, dimensionless floats.

    Attributes:
        cycle: Number of the measured cycle, counted over restarts.
        alpha: α that the cycle ran with.
        c_hat: Ĉ in [0, 1].
        objective: J = Ĉ - ρ(α-1)².
        entropy_rate: Rise of entropy per cycle.
        h_internal: Order parameter in [0, 1].
        drive, loop_gain: Per unit of α, in the order of the scales.
    """

    cycle: int
    alpha: float
    c_hat: float
    objective: float
    entropy_rate: float
    h_internal: float
    drive: tuple[float, float, float]
    loop_gain: tuple[float, float, float]

    def reading(self) -> Reading:
        """Return the kernel's integers, each rounded against the proposer.

        Raises:
            MalformedQuantityError: a figure is NaN, infinite or no number.
        """
        return Reading(
            cycle=self.cycle,
            alpha=round_nearest("alpha", self.alpha),
            coherence=round_nearest("objective", self.objective),
            entropy_rate=round_up("entropy_rate", self.entropy_rate),
            h_internal=round_down("h_internal", self.h_internal),
            drive=_rounded_up("drive", self.drive),
            loop_gain=_rounded_up("loop_gain", self.loop_gain),
        )

    def margins(self, limits: Limits) -> tuple[tuple[str, float], ...]:
        """Return how far inside each limit this cycle was, by the limit's name and in its unit."""
        drive, loop_gain = to_float(limits.drive_max), to_float(limits.loop_gain_max)
        return (
            ("entropy_rate", to_float(limits.entropy_max) - self.entropy_rate),
            ("h_internal", self.h_internal - to_float(limits.h_internal_min)),
            *((f"drive[{L}]", drive - self.alpha * gain) for L, gain in zip(SCALES, self.drive, strict=True)),
            *(
                (f"loop_gain[{L}]", loop_gain - self.alpha * gain)
                for L, gain in zip(SCALES, self.loop_gain, strict=True)
            ),
        )


class Sensors:
    """Reads an engine once per cycle.

    Args:
        engine: What is attuned.
        coherence_window: Snapshots at one α that Ĉ is averaged over.
        rho: Weight of the regulariser in J = Ĉ - ρ(α-1)².
        first_cycle: Number in the ledger of the engine's own cycle 0, so that numbers rise over restarts.

    Raises:
        EngineCapabilityError: a check of the kernel could not be made on this engine.
    """

    def __init__(self, engine: AttunableEngine, coherence_window: int, rho: float, first_cycle: int) -> None:
        require_capabilities(engine)
        self._engine: Any = engine
        self._meter = CoherenceDensityMeter(engine, coherence_window)
        self._rho = rho
        self._first_cycle = first_cycle

    def newest_cycle(self) -> int:
        """Return the number that the newest cycle has in the ledger.

        Raises:
            MeasurementError: the engine raised, or gave what is no whole number.
        """
        try:
            return self._first_cycle + _whole(self._engine.cycle)
        except Exception as error:
            raise MeasurementError(f"engine's cycle is no whole number: {described(error)}") from error

    def lambdas(self) -> dict[str, float]:
        """Return λ(t, L) per scale under the α applied now; it is shown and never judged.

        Empty where the engine does not offer it, raises, or gives what is no finite figure.
        """
        try:
            shown = {scale: float(self._engine.get_lambda(scale)) for scale in SCALES}
        except Exception:  # noqa: BLE001 - a foreign engine may raise anything
            return {}
        return shown if all(map(isfinite, shown.values())) else {}

    def measure(self) -> Measurement:
        """Read the newest cycle.

        Raises:
            MeasurementError: the engine raised, or gave what is no figure.
        """
        try:
            return self._measure()
        except MeasurementError:
            raise
        except Exception as error:
            raise unmeasured(error) from error

    def _measure(self) -> Measurement:
        engine = self._engine
        # Read first: an engine that runs on meanwhile makes the figures newer than the number, never older.
        cycle = self.newest_cycle()
        alpha, c_hat, gains = engine.cycle_alpha, self._meter.compute_C_hat(), engine.get_gains()
        if not 0.0 <= c_hat <= 1.0:
            raise MeasurementError(f"C_hat is {c_hat}, must lie in [0, 1]")
        drive = (gains[SCALES[0]].drive, gains[SCALES[1]].drive, gains[SCALES[2]].drive)
        loop_gain = (gains[SCALES[0]].loop_gain, gains[SCALES[1]].loop_gain, gains[SCALES[2]].loop_gain)
        return Measurement(
            cycle=cycle,
            alpha=alpha,
            c_hat=c_hat,
            objective=c_hat - self._rho * (alpha - 1.0) ** 2,
            entropy_rate=engine.get_entropy_rate(),
            h_internal=engine.get_h_internal(),
            drive=drive,
            loop_gain=loop_gain,
        )


def unmeasured(error: Exception) -> MeasurementError:
    """Return what is said where an engine raised, or gave a snapshot that is none."""
    is_snapshot = isinstance(error, SnapshotError)
    return MeasurementError(str(error) if is_snapshot else f"engine raised {described(error)}")


def newest_psi(engine: Any) -> float | None:
    """Return Ψ of an engine's newest cycle, in [0, 1]; None if it offers none, raises, or gives another."""
    try:
        figure = float(engine.get_psi())
    except Exception:  # noqa: BLE001 - a foreign engine may raise anything
        return None
    return figure if 0.0 <= figure <= 1.0 else None


def require_capabilities(engine: AttunableEngine) -> None:
    """Refuse an engine on which a check of the kernel could not be made; nothing of it is called.

    Raises:
        EngineCapabilityError: naming what it lacks, and the checks.
    """
    offered = capabilities(engine)
    lacking = [name for name in _NEEDED if name not in offered]
    if lacking:
        unmade = "; ".join(f"no {name}, so nothing can check {_NEEDED[name]}" for name in lacking)
        raise EngineCapabilityError(f"{type(engine).__name__} cannot be attuned: {unmade}")


def _whole(number: Any) -> int:
    # A bool is an index too; NumPy's integers are, and are meant.
    if isinstance(number, bool):
        raise TypeError("it is a bool")
    return index(number)


def _rounded_up(name: str, figures: tuple[float, float, float]) -> PerScale:
    first, second, third = (
        round_up(f"{name}[{scale}]", figure) for scale, figure in zip(SCALES, figures, strict=True)
    )
    return (first, second, third)
