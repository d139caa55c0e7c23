"""The commands about the configuration: show it, check it, explain a key, find limits."""

import json
import os
from pathlib import Path

import attrs
import click
from click.shell_completion import CompletionItem
from rich.console import Console
from rich.table import Table
from rich.text import Text

from attunement.asking import release
from attunement.assembly import build_optimizer
from attunement.build import build_engine
from attunement.calibrate import calibrate
from attunement.cli_common import FiniteRange, config_option, configuration, given_flags, json_option
from attunement.config import Loaded, dump, find_option, load_with_origins, plain
from attunement.config_docs import explain
from attunement.config_schema import ROOT, VERSION_INFO, describe
from attunement.control_protocol import served_socket
from attunement.measurement import require_capabilities
from attunement.policy import kernel_limits


@click.group("config")
def config_group() -> None:
    """Explain the configuration: what is in force and where it came from; find limits for an engine."""


@config_group.command("show")
@config_option
@json_option
def show(config_path: Path | None, as_json: bool) -> None:
    """Print the configuration in force with every default; with --json also where each value came from.

    Example: lambda-attunement config show --set safety.entropy_max=0.001
    """
    loaded = _loaded(config_path)
    if as_json:
        told = {"config": plain(loaded.config), "origins": loaded.origins}
        click.echo(json.dumps(told, ensure_ascii=False, allow_nan=False))
    else:
        click.echo(dump(loaded.config), nl=False)


@config_group.command("check")
@config_option
@json_option
def check(config_path: Path | None, as_json: bool) -> None:
    """Print the configuration in force if it can be used, or say all that is wrong with it (exit code 2).

    Example: lambda-attunement config check --config attunement.yaml
    """
    config = configuration(config_path)
    limits = kernel_limits(config)
    # What a run would refuse besides.
    release(build_optimizer(config))
    served_socket(config)
    if as_json:
        told = {"config": plain(config), "limits": limits._asdict()}
        click.echo(json.dumps(told, ensure_ascii=False, allow_nan=False))
    else:
        click.echo(dump(config), nl=False)


def _keys(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    names = [VERSION_INFO.key, *(info.key.removeprefix(f"{ROOT}.") for info in describe())]
    return [CompletionItem(name) for name in names if name.startswith(begun)]


@config_group.command("explain")
@click.argument("key", shell_complete=_keys)
@config_option
@json_option
def explain_key(key: str, config_path: Path | None, as_json: bool) -> None:
    """Say the value of KEY, where it came from, what it accepts and what it guards.

    Example: lambda-attunement config explain safety.entropy_max
    """
    explained = explain(_loaded(config_path), find_option(key))
    if as_json:
        click.echo(json.dumps(explained.as_json(), ensure_ascii=False, allow_nan=False))
        return
    table = Table(show_header=False)
    for name, text in explained.rows():
        table.add_row(name, Text(text))
    Console().print(table)


@config_group.command("calibrate")
@config_option
@click.option(
    "--cycles",
    type=click.IntRange(min=10),
    default=1000,
    show_default=True,
    help="Cycles at α = 1 that are measured.",
)
@click.option(
    "--quantile",
    type=FiniteRange(0.5, 1.0),
    default=0.99,
    show_default=True,
    help="Share of these cycles that the quantiles leave on the good side.",
)
@json_option
def config_calibrate(config_path: Path | None, cycles: int, quantile: float, as_json: bool) -> None:
    """Measure the engine at α = 1 and propose limits, for a person to accept into the configuration.

    Example: lambda-attunement config calibrate --config trace.yaml
    """
    config = configuration(config_path)
    engine = build_engine(config)
    require_capabilities(engine)
    baseline = calibrate(engine, cycles, quantile, config.delta_alpha_max)
    if as_json:
        click.echo(json.dumps(attrs.asdict(baseline), allow_nan=False))
    else:
        click.echo(baseline.to_yaml(), nl=False)


def _loaded(path: Path | None) -> Loaded:
    return load_with_origins(path, os.environ, given_flags())
