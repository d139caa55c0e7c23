"""What becomes of a changed kernel: refused, killed by a theorem, proved equivalent, or a survivor."""

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

import attrs
import z3

import proofs.prove  # noqa: F401 - it imports every module that registers theorems
from proofs.events import (
    EVENTS,
    JUDGEMENTS,
    SIGNATURES,
    SYMBOLS,
    Case,
    Event,
    call_text,
    concrete_arguments,
    explore_event,
    replay,
    shape_of,
)
from proofs.explorer import ProofError, SymInt, explore, leaves, term_of
from proofs.goals import Goal, any_of, labelled
from proofs.invariants import invariant
from proofs.mutants import Mutant, uses_of
from proofs.solvers import Discharge, Verdict, discharge_z3
from proofs.source import Kernel, kernel_from, shipped_kernel
from proofs.symbols import every
from proofs.theorems import Subject, goal_on_event, theorems

MUTANT_RLIMIT = 2_000_000
"""Z3's resource units for one goal: some ten times what the hardest goal of the shipped kernel needs."""


class Fate(Enum):
    """What became of a mutant. A survivor is a gap in the theorems."""

    KILLED = "killed"
    REFUSED = "refused"
    EQUIVALENT = "equivalent"
    SURVIVOR = "survivor"


@attrs.frozen
class Judgement:
    """A mutant's fate.

    Attributes:
        fate: What became of it.
        by: The goal that killed it, the error that refused it, or the goals that prove it equivalent.
        call: A Python call that breaks the claim on the changed kernel, if it was killed.
    """

    fate: Fate
    by: str
    call: str = ""


def judge(mutants: Sequence[Mutant]) -> list[Judgement]:
    """Judge mutants one after another; a counterexample to one is tried on those that follow."""
    jury = Jury()
    return [jury.judge({mutant.module: mutant.source}, mutant.definition) for mutant in mutants]


@attrs.frozen
class _Input:
    # An event with values of its symbols; concrete, so that it can be tried on any kernel.
    event: str
    model: Mapping[str, int]


class Jury:
    """Judges changed kernels: by inputs at hand first, then by solvers; and remembers what a solver found."""

    def __init__(self) -> None:
        self._found: list[_Input] = []

    def judge(self, changed: Mapping[str, str], definition: str = "") -> Judgement:
        """Judge a kernel of which some sources are changed.

        A claim that a solver cannot decide kills nothing and proves nothing.

        Args:
            changed: The changed sources, by module.
            definition: The only function or constant in which they differ from the shipped ones; empty if
                there is more than one. An event that does not use it is the shipped event.
        """
        try:
            kernel = kernel_from(**changed)
        except Exception as error:  # noqa: BLE001 - a change may break the module in any way
            return Judgement(Fate.REFUSED, _told(error))
        try:
            return self._judge(_Changed(kernel, definition))
        except ProofError as error:
            return Judgement(Fate.REFUSED, _told(error))

    def _judge(self, subject: "_Changed") -> Judgement:
        tried = (_tried(subject, given) for given in (*self._found, *_witnesses()))
        killed = next(filter(None, tried), None) or self._killed(_likely_goals(subject))
        if killed is not None:
            return killed
        goals = [_same_event(subject, name) for name in subject.reached]
        goals += [_same_judgement(subject, name) for name in JUDGEMENTS]
        if all(_discharge(goal).verdict is Verdict.PROVED for goal in goals):
            return Judgement(Fate.EQUIVALENT, ", ".join(goal.key for goal in goals))
        every_goal = (goal for item in theorems().values() for goal in item.goals(subject))
        gap = Judgement(Fate.SURVIVOR, "no theorem fails, and it is not proved equivalent")
        return self._killed(every_goal) or gap

    def _killed(self, goals: Iterable[Goal]) -> Judgement | None:
        for goal in goals:
            if "z3" not in goal.means:
                continue
            answer = _discharge(goal)
            if answer.verdict is Verdict.REFUTED and goal.replay is not None:
                found = goal.replay(answer.model)
                if found.confirmed:
                    event = goal.name.partition(".")[0]
                    if event in SIGNATURES:
                        self._found.append(_Input(event, answer.model))
                    return Judgement(Fate.KILLED, f"{goal.theorem}.{event}", found.call)
        return None


class _Changed(Subject):
    """A changed kernel; events that the change cannot reach are those of the shipped kernel."""

    def __init__(self, kernel: Kernel, definition: str) -> None:
        super().__init__(kernel)
        users = uses_of(shipped_kernel(), definition)
        # Every event has the well formed policy among its hypotheses.
        everything = not definition or "limits_checks" in users
        self.reached = tuple(name for name in EVENTS if everything or name in users)

    def event(self, name: str) -> Event:
        """Return an event with all its paths."""
        return super().event(name) if name in self.reached else _shipped().event(name)


def _discharge(goal: Goal) -> Discharge:
    return discharge_z3(goal.text(), rlimit=MUTANT_RLIMIT)


@functools.cache
def _shipped() -> Subject:
    return Subject(kernel_from())


@functools.cache
def _witnesses() -> tuple[_Input, ...]:
    """Return one input for every path of the shipped kernel."""
    found = []
    for event in map(_shipped().event, EVENTS):
        for case in event.cases:
            answer = _discharge(Goal("witness", event.name, labelled(event.hypotheses), case.guard, 1))
            if answer.verdict is Verdict.REFUTED:
                found.append(_Input(event.name, answer.model))
    return tuple(found)


def _tried(subject: _Changed, given: _Input) -> Judgement | None:
    """Run a changed event on one input that satisfies the hypotheses; hold the result against T9 and T7."""
    if given.event not in subject.reached:
        return None
    arguments = concrete_arguments(given.event, given.model)
    if not _assumed(subject.kernel, arguments):
        return None
    case = replay(subject.kernel, given.event, arguments)
    for item in theorems().values():
        broken = case.error is not None and item.identifier == "T9"
        if item.claim is not None and given.event in item.events and item.identifier == "T7":
            broken = case.error is None and item.claim(case).holds is False
        if broken:
            call = call_text(given.event, arguments)
            return Judgement(Fate.KILLED, f"{item.name}.{given.event}", call)
    return None


def _assumed(kernel: Kernel, arguments: Mapping[str, Any]) -> bool:
    """Return whether arguments satisfy the hypotheses of their event, by the changed kernel's own policy."""
    if "state" not in arguments:
        return True
    clauses = invariant(kernel, arguments["limits"], arguments["state"])
    return every(*(clause.holds for clause in clauses))


def _likely_goals(subject: _Changed) -> Iterator[Goal]:
    """What says exactly how the changed events behave: no exceptions, then the exactness claims."""
    exactness = [item for item in theorems().values() if item.identifier == "T7"]
    for name in subject.reached:
        if any(case.error is not None for case in subject.event(name).cases):
            yield from (goal for goal in _totality(subject) if goal.name == f"{name}.total")
        yield from (goal_on_event(item, subject, name) for item in exactness if name in item.events)
    for item in exactness:
        if item.claim is None:
            yield from item.goals(subject)


def _totality(subject: _Changed) -> Iterator[Goal]:
    return (goal for item in theorems().values() if item.identifier == "T9" for goal in item.goals(subject))


def _same_event(subject: _Changed, name: str) -> Goal:
    """For all inputs that satisfy the shipped kernel's hypotheses: the same state after, outcome and checks,
    or the same kind of exception."""
    shipped = _shipped().event(name)
    changed = explore_event(attrs.evolve(subject.kernel, limits=_shipped().kernel.limits), name)
    shapes: dict[str, list[Case]] = {}
    for case in changed.cases:
        shapes.setdefault(_shape(case), []).append(case)
    twins = ((one, other) for one in shipped.cases for other in shapes.get(_shape(one), []))
    differ = [z3.And(one.guard, other.guard, _differs(one, other)) for one, other in twins]
    return Goal("equivalence", name, labelled(shipped.hypotheses), any_of(differ), len(changed.cases))


def _same_judgement(subject: _Changed, name: str) -> Goal:
    """For all inputs: the same checks."""
    given = (SYMBOLS["limits"], SYMBOLS["target"], SYMBOLS["reading"])
    ones, others = (
        explore(functools.partial(getattr(kernel.rules, name), *given))
        for kernel in (_shipped().kernel, subject.kernel)
    )
    differ = [
        z3.And(one.condition, other.condition, _differs_in(one.value, other.value))
        for one in ones
        for other in others
    ]
    return Goal("equivalence", name, (), any_of(differ), len(others))


def _shape(case: Case) -> str:
    return " ".join(str(part) for part in shape_of(case.arguments))


def _differs(one: Case, other: Case) -> z3.BoolRef:
    if one.error is not None or other.error is not None:
        return z3.BoolVal(type(one.error) is not type(other.error))
    if one.outcome is not other.outcome:
        return z3.BoolVal(True)
    return _differs_in((one.after, one.verdict.checks), (other.after, other.verdict.checks))


def _differs_in(one: object, other: object) -> z3.BoolRef:
    ones, others = leaves(one), leaves(other)
    if len(ones) != len(others):
        return z3.BoolVal(True)
    return any_of(_unequal(a, b) for a, b in zip(ones, others, strict=True) if not _certainly_equal(a, b))


def _certainly_equal(one: object, other: object) -> bool:
    if isinstance(one, SymInt) and isinstance(other, SymInt):
        return bool(one.term.eq(other.term))
    return not isinstance(one, SymInt) and not isinstance(other, SymInt) and one == other


def _unequal(one: object, other: object) -> z3.BoolRef:
    if isinstance(one, str) or isinstance(other, str):
        return z3.BoolVal(True)
    return z3.Not(term_of(one) == term_of(other))


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
