"""The CAL engine: the feedback recursion Ω_t = f_t·exp(λ(t)·proj(I_t)) over three scales."""

from collections import deque
from collections.abc import Callable, Mapping
from math import isfinite, sqrt
from types import MappingProxyType

import attrs
import numpy as np
from numpy import float64
from numpy.typing import ArrayLike, NDArray

from attunement.coherence import agreement, evenness, saturating
from attunement.config_schema import EngineConfig
from attunement.engine_protocol import SCALES, ScaleGain
from attunement.sources import FeatureBlock, FeatureSource

PHI = (1 + sqrt(5)) / 2

_DECAY_TIME = 2.0
_ENTROPY_WINDOW = 4


class EngineInputError(ValueError):
    """What the engine was given cannot be used; its last complete state stands."""


class EngineStateError(RuntimeError):
    """The engine was read before its first cycle."""


@attrs.frozen(eq=False)
class _Cycle:
    # Replaced as a whole by the thread that runs cycles: a reader in another thread never sees half of one.
    number: int
    alpha: float
    psi: float
    lambda_base: Mapping[str, float]
    omega: NDArray[float64]
    exponent_max: float
    m_t_bounds: tuple[float, float]
    h_internal: float
    entropy_rate: float
    gains: Mapping[str, ScaleGain]


class CalEngine:
    """The recursion, and what it measures of itself.

    At scale L, with λ_base(L) = Ψ_t(L)/φ::

        I_t(L) = Σ_{k=1..window} w_k·Ω_{t−k}(L)·Δt
        m_t(L) = exp(clamp(λ_base(L)·α·g_i·proj(I_t(L)), −K, K))
        Ω_t(L) = F_t/‖F_t‖·m_t(L)

    proj is the mean of the components, so |proj x| ≤ p·‖x‖ with p = 1/√dims. The weights w_k fall as
    exp(−k·Δt/2) and have Σ|w_k|·Δt = W. The node gains g_i are drawn from N(1, gain_sd); those not positive
    are drawn again.

    The history starts as the first features' directions with m = 1, so m ≤ e^κ as theorem T11 supposes. proj
    is linear, so proj(Ω) of the past cycles is kept, and not Ω itself.

    One thread runs cycles. Any thread may read, and may set α.

    Args:
        source: Where features and Ψ come from; it fixes the numbers of nodes and dims.
        settings: Window, weights, gains and the scale of Ĉ.
        k_max: K, the largest exponent, in (0, 100].
        alpha: The α to start with.

    Raises:
        EngineInputError: ``k_max`` or ``alpha`` is out of range, or the source has no nodes or no dims.
    """

    def __init__(
        self,
        source: FeatureSource,
        settings: EngineConfig | None = None,
        *,
        k_max: float = 10.0,
        alpha: float = 1.0,
    ) -> None:
        settings = EngineConfig() if settings is None else settings
        if not 0 < k_max <= 100:
            raise EngineInputError(f"k_max is {k_max}, must lie in (0, 100]")
        if not (source.nodes >= 1 and source.dims >= 1):
            raise EngineInputError(
                f"source has {source.nodes} nodes × {source.dims} dims, must have some of both"
            )
        self._source = source
        self._k_max = k_max
        self._c_ref = settings.c_ref
        self._node_gains = _positive_normal(source.nodes, settings.gain_sd, settings.seed)
        self._loop_gain_per_lambda = settings.W / sqrt(source.dims) * float(self._node_gains.max())
        self._rotations = _rotated_weights(settings)
        self._history = np.zeros((settings.window, len(SCALES) * source.nodes))
        self._projected = np.zeros((len(SCALES), source.nodes))
        self._slot = 0
        self._entropies: deque[NDArray[float64]] = deque(maxlen=_ENTROPY_WINDOW + 1)
        self._sequence: int | None = None
        self._newest: _Cycle | None = None
        self._callbacks: list[Callable[[], None]] = []
        self.set_alpha_multiplier(alpha)

    def run_cycle(self) -> None:
        """Take one sample, advance the recursion and call every callback.

        A sample that was delivered before advances nothing, so the cycle number stands still; the callbacks
        are called all the same, so that they can count what was missed. What a callback raises comes through,
        with the state complete.

        Raises:
            EngineInputError: The sample has another shape, a zero row, a figure that is not finite, a Ψ
                outside [0, 1] or a sequence number that went back; nothing advances, no callback is called.
            SourceError: The source cannot deliver, or has come to its end.
        """
        block = self._source.next()
        if self._is_new(block.sequence):
            directions = _directions(block, (self._source.nodes, self._source.dims))
            self._newest = self._advance(directions, _psi(block))
            self._sequence = block.sequence
        for callback in tuple(self._callbacks):
            callback()

    def on_cycle_end(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called at the end of every cycle, after those registered before it."""
        self._callbacks.append(callback)

    @property
    def cycle(self) -> int:
        """Number of the newest cycle, 0 before the first; it stands still when no new sample came in."""
        return 0 if self._newest is None else self._newest.number

    @property
    def cycle_alpha(self) -> float:
        """The α that the newest cycle ran with."""
        return self._complete().alpha

    def set_alpha_multiplier(self, alpha: float) -> None:
        """Apply α from the next cycle on.

        Raises:
            EngineInputError: α is not a finite positive number; the α before it stands.
        """
        if (
            isinstance(alpha, bool)
            or not isinstance(alpha, int | float)
            or not (isfinite(alpha) and alpha > 0)
        ):
            raise EngineInputError(f"alpha is {alpha!r}, must be a finite number above 0")
        self._alpha = float(alpha)

    def get_alpha_multiplier(self) -> float:
        """Return the α applied now."""
        return self._alpha

    def get_lambda(self, scale: str) -> float:
        """Return λ(t, L) = λ_base(L)·α, with the newest cycle's λ_base and the α applied now.

        Raises:
            EngineInputError: ``scale`` is none of ``SCALES``.
        """
        if scale not in SCALES:
            raise EngineInputError(f"scale is {scale!r}, must be one of {', '.join(SCALES)}")
        return self._complete().lambda_base[scale] * self._alpha

    def normalize_C(self, c: float) -> float:
        """Map a mean square of Ω onto [0, 1) by c/(c + c_ref); NaN, infinite or negative ones give NaN."""
        return saturating(c, self._c_ref)

    def sample_omega_snapshot(self) -> NDArray[float64]:
        """Return the unified Ω of the newest cycle, the mean over the scales, read-only, [nodes, dims]."""
        return self._complete().omega

    def get_psi(self) -> float:
        """Return Ψ of the newest cycle, in [0, 1], at the worst scale."""
        return self._complete().psi

    def get_entropy_rate(self) -> float:
        """Return the rise of entropy [1/cycle], a mean over up to 4 cycles, ≥ 0, at the worst scale."""
        return self._complete().entropy_rate

    def get_h_internal(self) -> float:
        """Return the internal coherence, in [0, 1], at the worst scale."""
        return self._complete().h_internal

    def get_m_t_bounds(self) -> tuple[float, float]:
        """Return the smallest and the largest m_t of the newest cycle over nodes and scales."""
        return self._complete().m_t_bounds

    def get_gains(self) -> Mapping[str, ScaleGain]:
        """Return each scale's gains for one unit of α.

        The drive is that of the *coming* cycle, for the integral it will use is already complete: α·drive is
        the largest exponent that α would lead to there, at the newest λ_base.
        """
        return self._complete().gains

    def in_runaway(self) -> bool:
        """Say whether any node's exponent, unclamped, is beyond 1.

        A settled node has the exponent y = c·e^y for its loop gain c. The two solutions meet at y = 1,
        c = 1/e: no settled node lies beyond y = 1 on the stable branch.
        """
        return self._complete().exponent_max > 1

    def _complete(self) -> _Cycle:
        if self._newest is None:
            raise EngineStateError("no cycle has run yet")
        return self._newest

    def _is_new(self, sequence: int) -> bool:
        if isinstance(sequence, bool) or not isinstance(sequence, int):
            raise EngineInputError(f"sequence is {sequence!r}, must be a whole number")
        if self._sequence is not None and not sequence >= self._sequence:
            raise EngineInputError(f"sequence is {sequence}, must not go back from {self._sequence}")
        return sequence != self._sequence

    def _advance(self, directions: NDArray[float64], psi: NDArray[float64]) -> _Cycle:
        lambda_base = psi / PHI
        alpha = self._alpha
        projections = directions.mean(axis=1)
        if self._newest is None:
            self._start(projections)
        exponents = (lambda_base * alpha)[:, None] * self._node_gains * self._projected
        m_t = np.exp(np.clip(exponents, -self._k_max, self._k_max))
        self._remember(m_t * projections)
        omega = m_t[:, :, None] * directions
        unified = omega.mean(axis=0)
        unified.setflags(write=False)
        return _Cycle(
            number=self.cycle + 1,
            alpha=alpha,
            psi=float(psi.min()),
            lambda_base=MappingProxyType(dict(zip(SCALES, lambda_base.tolist(), strict=True))),
            omega=unified,
            exponent_max=float(exponents.max()),
            m_t_bounds=(float(m_t.min()), float(m_t.max())),
            h_internal=min(agreement(scale) for scale in omega),
            entropy_rate=self._entropy_rate(m_t),
            gains=self._gains(lambda_base),
        )

    def _start(self, projections: NDArray[float64]) -> None:
        self._history[:] = np.tile(projections, len(SCALES))
        self._integrate()
        self._entropies.append(np.full(len(SCALES), evenness(np.ones(len(projections)))))

    def _remember(self, projections: NDArray[float64]) -> None:
        self._slot = (self._slot + 1) % len(self._history)
        self._history[self._slot] = projections.ravel()
        self._integrate()

    def _integrate(self) -> None:
        np.matmul(self._rotations[self._slot], self._history, out=self._projected.reshape(-1))

    def _entropy_rate(self, m_t: NDArray[float64]) -> float:
        self._entropies.append(np.array([evenness(power) for power in m_t**2]))
        rise = (self._entropies[-1] - self._entropies[0]) / (len(self._entropies) - 1)
        return max(float(rise.max()), 0.0)

    def _gains(self, lambda_base: NDArray[float64]) -> Mapping[str, ScaleGain]:
        drives = lambda_base * np.abs(self._node_gains * self._projected).max(axis=1)
        loop_gains = lambda_base * self._loop_gain_per_lambda
        return MappingProxyType(
            {
                scale: ScaleGain(drive, loop_gain)
                for scale, drive, loop_gain in zip(SCALES, drives.tolist(), loop_gains.tolist(), strict=True)
            }
        )


def _positive_normal(count: int, sd: float, seed: int) -> NDArray[float64]:
    generator = np.random.default_rng(seed)
    gains = generator.normal(1.0, sd, count)
    while (bad := ~(gains > 0)).any():
        gains[bad] = generator.normal(1.0, sd, int(bad.sum()))
    return gains


def _rotated_weights(settings: EngineConfig) -> NDArray[float64]:
    # Row s holds w_k·Δt for a ring whose newest cycle is in slot s, so no cycle has to move its history.
    ages = np.arange(settings.window)
    weights = np.exp(-ages * settings.dt / _DECAY_TIME)
    weights *= settings.W / weights.sum()
    rotated: NDArray[float64] = weights[(ages[:, None] - ages) % settings.window]
    return rotated


def _directions(block: FeatureBlock, shape: tuple[int, int]) -> NDArray[float64]:
    features = _real_numbers("features", block.features)
    if features.shape != shape:
        raise EngineInputError(f"features have shape {features.shape}, must have {shape} (nodes, dims)")
    size = np.abs(features).max(axis=1, keepdims=True)
    finite = np.isfinite(size).ravel()
    if not finite.all():
        node = int(np.argmin(finite))
        raise EngineInputError(f"features of node {node} are {features[node].tolist()}, must be finite")
    if not size.all():
        raise EngineInputError(f"features of node {int(np.argmin(size))} are all zero, must have a direction")
    # The largest component is taken out first: squares of huge and of tiny ones leave a float's range.
    sized = features / size
    directions: NDArray[float64] = sized / np.sqrt(np.einsum("nd,nd->n", sized, sized))[:, None]
    return directions


def _psi(block: FeatureBlock) -> NDArray[float64]:
    psi = _real_numbers("psi", block.psi)
    if psi.shape != (len(SCALES),):
        raise EngineInputError(f"psi has shape {psi.shape}, must have ({len(SCALES)},)")
    for scale, value in zip(SCALES, psi.tolist(), strict=True):
        if not 0 <= value <= 1:
            raise EngineInputError(f"psi of {scale} is {value}, must lie in [0, 1]")
    return psi


def _real_numbers(name: str, value: ArrayLike) -> NDArray[float64]:
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise EngineInputError(f"{name} cannot be an array: {error}") from error
    if array.dtype.kind not in "fiu":
        raise EngineInputError(f"{name} hold {array.dtype}, must hold real numbers")
    return array.astype(float64, copy=False)
