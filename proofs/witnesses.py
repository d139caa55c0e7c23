"""Nothing is proved of nothing: every path, premise and row of the specification has a witness that Python
runs."""

from collections.abc import Iterable

import z3

from proofs.events import EVENTS, Case, Event, concrete_arguments, replay, typed
from proofs.exactness import symbolic_facts
from proofs.explorer import SymBool, SymInt, leaves, term_of
from proofs.goals import Goal
from proofs.solvers import Discharge, Verdict, integers
from proofs.specification import TABLES
from proofs.theorems import Subject, theorem, theorems

RLIMIT = 20_000_000


@theorem("T13")
def every_path_is_reachable_and_replays(_: Subject) -> Iterable[Goal]:
    """For every path of every event there are limits, a state that satisfies the invariant and an input that
    take it: a model of its condition, replayed on the real Python function, ends in the very outcome, state
    and checks that the path's formulas give. So the hypotheses are satisfiable, and no path is proved for
    want of one."""
    yield from (_witness("every_path_is_reachable_and_replays", name) for name in EVENTS)


@theorem("T13")
def every_row_of_the_specification_is_reachable(_: Subject) -> Iterable[Goal]:
    """For every row of every decision table there is a witness, and the real Python function ends in that
    row's outcome."""
    yield from (_witness("every_row_of_the_specification_is_reachable", name) for name in EVENTS)


@theorem("T13")
def every_premise_is_reachable(_: Subject) -> Iterable[Goal]:
    """Every claim of the form "if … then …" has a case in which its premise holds: a witness, replayed on the
    real Python function."""
    claims = [item.name for item in theorems().values() if item.claim is not None]
    yield from (_witness("every_premise_is_reachable", name) for name in claims)


def find_witnesses(subject: Subject, theorem_name: str, name: str) -> Discharge:
    """Discharge a goal of this module: find its witnesses and replay them.

    The answer is PROVED, REFUTED if there is no witness or a replay differs, or UNKNOWN.
    """
    if theorem_name == "every_premise_is_reachable":
        return _premise(subject, name)
    event = subject.event(name)
    if theorem_name == "every_path_is_reachable_and_replays":
        return _paths(event)
    return _rows(subject, event)


def _witness(theorem_name: str, name: str) -> Goal:
    return Goal(theorem_name, name, (), z3.BoolVal(False), 0, means=("witness",))


def _paths(event: Event) -> Discharge:
    solver = _solver(event)
    for number, case in enumerate(event.cases, 1):
        solver.push()
        solver.add(case.guard)
        model = _model(solver)
        if isinstance(model, Discharge):
            return _failed(model, f"path {number} of {event.name}")
        run = replay(case.kernel, event.name, concrete_arguments(event.name, integers(model)))
        if not _agrees(case, run, model):
            return Discharge(Verdict.REFUTED, reason=f"path {number} of {event.name} does not replay")
        solver.pop()
    return Discharge(Verdict.PROVED, paths=len(event.cases))


def _rows(subject: Subject, event: Event) -> Discharge:
    solver = _solver(event)
    rows = TABLES[event.name](symbolic_facts(event.name))
    for number, row in enumerate(rows, 1):
        solver.push()
        solver.add(term_of(row.when))
        model = _model(solver)
        if isinstance(model, Discharge):
            return _failed(model, f"row {number} of {event.name}")
        run = replay(subject.kernel, event.name, concrete_arguments(event.name, integers(model)))
        if run.error is not None or run.outcome is not row.outcome:
            return Discharge(Verdict.REFUTED, reason=f"row {number} of {event.name} does not replay")
        solver.pop()
    return Discharge(Verdict.PROVED)


def _premise(subject: Subject, name: str) -> Discharge:
    item = theorems()[name]
    if item.claim is None:
        return Discharge(Verdict.UNKNOWN, reason=f"{name} is no claim on events")
    for event in map(subject.event, item.events):
        solver = _solver(event)
        for case in event.cases:
            premise = item.claim(case).premise
            solver.push()
            solver.add(case.guard, term_of(premise))
            model = _model(solver)
            solver.pop()
            if isinstance(model, Discharge):
                continue
            run = replay(case.kernel, event.name, concrete_arguments(event.name, integers(model)))
            if run.error is None and item.claim(run).premise is True:
                return Discharge(Verdict.PROVED)
    return Discharge(Verdict.REFUTED, reason=f"the premise of {name} is never met")


def _solver(event: Event) -> z3.Solver:
    solver = z3.SimpleSolver()
    solver.set("random_seed", 0)
    solver.set("rlimit", RLIMIT)
    solver.add(*(formula for _, formula in typed(event)))
    return solver


def _model(solver: z3.Solver) -> z3.ModelRef | Discharge:
    answer = solver.check()
    if answer == z3.sat:
        return solver.model()
    if answer == z3.unsat:
        return Discharge(Verdict.REFUTED, reason="no witness")
    return Discharge(Verdict.UNKNOWN, reason=solver.reason_unknown())


def _failed(answer: Discharge, where: str) -> Discharge:
    return Discharge(answer.verdict, reason=f"{where}: {answer.reason}")


def _agrees(case: Case, run: Case, model: z3.ModelRef) -> bool:
    """Return whether a concrete run ends as the path's formulas say under the model."""
    if run.error is not None or case.error is not None:
        return type(run.error) is type(case.error)
    predicted = leaves((case.after, case.verdict))
    found = leaves((run.after, run.verdict))
    return len(predicted) == len(found) and all(
        _value(one, model) == other for one, other in zip(predicted, found, strict=True)
    )


def _value(leaf: object, model: z3.ModelRef) -> object:
    if isinstance(leaf, SymInt):
        return model.eval(leaf.term, model_completion=True).as_long()
    if isinstance(leaf, SymBool):
        return z3.is_true(model.eval(leaf.term, model_completion=True))
    return leaf
