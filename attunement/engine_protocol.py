"""What an engine must offer to be attuned, and what it may offer beside that."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

import attrs
from numpy import float64
from numpy.typing import NDArray

SCALES = ("L_mu", "L_phi", "L_Phi")

Snapshot: TypeAlias = NDArray[float64] | Sequence[Sequence[float]]


@attrs.frozen
class ScaleGain:
    """What one unit of α does at one scale.

    Attributes:
        drive: Largest |g_i·λ_base·proj(I)| over the nodes i: the exponent of m_t is at most α·drive.
        loop_gain: λ_base·p·W·max_i g_i: the recursion stays bounded while α·loop_gain ≤ κ·e^−κ (theorem T11).
    """

    drive: float
    loop_gain: float


class AttunableEngine(Protocol):
    """The least an engine must offer."""

    def sample_omega_snapshot(self) -> Snapshot:
        """Return the unified Ω of the newest cycle, [nodes, dims]."""

    def set_alpha_multiplier(self, alpha: float) -> None:
        """Apply α from the next cycle on."""


class MeasuredEngine(AttunableEngine, Protocol):
    """An engine with every optional capability; each is looked up by its name."""

    @property
    def cycle(self) -> int:
        """Number of the newest cycle; it stands still when no new sample came in."""

    @property
    def cycle_alpha(self) -> float:
        """The α that the newest cycle ran with."""

    def on_cycle_end(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called after every cycle, with no lock held that `set_alpha_multiplier` takes."""

    def normalize_C(self, c: float) -> float:
        """Map a mean square of Ω onto [0, 1], monotonically."""

    def get_alpha_multiplier(self) -> float:
        """Return the α applied now."""

    def get_lambda(self, scale: str) -> float:
        """Return λ(t, L) = λ_base(L)·α."""

    def get_psi(self) -> float:
        """Return Ψ of the newest cycle, in [0, 1], at the worst scale; without it no policy is adopted."""

    def get_entropy_rate(self) -> float:
        """Return the smoothed rise of entropy [1/cycle], never negative, at the worst scale."""

    def get_h_internal(self) -> float:
        """Return the internal coherence in [0, 1] at the worst scale."""

    def get_m_t_bounds(self) -> tuple[float, float]:
        """Return the smallest and the largest m_t over nodes and scales, m_t = exp(exponent) > 0.

        For display. Under this name an engine of the specification's words gives the exponents instead:
        `attunement.spec_engine` passes on what it gives.
        """

    def get_gains(self) -> Mapping[str, ScaleGain]:
        """Return drive and loop gain of every scale."""


class EngineProtocolError(TypeError):
    """An object lacks what every engine must offer."""


def capabilities(engine: object) -> frozenset[str]:
    """Name what an engine offers beside the required minimum.

    Args:
        engine: The engine; nothing of it is called.

    Returns:
        The names among ``cycle``, ``cycle_alpha``, ``on_cycle_end``, ``normalize_C``, ``get_…`` that it has.

    Raises:
        EngineProtocolError: A required method is missing.
    """
    missing = sorted(name for name in _public(AttunableEngine) if not _offers(engine, name))
    if missing:
        needed = " and ".join(sorted(_public(AttunableEngine)))
        raise EngineProtocolError(
            f"{type(engine).__name__} has no {' and no '.join(missing)}; an engine must have {needed}"
        )
    return frozenset(name for name in _public(MeasuredEngine) if _offers(engine, name))


def _public(protocol: type) -> frozenset[str]:
    return frozenset(name for name in vars(protocol) if not name.startswith("_"))


def _offers(engine: object, name: str) -> bool:
    # The class is asked first: asking the instance runs a property, which may fail before the first cycle.
    return getattr(type(engine), name, None) is not None or getattr(engine, name, None) is not None
