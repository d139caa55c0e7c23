"""The order of effects: record, then α, then the state; and what happens when one of them fails."""

import threading
from typing import Any

import pytest
from kernel_bench import LIMITS, Bench, MemoryLedger, RecordingEngine, SignatureBook, reading, state

from kernel import (
    ActuatorError,
    Comparison,
    Kind,
    LedgerUnavailableError,
    MalformedQuantityError,
    Mode,
    Order,
    Outcome,
    PolicyError,
    Proposal,
    SafetyKernel,
)
from kernel.quantity import NANO, Nano
from kernel.safety_kernel import describe

EQUAL = Comparison(Nano(0), Nano(0), Nano(0))


def step(alpha: object, kind: Kind = Kind.STEP) -> Proposal:
    return Proposal(alpha, kind, "optimizer", "test")


def test_a_new_history_is_recorded_and_applied() -> None:
    ledger, engine = MemoryLedger(), RecordingEngine()
    kernel = SafetyKernel.start(
        LIMITS, 1.0, ledger, engine, SignatureBook(), actor="ines", reason="first start"
    )
    assert (kernel.alpha, kernel.mode, kernel.limits) == (1.0, Mode.READY, LIMITS)
    assert engine.applied == [1.0]
    assert [(entry.event, entry.limits, entry.actor) for entry in ledger.entries] == [
        ("start", LIMITS, "ines")
    ]


@pytest.mark.parametrize("alpha", [0.7, 1.3])
def test_a_history_outside_its_bounds_does_not_start(alpha: float) -> None:
    ledger = MemoryLedger()
    with pytest.raises(PolicyError, match=rf"alpha is {alpha}, must lie in \[0.8, 1.2\]"):
        SafetyKernel.start(
            LIMITS, alpha, ledger, RecordingEngine(), SignatureBook(), actor="ines", reason="x"
        )
    assert ledger.entries == []


def test_an_engine_that_does_not_take_the_first_alpha_stops_the_start() -> None:
    ledger, engine = MemoryLedger(), RecordingEngine()
    engine.refuses = lambda alpha: True
    with pytest.raises(ActuatorError, match="engine cannot take"):
        SafetyKernel.start(LIMITS, 1.0, ledger, engine, SignatureBook(), actor="ines", reason="x")
    assert [entry.event for entry in ledger.entries] == ["start", "actuator_failed"]


def test_an_engine_that_does_not_take_the_first_alpha_at_once_is_no_emergency() -> None:
    ledger, engine = MemoryLedger(), RecordingEngine()
    answers = iter([True, False])
    engine.refuses = lambda alpha: next(answers)
    with pytest.raises(ActuatorError, match="engine cannot take"):
        SafetyKernel.start(LIMITS, 1.0, ledger, engine, SignatureBook(), actor="ines", reason="x")
    assert [entry.verdict.outcome for entry in ledger.entries] == [Outcome.STARTED, Outcome.ABORTED]


def test_a_new_history_keeps_the_deadline_it_was_given() -> None:
    kernel = SafetyKernel.start(
        LIMITS, 1.0, MemoryLedger(), RecordingEngine(), SignatureBook(), -1.0, actor="ines", reason="x"
    )
    kernel.propose(step(1.01), reading(1, NANO))
    # No age is within a deadline that is over before the trial begins.
    entry = kernel.expire_overdue_trial("watchdog")
    assert entry is not None
    assert "deadline -1.000 s" in entry.reason


def test_the_record_is_durable_before_alpha_moves(bench: Bench) -> None:
    seen: list[int] = []
    bench.engine.refuses = lambda alpha: bool(seen.append(len(bench.ledger.entries)))
    bench.kernel.propose(step(1.01), reading(1, NANO))
    assert seen == [1]
    assert bench.engine.applied == [1.01]


def test_a_commit_does_not_touch_the_engine(bench: Bench) -> None:
    bench.kernel.propose(step(1.01), reading(1, NANO))
    entry = bench.kernel.settle(reading(2, 1_010_000_000), EQUAL, "controller", "measured")
    assert entry.verdict.outcome is Outcome.COMMITTED
    assert bench.engine.applied == [1.01]
    assert bench.kernel.alpha == 1.01


@pytest.mark.parametrize(
    "alpha",
    [float("nan"), float("inf"), -float("inf"), None, "1.0", True, b"", object(), [1.0], {"alpha": 1}],
)
def test_what_is_no_number_is_refused_and_recorded(bench: Bench, alpha: object) -> None:
    entry = bench.kernel.propose(step(alpha), reading(1, NANO))
    assert entry.verdict.outcome is Outcome.REFUSED
    assert [check[0] for check in entry.verdict.broken] == ["finite_alpha"]
    assert bench.ledger.entries == [entry]
    assert (bench.kernel.alpha, bench.engine.applied) == (1.0, [])
    assert bench.kernel.propose(step(1.01), reading(1, NANO)).verdict.outcome is Outcome.ACCEPTED


def test_a_calm_cycle_is_not_recorded_and_an_unsafe_one_is(bench: Bench) -> None:
    assert bench.kernel.observe(reading(1, NANO), "controller", "").verdict.outcome is Outcome.HELD
    assert bench.ledger.entries == []
    bench.kernel.freeze("ines", "look")
    unsafe = reading(2, NANO, entropy_rate=LIMITS.entropy_max + 1)
    assert bench.kernel.observe(unsafe, "controller", "").verdict.outcome is Outcome.HELD
    assert [entry.event for entry in bench.ledger.entries] == ["freeze", "observe"]


@pytest.mark.parametrize("moves", ["propose", "freeze", "miss"])
def test_without_a_ledger_nothing_is_applied_and_the_kernel_is_closed(bench: Bench, moves: str) -> None:
    calls: dict[str, Any] = {
        "propose": lambda: bench.kernel.propose(step(1.01), reading(1, NANO)),
        "freeze": lambda: bench.kernel.freeze("ines", "stop"),
        "miss": lambda: [bench.kernel.miss("controller", "blind") for _ in range(LIMITS.missed_max)],
    }
    bench.ledger.failure = OSError(28, "no space left on device")
    with pytest.raises(LedgerUnavailableError, match=r"not completed, kernel closed: .*no space left"):
        calls[moves]()
    assert (bench.kernel.alpha, bench.kernel.mode, bench.engine.applied) == (1.0, Mode.READY, [])
    bench.ledger.failure = None
    with pytest.raises(LedgerUnavailableError):
        bench.kernel.propose(step(1.01), reading(2, NANO))
    assert bench.ledger.entries == []


def test_a_trial_whose_outcome_cannot_be_recorded_goes_back(bench: Bench) -> None:
    bench.kernel.propose(step(1.01), reading(1, NANO))
    bench.ledger.failure = OSError("disk gone")
    with pytest.raises(LedgerUnavailableError):
        bench.kernel.settle(reading(2, 1_010_000_000), EQUAL, "controller", "measured")
    assert bench.engine.applied == [1.01, 1.0]
    assert (bench.kernel.alpha, bench.kernel.mode) == (1.0, Mode.READY)


def test_a_trial_that_can_neither_be_recorded_nor_put_back_is_told_as_both(bench: Bench) -> None:
    bench.kernel.propose(step(1.01), reading(1, NANO))
    bench.ledger.failure, bench.engine.refuses = OSError("disk gone"), lambda alpha: True
    with pytest.raises(LedgerUnavailableError, match=r"disk gone; α not put back: .*engine cannot take 1"):
        bench.kernel.settle(reading(2, 1_010_000_000), EQUAL, "controller", "measured")
    assert (bench.kernel.alpha, bench.kernel.mode) == (1.01, Mode.TRIAL)


def test_an_engine_that_lost_alpha_is_brought_back_to_it_in_an_emergency(bench: Bench) -> None:
    for _ in range(60):
        bench.kernel.miss("controller", "blind")
    assert (bench.kernel.alpha, bench.kernel.mode) == (0.8, Mode.EMERGENCY)
    # It begins anew, at an α of its own.
    bench.engine.applied.append(1.0)
    bench.kernel.miss("controller", "measured at another α")
    assert bench.engine.applied[-1] == bench.kernel.alpha == 0.8


def test_the_cycle_that_latches_brings_the_engine_to_alpha_where_alpha_stays() -> None:
    bench = Bench(begin=state(alpha=LIMITS.alpha_safe, missed=LIMITS.missed_max - 1))
    entry = bench.kernel.miss("controller", "blind")
    assert (entry.verdict.outcome, bench.engine.applied) == (Outcome.LATCHED, [0.8])


def test_a_granted_alpha_that_the_engine_refuses_leaves_all_as_it_was(bench: Bench) -> None:
    bench.engine.refuses = lambda alpha: alpha > 1.0
    entry = bench.kernel.propose(step(1.01), reading(1, NANO))
    assert (entry.event, entry.verdict.outcome) == ("actuator_failed", Outcome.ABORTED)
    assert "engine cannot take 1.01" in entry.reason
    assert (bench.kernel.state, bench.engine.applied) == (state(), [1.0])
    assert [entry.event for entry in bench.ledger.entries] == ["propose", "actuator_failed"]


def test_an_entry_holds_all_that_was_judged(bench: Bench) -> None:
    shown, settled = reading(1, NANO), reading(2, 1_010_000_000)
    comparison = Comparison(Nano(1), Nano(3), Nano(2))
    narrow = LIMITS._replace(step_max=Nano(5_000_000))
    proposed = bench.kernel.propose(step(1.01, Kind.STEP), shown)
    ended = bench.kernel.settle(settled, comparison, "controller", "measured")
    adopted = bench.kernel.set_limits(bench.signed("set_limits", tuple(narrow)), narrow)
    assert [
        (entry.event, entry.target, entry.kind, entry.reading, entry.comparison, entry.limits)
        for entry in (proposed, ended, adopted)
    ] == [
        ("propose", Nano(1_010_000_000), Kind.STEP, shown, None, None),
        ("settle", None, None, settled, comparison, None),
        ("set_limits", None, None, None, None, narrow),
    ]
    assert bench.ledger.entries == [proposed, ended, adopted]


def test_a_retreat_that_the_engine_refuses_is_an_emergency(bench: Bench) -> None:
    bench.engine.refuses = lambda alpha: alpha < 1.0
    entry = bench.kernel.observe(reading(1, NANO, entropy_rate=LIMITS.entropy_max + 1), "controller", "")
    assert (entry.verdict.outcome, bench.kernel.mode) == (Outcome.LATCHED, Mode.EMERGENCY)
    assert bench.kernel.alpha == 1.0


def test_a_trial_that_the_engine_does_not_give_up_is_an_emergency_where_it_is() -> None:
    bench = Bench(begin=state(Mode.TRIAL, alpha=Nano(1_010_000_000), good=Nano(NANO), cycle=1))
    bench.engine.refuses = lambda alpha: alpha == 1.0
    worse = Comparison(Nano(1), Nano(0), Nano(0))
    entry = bench.kernel.settle(reading(2, 1_010_000_000), worse, "controller", "measured")
    assert (entry.event, entry.verdict.outcome) == ("actuator_failed", Outcome.LATCHED)
    assert (bench.kernel.mode, bench.kernel.alpha) == (Mode.EMERGENCY, 1.01)
    assert bench.engine.applied == [1.01]


def test_an_engine_that_takes_nothing_at_all_is_an_emergency(bench: Bench) -> None:
    bench.engine.refuses = lambda alpha: True
    entry = bench.kernel.propose(step(1.01), reading(1, NANO))
    assert (entry.verdict.outcome, bench.kernel.mode, bench.kernel.alpha) == (
        Outcome.LATCHED,
        Mode.EMERGENCY,
        1.0,
    )


def test_an_overdue_trial_is_reverted(bench: Bench) -> None:
    assert bench.kernel.expire_overdue_trial("watchdog") is None
    assert bench.kernel.trial_age_s is None
    bench.kernel.propose(step(1.01), reading(1, NANO))
    bench.now_s += 5.0
    assert bench.kernel.trial_age_s == 5.0
    assert bench.kernel.expire_overdue_trial("watchdog") is None
    bench.now_s += 0.001
    entry = bench.kernel.expire_overdue_trial("watchdog")
    assert entry is not None
    assert entry.verdict.outcome is Outcome.REVERTED
    assert "trial open for 5.001 s, deadline 5.000 s" in entry.reason
    assert (bench.kernel.alpha, bench.engine.applied[-1]) == (1.0, 1.0)


def test_a_reading_that_does_not_settle_a_trial_does_not_lengthen_it(bench: Bench) -> None:
    bench.kernel.propose(step(1.01), reading(1, NANO))
    bench.now_s += 4.0
    stale = bench.kernel.settle(reading(1, 1_010_000_000), EQUAL, "controller", "measured")
    assert (stale.verdict.outcome, bench.kernel.trial_age_s) == (Outcome.REFUSED, 4.0)
    bench.now_s += 1.5
    assert bench.kernel.expire_overdue_trial("watchdog") is not None


def test_each_trial_has_an_age_of_its_own(bench: Bench) -> None:
    bench.kernel.propose(step(1.01), reading(1, NANO))
    bench.kernel.settle(reading(2, 1_010_000_000), EQUAL, "controller", "measured")
    bench.now_s += 60.0
    bench.kernel.propose(step(1.02), reading(2, 1_010_000_000))
    assert bench.kernel.trial_age_s == 0.0
    assert bench.kernel.expire_overdue_trial("watchdog") is None


@pytest.mark.parametrize("now_s", [99.0, float("nan")])
def test_a_clock_that_goes_back_or_is_no_number_ends_the_trial(bench: Bench, now_s: float) -> None:
    bench.kernel.propose(step(1.01), reading(1, NANO))
    bench.now_s = now_s
    assert bench.kernel.expire_overdue_trial("watchdog") is not None
    assert bench.kernel.mode is Mode.READY


def test_a_restart_puts_a_trial_back_and_says_so_to_the_engine() -> None:
    opened = state(Mode.TRIAL, alpha=Nano(1_010_000_000), good=Nano(NANO), cycle=3)
    bench = Bench(begin=opened)
    entry = bench.kernel.recover("controller", "restart")
    assert (entry.verdict.outcome, bench.kernel.state) == (Outcome.RECOVERED, state(cycle=3))
    assert bench.engine.applied == [1.0]


def test_a_restart_whose_engine_does_not_follow_is_an_emergency() -> None:
    bench = Bench(begin=state(Mode.TRIAL, alpha=Nano(1_010_000_000), good=Nano(NANO)))
    bench.engine.refuses = lambda alpha: alpha == 1.0
    assert bench.kernel.recover("controller", "restart").verdict.outcome is Outcome.LATCHED
    assert bench.kernel.mode is Mode.EMERGENCY


def test_orders_need_their_own_signature(bench: Bench) -> None:
    bench.kernel.freeze("ines", "look")
    shown, target = reading(1, NANO), Nano(1_010_000_000)
    approval = bench.signed("approve")
    override = bench.signed("override", (target,))
    forged = Order("approve", (), "mallory", "please", "")
    assert bench.kernel.approve(forged, shown).verdict.outcome is Outcome.REFUSED
    assert bench.kernel.approve(override, shown).verdict.outcome is Outcome.REFUSED
    assert bench.kernel.override(approval, 1.01, shown).verdict.outcome is Outcome.REFUSED
    assert bench.kernel.override(override, 1.02, shown).verdict.outcome is Outcome.REFUSED
    assert bench.kernel.set_limits(approval, LIMITS).verdict.outcome is Outcome.REFUSED
    assert (bench.kernel.mode, bench.engine.applied) == (Mode.FROZEN, [])
    assert bench.kernel.override(override, 1.01, shown).verdict.outcome is Outcome.ACCEPTED
    bench.kernel.settle(reading(2, target), EQUAL, "controller", "measured")
    assert (bench.kernel.mode, bench.kernel.alpha) == (Mode.FROZEN, 1.01)
    assert bench.kernel.approve(approval, reading(3, target)).verdict.outcome is Outcome.APPROVED
    assert bench.kernel.mode is Mode.READY


def test_an_override_that_is_no_number_raises(bench: Bench) -> None:
    with pytest.raises(MalformedQuantityError, match="alpha is nan"):
        bench.kernel.override(bench.signed("override"), float("nan"), reading(1, NANO))


def test_a_policy_is_in_force_once_adopted(bench: Bench) -> None:
    narrow = LIMITS._replace(step_max=Nano(5_000_000))
    assert (
        bench.kernel.set_limits(bench.signed("set_limits", tuple(LIMITS)), narrow).verdict.outcome
        is Outcome.REFUSED
    )
    assert bench.kernel.limits == LIMITS
    entry = bench.kernel.set_limits(bench.signed("set_limits", tuple(narrow)), narrow)
    assert (entry.verdict.outcome, entry.limits, bench.kernel.limits) == (Outcome.ADOPTED, narrow, narrow)
    assert bench.kernel.propose(step(1.01), reading(1, NANO)).verdict.outcome is Outcome.REFUSED


def test_an_authority_must_say_true(bench: Bench) -> None:
    bench.kernel.freeze("ines", "look")
    bench.book.authorises = lambda order: "yes"  # type: ignore[assignment, method-assign, return-value]
    order = Order("approve", (), "ines", "calm again", "")
    assert bench.kernel.approve(order, reading(1, NANO)).verdict.outcome is Outcome.REFUSED


def test_of_many_callers_on_one_base_one_wins(bench: Bench) -> None:
    barrier, entries = threading.Barrier(8), []

    def call(index: int) -> None:
        barrier.wait()
        entries.append(bench.kernel.propose(step(1.0 + index / 1000), reading(1, NANO)))

    threads = [threading.Thread(target=call, args=(index,)) for index in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = [entry for entry in entries if entry.verdict.outcome is Outcome.ACCEPTED]
    lost = [entry for entry in entries if entry.verdict.outcome is Outcome.REFUSED]
    assert (len(won), len(lost), len(bench.engine.applied)) == (1, 7, 1)
    assert all({"mode", "measured_alpha"} <= {check[0] for check in entry.verdict.broken} for entry in lost)
    assert bench.kernel.state.alpha == won[0].target


def test_a_refusal_is_described_with_figure_and_limits(bench: Bench) -> None:
    gain = (Nano(400_000_000),) * 3
    entry = bench.kernel.propose(step(1.03), reading(1, NANO, loop_gain=gain))
    assert describe(entry.verdict)[:2] == (
        "alpha_delta is 0.03, must lie in [-0.02, 0.02]",
        "loop_gain[L_mu] is 0.412, must lie in [0, 0.365912693]",
    )


def test_figures_beyond_a_float_can_be_described(bench: Bench) -> None:
    entry = bench.kernel.propose(step(1e308), reading(1, NANO))
    assert describe(entry.verdict)[0] == "alpha is 1.00000000e+308, must lie in [0.8, 1.2]"


def test_the_reason_of_a_malformed_proposal_is_kept(bench: Bench) -> None:
    entry = bench.kernel.propose(
        Proposal(None, Kind.STEP, "controller", "optimizer raised KeyError"), reading(1, NANO)
    )
    assert entry.reason == "optimizer raised KeyError: alpha is of type NoneType, must be a finite number"


def test_a_type_has_no_say_in_its_own_name(bench: Bench) -> None:
    class Meta(type):
        @property
        def __name__(cls) -> str:
            raise SystemExit(1)

    class Foreign(metaclass=Meta):
        pass

    class ForeignError(Exception, metaclass=Meta):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    def refuses(alpha: float) -> bool:
        raise ForeignError

    entry = bench.kernel.propose(step(Foreign()), reading(1, NANO))
    assert entry.reason == "test: alpha is of type Foreign, must be a finite number"
    bench.engine.refuses = refuses
    entry = bench.kernel.propose(step(1.01), reading(1, NANO))
    assert entry.reason == "engine did not take α: ForeignError"


def test_an_engine_whose_exception_cannot_be_told_is_recorded_by_its_type(bench: Bench) -> None:
    class SilentError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    def refuses(alpha: float) -> bool:
        raise SilentError

    bench.engine.refuses = refuses
    entry = bench.kernel.observe(reading(1, NANO, entropy_rate=LIMITS.entropy_max + 1), "controller", "")
    assert (entry.reason, bench.kernel.mode) == ("engine did not take α: SilentError", Mode.EMERGENCY)
