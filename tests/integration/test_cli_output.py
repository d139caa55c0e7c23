"""Every command where its output cannot be written: a reader that is gone, a full disk, a poor encoding."""

import json
import os
import subprocess
import sys

import click
import pytest
from cli_bench import PROGRAM

from attunement.cli import cli as command_line

WORDS = ("--actor", "ines", "--reason", "drill α")
WAYS = ("closed", "full", "ascii", "latin-1")

# Forks for each command, so that the libraries are loaded once. The first argument is what becomes of stdout.
FORKING = """
import gc, json, os, sys
from attunement.cli import main

# What is loaded is not looked through again at the end of each child.
gc.disable()
gc.freeze()

how, cases = sys.argv[1], json.loads(sys.argv[2])
told = []
for case in cases:
    out, err = os.memfd_create("out"), os.memfd_create("err")
    child = os.fork()
    if child == 0:
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2({"closed": writer, "full": os.open("/dev/full", os.O_WRONLY)}.get(how, out), 1)
        os.dup2(err, 2)
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(encoding=how if how in ("ascii", "latin-1") else "utf-8")
        sys.argv = ["lambda-attunement", *case]
        main()
        os._exit(99)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    texts = [os.pread(one, 1 << 24, 0).decode("latin-1") for one in (out, err)]
    told.append([code, *texts])
    for one in (out, err):
        os.close(one)
print(json.dumps(told))
"""


def leaves(group=command_line, path=()):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, (*path, name))
        else:
            yield (*path, name)


def cases(site, how):
    """What is run of each command; files that it makes are the way's own."""
    config, new = ("--config", str(site.folder / "attunement.yaml")), str(site.folder / how)
    key = ("--key", str(site.operator))
    act = (*config, *WORDS, *key, "--out", f"{new}.out.json")
    return [
        ("--help",),
        ("--version",),
        ("run", "--help"),
        ("run", *config, "--plain", "--cycles", "5"),
        ("run", *config, "--json", "--cycles", "5"),
        ("status", *config),
        ("status", *config, "--json"),
        ("ledger", "show", *config),
        ("ledger", "show", *config, "--json"),
        ("ledger", "show", *config, "--csv"),
        ("ledger", "show", *config, "--csv", "--last", "1"),
        ("ledger", "verify", *config),
        ("ledger", "verify", *config, "--json"),
        ("ledger", "replay", *config),
        ("ledger", "explain", "2", *config),
        ("ledger", "explain", "2", *config, "--json"),
        ("ledger", "prove", "1", *config),
        ("ledger", "export", f"{new}.evidence", *config),
        ("ledger", "witness", *config),
        ("config", "show", *config),
        ("config", "check", *config),
        ("config", "explain", "momentum", *config),
        ("config", "calibrate", *config, "--cycles", "10"),
        ("doctor", *config),
        ("doctor", *config, "--json"),
        ("completion", "bash"),
        ("policy", "show", *config),
        ("policy", "propose", "--set", "safety.entropy_max=0.001", *act),
        ("policy", "vote", str(site.folder / "order.json"), *config, *key),
        ("keys", "init", "--path", f"{new}.key"),
        ("order", "make", "freeze", *config, *WORDS, "--out", f"{new}.json"),
        ("order", "show", str(site.folder / "order.json"), *config),
        ("order", "sign", str(site.folder / "order.json"), *key),
        ("order", "send", str(site.folder / "order.json"), *config),
        ("freeze", *act),
        ("unfreeze", *act),
        ("approve", *act),
        ("rollback", "--record", "1", *act),
        ("override", "--alpha", "1.01", *act),
        ("optimizers", "list"),
        ("optimizers", "bench", "pid", "--scenario", "cliff"),
        ("optimizers", "compare", "pid", "hold", "--scenario", "cliff", "--seeds", "2"),
        ("dry-run", *config, "--cycles", "10"),
        ("dry-run", *config, "--cycles", "10", "--json"),
        ("save", f"{new}.snapshot", *config),
        ("load", str(site.folder / "first.snapshot"), *config),
    ]


@pytest.fixture
def told(site, cli):
    """Return a function that runs every case in one way: each command with its code, stdout and stderr."""
    config = ("--config", site.config())
    assert cli("run", *config, "--plain")[0] == 0
    assert cli("save", site.folder / "first.snapshot", *config)[0] == 0
    order = ("order", "make", "freeze", *config, "--actor", "ines", "--reason", "drill α 😀")
    assert cli(*order, "--out", site.folder / "order.json")[0] == 0

    def run(how):
        command = [sys.executable, "-c", FORKING, how, json.dumps(cases(site, how))]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=300, check=False, cwd=site.folder
        )
        assert done.returncode == 0, done.stderr
        return list(zip(cases(site, how), json.loads(done.stdout), strict=True))

    return run


def test_every_command_is_among_the_cases(site):
    # These start others or change what the other cases need, and are run on their own.
    run = {case[: len(path)] for case in cases(site, "") for path in leaves()}
    assert set(leaves()) - run == {("serve",), ("prove",), ("keys", "rotate")}


def test_no_command_breaks_on_what_becomes_of_its_output(told):
    usual = told("usual")
    for how in WAYS:
        for (case, (code, out, err)), (_, (usual_code, usual_out, usual_err)) in zip(
            told(how), usual, strict=True
        ):
            said = f"{how}: {' '.join(case)}: {err}"
            assert "Traceback" not in err + usual_err, said
            assert "ignored" not in err, said
            assert (code, bool(out)) == expected(how, case, usual_code, bool(usual_out)), said
            assert ("No space left on device: 'stdout'" in err) == (how == "full" and usual_out != ""), said
            for line in out.splitlines() if "--json" in case else ():
                json.loads(line)


def expected(how, case, usual_code, has_output):
    """Exit code of a command, and whether it prints, by what it does when all is well."""
    if how not in ("closed", "full"):
        return usual_code, has_output
    if not has_output:
        return usual_code, False
    ends_in_order = how == "closed" and case[0] == "run" and "--help" not in case
    return (0 if ends_in_order else 1), False


@pytest.mark.parametrize(
    "poor",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=["ascii", "latin-1", "C"],
)
@pytest.mark.parametrize(
    "command", [("run", "--plain"), ("run", "--json"), ("status",), ("prove",)], ids=" ".join
)
def test_a_poor_encoding_of_the_environment_breaks_nothing(site, poor, command):
    arguments = ["--config", site.config(cycles=10)]
    if command == ("prove",):
        arguments = ["--explain", "rate_limit_holds_on_every_event"]
    elif command == ("status",):
        subprocess.run([*PROGRAM, "run", "--plain", *arguments], check=True, capture_output=True)
    environment = {name: one for name, one in os.environ.items() if name not in ("PYTHONUTF8", "LC_ALL")}
    done = subprocess.run(
        [*PROGRAM, *command, *arguments],
        env={**environment, **poor},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr
    assert done.stdout != b""


@pytest.mark.parametrize(
    "command",
    [("prove", "--explain", "rate_limit_holds_on_every_event"), ("serve", "--port", "0"), ("keys", "rotate")],
    ids=lambda command: command[0],
)
def test_who_starts_others_ends_as_quietly_when_nobody_reads(site, cli, command):
    config = () if command[0] == "prove" else ("--config", site.config())
    if config:
        assert cli("run", *config, "--plain")[0] == 0
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*PROGRAM, *command, *config], stdout=writer, stderr=subprocess.PIPE, timeout=120, check=False
    )
    os.close(writer)
    assert done.returncode == 1
    assert not {b"error", b"Traceback", b"ignored"} & set(done.stderr.replace(b":", b" ").split()), (
        done.stderr
    )
