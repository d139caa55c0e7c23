"""The command line beside a loop that runs: status, watching it, and sending it orders."""

import json
import subprocess

import pytest
from cli_bench import PROGRAM

from attunement.control_client import ControlClient, NoLoopError

WORDS = ("--actor", "ines", "--reason", "drill")


def has_measured(path):
    """Say whether a loop that serves this socket has had a cycle."""
    try:
        with ControlClient(path) as client:
            return client.status()["last_decision"] is not None
    except NoLoopError:
        return False


@pytest.fixture
def looping(site, until):
    """Start a loop without an end in a process of its own; it is stopped by SIGTERM at the end."""
    config = site.config(cycles=None, settle_delay=0.01)
    with subprocess.Popen([*PROGRAM, "run", "--config", config], stdout=subprocess.DEVNULL) as process:
        until(lambda: has_measured(site.ledger.with_name("ledger.log.sock")))
        yield config
        process.terminate()
        assert process.wait(30) in (0, 4)


def test_a_loop_that_runs_is_asked(cli, site, looping):
    code, out, _ = cli("status", "--config", looping)
    assert code == 0
    assert "the proved one" in out
    assert "last decision" in out
    told = json.loads(cli("status", "--config", looping, "--json")[1])
    assert told["loop"]["latest"]["mode"] in ("ready", "trial")
    order = site.folder / "freeze.json"
    cli("order", "make", "freeze", "--config", looping, *WORDS, "--out", order)
    code, out, _ = cli("order", "send", order, "--config", looping)
    assert (code, "refused" in out) == (3, True)
    cli("order", "sign", order, "--key", site.operator)
    code, out, _ = cli("order", "send", order, "--config", looping, "--json")
    assert (code, json.loads(out)["state"], json.loads(out)["said"]) == (0, "done", ["frozen"])
    assert cli("status", "--config", looping)[0] == 4
    # One loop a ledger: the second is told so, and the first is not disturbed.
    assert cli("run", "--config", looping, "--cycles", "1")[0] == 1
    with ControlClient(site.ledger.with_name("ledger.log.sock")) as client:
        assert client.status()["latest"]["mode"] == "frozen"


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_watching_is_a_line_a_cycle_until_the_loop_ends(site, until, flags):
    config = site.config(cycles=None, settle_delay=0.01)
    with subprocess.Popen([*PROGRAM, "run", "--config", config], stdout=subprocess.DEVNULL) as run:
        until(site.ledger.with_name("ledger.log.sock").exists)
        command = [*PROGRAM, "status", "--config", config, "--watch", *flags]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as watching:
            lines = [watching.stdout.readline().decode() for _ in range(4)]
            run.terminate()
            lines += watching.stdout.read().decode().splitlines()
        assert watching.returncode == 0
    assert len(lines) >= 4
    assert all((json.loads(line)["v"] == 1) if flags else ("cycle" in line) for line in lines)


def test_without_a_loop_the_ledger_alone_speaks(cli, site):
    config = site.config()
    cli("run", "--config", config, "--plain")
    assert json.loads(cli("status", "--config", config, "--json")[1])["loop"] is None
    code, _, err = cli("status", "--config", config, "--watch")
    assert (code, "no loop serves" in err) == (1, True)
    order = site.folder / "freeze.json"
    cli("order", "make", "freeze", "--config", config, *WORDS, "--out", order)
    code, _, err = cli("order", "send", order, "--config", config)
    assert (code, "`run --order" in err) == (1, True)
    assert not site.ledger.with_name("ledger.log.sock").exists()


def test_a_run_without_the_socket(cli, site):
    config = site.config(control={"enabled": False})
    assert cli("run", "--config", config, "--plain")[0] == 0


def test_a_socket_that_cannot_be_served_ends_the_run_before_its_first_cycle(cli, site):
    config = site.config(control={"socket": str(site.folder / "file")})
    (site.folder / "file").write_text("precious")
    code, _, err = cli("run", "--config", config, "--plain")
    assert (code, "is no socket" in err) == (1, True)
