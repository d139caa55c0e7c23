"""The command that says what attunement would do, or would have done on a recorded session."""

import json
import tempfile
from pathlib import Path
from typing import Any

import attrs
import click
from rich.console import Console
from rich.table import Table

from attunement.cli_common import FilePath, config_option, configuration, json_option, unverified_option
from attunement.config_schema import Config
from attunement.counterfactual import Counterfactual, compare
from attunement.counterfactual_plot import draw_html, draw_png
from attunement.dry_run import DRY_RUN_CYCLES, compare_with_hold
from attunement.printing import tell
from attunement.recording import read_recording


@click.command("dry-run")
@config_option
@click.option(
    "--cycles", type=click.IntRange(min=1), help="Length of the run, instead of the configuration's."
)
@click.option("--trace", type=FilePath(), help="Run a session again that `run --record` recorded.")
@click.option("--png", type=FilePath(), help="With --trace: draw to this file.")
@click.option("--html", type=FilePath(), help="With --trace: draw to this file.")
@unverified_option
@json_option
def dry_run_command(
    config_path: Path | None,
    cycles: int | None,
    trace: Path | None,
    png: Path | None,
    html: Path | None,
    allow_unverified: bool,
    as_json: bool,
) -> None:
    """Attune in a scratch folder and compare with α held; the configured ledger is not touched.

    With --trace the features and Ψ are those of a recorded session, and the engine is the recorded one;
    limits and optimizer are the configuration's. What is recorded, what is computed and what cannot be known
    is said beside the figures.

    Example: lambda-attunement dry-run --trace monday.parquet --set optimizer.name=pid --html monday.html
    """
    config = configuration(config_path)
    if trace is None and not (png is None and html is None):
        raise click.UsageError("--png and --html draw a session that --trace names")
    with tempfile.TemporaryDirectory(prefix="lambda-attunement-") as scratch:
        if trace is None:
            _without_trace(config, cycles, Path(scratch), allow_unverified, as_json)
            return
        told = compare(read_recording(trace), config, cycles, Path(scratch), allow_unverified)
    for path, draw in ((png, draw_png), (html, draw_html)):
        if path is not None:
            draw(told, path)
            tell(f"drawn: {path}")
    if as_json:
        click.echo(json.dumps(told.as_json(), ensure_ascii=False, allow_nan=False))
    else:
        _print(told)


def _without_trace(
    config: Config, cycles: int | None, scratch: Path, allow_unverified: bool, as_json: bool
) -> None:
    total = cycles or config.cycles or DRY_RUN_CYCLES
    compared = compare_with_hold(attrs.evolve(config, settle_delay=0.0), total, scratch, allow_unverified)
    if as_json:
        click.echo(json.dumps(attrs.asdict(compared), allow_nan=False))
        return
    table = Table("", "α held", "attuned", title=f"{total} cycles, last quarter")
    for name, held, attuned in compared.rows():
        table.add_row(name, held, attuned)
    Console().print(table)


def _print(told: Counterfactual) -> None:
    summaries = [track.summary(told.entropy_max, told.h_internal_min) for track in told.tracks]
    table = Table("", *(track.name for track in told.tracks))
    for name in summaries[0]:
        table.add_row(name.replace("_", " "), *(_shown(summary[name]) for summary in summaries))
    Console().print(table)
    for line in told.said:
        click.echo(line)


def _shown(figure: Any) -> str:
    if figure is None:
        return "not measured"
    if isinstance(figure, dict):
        return ", ".join(f"{name} {count}" for name, count in figure.items()) or "none"
    return f"{figure:.6f}" if isinstance(figure, float) else str(figure)
