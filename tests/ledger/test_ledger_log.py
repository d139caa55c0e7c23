import errno
import hashlib
import os
import resource
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from ledger import (
    CanonicalError,
    Fault,
    Kind,
    Ledger,
    LedgerError,
    LedgerKeyError,
    LedgerLockedError,
    LedgerTamperedError,
    LedgerWriteError,
    Receipt,
    Verdict,
    read_records,
    verify,
)
from ledger.canonical import MAX_BYTES, MAX_DEPTH

ROOT = Path(__file__).resolve().parents[2]


def run_child(script, *arguments, zone="UTC"):
    environment = {**os.environ, "TZ": zone, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def file_size_limit(size):
    """A real failing write: the system lets no file grow past this size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_the_file_is_what_the_format_says(write, path, key):
    """Pins the format: a change of these bytes needs a new version number."""
    data = write(2)
    genesis, first, second = data.splitlines(keepends=True)
    assert genesis.decode() == (
        '{"body":{"format":"lambda-attunement-ledger",'
        '"public_key":"A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="},'
        f'"key":"{key.verify_key.key_id}","kind":"genesis","prev":"{"0" * 64}","seq":0,'
        '"signature":"' + genesis.decode().split('"signature":"')[1][:88] + '",'
        '"timestamp":"2026-03-01T12:00:01.123456Z","v":1}\n'
    )
    signature = '"signature":"' + second.decode().split('"signature":"')[1][:88] + '",'
    assert second.decode() == (
        '{"body":{"C_after":null,"broken":[],"cycle":1,"reason":"λ rose"},'
        f'"key":"{key.verify_key.key_id}","kind":"entry",'
        f'"prev":"{hashlib.sha256(first).hexdigest()}","seq":2,'
        f'{signature}"timestamp":"2026-03-01T12:00:03.123456Z","v":1}}\n'
    )
    unsigned = second.decode().replace(signature, "").rstrip("\n").encode()
    (record,) = [record for record in read_records(path) if record.sequence == 2]
    assert key.verify_key.verifies(record.signature, b"lambda-attunement/ledger/record/v1\0" + unsigned)
    assert record.hash_hex == hashlib.sha256(second).hexdigest()


def test_receipts_head_and_records_agree(path, key, clock):
    with Ledger.open(path, key, clock=clock) as ledger:
        receipt = ledger.append({"a": 1})
        seen = ledger.records()
        assert ledger.append({"a": 2}).sequence == 2
        assert [(record.sequence, record.kind) for record in seen] == [(0, Kind.GENESIS), (1, Kind.ENTRY)]
        *_, record, last = ledger.records()
        assert receipt == Receipt(record.sequence, record.hash_hex, record.timestamp)
        assert record.body == {"a": 1}
        assert (ledger.head().sequence, ledger.head().hash_hex) == (last.sequence, last.hash_hex)


def test_a_ledger_goes_on_after_it_was_closed(write, path, key):
    first = write(2)
    second = write(1)
    assert second.startswith(first)
    report = verify(path, key.verify_key)
    assert (report.verdict, report.records) == (Verdict.VERIFIED, 4)


def test_the_default_clock_is_the_time_in_utc(path, key):
    with Ledger.open(path, key) as ledger:
        stamp = datetime.fromisoformat(ledger.append({}).timestamp)
    assert abs(datetime.now(UTC) - stamp) < timedelta(minutes=5)


def test_folders_are_created(tmp_path, key):
    deep = tmp_path / "a" / "b" / "ledger.log"
    Ledger.open(deep, key).close()
    assert os.listdir(deep.parent) == ["ledger.log"]


def test_a_name_without_a_folder_is_in_the_working_directory(tmp_path, key, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Ledger.open("ledger.log", key).close()
    Ledger.open("new/ledger.log", key).close()
    assert sorted(os.listdir(tmp_path)) == ["ledger.log", "new"]


def test_two_writers(path, key):
    script = (
        "import sys; from ledger import *\n"
        "try: Ledger.open(sys.argv[1], SigningKey(bytes(range(32))))\n"
        "except LedgerLockedError as error: print(error)\n"
    )
    with Ledger.open(path, key) as ledger:
        with pytest.raises(LedgerLockedError, match="is held by another writer"):
            Ledger.open(path, key)
        child = run_child(script, path)
        assert child.stderr == ""
        assert "is held by another writer" in child.stdout
        ledger.append({})
    with Ledger.open(path, key) as ledger:
        assert ledger.head().sequence == 1


def test_a_writer_that_loses_the_race_to_create_is_locked_out(path, key, clock):
    winner = []

    def late_clock():
        winner.append(Ledger.open(path, key, clock=clock))
        return clock()

    with pytest.raises(LedgerLockedError):
        Ledger.open(path, key, clock=late_clock)
    winner[0].append({})
    winner[0].close()
    assert os.listdir(path.parent) == ["ledger.log"]
    assert verify(path, key.verify_key).records == 2


def test_another_key_is_refused_before_anything_is_written(write, path, key, other_key):
    data = write(1)
    with pytest.raises(LedgerKeyError) as caught:
        Ledger.open(path, other_key)
    assert str(caught.value) == (
        f"ledger was written by key {key.verify_key.key_id}, "
        f"this process holds key {other_key.verify_key.key_id}"
    )
    assert path.read_bytes() == data


def test_a_clock_that_goes_back_is_kept_beside_the_timestamp(path, key, clock):
    with Ledger.open(path, key, clock=clock) as ledger:
        before = ledger.append({}).timestamp
        clock.now -= timedelta(hours=1)
        assert ledger.append({}).timestamp == before
        clock.now += timedelta(hours=2)
        assert ledger.append({}).timestamp > before
    clock.now -= timedelta(hours=3)
    with Ledger.open(path, key, clock=clock) as ledger:
        ledger.append({})
    times = [(record.timestamp, record.clock) for record in read_records(path)]
    assert times == [
        ("2026-03-01T12:00:01.123456Z", None),
        ("2026-03-01T12:00:02.123456Z", None),
        ("2026-03-01T12:00:02.123456Z", "2026-03-01T11:00:03.123456Z"),
        ("2026-03-01T13:00:04.123456Z", None),
        ("2026-03-01T13:00:04.123456Z", "2026-03-01T10:00:05.123456Z"),
    ]
    assert verify(path, key.verify_key).verdict is Verdict.VERIFIED


def test_a_clock_without_a_zone_is_refused(path, key, clock):
    with pytest.raises(LedgerWriteError, match="2026-03-01T00:00:00 has no time zone"):
        Ledger.open(path, key, clock=lambda: datetime(2026, 3, 1))  # noqa: DTZ001
    assert not path.exists()


def test_a_clock_of_another_zone_is_turned_into_utc(path, key):
    zone = timezone(timedelta(hours=9))
    Ledger.open(path, key, clock=lambda: datetime(2026, 3, 1, 8, 30, tzinfo=zone)).close()
    assert [record.timestamp for record in read_records(path)] == ["2026-02-28T23:30:00.000000Z"]


def test_the_bytes_do_not_depend_on_the_time_zone(tmp_path):
    script = (
        "import sys, time; from datetime import datetime, timezone; from ledger import Ledger, SigningKey\n"
        "time.tzset(); print(time.tzname[0])\n"
        "ticks = iter(range(100))\n"
        "clock = lambda: datetime.fromtimestamp(1_790_000_000 + next(ticks) % 4, timezone.utc)\n"
        "with Ledger.open(sys.argv[1], SigningKey(bytes(range(32))), clock=clock) as ledger:\n"
        "    for n in range(9): ledger.append({'n': n})\n"
    )
    # The zone of Asia/Tokyo, spelt so that no time zone data is needed.
    for zone, name in (("UTC0", "UTC"), ("JST-9", "JST")):
        child = run_child(script, tmp_path / name, zone=zone)
        assert (child.stdout, child.stderr) == (f"{name}\n", "")
    assert (tmp_path / "UTC").read_bytes() == (tmp_path / "JST").read_bytes()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"reading": {"H": 0.5}}, "body.reading.H is a float"),
        ({"reason": "x" * MAX_BYTES}, "must not exceed 61440"),
        ({"reason": "x" * (MAX_BYTES - 100)}, "must not exceed 61441"),
    ],
)
def test_a_body_that_cannot_be_recorded_is_refused_before_writing(write, path, key, clock, body, message):
    write(1)
    with Ledger.open(path, key, clock=clock) as ledger:
        data = path.read_bytes()
        with pytest.raises(CanonicalError) as caught:
            ledger.append(body)
        assert message in str(caught.value)
        assert path.read_bytes() == data
        ledger.append({"reason": "short"})
    assert verify(path, key.verify_key).records == 3


def test_whatever_can_be_appended_can_be_read(path, key):
    nested = {}
    for _ in range(MAX_DEPTH - 2):
        nested = {"in": nested}
    with Ledger.open(path, key) as ledger:
        ledger.append(nested)
        with pytest.raises(CanonicalError, match="in depth"):
            ledger.append({"in": nested})
        # The longest line there is: grow until the first refusal.
        longest = 61000
        while True:
            try:
                ledger.append({"reason": "x" * longest})
            except CanonicalError:
                break
            longest += 1
        length = max(map(len, path.read_bytes().splitlines(keepends=True)))
    assert length == MAX_BYTES + 1
    assert verify(path, key.verify_key).verdict is Verdict.VERIFIED


@pytest.mark.parametrize("room", [0, 1, 100])
def test_a_write_that_fails_is_cut_off_and_the_next_may_succeed(write, path, key, clock, room):
    data = write(2)
    with Ledger.open(path, key, clock=clock) as ledger:
        message = f"{room} of" if room else "cannot write to .*: File too large"
        with file_size_limit(len(data) + room), pytest.raises(LedgerWriteError, match=message):
            ledger.append({"lost": True})
        assert path.read_bytes() == data
        assert ledger.append({"kept": True}).sequence == 3
    assert [record.body for record in read_records(path)][-1] == {"kept": True}
    assert verify(path, key.verify_key).verdict is Verdict.VERIFIED


def test_a_failed_write_that_cannot_be_cut_off_stops_the_ledger(write, path, key, clock):
    data = write(1)
    with Ledger.open(path, key, clock=clock) as ledger:
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, ledger._descriptor)
        os.close(full)
        with pytest.raises(LedgerWriteError, match=r"cannot cut .* back: Invalid argument"):
            ledger.append({})
        with pytest.raises(LedgerWriteError, match="a failed write could not be cut off: Invalid argument"):
            ledger.append({})
    assert path.read_bytes() == data


def test_a_failed_sync_stops_the_ledger_and_is_never_tried_again(write, path, key, clock):
    write(1)
    calls = []

    def sync(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        os.fdatasync(descriptor)

    with Ledger.open(path, key, clock=clock, sync=sync) as ledger:
        head = ledger.append({"n": 1})
        with pytest.raises(LedgerWriteError, match=r"cannot sync .*: Input/output error"):
            ledger.append({"n": 2})
        for _ in range(2):
            with pytest.raises(LedgerWriteError, match=r"nothing can be appended .*: sync failed: Input"):
                ledger.append({"n": 3})
        assert ledger.head().sequence == head.sequence == 2
        assert len(list(ledger.records())) == 3
    assert len(calls) == 2
    with Ledger.open(path, key, clock=clock) as ledger:
        assert ledger.append({"n": 4}).sequence >= 3
    assert verify(path, key.verify_key).verdict is Verdict.VERIFIED


def test_an_interrupted_append_stops_the_ledger(path, key):
    def sync(descriptor):
        raise KeyboardInterrupt

    with Ledger.open(path, key, sync=sync) as ledger:
        with pytest.raises(KeyboardInterrupt):
            ledger.append({})
        with pytest.raises(LedgerWriteError, match="an append was interrupted"):
            ledger.append({})


def test_a_closed_ledger_refuses_and_closing_twice_is_allowed(path, key):
    ledger = Ledger.open(path, key)
    ledger.close()
    ledger.close()
    with pytest.raises(LedgerWriteError, match="it is closed"):
        ledger.append({})


def shrink(path):
    os.truncate(path, path.stat().st_size - 1)


def grow(path):
    with path.open("ab") as stream:
        stream.write(b"x")


def replace(path):
    path.with_suffix(".copy").write_bytes(path.read_bytes())
    path.with_suffix(".copy").rename(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shrink, r"has \d+ bytes, must have \d+"),
        (grow, r"has \d+ bytes, must have \d+"),
        (replace, "is now another file"),
        (Path.unlink, "is gone: No such file"),
    ],
)
def test_a_file_that_changes_under_the_writer_stops_it(write, path, key, clock, change, message):
    write(1)
    with Ledger.open(path, key, clock=clock) as ledger:
        change(path)
        with pytest.raises(LedgerTamperedError, match=message) as caught:
            ledger.append({})
        assert (caught.value.finding.sequence, caught.value.finding.fault) == (2, Fault.TRUNCATED)
        with pytest.raises(LedgerWriteError, match=message):
            ledger.append({})


def test_paths_that_cannot_be_ledgers(tmp_path, key):
    (tmp_path / "file").touch()
    for below in ("ledger.log", "folder/ledger.log"):
        with pytest.raises(LedgerWriteError, match=r"cannot create the folder of .*: File exists"):
            Ledger.open(tmp_path / "file" / below, key)
    with pytest.raises(LedgerWriteError, match=r"cannot create .*: File name too long"):
        Ledger.open(tmp_path / ("x" * 250), key)
    with pytest.raises(LedgerWriteError, match=r"cannot open .*: Is a directory"):
        Ledger.open(tmp_path, key)
    with pytest.raises(LedgerWriteError, match="/dev/full is not a regular file"):
        Ledger.open("/dev/full", key)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(LedgerWriteError, match=r"cannot open .*: No such file"):
        Ledger.open(tmp_path / "dangling", key)


def test_a_folder_without_write_permission(tmp_path, key):
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(LedgerWriteError, match="Permission denied"):
        Ledger.open(tmp_path / "ledger.log", key)


@pytest.mark.parametrize("content", [b"", b"{", b"just a text file\n", b"\0" * 100])
def test_a_file_that_is_no_ledger_is_left_alone(path, key, content):
    path.write_bytes(content)
    with pytest.raises(LedgerTamperedError, match="record 0 at byte 0"):
        Ledger.open(path, key)
    assert path.read_bytes() == content
    assert os.listdir(path.parent) == ["ledger.log"]


def test_appends_from_many_threads_are_one_chain(path, key):
    start = threading.Barrier(4)

    def work(worker):
        start.wait()
        return [(ledger.append({"worker": worker, "n": n}), worker, n) for n in range(40)]

    with Ledger.open(path, key) as ledger, ThreadPoolExecutor(4) as pool:
        results = [result for worker in pool.map(work, range(4)) for result in worker]
    stored = {record.sequence: record for record in read_records(path)}
    assert sorted(receipt.sequence for receipt, _, _ in results) == list(range(1, 161))
    for receipt, worker, n in results:
        assert stored[receipt.sequence].body == {"worker": worker, "n": n}
        assert stored[receipt.sequence].hash_hex == receipt.hash_hex
    assert verify(path, key.verify_key).records == 161


def test_every_refusal_is_a_ledger_error():
    for error in (CanonicalError, LedgerKeyError, LedgerLockedError, LedgerTamperedError, LedgerWriteError):
        assert issubclass(error, LedgerError)
