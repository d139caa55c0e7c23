"""Engines written for the specification's own words, attuned as they are.

Such an engine has `sample_omega_snapshot` (nested lists will do), `normalize_C`, `set_alpha_multiplier`,
`get_lambda()`, `get_entropy_rate`, `get_h_internal` and `get_m_t_bounds`, the smallest and the largest
exponent of m_t as a pair; perhaps `on_cycle_end(callback)`. It has no number of its cycle and no gains.
"""

import inspect
import threading
import time
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

import attrs

from attunement.engine_protocol import SCALES, ScaleGain, Snapshot, capabilities

_PASSED_ON = ("normalize_C", "get_psi", "get_entropy_rate", "get_h_internal")


class SpecEngineError(ValueError):
    """An assumption is out of range, or a figure of the engine is none."""


@attrs.frozen
class Assumptions:
    """What whoever connects an engine vouches for, because the engine does not tell it.

    Args:
        cycle_s: Every so many seconds the engine's figures are new; None: the engine tells by `on_cycle_end`.
        loop_gain: The largest loop gain λ_base·p·W·g that the engine can have, per unit of α; None: unknown.

    Raises:
        SpecEngineError: a figure is not finite, not positive (cycle_s) or negative (loop_gain).
    """

    cycle_s: float | None = None
    loop_gain: float | None = None

    def __attrs_post_init__(self) -> None:
        if self.cycle_s is not None and not (_is_figure(self.cycle_s) and self.cycle_s > 0):
            raise SpecEngineError(f"cycle_s is {self.cycle_s!r}, must be finite and above 0")
        if self.loop_gain is not None and not (_is_figure(self.loop_gain) and self.loop_gain >= 0):
            raise SpecEngineError(f"loop_gain is {self.loop_gain!r}, must be finite and at least 0")


NOTHING_ASSUMED = Assumptions()


class SpecEngine:
    """Offers what the engine offers, and what follows from it; nothing is made up.

    - The cycle's number counts the calls of `on_cycle_end`, or, under the assumption `cycle_s`, the stretches
      of that length that are over since α was applied: a stretch never speaks of two α. A cycle that ends
      while α is being applied speaks of neither, and is not counted.
    - The drive follows from the bounds of m_t: α·drive is the largest |exponent| of the newest cycle. An
      engine that clamps its exponents never shows more than its clamp: k_max has to lie below it.
    - The loop gain is the assumed one.
    - `get_m_t_bounds` gives the exponents that the engine gives, not exp of them as `MeasuredEngine` has it.

    What neither the engine offers nor an assumption covers is not offered here, so that `Attunement` refuses
    the engine with the name of the check that could not be made.

    Args:
        engine: The engine; its own methods are called with the arguments they have.
        assumptions: What is vouched for.
        clock: Seconds that rise.

    Raises:
        EngineProtocolError: `sample_omega_snapshot` or `set_alpha_multiplier` is missing.
    """

    def __init__(
        self,
        engine: Any,
        assumptions: Assumptions = NOTHING_ASSUMED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        offered = capabilities(engine)
        self._lock = threading.Lock()  # guards what follows; not held while the engine is called
        self._engine = engine
        self._assumptions = assumptions
        self._clock = clock
        self._alpha: float | None = None
        self._is_setting = False
        self._since_s = clock()
        self._done = 0
        self._newest: tuple[int, float | None] = (0, None)
        self._callbacks: list[Callable[[], None]] = []
        for name in _PASSED_ON:
            if name in offered:
                setattr(self, name, getattr(engine, name))
        if "get_lambda" in offered:
            self.get_lambda = self._lambda
        if "get_m_t_bounds" in offered:
            self.get_m_t_bounds = self._m_t_bounds
            if assumptions.loop_gain is not None:
                self.get_gains = self._gains
        self._tells_cycles = _tells_cycles(engine)
        if self._tells_cycles:
            self.on_cycle_end = self._follow
            engine.on_cycle_end(self._cycle_ended)

    def sample_omega_snapshot(self) -> Snapshot:
        """Return the engine's snapshot as it is, [nodes, dims]."""
        snapshot: Snapshot = self._engine.sample_omega_snapshot()
        return snapshot

    def set_alpha_multiplier(self, alpha: float) -> None:
        """Have the engine apply α; whatever it raises comes through."""
        with self._lock:
            self._settle()
            self._is_setting = True
        try:
            self._engine.set_alpha_multiplier(alpha)
            with self._lock:
                self._alpha, self._since_s = alpha, self._clock()
        finally:
            with self._lock:
                self._is_setting = False

    def _follow(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def _cycle_ended(self, *_told: object) -> None:
        with self._lock:
            if self._is_setting:
                return
            self._newest = (self._newest[0] + 1, self._alpha)
        for callback in tuple(self._callbacks):
            callback()

    def _measured(self) -> tuple[int, float | None]:
        with self._lock:
            self._settle()
            return self._newest

    def _settle(self) -> None:
        length_s = self._assumptions.cycle_s
        if self._tells_cycles or length_s is None or self._is_setting:
            return
        over = int((self._clock() - self._since_s) / length_s)
        if over > 0:
            self._newest = (self._newest[0] + over, self._alpha)
            self._since_s += over * length_s

    def _lambda(self, scale: str) -> float:
        get_lambda = self._engine.get_lambda
        return float(get_lambda(scale) if _takes_argument(get_lambda) else get_lambda())

    def _m_t_bounds(self) -> tuple[float, float]:
        low, high = self._engine.get_m_t_bounds()
        return low, high

    def _gains(self) -> Mapping[str, ScaleGain]:
        low, high = self._m_t_bounds()
        alpha = self._measured()[1]
        if alpha is None or not low <= high:
            raise SpecEngineError(f"bounds of m_t are ({low}, {high}) at α = {alpha}, must be in order")
        gain = ScaleGain(max(abs(low), abs(high)) / alpha, self._assumptions.loop_gain or 0.0)
        return dict.fromkeys(SCALES, gain)


class CountedSpecEngine(SpecEngine):
    """A `SpecEngine` whose cycles are known, from the engine or by assumption."""

    @property
    def cycle(self) -> int:
        """Number of the newest cycle."""
        return self._measured()[0]

    @property
    def cycle_alpha(self) -> float | None:
        """The α that the newest cycle ran with, None before the first."""
        return self._measured()[1]


def adapted(
    engine: Any, assumptions: Assumptions = NOTHING_ASSUMED, clock: Callable[[], float] = time.monotonic
) -> SpecEngine:
    """Make an engine of the specification's words one that `Attunement` takes, or refuses by name.

    Args:
        engine: The engine.
        assumptions: What is vouched for.
        clock: Seconds that rise.

    Raises:
        EngineProtocolError: `sample_omega_snapshot` or `set_alpha_multiplier` is missing.
    """
    knows_cycles = assumptions.cycle_s is not None or _tells_cycles(engine)
    kind = CountedSpecEngine if knows_cycles else SpecEngine
    return kind(engine, assumptions, clock)


def _is_figure(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _tells_cycles(engine: Any) -> bool:
    method = getattr(engine, "on_cycle_end", None)
    return method is not None and _takes_argument(method)


def _takes_argument(method: Any) -> bool:
    try:
        parameters = inspect.signature(method).parameters.values()
    except (TypeError, ValueError):
        return True
    positional = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    )
    return any(parameter.kind in positional for parameter in parameters)
