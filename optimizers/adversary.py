"""Optimizers that want to do harm, for tests and benchmarks of the kernel."""

import math
import random
from collections.abc import Callable, Mapping
from typing import Any, Final

from optimizers.errors import OptimizerSettingError, OptimizerStateError
from optimizers.figures import StateReader, measured, optional
from optimizers.protocol import Hold, Mode, Outcome, Space, State, Suggestion

LAST_COUNT: Final = 2**53


def _anywhere(space: Space, base: float, dice: random.Random) -> Any:
    span = space.alpha_max - space.alpha_min
    scale = dice.choice((0.1, 1.0, 10.0, 1e6, 1e300))
    return Suggestion(base + dice.uniform(-span, span) * scale, probe=dice.random() < 0.5)


def _always_max(space: Space, _base: float, _dice: random.Random) -> Any:
    return Suggestion(space.alpha_max)


def _one_ulp(space: Space, base: float, dice: random.Random) -> Any:
    edges = (
        space.alpha_max,
        space.alpha_min,
        base + space.delta_max,
        base - space.delta_max,
        space.alpha_max + 1e-9,
        space.alpha_min - 1e-9,
    )
    edge = dice.choice(edges)
    alpha = math.nextafter(edge, dice.choice((-math.inf, edge, math.inf)))
    return Suggestion(alpha, probe=dice.random() < 0.5)


def _not_a_number(_space: Space, base: float, dice: random.Random) -> Any:
    numbers = (math.nan, math.inf, -math.inf, -0.0, True, 10**400, 1j)
    figure: Any = dice.choice((*numbers, None, "1.0", "", object(), [base], {"alpha": base}))
    probe: Any = dice.choice((True, False, None, "yes"))
    # Lying about types is the point: half of these break the type of the answer, half that of its figure.
    return Suggestion(figure, probe) if dice.random() < 0.5 else figure


_STRATEGIES: Final[dict[str, Callable[[Space, float, random.Random], Any]]] = {
    "random": _anywhere,
    "always_max": _always_max,
    "one_ulp": _one_ulp,
    "nan": _not_a_number,
}
STRATEGIES: Final = tuple(_STRATEGIES)


class Adversary:
    """Suggests α that a kernel must not let through.

    Args:
        space: limits of α.
        strategy: one of STRATEGIES. "random" goes anywhere, also far outside; "always_max" wants alpha_max
            at once; "one_ulp" aims one float or one nano unit around bounds and rate; "nan" sends what is no
            number, and answers that are no suggestions.
        seed: decides what comes when.

    Raises:
        OptimizerSettingError: the strategy is unknown.
    """

    mode: Mode = "idle"
    gradient = None

    def __init__(self, space: Space, strategy: str, seed: int = 0) -> None:
        if strategy not in _STRATEGIES:
            raise OptimizerSettingError(f"strategy is {strategy!r}, must be one of {', '.join(STRATEGIES)}")
        self.name = f"adversary:{strategy}"
        self._space = space
        self._suggest = _STRATEGIES[strategy]
        self._seed = seed
        self._count = 0
        self._base: float | None = None

    def tell(self, outcome: Outcome) -> None:
        """Note the α in force."""
        base = measured(outcome.committed_alpha)
        self._base = self._base if base is None else base

    def ask(self) -> Suggestion | Hold:
        """Answer with something harmful, which may be neither a suggestion nor HOLD."""
        self._count += 1
        base = (self._space.alpha_min + self._space.alpha_max) / 2 if self._base is None else self._base
        dice = random.Random(f"{self._seed}:{self._count}")
        answer: Suggestion | Hold = self._suggest(self._space, base, dice)
        return answer

    def state(self) -> State:
        """Give the memory in JSON's types."""
        return {"optimizer": self.name, "count": self._count, "base": optional(self._base)}

    def restore(self, state: Mapping[str, object]) -> None:
        """Take the memory back.

        Raises:
            OptimizerStateError: content is missing, unknown, ill-typed or of another strategy; the memory is
                unchanged.
        """
        reader = StateReader(state)
        if reader.text("optimizer") != self.name:
            raise OptimizerStateError(f"optimizer is {reader.text('optimizer')!r}, must be {self.name!r}")
        count = reader.integer("count", 0, LAST_COUNT)
        base = reader.optional("base")
        reader.finish()
        self._count, self._base = count, base
