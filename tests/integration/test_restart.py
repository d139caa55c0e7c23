"""Real processes that are killed, stopped and started again on one ledger."""

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cli_bench import PROGRAM

from attunement.assembly import Attunement
from attunement.build import build_engine
from attunement.cli import _exit_code
from attunement.config import load
from ledger import Verdict, load_private, read_records, verify

STORM = {"kind": "partition", "start": 12, "length": 4, "magnitude": 1, "share": 0.5}


@pytest.fixture
def begin():
    """Return a function that starts the command line in a process of its own."""
    processes = []

    def start(*arguments, **environment):
        processes.append(
            subprocess.Popen(
                [*PROGRAM, *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, **environment},
                text=True,
                encoding="utf-8",
            )
        )
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def lines_until(process, marker, most=4000):
    """Read lines of output until one holds the marker."""
    for _ in range(most):
        line = process.stdout.readline()
        if marker in line:
            return line
    raise AssertionError(f"{marker} never came: {process.stderr.read() if process.poll() else ''}")


def bodies(site):
    return [record.body for record in read_records(site.ledger) if record.kind.value == "entry"]


def verified(site):
    return verify(site.ledger, load_private(site.key).verify_key).verdict is Verdict.NO_ANCHOR


def status(site, config, capsys):
    _exit_code(["status", "--config", config, "--json"])
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("moment", ["cycle 1 ", "propose accepted", "settle committed", "settle returned"])
def test_a_killed_run_goes_on_from_the_last_committed_alpha(site, begin, capsys, moment):
    config = site.config(cycles=None, settle_delay=0.002)
    process = begin("run", "--config", config, "--plain")
    lines_until(process, moment)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    before = bodies(site)[-1]["after"]
    assert _exit_code(["run", "--config", site.config(settle_delay=0), "--plain", "--cycles", "5"]) == 0
    capsys.readouterr()
    assert verified(site)
    restart = next(body for body in bodies(site) if body["event"] == "recover")
    assert restart["reason"] == "restart"
    assert restart["before"] == before
    assert restart["after"]["alpha"] == before["good"]
    assert restart["after"]["mode"] == "ready"
    assert restart["new_alpha"] == before["good"]
    assert bodies(site)[-1]["after"]["cycle"] > before["cycle"]


def test_a_trial_that_was_open_when_the_run_was_killed_is_recorded_as_reverted(site, begin, capsys):
    # Settling takes longer than the test: the trial is open when the signal comes.
    safety = {"trial_deadline": 1000}
    slow = site.config(cycles=None, settle_delay=500, safety=safety)
    process = begin("run", "--config", slow, "--plain")
    lines_until(process, "propose accepted")
    process.kill()
    process.wait()
    trial = bodies(site)[-1]
    assert (trial["verdict"], trial["after"]["mode"]) == ("accepted", "trial")
    assert status(site, slow, capsys)["mode"] == "trial"
    assert _exit_code(["run", "--config", site.config(cycles=1, safety=safety), "--plain"]) == 0
    restart = next(body for body in bodies(site) if body["event"] == "recover")
    assert restart["old_alpha"] == trial["new_alpha"]
    assert restart["new_alpha"] == trial["old_alpha"]
    assert (restart["before"]["mode"], restart["after"]["mode"]) == ("trial", "ready")


def test_an_emergency_stays_latched_over_a_kill_until_the_operator_ends_it(site, begin, capsys):
    config = site.config(cycles=None, settle_delay=0.001, source={"shocks": [STORM]})
    process = begin("run", "--config", config, "--plain")
    lines_until(process, " emergency ")
    process.kill()
    process.wait()
    latched = bodies(site)[-1]["after"]
    calm = site.config(cycles=10)
    assert _exit_code(["run", "--config", calm, "--plain"]) == 4
    assert " emergency" in capsys.readouterr().out
    restart = next(body for body in bodies(site) if body["event"] == "recover")
    assert (restart["after"]["mode"], restart["after"]["alpha"]) == ("emergency", latched["alpha"])
    forged = ["--operator-key", str(site.key), "--actor", "mallory", "--reason", "because"]
    assert _exit_code(["run", "--config", calm, "--plain", *forged]) == 3
    capsys.readouterr()
    assert status(site, calm, capsys)["mode"] == "emergency"
    assert _exit_code(["run", "--config", calm, "--plain", *site.orders]) == 0
    approvals = [body for body in bodies(site) if body["event"] == "approve"]
    assert [(body["verdict"], body["actor"]) for body in approvals] == [
        ("refused", "mallory"),
        ("approved", "ines"),
    ]
    assert verified(site)


def test_a_freeze_stays_over_a_restart(site, capsys):
    config = site.config(cycles=3)
    loaded = load(Path(config), {})
    with Attunement(loaded, build_engine(loaded), site.signers) as attunement:
        attunement.controller.freeze("ines", "maintenance")
    assert _exit_code(["run", "--config", config, "--plain"]) == 4
    assert _exit_code(["status", "--config", config]) == 4
    assert _exit_code(["run", "--config", config, "--plain", *site.orders]) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_leaves_no_trial_open_and_exits_with_zero(site, begin, number):
    slow = site.config(cycles=None, settle_delay=500, safety={"trial_deadline": 1000})
    process = begin("run", "--config", slow, "--plain")
    lines_until(process, "propose accepted")
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == 0
    assert re.match(r"\d cycles run: stopped\nledger .*: verified, ", err)
    assert verified(site)
    last = bodies(site)[-1]
    assert (last["event"], last["after"]["mode"]) == ("recover", "ready")
    assert last["reason"] == "controller stopped: open trial reverted"


def test_a_reader_that_goes_away_leaves_a_whole_ledger(site, begin):
    process = begin("run", "--config", site.config(cycles=None), "--json")
    process.stdout.readline()
    process.stdout.close()
    # In order, as after SIGTERM.
    assert process.wait() == 0
    assert verified(site)
    assert bodies(site)[-1]["after"]["mode"] == "ready"


def test_a_terminal_shows_the_live_screen_until_it_is_interrupted(site):
    ours, theirs = pty.openpty()
    screen = {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"}
    process = subprocess.Popen(
        [*PROGRAM, "run", "--config", site.config(cycles=None, settle_delay=0.01)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, **screen},
    )
    os.close(theirs)
    seen, interrupted = b"", False
    try:
        while select.select([ours], [], [], 60)[0]:
            seen += os.read(ours, 65536)
            if b"cycle 3" in seen and not interrupted:
                process.send_signal(signal.SIGINT)
                interrupted = True
    except OSError:
        # The other end was closed.
        assert process.wait() == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    text = seen.decode("utf-8")
    for shown in ("λ-attunement", "╭", "loop gain", "cycles run: stopped", "verified"):
        assert shown in text
    assert verified(site)


def test_two_runs_at_once_on_one_ledger_are_one_too_many(site, begin, capsys):
    config = site.config(cycles=None, settle_delay=0.01)
    process = begin("run", "--config", config, "--plain")
    lines_until(process, "cycle 2 ")
    assert _exit_code(["run", "--config", config, "--plain"]) == 1
    assert "is held by another writer" in capsys.readouterr().err
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 0


def test_another_time_zone_and_locale_write_the_same_ledger(site, begin):
    written = []
    for zone, locale in (("UTC", "C.UTF-8"), ("Asia/Tokyo", "C")):
        shutil.rmtree(site.ledger, ignore_errors=True)
        config = site.config(cycles=60, source={"shocks": [STORM]})
        process = begin("run", "--config", config, "--plain", TZ=zone, LC_ALL=locale, PYTHONUTF8="1")
        out, _ = process.communicate()
        assert process.returncode == 4
        records = list(read_records(site.ledger))
        assert all(record.timestamp.endswith("Z") for record in records)
        stamped = datetime.fromisoformat(records[0].timestamp)
        assert abs(datetime.now(UTC) - stamped) < timedelta(hours=1)
        written.append((out, [record.body for record in records]))
    assert written[0] == written[1]


def test_a_torn_last_line_is_set_aside_and_the_run_goes_on(site, capsys):
    config = site.config(cycles=10)
    assert _exit_code(["run", "--config", config, "--plain"]) == 0
    whole = bodies(site)
    # A crash leaves a checkpoint that does not cover the record which it tore.
    (site.ledger / "checkpoint").unlink()
    site.journal.write_bytes(site.journal.read_bytes()[:-30])
    assert _exit_code(["run", "--config", config, "--plain"]) == 0
    capsys.readouterr()
    assert verified(site)
    kinds = [record.kind.value for record in read_records(site.ledger)]
    assert kinds.count("recovery") == 1
    assert bodies(site)[: len(whole) - 1] == whole[:-1]
    assert list(site.ledger.glob("torn-*"))
