"""`python -m proofs.mutation`: change the rules and limits in every small way; each change must fail.

Writes `proofs/mutation.json`, which is the same for the same kernel on every machine, and prints a table by
kind of change. Exit 1 if a mutant survives: no theorem fails, and it is not proved equivalent.
"""

import itertools
import json
import resource
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import attrs
import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from proofs.judging import Fate, Judgement, judge
from proofs.mutants import KINDS, Mutant, mutants_of
from proofs.source import Kernel, shipped_kernel
from proofs.workers import run_all

REPORT = Path(__file__).with_name("mutation.json")
NO_BEHAVIOUR = "docstrings, annotations, type aliases, imports and typed fields"
EQUIVALENT_MEANS = (
    "on every event that uses the changed definition, for all limits, states and inputs that satisfy the "
    "hypotheses: the same state after, outcome and checks; every other event is the same code"
)

BATCH = 64
BATCH_DEADLINE_S = 500.0
MEMORY_MOST = 3 * 2**30
"""Bytes of address space of one worker process."""


@attrs.frozen
class Mutation:
    """A mutation run: every mutant of a kernel with its fate, in the order of the source."""

    digest: str
    judged: tuple[tuple[Mutant, Judgement], ...]

    @property
    def survivors(self) -> tuple[tuple[Mutant, Judgement], ...]:
        """The mutants that nothing has caught."""
        return self.having(Fate.SURVIVOR)

    def having(self, fate: Fate) -> tuple[tuple[Mutant, Judgement], ...]:
        """Return the mutants of one fate."""
        return tuple(pair for pair in self.judged if pair[1].fate is fate)

    def counts(self, kind: str | None = None) -> dict[str, int]:
        """Return the number of mutants, in all and by fate, of one kind of change or of all."""
        fates = Counter(verdict.fate for mutant, verdict in self.judged if kind in (None, mutant.kind))
        return {"mutants": fates.total(), **{fate.value: fates[fate] for fate in Fate}}

    def report(self) -> dict[str, Any]:
        """Return the run as JSON's types."""
        kills = Counter(verdict.by for _, verdict in self.having(Fate.KILLED))
        refusals = Counter(verdict.by.partition(":")[0] for _, verdict in self.having(Fate.REFUSED))
        return {
            "kernel": self.digest,
            "not_mutated": NO_BEHAVIOUR,
            "equivalent_means": EQUIVALENT_MEANS,
            "score": score(self.counts()),
            "counts": self.counts(),
            "kinds": {kind: self.counts(kind) for kind in KINDS},
            "killed_by": dict(sorted(kills.items())),
            "refused_by": dict(sorted(refusals.items())),
            "equivalent": _listed(self.having(Fate.EQUIVALENT)),
            "survivors": _listed(self.survivors),
        }


def score(counts: dict[str, int]) -> str:
    """Return how many of the mutants that differ in behaviour were caught, as text."""
    different = counts["mutants"] - counts["equivalent"]
    caught = counts["killed"] + counts["refused"]
    return f"{caught} of {different}"


def judge_within_memory(mutants: Sequence[Mutant]) -> list[Judgement]:
    """Judge mutants in a process of its own: a solver on a broken kernel might take all memory there is."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MOST, resource.getrlimit(resource.RLIMIT_AS)[1]))
    return judge(mutants)


def mutate(kernel: Kernel, mutants: Sequence[Mutant], progress: Callable[[int], None]) -> Mutation:
    """Judge mutants of the shipped kernel in worker processes; a batch that is not answered has survived."""
    batches = [
        list(batch)
        for _, several in itertools.groupby(mutants, key=lambda mutant: (mutant.module, mutant.definition))
        for batch in _batches(several)
    ]
    found: dict[int, list[Judgement]] = {}
    for answer in run_all(judge_within_memory, batches, deadline_s=BATCH_DEADLINE_S):
        batch = batches[answer.index]
        lost = [Judgement(Fate.SURVIVOR, f"not judged: {answer.failure}")] * len(batch)
        found[answer.index] = answer.value or lost
        progress(len(batch))
    judged = (zip(batch, found[index], strict=True) for index, batch in enumerate(batches))
    return Mutation(kernel.digest, tuple(itertools.chain.from_iterable(judged)))


def render_table(mutation: Mutation) -> Table:
    """Return the counts by kind of change as a table for a terminal."""
    table = Table(title="Mutants of kernel/rules.py and kernel/limits.py", show_footer=True)
    total = mutation.counts()
    table.add_column("change", "all")
    for name, count in total.items():
        table.add_column(name, str(count), justify="right")
    for kind in KINDS:
        table.add_row(kind, *map(str, mutation.counts(kind).values()))
    table.caption = f"caught: {score(total)} that differ; not mutated: {NO_BEHAVIOUR}"
    return table


def details(mutation: Mutation) -> str:
    """Return one line for every mutant, and under it the call that breaks the claim."""
    lines = []
    for mutant, verdict in mutation.judged:
        lines.append(f"{mutant.name}\n    {verdict.fate.value}: {verdict.by}")
        lines += [f"    {verdict.call}"] if verdict.call else []
    return "\n".join(lines) + "\n"


@click.command()
@click.option("--details", "path", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Write every mutant with its fate and the call that kills it.")  # fmt: skip
def main(path: Path | None) -> None:
    """Mutate the shipped kernel's rules and limits; exit 1 if a mutant survives."""
    kernel = shipped_kernel()
    mutants = mutants_of(kernel)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("mutants", total=len(mutants))
        mutation = mutate(kernel, mutants, lambda done: bar.advance(task, done))
    text = json.dumps(mutation.report(), indent=1, ensure_ascii=False, allow_nan=False)
    REPORT.write_text(text + "\n", encoding="utf-8")
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(details(mutation), encoding="utf-8")
    Console(width=120).print(render_table(mutation))
    for mutant, verdict in mutation.survivors:
        click.echo(f"survivor: {mutant.name}\n  {verdict.by}", err=True)
    sys.exit(1 if mutation.survivors else 0)


def _batches(mutants: Iterable[Mutant]) -> Iterable[tuple[Mutant, ...]]:
    several = iter(mutants)
    while batch := tuple(itertools.islice(several, BATCH)):
        yield batch


def _listed(pairs: Iterable[tuple[Mutant, Judgement]]) -> list[dict[str, str]]:
    return [{"mutant": mutant.name, "by": verdict.by} for mutant, verdict in pairs]


if __name__ == "__main__":
    main()
