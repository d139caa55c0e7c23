"""What every α tuner shares: samples, noise, walls, and suggestions that a kernel can accept."""

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from typing import ClassVar

import attrs

from optimizers.blocked import Blocked, located
from optimizers.errors import OptimizerStateError
from optimizers.excitation import amplitude
from optimizers.figures import LARGEST_DERIVED, StateReader, clip, measured, optional
from optimizers.guard import Guard
from optimizers.noise import Noise
from optimizers.protocol import HOLD, Hold, Mode, Outcome, Space, State, Suggestion, Verdict

NANO = 1e-9
REPRESENTATION = 1e-3
"""Part of a nano unit by which a float may miss the integer it stands for."""
RESOLUTION_SHARE = 1 / 1000
"""Part of delta_max below which a change of α is not worth a cycle."""
WALL_SHARE = 1 / 16
"""Part of delta_max to which the place of a wall is searched for."""
PATIENCE = 4
"""Reverts in a row after which α is only probed, until a probe is no worse: a kernel counts them."""
RECENT = 3
"""Newest safe measurements between whose α a broken limit is no matter of α."""
LAST_TICK = 2**53


@attrs.frozen
class Wish:
    """An α a tuner would like, before bounds, rate and walls."""

    alpha: float
    probe: bool = False


@attrs.frozen
class Sample:
    """J as measured at one α, and what became of the suggestion that led there."""

    alpha: float
    objective: float
    verdict: Verdict
    probed: bool


class Tuner(ABC):
    """Template of tell and ask; a method adds `_learn`, `_wish` and its own memory.

    Args:
        space: limits of α.
        window: number of samples kept.
        seed: decides every free choice.
    """

    name: ClassVar[str]
    mode: ClassVar[Mode]

    def __init__(self, space: Space, window: int, seed: int) -> None:
        self.space = space
        self.seed = seed
        self.gradient: float | None = None
        self._resolution = RESOLUTION_SHARE * space.delta_max
        self._samples: deque[tuple[float, float]] = deque(maxlen=window)
        self._noise = Noise()
        self._blocked = Blocked(WALL_SHARE * space.delta_max)
        self._doubted: Blocked | None = None
        self._safe: deque[float] = deque(maxlen=RECENT)
        self._is_struck = False
        self.guard = Guard(space)
        self._tick = 0
        self._base: float | None = None
        self._settled = False
        self._last: Suggestion | None = None
        self._reverts = 0
        self._probes = 0
        self._promise: float | None = None
        self._forget()

    @property
    @abstractmethod
    def signal_to_noise(self) -> float | None:
        """Absolute gradient in standard errors, None when unknown."""

    @abstractmethod
    def _forget(self) -> None:
        """Set the method's own memory to its start."""

    @abstractmethod
    def _learn(self, base: float, sample: Sample) -> None:
        """Take in a sound sample; base is the α now in force."""

    @abstractmethod
    def _halt(self) -> None:
        """Give up all momentum: a limit said no, or α was moved by others."""

    @abstractmethod
    def _wish(self, base: float) -> Wish | None:
        """Say which α is wanted next from base, None for no change."""

    @abstractmethod
    def _dump(self) -> State:
        """Give the method's own memory."""

    @abstractmethod
    def _load(self, reader: StateReader) -> None:
        """Set the method's own memory from what `_dump` gave."""

    @property
    def base(self) -> float | None:
        """The α in force, None before the first outcome."""
        return self._base

    @property
    def sigma(self) -> float:
        """Estimated standard deviation of one measurement of J."""
        return self._noise.sigma

    def excitation(self, samples: int, curvature: float | None = None) -> float:
        """Return how far to move α to learn a slope; half of delta_max while the noise is unknown."""
        if not self._noise.known:
            return self.space.delta_max / 2
        return amplitude(self.space, self.sigma, samples, curvature)

    def tell(self, outcome: Outcome) -> None:
        """Take in one measured cycle. Never raises, whatever the figures are."""
        self._tick += 1
        last, self._last = self._last, None
        alpha, objective = measured(outcome.alpha), measured(outcome.objective)
        base = measured(outcome.committed_alpha)
        if alpha is not None and base is not None and _same(alpha, base):
            alpha = base
        self._settled = base is not None and alpha == base and outcome.verdict is not Verdict.STOPPED
        if base is None:
            return
        moved, self._base = self._base != base, base
        expected = last is not None and _same(base, last.alpha)
        blocked = self._learn_walls(outcome, last, alpha, base)
        if blocked or outcome.verdict is Verdict.STOPPED or (moved and not expected):
            self._halt()
        # Whatever was measured: the kernel counts them, too.
        self._count_reverts(outcome.verdict, last, alpha)
        if alpha is None or objective is None or not self.space.alpha_min <= alpha <= self.space.alpha_max:
            return
        self._samples.append((alpha, objective))
        self._noise.learn(list(self._samples)[-4:])
        sample = Sample(alpha, objective, outcome.verdict, last is not None and last.probe)
        self._find_promise(base)
        self._learn(base, sample)

    def _count_reverts(self, verdict: Verdict, last: Suggestion | None, alpha: float | None) -> None:
        if verdict in (Verdict.COMMITTED, Verdict.STOPPED):
            # Whoever lets a stopped kernel go on has judged what it was stopped for; its count begins anew.
            self._reverts, self._promise = 0, None
        elif last is not None and _is_taken_back(last, verdict, alpha):
            self._reverts, self._promise = self._reverts + 1, None

    def _find_promise(self, base: float) -> None:
        """After too many reverts, look for an α that measured no worse than base before it and after it.

        Against the mean of both, since J may drift; and better by ever more of the noise, the more such steps
        were taken back all the same.
        """
        if self._reverts < PATIENCE or len(self._samples) < 3:
            return
        (first, before), (tried, there), (last, after) = list(self._samples)[-3:]
        if first == last == base != tried:
            doubt = (self._reverts - PATIENCE) * math.sqrt(2.0) * self.sigma
            self._promise = tried if there >= (before + after) / 2 + doubt else None

    def _learn_walls(
        self, outcome: Outcome, last: Suggestion | None, alpha: float | None, base: float
    ) -> bool:
        broken = outcome.broken if isinstance(outcome.broken, tuple) else ()
        jumped = alpha is not None and self.guard.learn(alpha, outcome.margins)
        if outcome.verdict is Verdict.REFUSED:
            if last is not None and (not broken or located(broken, measured=False)):
                self._blocked.hit(base, last.alpha, self._tick)
            return True
        unsafe = outcome.verdict is Verdict.RETREATED or located(broken, measured=True)
        if alpha is not None and unsafe:
            self._learn_unsafe(alpha, base, jumped or not outcome.margins)
        elif alpha is not None:
            self._safe.append(alpha)
            self._is_struck, self._doubted = False, None
            if outcome.verdict is not Verdict.STOPPED:
                self._blocked.passed(alpha)
        return unsafe

    def _learn_unsafe(self, alpha: float, base: float, unforeseen: bool) -> None:
        """Tell a limit that lies at an α from a shock that strikes whatever α is.

        A limit that breaks where it just held says nothing of α, nor do those that break on the retreat; and
        the wall that was put up at a trial the cycle before goes again.
        """
        held_here = self._safe and min(self._safe) <= alpha <= max(self._safe)
        if self._is_struck or held_here or self._doubted is not None:
            self._is_struck = True
            self._blocked, self._doubted = self._doubted or self._blocked, None
        elif unforeseen:
            self._doubted = attrs.evolve(self._blocked)
            self._blocked.hit(base, alpha, self._tick, retreat=True)

    def ask(self) -> Suggestion | Hold:
        """Answer with an α within bounds, rate and walls, or HOLD."""
        base = self._base
        if base is None or not self._settled or not self._is_near(base):
            return HOLD
        return self.suggest(self._wish(base))

    def _is_near(self, base: float) -> bool:
        """Say whether one step from base can end within the bounds; others may have put α anywhere."""
        limit = self.space.delta_max
        return self.space.alpha_min <= base + limit and base - limit <= self.space.alpha_max

    def suggest(self, wish: Wish | None) -> Suggestion | Hold:
        """Cut a wish to bounds, rate, walls and guard.

        Where a limit is expected to break at the α in force, the answer leads away, whatever is wished.
        """
        base = self._base
        if base is None or not self._settled:
            return HOLD
        low, high = self._reach(base)
        if not low <= base <= high and self.space.alpha_min <= base <= self.space.alpha_max:
            away = clip(base, low, high)
            # A wall that was found from outside the bounds may lead out of them.
            away = clip(away, self.space.alpha_min, self.space.alpha_max)
            wish = Wish(clip(away, base - self.space.delta_max, base + self.space.delta_max))
            low, high = min(low, wish.alpha), max(high, wish.alpha)
        if wish is None or not low <= high:
            return HOLD
        if self._reverts >= PATIENCE:
            wish = self._beyond_doubt(wish, base)
        alpha = _to_nano(clip(wish.alpha, low, high), base)
        inside = low - REPRESENTATION * NANO <= alpha <= high + REPRESENTATION * NANO
        if not inside or abs(alpha - base) < self._resolution:
            return HOLD
        # A bound that is no multiple of a nano unit may have been rounded outward to the one it stands for.
        self._last = Suggestion(clip(alpha, self.space.alpha_min, self.space.alpha_max), wish.probe)
        return self._last

    def _beyond_doubt(self, wish: Wish, base: float) -> Wish:
        """Probe on either side in turn, and step to what was found no worse."""
        if self._promise is not None:
            return Wish(self._promise)
        self._probes += 1
        return Wish(wish.alpha if self._probes % 2 else 2.0 * base - wish.alpha, probe=True)

    def _reach(self, base: float) -> tuple[float, float]:
        """Return the lowest and highest α that bounds, rate and walls leave; low > high for none."""
        low, high = self.allowed()
        return max(low, base - self.space.delta_max), min(high, base + self.space.delta_max)

    def allowed(self) -> tuple[float, float]:
        """Return the lowest and highest α that bounds, walls and guard leave."""
        low, high = self._blocked.range(self._tick)
        low, high = max(low, self.space.alpha_min), min(high, self.space.alpha_max)
        if self._base is not None:
            g_low, g_high = self.guard.range(self._base)
            low, high = max(low, min(g_low, high)), min(high, max(g_high, low))
        return low, high

    def inherit(self, other: "Tuner") -> None:
        """Take over the walls another tuner has found, its reverts, and its gradient where this has none."""
        self._blocked = attrs.evolve(other._blocked)
        self._reverts, self._promise = other._reverts, None
        if self.gradient is None:
            self.gradient = other.gradient

    def state(self) -> State:
        """Give the memory in JSON's types."""
        last = [] if self._last is None else [self._last.alpha, float(self._last.probe)]
        doubted = {} if self._doubted is None else self._doubted.state()
        return {
            "optimizer": self.name,
            "tick": self._tick,
            "base": optional(self._base),
            "settled": int(self._settled),
            "last": last,
            "reverts": self._reverts,
            "probes": self._probes,
            "promise": optional(self._promise),
            "safe": list(self._safe),
            "struck": int(self._is_struck),
            **{f"doubted.{key}": value for key, value in doubted.items()},
            "gradient": optional(self.gradient),
            "samples": [figure for sample in self._samples for figure in sample],
            **self._noise.state(),
            **self._blocked.state(),
            **{f"guard.{key}": value for key, value in self.guard.state().items()},
            **self._dump(),
        }

    def restore(self, state: Mapping[str, object]) -> None:
        """Take the memory back.

        Raises:
            OptimizerStateError: content is missing, unknown, NaN, ill-typed or of another optimizer; the
                memory is unchanged.
        """
        before = dict(self.__dict__)
        try:
            reader = StateReader(state)
            self._load_common(reader)
            self._load(reader)
            reader.finish()
        except OptimizerStateError:
            self.__dict__.update(before)
            raise

    def _load_common(self, reader: StateReader) -> None:
        if reader.text("optimizer") != self.name:
            raise OptimizerStateError(f"optimizer is {reader.text('optimizer')!r}, must be {self.name!r}")
        self._tick = reader.integer("tick", 0, LAST_TICK)
        self._base = reader.optional("base")
        self._settled = bool(reader.integer("settled", 0, 1))
        last = reader.rows("last", 2, 1)
        self._last = Suggestion(last[0][0], last[0][1] == 1.0) if last else None
        self._reverts = reader.integer("reverts", 0, LAST_TICK)
        self._probes = reader.integer("probes", 0, LAST_TICK)
        self._promise = reader.optional("promise")
        self._safe = deque((row[0] for row in reader.rows("safe", 1, RECENT)), maxlen=RECENT)
        self._is_struck = bool(reader.integer("struck", 0, 1))
        doubted = reader.part("doubted.")
        self._doubted = None
        if doubted:
            part = StateReader(doubted)
            self._doubted = self._blocked.restored(part)
            part.finish()
        self.gradient = reader.optional("gradient", LARGEST_DERIVED)
        most = self._samples.maxlen or 0
        self._samples = deque(((row[0], row[1]) for row in reader.rows("samples", 2, most)), maxlen=most)
        self._noise = Noise.restored(reader)
        self._blocked = self._blocked.restored(reader)
        part = StateReader(reader.part("guard."))
        self.guard = Guard(self.space)
        self.guard.restore(part)
        part.finish()


def _is_taken_back(last: Suggestion, verdict: Verdict, alpha: float | None) -> bool:
    """Say whether a kernel counts it; a retreat from where no trial had led is none of the optimizer's."""
    if verdict is Verdict.RETREATED:
        return alpha is not None and _same(alpha, last.alpha)
    return verdict is Verdict.REVERTED and not last.probe


def _same(alpha: float, other: float) -> bool:
    return abs(alpha - other) < NANO / 2


def _to_nano(alpha: float, base: float) -> float:
    """Return alpha on the kernel's grid of 1e-9, rounded towards base so that no limit is passed."""
    toward_base = math.floor if alpha >= base else math.ceil
    slack = REPRESENTATION if alpha >= base else -REPRESENTATION
    return toward_base(alpha / NANO + slack) / 1e9
