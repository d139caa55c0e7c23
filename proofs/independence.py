"""Independence: what the decisions of `kernel/rules.py` do not depend on, as claims about pairs of runs."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence

import attrs
import z3

from kernel.state import Comparison
from proofs.events import EVENTS, SIGNATURES, Case, Event, call_text, concrete_arguments, replay
from proofs.explorer import SymInt, map_leaves, term_of
from proofs.goals import Counterexample, Goal, any_of, labelled
from proofs.rules import unsafe
from proofs.symbols import implies, same, some
from proofs.theorems import Conditional, Subject, claim_on, theorem

Judge = Callable[[Case, Case], bool]


@theorem("T8")
def nothing_of_the_optimizer_counts_but_its_number(subject: Subject) -> Iterable[Goal]:
    """Two proposals of the same number on the same limits, state and reading, whatever their kind and the
    coherence told, are both accepted or both refused, for the same checks, and move α and everything else in
    the state alike, but for the recorded kind."""
    event = subject.event("propose")

    def alike(one: Case, other: Case) -> bool:
        return alike_but_for_state(one, other) & same(one.after._replace(kind=other.after.kind), other.after)

    varied = ("kind", "reading.coherence")
    yield _twins("nothing_of_the_optimizer_counts_but_its_number", event, varied, alike)


@theorem("T8")
def coherence_of_a_reading_is_never_read(subject: Subject) -> Iterable[Goal]:
    """On every event with a reading, two readings that differ in coherence alone have the same outcome,
    checks and state after: what is optimized takes no part in any safety decision."""
    for name in EVENTS:
        if "reading" in SIGNATURES[name]:
            event = subject.event(name)
            yield _twins("coherence_of_a_reading_is_never_read", event, ("reading.coherence",), identical)


@claim_on("T8", "settle")
def evidence_only_chooses_between_trial_and_way_back(case: Case) -> Conditional:
    """What the controller says about coherence can keep a safe trial or send it back, and nothing else: α
    after is the trial's or the rollback target."""
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


def alike_but_for_state(one: Case, other: Case) -> bool:
    """Return whether two cases have the same outcome and checks."""
    return (one.outcome is other.outcome) & same(one.verdict.checks, other.verdict.checks)


def identical(one: Case, other: Case) -> bool:
    """Return whether two cases have the same outcome, checks and state after."""
    return alike_but_for_state(one, other) & same(one.after, other.after)


def _twins(theorem_name: str, event: Event, varied: Sequence[str], judge: Judge) -> Goal:
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
    kernel = event.cases[0].kernel

    def replayed(model: Mapping[str, int]) -> Counterexample:
        swapped = {**model, **{name: model.get(f"{name}.other", 0) for name in varied}}
        pair = [concrete_arguments(event.name, values) for values in (model, swapped)]
        one, other = (replay(kernel, event.name, arguments) for arguments in pair)
        call = " against ".join(call_text(event.name, arguments) for arguments in pair)
        return Counterexample(call, judge(one, other) is False)

    hypotheses, count = labelled(event.hypotheses), len(event.cases)
    return Goal(theorem_name, event.name, hypotheses, any_of(broken), count, replay=replayed)


def _finite(case: Case) -> tuple[object, ...]:
    # Runs from states of different shape cannot be twins.
    return (case.state.mode, case.state.kind, case.state.resume)
