"""Does attuning raise Ĉ on recorded telemetry, within limits calibrated on that telemetry?

A baseline at α = 1 is measured on the trace and its limits are accepted as proposed; then each optimizer runs
over the trace from its beginning, and so does α held at 1. One CSV file (timestamp,value) is one node.

    python benchmarks/trace.py --folder ../shared/data/ec2_cpu
"""

import sys
from pathlib import Path

# A script's own folder comes first on the path, where attunement.py would hide the package of its name.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

import argparse
from concurrent.futures import ProcessPoolExecutor

import attrs
from rich.console import Console
from rich.progress import Progress

from attunement.build import build_engine
from attunement.calibrate import calibrate
from attunement.config_schema import Config
from attunement.trace import TraceError
from benchmarks.fold import LAST, Run, attuned, chosen, table

OPTIMIZERS = ("hold", "gradient", "pid", "slsqp", "supervisor")


def calibrated(folder: Path) -> Config:
    """Return a configuration for the trace with the limits that calibration proposes."""
    base = Config()
    source = attrs.evolve(base.source, kind="trace", folder=str(folder))
    config = attrs.evolve(base, settle_delay=0.0, source=source)
    baseline = calibrate(build_engine(config), cycles=1000, step=config.delta_alpha_max)
    safety = attrs.evolve(
        config.safety,
        entropy_max=baseline.entropy_max,
        entropy_severe=baseline.entropy_severe,
        h_internal_min=baseline.h_internal_min,
        h_internal_severe=baseline.h_internal_severe,
    )
    return attrs.evolve(config, safety=safety)


def one(task: tuple[Config, str, int, int]) -> Run:
    """Run one optimizer over the trace."""
    config, optimizer, seed, cycles = task
    return attuned(chosen(config, optimizer, seed), cycles)


def main() -> None:
    """Run the campaign and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("../shared/data/ec2_cpu"))
    parser.add_argument("--cycles", type=int, default=4000)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    try:
        config = calibrated(options.folder)
    except TraceError as error:
        parser.error(str(error))
    tasks = [(config, name, seed, options.cycles) for name in OPTIMIZERS for seed in range(options.seeds)]
    with ProcessPoolExecutor() as pool, Progress(console=Console(stderr=True)) as progress:
        runs = list(progress.track(pool.map(one, tasks), total=len(tasks), description="running"))
    safety = config.safety
    console = Console(width=200)
    console.print(f"calibrated: entropy_max {safety.entropy_max:.3g}, H_min {safety.h_internal_min:.4f}")
    console.print(f"means over the last {LAST} cycles")
    console.print(table(runs))


if __name__ == "__main__":
    main()
