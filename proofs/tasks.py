"""What worker processes do: one goal, one means, one answer."""

import functools

import attrs

from proofs.bitwuzla_solver import discharge_bitwuzla
from proofs.cvc5_solver import discharge_cvc5
from proofs.goals import Goal
from proofs.solvers import Discharge, discharge_z3
from proofs.source import Kernel, kernel_from, shipped_kernel
from proofs.stability import find_core, measure_spread
from proofs.theorems import Subject
from proofs.witnesses import find_witnesses

STUDIES = ("spread", "core")
_MEANS = {
    "z3": discharge_z3,
    "cvc5": discharge_cvc5,
    "bitwuzla": discharge_bitwuzla,
    "spread": measure_spread,
    "core": find_core,
}

Sources = tuple[tuple[str, str], ...]


@attrs.frozen
class Task:
    """A goal's text and the means to discharge it.

    Attributes:
        theorem, name: Which goal.
        means: "z3", "cvc5", "bitwuzla", "witness", "spread" or "core".
        text: SMT-LIB text.
        sources: Sources of the kernel in question; empty for the one that ships.
    """

    theorem: str
    name: str
    means: str
    text: str
    sources: Sources = ()


def tasks_of(goal: Goal, sources: Sources = (), studied: bool = False) -> list[Task]:
    """Return a task for each means by which a goal is discharged; and, if studied, for its spread and its
    core."""
    text = goal.text()
    means = (*goal.means, *STUDIES) if studied and "z3" in goal.means else goal.means
    return [Task(goal.theorem, goal.name, one, text, sources) for one in means]


def sources_of(kernel: Kernel) -> Sources:
    """Return what a worker needs to make a kernel again; empty if it is the one that ships."""
    shipped = shipped_kernel().sources
    return tuple((name, text) for name, text in sorted(kernel.sources.items()) if text != shipped[name])


def perform(task: Task) -> Discharge:
    """Discharge one task."""
    if task.means == "witness":
        return find_witnesses(_subject(task.sources), task.theorem, task.name)
    return _MEANS[task.means](task.text)


@functools.lru_cache(maxsize=2)
def _subject(sources: Sources) -> Subject:
    return Subject(kernel_from(**dict(sources)) if sources else shipped_kernel())
