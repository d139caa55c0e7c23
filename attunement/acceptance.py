"""The evidence on coherence that settles a trial: means and a tolerance sized by the measured noise."""

from collections import deque
from math import sqrt

from kernel import Comparison
from kernel.limits import TOLERANCE_LAST
from kernel.quantity import Nano, round_nearest, round_up
from optimizers.noise import RECENT, Noise

BASE_SAMPLES = 16
STANDARD_ERRORS = 3.0
CHANGED = 4.0
"""Standard errors by which a measurement at the same α says that the old mean holds no more."""


class AcceptanceTest:
    """Compares a trial's objective with the mean at the committed α.

    The tolerance is three standard errors of the difference of the two means: a trial that is truly no worse
    is reverted about once in 740. A tolerance given as a figure replaces it. Each trial is judged by itself:
    falls that each lie within the tolerance can add up, inside the bounds of α.

    Args:
        tolerance: Fall of the objective that still counts as no worse, or None to take it from the noise.
        ceiling: Largest tolerance the kernel will accept, nano.

    Attributes:
        ceiling: The same; whoever owns the test sets it anew when the policy changes.
    """

    def __init__(self, tolerance: float | None, ceiling: Nano) -> None:
        self._tolerance = tolerance
        self.ceiling = ceiling
        self._base: deque[float] = deque(maxlen=BASE_SAMPLES)
        self._base_alpha: float | None = None
        self._recent: deque[tuple[float, float]] = deque(maxlen=RECENT + 1)
        self._noise = Noise()

    def observe(self, alpha: float, objective: float) -> None:
        """Take in a measurement, whatever becomes of it."""
        self._recent.append((alpha, objective))
        self._noise.learn(list(self._recent))

    def stay(self, alpha: float, objective: float) -> None:
        """Count a measurement at the committed α.

        The mean begins anew at another α than the last, and when the measurement does not fit it: else a
        trial would be held against what the engine was before it changed.
        """
        if alpha != self._base_alpha or self._is_changed(objective):
            self._base.clear()
        self._base_alpha = alpha
        self._base.append(objective)

    def compare(self, objective: float) -> Comparison:
        """Return the evidence for a trial that measured objective.

        Raises:
            MalformedQuantityError: a figure is NaN or infinite.
        """
        before = sum(self._base) / len(self._base) if self._base else objective
        return Comparison(
            before=round_nearest("mean before", before),
            after=round_nearest("objective", objective),
            tolerance=self._granted(),
        )

    def _is_changed(self, objective: float) -> bool:
        if not (self._base and self._noise.known):
            return False
        error = self._noise.sigma * sqrt(1.0 + 1.0 / len(self._base))
        return not abs(objective - sum(self._base) / len(self._base)) <= CHANGED * error

    def _granted(self) -> Nano:
        if self.ceiling == TOLERANCE_LAST:
            return self.ceiling
        if self._tolerance is None:
            error = self._noise.sigma * sqrt(1.0 + 1.0 / max(len(self._base), 1))
            return min(round_up("tolerance", STANDARD_ERRORS * error), self.ceiling)
        return min(round_nearest("tolerance", self._tolerance), self.ceiling)
