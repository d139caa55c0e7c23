"""Theorems about `kernel/rules.py`: bounds, rate, commits, envelope, latch, totality.

Every theorem is proved for all limits that pass the kernel's own checks, all states that satisfy the
invariant and all inputs, unless its statement says otherwise; "after" is what the rule returns.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Sequence

import attrs
import z3

from kernel.limits import Limits
from kernel.quantity import NANO
from kernel.state import Comparison, Mode, Outcome, Reading, State
from proofs import specification
from proofs.events import JUDGEMENTS, SIGNATURES, SYMBOLS, Case, Event, shape_of
from proofs.explorer import SymInt, explore, map_leaves, term_of
from proofs.goals import Goal, labelled
from proofs.invariants import invariant
from proofs.specification import TABLES
from proofs.symbols import distance, every, implies, negation, same, some, symbolic, symbolic_int, within
from proofs.theorems import Conditional, Subject, claim_on, theorem

EVENTS = tuple(SIGNATURES)
MOVES = tuple(name for name in EVENTS if "state" in SIGNATURES[name])
GRANTS = ("propose", "override")
DECIDED = ("settle", "observe")


@claim_on("INV", *EVENTS)
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
    missing reading, freeze, approval, override, adoption of limits, recovery and actuator failure; an approval,
    an adoption of limits and a failure of the actuator leave α where it is."""
    step = distance(case.after.alpha, case.state.alpha)
    moving = case.event not in ("set_limits", "approve", "actuator_failed")
    return Conditional(True, (step <= case.limits.step_max) & (moving | (step == 0)))


@claim_on("T3", *EVENTS)
def no_commit_without_safe_measurement(case: Case) -> Conditional:
    """A verdict COMMITTED comes from settling a trial only, on a reading measured at that α, in a later cycle
    than the one the trial was decided on, with every safety limit kept; and the committed α is the α measured,
    now the rollback target."""
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


@claim_on("T4", *GRANTS)
def refusal_changes_nothing(case: Case) -> Conditional:
    """A proposal or override that is not accepted is refused, and leaves the whole state as it was."""
    refused = (case.outcome is Outcome.REFUSED) & same(case.after, case.state)
    return Conditional(case.outcome is not Outcome.ACCEPTED, refused)


@claim_on("T4", *DECIDED)
def retreat_from_above_raises_no_product(case: Case) -> Conditional:
    """Hypotheses: α ≥ α_safe (α_safe = α_min by default, so always), and the reading's drive and loop gain are
    non-negative, as every reading that passes the boundary is. On an unsafe reading no event raises
    α·drive(L) or α·loop_gain(L)."""
    figures = figures_of(case.arguments["reading"])
    return Conditional(
        unsafe(case) & (case.state.alpha >= case.limits.alpha_safe) & every(*(figure >= 0 for figure in figures)),
        every(*(case.after.alpha * figure <= case.state.alpha * figure for figure in figures)),
    )


@claim_on("T5", *MOVES)
def only_an_authorised_approval_unlatches(case: Case) -> Conditional:
    """A latched kernel (FROZEN, EMERGENCY, or an operator's trial that was opened from FROZEN) stays latched on
    every event but an authorised approval; an EMERGENCY stays an EMERGENCY but for that; recovery keeps every
    latch."""
    approved = (case.event == "approve") & (case.outcome is Outcome.APPROVED)
    permitted = approved and case.arguments["authorised"] is True
    emergency = implies(case.state.mode == Mode.EMERGENCY, case.after.mode == Mode.EMERGENCY)
    return Conditional(latched(case.state) & negation(permitted), latched(case.after) & emergency)


@claim_on("T6", *DECIDED)
def unsafe_reading_never_leads_away_from_alpha_safe(case: Case) -> Conditional:
    """No event decided on an unsafe reading moves α away from α_safe: neither the end of a trial nor a reading
    nobody waited for."""
    return Conditional(unsafe(case), to_safety(case, case.after) <= to_safety(case, case.state))


@claim_on("T6", *GRANTS)
def grant_on_unsafe_reading_leads_down(case: Case) -> Conditional:
    """Hypotheses: the reading is unsafe at the present α, its drive and loop gain are non-negative. What is
    granted then is a smaller α: towards α_safe, where α_safe = α_min."""
    figures = figures_of(case.arguments["reading"])
    premise = (case.outcome is Outcome.ACCEPTED) & unsafe(case) & every(*(figure >= 0 for figure in figures))
    return Conditional(premise, case.after.alpha < case.state.alpha)


@claim_on("T6", *MOVES)
def emergency_never_leads_away_from_alpha_safe(case: Case) -> Conditional:
    """In EMERGENCY the distance of α to α_safe never grows, on any event."""
    latched_before = case.state.mode == Mode.EMERGENCY
    return Conditional(latched_before, to_safety(case, case.after) <= to_safety(case, case.state))


@claim_on("T6", "observe", "miss")
def emergency_retreat_is_a_full_step(case: Case) -> Conditional:
    """In EMERGENCY every used reading that is unsafe, and every missing reading, takes one full step_max off the
    distance of α to α_safe, or all that is left of it."""
    used = case.outcome is Outcome.RETREATED
    before, after, step = to_safety(case, case.state), to_safety(case, case.after), case.limits.step_max
    shrunk = some((before >= step) & (after == before - step), (before <= step) & (after == 0))
    demanded = unsafe(case) & fresh(case) if case.event == "observe" else True
    return Conditional((case.state.mode == Mode.EMERGENCY) & (used | demanded), shrunk)


@theorem("T6")
def retreat_ends_within_range_over_step(subject: Subject) -> Iterable[Goal]:
    """By `emergency_retreat_is_a_full_step`, under persistently unsafe or missing readings α reaches α_safe
    within n = ⌈(α_max − α_min)/step_max⌉ events. Four goals: the distance is at most the range; so it is at most
    n steps; if it is at most k + 1 steps, one full step later it is at most k; at most 0 steps is at α_safe."""
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


@claim_on("T7", *GRANTS)
def acceptance_is_sound_and_complete(case: Case) -> Conditional:
    """A proposal or override is accepted if and only if the decision table of the specification allows it, and
    what is opened is exactly the trial that the table says."""
    return as_specified(case)


@claim_on("T7", *(name for name in EVENTS if name not in GRANTS))
def every_event_is_exactly_as_specified(case: Case) -> Conditional:
    """Whatever row of the event's decision table applies, the outcome is that row's, and so is the whole state
    after: neither more nor less."""
    return as_specified(case)


@claim_on("T7", *EVENTS)
def verdict_names_every_limit_that_was_asked(case: Case) -> Conditional:
    """The verdict carries every check that the decision table lists for the case, in order, each with its name,
    unit, figure and both limits: a refusal tells every limit that was broken."""
    rows = TABLES[case.event](facts_of(case))
    return Conditional(True, every(*(implies(row.when, same(case.verdict.checks, row.reports)) for row in rows)))


@theorem("T7")
def judgements_are_exactly_the_listed_checks(subject: Subject) -> Iterable[Goal]:
    """safety_checks and severe_checks, called by themselves, return the specification's checks in order."""
    limits, reading, alpha = SYMBOLS["limits"], SYMBOLS["reading"], SYMBOLS["target"]
    expected = {"safety_checks": specification.safe, "severe_checks": specification.mild}
    for name in JUDGEMENTS:
        rule = functools.partial(getattr(subject.kernel.rules, name), limits, alpha, reading)
        paths = explore(rule)
        listed = expected[name](limits, alpha, reading)
        wrong = [z3.And(*path.conditions, z3.Not(term_of(same(path.value, listed)))) for path in paths]
        yield Goal("judgements_are_exactly_the_listed_checks", name, (), z3.Or(*wrong), len(paths))


@theorem("T7")
def specification_is_total_and_unambiguous(subject: Subject) -> Iterable[Goal]:
    """The rows of every decision table exclude one another and leave out no state that satisfies the invariant
    and no input; a table that could not be wrong would say nothing."""
    for event in map(subject.event, EVENTS):
        rows = TABLES[event.name](symbolic_facts(event.name))
        whens = [term_of(row.when) for row in rows]
        twice = [z3.And(one, other) for one, other in itertools.combinations(whens, 2)]
        refutation = z3.Or(z3.Not(z3.Or(*whens)), *twice)
        yield Goal("specification_is_total_and_unambiguous", event.name, _typing(event), refutation, 0)


@theorem("T8")
def nothing_of_the_optimizer_counts_but_its_number(subject: Subject) -> Iterable[Goal]:
    """Two proposals of the same number on the same limits, state and reading, whatever their kind and the
    coherence told, are both accepted or both refused, for the same checks, and move α and everything else in the
    state alike, but for the recorded kind."""
    event = subject.event("propose")

    def alike(one: Case, other: Case) -> bool:
        return alike_but_for_state(one, other) & same(one.after._replace(kind=other.after.kind), other.after)

    varied = ("kind", "reading.coherence")
    yield _twins("nothing_of_the_optimizer_counts_but_its_number", event, varied, alike)


@theorem("T8")
def coherence_of_a_reading_is_never_read(subject: Subject) -> Iterable[Goal]:
    """On every event with a reading, two readings that differ in coherence alone have the same outcome, checks and
    state after: what is optimized takes no part in any safety decision."""
    for name in EVENTS:
        if "reading" in SIGNATURES[name]:
            event = subject.event(name)
            yield _twins("coherence_of_a_reading_is_never_read", event, ("reading.coherence",), identical)


@claim_on("T8", "settle")
def evidence_only_chooses_between_trial_and_way_back(case: Case) -> Conditional:
    """What the controller says about coherence can keep a safe trial or send it back, and nothing else: α after
    is the trial's or the rollback target."""
    before, after = case.state, case.after
    return Conditional(True, some(after.alpha == before.alpha, after.alpha == before.good))


@theorem("T8")
def evidence_has_no_say_on_an_unsafe_reading(subject: Subject) -> Iterable[Goal]:
    """Two ends of a trial that differ in the evidence on coherence alone are the same unless the reading is
    safe."""
    figures = [f"comparison.{name}" for name in Comparison._fields]

    def identical_if_unsafe(one: Case, other: Case) -> bool:
        return implies(unsafe(one), identical(one, other))

    event, varied = subject.event("settle"), (*figures, "reading.coherence")
    yield _twins("evidence_has_no_say_on_an_unsafe_reading", event, varied, identical_if_unsafe)


@theorem("T9")
def every_input_takes_exactly_one_path(subject: Subject) -> Iterable[Goal]:
    """For every event: the paths' conditions are pairwise disjoint, together they cover every state that
    satisfies the invariant and every input (finite parts included), and none of them ends in an exception."""
    for event in map(subject.event, EVENTS):
        guards = [case.guard for case in event.cases]
        refutations = {
            "cover": z3.Not(z3.Or(*guards)),
            "disjoint": z3.Or(*_overlaps(event)),
            "total": z3.Or(*(case.guard for case in event.cases if case.error is not None)),
        }
        for part, refutation in refutations.items():
            name = f"{event.name}.{part}"
            yield Goal("every_input_takes_exactly_one_path", name, _typing(event), refutation, len(guards))


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


def facts_of(case: Case) -> specification.Facts:
    """Return what the specification may know of a case."""
    before = case.after if case.before is None else case.before
    return specification.Facts(case.limits, before, case.after, case.arguments)


def symbolic_facts(name: str) -> specification.Facts:
    """Return an event's facts with every part a symbol, the finite ones too."""
    given = {part: SYMBOLS[part] for part in SIGNATURES[name]}
    return specification.Facts(SYMBOLS["limits"], SYMBOLS["state"], symbolic(State, "after"), given)


def alike_but_for_state(one: Case, other: Case) -> bool:
    """Return whether two cases have the same outcome and checks."""
    return (one.outcome is other.outcome) & same(one.verdict.checks, other.verdict.checks)


def identical(one: Case, other: Case) -> bool:
    """Return whether two cases have the same outcome, checks and state after."""
    return alike_but_for_state(one, other) & same(one.after, other.after)


def as_specified(case: Case) -> Conditional:
    """Return the claim that outcome and state after are those of the row that applies."""
    rows = TABLES[case.event](facts_of(case))
    exact = [implies(row.when, (case.outcome is row.outcome) & row.becomes) for row in rows]
    return Conditional(True, every(*exact))


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


def _twins(theorem_name: str, event: Event, varied: Sequence[str], judge: Callable[[Case, Case], bool]) -> Goal:
    """Return that any two runs whose inputs differ in the varied symbols only pass the judge."""
    renaming = [(z3.Int(name), z3.Int(f"{name}.other")) for name in varied]

    def renamed(value: object) -> object:
        return SymInt(z3.substitute(value.term, *renaming)) if isinstance(value, SymInt) else value

    broken = []
    for one, other in itertools.product(event.cases, repeat=2):
        if _finite(one) != _finite(other):
            continue
        after, verdict = map_leaves(other.after, renamed), map_leaves(other.verdict, renamed)
        judged = judge(one, attrs.evolve(other, after=after, verdict=verdict))
        if judged is not True:
            guard = z3.substitute(other.guard, *renaming)
            broken.append(z3.And(one.guard, guard, z3.Not(term_of(judged))))
    return Goal(theorem_name, event.name, labelled(event.hypotheses), z3.Or(*broken), len(event.cases))


def _finite(case: Case) -> tuple[object, ...]:
    # Runs from states of different shape cannot be twins.
    return (case.state.mode, case.state.kind, case.state.resume)


def _overlaps(event: Event) -> Iterable[z3.BoolRef]:
    """Two shapes at once, or two paths of one shape at once."""
    shapes: dict[z3.BoolRef, list[z3.BoolRef]] = {}
    for case in event.cases:
        shapes.setdefault(z3.And(*shape_of(case.arguments)), []).append(case.guard)
    for several in (list(shapes), *shapes.values()):
        yield from (z3.And(one, other) for one, other in itertools.combinations(several, 2))
