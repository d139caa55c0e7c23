"""What an optimizer is told, what it may answer, and nothing else.

α is dimensionless, J is the objective Ĉ − ρ(α−1)², a cycle is one measurement of the engine.
"""

import enum
import math
from collections.abc import Mapping
from typing import Final, Literal, Protocol, final

import attrs

from optimizers.errors import OptimizerSettingError

Value = float | int | str | list[float]
State = dict[str, Value]
Mode = Literal["idle", "gradient", "pid"]


@attrs.frozen
class Space:
    """What an optimizer may know of the limits; the kernel checks its own copy.

    Args:
        alpha_min: smallest α.
        alpha_max: largest α.
        delta_max: largest absolute change of α per cycle.

    Raises:
        OptimizerSettingError: a figure is not finite, the range is empty, or delta_max is not positive.
    """

    alpha_min: float
    alpha_max: float
    delta_max: float

    def __attrs_post_init__(self) -> None:
        for field in attrs.fields(type(self)):
            figure = getattr(self, field.name)
            if isinstance(figure, bool) or not isinstance(figure, int | float) or not math.isfinite(figure):
                raise OptimizerSettingError(f"{field.name} is {figure!r}, must be a finite number")
        if not self.alpha_min < self.alpha_max:
            message = f"alpha_min is {self.alpha_min}, must lie below alpha_max {self.alpha_max}"
            raise OptimizerSettingError(message)
        if not self.delta_max > 0.0:
            raise OptimizerSettingError(f"delta_max is {self.delta_max}, must lie above 0")


@attrs.frozen
class Suggestion:
    """An α the optimizer would like to try; a probe is measured once and always returns."""

    alpha: float
    probe: bool = False


@final
class Hold:
    """The type of HOLD, which has one value."""

    __slots__ = ()
    _single: "Hold | None" = None

    def __new__(cls) -> "Hold":
        if cls._single is None:
            cls._single = super().__new__(cls)
        return cls._single

    def __repr__(self) -> str:
        return "HOLD"

    def __reduce__(self) -> str:
        return "HOLD"


HOLD: Final[Hold] = Hold()
"""No change is wanted. None is a fault, not a hold."""


class Verdict(enum.Enum):
    """What became of the latest suggestion."""

    NONE = "none"
    """Nothing was asked, or the optimizer held."""
    COMMITTED = "committed"
    """The step was measured safe and not worse, and stays."""
    REVERTED = "reverted"
    """The step was measured worse or unsafe, or a probe returned."""
    REFUSED = "refused"
    """A limit would have been broken; the suggestion was not applied."""
    RETREATED = "retreated"
    """A limit moved in, and the kernel moved α towards safety."""
    STOPPED = "stopped"
    """The kernel is frozen or in emergency."""


@attrs.frozen
class Outcome:
    """One measured cycle, told once.

    Args:
        cycle: number of the measured cycle.
        alpha: α at which it was measured.
        objective: J measured at that α.
        verdict: what became of the latest suggestion.
        committed_alpha: α in force after the verdict, the base of the next suggestion.
        broken: names of the limits that refused or retreated it.
        margins: (name of a limit, how far inside it the measured figure was, in the figure's own unit); a
            negative distance is a broken limit. Empty where nobody tells.
    """

    cycle: int
    alpha: float
    objective: float
    verdict: Verdict
    committed_alpha: float
    broken: tuple[str, ...] = ()
    margins: tuple[tuple[str, float], ...] = ()


class Optimizer(Protocol):
    """A method that looks for the α with the largest J."""

    @property
    def name(self) -> str:
        """Name under which the registry knows it."""

    @property
    def mode(self) -> Mode:
        """Value for the mode metric; a surrogate method reports "gradient"."""

    @property
    def gradient(self) -> float | None:
        """Latest estimate of dJ/dα, None when unknown."""

    def tell(self, outcome: Outcome) -> None:
        """Take in one measured cycle. Never raises, whatever the figures are."""

    def ask(self) -> Suggestion | Hold:
        """Answer with an α to try, or HOLD."""

    def state(self) -> State:
        """Give the memory in JSON's types."""

    def restore(self, state: Mapping[str, object]) -> None:
        """Take the memory back.

        Raises:
            OptimizerStateError: content is missing, unknown, NaN or ill-typed; the memory is unchanged.
        """
