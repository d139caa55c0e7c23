"""Theorems about `kernel/rules.py`: bounds, rate, commits, envelope, latch, totality.

Every theorem is proved for all limits that pass the kernel's own checks, all states that satisfy the
invariant and all inputs, unless its statement says otherwise; "after" is what the rule returns.
"""

import itertools
from collections.abc import Iterable

import z3

from kernel.limits import Limits
from kernel.quantity import NANO
from kernel.state import Mode, Outcome, Reading, State
from proofs.events import SIGNATURES, SYMBOLS, Case, Event
from proofs.explorer import term_of
from proofs.goals import Goal, labelled
from proofs.invariants import invariant
from proofs.symbols import distance, every, implies, negation, some, within
from proofs.theorems import Subject, claim_on, theorem

EVENTS = tuple(SIGNATURES)
MOVES = tuple(name for name in EVENTS if "state" in SIGNATURES[name])
GRANTS = ("propose", "override")
RETREATS = ("settle", "observe", "miss")


@claim_on("INV", *EVENTS)
def invariant_is_inductive(case: Case) -> bool:
    """Every event takes a state that satisfies the invariant to one that satisfies it, under the limits then
    in force; a start that is not refused establishes it from nothing."""
    clauses = invariant(case.kernel, case.limits_after, case.after)
    refused_start = case.before is None and case.outcome is Outcome.REFUSED
    return refused_start | every(*(clause.holds for clause in clauses))


@claim_on("T1", *EVENTS)
def alpha_stays_in_bounds(case: Case) -> bool:
    """After every event α and the rollback target lie in [α_min, α_max] of the limits then in force;
    a start that is not refused included."""
    limits, after = case.limits_after, case.after
    refused_start = case.before is None and case.outcome is Outcome.REFUSED
    return refused_start | every(
        within(limits.alpha_min, after.alpha, limits.alpha_max),
        within(limits.alpha_min, after.good, limits.alpha_max),
    )


@claim_on("T2", *MOVES)
def rate_limit_holds_on_every_event(case: Case) -> bool:
    """|α' − α| ≤ step_max on every event without exception: trial, commit, revert, retreat, emergency,
    missing reading, freeze, approval, override, adoption of limits (which does not move α at all), recovery
    and actuator failure."""
    step = distance(case.after.alpha, case.state.alpha)
    still = case.event not in ("set_limits", "approve", "actuator_failed")
    return (step <= case.limits.step_max) & (still | (step == 0))


@claim_on("T3", *EVENTS)
def no_commit_without_safe_measurement(case: Case) -> bool:
    """A verdict COMMITTED comes from settling a trial only, on a reading measured at that α, in a later cycle
    than the one the trial was decided on, with every safety limit kept; and the committed α is the α
    measured, now the rollback target."""
    if case.outcome is not Outcome.COMMITTED:
        return True
    if case.event != "settle":
        return False
    reading: Reading = case.arguments["reading"]
    before, after = case.state, case.after
    return every(
        before.mode == Mode.TRIAL,
        reading.cycle > before.cycle,
        reading.alpha == before.alpha,
        safe(case.limits, before.alpha, reading),
        after.alpha == before.alpha,
        after.good == before.alpha,
    )


@claim_on("T4", *GRANTS)
def granted_alpha_keeps_the_envelope(case: Case) -> bool:
    """Every α granted by propose or override keeps α·drive(L) ≤ K and α·loop_gain(L) ≤ c_max for every scale
    L, on the reading it was decided on; and α changes in no other case."""
    if case.outcome is not Outcome.ACCEPTED:
        return case.after.alpha == case.state.alpha
    granted: bool = case.after.alpha == case.arguments["target"]
    return granted & envelope(case.limits, case.after.alpha, case.arguments["reading"])


@claim_on("T4", "settle", "observe")
def retreat_from_above_raises_no_product(case: Case) -> bool:
    """Hypotheses: α ≥ α_safe (α_safe = α_min by default, so always), and the reading's drive and loop gain
    are non-negative, as every reading that passes the boundary is. On an unsafe reading no event raises
    α·drive(L) or α·loop_gain(L)."""
    reading: Reading = case.arguments["reading"]
    before, after = case.state, case.after
    figures = (*reading.drive, *reading.loop_gain)
    assumed = every(
        before.alpha >= case.limits.alpha_safe,
        *(figure >= 0 for figure in figures),
        negation(safe(case.limits, before.alpha, reading)),
    )
    return implies(assumed, every(*(after.alpha * figure <= before.alpha * figure for figure in figures)))


@claim_on("T5", *MOVES)
def only_an_authorised_approval_unlatches(case: Case) -> bool:
    """A latched kernel (FROZEN, EMERGENCY, or a trial of an operator that was opened from FROZEN) stays
    latched on every event but an authorised approval; an EMERGENCY stays an EMERGENCY but for that; recovery
    keeps every latch."""
    approved = (case.event == "approve") & (case.outcome is Outcome.APPROVED)
    permitted = approved and case.arguments["authorised"] is True
    emergency = implies(case.state.mode == Mode.EMERGENCY, case.after.mode == Mode.EMERGENCY)
    return permitted | (implies(latched(case.state), latched(case.after)) & emergency)


@theorem("T9")
def every_input_takes_exactly_one_path(subject: Subject) -> Iterable[Goal]:
    """For every event: the paths' conditions are pairwise disjoint, together they cover every state that
    satisfies the invariant and every input (finite parts included), and none of them ends in an exception."""
    for event in map(subject.event, EVENTS):
        guards = [case.guard for case in event.cases]
        refutations = {
            "cover": z3.Not(z3.Or(*guards)),
            "disjoint": z3.Or(*(z3.And(one, other) for one, other in itertools.combinations(guards, 2))),
            "total": z3.Or(*(case.guard for case in event.cases if case.error is not None)),
        }
        for part, refutation in refutations.items():
            name = f"{event.name}.{part}"
            yield Goal("every_input_takes_exactly_one_path", name, _typing(event), refutation, len(guards))


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


def _typing(event: Event) -> tuple[tuple[str, z3.BoolRef], ...]:
    finite = {"kind": 2, "authorised": 1, "granted": 1, "restored": 1}
    parts = [part for part in SIGNATURES[event.name] if part in finite]
    domains = [(part, term_of(within(0, SYMBOLS[part], finite[part]))) for part in parts]
    return (*labelled(event.hypotheses), *domains)
