"""PID control that drives the gradient of J to zero."""

from typing import Final

from optimizers import fit
from optimizers.dithered import DitheredTuner
from optimizers.errors import OptimizerSettingError
from optimizers.figures import LARGEST, LARGEST_DERIVED, StateReader, clip, optional
from optimizers.protocol import Space, State
from optimizers.tuner import Tuner

NOISE_POWER: Final = 1.0
"""Squared significance at which half of a gradient estimate is believed."""


class PidAdjuster(DitheredTuner):
    """Position-form PID on the gradient estimate, with the setpoint zero.

    u = I + kp·g + kd·Δg, I ← I + ki·g per cycle, where g is the regression slope of the latest samples times
    the share of it that is signal, z²/(1+z²) at significance z. PID on Ĉ itself has no direction; its slope
    has. The integral is α itself: what bounds, rate and walls cut off is taken back out of it
    (back-calculation), so it cannot wind up or overflow, and a hand-over starts it at the α in force. The
    derivative acts on the measurement.

    Args:
        space: limits of α.
        kp: proportional gain, in units of α² per unit of J.
        ki: integral gain per cycle, in the same units.
        kd: derivative gain times one cycle, in the same units.
        window: number of samples in the regression.
        forgetting: weight of a sample relative to the next newer one, in (0, 1].
        seed: decides the first direction of the excitation.

    Raises:
        OptimizerSettingError: a setting is out of its range.
    """

    name = "pid"
    mode = "pid"

    def __init__(
        self,
        space: Space,
        kp: float = 0.01,
        ki: float = 0.02,
        kd: float = 0.0,
        window: int = 24,
        forgetting: float = 0.88,
        seed: int = 0,
    ) -> None:
        for key, gain in (("kp", kp), ("ki", ki), ("kd", kd)):
            if not 0.0 <= gain <= LARGEST:
                raise OptimizerSettingError(f"{key} is {gain}, must lie in [0, {LARGEST}]")
        if not 3 <= window <= 10_000:
            raise OptimizerSettingError(f"pid_window is {window}, must lie in [3, 10000]")
        if not 0.0 < forgetting <= 1.0:
            raise OptimizerSettingError(f"pid_forgetting is {forgetting}, must lie in (0, 1]")
        self._kp, self._ki, self._kd = kp, ki, kd
        super().__init__(space, window, forgetting, seed)

    def _forget(self) -> None:
        super()._forget()
        self._integral: float | None = None
        self._previous: float | None = None

    def _halt(self) -> None:
        super()._halt()
        self._integral = None
        self._previous = None

    def _estimate(self, _base: float) -> fit.Line | None:
        alphas, objectives = [a for a, _ in self._samples], [j for _, j in self._samples]
        return fit.line(alphas, objectives, self.sigma, self._forgetting, misfit=True)

    def _advance(self, centre: float, estimate: fit.Line, room: float) -> float:
        power = clip(estimate.significance, -LARGEST, LARGEST) ** 2
        signal = estimate.slope * power / (NOISE_POWER + power)
        change = 0.0 if self._previous is None else signal - self._previous
        self._previous = signal
        if self._integral is None:
            # The output starts where α is: a hand-over or a refusal makes no bump.
            self._integral = centre - self._kp * signal
        self._integral += self._ki * signal
        wanted = self._integral + self._kp * signal + self._kd * change
        low, high = self.allowed()
        given = clip(clip(wanted, centre - room, centre + room), low, high) if low <= high else centre
        self._integral += given - wanted
        return given

    def take_over(self, other: Tuner) -> None:
        """Become the active tuner after another: its walls, and an output that starts at the α in force."""
        self.inherit(other)
        self._halt()

    def _dump(self) -> State:
        return {
            **super()._dump(),
            "integral": optional(self._integral),
            "previous": optional(self._previous),
        }

    def _load(self, reader: StateReader) -> None:
        super()._load(reader)
        self._integral = reader.optional("integral", LARGEST_DERIVED)
        self._previous = reader.optional("previous", LARGEST_DERIVED)
