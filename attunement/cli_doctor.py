"""The commands that help whoever is at the keyboard: doctor, and completion of the shell's lines."""

import json
from pathlib import Path

import attrs
import click
from click.shell_completion import get_completion_class
from rich.console import Console
from rich.table import Table
from rich.text import Text

from attunement.cli_common import EXIT_ERROR, config_option, configuration, first_public_key, json_option
from attunement.doctor import examine
from attunement.foreign import escaped

_STYLE = {"ok": "green", "warning": "yellow", "failed": "bold red"}
_VARIABLE = "_LAMBDA_ATTUNEMENT_COMPLETE"
_NAME = "lambda-attunement"


@click.command("doctor", epilog="Exit codes: 0 nothing stands in the way of a run; 1 something does.")
@config_option
@json_option
def doctor_command(config_path: Path | None, as_json: bool) -> int:
    """Look at keys, ledger, certificate, ports, clock, disk and socket, and say what to do.

    Example: lambda-attunement doctor --config attunement.yaml
    """
    findings = list(examine(configuration(config_path), first_public_key))
    is_well = not any(one.level == "failed" for one in findings)
    if as_json:
        told = {"is_well": is_well, "findings": [attrs.asdict(one) for one in findings]}
        click.echo(json.dumps(told, ensure_ascii=False))
    else:
        table = Table("what", "is", "found", "do")
        for one in findings:
            level = Text(one.level, style=_STYLE[one.level])
            table.add_row(one.name, level, Text(escaped(one.said)), Text(one.advice))
        Console().print(table)
    return 0 if is_well else EXIT_ERROR


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion_command(context: click.Context, shell: str) -> None:
    """Print a script that has SHELL complete commands, options and keys of the configuration.

    Example: lambda-attunement completion bash > ~/.local/share/bash-completion/completions/lambda-attunement
    """
    kind = get_completion_class(shell)
    assert kind is not None, "click.Choice lets through what click knows"
    click.echo(kind(context.find_root().command, {}, _NAME, _VARIABLE).source())
