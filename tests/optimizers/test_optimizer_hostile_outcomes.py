"""No outcome, however absurd, makes an optimizer raise, leave the limits or remember nonsense."""

import copy
import json
import math

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizers import HOLD, NAMES, OptimizerStateError, Outcome, Space, Suggestion, Verdict, create

SPACE = Space(0.8, 1.2, 0.02)
METHODS = ("gradient", "pid", "slsqp", "extremum_seeking", "safe_gp", "kalman", "supervisor")
LIMITS = ("loop_gain[L_phi]", "alpha", "entropy_rate", "h_internal", "alpha_delta", "unheard_of")

numbers = st.one_of(
    st.floats(0.8, 1.2),
    st.sampled_from([0.8, 1.0, 1.02, 1.2]),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, -0.0, 10**400]),
)
garbage = st.one_of(numbers, st.none(), st.text(max_size=3), st.booleans())


@st.composite
def events(draw):
    """Verdict, J, and whether the figures fit what was asked or are anything at all."""
    return (
        draw(st.sampled_from([*Verdict, *[Verdict.COMMITTED, Verdict.REVERTED] * 3])),
        draw(st.one_of(st.floats(0.0, 1.0), garbage)),
        draw(st.sampled_from(["follow"] * 6 + ["garbage"])),
        draw(garbage),
        draw(garbage),
        draw(
            st.one_of(st.tuples(), st.tuples(st.sampled_from(LIMITS)), st.just(["list"]), st.just((None, 3)))
        ),
    )


def outcome_of(event, cycle, answer, base):
    verdict, objective, kind, alpha, committed, broken = event
    if kind == "garbage":
        return Outcome(cycle, alpha, objective, verdict, committed, broken)
    target = answer.alpha if isinstance(answer, Suggestion) else base
    if verdict is Verdict.COMMITTED:
        return Outcome(cycle, target, objective, verdict, target, ())
    if verdict in (Verdict.REVERTED, Verdict.RETREATED):
        return Outcome(cycle, target, objective, verdict, base, broken)
    return Outcome(cycle, base, objective, verdict, base, broken)


def assert_sound(answer, base):
    if answer is HOLD:
        return
    assert isinstance(answer, Suggestion)
    assert isinstance(answer.probe, bool)
    assert SPACE.alpha_min <= answer.alpha <= SPACE.alpha_max
    assert abs(round(answer.alpha * 1e9) - base * 1e9) <= SPACE.delta_max * 1e9 + 1e-3


def numbers_in(state):
    for value in state.values():
        if isinstance(value, list):
            yield from value
        elif not isinstance(value, str):
            yield value


@pytest.mark.parametrize("method", METHODS)
@given(sequence=st.lists(events(), max_size=40), seed=st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_any_outcomes(method, sequence, seed):
    optimizer = create(method, SPACE, {"seed": seed})
    answer, base = HOLD, 1.0
    for cycle, event in enumerate(sequence):
        outcome = outcome_of(event, cycle, answer, base)
        optimizer.tell(outcome)
        answer = optimizer.ask()
        assert_sound(answer, outcome.committed_alpha)
        committed = outcome.committed_alpha
        if isinstance(committed, float) and 0.8 <= committed <= 1.2:
            base = committed
        assert all(math.isfinite(number) for number in numbers_in(optimizer.state()))
        assert optimizer.gradient is None or math.isfinite(optimizer.gradient)
        assert optimizer.mode in ("gradient", "pid")


def fed(method, cycles, objective=lambda alpha: 0.9 - 4 * (alpha - 1.1) ** 2, seed=0):
    """Feed honest outcomes that commit every step and return every probe."""
    optimizer, base, answer = create(method, SPACE, {"seed": seed}), 1.0, HOLD
    for cycle in range(cycles):
        base, answer = advance(optimizer, cycle, base, answer, objective)
    return optimizer, base, answer


def advance(optimizer, cycle, base, answer, objective):
    verdict, at = Verdict.NONE, base
    if isinstance(answer, Suggestion):
        at = answer.alpha
        verdict = Verdict.REVERTED if answer.probe else Verdict.COMMITTED
        base = base if answer.probe else at
    wave = 0.005 * math.sin(12.9898 * cycle)
    optimizer.tell(Outcome(cycle, at, objective(at) + wave, verdict, base))
    return base, optimizer.ask()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("objective", [math.nan, math.inf, -math.inf, None, "1", True, 1e300])
def test_an_unusable_objective_never_enters_memory(method, objective):
    optimizer, base, answer = fed(method, 30)
    before = optimizer.state()
    alpha = answer.alpha if isinstance(answer, Suggestion) else base
    optimizer.tell(Outcome(30, alpha, objective, Verdict.COMMITTED, alpha))
    after = optimizer.state()
    measured = [key for key in before if key.split(".")[-1] in ("samples", "residuals", "estimates")]
    assert measured
    assert {key: after[key] for key in measured} == {key: before[key] for key in measured}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("cycles", [0, 1, 7, 33, 90])
def test_restored_optimizer_continues_identically(method, cycles):
    original, base, answer = fed(method, cycles)
    stored = json.loads(json.dumps(original.state(), allow_nan=False))
    restored = create(method, SPACE, {"seed": 0})
    restored.restore(stored)
    assert restored.state() == original.state()
    other_base, other_answer = base, answer
    for cycle in range(cycles, cycles + 60):
        base, answer = advance(original, cycle, base, answer, lambda alpha: 0.5 * alpha)
        other_base, other_answer = advance(
            restored, cycle, other_base, other_answer, lambda alpha: 0.5 * alpha
        )
        assert other_answer == answer


@pytest.mark.parametrize("method", METHODS)
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_a_damaged_state_is_refused_and_changes_nothing(method, data):
    optimizer, _, _ = fed(method, 40)
    before, was_asked = optimizer.state(), copy.deepcopy(optimizer).ask()
    damaged = dict(before)
    key = data.draw(st.sampled_from(sorted(before)))
    how = data.draw(st.sampled_from(["missing", "nan", "type", "list", "extra", "other"]))
    if how == "missing":
        del damaged[key]
    elif how == "extra":
        damaged[key + "_"] = 1
    else:
        damaged[key] = {"nan": math.nan, "type": None, "list": [math.inf], "other": {"a": 1}}[how]
    with pytest.raises(OptimizerStateError):
        optimizer.restore(damaged)
    assert optimizer.state() == before
    assert optimizer.ask() == was_asked


@pytest.mark.parametrize("method", [*METHODS, "hold", "adversary:nan"])
@pytest.mark.parametrize("state", [None, [], "state", {1: 2}, {"optimizer": 7}, {"optimizer": "cleverer"}])
def test_what_is_no_state_is_refused(method, state):
    with pytest.raises(OptimizerStateError):
        create(method, SPACE, {}).restore(state)


def test_a_state_of_another_optimizer_is_refused():
    for method in METHODS:
        for other in METHODS:
            if other != method:
                with pytest.raises(OptimizerStateError, match="optimizer is"):
                    create(method, SPACE, {}).restore(create(other, SPACE, {}).state())


@pytest.mark.parametrize("method", METHODS)
def test_walls_are_restored(method):
    original, base, answer = fed(method, 20)
    while not isinstance(answer, Suggestion):
        base, answer = advance(original, 20, base, answer, lambda alpha: 0.5 * alpha)
    original.tell(Outcome(30, base, 0.5, Verdict.REFUSED, base, ("loop_gain[L_phi]",)))
    restored = create(method, SPACE, {})
    restored.restore(json.loads(json.dumps(original.state())))
    assert any(restored.state()[key] for key in original.state() if key.split(".")[-1] in ("above", "below"))
    assert restored.state() == original.state()
    assert restored.ask() == original.ask()


def test_hold_has_an_empty_memory():
    hold = create("hold", SPACE, {})
    hold.restore(hold.state())
    assert hold.state() == {}


@pytest.mark.parametrize("name", NAMES)
def test_first_answer_without_any_outcome_is_harmless_or_hostile_by_design(name):
    answer = create(name, SPACE, {}).ask()
    assert answer is HOLD or name.startswith("adversary:")


@pytest.mark.parametrize("method", METHODS)
def test_holds_while_stopped_and_while_the_reading_is_not_of_the_present_alpha(method):
    optimizer, base, _ = fed(method, 20)
    for outcome in (
        Outcome(20, base, 0.5, Verdict.STOPPED, base),
        Outcome(21, base + 0.01, 0.5, Verdict.REVERTED, base),
        Outcome(22, base, 0.5, Verdict.NONE, None),
    ):
        optimizer.tell(outcome)
        assert optimizer.ask() is HOLD


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("base", [0.5, 1.5])
def test_holds_when_the_bounds_cannot_be_reached_in_one_step(method, base):
    optimizer = create(method, SPACE, {})
    for cycle in range(10):
        optimizer.tell(Outcome(cycle, base, 0.5, Verdict.NONE, base))
        assert optimizer.ask() is HOLD


def test_answers_are_frozen_values():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Suggestion(1.0).alpha = 2.0


@pytest.mark.parametrize("name", METHODS)
def test_a_kernel_that_takes_everything_back_is_met_with_sound_answers(name):
    optimizer, base, asked = create(name, SPACE, {"seed": 1}), 1.0, set()
    answer = HOLD
    for cycle in range(200):
        event = (Verdict.REVERTED, 0.7 + 0.001 * (cycle % 3), "follow", None, None, ())
        verdict = Verdict.NONE if answer is HOLD else Verdict.REVERTED
        optimizer.tell(attrs.evolve(outcome_of(event, 2 * cycle, answer, base), verdict=verdict))
        optimizer.tell(Outcome(2 * cycle + 1, base, 0.7, Verdict.NONE, base))
        answer = optimizer.ask()
        assert_sound(answer, base)
        asked.add(answer is HOLD)
    assert False in asked


@pytest.mark.parametrize("method", METHODS)
def test_a_doubt_about_a_wall_is_remembered(method):
    """A restart between two unsafe measurements does not turn a shock into a wall."""

    def told(optimizer, *outcomes):
        for cycle, (alpha, verdict, committed) in outcomes:
            optimizer.tell(Outcome(cycle, alpha, 0.5, verdict, committed))

    original = create(method, SPACE, {})
    told(
        original,
        *((cycle, (1.0, Verdict.NONE, 1.0)) for cycle in (1, 2, 3)),
        (4, (1.01, Verdict.RETREATED, 1.0)),
    )
    twin = create(method, SPACE, {})
    twin.restore(json.loads(json.dumps(original.state())))
    for one in (original, twin):
        told(one, (5, (0.99, Verdict.RETREATED, 0.98)), (6, (0.98, Verdict.NONE, 0.98)))
    assert twin.state() == original.state()
