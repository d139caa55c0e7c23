"""What the command line shows of a loop that runs, by its control socket."""

import json
from collections.abc import Iterator
from typing import Any

import click
from rich.console import Console

from attunement.cli_watch import WatchScreen
from attunement.config_schema import Config
from attunement.control_client import ControlClient, NoLoopError
from attunement.control_protocol import socket_path


def live_status(config: Config) -> dict[str, Any] | None:
    """Return the status of the loop that runs, None if there is none.

    Raises:
        ControlError: a socket is there, and what answers is no loop of this version.
    """
    try:
        with ControlClient(socket_path(config)) as client:
            return client.status()
    except NoLoopError:
        return None


def live_rows(told: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield names and figures of a loop's status, for a table."""
    run, latest = told["run"], told["latest"]
    yield "loop", f"process {run['pid']}, since {run['started']}, optimizer {run['optimizer']}"
    yield "kernel", "the proved one" if run["is_kernel_verified"] else "NOT the proved one"
    if latest is None:
        yield "latest", "no cycle yet"
        return
    yield "latest", f"cycle {latest['cycle']}, {told['age_s']:.1f} s ago"
    yield "optimizer now", latest["optimizer"]
    for name, key in (("Ĉ", "C_hat"), ("entropy rate", "entropy_rate"), ("H_internal", "h_internal")):
        yield name, "not measured" if latest[key] is None else f"{latest[key]:.6f}"
    if told["last_decision"] is not None:
        yield "last decision", decision_line(told["last_decision"])


def decision_line(decision: dict[str, Any]) -> str:
    """Return one decision as a line."""
    moved = ""
    if decision["new_alpha"] != decision["old_alpha"]:
        moved = f" α {decision['old_alpha']:.6f} → {decision['new_alpha']:.6f}"
    broken = f": {'; '.join(decision['said'])}" if decision["said"] else ""
    return f"{decision['event']} {decision['verdict']}{moved} ({decision['reason']}){broken}"


def watch(config: Config, as_json: bool) -> None:
    """Redraw one screen a cycle until the loop ends; a line a cycle where the output is no terminal.

    Raises:
        ControlError: no loop runs, or it fell silent.
    """
    console = Console()
    if console.is_terminal and not as_json:
        _watch_screen(config, console)
        return
    with ControlClient(socket_path(config)) as client:
        for told in client.watch(history=1):
            if as_json:
                click.echo(json.dumps(told, ensure_ascii=False))
            elif told["answer"] == "dropped":
                click.echo(f"{told['count']} cycles were not told: this reader was too slow")
            else:
                click.echo(_cycle_line(told))


def _watch_screen(config: Config, console: Console) -> None:
    with ControlClient(socket_path(config)) as client:
        status = client.status()
        with WatchScreen(console, status, decision_line) as screen:
            for told in client.watch(history=60):
                screen.tell(told)


def _cycle_line(told: dict[str, Any]) -> str:
    measured = (
        "no reading"
        if told["C_hat"] is None
        else f"C {told['C_hat']:.6f} entropy {told['entropy_rate']:.6f} H {told['h_internal']:.6f}"
    )
    said = " | ".join(
        decision_line(one) for one in told["decisions"] if one["verdict"] != "held" or one["said"]
    )
    line = f"{told['time']} cycle {told['cycle']} alpha {told['alpha']:.9f} {measured} {told['mode']}"
    return f"{line} {said}".rstrip()
