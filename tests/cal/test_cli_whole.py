"""The command line as a whole: examples, JSON, the members of its answers, the page about it."""

import json
import os
import re
import subprocess
from pathlib import Path

import click
import pytest
from cli_bench import PROGRAM

from attunement.cli import _exit_code, cli

PAGE = Path(__file__).resolve().parents[2] / "docs" / "CLI.md"
WORDS = ("--actor", "ines", "--reason", "drill")
# What serves, or prints a text for another program, has no JSON.
WITHOUT_JSON = {("serve",), ("completion",)}


def leaves(group=cli, path=()):
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from leaves(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(leaves())


@pytest.fixture
def told(capsys):
    """Run a command line with --json; return what it prints."""

    def run(*arguments, code=0):
        assert _exit_code([*map(str, arguments), "--json"]) == code
        return json.loads(capsys.readouterr().out)

    return run


def test_every_command_that_was_asked_for_is_there():
    asked = [
        "run",
        "serve",
        "dry-run",
        "status",
        "freeze",
        "unfreeze",
        "approve",
        "rollback",
        "override",
        "save",
        "load",
        "prove",
        "doctor",
        "completion",
    ]
    asked = [(name,) for name in asked] + [("policy", name) for name in ("propose", "vote", "show")]
    asked += [("config", name) for name in ("show", "check", "explain")]
    assert set(asked) <= COMMANDS.keys()


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_an_example_and_json(path):
    command = COMMANDS[path]
    options = {name for parameter in command.params for name in parameter.opts}
    assert ("--json" in options) == (path not in WITHOUT_JSON)
    assert ("--config" in options) == ("--set" in options)
    assert f"Example: lambda-attunement {' '.join(path)}" in " ".join((command.help or "").split())


def test_the_page_names_every_command():
    text = PAGE.read_text(encoding="utf-8")
    for path in COMMANDS:
        assert path[0] in text, path


def test_the_members_of_answers_stay(told, site, capsys):
    config = ("--config", site.config())
    _exit_code(["run", *config, "--plain"])
    capsys.readouterr()
    assert told("status", *config).keys() == {
        *("mode", "alpha", "good", "latch", "alpha_initial", "cycle", "reverts", "policy", "verdicts"),
        *("ledger", "records", "last_timestamp", "loop"),
    }
    assert told("policy", "show", *config).keys() == {"in_force", "configured", "quorum", "proposals"}
    assert told("config", "show", *config).keys() == {"config", "origins"}
    assert told("config", "check", *config).keys() == {"config", "limits"}
    assert told("config", "explain", "momentum", *config).keys() == {
        *("key", "value", "origin", "accepts", "default", "unit", "doc", "guards", "change"),
    }
    doctor = told("doctor", *config)
    assert doctor.keys() == {"is_well", "findings"}
    assert doctor["findings"][0].keys() == {"name", "level", "said", "advice"}
    order = site.folder / "a.json"
    assert told("order", "make", "freeze", *config, *WORDS, "--out", order).keys() == {"order_id", "file"}
    assert told("order", "sign", order, "--key", site.operator)["signed"] == 1
    saved = told("save", site.folder / "a.snapshot", *config)
    assert saved.keys() == {"file", "seq", "hash", "timestamp"}
    loaded = told("load", site.folder / "a.snapshot", *config)
    assert loaded["snapshot"] == {name: saved[name] for name in ("seq", "hash", "timestamp")}
    exported = told("ledger", "export", site.folder / "evidence", *config)
    assert exported.keys() == {"folder", "records", "manifest"}
    (key,) = told("keys", "init", "--path", site.folder / "omar.key")["keys"]
    assert key.keys() == {"key", "private", "public"}
    assert told("keys", "init", "--path", site.folder / "omar.key", "--if-missing") == {"keys": []}
    assert told("keys", "rotate", *config)["vkey"] is None
    rotated = told("keys", "rotate", "--log", *config)
    assert rotated["vkey"].startswith("localhost/lambda-attunement+")


def test_a_terminal_watches_one_screen(site, until):
    config = site.config(cycles=None, settle_delay=0.01)
    sock = site.ledger.with_name("ledger.log.sock")
    with subprocess.Popen([*PROGRAM, "run", "--config", config], stdout=subprocess.DEVNULL) as run:
        until(sock.exists)
        screen = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": "150", "LINES": "40", "TERM": "xterm-256color"}
        command = [*PROGRAM, "status", "--config", config, "--watch"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=screen) as watching:
            seen = b""
            while seen.count("╭".encode()) < 3:
                seen += watching.stdout.read1()
            run.terminate()
            seen += watching.stdout.read()
        assert watching.returncode == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode("utf-8"))
    for shown in (f"process {run.pid}", "α", "[0.8, 1.2]", "Ĉ", "≤ 0.002 a cycle", "≥ 0.95", "propose"):
        assert shown in text
