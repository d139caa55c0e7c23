"""The controller between a scripted engine, an optimizer and the real kernel."""

import os
from itertools import pairwise
from math import inf, nan

import pytest

from attunement.controller import ACTOR
from attunement.measurement import EngineCapabilityError, MeasurementError
from kernel import LedgerUnavailableError, Mode, Outcome
from optimizers import HOLD, NAMES, Space, Suggestion, Verdict, create

DELTA = 0.02
WELL_FORMED = [name for name in NAMES if name != "hold" and not name.startswith("adversary")]


def started(attune, engine, optimizer, cycles, **settings):
    loop = attune(engine, optimizer, **settings)
    loop.controller.start()
    loop.engine.run(cycles)
    return loop


def told_verdicts(loop):
    return [outcome.verdict for outcome in loop.optimizer.told]


@pytest.mark.parametrize("name", WELL_FORMED)
@pytest.mark.parametrize(("peak", "low", "high"), [(1.05, 1.03, 1.07), (2.0, 1.15, 1.2), (0.5, 0.8, 0.9)])
def test_alpha_goes_to_the_peak_of_coherence_or_to_the_bound_before_it(
    attune, scripted_engine, name, peak, low, high
):
    engine = scripted_engine(coherence=lambda alpha: 0.9 - 0.2 * (alpha - peak) ** 2)
    optimizer = create(name, Space(0.8, 1.2, DELTA), {})
    loop = started(attune, engine, optimizer, 250, subscribers=())
    assert low <= loop.kernel.state.good / 1e9 <= high
    assert all(0.8 <= alpha <= 1.2 for alpha in engine.applied)


@pytest.mark.parametrize("name", NAMES)
def test_whoever_proposes_alpha_keeps_to_its_bounds_and_its_rate(attune, scripted_engine, bodies, name):
    engine = scripted_engine(coherence=lambda alpha: 0.5 + 0.4 * (alpha - 1.0))
    loop = started(attune, engine, create(name, Space(0.8, 1.2, DELTA), {"seed": 3}), 120)
    for body in bodies(loop.path):
        assert 800_000_000 <= body["new_alpha"] <= 1_200_000_000
        assert abs(body["new_alpha"] - body["old_alpha"]) <= 20_000_000
    assert len(loop.reports) == 120


def prompt(engine):
    """Have an engine run a cycle within each call that applies α, or fails to."""
    apply = engine.set_alpha_multiplier

    def applied(alpha):
        try:
            apply(alpha)
        finally:
            engine.run_cycle()

    engine.set_alpha_multiplier = applied
    return engine


def test_a_cycle_that_ends_within_a_decision_is_not_judged(attune, scripted_engine, wishes, bodies):
    engine = prompt(scripted_engine(coherence=lambda alpha: alpha / 2))
    loop = started(attune, engine, wishes(*(Suggestion(1.0 + 0.01 * step) for step in range(1, 6))), 12)
    assert engine.applied == pytest.approx([1.0, 1.01, 1.02, 1.03, 1.04, 1.05])
    moves = [(body["old_alpha"], body["new_alpha"]) for body in bodies(loop.path)]
    assert all(new == old for (_, new), (old, _) in pairwise(moves))
    assert len(loop.reports) == 12


@pytest.mark.timeout(60)
@pytest.mark.parametrize("end", ["deadline", "freeze", "override", "stop", "refuse"])
def test_no_cycle_is_judged_within_a_decision_of_whatever_kind(attune, scripted_engine, wishes, until, end):
    engine = prompt(scripted_engine())
    if end == "refuse":
        engine.refuses = lambda alpha: alpha == 1.01
    deadline_s = 0.1 if end == "deadline" else 5.0
    loop = started(
        attune, engine, wishes(*[HOLD] * (end == "override"), Suggestion(1.01)), 1, deadline_s=deadline_s
    )
    if end == "deadline":
        until(lambda: loop.kernel.mode is Mode.READY)
    elif end == "freeze":
        loop.controller.freeze("ines", "drill")
    elif end == "override":
        loop.controller.override(loop.signed("override", 1_020_000_000), 1.02)
    elif end == "stop":
        loop.controller.stop()
    assert len(loop.reports) == 1
    assert not {"observe", "settle"} & {event for event, _ in loop.decisions()}


def test_a_step_is_tried_measured_and_committed(attune, scripted_engine, wishes):
    engine = scripted_engine(coherence=lambda alpha: alpha / 2)
    loop = started(attune, engine, wishes(Suggestion(1.01)), 3)
    assert loop.decisions() == [("start", "started"), ("propose", "accepted"), ("settle", "committed")]
    assert engine.applied == [1.0, 1.01]
    assert told_verdicts(loop) == [Verdict.NONE, Verdict.COMMITTED, Verdict.NONE]
    assert [outcome.committed_alpha for outcome in loop.optimizer.told] == [1.0, 1.01, 1.01]
    assert [outcome.alpha for outcome in loop.optimizer.told] == [1.0, 1.01, 1.01]
    assert [outcome.objective for outcome in loop.optimizer.told] == pytest.approx([0.5, 0.505, 0.505])


def test_a_step_that_measures_worse_is_taken_back(attune, scripted_engine, wishes):
    engine = scripted_engine(coherence=lambda alpha: 1.0 - alpha / 2)
    loop = started(attune, engine, wishes(Suggestion(1.01)), 3)
    assert loop.decisions()[1:] == [("propose", "accepted"), ("settle", "reverted")]
    assert engine.applied == [1.0, 1.01, 1.0]
    assert told_verdicts(loop) == [Verdict.NONE, Verdict.REVERTED, Verdict.NONE]


def test_a_step_within_the_tolerance_is_no_worse(attune, scripted_engine, wishes):
    engine = scripted_engine(coherence=lambda alpha: 1.0 - alpha / 2)
    loop = started(attune, engine, wishes(Suggestion(1.01)), 3, tolerance=0.006)
    assert loop.decisions()[-1] == ("settle", "committed")


def test_a_probe_returns_even_when_it_measures_better(attune, scripted_engine, wishes):
    engine = scripted_engine(coherence=lambda alpha: alpha / 2)
    loop = started(attune, engine, wishes(Suggestion(1.01, probe=True)), 3)
    assert loop.decisions()[1:] == [("propose", "accepted"), ("settle", "returned")]
    assert engine.applied == [1.0, 1.01, 1.0]
    assert told_verdicts(loop) == [Verdict.NONE, Verdict.REVERTED, Verdict.NONE]


def test_a_trial_is_compared_with_the_mean_at_the_committed_alpha_and_not_with_other_trials(
    attune, scripted_engine, wishes, bodies
):
    measured = iter([0.5, 0.5, 0.9, 0.2, 0.4])
    engine = scripted_engine(coherence=lambda alpha: next(measured))
    loop = started(attune, engine, wishes(HOLD, Suggestion(1.01, probe=True), Suggestion(1.01)), 5)
    assert [verdict for _, verdict in loop.decisions()] == [
        "started",
        "accepted",
        "returned",
        "accepted",
        "committed",
    ]
    assert bodies(loop.path)[-1]["comparison"]["before"] == 400_000_000


@pytest.mark.parametrize(
    ("start", "target", "broken"),
    [
        (1.0, 1.0200000016, ("alpha_delta",)),
        (1.0, 0.9799999984, ("alpha_delta",)),
        (1.0, 1.3, ("alpha", "alpha_delta")),
        (1.0, 0.0, ("alpha", "alpha_delta")),
    ],
)
def test_a_refusal_tells_the_optimizer_every_limit(attune, scripted_engine, wishes, start, target, broken):
    loop = started(attune, scripted_engine(), wishes(Suggestion(target)), 2)
    assert loop.decisions()[1:] == [("propose", "refused")]
    assert loop.engine.applied == [start]
    assert [(told.verdict, told.broken) for told in loop.optimizer.told] == [
        (Verdict.NONE, ()),
        (Verdict.REFUSED, broken),
    ]


def test_a_safe_reading_younger_than_the_settle_delay_settles_nothing(attune, scripted_engine, wishes):
    loop = started(attune, scripted_engine(), wishes(Suggestion(1.01)), 4, settle_delay_s=3e3, deadline_s=3e4)
    assert loop.decisions()[1:] == [("propose", "accepted")]
    assert loop.kernel.mode is Mode.TRIAL
    assert [report.entries for report in loop.reports[1:]] == [(), (), ()]


def test_an_unsafe_reading_settles_at_once(attune, scripted_engine, wishes):
    engine = scripted_engine(entropy_rate=lambda alpha: 0.0021 if alpha > 1.005 else 0.0)
    loop = started(attune, engine, wishes(Suggestion(1.01)), 2, settle_delay_s=3e3, deadline_s=3e4)
    assert loop.decisions()[1:] == [("propose", "accepted"), ("settle", "retreated")]
    assert loop.kernel.alpha == 1.0


def test_a_reading_older_than_the_settle_delay_settles(attune, scripted_engine, wishes, until):
    loop = started(attune, scripted_engine(), wishes(Suggestion(1.01)), 1, settle_delay_s=0.02)

    def committed():
        loop.engine.run_cycle()
        return loop.kernel.mode is Mode.READY

    until(committed)
    assert loop.decisions()[1:] == [("propose", "accepted"), ("settle", "committed")]


def test_an_engine_that_calls_nobody_is_polled(attune, polled_engine, wishes, until):
    loop = attune(polled_engine(), wishes(Suggestion(1.01)))
    loop.controller.start()
    loop.engine.run_cycle()
    until(lambda: loop.kernel.mode is Mode.TRIAL)
    loop.engine.run_cycle()
    until(lambda: loop.kernel.mode is Mode.READY)
    assert loop.decisions()[1:] == [("propose", "accepted"), ("settle", "committed")]


def test_a_polled_engine_that_falls_silent_is_missed_and_then_an_emergency(
    attune, polled_engine, wishes, until
):
    loop = attune(polled_engine(), wishes(Suggestion(1.01)), deadline_s=0.03, missed_max=4)
    loop.controller.start()
    loop.engine.run_cycle()
    until(lambda: loop.kernel.mode is Mode.EMERGENCY)
    assert loop.decisions()[:3] == [("start", "started"), ("propose", "accepted"), ("miss", "reverted")]
    assert 0.8 <= loop.kernel.alpha <= 1.0


def test_a_polled_engine_that_loses_its_cycle_number_has_its_trial_taken_back(
    attune, polled_engine, wishes, until
):
    class Losing(polled_engine):
        @property
        def cycle(self):
            return self.__dict__["number"]

        @cycle.setter
        def cycle(self, number):
            self.__dict__["number"] = number

    loop = attune(Losing(), wishes(Suggestion(1.01)), deadline_s=0.03)
    loop.controller.start()
    loop.engine.run_cycle()
    until(lambda: ("propose", "accepted") in loop.decisions())
    loop.engine.cycle = "lost"
    until(lambda: loop.kernel.mode is Mode.EMERGENCY)
    assert ("miss", "reverted") in loop.decisions()
    assert any("no whole number" in entry.reason for report in loop.reports for entry in report.entries)


def test_stopping_takes_an_open_trial_back(attune, scripted_engine, wishes):
    loop = started(attune, scripted_engine(), wishes(Suggestion(1.01)), 1)
    assert loop.kernel.mode is Mode.TRIAL
    loop.controller.stop()
    assert loop.engine.applied == [1.0, 1.01, 1.0]
    assert loop.decisions()[-1] == ("recover", "recovered")


def test_a_stopped_controller_follows_no_more(attune, scripted_engine, wishes):
    loop = started(attune, scripted_engine(), wishes(), 1)
    loop.controller.stop()
    loop.controller.stop()
    loop.engine.run(3)
    assert len(loop.reports) == 1
    assert loop.decisions() == [("start", "started")]


def test_a_controller_starts_once(attune, scripted_engine, wishes):
    loop = started(attune, scripted_engine(), wishes(), 1)
    with pytest.raises(RuntimeError, match="it starts once"):
        loop.controller.start()
    loop.controller.stop()
    with pytest.raises(RuntimeError, match="it starts once"):
        loop.controller.start()
    assert len(loop.engine.callbacks) == 1


def test_an_abandoned_trial_is_taken_back_and_told_with_the_next_report(
    attune, scripted_engine, wishes, until
):
    loop = started(attune, scripted_engine(), wishes(Suggestion(1.01)), 1, deadline_s=0.03)
    until(lambda: loop.engine.applied == [1.0, 1.01, 1.0])
    assert loop.decisions()[1:] == [("propose", "accepted"), ("miss", "reverted")]

    def told():
        loop.engine.run_cycle()
        return "miss" in [entry.event for entry in loop.reports[-1].entries]

    until(told)
    assert told_verdicts(loop)[:2] == [Verdict.NONE, Verdict.REVERTED]


def test_a_reading_at_another_alpha_is_a_missed_cycle(attune, scripted_engine, wishes):
    loop = started(attune, scripted_engine(), wishes(Suggestion(1.01)), 1)
    loop.engine.applied.append(1.0)  # the engine lost α
    loop.engine.run_cycle()
    assert loop.decisions()[1:] == [("propose", "accepted"), ("miss", "reverted")]
    assert "measured at α = 1.0, in force is 1.01" in loop.reports[-1].entries[0].reason
    assert loop.reports[-1].measurement is None
    loop.engine.run_cycle()
    assert told_verdicts(loop) == [Verdict.NONE, Verdict.REVERTED]


def test_a_frozen_cycle_number_is_never_a_reading(attune, scripted_engine, wishes):
    loop = started(attune, scripted_engine(), wishes(), 2)
    for _ in range(5):
        loop.controller.on_cycle_end()
    assert [entry.event for report in loop.reports for entry in report.entries] == [
        "observe",
        "observe",
        *["miss"] * 5,
    ]
    assert loop.reports[-1].entries[0].reason == "no new sample since cycle 2"
    assert loop.kernel.mode is Mode.EMERGENCY
    assert loop.kernel.alpha == 0.98


def test_a_cycle_number_that_goes_back_is_never_a_reading(attune, scripted_engine, wishes):
    loop = started(attune, scripted_engine(), wishes(), 3)
    loop.engine.cycle = 1
    loop.engine.run_cycle()
    assert loop.outcomes()[-1] is Outcome.HELD
    assert loop.reports[-1].entries[0].reason == "no new sample since cycle 3"


@pytest.mark.parametrize("beyond", [0, 2**70])
def test_a_cycle_number_that_no_record_can_hold_is_a_missed_cycle(attune, scripted_engine, wishes, beyond):
    loop = started(attune, scripted_engine(), wishes(Suggestion(1.01)), 1)
    loop.engine.entropy_rate = 1.0
    loop.engine.cycle = 2**63 - 1 + beyond
    loop.engine.run(5)
    assert loop.decisions()[2] == ("miss", "reverted")
    assert [entry.event for report in loop.reports[1:] for entry in report.entries] == ["miss"] * 5
    assert loop.reports[1].entries[0].reason == f"cycle is {2**63 + beyond}, must not exceed {2**63 - 1}"
    assert loop.kernel.mode is Mode.EMERGENCY


@pytest.mark.parametrize("figure", ["coherence", "entropy_rate", "h_internal", "drive", "loop_gain"])
@pytest.mark.parametrize(
    "answer", [nan, inf, -inf, None, "0.5", [0.5], 1j, RuntimeError("sensor lost"), KeyError()], ids=repr
)
def test_what_is_no_figure_is_a_missed_cycle(attune, scripted_engine, wishes, figure, answer):
    loop = started(attune, scripted_engine(), wishes(Suggestion(1.01), Suggestion(1.01)), 1)
    sound = getattr(loop.engine, figure)
    setattr(loop.engine, figure, answer)
    loop.engine.run(2)
    assert loop.decisions()[1:] == [("propose", "accepted"), ("miss", "reverted")]
    assert [report.measurement for report in loop.reports[1:]] == [None, None]
    assert loop.engine.applied == [1.0, 1.01, 1.0]
    setattr(loop.engine, figure, sound)
    loop.engine.run(2)
    assert loop.decisions()[-2:] == [("propose", "accepted"), ("settle", "committed")]


@pytest.mark.parametrize("answer", [True, nan, None, "1", RuntimeError("sensor lost")], ids=repr)
@pytest.mark.parametrize("figure", ["cycle", "cycle_alpha"])
def test_an_engine_that_does_not_say_what_was_measured_is_missed(
    attune, scripted_engine, wishes, figure, answer
):
    def say(engine):
        if isinstance(answer, Exception):
            raise answer
        return answer

    loop = attune(scripted_engine(), wishes(Suggestion(1.01)))
    speechless = type("Speechless", (scripted_engine,), {figure: property(say)})
    loop.engine.__class__ = speechless
    loop.engine.__dict__["cycle"] = 1
    loop.controller.on_cycle_end()
    assert loop.outcomes() == [Outcome.HELD]
    assert loop.reports[0].entries[0].event == "miss"
    loop.engine.__class__ = scripted_engine


def test_missed_cycles_in_a_row_are_an_emergency(attune, scripted_engine, wishes):
    loop = started(attune, scripted_engine(entropy_rate=nan), wishes(), 7)
    assert loop.kernel.mode is Mode.EMERGENCY
    assert loop.decisions()[1] == ("miss", "latched")
    assert loop.kernel.alpha == pytest.approx(0.94)
    assert loop.reports[-1].optimizer_mode == "idle"


def test_a_usable_reading_ends_a_row_of_missed_cycles(attune, scripted_engine, wishes):
    loop = attune(scripted_engine(), wishes())
    loop.controller.start()
    for _ in range(4):
        loop.engine.entropy_rate = nan
        loop.engine.run(4)
        loop.engine.entropy_rate = 0.0
        loop.engine.run(1)
    assert loop.kernel.mode is Mode.READY


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("cycle", "whether a reading is new"),
        ("cycle_alpha", "whether a reading was taken at the present α"),
        ("get_entropy_rate", "entropy_rate"),
        ("get_h_internal", "h_internal"),
        ("get_gains", "drive and loop_gain"),
    ],
)
def test_an_engine_without_a_needed_figure_is_not_attuned(attune, scripted_engine, wishes, name, check):
    engine = scripted_engine()
    engine.__dict__.pop(name, None)
    engine.__class__ = type("Lacking", (scripted_engine,), {name: None})
    with pytest.raises(EngineCapabilityError, match=f"Lacking cannot be attuned: no {name}, .* {check}"):
        attune(engine, wishes())


def test_an_optional_lambda_is_shown_where_there_is_one(attune, scripted_engine, wishes):
    without = type("Without", (scripted_engine,), {"get_lambda": None})
    loop = started(attune, without(), wishes(), 1)
    assert loop.reports[0].lambdas == {}
    loop = started(attune, scripted_engine(), wishes(), 1)
    assert loop.reports[0].lambdas == {"L_mu": 0.5, "L_phi": 0.5, "L_Phi": 0.5}


@pytest.mark.parametrize("answer", [nan, inf, None, "λ", RuntimeError("lost")], ids=repr)
def test_a_lambda_that_is_no_figure_is_unknown_and_stops_nothing(attune, scripted_engine, wishes, answer):
    loop = started(attune, scripted_engine(lambda_value=answer), wishes(Suggestion(1.01)), 3)
    assert [report.lambdas for report in loop.reports] == [{}, {}, {}]
    assert loop.decisions()[-1] == ("settle", "committed")


def test_a_freeze_takes_the_trial_back_and_only_an_approval_ends_it(attune, scripted_engine, wishes):
    loop = started(attune, scripted_engine(), wishes(Suggestion(1.01), Suggestion(1.01)), 1)
    assert loop.controller.freeze("ines", "maintenance").verdict.outcome is Outcome.FROZEN
    loop.engine.run(2)
    assert loop.engine.applied == [1.0, 1.01, 1.0]
    assert loop.optimizer.told[-1].verdict is Verdict.STOPPED
    assert [entry.event for entry in loop.reports[1].entries] == ["freeze", "observe"]
    assert loop.controller.approve(loop.signed("approve")).verdict.outcome is Outcome.APPROVED
    loop.engine.run(2)
    assert loop.decisions()[-3:] == [
        ("approve", "approved"),
        ("propose", "accepted"),
        ("settle", "committed"),
    ]


def test_an_override_is_a_trial_and_needs_the_operators_key(attune, scripted_engine, wishes, signing_key):
    loop = started(attune, scripted_engine(), wishes(), 1)
    forged = loop.signed("override", 1_010_000_000, key=signing_key)
    assert loop.controller.override(forged, 1.01).verdict.outcome is Outcome.REFUSED
    granted = loop.controller.override(loop.signed("override", 1_010_000_000), 1.01)
    assert granted.verdict.outcome is Outcome.ACCEPTED
    loop.engine.run(1)
    assert loop.decisions()[-1] == ("settle", "committed")
    assert loop.kernel.alpha == 1.01


def test_orders_wait_for_the_first_reading(attune, scripted_engine, wishes):
    loop = attune(scripted_engine(), wishes())
    loop.controller.freeze("ines", "before the start")
    with pytest.raises(MeasurementError, match="no usable reading yet"):
        loop.controller.approve(loop.signed("approve"))
    with pytest.raises(MeasurementError, match="no usable reading yet"):
        loop.controller.override(loop.signed("override", 1_010_000_000), 1.01)


def test_an_engine_that_does_not_take_a_step_costs_the_step(attune, scripted_engine, wishes):
    engine = scripted_engine()
    loop = attune(engine, wishes(Suggestion(1.01), Suggestion(1.02)))
    engine.refuses = lambda alpha: alpha == 1.01
    loop.controller.start()
    engine.run(4)
    assert loop.decisions()[1:] == [
        ("propose", "accepted"),
        ("actuator_failed", "aborted"),
        ("propose", "accepted"),
        ("settle", "committed"),
    ]
    assert told_verdicts(loop) == [Verdict.NONE, Verdict.REFUSED, Verdict.COMMITTED, Verdict.NONE]


def test_an_engine_that_takes_no_alpha_any_more_is_an_emergency(attune, scripted_engine, wishes):
    engine = scripted_engine()
    loop = attune(engine, wishes(Suggestion(1.01)))
    engine.refuses = lambda alpha: True
    loop.controller.start()
    engine.run(3)
    assert loop.kernel.mode is Mode.EMERGENCY
    assert loop.decisions()[2] == ("actuator_failed", "latched")
    assert "engine cannot take 1.01" in loop.reports[0].entries[-1].reason


@pytest.mark.parametrize("is_applied_first", [False, True])
def test_a_cycle_that_ends_while_alpha_is_set_is_passed_over(
    attune, scripted_engine, wishes, is_applied_first
):
    class Hasty(scripted_engine):
        def set_alpha_multiplier(self, alpha):
            if is_applied_first:
                super().set_alpha_multiplier(alpha)
            if self.callbacks:
                self.run_cycle()
            if not is_applied_first:
                super().set_alpha_multiplier(alpha)

    engine = Hasty()
    loop = attune(engine, wishes(Suggestion(1.01), HOLD, Suggestion(1.02)))
    loop.controller.start()
    engine.run(3)
    assert loop.decisions()[1:] == [
        ("propose", "accepted"),
        ("settle", "committed"),
        ("propose", "accepted"),
    ]
    frozen = loop.controller.freeze("ines", "look")
    assert (frozen.verdict.outcome, loop.kernel.mode) == (Outcome.FROZEN, Mode.FROZEN)
    assert (loop.kernel.alpha, engine.applied[-1]) == (1.01, 1.01)


def test_a_ledger_that_is_moved_away_ends_the_following(attune, scripted_engine, wishes):
    loop = started(attune, scripted_engine(), wishes(Suggestion(1.01), Suggestion(1.01)), 1)
    loop.broken = True
    os.rename(loop.path, f"{loop.path}.away")
    with pytest.raises(LedgerUnavailableError, match="is gone"):
        loop.engine.run_cycle()
    assert loop.engine.applied[-1] == 1.0
    loop.controller.stop()


def test_what_ends_a_thread_is_raised_to_whoever_drives_or_stops(attune, scripted_engine, wishes, until):
    loop = started(attune, scripted_engine(), wishes(Suggestion(1.01)), 1, deadline_s=0.3)
    loop.broken = True
    os.rename(loop.path, f"{loop.path}.away")
    until(lambda: loop.engine.applied[-1] == 1.0)

    def raised():
        try:
            loop.controller.on_cycle_end()
        except LedgerUnavailableError:
            return True
        return False

    until(raised)
    with pytest.raises(LedgerUnavailableError):
        loop.controller.stop()


def test_a_watcher_that_raises_in_the_polling_thread_leaves_no_trial_open(
    attune, polled_engine, wishes, until
):
    class Watcher:
        def on_report(self, report):
            raise OSError("the view is gone")

    loop = attune(polled_engine(), wishes(Suggestion(1.01)), subscribers=(Watcher(),), deadline_s=0.03)
    loop.broken = True
    loop.controller.start()
    loop.engine.run_cycle()
    until(lambda: loop.engine.applied == [1.0, 1.01, 1.0])
    with pytest.raises(OSError, match="the view is gone"):
        loop.controller.stop()
    assert loop.kernel.mode is Mode.READY


def test_the_numbers_of_cycles_go_on_over_a_restart(attune, scripted_engine, wishes):
    loop = started(attune, scripted_engine(), wishes(Suggestion(1.01)), 2, first_cycle=500)
    assert loop.kernel.state.cycle == 502
    assert [outcome.cycle for outcome in loop.optimizer.told] == [501, 502]


def test_the_controller_signs_with_its_own_name(attune, scripted_engine, wishes, bodies):
    loop = started(attune, scripted_engine(), wishes(Suggestion(1.01)), 2)
    assert [(body["actor"], body["reason"]) for body in bodies(loop.path)] == [
        ("test", "first start"),
        (ACTOR, "gradient step"),
        (ACTOR, "trial measured"),
    ]
