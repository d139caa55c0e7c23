"""Whatever ends a decision half-way, the engine's α is the one that the ledger tells."""

import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from kernel_bench import LIMITS, Bench, reading, state

from kernel import (
    Comparison,
    Entry,
    Kind,
    LedgerUnavailableError,
    Mode,
    Outcome,
    Proposal,
    SafetyKernel,
    State,
)
from kernel.quantity import NANO, Nano, to_float
from kernel.rules import recover
from kernel.safety_kernel import ReentrantCallError

TRIED = Nano(1_010_000_000)
BETTER, WORSE = Comparison(Nano(0), Nano(1), Nano(0)), Comparison(Nano(1), Nano(0), Nano(0))
UNSAFE = LIMITS.entropy_max + 1
READY, OPENED = state(), state(Mode.TRIAL, alpha=TRIED, good=Nano(NANO), cycle=1)
FROZEN, LATCHED = state(Mode.FROZEN), state(Mode.EMERGENCY)
NARROW = LIMITS._replace(step_max=Nano(5_000_000))

EVENTS: dict[str, tuple[State, Callable[[Bench], Entry | None]]] = {
    "propose": (
        READY,
        lambda bench: bench.kernel.propose(Proposal(1.01, Kind.STEP, "o", ""), reading(1, NANO)),
    ),
    "settle for the better": (OPENED, lambda bench: bench.kernel.settle(reading(2, TRIED), BETTER, "c", "")),
    "settle for the worse": (OPENED, lambda bench: bench.kernel.settle(reading(2, TRIED), WORSE, "c", "")),
    "observe": (
        READY,
        lambda bench: bench.kernel.observe(reading(1, NANO, entropy_rate=UNSAFE), "c", ""),
    ),
    "miss in a trial": (OPENED, lambda bench: bench.kernel.miss("c", "")),
    "miss in an emergency": (LATCHED, lambda bench: bench.kernel.miss("c", "")),
    "expire": (OPENED, lambda bench: bench.kernel.expire_overdue_trial("c")),
    "freeze": (READY, lambda bench: bench.kernel.freeze("ines", "")),
    "freeze in a trial": (OPENED, lambda bench: bench.kernel.freeze("ines", "")),
    "approve": (FROZEN, lambda bench: bench.kernel.approve(bench.signed("approve"), reading(1, NANO))),
    "override": (
        FROZEN,
        lambda bench: bench.kernel.override(bench.signed("override", (TRIED,)), 1.01, reading(1, NANO)),
    ),
    "set_limits": (
        READY,
        lambda bench: bench.kernel.set_limits(bench.signed("set_limits", tuple(NARROW)), NARROW),
    ),
    "recover": (OPENED, lambda bench: bench.kernel.recover("c", "")),
}


class Fragile:
    """A ledger and an engine of which one call is ended: before its work is done, or after it."""

    def __init__(self, bench: Bench, error: BaseException, at: str) -> None:
        self.error: BaseException | None = error
        self.device, self.when = at.split()
        self.engine_alpha = to_float(bench.kernel.state.alpha)
        self.entries: list[Entry] = []
        self.is_unsure = False
        bench.ledger.append = self.append  # type: ignore[method-assign]
        bench.engine.set_alpha_multiplier = self.set_alpha_multiplier  # type: ignore[method-assign]

    def append(self, entry: Entry) -> int:
        if self.device == "ledger":
            self.end("before")
        self.entries.append(entry)
        if self.device == "ledger":
            self.is_unsure = self.error is not None
            self.end("after")
        return len(self.entries)

    def set_alpha_multiplier(self, alpha: float) -> None:
        if self.device == "engine":
            self.end("before")
        self.engine_alpha = alpha
        if self.device == "engine":
            self.end("after")

    def end(self, when: str) -> None:
        error = self.error
        if error is not None and when == self.when:
            self.error = None
            raise error


def told(begin: State, entries: list[Entry]) -> float:
    """Return the α that every reader of the ledger takes to be in force once the writer is gone."""
    last = entries[-1].after if entries else begin
    return to_float(recover(last)[0].alpha)


def outcome_of(call: Callable[[], object]) -> BaseException | None:
    """Return what a call raises."""
    try:
        call()
    except BaseException as raised:  # noqa: BLE001 - it is what is asked for
        return raised
    return None


@pytest.mark.parametrize("at", ["ledger before", "ledger after", "engine before", "engine after"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), OSError(5, "broken")], ids=type)
@pytest.mark.parametrize("event", EVENTS)
def test_a_decision_that_is_ended_half_way_leaves_the_engine_where_the_ledger_says(
    event: str, error: BaseException, at: str
) -> None:
    begin, call = EVENTS[event]
    bench = Bench(begin=begin)
    fragile = Fragile(bench, error, at)
    is_fatal = at.startswith("ledger") or not isinstance(error, Exception)
    raised = outcome_of(lambda: call(bench))
    is_ended = fragile.error is None and is_fatal
    if is_ended and isinstance(error, Exception):
        assert isinstance(raised, LedgerUnavailableError)
        assert raised.__cause__ is error
    else:
        assert raised is (error if is_ended else None)
    # Of a record that may be durable or not, either reading is right.
    readings = {told(begin, fragile.entries)}
    if fragile.is_unsure:
        readings.add(told(begin, fragile.entries[:-1]))
    assert fragile.engine_alpha in readings
    if is_ended:
        with pytest.raises(LedgerUnavailableError, match="not completed, kernel closed"):
            bench.kernel.freeze("ines", "stop")
        assert bench.kernel.mode is not Mode.TRIAL
    assert bench.kernel.alpha == fragile.engine_alpha


class Unspeakable(BaseException):
    """What a second Ctrl-C comes to that meets the first one while it is being told."""

    def __str__(self) -> str:
        raise KeyboardInterrupt


@pytest.mark.parametrize("at", ["ledger before", "ledger after", "engine before", "engine after"])
@pytest.mark.parametrize("event", EVENTS)
def test_a_decision_that_is_ended_twice_leaves_the_kernel_closed_and_alpha_owed(event: str, at: str) -> None:
    begin, call = EVENTS[event]
    bench = Bench(begin=begin)
    fragile = Fragile(bench, Unspeakable(), at)
    raised = outcome_of(lambda: call(bench))
    if fragile.error is not None:
        assert raised is None
        return
    assert isinstance(raised, KeyboardInterrupt)
    with pytest.raises(LedgerUnavailableError, match="interrupted, kernel closed"):
        bench.kernel.freeze("ines", "stop")
    readings = {told(begin, fragile.entries)}
    if fragile.is_unsure:
        readings.add(told(begin, fragile.entries[:-1]))
    assert fragile.engine_alpha in readings
    assert (bench.kernel.alpha, bench.kernel.mode is Mode.TRIAL) == (fragile.engine_alpha, False)


def test_a_policy_that_was_not_recorded_is_not_in_force() -> None:
    bench = Bench()
    bench.ledger.failure = OSError("disk gone")
    with pytest.raises(LedgerUnavailableError, match="set_limits not completed"):
        EVENTS["set_limits"][1](bench)
    assert bench.kernel.limits == LIMITS


def test_a_trial_that_could_not_be_put_back_is_put_back_by_a_later_call() -> None:
    bench = Bench(begin=OPENED)
    bench.ledger.failure, bench.engine.refuses = OSError("disk gone"), lambda alpha: True
    for _ in range(2):
        with pytest.raises(LedgerUnavailableError, match="disk gone; α not put back: OSError: engine cannot"):
            bench.kernel.miss("controller", "blind")
        assert (bench.kernel.mode, bench.kernel.alpha) == (Mode.TRIAL, 1.01)
    bench.engine.refuses = lambda alpha: False
    with pytest.raises(LedgerUnavailableError, match=r"disk gone$"):
        bench.kernel.expire_overdue_trial("watchdog")
    assert bench.engine.applied == [1.0]
    assert (bench.kernel.mode, bench.kernel.alpha) == (Mode.READY, 1.0)


def test_an_interrupted_proposal_that_cannot_be_put_back_stays_a_trial_until_it_is() -> None:
    bench = Bench()

    def interrupted(alpha: float) -> bool:
        bench.engine.refuses = lambda alpha: True
        bench.engine.applied.append(alpha)
        raise KeyboardInterrupt

    bench.engine.refuses = interrupted
    with pytest.raises(KeyboardInterrupt):
        EVENTS["propose"][1](bench)
    assert (bench.kernel.mode, bench.kernel.alpha, bench.engine.applied) == (Mode.TRIAL, 1.01, [1.01])
    bench.engine.refuses = lambda alpha: False
    with pytest.raises(LedgerUnavailableError, match=r"propose not completed, .*: KeyboardInterrupt: $"):
        bench.kernel.expire_overdue_trial("watchdog")
    assert (bench.kernel.mode, bench.kernel.alpha, bench.engine.applied[-1]) == (Mode.READY, 1.0, 1.0)


def test_a_trial_of_the_alpha_in_force_ends_with_its_ledger() -> None:
    bench = Bench(begin=OPENED._replace(alpha=Nano(NANO)))
    bench.ledger.failure = OSError("disk gone")
    with pytest.raises(LedgerUnavailableError):
        bench.kernel.miss("controller", "blind")
    assert (bench.kernel.mode, bench.engine.applied) == (Mode.READY, [1.0])


def test_a_trial_that_is_settled_while_it_is_found_overdue_is_not_missed() -> None:
    class Slow(SafetyKernel):
        def miss(self, actor: str, reason: str) -> Entry:
            settling.join(0.05)
            return super().miss(actor, reason)

    bench = Bench(begin=OPENED)
    kernel = Slow(LIMITS, OPENED, bench.ledger, bench.engine, bench.book)
    settling = threading.Thread(target=kernel.settle, args=(reading(2, TRIED), BETTER, "c", ""))
    ages = iter([100.0])

    def clock() -> float:
        settling.start()
        return next(ages)

    kernel._clock = clock
    entry = kernel.expire_overdue_trial("watchdog")
    settling.join()
    assert entry is not None
    assert entry.verdict.outcome is Outcome.REVERTED
    assert [one.event for one in bench.ledger.entries] == ["miss", "settle"]


def test_a_history_that_could_not_be_recorded_is_not_begun_on_the_engine() -> None:
    bench = Bench()
    bench.ledger.failure = OSError("disk gone")
    with pytest.raises(LedgerUnavailableError):
        type(bench.kernel).start(
            LIMITS, 1.0, bench.ledger, bench.engine, bench.book, actor="ines", reason="first"
        )
    assert bench.engine.applied == []


@pytest.mark.parametrize("nested", sorted(EVENTS.keys() - {"expire"}))
@pytest.mark.parametrize("device", ["engine", "ledger"])
def test_what_the_kernel_calls_cannot_decide_in_the_middle_of_a_decision(device: str, nested: str) -> None:
    bench = Bench()
    raised: list[str] = []

    def call(*_: Any) -> bool:
        with pytest.raises(ReentrantCallError, match="in the middle of another decision") as caught:
            EVENTS[nested][1](bench)
        raised.append(str(caught.value))
        return False

    if device == "engine":
        bench.engine.refuses = call
    else:
        append = bench.ledger.append
        bench.ledger.append = lambda entry: append(entry) + call()  # type: ignore[method-assign]
    entry = EVENTS["propose"][1](bench)
    assert len(raised) == 1
    assert bench.ledger.entries == [entry]
    assert entry is not None
    assert (bench.kernel.state, entry.verdict.outcome) == (entry.after, Outcome.ACCEPTED)
    assert bench.kernel.freeze("ines", "stop").verdict.outcome is Outcome.FROZEN


@pytest.mark.parametrize("device", ["engine", "ledger"])
@pytest.mark.parametrize("second", EVENTS)
def test_no_event_begins_before_another_has_ended(second: str, device: str) -> None:
    begin, call = EVENTS[second]
    bench = Bench(begin=begin)
    bench.now_s += 6.0
    inside, leave = threading.Event(), threading.Event()
    within: list[int] = [0, 0]

    def wait(*_: Any) -> bool:
        within[0] += 1
        within[1] = max(within)
        inside.set()
        assert leave.wait(10.0)
        within[0] -= 1
        return False

    if device == "engine":
        bench.engine.refuses = wait
    else:
        append = bench.ledger.append
        bench.ledger.append = lambda entry: append(entry) + wait()  # type: ignore[method-assign]
    first = threading.Thread(target=bench.kernel.recover, args=("controller", "restart"))
    other = threading.Thread(target=call, args=(bench,))
    first.start()
    assert inside.wait(10.0)
    other.start()
    other.join(0.05)
    assert other.is_alive()
    assert [entry.event for entry in bench.ledger.entries] == ["recover"]
    leave.set()
    for thread in (first, other):
        thread.join(10.0)
    assert within == [0, 1]
    # Each decision was taken on what the one before had left.
    entries = bench.ledger.entries
    assert all(one.after == two.before for one, two in pairwise(entries))
