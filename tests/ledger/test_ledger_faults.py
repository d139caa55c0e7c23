"""Failing system calls, a full disk and a power cut, each of them real."""

import os
import select
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from ledger_bench import OPENING, environment, head_of, run_child

from ledger import Head, Kind, Ledger, LedgerWriteError, Verdict, read_records, verify
from ledger.log import ROOM_BYTES

# Appends five records; what was acknowledged, what was refused, and how the writer ended.
APPENDING = """
def told(*words): print(*words, flush=True)
try:
    with Ledger.open(sys.argv[1], signers) as ledger:
        for number in range(5):
            try:
                receipt = ledger.append({"number": number})
                told("done", receipt.sequence, receipt.hash_hex)
            except LedgerError as error:
                told("refused", number, type(error).__name__)
except LedgerError as error:
    told("failed", type(error).__name__)
"""


def strace_works():
    if shutil.which("strace") is None:
        return False
    return (
        subprocess.run(["strace", "-o", "/dev/null", "true"], check=False, capture_output=True).returncode
        == 0
    )


needs_strace = pytest.mark.skipif(not strace_works(), reason="strace is not here, or may not trace")


def inject(folder, *faults):
    """Run the writer with faults at the system calls that touch its journal; return its lines."""
    options = [part for fault in faults for part in ("-e", f"inject={fault}")]
    calls = ",".join(sorted({fault.partition(":")[0] for fault in faults}))
    # The trace goes to a file: the writer's own lines are on its stdout.
    under = (
        "strace",
        "-f",
        "-o",
        f"{folder}.trace",
        "-P",
        str(folder / "journal"),
        "-e",
        f"trace={calls}",
        *options,
    )
    child = run_child(APPENDING, folder, under=under)
    assert "Traceback" not in child.stderr, child.stderr
    return [line.split() for line in child.stdout.splitlines()]


def check(folder, signers, lines):
    """What was acknowledged is there, in its place; and the ledger goes on."""
    done = [Head(int(line[1]), line[2]) for line in lines if line[0] == "done"]
    refused = [index for index, line in enumerate(lines) if line[0] == "refused"]
    # Nothing is acknowledged after a refusal: the ledger has stopped.
    assert all(line[0] != "done" for line in lines[min(refused, default=len(lines)) :])
    with Ledger.open(folder, signers) as ledger:
        stored = {record.sequence: record for record in ledger.records()}
        assert all(stored[head.sequence].hash_hex == head.hash_hex for head in done)
        ledger.append({"after": "the fault"})
        end = ledger.head()
    for anchor in (*done, end):
        report = verify(folder, signers.records.verify_key, anchor=anchor)
        assert report.verdict is Verdict.VERIFIED, report.finding
    return [record.body.get("number") for record in stored.values() if record.kind is Kind.ENTRY]


# An append is stat, write and sync; opening the ledger takes the first four calls of stat. Where statx is
# denied, stat stands for it.
@needs_strace
@pytest.mark.parametrize("fault", ["error=EIO", "error=ENOSPC", "signal=KILL"])
@pytest.mark.parametrize(
    ("call", "ordinal"),
    # The first write makes room; where there is no space for that, the second is without.
    [("newfstatat", 6), ("pwrite64", "1..2"), ("pwrite64", 3), ("fdatasync", 1), ("fdatasync", 3)],
)
def test_a_fault_at_every_system_call_of_an_append(write, folder, signers, call, ordinal, fault):
    write(2)
    lines = inject(folder, f"{call}:{fault}:when={ordinal}", "statx:error=EPERM")
    numbers = check(folder, signers, [line for line in lines if line[0] != "failed"])
    done = [line for line in lines if line[0] == "done"]
    assert len(done) < 5
    # What was not acknowledged may be there, once: the one that the fault struck.
    assert len(done) <= len([number for number in numbers if number is not None]) <= len(done) + 1


@needs_strace
@pytest.mark.parametrize(
    "second",
    ["ftruncate:error=EIO", "fsync:error=EIO:when=2", "ftruncate:signal=KILL", "fsync:signal=KILL:when=2"],
)
def test_a_second_fault_while_the_first_is_cut_off(write, folder, signers, second):
    write(2)
    # The write goes half way, as on a disk that fills up.
    lines = inject(folder, "pwrite64:retval=100:when=2", second)
    assert len([line for line in lines if line[0] == "done"]) == 1
    check(folder, signers, lines)


@needs_strace
@pytest.mark.parametrize("fault", ["error=ENOSPC", "error=EDQUOT", "retval=300"])
def test_room_is_made_only_where_there_is_space_for_it(write, folder, signers, fault):
    write(2)
    lines = inject(folder, f"pwrite64:{fault}:when=1")
    assert [line[0] for line in lines] == ["done"] * 5
    # One write more than records: room is tried once.
    assert Path(f"{folder}.trace").read_text().count("pwrite64(") == 6
    assert check(folder, signers, lines) == [None, None, 0, 1, 2, 3, 4]


@needs_strace
def test_a_sandbox_without_statx_changes_nothing(write, folder, signers):
    write(2)
    lines = inject(folder, "statx:error=EPERM")
    assert [line[0] for line in lines] == ["done"] * 5
    check(folder, signers, lines)


@needs_strace
@pytest.mark.parametrize("call", ["openat", "flock", "read", "fsync"])
@pytest.mark.parametrize("fault", ["error=EIO", "signal=KILL"])
def test_a_fault_while_the_ledger_is_opened(write, folder, journal, signers, call, fault):
    data = write(2)
    lines = inject(folder, f"{call}:{fault}:when=1")
    assert [line[0] for line in lines] == (["failed"] if fault == "error=EIO" else [])
    assert journal.read_bytes() == data
    check(folder, signers, lines)


@contextmanager
def mounted(place, *options):
    """A file system of its own, where the system lets us have one."""
    place.mkdir(exist_ok=True)
    if subprocess.run(["mount", *options, str(place)], check=False, capture_output=True).returncode != 0:
        pytest.skip("file systems may not be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_nearly_full_disk_takes_what_there_is_space_for(tmp_path, signers):
    disk = tmp_path / "disk"
    with mounted(disk, "-t", "tmpfs", "-o", "size=1m", "none"):
        folder = disk / "ledger"
        for begun in (0, 3):
            with Ledger.open(folder, signers) as ledger:
                (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free - ROOM_BYTES // 2))
                for number in range(3):
                    assert ledger.append({"number": number}).sequence == begun + number + 1
                    assert ledger.checkpoint().checkpoint.size == begun + number + 2
                assert (folder / "journal").stat().st_size == ledger.health(1.0).size_bytes
            (disk / "filler").unlink()
        assert verify(folder, signers.records.verify_key, anchor=head_of(folder)).verdict is Verdict.VERIFIED


def test_a_full_disk_stops_the_ledger_and_the_stop_is_recorded(tmp_path, signers):
    disk = tmp_path / "disk"
    with mounted(disk, "-t", "tmpfs", "-o", "size=1m", "none"):
        folder = disk / "ledger"
        ledger = Ledger.open(folder, signers)
        acknowledged = 0
        refusal = ""
        while not refusal:
            try:
                acknowledged = ledger.append({"pad": "x" * 20_000}).sequence
            except LedgerWriteError as error:
                refusal = str(error)
        assert "bytes could be written" in refusal or "No space left" in refusal
        assert "could not be recorded" not in refusal
        with pytest.raises(LedgerWriteError, match="nothing can be appended"):
            ledger.append({})
        ledger.close()
        *_, last, stop = read_records(folder)
        assert (last.sequence, stop.kind) == (acknowledged, Kind.STOP)
        assert stop.body["reason"] == refusal
        # There is no room for the reserve, and so for no new start either.
        (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free))
        with pytest.raises(LedgerWriteError, match="No space left on device"):
            Ledger.open(folder, signers)
        subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
        with Ledger.open(folder, signers) as ledger:
            assert ledger.append({"after": "more room"}).sequence == stop.sequence + 1
        assert verify(folder, signers.records.verify_key, anchor=head_of(folder)).verdict is Verdict.VERIFIED


RUNNING = (
    OPENING
    + """
from ledger import Cadence
with Ledger.open(sys.argv[1], signers, cadence=Cadence(records=50)) as ledger:
    while True:
        receipt = ledger.append({"pad": "x" * 700})
        print(receipt.sequence, receipt.hash_hex, flush=True)
"""
)


@pytest.mark.parametrize("lines", [1, 60, 333])
def test_a_power_cut_loses_nothing_that_was_acknowledged(tmp_path, signers, lines):
    """The disk's image is copied while the writer stands still: it holds what a power cut leaves."""
    if shutil.which("mkfs.ext4", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
        pytest.skip("mkfs.ext4 is not installed")
    image, copy, disk = tmp_path / "image", tmp_path / "copy", tmp_path / "disk"
    with image.open("wb") as stream:
        stream.truncate(16 * 2**20)
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True, env={**os.environ, "PATH": path})
    acknowledged = []
    with mounted(disk, "-o", "loop", str(image)):
        child = subprocess.Popen(
            [sys.executable, "-c", RUNNING, str(disk / "ledger")],
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        while len(acknowledged) < lines:
            assert select.select([child.stdout], [], [], 30)[0], "the writer is silent"
            acknowledged.append(child.stdout.readline().split())
        child.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
        shutil.copyfile(image, copy)
        child.kill()
        acknowledged += [line.split() for line in child.stdout if line.endswith("\n")]
        child.stdout.close()
        child.wait()
    with mounted(disk, "-o", "loop", str(copy)):
        folder = disk / "ledger"
        report = verify(folder, signers.records.verify_key)
        assert report.verdict in (Verdict.NO_ANCHOR, Verdict.TORN_TAIL), report.finding
        with Ledger.open(folder, signers) as ledger:
            stored = {str(record.sequence): record.hash_hex for record in ledger.records()}
            assert dict(acknowledged).items() <= stored.items()
            end = ledger.head()
        assert verify(folder, signers.records.verify_key, anchor=end).verdict is Verdict.VERIFIED
