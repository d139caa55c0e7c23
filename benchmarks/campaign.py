r"""Every optimizer on every scenario: mean regret ×1000, unsafe cycles, settling, wear and cost.

The scenarios are in `scenarios.py`; each run goes through the real controller and kernel, one measurement a
cycle. `--engine` adds the CAL engine: the fold inside the range, Ψ that drifts towards it and that jumps,
latency and partition shocks, and a recorded trace, with limits calibrated on it, where `--trace` names one.

    python benchmarks/attunement.py --seeds 10 --first-seed 7000 --workers 2 --plots docs/figures \
        --page docs/optimizers.md
    python benchmarks/attunement.py --method supervisor --seeds 2000 --scheduler dask

`--scheduler dask` starts a local cluster, and `--scheduler tcp://host:8786` uses one that runs, whose workers
have this repository on their path (extra `cluster`). BoTorch takes part where it is installed (extra
`rivals`), at some hundred milliseconds a cycle.
"""

import argparse
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from statistics import fmean, median
from typing import Any

import attrs
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from attunement.config_schema import Config, Shock
from attunement.trace import TraceError
from benchmarks import fold, foreign, trace
from benchmarks.scenarios import CYCLES, SCENARIOS, Run, simulate

METHODS = ("hold", "gradient", "pid", "slsqp", "extremum_seeking", "safe_gp", "kalman", "supervisor")
ALL = (*METHODS, *foreign.installed())
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
MARK = "<!-- measured: benchmarks/attunement.py --page -->"
LEAST = 0.05
"""Regret ×1000 below which a ratio tells nothing."""
Task = tuple[str, str, int, int]


@attrs.frozen
class Cell:
    """One method on one scenario over all seeds; regret ×1000, settling in cycles, wear ×10⁴ per cycle."""

    method: str
    scenario: str
    regret: float
    worst: float
    bold: float | None
    unsafe: int
    unsafe_by_kernel: int
    committed_unsafe: int
    latched: int
    settled: float
    settled_95: float
    after_event: float | None
    wear: float
    milliseconds: float


def one(task: Task) -> Run:
    """Run one task of the campaign."""
    method, scenario, seed, cycles = task
    return simulate(method, BY_NAME[scenario], seed, cycles)


def gathered(runs: Sequence[Run]) -> Cell:
    """Return what the runs of one method on one scenario come to."""
    scenario = BY_NAME[runs[0].scenario]
    best = lru_cache(maxsize=None)(scenario.best)
    settled = sorted(run.settled(best, 0) for run in runs)
    event = scenario.event
    after = median(run.settled(best, event) for run in runs) if 0 < event < len(runs[0].regrets) else None
    regrets = [1000.0 * run.regret for run in runs]
    return Cell(
        method=runs[0].method,
        scenario=scenario.name,
        regret=fmean(regrets),
        worst=max(regrets),
        bold=scenario.bold,
        unsafe=max(run.unsafe for run in runs),
        unsafe_by_kernel=max(run.measured_unsafe for run in runs),
        committed_unsafe=sum(run.committed_unsafe for run in runs),
        latched=sum(run.latched for run in runs),
        settled=median(settled),
        settled_95=settled[math.ceil(0.95 * len(settled)) - 1],
        after_event=after,
        wear=1e4 * fmean(run.variation for run in runs),
        milliseconds=1000.0 * fmean(run.seconds / len(run.regrets) for run in runs),
    )


def cells(runs: Iterable[Run]) -> list[Cell]:
    """Gather runs by method and scenario."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.scenario, run.method), []).append(run)
    return [gathered(group) for group in groups.values()]


def comparison(found: Sequence[Cell]) -> Table:
    """Draw mean regret ×1000 of every method on every scenario, and the unsafe cycles of its worst seed."""
    methods = list(dict.fromkeys(cell.method for cell in found))
    table = Table("scenario", "to reach", *methods)
    for name in dict.fromkeys(cell.scenario for cell in found):
        row = {cell.method: cell for cell in found if cell.scenario == name}
        shown = [_shown(row[method]) if method in row else "" for method in methods]
        bold = BY_NAME[name].bold
        table.add_row(name, "" if bold is None else f"{bold:g}", *shown)
    means = [_mean_ratio([cell for cell in found if cell.method == method]) for method in methods]
    table.add_row("geometric mean of the ratios", "1.0", *means, style="bold")
    return table


def _shown(cell: Cell) -> str:
    return f"{cell.regret:.2f}" + (f", {cell.unsafe} unsafe" if cell.unsafe else "")


def _mean_ratio(found: Sequence[Cell]) -> str:
    ratios = [math.log(max(cell.regret, LEAST) / cell.bold) for cell in found if cell.bold]
    return f"{math.exp(fmean(ratios)):.2f}" if ratios else ""


def details(found: Sequence[Cell], method: str) -> Table:
    """Draw everything measured of one method."""
    columns = (
        "scenario",
        "regret ×1000",
        "worst seed",
        "to reach",
        "ratio",
        "unsafe",
        "unsafe to the kernel",
    )
    rest = (
        "committed unsafe",
        "latched",
        "settled, median",
        "95 %",
        "after the step",
        "wear ×10⁴",
        "ms a cycle",
    )
    table = Table(*columns, *rest, title=method)
    for cell in found:
        if cell.method != method:
            continue
        bold = ("", "") if cell.bold is None else (f"{cell.bold:g}", f"{cell.regret / cell.bold:.2f}")
        event = "" if cell.after_event is None else f"{cell.after_event:g}"
        counts = (cell.unsafe, cell.unsafe_by_kernel, cell.committed_unsafe, cell.latched)
        table.add_row(
            cell.scenario,
            f"{cell.regret:.2f}",
            f"{cell.worst:.2f}",
            *bold,
            *map(str, counts),
            f"{cell.settled:g}",
            f"{cell.settled_95:g}",
            event,
            f"{cell.wear:.0f}",
            f"{cell.milliseconds:.2f}",
        )
    return table


def engine_cases(folder: Path | None) -> dict[str, Config]:
    """Return what the CAL engine is shown, by name."""
    base = fold.configured("hold", 0)
    usual, low = base.source, attrs.evolve(base.source, psi=0.75)
    sources = {
        "fold in range": usual,
        "Ψ drifts towards the fold": attrs.evolve(low, shocks=(Shock("drift", 300, 600, 1.3),)),
        "Ψ jumps by 30 %": attrs.evolve(low, shocks=(Shock("psi", 400, 400, 1.3),)),
        "latency": attrs.evolve(usual, shocks=(Shock("latency", 400, 200, 3.0, 0.3),)),
        "partition": attrs.evolve(usual, shocks=(Shock("partition", 400, 200, 0.5, 0.3),)),
    }
    cases = {name: attrs.evolve(base, source=source) for name, source in sources.items()}
    if folder is not None:
        cases["trace, calibrated"] = trace.calibrated(folder)
    return cases


def on_engine(task: tuple[str, Config, str, int, int]) -> tuple[str, fold.Run]:
    """Run one optimizer on the CAL engine."""
    name, case, method, seed, cycles = task
    # A trace is the same for every seed, and so is the engine that it was calibrated on.
    configure = fold.chosen if case.source.kind == "trace" else fold.seeded
    return name, fold.attuned(configure(case, method, seed), cycles)


def mapped(scheduler: str, workers: int, work: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
    """Yield the results in the order of the tasks, from this machine's processes or from Dask."""
    if scheduler == "processes" and workers == 1:
        yield from map(work, tasks)
    elif scheduler == "processes":
        with ProcessPoolExecutor(workers) as pool:
            yield from pool.map(work, tasks)
    else:
        # Of the extra `cluster`: whoever does without Dask does not need it installed.
        from distributed import Client, LocalCluster

        settings = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None}
        where = LocalCluster(**settings) if scheduler == "dask" else nullcontext(scheduler)
        with where as cluster, Client(cluster) as client:
            yield from (future.result() for future in client.map(work, tasks))


def draw(runs: Sequence[Run], folder: Path) -> None:
    """Draw α of the first seed, and the cumulated regret over all seeds, of every scenario."""
    # Of the extra `plot`.
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "attunement"
    from matplotlib import pyplot

    names = list(dict.fromkeys(run.scenario for run in runs))
    methods = list(dict.fromkeys(run.method for run in runs))
    for file, title in (("optimizers_alpha", "α, first seed"), ("optimizers_regret", "regret so far, mean")):
        rows = math.ceil(len(names) / 3)
        figure, axes = pyplot.subplots(rows, 3, figsize=(13, 2.4 * rows), squeeze=False, layout="constrained")
        for axis in axes.flat[len(names) :]:
            axis.set_axis_off()
        for name, axis in zip(names, axes.flat, strict=False):
            for number, method in enumerate(methods):
                group = [run for run in runs if run.scenario == name and run.method == method]
                if not group:
                    continue
                drawn = group[0].alphas if file == "optimizers_alpha" else _cumulated(group)
                axis.plot(drawn, lw=0.9, color=f"C{number}", label=method)
            axis.set_title(name, fontsize=9)
        figure.legend(
            *axes.flat[0].get_legend_handles_labels(), loc="outside upper right", ncols=len(methods)
        )
        figure.suptitle(title, x=0.02, ha="left", fontsize=10)
        figure.savefig(folder / f"{file}.svg", metadata={"Date": None})
        pyplot.close(figure)


def _cumulated(runs: Sequence[Run]) -> list[float]:
    total, sums = 0.0, []
    for figures in zip(*(run.regrets for run in runs), strict=True):
        total += fmean(figures)
        sums.append(total)
    return sums


def around_the_marks(page: Path) -> tuple[str, str]:
    """Return what stands before a page's two marks and after them.

    Raises:
        ValueError: the page does not have both.
        OSError: it cannot be read.
    """
    before, _, rest = page.read_text(encoding="utf-8").partition(MARK)
    between, _, after = rest.partition(MARK)
    if between and MARK not in after:
        return before, after
    raise ValueError(f"{page} must hold the line {MARK} twice")


def put_into_page(page: Path, told: str, tables: Sequence[Table]) -> None:
    """Replace what stands between a page's two marks by tables, in Markdown; errors of `around_the_marks`."""
    text = io.StringIO()
    console = Console(file=text, width=1000)
    for table in tables:
        title, table.title, table.box = table.title, None, box.MARKDOWN
        console.print(f"\n**{title}**\n" if title else "")
        console.print(table)
    before, after = around_the_marks(page)
    lines = "\n".join(line.strip() for line in text.getvalue().splitlines())
    page.write_text(f"{before}{MARK}\n\n{told}\n{lines}\n\n{MARK}{after}", encoding="utf-8")


def parsed() -> argparse.Namespace:
    """Return the options, and the cases of the CAL engine.

    What would fail after the run is told before it: a trace that cannot be read, a page without its marks, a
    folder that is not there.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cycles", type=int, default=CYCLES)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--method", action="append", choices=ALL)
    parser.add_argument("--scenario", action="append", choices=list(BY_NAME))
    parser.add_argument("--workers", type=int, default=1, help="processes, here or of the local Dask cluster")
    parser.add_argument("--scheduler", default="processes", help="processes, dask, or a scheduler's address")
    parser.add_argument("--engine", action="store_true", help="run on the CAL engine as well")
    parser.add_argument("--trace", type=Path, help="folder of a recorded trace, for the CAL engine")
    parser.add_argument("--json", type=Path, help="write every figure to this file as well")
    parser.add_argument("--plots", type=Path, help="draw to this folder as well")
    parser.add_argument("--page", type=Path, help="put the tables between this page's two marks as well")
    options = parser.parse_args()
    if options.trace is not None and not options.engine:
        parser.error("--trace adds rows to those of --engine")
    for option, folder in (("--plots", options.plots), ("--json", options.json and options.json.parent)):
        if folder is not None and not folder.is_dir():
            parser.error(f"{option}: {folder} is no folder")
    try:
        options.cases = engine_cases(options.trace) if options.engine else {}
        if options.page is not None:
            around_the_marks(options.page)
    except (TraceError, ValueError, OSError) as error:
        parser.error(str(error))
    return options


def main() -> None:
    """Run the campaign, print the tables, and draw."""
    options, console = parsed(), Console(width=220)
    methods, scenarios = options.method or ALL, options.scenario or list(BY_NAME)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    tasks: list[Task] = [(m, s, seed, options.cycles) for s in scenarios for m in methods for seed in seeds]
    with Progress(console=Console(stderr=True)) as progress:
        answers = mapped(options.scheduler, options.workers, one, tasks)
        runs = list(progress.track(answers, total=len(tasks), description="scenarios"))
    found = cells(runs)
    tables = [comparison(found), *(details(found, method) for method in methods)]
    if options.json is not None:
        text = json.dumps([attrs.asdict(cell) for cell in found], indent=1, ensure_ascii=False)
        options.json.write_text(text + "\n", encoding="utf-8")
    if options.plots is not None:
        draw(runs, options.plots)
    if options.cases:
        engine_tasks = [
            (name, case, m, seed, max(options.cycles, 1000))
            for name, case in options.cases.items()
            for m in methods
            if m in METHODS
            for seed in seeds
        ]
        with Progress(console=Console(stderr=True)) as progress:
            answers = mapped(options.scheduler, options.workers, on_engine, engine_tasks)
            results = list(progress.track(answers, total=len(engine_tasks), description="CAL engine"))
        for name in options.cases:
            tables.append(fold.table(run for case, run in results if case == name))
            tables[-1].title = f"CAL engine, {name}"
    for table in tables:
        console.print(table)
    if options.page is not None:
        told = f"{len(seeds)} seeds from {options.first_seed}, {options.cycles} cycles."
        put_into_page(options.page, told, tables)
