"""The commands that list the optimizers, and hold them against scenarios."""

import json
from collections.abc import Sequence
from math import exp, log
from pathlib import Path
from statistics import fmean
from typing import Any

import attrs
import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from attunement.cli_common import config_option, configuration, json_option, progress_bar
from attunement.config_schema import Config
from attunement.foreign import printable
from attunement.scenarios import SCENARIOS, Scenario, Score, score
from optimizers import NAMES
from optimizers.plugins import plugins

_BENCHED = tuple(name for name in NAMES if not name.startswith("adversary:"))
_LEAST_REGRET = 0.05
"""Regret ×1000 below which a ratio tells nothing."""

_scenario_option = click.option(
    "--scenario",
    "scenario_names",
    multiple=True,
    type=click.Choice([scenario.name for scenario in SCENARIOS]),
    help="Only this scenario; may be given again.",
)
_cycles_option = click.option(
    "--cycles",
    type=click.IntRange(min=10, max=100_000),
    default=300,
    show_default=True,
    help="Length of each run.",
)
_seeds_option = click.option(
    "--seeds",
    type=click.IntRange(min=1, max=1000),
    default=2,
    show_default=True,
    help="Runs of each optimizer on each scenario, seeds counted from 0.",
)
_isolate_option = click.option(
    "--isolate", is_flag=True, help="Run each optimizer in a process of its own, with limits."
)


@click.group("optimizers")
def optimizers_group() -> None:
    """List the optimizers that can be chosen, and hold them against scenarios."""


@optimizers_group.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """List the optimizers of this package and of others; nothing of the others is imported.

    Example: lambda-attunement optimizers list --json
    """
    rows = [{"name": name, "package": "built in", "source": "", "usable": True} for name in NAMES]
    found = plugins()
    for plugin in found:
        usable = plugin.name not in NAMES and sum(one.name == plugin.name for one in found) == 1
        rows.append({**attrs.asdict(plugin), "usable": usable})
    if as_json:
        click.echo(json.dumps(rows))
        return
    table = Table("name", "package", "loaded from", "can be chosen")
    for row in rows:
        cells = (printable(str(row[key])) for key in ("name", "package", "source"))
        table.add_row(*map(Text, cells), "yes" if row["usable"] else "no, the name is taken")
    Console().print(table)


@optimizers_group.command()
@click.argument("names", nargs=-1)
@config_option
@_scenario_option
@_cycles_option
@_seeds_option
@_isolate_option
@json_option
def bench(
    names: tuple[str, ...],
    config_path: Path | None,
    scenario_names: tuple[str, ...],
    cycles: int,
    seeds: int,
    isolate: bool,
    as_json: bool,
) -> None:
    """Run optimizers NAMES (all of this package if none is named) on scenarios, under the real kernel.

    Example: lambda-attunement optimizers bench supervisor --scenario cliff --seeds 5
    """
    config = _config(config_path, isolate)
    scores = _scores(names or _BENCHED, _chosen(scenario_names), seeds, cycles, config)
    if as_json:
        click.echo(json.dumps([attrs.asdict(one) for one in scores], allow_nan=False))
        return
    columns = ("regret ×1000", "unsafe", "unsafe commits", "refused", "cycle [ms]", "α at the end")
    table = Table("scenario", "optimizer", *columns, title=f"{cycles} cycles, mean of {seeds} seeds")
    for (scenario, name), group in _grouped(scores).items():
        table.add_row(
            scenario,
            Text(printable(name)),
            f"{fmean(one.regret for one in group):.2f}",
            f"{fmean(one.unsafe for one in group):.1f}",
            str(sum(one.unsafe_commits for one in group)),
            f"{fmean(one.refused for one in group):.1f}",
            f"{fmean(one.cycle_ms for one in group):.2f}",
            f"{fmean(one.final_alpha for one in group):.4f}",
        )
    Console().print(table)


@optimizers_group.command()
@click.argument("names", nargs=-1, required=True)
@config_option
@_scenario_option
@_cycles_option
@_seeds_option
@_isolate_option
@json_option
def compare(
    names: tuple[str, ...],
    config_path: Path | None,
    scenario_names: tuple[str, ...],
    cycles: int,
    seeds: int,
    isolate: bool,
    as_json: bool,
) -> None:
    """Compare two or more optimizers NAMES on the same seeds: regret of each, and its ratio to the first's.

    Example: lambda-attunement optimizers compare supervisor half-step --seeds 5 --isolate
    """
    if len(set(names)) != len(names) or not len(names) >= 2:
        raise click.UsageError(f"NAMES are {', '.join(names)}, must be two or more different ones")
    chosen = _chosen(scenario_names)
    grouped = _grouped(_scores(names, chosen, seeds, cycles, _config(config_path, isolate)))
    rows = [_compared(scenario.name, names, grouped) for scenario in chosen]
    overall = {name: _geometric_mean([row["ratios"][name] for row in rows]) for name in names[1:]}
    if as_json:
        click.echo(json.dumps({"scenarios": rows, "geometric_mean": overall}, allow_nan=False))
        return
    table = Table("scenario", *(escape(printable(name)) for name in names), "best", "seeds won")
    for row in rows:
        cells = [f"{row['regrets'][names[0]]:.2f}"]
        cells += [f"{row['regrets'][name]:.2f} (×{row['ratios'][name]:.2f})" for name in names[1:]]
        table.add_row(row["scenario"], *cells, Text(printable(row["best"])), f"{row['won']} of {seeds}")
    table.add_section()
    table.add_row("geometric mean", "", *(f"×{overall[name]:.2f}" for name in names[1:]), "", "")
    table.caption = "regret ×1000, less is better; × is the ratio to the first"
    Console().print(table)


def _config(path: Path | None, isolate: bool) -> Config:
    config = configuration(path)
    return attrs.evolve(
        config, optimizer=attrs.evolve(config.optimizer, isolate=isolate or config.optimizer.isolate)
    )


def _chosen(names: tuple[str, ...]) -> tuple[Scenario, ...]:
    return tuple(scenario for scenario in SCENARIOS if not names or scenario.name in names)


def _scores(
    names: Sequence[str], scenarios: Sequence[Scenario], seeds: int, cycles: int, config: Config
) -> list[Score]:
    tasks = [(scenario, name, seed) for scenario in scenarios for name in names for seed in range(seeds)]
    with progress_bar() as progress:
        return [
            score(scenario, name, seed, cycles, config)
            for scenario, name, seed in progress.track(tasks, description="running")
        ]


def _grouped(scores: Sequence[Score]) -> dict[tuple[str, str], list[Score]]:
    grouped: dict[tuple[str, str], list[Score]] = {}
    for one in scores:
        grouped.setdefault((one.scenario, one.optimizer), []).append(one)
    return grouped


def _compared(
    scenario: str, names: tuple[str, ...], grouped: dict[tuple[str, str], list[Score]]
) -> dict[str, Any]:
    regrets = {name: fmean(one.regret for one in grouped[scenario, name]) for name in names}
    first = max(regrets[names[0]], _LEAST_REGRET)
    best = min(names, key=lambda name: regrets[name])
    by_seed = zip(*(grouped[scenario, name] for name in names), strict=True)
    return {
        "scenario": scenario,
        "regrets": regrets,
        "ratios": {name: max(regrets[name], _LEAST_REGRET) / first for name in names[1:]},
        "best": best,
        "won": sum(min(group, key=lambda one: one.regret).optimizer == best for group in by_seed),
        "unsafe": {name: sum(one.unsafe for one in grouped[scenario, name]) for name in names},
    }


def _geometric_mean(ratios: Sequence[float]) -> float:
    return exp(fmean(log(ratio) for ratio in ratios))
