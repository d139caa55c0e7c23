"""The rules on any limits, states and readings; inputs come by chance, or from CrossHair (make
crosshair-nightly)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_bench import LIMITS

from kernel import rules
from kernel.limits import Limits, hold, limits_checks
from kernel.quantity import NANO, Nano
from kernel.state import Comparison, Kind, Mode, Outcome, PerScale, Reading, State

pytestmark = pytest.mark.crosshair


def _on_one_scale(figure: Nano, scale: int) -> PerScale:
    quiet = Nano(100_000_000)
    return (
        figure if scale == 0 else quiet,
        figure if scale == 1 else quiet,
        figure if scale == 2 else quiet,
    )


nanos = st.integers(-2 * NANO, 4 * NANO).map(Nano)
counts = st.integers(0, 5)
per_scale: st.SearchStrategy[PerScale] = st.builds(_on_one_scale, nanos, st.integers(0, 2))
readings = st.builds(
    Reading,
    cycle=counts,
    alpha=nanos,
    coherence=nanos,
    entropy_rate=nanos,
    h_internal=nanos,
    drive=per_scale,
    loop_gain=per_scale,
)
comparisons = st.builds(Comparison, before=nanos, after=nanos, tolerance=nanos)


@st.composite
def policies(draw: st.DrawFn) -> Limits:
    """Any policy that the kernel adopts around α, with K, c_max and the judgement of a reading as usual."""
    low = draw(st.integers(1, 2 * NANO))
    room = draw(st.integers(1, 2 * NANO))
    limits = LIMITS._replace(
        alpha_min=Nano(low),
        alpha_max=Nano(low + room),
        alpha_safe=Nano(low + draw(st.integers(0, room))),
        step_max=Nano(draw(st.integers(1, room))),
    )
    assert hold(limits_checks(limits))
    return limits


@st.composite
def situations(draw: st.DrawFn, *modes: Mode) -> tuple[Limits, State]:
    """A policy and a state in one of the modes that satisfies the invariant under it."""
    limits = draw(policies())
    alpha = Nano(draw(st.integers(limits.alpha_min, limits.alpha_max)))
    mode, good, kind, resume = draw(st.sampled_from(modes)), alpha, Kind.STEP, Mode.READY
    if mode is Mode.TRIAL:
        least = max(limits.alpha_min, alpha - limits.step_max)
        most = min(limits.alpha_max, alpha + limits.step_max)
        good = Nano(draw(st.integers(least, most)))
        kind, resume = draw(st.sampled_from(Kind)), draw(st.sampled_from((Mode.READY, Mode.FROZEN)))
    return limits, State(mode, alpha, good, draw(counts), draw(counts), draw(counts), 1, kind, resume)


@st.composite
def shown(draw: st.DrawFn, *modes: Mode) -> tuple[Limits, State, Reading]:
    """A situation and a reading of it, more often than not a fresh one."""
    limits, state = draw(situations(*modes))
    reading = draw(readings)
    if draw(st.booleans()):
        reading = reading._replace(cycle=state.cycle + 1, alpha=state.alpha)
    return limits, state, reading


@given(shown(*Mode), st.integers(-NANO, NANO))
def test_what_is_granted_keeps_bounds_rate_and_envelope(
    found: tuple[Limits, State, Reading], by: int
) -> None:
    limits, state, reading = found
    target = Nano(state.alpha + by)
    after, verdict = rules.propose(limits, state, target, Kind.STEP, reading)
    if verdict.outcome is Outcome.REFUSED:
        assert verdict.broken
        assert after == state
        return
    assert state.mode is Mode.READY
    assert after.alpha == target
    assert limits.alpha_min <= target <= limits.alpha_max
    assert abs(by) <= limits.step_max
    assert all(0 <= target * figure <= limits.drive_max * NANO for figure in reading.drive)
    assert all(0 <= target * figure <= limits.loop_gain_max * NANO for figure in reading.loop_gain)


@given(shown(Mode.TRIAL), comparisons)
def test_a_trial_ends_where_it_is_or_where_it_came_from(
    found: tuple[Limits, State, Reading], comparison: Comparison
) -> None:
    limits, state, reading = found
    after, verdict = rules.settle(limits, state, reading, comparison)
    assert after.alpha in (state.alpha, state.good)
    if verdict.outcome is Outcome.COMMITTED:
        assert after.alpha == reading.alpha
        assert reading.cycle > state.cycle
        assert hold(rules.safety_checks(limits, reading.alpha, reading))


@given(shown(Mode.READY, Mode.FROZEN, Mode.EMERGENCY))
def test_a_reading_moves_alpha_by_a_step_and_never_away_from_safety(
    found: tuple[Limits, State, Reading],
) -> None:
    limits, state, reading = found
    after, _ = rules.observe(limits, state, reading)
    assert abs(after.alpha - state.alpha) <= limits.step_max
    assert abs(after.alpha - limits.alpha_safe) <= abs(state.alpha - limits.alpha_safe)
    assert state.mode is not Mode.EMERGENCY or after.mode is Mode.EMERGENCY
    assert state.mode is not Mode.FROZEN or after.mode in (Mode.FROZEN, Mode.EMERGENCY)


@given(situations(*Mode))
def test_a_missing_reading_moves_alpha_by_a_step_inside_the_bounds(found: tuple[Limits, State]) -> None:
    limits, state = found
    after, _ = rules.miss(limits, state)
    assert limits.alpha_min <= after.alpha <= limits.alpha_max
    assert abs(after.alpha - state.alpha) <= limits.step_max
    assert state.mode is not Mode.EMERGENCY or after.mode is Mode.EMERGENCY


@given(situations(*Mode))
def test_freeze_and_recovery_unlatch_nothing(found: tuple[Limits, State]) -> None:
    _, state = found
    frozen, recovered = rules.freeze(state)[0], rules.recover(state)[0]
    assert frozen.mode is (Mode.EMERGENCY if state.mode is Mode.EMERGENCY else Mode.FROZEN)
    assert state.mode is Mode.TRIAL or recovered.mode is state.mode
    assert recovered.alpha == state.good


@given(shown(*Mode), st.booleans())
def test_only_one_who_may_ends_a_latch_on_a_safe_reading(
    found: tuple[Limits, State, Reading], authorised: bool
) -> None:
    limits, state, reading = found
    after, verdict = rules.approve(limits, state, reading, authorised)
    assert after.alpha == state.alpha
    if verdict.outcome is Outcome.APPROVED:
        assert authorised
        assert hold(rules.safety_checks(limits, state.alpha, reading))
    else:
        assert after == state


@given(situations(*Mode), policies(), st.booleans())
def test_a_policy_moves_nothing_and_is_adopted_only_around_alpha(
    found: tuple[Limits, State], proposed: Limits, authorised: bool
) -> None:
    _, state = found
    after, verdict = rules.set_limits(state, proposed, authorised)
    assert (after.alpha, after.good, after.mode) == (state.alpha, state.good, state.mode)
    if verdict.outcome is Outcome.ADOPTED:
        assert authorised
        assert proposed.alpha_min <= state.alpha <= proposed.alpha_max
