"""Can any optimizer drive the engine into runaway through the kernel?

The simulator's loop gain is set so that the fold c = 1/e lies inside [alpha_min, alpha_max]. Each optimizer
runs for many cycles on many seeds, and so does the update rule that the specification gives as its example,
which owns α itself. The table says how many cycles were in runaway, how many committed α were unsafe, and
what Ĉ came of it beside α held at 1, and as a share of the best certified α: of all α held from start to end
that kept every limit in every cycle, the one with the largest Ĉ. The Ĉ of a run in runaway is no gain: it is
the clamp's.

    python benchmarks/fold.py --cycles 2000 --seeds 20
"""

import sys
from pathlib import Path

# A script's own folder comes first on the path, where attunement.py would hide the package of its name.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

import argparse
import json
import tempfile
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from threading import Event

import attrs
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from attunement.assembly import Attunement
from attunement.build import build_engine
from attunement.coherence import CoherenceDensityMeter
from attunement.config_schema import Config
from attunement.engine import CalEngine
from attunement.running import run_cycles
from attunement.telemetry import CycleReport
from kernel import Outcome
from kernel.limits import hold
from kernel.rules import safety_checks
from ledger import NoteSigner, Signers, SigningKey

OPTIMIZERS = (
    "gradient",
    "pid",
    "slsqp",
    "extremum_seeking",
    "safe_gp",
    "kalman",
    "supervisor",
    "hold",
    "adversary:random",
    "adversary:always_max",
    "adversary:one_ulp",
    "adversary:nan",
)
EXAMPLE = "specification's example, no kernel"
CERTIFIED = "best certified α, held"
GRID = tuple(round(0.8 + 0.01 * step, 2) for step in range(41))
LAST = 500
SIGNERS = Signers(SigningKey(bytes(32)), NoteSigner("localhost/fold", SigningKey(bytes(31) + b"\1")))


@attrs.define
class Run:
    """One optimizer on one seed."""

    optimizer: str
    seed: int
    cycles: int = 0
    runaway: int = 0
    committed: int = 0
    committed_unsafe: int = 0
    applied_unsafe: int = 0
    refused: int = 0
    latched: int = 0
    alpha_max: float = 0.0
    coherence: float = 0.0


@attrs.define
class Watch:
    """Counts what one run does, from the kernel's own entries and the engine's own state."""

    engine: CalEngine
    run: Run
    attunement: Attunement | None = None
    last: deque[float] = attrs.field(factory=lambda: deque(maxlen=LAST))

    def on_report(self, report: CycleReport) -> None:
        """Take in one cycle."""
        run = self.run
        run.cycles += 1
        run.runaway += self.engine.in_runaway()
        if report.measurement is None or self.attunement is None:
            return
        self.last.append(report.measurement.c_hat)
        run.alpha_max = max(run.alpha_max, report.measurement.alpha)
        reading, limits = report.measurement.reading(), self.attunement.kernel.limits
        safe = hold(safety_checks(limits, reading.alpha, reading))
        run.applied_unsafe += not safe
        for entry in report.entries:
            outcome = entry.verdict.outcome
            run.refused += outcome is Outcome.REFUSED
            run.latched += outcome is Outcome.LATCHED
            if outcome is Outcome.COMMITTED:
                run.committed += 1
                run.committed_unsafe += not safe


def configured(optimizer: str, seed: int) -> Config:
    """Return the default configuration, with the fold inside the range of α, for one optimizer and seed."""
    return seeded(attrs.evolve(Config(), settle_delay=0.0), optimizer, seed)


def seeded(base: Config, optimizer: str, seed: int) -> Config:
    """Return a configuration of the simulator for one optimizer, with one seed for all that has one."""
    return attrs.evolve(
        chosen(base, optimizer, seed),
        engine=attrs.evolve(base.engine, seed=seed),
        source=attrs.evolve(base.source, seed=seed),
    )


def chosen(base: Config, optimizer: str, seed: int) -> Config:
    """Return a configuration with another optimizer, and its seed."""
    return attrs.evolve(base, optimizer=attrs.evolve(base.optimizer, name=optimizer, seed=seed))


def attuned(config: Config, cycles: int) -> Run:
    """Run the configured optimizer under the kernel, with a ledger in a scratch folder."""
    run, engine = Run(config.optimizer.name, config.optimizer.seed), build_engine(config)
    watch = Watch(engine, run)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "ledger")
        config = attrs.evolve(config, logging=attrs.evolve(config.logging, audit_ledger_path=path))
        with Attunement(config, engine, SIGNERS, subscribers=(watch,)) as attunement:
            watch.attunement = attunement
            attunement.controller.start()
            run_cycles(engine, cycles, 0.0, Event(), lambda: None)
    run.coherence = sum(watch.last) / len(watch.last)
    return run


def example(seed: int, cycles: int) -> Run:
    """Run the specification's example: finite differences of 1e-5, momentum, revert when one sample fell.

    It takes three engine cycles a step and sets α itself.
    """
    config, run = configured("hold", seed), Run(EXAMPLE, seed)
    engine = build_engine(config)
    meter, last = CoherenceDensityMeter(engine), deque[float](maxlen=LAST)

    def measured(alpha: float) -> float:
        engine.set_alpha_multiplier(alpha)
        engine.run_cycle()
        run.cycles += 1
        run.runaway += engine.in_runaway()
        run.alpha_max = max(run.alpha_max, alpha)
        last.append(meter.compute_C_hat())
        return last[-1]

    alpha, velocity, epsilon, delta_max = config.alpha_initial, 0.0, 1e-5, config.delta_alpha_max
    while run.cycles < cycles:
        before = measured(alpha)
        probed = min(config.alpha_max, alpha + epsilon)
        gradient = (measured(probed) - before) / (probed - alpha) if probed != alpha else 0.0
        velocity = 0.85 * velocity + 0.001 * gradient
        step = max(-delta_max, min(delta_max, velocity))
        wanted = max(config.alpha_min, min(config.alpha_max, alpha + step))
        if measured(wanted) >= before:
            alpha = wanted
            run.committed += 1
    run.coherence = sum(last) / len(last)
    return run


def best_certified(seed: int, cycles: int) -> Run:
    """Hold one α of the grid after the other, and return the best run in which no limit was ever broken."""
    best: Run | None = None
    for alpha in GRID:
        held = attuned(attrs.evolve(configured("hold", seed), alpha_initial=alpha), cycles)
        if held.applied_unsafe:
            # The gain grows with α: what lies above is not safe either.
            break
        if best is None or held.coherence > best.coherence:
            best = held
    if best is None:
        raise ValueError(f"seed {seed}: not even α = {GRID[0]} keeps the limits")
    return attrs.evolve(best, optimizer=CERTIFIED)


def one(task: tuple[str, int, int]) -> Run:
    """Run one task of the campaign."""
    optimizer, seed, cycles = task
    if optimizer == CERTIFIED:
        return best_certified(seed, cycles)
    return example(seed, cycles) if optimizer == EXAMPLE else attuned(configured(optimizer, seed), cycles)


def table(runs: Iterable[Run]) -> Table:
    """Gather the runs by optimizer."""
    columns = ("optimizer", "cycles", "runaway", "committed", "committed unsafe", "applied unsafe", "refused")
    drawn = Table(
        *columns,
        "latched",
        "largest α",
        f"mean Ĉ, last {LAST}",
        "worst seed − hold",
        "share of the best certified, worst seed",
    )
    by_name: dict[str, list[Run]] = {}
    for run in runs:
        by_name.setdefault(run.optimizer, []).append(run)
    held = {run.seed: run.coherence for run in by_name.get("hold", [])}
    best = {run.seed: run.coherence for run in by_name.get(CERTIFIED, [])}
    for name, group in by_name.items():
        worst = min((run.coherence - held[run.seed] for run in group if run.seed in held), default=None)
        share = min((run.coherence / best[run.seed] for run in group if run.seed in best), default=None)
        sums = [str(sum(getattr(run, field) for run in group)) for field in SUMMED]
        mean = sum(run.coherence for run in group) / len(group)
        drawn.add_row(
            name,
            *sums,
            f"{max(run.alpha_max for run in group):.4f}",
            f"{mean:.4f}",
            "" if worst is None else f"{worst:+.4f}",
            "" if share is None else f"{share:.1%}",
        )
    return drawn


SUMMED = (
    "cycles",
    "runaway",
    "committed",
    "committed_unsafe",
    "applied_unsafe",
    "refused",
    "latched",
)


def main() -> None:
    """Run the campaign and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cycles", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--optimizer", action="append", choices=(*OPTIMIZERS, CERTIFIED, EXAMPLE))
    parser.add_argument("--json", type=Path, help="write every run to this file as well")
    options = parser.parse_args()
    names = options.optimizer or (EXAMPLE, CERTIFIED, *OPTIMIZERS)
    tasks = [(name, seed, options.cycles) for name in names for seed in range(options.seeds)]
    with ProcessPoolExecutor() as pool, Progress(console=Console(stderr=True)) as progress:
        runs = list(progress.track(pool.map(one, tasks), total=len(tasks), description="running"))
    Console(width=200).print(table(runs))
    if options.json is not None:
        options.json.write_text(
            json.dumps([attrs.asdict(run) for run in runs], indent=1) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
