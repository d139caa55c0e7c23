"""Proves theorems: goals made here, discharged in worker processes, gathered in a table."""

from collections.abc import Callable, Iterable

import attrs
from rich.table import Table

import proofs.rules as _rules  # registers its theorems
from proofs.events import SIGNATURES, concrete_arguments, replay
from proofs.explorer import ProofError, term_of
from proofs.goals import Goal
from proofs.solvers import Discharge, Verdict, discharge_z3
from proofs.source import Kernel, shipped_kernel
from proofs.theorems import Subject, Theorem, theorems
from proofs.workers import run_all

THEOREM_MODULES = (_rules,)

Progress = Callable[[int, int, str], None]
"""Called with the number of goals done, the number in all, and the name of the theorem last worked on."""


class UnknownTheoremError(ProofError):
    """No theorem has that name or identifier."""


@attrs.frozen
class Row:
    """What became of one theorem.

    Attributes:
        identifier, name, statement: The theorem's.
        goals: Number of goals that together are the theorem.
        paths: Number of paths of the kernel they speak of.
        verdict: PROVED if every goal is.
        rlimit: Z3's resource units, of all goals together.
        counterexample: A Python call that breaks the claim, if one was found.
        reason: Which goal failed and why.
    """

    identifier: str
    name: str
    statement: str
    goals: int
    paths: int
    verdict: Verdict
    rlimit: int
    counterexample: str = ""
    reason: str = ""


@attrs.frozen
class Results:
    """The rows of a proof run, in the order of the registry."""

    rows: tuple[Row, ...]

    @property
    def proved(self) -> bool:
        """Whether there is a row and every row is proved."""
        return bool(self.rows) and all(row.verdict is Verdict.PROVED for row in self.rows)


def select(names: Iterable[str] | None) -> tuple[Theorem, ...]:
    """Return theorems by name or identifier; all if names is None.

    Raises:
        UnknownTheoremError: naming what is unknown.
    """
    known = theorems()
    if names is None:
        return tuple(known.values())
    chosen = []
    for name in names:
        found = [item for item in known.values() if name in (item.name, item.identifier)]
        if not found:
            raise UnknownTheoremError(f"no theorem {name}; there are {', '.join(known)}")
        chosen += found
    return tuple(dict.fromkeys(chosen))


def prove_all(
    names: Iterable[str] | None = None, progress: Progress | None = None, kernel: Kernel | None = None
) -> Results:
    """Prove theorems, by name or identifier (all if None), of a kernel (the shipped one if None).

    Raises:
        UnknownTheoremError: a name is unknown.
        ImpureKernelError: the kernel's source steps outside the language whose meaning is proved.
        UncoveredRuleError: the kernel has a public function that no obligation reaches.
        UnsupportedOperationError, NondeterminismError: a rule cannot be followed exactly.
    """
    chosen = select(names)
    subject = Subject(kernel or shipped_kernel())
    goals = {item.name: tuple(item.goals(subject)) for item in chosen}
    every_goal = [goal for item in chosen for goal in goals[item.name]]
    found: dict[str, Discharge] = {}
    for answer in run_all(discharge_z3, [goal.text() for goal in every_goal]):
        goal = every_goal[answer.index]
        found[goal.key] = answer.value or Discharge(Verdict.KILLED, reason=answer.failure)
        if progress is not None:
            progress(len(found), len(every_goal), goal.theorem)
    return Results(tuple(_row(subject.kernel, item, goals[item.name], found) for item in chosen))


def breaking_call(kernel: Kernel, theorem: Theorem, goal: Goal, found: Discharge) -> tuple[str, bool]:
    """Return the call that a refuted goal's model stands for, and whether running it breaks the claim."""
    event = goal.name.partition(".")[0]
    if event not in SIGNATURES:
        return ", ".join(f"{name} = {value}" for name, value in sorted(found.model.items())), False
    arguments = concrete_arguments(event, found.model)
    case = replay(kernel, event, arguments)
    call = f"rules.{event}({', '.join(repr(arguments[part]) for part in SIGNATURES[event])})"
    if case.error is not None or theorem.claim is None:
        return call, case.error is not None
    return call, bool(term_of(theorem.claim(case).holds).eq(term_of(False)))


def render_table(results: Results) -> Table:
    """Return the results as a table for a terminal."""
    table = Table(title="Theorems about the kernel that ships")
    table.add_column("theorem")
    table.add_column("claim")
    table.add_column("goals", justify="right")
    table.add_column("paths", justify="right")
    table.add_column("result")
    table.add_column("rlimit", justify="right")
    for row in results.rows:
        table.add_row(
            row.identifier, row.name, str(row.goals), str(row.paths), row.verdict.value, f"{row.rlimit:_}"
        )
    return table


def _row(kernel: Kernel, item: Theorem, goals: tuple[Goal, ...], found: dict[str, Discharge]) -> Row:
    rlimit = sum(found[goal.key].rlimit for goal in goals)
    paths = sum(goal.paths for goal in goals)
    verdict = Verdict.PROVED if goals else Verdict.UNKNOWN
    row = Row(item.identifier, item.name, item.statement, len(goals), paths, verdict, rlimit)
    for goal in goals:
        answer = found[goal.key]
        if answer.verdict is not Verdict.PROVED:
            refuted = answer.verdict is Verdict.REFUTED
            call = breaking_call(kernel, item, goal, answer)[0] if refuted else ""
            reason = f"{goal.name}: {answer.reason or answer.verdict.value}"
            return attrs.evolve(row, verdict=answer.verdict, counterexample=call, reason=reason)
    return row
