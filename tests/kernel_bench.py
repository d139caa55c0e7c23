"""Parts that every kernel test needs: a policy, readings, and a kernel on in-memory ports."""

from collections.abc import Callable
from typing import Any

from kernel import Limits, Mode, Order, Reading, SafetyKernel, State
from kernel.quantity import NANO, Nano
from kernel.safety_kernel import Entry
from kernel.state import Kind

LIMITS = Limits(
    alpha_min=Nano(800_000_000),
    alpha_max=Nano(1_200_000_000),
    alpha_safe=Nano(800_000_000),
    step_max=Nano(20_000_000),
    entropy_max=Nano(2_000_000),
    entropy_severe=Nano(20_000_000),
    h_internal_min=Nano(950_000_000),
    h_internal_severe=Nano(800_000_000),
    drive_max=Nano(10 * NANO),
    loop_gain_max=Nano(365_912_693),
    tolerance_max=Nano(50_000_000),
    reverts_max=3,
    missed_max=3,
)


def reading(cycle: int, alpha: int, **changes: Any) -> Reading:
    """A safe reading of a cycle at alpha, with changes."""
    safe = Reading(
        cycle=cycle,
        alpha=Nano(alpha),
        coherence=Nano(NANO // 2),
        entropy_rate=Nano(0),
        h_internal=Nano(NANO),
        drive=(Nano(100_000_000),) * 3,
        loop_gain=(Nano(200_000_000),) * 3,
    )
    return safe._replace(**changes)


def state(mode: Mode = Mode.READY, alpha: int = NANO, **changes: Any) -> State:
    """A state with alpha as its own rollback target, with changes."""
    base = State(mode, Nano(alpha), Nano(alpha), 0, 0, 0, 1, Kind.STEP, Mode.READY)
    return base._replace(**changes)


class MemoryLedger:
    """Keeps entries; raises `failure` instead when it is set."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.failure: Exception | None = None

    def append(self, entry: Entry) -> int:
        if self.failure is not None:
            raise self.failure
        self.entries.append(entry)
        return len(self.entries)


class RecordingEngine:
    """Takes α and remembers it; refuses those for which `refuses` says so."""

    def __init__(self) -> None:
        self.applied: list[float] = []
        self.refuses: Callable[[float], bool] = lambda alpha: False

    def set_alpha_multiplier(self, alpha: float) -> None:
        if self.refuses(alpha):
            raise OSError(f"engine cannot take {alpha}")
        self.applied.append(alpha)


class SignatureBook:
    """Authorises the orders it was given."""

    def __init__(self) -> None:
        self.valid: list[Order] = []

    def authorises(self, order: Order) -> bool:
        return order in self.valid


class Bench:
    """A kernel with its ports and a clock that the test turns."""

    def __init__(self, limits: Limits = LIMITS, begin: State | None = None) -> None:
        self.ledger = MemoryLedger()
        self.engine = RecordingEngine()
        self.book = SignatureBook()
        self.now_s = 100.0
        self.kernel = SafetyKernel(
            limits,
            begin or state(),
            self.ledger,
            self.engine,
            self.book,
            trial_deadline_s=5.0,
            clock=lambda: self.now_s,
        )

    def signed(self, action: str, subject: tuple[int, ...] = ()) -> Order:
        """An order that the authority accepts."""
        order = Order(action, subject, "ines", "test order", "signature")
        self.book.valid.append(order)
        return order
