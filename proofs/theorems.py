"""The registry of theorems: what is not in it is not proved, and a test compares it with the modules."""

import inspect
from collections.abc import Callable, Iterable, Mapping

import attrs
import z3

from proofs.events import Case, Event, call_text, concrete_arguments, event_names, explore_event, replay
from proofs.explorer import ProofError, term_of
from proofs.goals import Counterexample, Goal, any_of, labelled
from proofs.source import Kernel
from proofs.symbols import implies


@attrs.frozen
class Conditional:
    """A claim that speaks of some cases only: those where the premise holds."""

    premise: bool
    conclusion: bool

    @property
    def holds(self) -> bool:
        """If premise then conclusion."""
        return implies(self.premise, self.conclusion)


Claim = Callable[[Case], Conditional]
Prove = Callable[["Subject"], Iterable[Goal]]


class Subject:
    """A kernel under proof; its events are explored when they are first asked for."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.names = event_names(kernel)
        self._events: dict[str, Event] = {}

    def event(self, name: str) -> Event:
        """Return an event with all its paths."""
        if name not in self._events:
            self._events[name] = explore_event(self.kernel, name)
        return self._events[name]


@attrs.frozen
class Theorem:
    """A claim about the kernel.

    Attributes:
        identifier: T0 for the invariant, T1 to T13 for the design's list.
        name: What is claimed.
        statement: The claim in words, with its hypotheses.
        goals: Gives the goals whose proofs together are the theorem's.
        claim: For a claim on single events: the claim itself, on symbolic and concrete cases alike.
        events: For a claim on single events: the events it speaks of.
    """

    identifier: str
    name: str
    statement: str
    goals: Prove
    claim: Claim | None = None
    events: tuple[str, ...] = ()


_REGISTRY: dict[str, Theorem] = {}


def theorems() -> Mapping[str, Theorem]:
    """Return every registered theorem by name, in the order of their identifiers."""
    return dict(sorted(_REGISTRY.items(), key=lambda item: int(item[1].identifier[1:])))


def claim_on(identifier: str, *events: str) -> Callable[[Claim], Claim]:
    """Register a claim that is to hold on every path of the events."""

    def register(claim: Claim) -> Claim:
        def goals(subject: Subject) -> Iterable[Goal]:
            for name in events:
                yield _goal_on(subject, claim, name)

        _add(Theorem(identifier, claim.__name__, _statement(claim), goals, claim, events))
        return claim

    return register


def theorem(identifier: str) -> Callable[[Prove], Prove]:
    """Register a theorem by the function that gives its goals."""

    def register(goals: Prove) -> Prove:
        _add(Theorem(identifier, goals.__name__, _statement(goals), goals))
        return goals

    return register


def goal_on_event(item: Theorem, subject: Subject, event: str) -> Goal:
    """Return the one goal of a claim on single events that speaks of this event."""
    if item.claim is None or event not in item.events:
        raise ProofError(f"{item.name} makes no claim on {event}")
    return _goal_on(subject, item.claim, event)


def _goal_on(subject: Subject, claim: Claim, name: str) -> Goal:
    event = subject.event(name)

    def replayed(model: Mapping[str, int]) -> Counterexample:
        arguments = concrete_arguments(name, model)
        case = replay(subject.kernel, name, arguments)
        return Counterexample(call_text(name, arguments), case.error is None and claim(case).holds is False)

    whole = [case for case in event.cases if case.error is None]
    broken = [z3.And(case.guard, z3.Not(term_of(claim(case).holds))) for case in whole]
    return Goal(claim.__name__, name, labelled(event.hypotheses), any_of(broken), len(whole), replay=replayed)


def _statement(function: Callable[..., object]) -> str:
    statement = inspect.getdoc(function)
    if not statement:
        raise ProofError(f"{function.__name__} has no statement")
    return " ".join(statement.split())


def _add(new: Theorem) -> None:
    if new.name in _REGISTRY:
        raise ProofError(f"two theorems are named {new.name}")
    _REGISTRY[new.name] = new
