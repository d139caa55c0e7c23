"""Exactness of `kernel/rules.py`: it does what the decision tables of `specification.py` say, no more and no
less."""

import functools
import itertools
from collections.abc import Iterable, Mapping

import z3

from kernel.state import State
from proofs import specification
from proofs.events import EVENTS, GRANTS, JUDGEMENTS, SIGNATURES, SYMBOLS, Case, concrete_arguments, typed
from proofs.explorer import explore, term_of
from proofs.goals import Counterexample, Goal, Replay, any_of
from proofs.source import Kernel
from proofs.specification import TABLES
from proofs.symbols import every, implies, same, symbolic
from proofs.theorems import Conditional, Subject, claim_on, theorem

LISTED = {"safety_checks": specification.safe, "severe_checks": specification.mild}


@claim_on("T7", *GRANTS)
def acceptance_is_sound_and_complete(case: Case) -> Conditional:
    """A proposal or override is accepted if and only if the decision table of the specification allows it,
    and what is opened is exactly the trial that the table says."""
    return as_specified(case)


@claim_on("T7", *(name for name in EVENTS if name not in GRANTS))
def every_event_is_exactly_as_specified(case: Case) -> Conditional:
    """Whatever row of the event's decision table applies, the outcome is that row's, and so is the whole
    state after: neither more nor less."""
    return as_specified(case)


@claim_on("T7", *EVENTS)
def verdict_names_every_limit_that_was_asked(case: Case) -> Conditional:
    """The verdict carries every check that the decision table lists for the case, in order, each with its
    name, unit, figure and both limits: a refusal tells every limit that was broken."""
    rows = TABLES[case.event](facts_of(case))
    told = [implies(row.when, same(case.verdict.checks, row.reports)) for row in rows]
    return Conditional(True, every(*told))


@theorem("T7")
def judgements_are_exactly_the_listed_checks(subject: Subject) -> Iterable[Goal]:
    """safety_checks and severe_checks, called by themselves, return the specification's checks in order."""
    limits, reading, alpha = SYMBOLS["limits"], SYMBOLS["reading"], SYMBOLS["target"]
    for name in JUDGEMENTS:
        rule = functools.partial(getattr(subject.kernel.rules, name), limits, alpha, reading)
        paths = explore(rule)
        listed = LISTED[name](limits, alpha, reading)
        wrong = [z3.And(*path.conditions, z3.Not(term_of(same(path.value, listed)))) for path in paths]
        yield Goal(
            "judgements_are_exactly_the_listed_checks", name, (), any_of(wrong), len(paths),
            replay=_replay_of_judgement(subject.kernel, name),
        )  # fmt: skip


@theorem("T7")
def specification_is_total_and_unambiguous(subject: Subject) -> Iterable[Goal]:
    """The rows of every decision table exclude one another and leave out no state that satisfies the
    invariant and no input; a table that could not be wrong would say nothing."""
    for event in map(subject.event, EVENTS):
        rows = TABLES[event.name](symbolic_facts(event.name))
        whens = [term_of(row.when) for row in rows]
        twice = [z3.And(one, other) for one, other in itertools.combinations(whens, 2)]
        refutation = z3.Or(z3.Not(z3.Or(*whens)), *twice)
        yield Goal("specification_is_total_and_unambiguous", event.name, typed(event), refutation, 0)


def facts_of(case: Case) -> specification.Facts:
    """Return what the specification may know of a case."""
    before = case.after if case.before is None else case.before
    return specification.Facts(case.limits, before, case.after, case.arguments)


def symbolic_facts(name: str) -> specification.Facts:
    """Return an event's facts with every part a symbol, the finite ones too."""
    given = {part: SYMBOLS[part] for part in SIGNATURES[name]}
    return specification.Facts(SYMBOLS["limits"], SYMBOLS["state"], symbolic(State, "after"), given)


def as_specified(case: Case) -> Conditional:
    """Return the claim that outcome and state after are those of the row that applies."""
    rows = TABLES[case.event](facts_of(case))
    exact = [implies(row.when, (case.outcome is row.outcome) & row.becomes) for row in rows]
    return Conditional(True, every(*exact))


def _replay_of_judgement(kernel: Kernel, name: str) -> Replay:
    def replayed(model: Mapping[str, int]) -> Counterexample:
        arguments = concrete_arguments("propose", model)
        given = tuple(arguments[part] for part in ("limits", "target", "reading"))
        call = f"rules.{name}({', '.join(map(repr, given))})"
        found = getattr(kernel.rules, name)(*given)
        return Counterexample(call, same(found, LISTED[name](*given)) is False)

    return replayed
