"""The service as an engine: what its counters say of it, and α applied over HTTP.

Ω and Ĉ: one node whose power is the goodput density d = g·h, mapped by d/(d + d_ref). The goodput g is the
answers in time per second; h is the share they make up of the work that was admitted.

Entropy rate: growth per cycle of the latency histogram's normalised entropy, over up to 4 cycles.

H_internal: h.

Drive and loop gain: the pool's ceiling. Both products with α reach their limits where base·α reaches the
pool.
"""

import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPException
from math import sqrt
from typing import Any, Final

import attrs
import numpy as np

from attunement.coherence import evenness, saturating
from attunement.engine_protocol import SCALES, ScaleGain
from attunement.policy import loop_gain_bound
from kernel.quantity import round_nearest, to_float

TIMEOUT_S: Final = 2.0
LEAST_DENSITY: Final = 1e-6
_ENTROPY_WINDOW = 4


class LiveServiceError(Exception):
    """The service did not answer, or did not take α."""


@attrs.frozen
class Window:
    """What the service counted in one cycle."""

    seconds: float
    in_time: int
    late: int
    latencies: tuple[int, ...]

    @property
    def goodput(self) -> float:
        """Answers in time per second."""
        return self.in_time / self.seconds

    @property
    def success(self) -> float:
        """Share of the admitted requests that were answered in time."""
        return self.in_time / (self.in_time + self.late)

    @property
    def density(self) -> float:
        """Goodput times the share that it makes up of the admitted work [1/s]."""
        return self.goodput * self.success


class LiveService:
    """Reads the service's counters over one window a cycle.

    After a change of α the requests that began before it are waited out for `settle_s`, so that a window
    speaks of one α.

    Args:
        port: Where the service listens on this machine.
        base: Requests at once at α = 1.
        pool: Hard ceiling of requests at once.
        density_ref: Goodput density [1/s] that is mapped to Ĉ = 0.5.
        window_s: Length of a cycle's window, seconds.
        settle_s: Wait after a change of α, seconds.
        k_max, kappa: The policy's K and κ, which the ceiling is expressed in.
    """

    def __init__(
        self,
        port: int,
        base: int,
        pool: int,
        density_ref: float,
        window_s: float = 1.0,
        settle_s: float = 0.3,
        k_max: float = 10.0,
        kappa: float = 0.9,
    ) -> None:
        self._port = port
        share = base / pool
        gain = ScaleGain(share * k_max, share * to_float(loop_gain_bound(round_nearest("kappa", kappa))))
        self._gains: Mapping[str, ScaleGain] = dict.fromkeys(SCALES, gain)
        self._density_ref = density_ref
        self._window_s = window_s
        self._settle_s = settle_s
        self._alpha = 1.0
        self._applied = 0
        self._measured = 0
        self._entropies: deque[float] = deque(maxlen=_ENTROPY_WINDOW + 1)
        self._window: Window | None = None
        self._callbacks: list[Callable[[], None]] = []
        self._cycle = 0
        self._cycle_alpha = 1.0

    def run_cycle(self) -> None:
        """Measure one window; if the service does not answer, or served nobody, the cycle's number stands."""
        if self._applied != self._measured:
            time.sleep(self._settle_s)
            self._measured = self._applied
        alpha = self._alpha
        try:
            window = self._measure()
        except LiveServiceError:
            window = None
        if window is not None and window.in_time + window.late > 0:
            self._window, self._cycle_alpha = window, alpha
            self._entropies.append(evenness(np.array(window.latencies, dtype=float)))
            self._cycle += 1
        for callback in tuple(self._callbacks):
            callback()

    @property
    def cycle(self) -> int:
        """Windows measured so far."""
        return self._cycle

    @property
    def cycle_alpha(self) -> float:
        """The α that the newest window ran with."""
        return self._cycle_alpha

    def on_cycle_end(self, callback: Callable[[], None]) -> None:
        """Have callback called after every window."""
        self._callbacks.append(callback)

    def set_alpha_multiplier(self, alpha: float) -> None:
        """Tell the service its limit.

        Raises:
            LiveServiceError: it did not take it.
        """
        self._exchange("PUT", "/limit", json.dumps({"alpha": alpha}).encode("ascii"))
        if alpha != self._alpha:
            self._applied += 1
        self._alpha = alpha

    def get_alpha_multiplier(self) -> float:
        """Return the α applied now."""
        return self._alpha

    def sample_omega_snapshot(self) -> list[list[float]]:
        """Return one node whose power is the goodput density [1/s]."""
        # A window in which nobody was served in time is a sample, and a bad one; a zero row would be none.
        return [[sqrt(max(self._newest().density, LEAST_DENSITY))]]

    def normalize_C(self, c: float) -> float:
        """Map a goodput density [1/s] onto [0, 1)."""
        return saturating(c, self._density_ref)

    def get_entropy_rate(self) -> float:
        """Return the growth of latency dispersion per cycle, ≥ 0."""
        if len(self._entropies) < 2:
            return 0.0
        return max((self._entropies[-1] - self._entropies[0]) / (len(self._entropies) - 1), 0.0)

    def get_h_internal(self) -> float:
        """Return the share of admitted requests that were answered in time."""
        return self._newest().success

    def get_gains(self) -> Mapping[str, ScaleGain]:
        """Return the pool's ceiling as drive and loop gain."""
        return self._gains

    @property
    def newest(self) -> Window:
        """The newest window."""
        return self._newest()

    def _newest(self) -> Window:
        if self._window is None:
            raise LiveServiceError("no window has been measured yet")
        return self._window

    def _measure(self) -> Window:
        before, start_s = self._stats(), time.monotonic()
        time.sleep(self._window_s)
        after, end_s = self._stats(), time.monotonic()
        return Window(
            end_s - start_s,
            after["in_time"] - before["in_time"],
            after["late"] - before["late"],
            tuple(new - old for new, old in zip(after["latencies"], before["latencies"], strict=True)),
        )

    def _stats(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self._exchange("GET", "/stats", None))
        return document

    def _exchange(self, method: str, path: str, body: bytes | None) -> bytes:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_S)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            content = response.read()
        except (OSError, HTTPException) as error:
            raise LiveServiceError(f"{method} {path}: {error}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise LiveServiceError(f"{method} {path} was answered with {response.status}, must be 200")
        return content
