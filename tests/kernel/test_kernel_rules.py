"""The table of events, row by row: what each rule does at, inside and one unit past each limit."""

from typing import Any

import pytest
from kernel_bench import LIMITS, reading, state

from kernel import Comparison, Kind, Limits, Mode, Outcome, Reading, State, rules
from kernel.limits import CYCLE_LAST, LOOP_GAIN_FOLD, hold, limits_checks
from kernel.quantity import NANO, Nano
from kernel.state import SCALES

EQUAL = Comparison(Nano(0), Nano(0), Nano(0))
STEP = LIMITS.step_max


def propose(target: int, at: State | None = None, shown: Reading | None = None) -> rules.Transition:
    return rules.propose(LIMITS, at or state(), Nano(target), Kind.STEP, shown or reading(1, NANO))


def broken(transition: rules.Transition) -> list[str]:
    return [check[0] for check in transition[1].broken]


def trial(kind: Kind = Kind.STEP, up: int = STEP, **changes: Any) -> State:
    return state(Mode.TRIAL, NANO + up, **{"good": Nano(NANO), "kind": kind, "cycle": 1, **changes})


def per_scale(scale: int, figure: int) -> tuple[Nano, ...]:
    return tuple(Nano(figure if index == scale else 0) for index in range(3))


@pytest.mark.parametrize("target", [NANO + STEP, NANO - STEP, NANO])
def test_a_proposal_at_the_rate_limit_opens_a_trial(target: int) -> None:
    after, verdict = propose(target)
    assert verdict.outcome is Outcome.ACCEPTED
    assert after == state(Mode.TRIAL, alpha=Nano(target), good=Nano(NANO), cycle=1)


@pytest.mark.parametrize("target", [NANO + STEP + 1, NANO - STEP - 1])
def test_a_proposal_one_unit_past_the_rate_limit_is_refused(target: int) -> None:
    transition = propose(target)
    assert transition[0] == state()
    assert broken(transition) == ["alpha_delta"]


@pytest.mark.parametrize(
    ("edge", "outside"), [(LIMITS.alpha_max, LIMITS.alpha_max + 1), (LIMITS.alpha_min, LIMITS.alpha_min - 1)]
)
def test_the_bound_itself_passes_and_one_unit_more_does_not(edge: int, outside: int) -> None:
    assert propose(edge, state(alpha=edge), reading(1, edge))[1].outcome is Outcome.ACCEPTED
    assert broken(propose(outside, state(alpha=edge), reading(1, edge))) == ["alpha"]


@pytest.mark.parametrize(
    ("name", "edge", "outside"),
    [
        ("entropy_rate", {"entropy_rate": LIMITS.entropy_max}, {"entropy_rate": LIMITS.entropy_max + 1}),
        ("entropy_rate", {"entropy_rate": 0}, {"entropy_rate": -1}),
        ("h_internal", {"h_internal": LIMITS.h_internal_min}, {"h_internal": LIMITS.h_internal_min - 1}),
        ("h_internal", {"h_internal": NANO}, {"h_internal": NANO + 1}),
        *(
            (f"{figure}[{name}]", {figure: per_scale(scale, most)}, {figure: per_scale(scale, most + 1)})
            for figure, most in (("drive", LIMITS.drive_max), ("loop_gain", LIMITS.loop_gain_max))
            for scale, name in enumerate(("L_mu", "L_phi", "L_Phi"))
        ),
        *(
            (f"{figure}[{name}]", {figure: per_scale(scale, 0)}, {figure: per_scale(scale, -1)})
            for figure in ("drive", "loop_gain")
            for scale, name in enumerate(("L_mu", "L_phi", "L_Phi"))
        ),
        ("measured_alpha", {"alpha": NANO}, {"alpha": NANO - 1}),
        ("measured_alpha", {"alpha": NANO}, {"alpha": NANO + 1}),
        ("cycle", {"cycle": CYCLE_LAST}, {"cycle": CYCLE_LAST + 1}),
        ("cycle", {"cycle": 7}, {"cycle": 6}),
    ],
)
def test_each_reading_limit_by_one_unit(name: str, edge: dict[str, Any], outside: dict[str, Any]) -> None:
    before = state(cycle=7)
    assert propose(NANO, before, reading(7, NANO)._replace(**edge))[1].outcome is Outcome.ACCEPTED
    assert broken(propose(NANO, before, reading(7, NANO)._replace(**outside))) == [name]


@pytest.mark.parametrize("missed", [0, 1, 2, LIMITS.missed_max + 7])
@pytest.mark.parametrize(
    ("event", "mode"), [("propose", Mode.READY), ("override", Mode.FROZEN), ("approve", Mode.EMERGENCY)]
)
def test_a_reading_that_was_used_is_current_until_a_cycle_is_missed(
    event: str, mode: Mode, missed: int
) -> None:
    before, goal = state(mode, cycle=7, missed=missed), Nano(NANO)
    judged = {
        "propose": lambda shown: rules.propose(LIMITS, before, goal, Kind.STEP, shown),
        "override": lambda shown: rules.override(LIMITS, before, goal, shown, True),
        "approve": lambda shown: rules.approve(LIMITS, before, shown, True),
    }[event]
    assert broken(judged(reading(7, NANO))) == (["cycle"] if missed else [])
    assert broken(judged(reading(8, NANO))) == []


def test_the_envelope_is_judged_at_the_target_and_not_at_the_present_alpha() -> None:
    gain = per_scale(0, LIMITS.loop_gain_max * NANO // (NANO + 1000))
    assert propose(NANO + 1000, shown=reading(1, NANO, loop_gain=gain))[1].outcome is Outcome.ACCEPTED
    assert broken(propose(NANO + 2000, shown=reading(1, NANO, loop_gain=gain))) == ["loop_gain[L_mu]"]


def test_a_refusal_names_every_limit_that_was_broken() -> None:
    worst = reading(
        0,
        NANO + 1,
        entropy_rate=NANO,
        h_internal=0,
        drive=(Nano(100 * NANO),) * 3,
        loop_gain=(Nano(NANO),) * 3,
    )
    transition = propose(2 * NANO, state(Mode.FROZEN, cycle=1), worst)
    scales = ("L_mu", "L_phi", "L_Phi")
    assert broken(transition) == [
        *("mode", "cycle", "measured_alpha", "alpha", "alpha_delta", "entropy_rate", "h_internal"),
        *(f"drive[{scale}]" for scale in scales),
        *(f"loop_gain[{scale}]" for scale in scales),
    ]


@pytest.mark.parametrize("mode", [Mode.FROZEN, Mode.EMERGENCY, Mode.TRIAL])
def test_only_a_ready_kernel_takes_proposals(mode: Mode) -> None:
    assert broken(propose(NANO, state(mode))) == ["mode"]


def test_the_second_of_two_callers_on_one_base_is_told_that_it_is_stale() -> None:
    after, _ = propose(NANO + STEP)
    assert set(broken(propose(NANO - STEP, after))) >= {"mode", "measured_alpha"}


@pytest.mark.parametrize(
    ("fall", "tolerance", "outcome"),
    [
        (0, 0, Outcome.COMMITTED),
        (10, 10, Outcome.COMMITTED),
        (11, 10, Outcome.REVERTED),
        (-5, 0, Outcome.COMMITTED),
        (0, -1, Outcome.REVERTED),
        (0, LIMITS.tolerance_max, Outcome.COMMITTED),
        (0, LIMITS.tolerance_max + 1, Outcome.REVERTED),
    ],
)
def test_a_step_is_committed_if_coherence_did_not_fall(fall: int, tolerance: int, outcome: Outcome) -> None:
    comparison = Comparison(Nano(500), Nano(500 - fall), Nano(tolerance))
    after, verdict = rules.settle(LIMITS, trial(reverts=1), reading(2, NANO + STEP), comparison)
    assert verdict.outcome is outcome
    kept = NANO + STEP if outcome is Outcome.COMMITTED else NANO
    assert after == state(alpha=kept, cycle=2, reverts=0 if outcome is Outcome.COMMITTED else 2)


def test_an_objective_above_one_is_no_evidence() -> None:
    comparison = Comparison(Nano(0), Nano(NANO + 1), Nano(0))
    assert rules.settle(LIMITS, trial(), reading(2, NANO + STEP), comparison)[1].outcome is Outcome.REVERTED


def test_a_safe_probe_returns_whatever_it_measured() -> None:
    after, verdict = rules.settle(LIMITS, trial(Kind.PROBE, reverts=1), reading(2, NANO + STEP), EQUAL)
    assert verdict.outcome is Outcome.RETURNED
    assert after == state(cycle=2, reverts=1)


@pytest.mark.parametrize("reverts", [0, LIMITS.reverts_max - 1])
@pytest.mark.parametrize(
    ("gain", "most"),
    [("drive", LIMITS.drive_max), ("loop_gain", LIMITS.loop_gain_max)],
)
@pytest.mark.parametrize("kind", [Kind.STEP, Kind.PROBE])
def test_a_trial_is_not_taken_back_past_the_gains_that_it_measured(
    kind: Kind, gain: str, most: int, reverts: int
) -> None:
    down = NANO - STEP
    least = most * NANO // down
    opened = trial(kind, -STEP, reverts=reverts)
    worse = Comparison(Nano(NANO), Nano(0), Nano(0))
    for scale in range(3):
        figures = tuple(Nano(least if one == scale else 0) for one in range(3))
        after, verdict = rules.settle(LIMITS, opened, reading(2, down, **{gain: figures}), worse)
        assert verdict.outcome is Outcome.RETREATED
        assert after == state(alpha=down, cycle=2, reverts=reverts)
        assert f"{gain}[{SCALES[scale]}]" in [check[0] for check in verdict.broken]


def test_a_restore_is_committed_on_safety_alone() -> None:
    worse = Comparison(Nano(NANO), Nano(0), Nano(0))
    after, verdict = rules.settle(LIMITS, trial(Kind.RESTORE), reading(2, NANO + STEP), worse)
    assert (after.alpha, verdict.outcome) == (NANO + STEP, Outcome.COMMITTED)


@pytest.mark.parametrize("shown", [reading(1, NANO + STEP), reading(2, NANO), reading(2, NANO + STEP + 1)])
def test_a_stale_reading_settles_nothing(shown: Reading) -> None:
    after, verdict = rules.settle(LIMITS, trial(), shown, EQUAL)
    assert (after, verdict.outcome) == (trial(), Outcome.REFUSED)


def test_settling_needs_a_trial() -> None:
    assert broken(rules.settle(LIMITS, state(), reading(1, NANO), EQUAL)) == ["mode"]


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("up", [STEP, -STEP])
def test_under_an_unsafe_reading_alpha_goes_to_whichever_is_nearer_to_safety(kind: Kind, up: int) -> None:
    mild = reading(2, NANO + up, entropy_rate=LIMITS.entropy_max + 1)
    after, verdict = rules.settle(LIMITS, trial(kind, up), mild, EQUAL)
    assert verdict.outcome is Outcome.RETREATED
    kept = up < 0
    assert after == state(alpha=NANO + min(up, 0), cycle=2, reverts=0 if kept else 1)


@pytest.mark.parametrize(
    "severe",
    [
        {"entropy_rate": LIMITS.entropy_severe + 1},
        {"h_internal": LIMITS.h_internal_severe - 1},
        {"drive": (Nano(LIMITS.drive_max * 2),) * 3},
        {"loop_gain": (LOOP_GAIN_FOLD,) * 3},
    ],
)
def test_a_severely_unsafe_reading_latches_the_emergency(severe: dict[str, Any]) -> None:
    up = NANO + STEP
    settled, verdict = rules.settle(LIMITS, trial(), reading(2, up, **severe), EQUAL)
    assert (settled.mode, settled.alpha, verdict.outcome) == (Mode.EMERGENCY, NANO, Outcome.LATCHED)
    for mode in (Mode.READY, Mode.FROZEN):
        observed, verdict = rules.observe(LIMITS, state(mode, up), reading(1, up, **severe))
        assert (observed.mode, observed.alpha, verdict.outcome) == (Mode.EMERGENCY, NANO, Outcome.LATCHED)


def test_repeated_reverts_latch_the_emergency() -> None:
    worse = Comparison(Nano(NANO), Nano(0), Nano(0))
    after, verdict = rules.settle(
        LIMITS, trial(reverts=LIMITS.reverts_max - 1), reading(2, NANO + STEP), worse
    )
    assert (after.mode, after.alpha, verdict.outcome) == (Mode.EMERGENCY, NANO, Outcome.LATCHED)
    mild = reading(2, NANO + STEP, entropy_rate=LIMITS.entropy_max + 1)
    after, verdict = rules.settle(LIMITS, trial(reverts=LIMITS.reverts_max - 1), mild, EQUAL)
    assert (after.mode, after.alpha, verdict.outcome) == (Mode.EMERGENCY, NANO, Outcome.LATCHED)
    assert "reverts" in [check[0] for check in verdict.broken]


@pytest.mark.parametrize("mode", [Mode.READY, Mode.FROZEN, Mode.EMERGENCY])
def test_a_safe_reading_moves_nothing(mode: Mode) -> None:
    after, verdict = rules.observe(LIMITS, state(mode, missed=2), reading(1, NANO))
    assert (after, verdict.outcome) == (state(mode, cycle=1), Outcome.HELD)


def test_a_mildly_unsafe_reading_steps_towards_safety_unless_frozen() -> None:
    mild = reading(1, NANO, entropy_rate=LIMITS.entropy_max + 1)
    after, verdict = rules.observe(LIMITS, state(), mild)
    assert (after, verdict.outcome) == (state(alpha=NANO - STEP, cycle=1), Outcome.RETREATED)
    frozen, verdict = rules.observe(LIMITS, state(Mode.FROZEN), mild)
    assert (frozen, verdict.outcome) == (state(Mode.FROZEN, cycle=1), Outcome.HELD)
    assert [check[0] for check in verdict.broken] == ["entropy_rate"]


def test_an_emergency_retreats_to_safety_and_stays_there() -> None:
    now, cycle = state(Mode.EMERGENCY, NANO + 7), 0
    steps = -(-(NANO + 7 - LIMITS.alpha_safe) // STEP)
    for cycle in range(1, steps + 3):
        now, verdict = rules.observe(LIMITS, now, reading(cycle, now.alpha, h_internal=0))
        assert (now.mode, verdict.outcome) == (Mode.EMERGENCY, Outcome.RETREATED)
        assert (now.alpha == LIMITS.alpha_safe) is (cycle >= steps)


def test_a_retreat_upwards_when_safety_lies_above() -> None:
    limits = LIMITS._replace(alpha_safe=LIMITS.alpha_max)
    after, _ = rules.observe(limits, state(), reading(1, NANO, entropy_rate=LIMITS.entropy_max + 1))
    assert after.alpha == NANO + STEP


def test_observing_waits_for_no_trial_and_takes_no_reading_twice() -> None:
    assert broken(rules.observe(LIMITS, trial(), reading(2, NANO + STEP))) == ["mode"]
    assert broken(rules.observe(LIMITS, state(cycle=3), reading(3, NANO))) == ["cycle"]


def test_a_missed_cycle_reverts_a_trial_and_three_latch() -> None:
    after, verdict = rules.miss(LIMITS, trial())
    assert (after, verdict.outcome) == (state(cycle=1, missed=1), Outcome.REVERTED)
    after, verdict = rules.miss(LIMITS, after)
    assert (after, verdict.outcome) == (state(cycle=1, missed=2), Outcome.HELD)
    after, verdict = rules.miss(LIMITS, after)
    assert (after.mode, after.alpha, verdict.outcome) == (Mode.EMERGENCY, NANO - STEP, Outcome.LATCHED)
    after, verdict = rules.miss(LIMITS, after)
    assert (after.mode, after.alpha, verdict.outcome) == (Mode.EMERGENCY, NANO - 2 * STEP, Outcome.RETREATED)
    after, verdict = rules.miss(LIMITS, trial(missed=2))
    assert (after.mode, after.alpha, verdict.outcome) == (Mode.EMERGENCY, NANO, Outcome.LATCHED)


def test_one_missed_cycle_in_an_emergency_is_reason_to_retreat() -> None:
    after, verdict = rules.miss(LIMITS, state(Mode.EMERGENCY))
    assert (after.alpha, verdict.outcome) == (NANO - STEP, Outcome.RETREATED)


def test_freezing_reverts_a_trial_and_never_unlatches() -> None:
    assert rules.freeze(state())[0] == state(Mode.FROZEN)
    assert rules.freeze(trial())[0] == state(Mode.FROZEN, cycle=1)
    for mode in (Mode.FROZEN, Mode.EMERGENCY):
        after, verdict = rules.freeze(state(mode))
        assert (after, verdict.outcome) == (state(mode), Outcome.REFUSED)


@pytest.mark.parametrize("mode", [Mode.FROZEN, Mode.EMERGENCY])
def test_approval_needs_a_signature_and_a_safe_reading(mode: Mode) -> None:
    latched = state(mode, reverts=2, cycle=4)
    after, verdict = rules.approve(LIMITS, latched, reading(4, NANO), authorised=True)
    assert (after, verdict.outcome) == (state(cycle=4), Outcome.APPROVED)
    assert broken(rules.approve(LIMITS, latched, reading(4, NANO), authorised=False)) == ["authorised"]
    unsafe = reading(4, NANO, h_internal=0)
    assert broken(rules.approve(LIMITS, latched, unsafe, authorised=True)) == ["h_internal"]
    assert broken(rules.approve(LIMITS, latched, reading(3, NANO), authorised=True)) == ["cycle"]


@pytest.mark.parametrize("before", [state(), trial(), trial(resume=Mode.FROZEN)])
def test_there_is_nothing_to_approve_outside_a_latch(before: State) -> None:
    shown = reading(2, before.alpha)
    assert broken(rules.approve(LIMITS, before, shown, authorised=True)) == ["mode"]


def test_an_override_of_a_frozen_kernel_is_a_trial_that_ends_frozen() -> None:
    opened, verdict = rules.override(LIMITS, state(Mode.FROZEN), Nano(NANO + STEP), reading(1, NANO), True)
    assert (opened.mode, opened.resume, verdict.outcome) == (Mode.TRIAL, Mode.FROZEN, Outcome.ACCEPTED)
    worse = Comparison(Nano(NANO), Nano(0), Nano(0))
    after, _ = rules.settle(LIMITS, opened, reading(2, NANO + STEP), worse)
    assert after == state(Mode.FROZEN, NANO + STEP, cycle=2)
    assert rules.miss(LIMITS, opened)[0].mode is Mode.FROZEN
    assert rules.recover(opened)[0].mode is Mode.FROZEN


def test_an_override_passes_no_check_that_a_proposal_would_not() -> None:
    frozen, shown = state(Mode.FROZEN), reading(1, NANO, loop_gain=(Nano(NANO),) * 3)
    refused = rules.override(LIMITS, frozen, Nano(NANO + STEP + 1), shown, True)
    assert broken(refused) == ["alpha_delta", "loop_gain[L_mu]", "loop_gain[L_phi]", "loop_gain[L_Phi]"]
    assert broken(rules.override(LIMITS, frozen, Nano(NANO), reading(1, NANO), False)) == ["authorised"]
    emergency = state(Mode.EMERGENCY)
    assert broken(rules.override(LIMITS, emergency, Nano(NANO), reading(1, NANO), True)) == ["mode"]


@pytest.mark.parametrize("mode", [Mode.READY, Mode.FROZEN])
def test_a_policy_is_adopted_if_alpha_lies_inside(mode: Mode) -> None:
    wider = LIMITS._replace(alpha_max=Nano(1_300_000_000))
    after, verdict = rules.set_limits(state(mode, missed=1), wider, authorised=True)
    assert (after, verdict.outcome) == (state(mode, missed=1, policy=2), Outcome.ADOPTED)
    tight = LIMITS._replace(alpha_max=Nano(NANO - 1))
    assert broken(rules.set_limits(state(mode), tight, authorised=True)) == ["alpha"]
    assert broken(rules.set_limits(state(mode), wider, authorised=False)) == ["authorised"]


@pytest.mark.parametrize("before", [state(Mode.EMERGENCY), trial()])
def test_no_policy_is_adopted_in_an_emergency_or_a_trial(before: State) -> None:
    assert broken(rules.set_limits(before, LIMITS, authorised=True)) == ["mode"]


@pytest.mark.parametrize(
    ("name", "figure"),
    [
        ("alpha_min", 0),
        ("alpha_min", LIMITS.alpha_max),
        ("alpha_safe", LIMITS.alpha_min - 1),
        ("alpha_safe", LIMITS.alpha_max + 1),
        ("step_max", 0),
        ("step_max", LIMITS.alpha_max - LIMITS.alpha_min + 1),
        ("entropy_max", -1),
        ("entropy_max", LIMITS.entropy_severe + 1),
        ("h_internal_severe", -1),
        ("h_internal_severe", LIMITS.h_internal_min + 1),
        ("h_internal_min", NANO + 1),
        ("drive_max", 0),
        ("loop_gain_max", 0),
        ("loop_gain_max", LOOP_GAIN_FOLD + 1),
        ("tolerance_max", -1),
        ("tolerance_max", 4 * NANO + 1),
        ("reverts_max", 0),
        ("missed_max", 0),
    ],
)
def test_a_malformed_policy_is_refused_by_name(name: str, figure: int) -> None:
    assert hold(limits_checks(LIMITS))
    wrong = LIMITS._replace(**{name: figure})
    assert name in broken(rules.set_limits(state(), wrong, authorised=True))
    started = rules.start(wrong, Nano(NANO))
    assert (started[1].outcome, name in broken(started)) == (Outcome.REFUSED, True)


def test_the_fold_constant_is_the_largest_nano_below_one_over_e() -> None:
    from decimal import Decimal, localcontext

    with localcontext(prec=60):
        assert int(NANO / Decimal(1).exp()) == LOOP_GAIN_FOLD


@pytest.mark.parametrize("alpha", [LIMITS.alpha_min - 1, LIMITS.alpha_max + 1])
def test_no_history_starts_outside_the_bounds(alpha: int) -> None:
    assert broken(rules.start(LIMITS, Nano(alpha))) == ["alpha"]


def test_a_restart_reverts_a_trial_and_keeps_every_latch() -> None:
    assert rules.recover(trial())[0] == state(cycle=1)
    for mode in (Mode.READY, Mode.FROZEN, Mode.EMERGENCY):
        assert rules.recover(state(mode, reverts=2, missed=1))[0] == state(mode, reverts=2, missed=1)


@pytest.mark.parametrize("before", [state(), state(Mode.FROZEN), trial()])
@pytest.mark.parametrize(
    ("granted", "restored"), [(True, True), (True, False), (False, True), (False, False)]
)
def test_an_engine_that_takes_no_alpha_is_an_emergency_unless_all_is_as_before(
    before: State, granted: bool, restored: bool
) -> None:
    after, verdict = rules.actuator_failed(before, granted, restored)
    if granted and restored:
        assert (after, verdict.outcome) == (before, Outcome.ABORTED)
    else:
        assert (after.mode, after.alpha, verdict.outcome) == (Mode.EMERGENCY, before.alpha, Outcome.LATCHED)


def test_limits_have_the_fields_that_checks_name() -> None:
    named = {check[0] for check in limits_checks(LIMITS)}
    assert set(Limits._fields) - named == {"alpha_max", "entropy_severe"}
