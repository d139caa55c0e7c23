"""Theorems about `kernel/rules.py`: invariant, bounds, rate, commits, envelope, latch, retreat, totality.

Every theorem is proved for all limits that pass the kernel's own checks, all states that satisfy the
invariant and all inputs, unless its statement says otherwise; "after" is what the rule returns. What the
rules do exactly is in `exactness.py`, what they do not depend on in `independence.py`.
"""

import itertools
from collections.abc import Iterable, Mapping

import z3

from kernel.limits import Limits
from kernel.quantity import NANO
from kernel.state import Mode, Outcome, Reading, State
from proofs.events import (
    EVENTS,
    GRANTS,
    SIGNATURES,
    SYMBOLS,
    Case,
    Event,
    call_text,
    concrete_arguments,
    replay,
    shape_of,
    typed,
)
from proofs.explorer import term_of
from proofs.goals import Counterexample, Goal, Replay, any_of, labelled
from proofs.invariants import invariant
from proofs.source import Kernel
from proofs.symbols import distance, every, implies, negation, same, some, symbolic_int, within
from proofs.theorems import Conditional, Subject, claim_on, theorem

MOVES = tuple(name for name in EVENTS if "state" in SIGNATURES[name])
DECIDED = ("settle", "observe")


@claim_on("T0", *EVENTS)
def invariant_is_inductive(case: Case) -> Conditional:
    """Every event takes a state that satisfies the invariant to one that satisfies it, under the limits then
    in force; a start that is not refused establishes it from nothing."""
    clauses = invariant(case.kernel, case.limits_after, case.after)
    return Conditional(in_force(case), every(*(clause.holds for clause in clauses)))


@claim_on("T1", *EVENTS)
def alpha_stays_in_bounds(case: Case) -> Conditional:
    """After every event α and the rollback target lie in [α_min, α_max] of the limits then in force;
    a start that is not refused included."""
    limits, after = case.limits_after, case.after
    return Conditional(
        in_force(case),
        every(
            within(limits.alpha_min, after.alpha, limits.alpha_max),
            within(limits.alpha_min, after.good, limits.alpha_max),
        ),
    )


@claim_on("T2", *MOVES)
def rate_limit_holds_on_every_event(case: Case) -> Conditional:
    """|α' − α| ≤ step_max on every event without exception: trial, commit, revert, retreat, emergency,
    missing reading, freeze, approval, override, adoption of limits, recovery and actuator failure; an
    approval, an adoption of limits and a failure of the actuator leave α where it is."""
    step = distance(case.after.alpha, case.state.alpha)
    moving = case.event not in ("set_limits", "approve", "actuator_failed")
    return Conditional(True, (step <= case.limits.step_max) & (moving | (step == 0)))


@claim_on("T3", *EVENTS)
def no_commit_without_safe_measurement(case: Case) -> Conditional:
    """A verdict COMMITTED comes from settling a trial only, on a reading measured at that α, in a later cycle
    than the one the trial was decided on, with every safety limit kept; and the committed α is the α
    measured, now the rollback target."""
    if case.outcome is not Outcome.COMMITTED or case.event != "settle":
        return Conditional(case.outcome is Outcome.COMMITTED, False)
    reading: Reading = case.arguments["reading"]
    before, after = case.state, case.after
    measured_safe = every(
        before.mode == Mode.TRIAL,
        reading.cycle > before.cycle,
        reading.alpha == before.alpha,
        safe(case.limits, before.alpha, reading),
    )
    return Conditional(True, measured_safe & (after.alpha == before.alpha) & (after.good == before.alpha))


@claim_on("T4", *GRANTS)
def granted_alpha_keeps_the_envelope(case: Case) -> Conditional:
    """Every α granted by propose or override is the target that was asked for, and keeps α·drive(L) ≤ K and
    α·loop_gain(L) ≤ c_max for every scale L, on the reading it was decided on."""
    kept = envelope(case.limits, case.after.alpha, case.arguments["reading"])
    granted = case.after.alpha == case.arguments["target"]
    return Conditional(case.outcome is Outcome.ACCEPTED, granted & kept)


@claim_on("T3", *GRANTS, "approve")
def nothing_rests_on_a_reading_from_before_a_missed_cycle(case: Case) -> Conditional:
    """What opens a trial, or leaves a latch, is a reading taken at the α in force that is no older than the
    last one used; once a cycle was missed, a later one."""
    reading: Reading = case.arguments["reading"]
    before = case.state
    is_newest = some((before.missed == 0) & (reading.cycle == before.cycle), reading.cycle > before.cycle) & (
        reading.alpha == before.alpha
    )
    return Conditional(case.outcome in (Outcome.ACCEPTED, Outcome.APPROVED), is_newest)


@claim_on("T4", *GRANTS)
def refusal_changes_nothing(case: Case) -> Conditional:
    """A proposal or override that is not accepted is refused, and leaves the whole state as it was."""
    refused = (case.outcome is Outcome.REFUSED) & same(case.after, case.state)
    return Conditional(case.outcome is not Outcome.ACCEPTED, refused)


@claim_on("T4", *DECIDED, "approve")
def safe_reading_leads_to_no_alpha_that_it_forbids(case: Case) -> Conditional:
    """After every event decided on a reading that is safe at the α before, the α in force keeps
    α·drive(L) ≤ K and α·loop_gain(L) ≤ c_max on that reading: a commit, and the way back from a trial,
    whatever its kind."""
    reading: Reading = case.arguments["reading"]
    return Conditional(negation(unsafe(case)), envelope(case.limits, case.after.alpha, reading))


@claim_on("T4", *DECIDED)
def retreat_from_above_raises_no_product(case: Case) -> Conditional:
    """Hypotheses: α ≥ α_safe (α_safe = α_min by default, so always), and the reading's drive and loop gain
    are non-negative, as every reading that passes the boundary is. On an unsafe reading no event raises
    α·drive(L) or α·loop_gain(L)."""
    figures = figures_of(case.arguments["reading"])
    known = every(
        case.state.alpha >= case.limits.alpha_safe,
        *(figure >= 0 for figure in figures),
        *(products_keep_order(case.after.alpha, case.state.alpha, figure) for figure in figures),
    )
    return Conditional(
        unsafe(case) & known,
        every(*(case.after.alpha * figure <= case.state.alpha * figure for figure in figures)),
    )


@theorem("T4")
def products_with_a_figure_keep_order(_: Subject) -> Iterable[Goal]:
    """For integers: one ≤ other and figure ≥ 0 give one·figure ≤ other·figure; the fact about products of
    which other theorems use instances."""
    one, other, figure = (symbolic_int(name) for name in ("one", "other", "figure"))
    claim = products_keep_order(one, other, figure)
    yield Goal("products_with_a_figure_keep_order", "lemma", (), term_of(negation(claim)), 0)


@claim_on("T5", *MOVES)
def only_an_authorised_approval_unlatches(case: Case) -> Conditional:
    """A latched kernel (FROZEN, EMERGENCY, or an operator's trial that was opened from FROZEN) stays latched
    on every event but an authorised approval; an EMERGENCY stays an EMERGENCY but for that; recovery keeps
    every latch."""
    approved = (case.event == "approve") & (case.outcome is Outcome.APPROVED)
    permitted = approved and case.arguments["authorised"] is True
    emergency = implies(case.state.mode == Mode.EMERGENCY, case.after.mode == Mode.EMERGENCY)
    return Conditional(latched(case.state) & negation(permitted), latched(case.after) & emergency)


@claim_on("T6", *DECIDED)
def unsafe_reading_never_leads_away_from_alpha_safe(case: Case) -> Conditional:
    """No event decided on an unsafe reading moves α away from α_safe: neither the end of a trial nor a
    reading nobody waited for."""
    return Conditional(unsafe(case), to_safety(case, case.after) <= to_safety(case, case.state))


@claim_on("T6", *GRANTS)
def grant_on_unsafe_reading_leads_down(case: Case) -> Conditional:
    """Hypotheses: the reading is unsafe at the present α, its drive and loop gain are non-negative. What is
    granted then is a smaller α: towards α_safe, where α_safe = α_min."""
    figures = figures_of(case.arguments["reading"])
    known = every(
        *(figure >= 0 for figure in figures),
        *(products_keep_order(case.state.alpha, case.after.alpha, figure) for figure in figures),
    )
    granted = case.outcome is Outcome.ACCEPTED
    return Conditional(granted & unsafe(case) & known, case.after.alpha < case.state.alpha)


@claim_on("T6", *MOVES)
def emergency_never_leads_away_from_alpha_safe(case: Case) -> Conditional:
    """In EMERGENCY the distance of α to α_safe never grows, on any event."""
    latched_before = case.state.mode == Mode.EMERGENCY
    return Conditional(latched_before, to_safety(case, case.after) <= to_safety(case, case.state))


@claim_on("T6", "observe", "miss")
def emergency_retreat_is_a_full_step(case: Case) -> Conditional:
    """In EMERGENCY every used reading that is unsafe, and every missing reading, takes one full step_max off
    the distance of α to α_safe, or all that is left of it."""
    used = case.outcome is Outcome.RETREATED
    before, after, step = to_safety(case, case.state), to_safety(case, case.after), case.limits.step_max
    shrunk = some((before >= step) & (after == before - step), (before <= step) & (after == 0))
    demanded = unsafe(case) & fresh(case) if case.event == "observe" else True
    return Conditional((case.state.mode == Mode.EMERGENCY) & (used | demanded), shrunk)


@theorem("T6")
def retreat_ends_within_range_over_step(subject: Subject) -> Iterable[Goal]:
    """By `emergency_retreat_is_a_full_step`, under persistently unsafe or missing readings α reaches α_safe
    within n = ⌈(α_max − α_min)/step_max⌉ events. Four goals: the distance is at most the range; so it is at
    most n steps; if it is at most k + 1 steps, one full step later it is at most k; at most 0 steps is at
    α_safe."""
    limits, state = SYMBOLS["limits"], SYMBOLS["state"]
    n, k, far, near = (symbolic_int(name) for name in ("n", "k", "distance", "distance_after"))
    step, reach = limits.step_max, limits.alpha_max - limits.alpha_min
    assumed = labelled(invariant(subject.kernel, limits, state))
    shrunk = some((far >= step) & (near == far - step), (far <= step) & (near == 0))
    claims = {
        "within_range": distance(state.alpha, limits.alpha_safe) <= reach,
        "start": implies((far <= reach) & within(reach, n * step, reach + step - 1), far <= n * step),
        "step": implies(every(far >= 0, k >= 0, far <= (k + 1) * step, shrunk), near <= k * step),
        "end": implies((far >= 0) & (far <= 0 * step), far == 0),
    }
    for name, claim in claims.items():
        yield Goal("retreat_ends_within_range_over_step", name, assumed, term_of(negation(claim)), 0)


@theorem("T9")
def every_input_takes_exactly_one_path(subject: Subject) -> Iterable[Goal]:
    """For every event: the paths' conditions are pairwise disjoint, together they cover every state that
    satisfies the invariant and every input (finite parts included), and none of them ends in an exception."""
    for event in map(subject.event, EVENTS):
        guards = [case.guard for case in event.cases]
        refutations = {
            "cover": z3.Not(any_of(guards)),
            "disjoint": any_of(_overlaps(event)),
            "total": any_of(case.guard for case in event.cases if case.error is not None),
        }
        for part, refutation in refutations.items():
            name = f"{event.name}.{part}"
            yield Goal(
                "every_input_takes_exactly_one_path", name, typed(event), refutation, len(guards),
                replay=_replay_of_error(subject.kernel, event.name),
            )  # fmt: skip


def in_force(case: Case) -> bool:
    """Return whether the state after is one: it is not if a start was refused."""
    return case.before is not None or case.outcome is not Outcome.REFUSED


def unsafe(case: Case) -> bool:
    """Return whether the case's reading breaks a safety limit at the α before."""
    return negation(safe(case.limits, case.state.alpha, case.arguments["reading"]))


def fresh(case: Case) -> bool:
    """Return whether the case's reading is new and was taken at the α before."""
    reading: Reading = case.arguments["reading"]
    return (reading.alpha == case.state.alpha) & within(case.state.cycle + 1, reading.cycle, 2**63 - 1)


def to_safety(case: Case, state: State) -> int:
    """Return the distance of a state's α to α_safe."""
    return distance(state.alpha, case.limits.alpha_safe)


def figures_of(reading: Reading) -> tuple[int, ...]:
    """Return a reading's drives and loop gains."""
    return (*reading.drive, *reading.loop_gain)


def products_keep_order(one: int, other: int, figure: int) -> bool:
    """Return that a product with a non-negative figure keeps the order of two numbers."""
    return implies((one <= other) & (figure >= 0), one * figure <= other * figure)


def safe(limits: Limits, alpha: int, reading: Reading) -> bool:
    """Return whether a reading keeps every safety limit at alpha."""
    return every(
        within(0, reading.entropy_rate, limits.entropy_max),
        within(limits.h_internal_min, reading.h_internal, NANO),
        envelope(limits, alpha, reading),
    )


def envelope(limits: Limits, alpha: int, reading: Reading) -> bool:
    """Return whether α·drive and α·loop_gain keep their limits on every scale."""
    return every(
        *(within(0, alpha * figure, limits.drive_max * NANO) for figure in reading.drive),
        *(within(0, alpha * figure, limits.loop_gain_max * NANO) for figure in reading.loop_gain),
    )


def latched(state: State) -> bool:
    """Return whether only an approval may let optimizers move α again."""
    held = some(state.mode == Mode.FROZEN, state.mode == Mode.EMERGENCY)
    return held | ((state.mode == Mode.TRIAL) & (state.resume == Mode.FROZEN))


def _overlaps(event: Event) -> Iterable[z3.BoolRef]:
    """Two shapes at once, or two paths of one shape at once."""
    shapes: dict[z3.BoolRef, list[z3.BoolRef]] = {}
    for case in event.cases:
        shapes.setdefault(z3.And(*shape_of(case.arguments)), []).append(case.guard)
    for several in (list(shapes), *shapes.values()):
        yield from (z3.And(one, other) for one, other in itertools.combinations(several, 2))


def _replay_of_error(kernel: Kernel, name: str) -> Replay:
    def replayed(model: Mapping[str, int]) -> Counterexample:
        arguments = concrete_arguments(name, model)
        return Counterexample(call_text(name, arguments), replay(kernel, name, arguments).error is not None)

    return replayed
