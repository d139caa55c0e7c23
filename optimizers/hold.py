"""The optimizer that wants no change: the reference every other one must beat."""

from collections.abc import Mapping

from optimizers.figures import StateReader
from optimizers.protocol import HOLD, Hold, Mode, Outcome, State


class HoldStill:
    """Always holds."""

    name = "hold"
    mode: Mode = "idle"
    gradient = None

    def tell(self, outcome: Outcome) -> None:
        """Take nothing in."""

    def ask(self) -> Hold:
        """Hold."""
        return HOLD

    def state(self) -> State:
        """Give the empty memory."""
        return {}

    def restore(self, state: Mapping[str, object]) -> None:
        """Take the empty memory back.

        Raises:
            OptimizerStateError: the state holds anything.
        """
        StateReader(state).finish()
