"""Proves theorems: goals made here, discharged in worker processes, gathered in a table."""

from collections.abc import Callable, Iterable, Mapping

import attrs
from rich.table import Table

import proofs.exactness as _exactness
import proofs.independence as _independence
import proofs.quantity as _quantity
import proofs.recursion as _recursion
import proofs.rules as _rules
import proofs.witnesses as _witnesses
from proofs.explorer import ProofError
from proofs.goals import Goal
from proofs.solvers import Discharge, Verdict
from proofs.source import Kernel, shipped_kernel
from proofs.tasks import perform, sources_of, tasks_of
from proofs.theorems import Subject, Theorem, theorems
from proofs.workers import run_all

THEOREM_MODULES = (_rules, _exactness, _independence, _quantity, _recursion, _witnesses)

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
        verdict: PROVED if every goal is, by every means it is given to.
        rlimit: Z3's resource units, of all goals together.
        trusted: Number of steps that cvc5's proofs take on trust.
        counterexample: A Python call that breaks the claim, if one was found.
        reason: Which goal failed, by which means, and why.
        words: Number of goals that fit 64-bit words and so were given to bitwuzla.
    """

    identifier: str
    name: str
    statement: str
    goals: int
    paths: int
    verdict: Verdict
    rlimit: int
    trusted: int
    counterexample: str = ""
    reason: str = ""
    words: int = 0


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
    run = discharge_all(names, progress, kernel)
    return results_of(run)


@attrs.frozen
class Run:
    """Every goal of the chosen theorems, and every answer by goal and means."""

    goals: Mapping[Theorem, tuple[Goal, ...]]
    answers: Mapping[tuple[str, str], Discharge]


def discharge_all(
    names: Iterable[str] | None = None,
    progress: Progress | None = None,
    kernel: Kernel | None = None,
    studied: bool = False,
) -> Run:
    """Discharge every goal of the chosen theorems by all its means; raises what `prove_all` raises.

    If studied, the spread and the core of every goal are found as well.
    """
    chosen = select(names)
    subject = Subject(kernel or shipped_kernel())
    sources = sources_of(subject.kernel)
    goals = {item: tuple(item.goals(subject)) for item in chosen}
    tasks = [
        (item, task) for item in chosen for goal in goals[item] for task in tasks_of(goal, sources, studied)
    ]
    answers: dict[tuple[str, str], Discharge] = {}
    for answer in run_all(perform, [task for _, task in tasks]):
        item, task = tasks[answer.index]
        key = (f"{task.theorem}.{task.name}", task.means)
        answers[key] = answer.value or Discharge(Verdict.KILLED, reason=answer.failure)
        if progress is not None:
            progress(len(answers), len(tasks), item.name)
    return Run(goals, answers)


def explain(name: str) -> tuple[str, bool]:
    """Prove one theorem and return what it says, what it assumes, how it was proved or what breaks it; and
    whether it is.

    Raises:
        UnknownTheoremError: there is no such theorem; and see `prove_all`.
    """
    run = discharge_all([name])
    text = [_explained(item, run) for item in run.goals]
    return "\n\n".join(text), results_of(run).proved


def results_of(run: Run) -> Results:
    """Return the rows of a run."""
    return Results(tuple(_row(item, run) for item in run.goals))


def render_table(results: Results) -> Table:
    """Return the results as a table for a terminal."""
    table = Table(title="Theorems about the kernel that ships")
    table.add_column("theorem")
    table.add_column("claim")
    table.add_column("goals", justify="right")
    table.add_column("paths", justify="right")
    table.add_column("result")
    table.add_column("64-bit", justify="right")
    table.add_column("rlimit", justify="right")
    table.add_column("trusted", justify="right")
    for row in results.rows:
        table.add_row(
            row.identifier,
            row.name,
            str(row.goals),
            str(row.paths),
            row.verdict.value,
            str(row.words),
            f"{row.rlimit:_}",
            str(row.trusted),
        )
    return table


def _explained(item: Theorem, run: Run) -> str:
    row, goals = _row(item, run), run.goals[item]
    assumed = dict.fromkeys(label for goal in goals for label, _ in goal.hypotheses)
    means = dict.fromkeys(one for goal in goals for one in goal.means)
    lines = [
        f"{item.identifier} {item.name}: {row.verdict.value}",
        f"  {item.statement}",
        f"  goals: {', '.join(goal.name for goal in goals)} (by {', '.join(means)})",
        f"  hypotheses: {', '.join(assumed) or 'none'}",
    ]
    if row.reason:
        lines.append(f"  fails: {row.reason}")
    if row.counterexample:
        lines.append(f"  counterexample: {row.counterexample}")
    return "\n".join(lines)


def _counterexample(goal: Goal, answer: Discharge) -> str:
    if answer.verdict is not Verdict.REFUTED or not answer.model:
        return ""
    if goal.replay is not None:
        return goal.replay(answer.model).call
    return ", ".join(f"{name} = {value}" for name, value in sorted(answer.model.items()))


def _left_out(means: str, answer: Discharge) -> bool:
    # Whether a goal fits words is decided by its formula alone; the certificate lists those that do not.
    return means == "bitwuzla" and answer.verdict is Verdict.UNFIT


def _row(item: Theorem, run: Run) -> Row:
    goals = run.goals[item]
    answers = [(goal, means, run.answers[goal.key, means]) for goal in goals for means in goal.means]
    row = Row(
        item.identifier, item.name, item.statement, len(goals),
        sum(goal.paths for goal in goals) + sum(answer.paths for _, _, answer in answers),
        Verdict.PROVED if answers else Verdict.UNKNOWN,
        sum(answer.rlimit for _, _, answer in answers),
        sum(sum(answer.trusted.values()) for _, _, answer in answers),
        words=sum(answer.box > 0 for _, _, answer in answers),
    )  # fmt: skip
    for goal, means, answer in answers:
        if answer.verdict is not Verdict.PROVED and not _left_out(means, answer):
            reason = f"{goal.name} by {means}: {answer.reason or answer.verdict.value}"
            call = _counterexample(goal, answer)
            return attrs.evolve(row, verdict=answer.verdict, counterexample=call, reason=reason)
    return row
