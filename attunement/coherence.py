"""How coherent a snapshot of Ω is: coherence density, internal coherence and spectral entropy."""

from collections import deque
from math import isfinite, log, nan
from typing import Any

import numpy as np
from numpy import float64
from numpy.typing import NDArray

from attunement.engine_protocol import AttunableEngine, Snapshot, capabilities


class SnapshotError(ValueError):
    """A snapshot of Ω cannot be measured."""


class CoherenceDensityMeter:
    """Measures Ĉ, the normalised mean square of Ω over the nodes and the newest snapshots at one α.

    Args:
        engine: The engine to sample. Where it offers ``cycle``, a cycle sampled twice counts once; where it
            offers ``cycle_alpha``, a snapshot taken at another α starts the average anew; where it lacks
            ``normalize_C``, ``saturating(c, 1.0)`` stands in.
        window: Snapshots to average over, at least 1.

    Raises:
        ValueError: ``window`` is below 1.
        EngineProtocolError: The engine lacks a required method.
    """

    def __init__(self, engine: AttunableEngine, window: int = 1) -> None:
        if not window >= 1:
            raise ValueError(f"window is {window}, must be at least 1")
        self._engine: Any = engine
        self._offered = capabilities(engine)
        self._squares: deque[float] = deque(maxlen=window)
        self._cycle: int | None = None
        self._alpha: float | None = None

    def compute_C_hat(self) -> float:
        """Sample the engine and return Ĉ.

        Raises:
            SnapshotError: The snapshot is empty, ragged, not numeric, not finite or has a zero row.
        """
        square = mean_square(self._engine.sample_omega_snapshot())
        if "cycle_alpha" in self._offered and self._engine.cycle_alpha != self._alpha:
            self.reset()
            self._alpha = self._engine.cycle_alpha
        if self._is_repeated_cycle():
            self._squares[-1] = square
        else:
            self._squares.append(square)
        mean = sum(self._squares) / len(self._squares)
        normalised = (
            self._engine.normalize_C(mean) if "normalize_C" in self._offered else saturating(mean, 1.0)
        )
        return float(normalised)

    def reset(self) -> None:
        """Forget the earlier snapshots, as is due when α changes."""
        self._squares.clear()
        self._cycle = None

    def _is_repeated_cycle(self) -> bool:
        if "cycle" not in self._offered:
            return False
        repeated = bool(self._engine.cycle == self._cycle)
        self._cycle = self._engine.cycle
        return repeated


def saturating(c: float, c_ref: float) -> float:
    """Map a mean square c ≥ 0 onto [0, 1) by c/(c + c_ref): strictly rising, 0.5 at ``c_ref``.

    What is no measurement (NaN, infinite or negative) gives NaN, never a good figure.
    """
    return c / (c + c_ref) if isfinite(c) and c >= 0 else nan


def mean_square(omega: Snapshot) -> float:
    """Return the mean over the nodes of ‖Ω‖².

    Args:
        omega: [nodes, dims].

    Raises:
        SnapshotError: See ``as_snapshot``.
    """
    snapshot = as_snapshot(omega)
    return float(np.vdot(snapshot, snapshot)) / len(snapshot)


def agreement(omega: NDArray[float64]) -> float:
    """Return the internal coherence ‖Σ_i Ω_i‖² / (N·Σ_i ‖Ω_i‖²) of a snapshot known to be sound.

    By the Cauchy–Schwarz inequality it lies in [0, 1], and is 1 exactly when all nodes agree in direction and
    size: an order parameter as of Kuramoto, in O(nodes·dims). The size of Ω as a whole does not matter, as
    long as no square leaves the range of a float.

    Args:
        omega: [nodes, dims], checked by ``as_snapshot`` or made sound.
    """
    total = omega.sum(axis=0)
    return min(float(total @ total) / (len(omega) * float(np.vdot(omega, omega))), 1.0)


def evenness(power: NDArray[float64]) -> float:
    """Return S = −Σ p_i ln p_i / ln N, where p_i is node i's share of the total power.

    It lies in [0, 1], is 1 when the power is spread evenly, and 0 for a single node.

    Args:
        power: [nodes], known to be sound: ≥ 0 with a positive sum.
    """
    if len(power) == 1:
        return 0.0
    share = power / power.sum()
    present = share[share > 0]
    return min(max(-float(present @ np.log(present)) / log(len(power)), 0.0), 1.0)


def as_snapshot(omega: Snapshot) -> NDArray[float64]:
    """Return a snapshot of Ω as an array [nodes, dims], checked.

    Raises:
        SnapshotError: It is ragged, not numeric, empty, not finite or has a zero row.
    """
    try:
        array = np.asarray(omega)
    except (ValueError, TypeError) as error:
        raise SnapshotError(f"snapshot is ragged or not numeric: {error}") from error
    if array.dtype.kind not in "fiu":
        raise SnapshotError(f"snapshot holds {array.dtype}, must hold real numbers")
    if array.ndim != 2 or 0 in array.shape:
        raise SnapshotError(
            f"snapshot has shape {array.shape}, must be [nodes, dims] with at least one of each"
        )
    # Row by row takes ten times longer, and is needed only where the array as a whole does not answer.
    finite = np.isfinite(array)
    if not finite.all():
        row = int(np.argmin(finite.all(axis=1)))
        raise SnapshotError(f"snapshot row {row} is not finite: {array[row]}")
    if not array.all():
        present = array.any(axis=1)
        if not present.all():
            raise SnapshotError(
                f"snapshot row {int(np.argmin(present))} is zero, every node must show something"
            )
    return np.asarray(array, dtype=float64)
