"""Every event of the kernel, explored: each rule on every finite input and every symbolic one."""

import functools
import inspect
import itertools
from collections.abc import Iterator, Mapping
from typing import Any, cast

import attrs
import z3

from kernel.limits import Limits
from kernel.state import Comparison, Kind, Mode, Outcome, Reading, State, Verdict
from proofs.explorer import ProofError, SymInt, explore, map_leaves, term_of
from proofs.invariants import Clause, invariant
from proofs.source import Kernel
from proofs.symbols import symbolic, symbolic_int, within

SIGNATURES: Mapping[str, tuple[str, ...]] = {
    "start": ("limits", "target"),
    "propose": ("limits", "state", "target", "kind", "reading"),
    "override": ("limits", "state", "target", "reading", "authorised"),
    "settle": ("limits", "state", "reading", "comparison"),
    "observe": ("limits", "state", "reading"),
    "miss": ("limits", "state"),
    "freeze": ("state",),
    "approve": ("limits", "state", "reading", "authorised"),
    "set_limits": ("state", "proposed", "authorised"),
    "recover": ("state",),
    "actuator_failed": ("state", "granted", "restored"),
}
"""Each event and the part that each of its arguments plays."""

EVENTS = tuple(SIGNATURES)
GRANTS = ("propose", "override")

JUDGEMENTS = ("safety_checks", "severe_checks")
"""Public functions of the rules that are no events: `checks_are_exactly_the_listed_ones` reaches them."""

SYMBOLS: Mapping[str, Any] = {
    "limits": symbolic(Limits, "limits"),
    "proposed": symbolic(Limits, "proposed"),
    "state": symbolic(State, "state"),
    "target": symbolic_int("target"),
    "kind": symbolic_int("kind"),
    "reading": symbolic(Reading, "reading"),
    "comparison": symbolic(Comparison, "comparison"),
    "authorised": symbolic_int("authorised"),
    "granted": symbolic_int("granted"),
    "restored": symbolic_int("restored"),
}
"""The symbol of each part. What is finite is a symbol here too; it is enumerated when a rule is run."""

_FLAGS = ("authorised", "granted", "restored")


class UncoveredRuleError(ProofError):
    """A public function of the rules that no obligation reaches."""


class MalformedResultError(ProofError):
    """A rule returned something that is no next state with a verdict."""


@attrs.frozen
class Case:
    """One path of one event, or one concrete run of it.

    Attributes:
        kernel: Whose event it is.
        event: Name of the rule.
        arguments: What it was given, by part; finite parts are concrete.
        guard: When this path is the one taken: its values of the finite parts, and its conditions.
        before: State before; None at the start of a history.
        limits: Policy in force before.
        after: State after; meaningless if `error`.
        limits_after: Policy in force after.
        verdict: Verdict of the rule.
        error: What the rule raised.
    """

    kernel: Kernel
    event: str
    arguments: Mapping[str, Any]
    guard: z3.BoolRef
    before: State | None
    limits: Limits
    after: State
    limits_after: Limits
    verdict: Verdict
    error: Exception | None

    @property
    def outcome(self) -> Outcome:
        """Outcome of the verdict."""
        return self.verdict.outcome

    @property
    def state(self) -> State:
        """State before, where there is one."""
        if self.before is None:
            raise ProofError(f"{self.event} has no state before")
        return self.before


@attrs.frozen
class Event:
    """An event with its hypotheses and all its paths."""

    name: str
    hypotheses: tuple[Clause, ...]
    cases: tuple[Case, ...]


def event_names(kernel: Kernel) -> tuple[str, ...]:
    """Return the events of a kernel.

    Raises:
        UncoveredRuleError: the kernel has a public function, or a parameter, that is not listed here.
    """
    public = {
        name: value
        for name, value in vars(kernel.rules).items()
        if inspect.isfunction(value) and value.__module__ == "kernel.rules" and name[0] != "_"
    }
    listed = {*SIGNATURES, *JUDGEMENTS}
    if public.keys() != listed:
        raise UncoveredRuleError(f"rules without an obligation: {sorted(public.keys() ^ listed)}")
    for name, parts in SIGNATURES.items():
        count = len(inspect.signature(public[name]).parameters)
        if count != len(parts):
            raise UncoveredRuleError(f"{name} takes {count} arguments, {len(parts)} are covered")
    return tuple(SIGNATURES)


def explore_event(kernel: Kernel, name: str) -> Event:
    """Return an event of a kernel with every path of its rule.

    The hypotheses are the invariant of the limits and the state before; a start has none.
    """
    parts = SIGNATURES[name]
    limits, state = SYMBOLS["limits"], SYMBOLS["state"]
    hypotheses = invariant(kernel, limits, state) if "state" in parts else ()
    cases: list[Case] = []
    for arguments in _finite_choices(parts):
        shape = shape_of(arguments)
        rule = functools.partial(getattr(kernel.rules, name), *(arguments[part] for part in parts))
        assumed = [term_of(clause.holds) for clause in hypotheses]
        for path in explore(rule, (*assumed, *shape)):
            guard = z3.And(*shape, *path.conditions)
            cases.append(case_of(kernel, name, arguments, path.value, path.error, guard))
    return Event(name, hypotheses, tuple(cases))


def typed(event: Event) -> tuple[tuple[str, z3.BoolRef], ...]:
    """Return an event's hypotheses and the ranges of its finite parts."""
    finite = {"kind": len(Kind) - 1, "authorised": 1, "granted": 1, "restored": 1}
    parts = [part for part in SIGNATURES[event.name] if part in finite]
    domains = [(part, term_of(within(0, SYMBOLS[part], finite[part]))) for part in parts]
    return (*((clause.name, term_of(clause.holds)) for clause in event.hypotheses), *domains)


def case_of(
    kernel: Kernel,
    name: str,
    arguments: Mapping[str, Any],
    result: tuple[State, Verdict] | None,
    error: Exception | None = None,
    guard: z3.BoolRef | None = None,
) -> Case:
    """Return the case of a rule's result, symbolic or concrete.

    Raises:
        MalformedResultError: the rule raised nothing, and returned no state with a verdict, or a truth value
            where an integer belongs.
    """
    if error is None and not _well_formed(result):
        raise MalformedResultError(
            f"{name} returned no state with an outcome and five-part checks, all in integers"
        )
    after, verdict = result if result is not None else (SYMBOLS["state"], Verdict(Outcome.REFUSED))
    limits = arguments.get("limits", SYMBOLS["limits"])
    adopted = verdict.outcome is Outcome.ADOPTED
    return Case(
        kernel,
        name,
        arguments,
        z3.BoolVal(True) if guard is None else guard,
        arguments.get("state"),
        limits,
        after,
        arguments["proposed"] if adopted and "proposed" in arguments else limits,
        verdict,
        error,
    )


def concrete_arguments(name: str, model: Mapping[str, int]) -> dict[str, Any]:
    """Return an event's arguments, and its limits, under a model; a symbol it leaves out is 0."""

    def value(symbol: object) -> object:
        return model.get(cast(SymInt, symbol).term.decl().name(), 0)

    arguments = {part: map_leaves(SYMBOLS[part], value) for part in ("limits", *SIGNATURES[name])}
    if "state" in arguments:
        state = arguments["state"]
        arguments["state"] = state._replace(
            mode=Mode(state.mode), kind=Kind(state.kind), resume=Mode(state.resume)
        )
    if "kind" in arguments:
        arguments["kind"] = Kind(arguments["kind"])
    return {part: bool(value) if part in _FLAGS else value for part, value in arguments.items()}


def replay(kernel: Kernel, name: str, arguments: Mapping[str, Any]) -> Case:
    """Run a rule of a kernel on concrete arguments."""
    rule = getattr(kernel.rules, name)
    try:
        result = rule(*(arguments[part] for part in SIGNATURES[name]))
    except Exception as error:  # noqa: BLE001 - what a rule raises is what totality is about
        return case_of(kernel, name, arguments, None, error)
    return case_of(kernel, name, arguments, result)


def call_text(name: str, arguments: Mapping[str, Any]) -> str:
    """Return an event's call as Python text."""
    return f"rules.{name}({', '.join(repr(arguments[part]) for part in SIGNATURES[name])})"


def _well_formed(result: object) -> bool:
    match result:
        case (
            State(mode=Mode(), kind=Kind(), resume=Mode()) as state,
            Verdict(outcome=Outcome(), checks=tuple(checks)),
        ):
            return all(map(_is_integer, state)) and all(map(_is_check, checks))
    return False


def _is_check(check: object) -> bool:
    return isinstance(check, tuple) and len(check) == 5 and all(map(_is_integer, check[1:]))


def _is_integer(value: object) -> bool:
    # A bool is equal to an integer, and is written otherwise in the ledger.
    return isinstance(value, SymInt | int) and not isinstance(value, bool)


def _finite_choices(parts: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    domains = [_domain(part) for part in parts]
    for choice in itertools.product(*domains):
        yield dict(zip(parts, choice, strict=True))


def _domain(part: str) -> tuple[Any, ...]:
    if part == "state":
        return _states()
    if part == "kind":
        return tuple(Kind)
    return (False, True) if part in _FLAGS else (SYMBOLS[part],)


def _states() -> tuple[State, ...]:
    symbol = SYMBOLS["state"]
    idle = [(mode, Kind.STEP, Mode.READY) for mode in Mode if mode is not Mode.TRIAL]
    trials = [(Mode.TRIAL, kind, resume) for kind in Kind for resume in (Mode.READY, Mode.FROZEN)]
    return tuple(
        symbol._replace(mode=mode, kind=kind, resume=resume) for mode, kind, resume in (*idle, *trials)
    )


def shape_of(arguments: Mapping[str, Any]) -> tuple[z3.BoolRef, ...]:
    """Return that the finite parts have the values they have in these arguments."""
    fixed = [(part, arguments[part]) for part in arguments if part in _FLAGS or part == "kind"]
    if "state" in arguments:
        state = arguments["state"]
        fixed += [("state.mode", state.mode), ("state.kind", state.kind), ("state.resume", state.resume)]
    return tuple(z3.Int(symbol) == int(value) for symbol, value in fixed)
