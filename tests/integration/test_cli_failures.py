"""What may go wrong around a run: each has a clear message, an exit code, and a ledger that verifies."""

import fcntl
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import termios
import time
from contextlib import contextmanager, suppress
from functools import partial

import pytest
from cli_bench import PROGRAM

from attunement.cli import _exit_code
from ledger import Verdict, load_private, read_records, verify

# A session of its own, with the given descriptor as its terminal, as a login shell has it.
AT_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from attunement.cli import main
main()
"""

# The verification of a ledger as long as weeks.
SLOW_TO_VERIFY = [
    sys.executable,
    "-c",
    """
import time
import ledger
from attunement.cli import main

verify = ledger.verify

def slowly(*given, progress, **more):
    def on_progress(done, total):
        time.sleep(0.05)
        progress(done, total)
    return verify(*given, progress=on_progress, **more)

ledger.verify = slowly
main()
""",
]


@pytest.fixture
def begin():
    """Return a function that starts the command line in a process of its own."""
    processes = []

    def start(*arguments, prefix=(), program=PROGRAM):
        processes.append(
            subprocess.Popen(
                [*prefix, *program, *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
            )
        )
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            stream.close()


@pytest.fixture
def as_owner():
    """What makes a process keep to the modes of files, also where the tests run as root."""
    if os.geteuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("root passes over the modes of files, and setpriv is not here")
    return ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")


@contextmanager
def small_disk(place, size):
    place.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={size}", "none", str(place)]
    if subprocess.run(["mount", *options], check=False, capture_output=True).returncode != 0:
        pytest.skip("file systems may not be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


def verdict(site, folder=None):
    return verify(folder or site.ledger, load_private(site.key).verify_key).verdict


@pytest.mark.parametrize("view", [(), ("--plain",), ("--json",)], ids=lambda view: "".join(view) or "live")
def test_a_closed_terminal_ends_the_run_in_order(site, until, view):
    log = site.folder / "a.ndjson"
    config = site.config(
        cycles=None, settle_delay=0.01, logging={"format": "json", "file": str(log), "level": "debug"}
    )
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", AT_TERMINAL, "run", "--config", config, *view],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color"},
    ) as process:
        os.close(theirs)
        fcntl.ioctl(ours, termios.TIOCGWINSZ, b"\0" * 8)
        seen = b""
        while log.exists() is False or log.read_text(encoding="utf-8").count('"event": "decision"') < 5:
            seen += os.read(ours, 65536)
        os.close(ours)
        try:
            assert process.wait(60) == 0, seen
        finally:
            process.kill()
    last = json.loads(log.read_text(encoding="utf-8").splitlines()[-1])
    assert (last["event"], last["cause"]) == ("run ended", "the terminal was closed")
    assert verdict(site) is Verdict.NO_ANCHOR
    bodies = [record.body for record in read_records(site.ledger) if "after" in record.body]
    assert bodies[-1]["after"]["mode"] == "ready"


@pytest.mark.parametrize("view", ["--plain", "--json"])
@pytest.mark.parametrize("together", [False, True], ids=["stdout", "stderr as well"])
def test_a_reader_that_goes_away_ends_the_run_in_order(site, view, together):
    log = site.folder / "a.ndjson"
    logging = {"format": "json", "file": str(log)}
    config = site.config(cycles=None, settle_delay=0.01, logging=logging)
    with subprocess.Popen(
        [*PROGRAM, "run", "--config", config, view],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if together else subprocess.PIPE,
    ) as process:
        assert process.stdout.readline() != b""
        process.stdout.close()
        said = b"" if together else process.stderr.read()
        assert process.wait(60) == 0
    if not together:
        assert re.search(rb"^\d+ cycles run: the output was closed\n.*: verified, ", said)
        assert b"Traceback" not in said
    last = json.loads(log.read_text(encoding="utf-8").splitlines()[-1])
    assert (last["event"], last["cause"]) == ("run ended", "the output was closed")
    assert verdict(site) is Verdict.NO_ANCHOR
    bodies = [record.body for record in read_records(site.ledger) if "after" in record.body]
    assert bodies[-1]["after"]["mode"] == "ready"


def test_messages_that_nobody_reads_do_not_end_a_run(site, begin, until):
    config = site.config(cycles=None, settle_delay=0.01)
    process = begin("run", "--config", config, "--plain")
    process.stdout.readline()
    process.stderr.close()
    process.send_signal(signal.SIGHUP)
    for _ in range(50):
        assert process.stdout.readline() != ""
    process.send_signal(signal.SIGTERM)
    process.stdout.read()
    assert process.wait(60) == 0
    assert verdict(site) is Verdict.NO_ANCHOR


def written_to_full(arguments, stream, **environment):
    """Run with this stream on a disk that is full; return what is known of the other as well."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with open("/dev/full", "wb") as full:
        return subprocess.run(
            [*PROGRAM, *arguments],
            **{**streams, stream: full},
            env={**os.environ, **environment},
            timeout=60,
            check=False,
        )


# Empty is not set: it is Python that holds back, or does not.
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_behind_the_output_ends_a_run_with_an_error(site, unbuffered):
    config = site.config(cycles=None, settle_delay=0.01)
    command = ("run", "--config", config, "--plain")
    done = written_to_full(command, "stdout", PYTHONUNBUFFERED=unbuffered)
    said = b"error: [Errno 28] No space left on device: 'stdout'\n"
    assert (done.returncode, done.stderr) == (1, said)
    assert verdict(site) is Verdict.NO_ANCHOR
    done = written_to_full(("--version",), "stdout", PYTHONUNBUFFERED=unbuffered)
    assert (done.returncode, done.stderr) == (1, said)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_behind_the_messages_ends_nothing(site, unbuffered):
    memory = site.folder / "memory.json"
    config = site.config(optimizer={"memory_path": str(memory)}, settle_delay=0.01)
    command = ("run", "--config", config, "--plain", "--cycles", "5")
    done = written_to_full(command, "stderr", PYTHONUNBUFFERED=unbuffered)
    assert (done.returncode, len(done.stdout.splitlines()) >= 5, memory.exists()) == (0, True, True)
    assert verdict(site) is Verdict.NO_ANCHOR
    for wrong in (("nope",), ("status", "--set", "momentum=9")):
        done = written_to_full(wrong, "stderr", PYTHONUNBUFFERED=unbuffered)
        assert (done.returncode, done.stdout) == (2, b""), wrong


@pytest.mark.parametrize("command", [("nope",), ("status", "--set", "momentum=9"), ("order", "make")])
def test_what_is_meant_for_a_stderr_that_is_closed_goes_nowhere(command):
    shell = ["bash", "-c", '"$@" 2>&-', "bash", *PROGRAM, *command]
    done = subprocess.run(shell, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, b"")


def test_an_order_that_finds_no_room_is_named(site, capsys):
    config = site.config()
    assert _exit_code(["run", "--config", config, "--plain"]) == 0
    disk = site.folder / "disk"
    words = ["--config", config, "--actor", "ines", "--reason", "drill"]
    with small_disk(disk, "64k"):
        made, later = disk / "made.json", disk / "later.json"
        assert _exit_code(["order", "make", "freeze", *words, "--out", str(made)]) == 0
        with suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
            while filler.write(bytes(4096)):
                pass
        capsys.readouterr()
        sign = ["order", "sign", str(made), "--key", str(site.operator)]
        for command, path in (
            (["order", "make", "freeze", *words, "--out", str(later)], later),
            (["freeze", *words, "--key", str(site.operator), "--out", str(later)], later),
            (sign, made),
        ):
            assert _exit_code(command) == 1
            assert capsys.readouterr().err == f"error: [Errno 28] No space left on device: '{path}'\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_said_and_logged(site, begin, number):
    process = begin("run", "--config", site.config(cycles=None, settle_delay=0.01), "--plain")
    process.stdout.readline()
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "cycles run: stopped" in err
    assert ": verified, " in err
    assert verdict(site) is Verdict.NO_ANCHOR


def stopping(site, begin_program, *numbers, after_s=0.0, pause_s=0.3, cycles=None):
    """Run, send signals one after the other, and return the exit code and what was said."""
    memory = site.folder / "memory.json"
    config = site.config(cycles=cycles, settle_delay=0.01, optimizer={"memory_path": str(memory)})
    process = begin_program("run", "--config", config, "--plain")
    for _ in range(40):
        process.stdout.readline()
    time.sleep(after_s)
    for number in numbers:
        process.send_signal(number)
        time.sleep(pause_s)
    _, err = process.communicate(timeout=60)
    assert memory.exists(), err
    assert "Traceback" not in err
    assert verdict(site) is Verdict.NO_ANCHOR
    return process.returncode, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_further_signal_ends_the_verification_and_says_so(site, begin, number):
    begun = partial(begin, program=SLOW_TO_VERIFY)
    code, err = stopping(site, begun, number, number, pause_s=1.5)
    assert code == 1
    assert f"error: ledger {site.ledger} was closed and not verified: a further signal came" in err
    assert ": verified, " not in err


def test_a_hangup_after_the_stop_ends_nothing(site, begin):
    begun = partial(begin, program=SLOW_TO_VERIFY)
    code, err = stopping(site, begun, signal.SIGTERM, signal.SIGHUP, pause_s=1.5)
    assert (code, ": verified, " in err) == (0, True)


@pytest.mark.parametrize("pause_s", [0.0, 0.02, 0.05, 0.1, 0.2, 0.4])
def test_signals_at_any_moment_of_the_end_leave_it_in_order(site, begin, pause_s):
    code, err = stopping(site, begin, *[signal.SIGTERM, signal.SIGHUP, signal.SIGINT] * 2, pause_s=pause_s)
    assert (code, ": verified, " in err, "not verified" in err) in ((0, True, False), (1, False, True))


def test_a_hangup_has_the_configuration_read_again(site, begin, until):
    log = site.folder / "a.ndjson"
    logging = {"format": "json", "file": str(log), "level": "error"}
    config = site.config(cycles=None, settle_delay=0.01, logging=logging)
    process = begin("run", "--config", config, "--plain")
    process.stdout.readline()
    logging = {**logging, "level": "debug"}
    site.config(cycles=None, settle_delay=0.01, logging=logging, safety={"entropy_max": 0.001}, momentum=0.5)
    process.send_signal(signal.SIGHUP)
    said = [process.stderr.readline() for _ in range(3)]
    assert said == [
        "reloaded attunement.logging.level: error → debug\n",
        "not reloaded: attunement.momentum: 0.85 → 0.5: it is taken in at the next start\n",
        "not reloaded: attunement.safety.entropy_max: 0.002 → 0.001: it is policy, which an operator's order "
        "changes: `policy propose`\n",
    ]
    until(lambda: '"event": "decision"' in log.read_text(encoding="utf-8"))
    (site.folder / "attunement.yaml").write_text("attunement: {momentun: 1}")
    process.send_signal(signal.SIGHUP)
    assert "momentun is not a key, the nearest key is attunement.momentum" in process.stderr.readline()
    for text, problem in (
        ("attunement: {enabled: !!bool zz}", "line 1, column 23: tags are not taken"),
        ("attunement: {[[a]]: 1}", "line 1, column 14: a list or a mapping is not taken as a key"),
        ("attunement: {lr: 2001-99-99}", "malformed YAML: month must be in 1..12"),
        ("a: &a {x: 1}\nb: *a", "line 1, column 4: anchors and aliases are not taken"),
        ("#" * 10**6, "is larger than 65536 bytes"),
    ):
        (site.folder / "attunement.yaml").write_text(text)
        process.send_signal(signal.SIGHUP)
        assert process.stderr.readline().startswith(f"not reloaded: {config}: {problem}")
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert len(out.splitlines()) > 1
    assert verdict(site) is Verdict.NO_ANCHOR


def test_nothing_new_is_said_to_be_nothing(site, begin):
    process = begin("run", "--config", site.config(cycles=None, settle_delay=0.01), "--plain")
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    assert process.stderr.readline() == "reloaded: nothing has changed\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_taken_port_costs_the_metrics_and_ends_serving(site, begin):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config = site.config(metrics={"enabled": True, "port": port}, serve={"port": port}, cycles=3)
        process = begin("run", "--config", config, "--plain")
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0
        assert f"error: no metrics are served: metrics.port {port} on 127.0.0.1 is taken" in err
        process = begin("serve", "--config", config)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert f"cannot listen at 127.0.0.1:{port}: Address already in use; choose another" in err
    assert verdict(site) is Verdict.NO_ANCHOR


def test_a_full_disk_stops_the_run_and_leaves_a_ledger_that_verifies(site, begin):
    disk = site.folder / "disk"
    with small_disk(disk, "1m"):
        folder = disk / "ledger"
        config = site.config(cycles=None, logging={"audit_ledger_path": str(folder)})
        # Room for the first records, and not for many more.
        assert begin("run", "--config", config, "--cycles", "3", "--plain").wait(60) == 0
        room = shutil.disk_usage(disk).free - 64 * 1024
        (disk / "filler").write_bytes(bytes(max(room, 0)))
        process = begin("run", "--config", config, "--plain")
        _, err = process.communicate(timeout=120)
        assert process.returncode == 1
        assert err.startswith("error: ")
        assert "space" in err or "could be written" in err
        assert "Traceback" not in err
        (disk / "filler").unlink()
        assert verdict(site, folder) is Verdict.NO_ANCHOR
        assert begin("run", "--config", config, "--cycles", "3", "--plain").wait(60) == 0


@pytest.mark.parametrize("which", ["key", "log_key"])
def test_a_key_that_cannot_be_read(site, begin, as_owner, which):
    path = getattr(site, which)
    path.chmod(0)
    process = begin("run", "--config", site.config(), "--plain", prefix=as_owner)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert err == f"error: cannot read {path}: Permission denied\n"
    assert not site.ledger.exists()
    process = begin("doctor", "--config", site.config(), "--json", prefix=as_owner)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert any("Permission denied" in one["said"] for one in json.loads(out)["findings"])
    path.chmod(0o600)
    assert begin("run", "--config", site.config(), "--plain", prefix=as_owner).wait(60) == 0


def test_a_ledger_folder_that_may_only_be_read(site, begin, as_owner):
    config = site.config()
    assert _exit_code(["run", "--config", config, "--plain"]) == 0
    alpha = [record.body for record in read_records(site.ledger) if "after" in record.body][-1]["after"]
    modes = [(path, path.stat().st_mode) for path in (site.ledger, *site.ledger.rglob("*"))]
    for path, mode in modes:
        path.chmod(mode & 0o555)
    try:
        process = begin("run", "--config", config, "--plain", prefix=as_owner)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (1, "")
        assert err.startswith("error: ")
        assert "Permission denied" in err
        assert str(site.ledger) in err
        process = begin("doctor", "--config", config, "--json", prefix=as_owner)
        findings = {one["name"]: one for one in json.loads(process.communicate(timeout=60)[0])["findings"]}
        assert (process.returncode, findings["ledger folder"]["level"]) == (1, "failed")
        # Reading needs no more than that.
        for command in (("status",), ("ledger", "verify")):
            assert begin(*command, "--config", config, prefix=as_owner).wait(60) == 0
    finally:
        for path, mode in modes:
            path.chmod(mode)
    assert verdict(site) is Verdict.NO_ANCHOR
    assert begin("run", "--config", config, "--cycles", "2", "--plain").wait(60) == 0
    assert alpha["mode"] == "ready"
