"""This host's own CPU counters as a feature source."""

from collections.abc import Callable, Sequence

import numpy as np
import psutil
from numpy import float64

from attunement.engine_protocol import SCALES
from attunement.sources import FeatureBlock, SourceError

_NAMED = ("user", "system", "idle")
_COUNTED_IN_ANOTHER = ("guest", "guest_nice")


def cpu_seconds() -> list[list[float]]:
    """Read every logical CPU's seconds since boot in user, system, idle and all other modes, [cpus][4]."""
    return [_by_mode(times._asdict()) for times in psutil.cpu_times(percpu=True)]


class HostSource:
    """A node for each logical CPU; its features are the shares of time in user, system, idle and other modes.

    The shares are of the time since the newest sample, and of the time since boot at the first. A CPU whose
    counters stood still while another's moved keeps its shares. The sequence advances only when a counter
    did: counters move in ticks of about 10 ms, so a faster reader meets old samples.

    Args:
        psi: Ψ at every scale, in [0, 1].
        read: Reads the counters [s], [cpus][4].

    Raises:
        SourceError: There is no CPU, or one that has counted nothing since boot.
    """

    def __init__(self, psi: float = 0.9, read: Callable[[], Sequence[Sequence[float]]] = cpu_seconds) -> None:
        self._read = read
        self._psi = np.full(len(SCALES), psi)
        self._seconds = np.array(read(), dtype=float64)
        if not len(self._seconds) >= 1:
            raise SourceError("the host shows no cpu, must show at least one")
        spent = self._seconds.sum(axis=1, keepdims=True)
        if not (spent > 0).all():
            raise SourceError(
                f"cpu {int(np.argmin(spent))} has counted {spent.min()} s since boot, must be above 0"
            )
        self._features = self._seconds / spent
        self._sequence = 0

    @property
    def nodes(self) -> int:
        """Logical CPUs."""
        return len(self._seconds)

    @property
    def dims(self) -> int:
        """User, system, idle and other."""
        return len(_NAMED) + 1

    def next(self) -> FeatureBlock:
        """Read the counters.

        Raises:
            SourceError: The number of CPUs changed.
        """
        if self._sequence == 0:
            self._sequence = 1
        else:
            self._sample()
        return FeatureBlock(self._features, self._psi, self._sequence)

    def _sample(self) -> None:
        seconds = np.array(self._read(), dtype=float64)
        if seconds.shape != self._seconds.shape:
            raise SourceError(f"the host shows {len(seconds)} cpus, must show {self.nodes} as at the start")
        # Linux lets iowait go back; what went back counts as no time spent.
        spent = np.maximum(seconds - self._seconds, 0.0)
        total = spent.sum(axis=1, keepdims=True)
        moved = (total > 0).ravel()
        if moved.any():
            self._features = np.where(total > 0, spent / np.where(total > 0, total, 1.0), self._features)
            self._sequence += 1
            self._seconds[moved] = seconds[moved]


def _by_mode(seconds: dict[str, float]) -> list[float]:
    rest = (value for mode, value in seconds.items() if mode not in _NAMED + _COUNTED_IN_ANOTHER)
    return [*(seconds[mode] for mode in _NAMED), sum(rest)]
