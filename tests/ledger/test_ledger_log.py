import errno
import hashlib
import os
import resource
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from ledger_bench import entries, run_child, split

from ledger import (
    Cadence,
    CanonicalError,
    Fault,
    Kind,
    Ledger,
    LedgerError,
    LedgerKeyError,
    LedgerLockedError,
    LedgerReadError,
    LedgerTamperedError,
    LedgerWriteError,
    NoteSigner,
    Receipt,
    Signers,
    SigningKey,
    Verdict,
    read_records,
    verify,
)
from ledger.canonical import MAX_BYTES, MAX_DEPTH
from ledger.frame import MAX_GROUP_BYTES
from ledger.record import MAX_BODY_BYTES


@contextmanager
def file_size_limit(size):
    """A real failing write: the system lets no file grow past this size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_the_journal_is_what_the_format_says(write, folder, key, signers):
    """Pins the format: a change of these bytes needs a new version number."""
    journal = write(2)
    genesis, first, second = entries(journal)
    vkey = str(signers.log.verifier)
    assert vkey == "example.com/attunement+df0d4745+AUPNwCPSLV+eEH0aBpNFfTXR0Q630hxyEZL1b13kBmXT"
    assert genesis.decode() == (
        f'{{"body":{{"format":"lambda-attunement-ledger","log_key":"{vkey}",'
        '"public_key":"A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="},'
        f'"key":"{key.verify_key.key_id}","kind":"genesis","prev":"{"0" * 64}","seq":0,'
        '"signature":"' + genesis.decode().split('"signature":"')[1][:88] + '",'
        '"timestamp":"2026-03-01T12:00:01.123456Z","v":1}'
    )
    signature = '"signature":"' + second.decode().split('"signature":"')[1][:88] + '",'
    assert second.decode() == (
        '{"body":{"C_after":null,"broken":[],"cycle":1,"reason":"λ rose"},'
        f'"key":"{key.verify_key.key_id}","kind":"entry",'
        f'"prev":"{hashlib.sha256(bytes(1) + first).hexdigest()}","seq":2,'
        f'{signature}"timestamp":"2026-03-01T12:00:03.123456Z","v":1}}'
    )
    unsigned = second.decode().replace(signature, "").encode()
    (record,) = [record for record in read_records(folder) if record.sequence == 2]
    assert key.verify_key.verifies(record.signature, b"lambda-attunement/ledger/record/v1\0" + unsigned)
    assert record.hash_hex == hashlib.sha256(bytes(1) + second).hexdigest()
    length = len(second).to_bytes(4, "big")
    assert split(journal)[2] == length + zlib.crc32(length + second).to_bytes(4, "big") + second + b"\n"


def test_receipts_head_and_records_agree(folder, signers, clock):
    with Ledger.open(folder, signers, clock=clock) as ledger:
        receipt = ledger.append({"a": 1})
        seen = ledger.records()
        assert ledger.append({"a": 2}).sequence == 2
        assert [(record.sequence, record.kind) for record in seen] == [(0, Kind.GENESIS), (1, Kind.ENTRY)]
        *_, record, last = ledger.records()
        assert receipt == Receipt(record.sequence, record.hash_hex, record.timestamp)
        assert record.body == {"a": 1}
        assert (ledger.head().sequence, ledger.head().hash_hex) == (last.sequence, last.hash_hex)


def test_a_ledger_goes_on_after_it_was_closed(write, folder, key):
    first = write(2)
    second = write(1)
    assert second.startswith(first)
    report = verify(folder, key.verify_key)
    assert (report.verdict, report.records, report.published) == (Verdict.NO_ANCHOR, 4, 4)


def test_the_default_clock_is_the_time_in_utc(folder, signers):
    with Ledger.open(folder, signers) as ledger:
        stamp = datetime.fromisoformat(ledger.append({}).timestamp)
    assert abs(datetime.now(UTC) - stamp) < timedelta(minutes=5)


def test_what_is_in_the_folder(tmp_path, signers, monkeypatch):
    deep = tmp_path / "a" / "b"
    Ledger.open(deep, signers).close()
    assert sorted(os.listdir(deep)) == ["checkpoint", "journal", "reserve", "tile"]
    monkeypatch.chdir(tmp_path)
    Ledger.open("here", signers).close()
    assert sorted(os.listdir(tmp_path)) == ["a", "here"]


def test_two_writers(folder, signers):
    script = (
        "try: Ledger.open(sys.argv[1], signers)\n"
        "except LedgerError as error: print(type(error).__name__, error)\n"
    )
    with Ledger.open(folder, signers) as ledger:
        with pytest.raises(LedgerLockedError, match="is held by another writer"):
            Ledger.open(folder, signers)
        child = run_child(script, folder)
        assert child.stderr == ""
        assert child.stdout.startswith("LedgerLockedError")
        ledger.append({})
    with Ledger.open(folder, signers) as ledger:
        assert ledger.head().sequence == 1


def test_a_writer_that_loses_the_race_to_create_is_locked_out(folder, signers, key, clock):
    winner = []

    def late_clock():
        winner.append(Ledger.open(folder, signers, clock=clock))
        # Before the loser looks whether there is a checkpoint.
        (folder / "checkpoint").unlink()
        return clock()

    with pytest.raises(LedgerLockedError):
        Ledger.open(folder, signers, clock=late_clock)
    winner[0].append({})
    winner[0].close()
    assert verify(folder, key.verify_key).records == 2


def test_other_keys_are_refused_before_anything_is_written(write, folder, journal, signers, other_key):
    data = write(1)
    with pytest.raises(LedgerKeyError) as caught:
        Ledger.open(folder, Signers(other_key, signers.log))
    assert str(caught.value) == (
        f"ledger was written by key {signers.records.verify_key.key_id}, "
        f"this process holds key {other_key.verify_key.key_id}"
    )
    other_log = NoteSigner(signers.log.name, other_key)
    with pytest.raises(LedgerKeyError) as caught:
        Ledger.open(folder, Signers(signers.records, other_log))
    assert (caught.value.written_by, caught.value.held) == (
        str(signers.log.verifier),
        str(other_log.verifier),
    )
    assert journal.read_bytes() == data


def test_a_clock_that_goes_back_is_kept_beside_the_timestamp(folder, signers, key, clock):
    with Ledger.open(folder, signers, clock=clock) as ledger:
        before = ledger.append({}).timestamp
        clock.now -= timedelta(hours=1)
        assert ledger.append({}).timestamp == before
        clock.now += timedelta(hours=2)
        assert ledger.append({}).timestamp > before
    clock.now -= timedelta(hours=3)
    with Ledger.open(folder, signers, clock=clock) as ledger:
        ledger.append({})
    times = [(record.timestamp, record.clock) for record in read_records(folder)]
    assert times == [
        ("2026-03-01T12:00:01.123456Z", None),
        ("2026-03-01T12:00:02.123456Z", None),
        ("2026-03-01T12:00:02.123456Z", "2026-03-01T11:00:03.123456Z"),
        ("2026-03-01T13:00:04.123456Z", None),
        ("2026-03-01T13:00:04.123456Z", "2026-03-01T10:00:05.123456Z"),
    ]
    assert verify(folder, key.verify_key).verdict is Verdict.NO_ANCHOR


def test_a_clock_without_a_zone_is_refused(folder, signers):
    with pytest.raises(LedgerWriteError, match="2026-03-01T00:00:00 has no time zone"):
        Ledger.open(folder, signers, clock=lambda: datetime(2026, 3, 1))  # noqa: DTZ001
    assert not folder.exists()


def test_a_clock_of_another_zone_is_turned_into_utc(folder, signers):
    zone = timezone(timedelta(hours=9))
    Ledger.open(folder, signers, clock=lambda: datetime(2026, 3, 1, 8, 30, tzinfo=zone)).close()
    assert [record.timestamp for record in read_records(folder)] == ["2026-02-28T23:30:00.000000Z"]


def test_a_clock_that_loses_its_zone_costs_those_records_and_no_others(folder, signers, clock):
    readings = [lambda: datetime(2026, 3, 1), clock]  # noqa: DTZ001 - the zone that is missed
    first, arrived = threading.Event(), threading.Event()

    def sync(descriptor):
        first.set()
        arrived.wait(20)

    with Ledger.open(folder, signers, clock=lambda: readings[-1](), sync=sync) as ledger:
        with ThreadPoolExecutor(2) as pool:
            leader = pool.submit(ledger.append, {"n": 1})
            assert first.wait(20)
            readings.pop()
            lost = pool.submit(ledger.append, {"n": 2})
            assert eventually(lambda: ledger._signing.locked())
            arrived.set()
            assert leader.result().sequence == 1
            with pytest.raises(LedgerWriteError, match="has no time zone"):
                lost.result()
        readings.append(clock)
        assert ledger.append({"n": 3}).sequence == 2
    assert [record.body for record in read_records(folder)][1:] == [{"n": 1}, {"n": 3}]


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interruption_while_records_of_others_are_signed_reaches_them(folder, signers, monkeypatch, when):
    """The leader is interrupted once it has taken the record of another."""
    first, arrived = threading.Event(), threading.Event()
    syncs = []

    def sync(descriptor):
        syncs.append(descriptor)
        first.set()
        arrived.wait(20)

    with Ledger.open(folder, signers, sync=sync) as ledger, ThreadPoolExecutor(3) as pool:
        real, calls = ledger._sign_waiting, []

        def interrupted(taken):
            # Second in line, with the lock: those who came late.
            if not ledger._lock._is_owned():
                return real(taken)
            calls.append(taken)
            if when == "after":
                real(taken)
            raise KeyboardInterrupt

        leader = pool.submit(ledger.append, {"n": 1})
        assert first.wait(20)
        monkeypatch.setattr(ledger, "_sign_waiting", interrupted)
        second = pool.submit(ledger.append, {"n": 2})
        assert eventually(lambda: ledger._signed.sequence == 2)
        third = pool.submit(ledger.append, {"n": 3})
        assert eventually(lambda: len(ledger._queue) == 1)
        arrived.set()
        assert leader.result().sequence == 1
        with pytest.raises(KeyboardInterrupt):
            second.result()
        with pytest.raises(LedgerWriteError, match="was interrupted"):
            third.result()
        assert len(calls) == len(syncs) == 1


def test_the_bytes_do_not_depend_on_the_time_zone(tmp_path):
    script = (
        "import time; from datetime import datetime, timezone\n"
        "time.tzset(); print(time.tzname[0])\n"
        "ticks = iter(range(100))\n"
        "clock = lambda: datetime.fromtimestamp(1_790_000_000 + next(ticks) % 4, timezone.utc)\n"
        "with Ledger.open(sys.argv[1], signers, clock=clock) as ledger:\n"
        "    for n in range(9): ledger.append({'n': n})\n"
    )
    # The zone of Asia/Tokyo, spelt so that no time zone data is needed.
    for zone, name in (("UTC0", "UTC"), ("JST-9", "JST")):
        child = run_child(script, tmp_path / name, zone=zone)
        assert (child.stdout, child.stderr) == (f"{name}\n", "")
    for file in ("journal", "checkpoint"):
        assert (tmp_path / "UTC" / file).read_bytes() == (tmp_path / "JST" / file).read_bytes()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"reading": {"H": 0.5}}, "body.reading.H is a float"),
        ({"reason": "x" * MAX_BYTES}, "must not exceed 61440"),
        ({"reason": "x" * (MAX_BYTES - 100)}, "must not exceed 61040"),
    ],
)
def test_a_body_that_cannot_be_recorded_is_refused_before_writing(
    write, folder, journal, signers, clock, body, message
):
    write(1)
    with Ledger.open(folder, signers, clock=clock) as ledger:
        data = journal.read_bytes()
        with pytest.raises(CanonicalError) as caught:
            ledger.append(body)
        assert message in str(caught.value)
        assert journal.read_bytes() == data
        ledger.append({"reason": "short"})
    assert verify(folder, signers.records.verify_key).records == 3


def test_whatever_can_be_appended_can_be_read(folder, journal, signers, clock):
    nested = {}
    for _ in range(MAX_DEPTH - 2):
        nested = {"in": nested}
    longest = MAX_BODY_BYTES - len('{"body":{"reason":""}')
    with Ledger.open(folder, signers, clock=clock) as ledger:
        ledger.append(nested)
        with pytest.raises(CanonicalError, match="in depth"):
            ledger.append({"in": nested})
        clock.now -= timedelta(hours=1)
        ledger.append({"reason": "x" * longest})
        with pytest.raises(CanonicalError, match="body takes 61041 bytes, must not exceed 61040"):
            ledger.append({"reason": "x" * (longest + 1)})
    # A sequence may grow by eighteen digits, and its kind may have four letters more.
    assert MAX_BYTES - 80 < max(map(len, entries(journal.read_bytes()))) + 18 + 4 <= MAX_BYTES
    assert verify(folder, signers.records.verify_key).verdict is Verdict.NO_ANCHOR


def test_a_group_is_written_as_one(folder, signers, clock):
    syncs = []

    def sync(descriptor):
        syncs.append(os.fstat(descriptor).st_size)
        os.fdatasync(descriptor)

    with Ledger.open(folder, signers, clock=clock, sync=sync) as ledger:
        assert ledger.append_many([]) == []
        receipts = ledger.append_many([{"n": n} for n in range(64)])
        assert len(syncs) == 1
        assert [receipt.sequence for receipt in receipts] == list(range(1, 65))
        assert [record.body for record in ledger.records()][1:] == [{"n": n} for n in range(64)]
        with pytest.raises(CanonicalError, match=f"must not exceed {MAX_GROUP_BYTES}"):
            ledger.append_many([{"pad": "x" * 60_000}] * 40)
        assert ledger.append({}).sequence == 65


def test_appends_that_wait_share_a_sync(folder, signers):
    first, arrived = threading.Event(), threading.Event()
    syncs = []

    def sync(descriptor):
        syncs.append(descriptor)
        if len(syncs) == 1:
            first.set()
            arrived.wait(20)

    pad = "x" * 60_000
    with Ledger.open(folder, signers, sync=sync) as ledger, ThreadPoolExecutor(60) as pool:
        leader = pool.submit(ledger.append, {})
        assert first.wait(20)
        waiting = [pool.submit(ledger.append, {"n": n, "pad": pad}) for n in range(50)]
        # Some of them have their records signed already, while the sync is under way.
        while len(ledger._queue) + ledger._signed.sequence < 51:
            arrived.wait(0.005)
        arrived.set()
        sequences = [leader.result().sequence, *sorted(task.result().sequence for task in waiting)]
    assert sequences == list(range(1, 52))
    # Fifty records of 60 kB are more than one group may hold.
    assert len(syncs) == 3


def test_an_error_reaches_everybody_in_the_group(folder, signers):
    first, arrived = threading.Event(), threading.Event()
    syncs = []

    def sync(descriptor):
        syncs.append(descriptor)
        first.set()
        arrived.wait(20)
        if len(syncs) == 2:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with Ledger.open(folder, signers, sync=sync) as ledger, ThreadPoolExecutor(9) as pool:
        leader = pool.submit(ledger.append, {})
        assert first.wait(20)
        waiting = [pool.submit(ledger.append, {"n": n}) for n in range(8)]
        while len(ledger._queue) + ledger._signed.sequence < 9:
            arrived.wait(0.005)
        arrived.set()
        assert leader.result().sequence == 1
        for task in waiting:
            with pytest.raises(LedgerWriteError, match="cannot sync"):
                task.result()


@pytest.mark.parametrize("room", [0, 1, 100])
def test_a_write_that_fails_is_cut_off_and_stops_the_ledger(write, folder, journal, signers, clock, room):
    data = write(2)
    with Ledger.open(folder, signers, clock=clock) as ledger:
        message = f"{room} of" if room else "cannot write to .*: File too large"
        # The limit holds for the record of the stop as well.
        with file_size_limit(len(data) + room), pytest.raises(LedgerWriteError, match=message) as caught:
            ledger.append({"lost": True})
        assert "the stop could not be recorded" in str(caught.value)
        assert journal.read_bytes() == data
        with pytest.raises(LedgerWriteError, match=message):
            ledger.append({"kept": True})
        with pytest.raises(LedgerWriteError, match=message):
            ledger.checkpoint()
    with Ledger.open(folder, signers, clock=clock) as ledger:
        assert ledger.append({"kept": True}).sequence == 3
    assert verify(folder, signers.records.verify_key).records == 4


def test_a_write_that_cannot_be_cut_off_stops_the_ledger(write, folder, journal, signers, clock):
    data = write(1)
    with Ledger.open(folder, signers, clock=clock) as ledger:
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, ledger._descriptor)
        os.close(full)
        with pytest.raises(LedgerWriteError, match=r"cannot cut .* back: Invalid argument"):
            ledger.append({})
        with pytest.raises(LedgerWriteError, match="a failed write could not be cut off: Invalid argument"):
            ledger.append({})
    assert journal.read_bytes() == data


def test_a_failed_sync_stops_the_ledger_and_is_never_tried_again(write, folder, signers, clock):
    write(1)
    calls = []

    def sync(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        os.fdatasync(descriptor)

    with Ledger.open(folder, signers, clock=clock, sync=sync) as ledger:
        head = ledger.append({"n": 1})
        with pytest.raises(LedgerWriteError, match=r"cannot sync .*: Input/output error"):
            ledger.append({"n": 2})
        for _ in range(2):
            with pytest.raises(LedgerWriteError, match=r"nothing can be appended .*: sync failed: Input"):
                ledger.append({"n": 3})
        assert ledger.head().sequence == head.sequence == 2
        assert len(list(ledger.records())) == 3
    assert len(calls) == 2
    with Ledger.open(folder, signers, clock=clock) as ledger:
        assert ledger.append({"n": 4}).sequence >= 3
    assert verify(folder, signers.records.verify_key).verdict is Verdict.NO_ANCHOR


class Interrupted:
    """A lock in whose call to acquire a signal's handler raises, once it is taken."""

    def __init__(self, lock):
        self.lock = lock
        self.release = lock.release
        self.strikes = 1

    def acquire(self, *arguments, **options):
        taken = self.lock.acquire(*arguments, **options)
        self.strikes -= 1
        if self.strikes == 0:
            raise KeyboardInterrupt
        return taken

    def __enter__(self):
        return self.lock.__enter__()

    def __exit__(self, *arguments):
        self.lock.__exit__(*arguments)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("call", [lambda ledger: ledger.append({}), lambda ledger: ledger.health(1.0)])
def test_an_interruption_leaves_no_lock_taken(folder, signers, call):
    with Ledger.open(folder, signers) as ledger:
        ledger._lock = Interrupted(ledger._lock)
        with pytest.raises(KeyboardInterrupt):
            call(ledger)
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(ledger.health, 1.0).result().records == 1


@pytest.mark.timeout(20)
def test_what_its_caller_no_longer_waits_for_is_not_written(folder, signers, monkeypatch):
    with Ledger.open(folder, signers) as ledger:

        def interrupted(request):
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(ledger, "_take_turn", interrupted)
            with pytest.raises(KeyboardInterrupt):
                ledger.append({"n": 1})
        assert ledger.append({"n": 2}).sequence == 1
    assert [record.body for record in read_records(folder)][1:] == [{"n": 2}]


def test_an_interrupted_append_stops_the_ledger(folder, signers):
    def sync(descriptor):
        raise KeyboardInterrupt

    with Ledger.open(folder, signers, sync=sync) as ledger:
        with pytest.raises(KeyboardInterrupt):
            ledger.append({})
        with pytest.raises(LedgerWriteError, match="an append was interrupted"):
            ledger.append({})


def test_a_closed_ledger_refuses_and_closing_twice_is_allowed(folder, signers):
    ledger = Ledger.open(folder, signers)
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
def test_a_journal_that_changes_under_the_writer_stops_it(
    write, folder, journal, signers, clock, change, message
):
    write(1)
    with Ledger.open(folder, signers, clock=clock) as ledger:
        change(journal)
        with pytest.raises(LedgerTamperedError, match=message) as caught:
            ledger.append({})
        assert (caught.value.finding.sequence, caught.value.finding.fault) == (2, Fault.TRUNCATED)
        with pytest.raises(LedgerWriteError, match=message):
            ledger.append({})


def test_paths_that_cannot_be_ledgers(tmp_path, signers):
    (tmp_path / "file").touch()
    for below in ("file", "file/folder"):
        with pytest.raises(LedgerWriteError, match=r"cannot create the folder .*: (File exists|Not a dir)"):
            Ledger.open(tmp_path / below, signers)
    with pytest.raises(LedgerWriteError, match=r"cannot create .*: File name too long"):
        Ledger.open(tmp_path / ("x" * 300), signers)
    (tmp_path / "a" / "journal").mkdir(parents=True)
    with pytest.raises(LedgerWriteError, match=r"cannot open .*: Is a directory"):
        Ledger.open(tmp_path / "a", signers)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "journal").symlink_to("/dev/full")
    with pytest.raises(LedgerWriteError, match="journal is not a regular file"):
        Ledger.open(tmp_path / "b", signers)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "journal").symlink_to(tmp_path / "nowhere")
    with pytest.raises(LedgerWriteError, match=r"cannot open .*: No such file"):
        Ledger.open(tmp_path / "c", signers)
    with file_size_limit(0), pytest.raises(LedgerWriteError, match=r"cannot create .*: File too large"):
        Ledger.open(tmp_path / "d", signers)
    assert os.listdir(tmp_path / "d") == []


def test_a_folder_without_write_permission(tmp_path, signers):
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(LedgerWriteError, match="Permission denied"):
        Ledger.open(tmp_path / "ledger", signers)


@pytest.mark.parametrize("content", [b"", b"{", b"just a text file\n", b"\0" * 100])
def test_a_file_that_is_no_journal_is_left_alone(folder, journal, signers, content):
    folder.mkdir()
    journal.write_bytes(content)
    with pytest.raises(LedgerTamperedError, match="record 0 at byte 0"):
        Ledger.open(folder, signers)
    assert journal.read_bytes() == content
    assert os.listdir(folder) == ["journal"]


def test_appends_from_many_threads_are_one_chain(folder, signers, key):
    start = threading.Barrier(4)

    def work(worker):
        start.wait()
        return [(ledger.append({"worker": worker, "n": n}), worker, n) for n in range(40)]

    with Ledger.open(folder, signers) as ledger, ThreadPoolExecutor(4) as pool:
        results = [result for worker in pool.map(work, range(4)) for result in worker]
    stored = {record.sequence: record for record in read_records(folder)}
    assert sorted(receipt.sequence for receipt, _, _ in results) == list(range(1, 161))
    for receipt, worker, n in results:
        assert stored[receipt.sequence].body == {"worker": worker, "n": n}
        assert stored[receipt.sequence].hash_hex == receipt.hash_hex
    assert verify(folder, key.verify_key).records == 161


def test_a_key_signs_its_successor_into_the_ledger(write, folder, signers, key, other_key):
    write(2)
    with Ledger.open(folder, signers) as ledger:
        assert ledger.rotate(other_key).sequence == 3
        ledger.append({"after": True})
        head = ledger.head()
    *_, rotation, last = read_records(folder)
    assert (rotation.kind, rotation.key_id) == (Kind.ROTATION, key.verify_key.key_id)
    assert last.key_id == other_key.verify_key.key_id
    assert verify(folder, key.verify_key, anchor=head).verdict is Verdict.VERIFIED
    assert verify(folder, other_key.verify_key).verdict is Verdict.UNVERIFIABLE
    with pytest.raises(LedgerKeyError, match=f"written by key {other_key.verify_key.key_id}"):
        Ledger.open(folder, signers)
    third = SigningKey(bytes(range(9, 41)))
    with Ledger.open(folder, Signers(other_key, signers.log)) as ledger:
        ledger.append({})
        ledger.rotate(third)
    with Ledger.open(folder, Signers(third, signers.log)) as ledger:
        assert ledger.append({}).sequence == 7
    assert verify(folder, key.verify_key, anchor=head).verdict is Verdict.VERIFIED


def test_a_refused_rotation_leaves_the_old_key_in_force(folder, signers, other_key):
    with Ledger.open(folder, signers) as ledger:
        ledger.close()
        with pytest.raises(LedgerWriteError, match="it is closed"):
            ledger.rotate(other_key)
    with Ledger.open(folder, signers) as ledger:
        ledger.append({})


def size_of(folder):
    return int((folder / "checkpoint").read_text().split("\n")[1])


def eventually(holds):
    """Wait for another thread, for as long as a slow machine may take."""
    for _ in range(2000):
        if holds():
            return True
        time.sleep(0.01)
    return False


def test_a_checkpoint_is_due_after_so_many_records(folder, signers):
    with Ledger.open(folder, signers, cadence=Cadence(records=3, seconds=3600)) as ledger:
        assert size_of(folder) == 1
        for size in (4, 7):
            ledger.append({})
            ledger.append({})
            assert size_of(folder) == size - 3
            ledger.append({})
            assert eventually(lambda size=size: size_of(folder) == size)
        ledger.append({})
        assert ledger.checkpoint().checkpoint.size == size_of(folder) == 8
        ledger.append({})
    assert size_of(folder) == 9


def test_a_checkpoint_is_due_after_so_many_seconds_whether_records_come_or_not(folder, signers):
    others = threading.active_count()
    with Ledger.open(folder, signers, cadence=Cadence(records=1000, seconds=0.3)) as ledger:
        for _ in range(2):
            begun = time.monotonic()
            ledger.append({})
            ledger.append({})
            covered = ledger.head().sequence + 1
            assert eventually(lambda covered=covered: size_of(folder) == covered)
            assert time.monotonic() - begun >= 0.3
    assert threading.active_count() == others


def test_what_cannot_be_published_stops_the_ledger_but_not_the_receipt(folder, signers, key):
    ledger = Ledger.open(folder, signers, cadence=Cadence(records=2))
    ledger.append({})
    (folder / "checkpoint.new").mkdir()
    assert ledger.append({}).sequence == 2
    assert eventually(lambda: ledger._stopped)
    with pytest.raises(LedgerWriteError, match="cannot publish: Is a directory"):
        ledger.append({})
    ledger.close()
    with pytest.raises(LedgerWriteError, match=r"cannot publish .*: Is a directory"):
        Ledger.open(folder, signers)
    (folder / "checkpoint.new").rmdir()
    Ledger.open(folder, signers).close()
    assert verify(folder, key.verify_key).published == 3


def test_a_sync_under_way_does_not_keep_the_next_record_from_being_signed(folder, signers):
    syncing, signed = threading.Event(), threading.Event()

    def sync(descriptor):
        syncing.set()
        assert signed.wait(20)

    with Ledger.open(folder, signers, sync=sync) as ledger, ThreadPoolExecutor(2) as pool:
        first = pool.submit(ledger.append, {"n": 1})
        assert syncing.wait(20)
        written = (folder / "journal").stat().st_size
        second = pool.submit(ledger.append, {"n": 2})
        assert eventually(lambda: ledger._signed.sequence == 2)
        # Nothing of the second record is written before the first is durable.
        assert ledger._tip.sequence == 0
        assert (folder / "journal").stat().st_size == written
        signed.set()
        assert [first.result().sequence, second.result().sequence] == [1, 2]
    assert [record.body for record in read_records(folder)][1:] == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize("place", ["_sign_waiting", "_commit"])
def test_records_that_were_signed_and_never_written_stop_the_ledger(folder, signers, monkeypatch, place):
    with Ledger.open(folder, signers) as ledger:
        ledger.append({"n": 1})
        real = ledger._sign_waiting

        def interrupted(taken, *_):
            if place == "_sign_waiting":
                real(taken)
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(ledger, place, interrupted)
            with pytest.raises(KeyboardInterrupt):
                ledger.append({"n": 2})
        with pytest.raises(LedgerWriteError, match="an append was interrupted"):
            ledger.append({"n": 3})
    assert [record.body for record in read_records(folder)][1:] == [{"n": 1}]


def test_a_checkpoint_that_cannot_be_written_at_the_close_is_said(folder, signers):
    ledger = Ledger.open(folder, signers)
    ledger.append({})
    (folder / "checkpoint.new").mkdir()
    with pytest.raises(LedgerWriteError, match="cannot publish"):
        ledger.close()
    (folder / "checkpoint.new").rmdir()
    Ledger.open(folder, signers).close()


def test_a_checkpoint_that_cannot_be_read_is_said(write, folder, signers, key):
    write(1)
    (folder / "checkpoint").unlink()
    (folder / "checkpoint").mkdir()
    with pytest.raises(LedgerReadError, match=r"cannot read .*checkpoint: it is not a regular file"):
        Ledger.open(folder, signers)
    with pytest.raises(LedgerReadError, match="is not a regular file"):
        verify(folder, key.verify_key)


def test_every_refusal_is_a_ledger_error():
    for error in (CanonicalError, LedgerKeyError, LedgerLockedError, LedgerTamperedError, LedgerWriteError):
        assert issubclass(error, LedgerError)
