import bisect
import json
import os
import tracemalloc

import attrs
import pytest
from ledger_bench import entries, head_of, offsets, split

from ledger import (
    Checkpoint,
    Fault,
    Finding,
    Head,
    Kind,
    Ledger,
    LedgerReadError,
    LedgerTamperedError,
    LedgerWriteError,
    Verdict,
    open_checkpoint,
    read_records,
    verify,
)
from ledger import frame as frames
from ledger.canonical import encode
from ledger.chain import genesis_body, rotation_body
from ledger.evidence import Evidence
from ledger.frame import MAX_FRAME_BYTES
from ledger.keys import encode_base64
from ledger.record import EMPTY, RecordError, Tip, encode_body, parse, seal

NOW = "2026-03-01T12:00:00.000000Z"
LATER = "2026-03-01T12:00:01.000000Z"


def test_the_report_of_a_good_ledger(write, folder, key, signers):
    data = write(3)
    seen = []
    anchor = head_of(folder)
    report = verify(folder, key.verify_key, anchor=anchor, progress=lambda *step: seen.append(step))
    signed = open_checkpoint((folder / "checkpoint").read_bytes(), signers.log.verifier)
    assert attrs.asdict(report, recurse=False) == {
        "verdict": Verdict.VERIFIED,
        "records": 4,
        "size": len(data),
        "head": anchor,
        "root": signed.checkpoint.root,
        "first_timestamp": "2026-03-01T12:00:01.123456Z",
        "last_timestamp": "2026-03-01T12:00:04.123456Z",
        "published": 4,
        "anchored": 4,
        "witnesses": (),
        "finding": None,
    }
    assert seen == [*((offset, len(data)) for offset in offsets(data)[1:]), (len(data), len(data))]
    assert verify(folder, key.verify_key, anchor=signed.checkpoint).verdict is Verdict.VERIFIED


def test_no_byte_can_be_changed_into_a_record_end_unseen(write, folder, journal, key):
    data = write(1)
    (folder / "checkpoint").unlink()
    for place in range(len(data)):
        if data[place : place + 1] != b"\n":
            journal.write_bytes(data[:place] + b"\n" + data[place + 1 :])
            report = verify(folder, key.verify_key)
            assert report.verdict is Verdict.TAMPERED
            assert report.records == bisect.bisect_right(offsets(data), place) - 1


def test_a_cut_tail_is_found_by_the_checkpoint_and_by_an_anchor(write, folder, journal, key, signers):
    data = write(2)
    first = offsets(data)[2]
    anchor = head_of(folder)
    signed = open_checkpoint((folder / "checkpoint").read_bytes(), signers.log.verifier)
    for length in (first, first + 20, len(data) - 1):
        journal.write_bytes(data[:length])
        report = verify(folder, key.verify_key)
        assert (report.verdict, report.records) == (Verdict.TRUNCATED, 2)
        assert (report.finding.sequence, report.finding.offset) == (2, first)
    (folder / "checkpoint").unlink()
    journal.write_bytes(data[:first])
    assert verify(folder, key.verify_key).verdict is Verdict.NO_ANCHOR
    assert verify(folder, key.verify_key, anchor=anchor).verdict is Verdict.TRUNCATED
    assert verify(folder, key.verify_key, anchor=signed.checkpoint).verdict is Verdict.TRUNCATED
    journal.write_bytes(b"")
    report = verify(folder, key.verify_key)
    assert (report.verdict, report.head, report.first_timestamp) == (Verdict.TRUNCATED, None, None)


def test_removed_doubled_swapped_and_foreign_records_are_found(
    write, folder, journal, key, signers, clock, tmp_path
):
    parts = split(write(4))
    (folder / "checkpoint").unlink()
    with Ledger.open(tmp_path / "other", signers, clock=clock) as ledger:
        for number in range(4):
            ledger.append({"cycle": number})
    foreign = split((tmp_path / "other" / "journal").read_bytes())
    for changed, struck, fault in [
        (parts[:2] + parts[3:], 2, Fault.SEQUENCE),
        (parts[1:], 0, Fault.UNKNOWN_KEY),
        (parts[:2] + parts[1:], 2, Fault.SEQUENCE),
        ([parts[0], parts[2], parts[1], *parts[3:]], 1, Fault.SEQUENCE),
        (parts[:2] + foreign[2:], 2, Fault.CHAIN),
        ([*parts, frames.encode(b"{}")], 5, Fault.CANONICAL_FORM),
    ]:
        journal.write_bytes(b"".join(changed))
        report = verify(folder, key.verify_key)
        assert (report.verdict, report.finding.sequence) == (Verdict.TAMPERED, struck)
        assert report.finding.fault is fault


def test_an_anchor_finds_a_ledger_that_was_written_anew_by_the_key_holder(
    write, folder, journal, key, signers
):
    write(3)
    anchor = head_of(folder)
    seen = open_checkpoint((folder / "checkpoint").read_bytes(), signers.log.verifier).checkpoint
    journal.unlink()
    (folder / "checkpoint").unlink()
    data = write(5)
    assert verify(folder, key.verify_key).verdict is Verdict.NO_ANCHOR
    for given in (anchor, seen):
        report = verify(folder, key.verify_key, anchor=given)
        assert (report.verdict, report.records) == (Verdict.FORKED, 3)
        assert (report.finding.sequence, report.finding.offset) == (3, offsets(data)[3])
        assert report.finding.fault is Fault.TREE
    (folder / "checkpoint").unlink()
    assert verify(folder, key.verify_key, anchor=Checkpoint("x", 2, bytes(32))).verdict is Verdict.FORKED


def test_a_bad_checkpoint_is_tampering(write, folder, key, other_key):
    write(1)
    note = (folder / "checkpoint").read_bytes()
    for bad in (b"", note[:-1], note.replace(b"\n2\n", b"\n3\n"), note.replace(b"attunement", b"other")):
        (folder / "checkpoint").write_bytes(bad)
        report = verify(folder, key.verify_key)
        assert (report.verdict, report.finding.fault) == (Verdict.TAMPERED, Fault.CHECKPOINT)
        assert "file checkpoint" in report.finding.detail


def test_a_flipped_bit_of_a_published_file_is_found(write, folder, key, signers):
    write(300)
    for name in ("tile/entries/000", "tile/0/000", "tile/1/000.p/1", "tile/0/001.p/45"):
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(data)
        report = verify(folder, key.verify_key)
        assert (report.verdict, report.finding.fault) == (Verdict.TAMPERED, Fault.TILE)
        assert name in report.finding.detail
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(data)
    assert verify(folder, key.verify_key).verdict is Verdict.NO_ANCHOR
    partial = folder / "tile/0/001.p/45"
    partial.write_bytes(bytes(45 * 32))
    ledger = Ledger.open(folder, signers)
    ledger.append({"after": "the checkpoint"})
    partial.write_bytes(bytes(45 * 32))
    assert verify(folder, key.verify_key).finding.fault is Fault.TILE
    ledger.close()
    assert verify(folder, key.verify_key).verdict is Verdict.NO_ANCHOR
    os.unlink(folder / "tile/entries/000")
    assert verify(folder, key.verify_key).verdict is Verdict.TAMPERED


def test_a_partial_tile_that_a_writer_drops_meanwhile_is_no_tampering(write, folder, key, monkeypatch):
    write(3)
    partial, exists = folder / "tile/0/000.p/4", os.path.exists

    def seen_for_the_last_time(path):
        answer = exists(path)
        if os.fspath(path) == os.fspath(partial):
            partial.unlink(missing_ok=True)
        return answer

    monkeypatch.setattr(os.path, "exists", seen_for_the_last_time)
    assert verify(folder, key.verify_key).verdict is Verdict.NO_ANCHOR
    partial.unlink(missing_ok=True)
    assert verify(folder, key.verify_key).verdict is Verdict.NO_ANCHOR


def test_an_anchor_that_could_never_be_met_is_refused():
    with pytest.raises(ValueError, match="sequence"):
        Head(-1, "0" * 64)


def test_another_key_can_say_nothing(write, folder, key, other_key):
    write(1)
    report = verify(folder, other_key.verify_key)
    assert (report.verdict, report.records) == (Verdict.UNVERIFIABLE, 0)
    assert report.finding == Finding(
        0,
        0,
        Fault.UNKNOWN_KEY,
        f"ledger was written by key {key.verify_key.key_id}, "
        f"this process holds key {other_key.verify_key.key_id}",
    )


def sign(folder, signers, *steps):
    """Write records that the key's holder signed one by one, each claiming to follow the given tip."""
    tip, data = EMPTY, b""
    for step in steps:
        stored, tip = step(tip, signers)
        data += frames.encode(stored)
    folder.mkdir()
    (folder / "journal").write_bytes(data)


def genesis(tip, signers):
    body = genesis_body(signers.records.verify_key, signers.log.verifier)
    return seal(tip, Kind.GENESIS, encode_body(body), NOW, signers.records)


def entry(kind=Kind.ENTRY, now=NOW, signer=None, body=None, **claimed):
    def step(tip, signers):
        stored, after = seal(
            tip._replace(**claimed), kind, encode_body(body or {"a": 1}), now, signer or signers.records
        )
        return stored, after._replace(sequence=tip.sequence + 1)

    return step


@pytest.mark.parametrize(
    ("step", "fault"),
    [
        (entry(sequence=5), Fault.SEQUENCE),
        (entry(sequence=0, kind=Kind.GENESIS), Fault.SEQUENCE),
        (entry(hash_hex="f" * 64), Fault.CHAIN),
        (entry(timestamp="", now="2026-03-01T11:59:59.999999Z"), Fault.TIMESTAMP),
        (entry(timestamp=LATER, now=NOW), Fault.TIMESTAMP),
        (entry(kind=Kind.ROTATION, body={"public_key": 1}), Fault.UNKNOWN_KEY),
        (entry(kind=Kind.ROTATION, body={"public_key": encode_base64(bytes(32))}), Fault.UNKNOWN_KEY),
    ],
)
def test_even_the_key_holder_must_follow_the_chain(folder, signers, step, fault):
    sign(folder, signers, genesis, entry(), step, entry())
    report = verify(folder, signers.records.verify_key)
    assert (report.verdict, report.finding.sequence, report.finding.fault) == (Verdict.TAMPERED, 2, fault)
    with pytest.raises(LedgerTamperedError) as caught:
        Ledger.open(folder, signers)
    assert caught.value.finding == report.finding
    with pytest.raises(LedgerTamperedError, match=fault.value):
        list(read_records(folder))


def rotation(successor, change):
    def step(tip, signers):
        body = {**rotation_body(successor, change.get("before", tip.hash_hex)), **change.get("members", {})}
        return seal(tip, Kind.ROTATION, encode_body(body), NOW, signers.records)

    return step


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"before": "0" * 64}, Fault.SIGNATURE),
        ({"members": {"proof": encode_base64(bytes(64))}}, Fault.SIGNATURE),
        ({"members": {"proof": 1}}, Fault.CANONICAL_FORM),
        ({"members": {"more": 1}}, Fault.CANONICAL_FORM),
    ],
)
def test_a_successor_must_sign_the_history_before_it(folder, signers, other_key, change, fault):
    sign(folder, signers, genesis, entry(), rotation(other_key, change))
    report = verify(folder, signers.records.verify_key)
    assert (report.verdict, report.finding.sequence, report.finding.fault) == (Verdict.TAMPERED, 2, fault)


def test_the_old_key_signs_nothing_after_its_successor(folder, signers, other_key):
    sign(folder, signers, genesis, rotation(other_key, {}), entry())
    report = verify(folder, signers.records.verify_key)
    assert (report.finding.sequence, report.finding.fault) == (2, Fault.UNKNOWN_KEY)


def test_a_record_of_another_key_in_the_midst_is_found(folder, signers, other_key):
    sign(folder, signers, genesis, entry(signer=other_key))
    report = verify(folder, signers.records.verify_key)
    assert (report.verdict, report.finding.fault) == (Verdict.TAMPERED, Fault.UNKNOWN_KEY)


def test_a_signature_of_something_else_is_found(folder, signers):
    sign(folder, signers, genesis, entry())
    first, second = entries((folder / "journal").read_bytes())
    changed = second.replace(b'"a":1', b'"a":2')
    (folder / "journal").write_bytes(frames.encode(first) + frames.encode(changed))
    report = verify(folder, signers.records.verify_key)
    assert (report.verdict, report.finding.fault) == (Verdict.TAMPERED, Fault.SIGNATURE)


@pytest.mark.parametrize(
    ("kind", "change", "fault"),
    [
        (Kind.ENTRY, {}, Fault.SEQUENCE),
        (Kind.GENESIS, {"public_key": None}, Fault.UNKNOWN_KEY),
        (Kind.GENESIS, {"public_key": 5}, Fault.UNKNOWN_KEY),
        (Kind.GENESIS, {"public_key": encode_base64(bytes([1]) + bytes(31))}, Fault.UNKNOWN_KEY),
        (Kind.GENESIS, {"log_key": 5}, Fault.UNKNOWN_KEY),
        (Kind.GENESIS, {"log_key": "x+00000000+AQ=="}, Fault.UNKNOWN_KEY),
        (Kind.GENESIS, {"format": "another"}, Fault.CANONICAL_FORM),
        (Kind.GENESIS, {"more": 1}, Fault.CANONICAL_FORM),
    ],
)
def test_the_first_record_must_be_a_genesis_record(folder, journal, signers, kind, change, fault):
    body = {**genesis_body(signers.records.verify_key, signers.log.verifier), **change}
    folder.mkdir()
    journal.write_bytes(frames.encode(seal(EMPTY, kind, encode_body(body), NOW, signers.records)[0]))
    report = verify(folder, signers.records.verify_key)
    assert (report.verdict, report.finding.fault) == (Verdict.TAMPERED, fault)


@pytest.mark.parametrize(
    ("member", "value", "message"),
    [
        ("v", 2, "v is 2, must be 1"),
        ("v", True, "v is True, must be 1"),
        ("v", "\x1b\n", r"v is '\\x1b\\n', must be 1"),
        ("seq", -1, "seq is not a whole number"),
        ("seq", True, "seq is not a whole number"),
        ("seq", "1", "seq is not a whole number"),
        ("timestamp", 5, "timestamp is not a UTC time"),
        ("timestamp", "2026-03-01T12:00:00.000000", "timestamp is not a UTC time"),
        ("timestamp", "2026-02-30T12:00:00.000000Z", "timestamp is not a UTC time"),
        ("timestamp", "2026-03-01T12:00:00Z", "timestamp is not a UTC time"),
        ("timestamp", "20260301T120000.000000Z", "timestamp is not a UTC time"),
        ("timestamp", "2026-03-01T12:00:00.000000+09:00Z", "timestamp is not a UTC time"),
        ("timestamp", "٢026-03-01T12:00:00.000000Z", "timestamp is not a UTC time"),
        ("clock", None, "clock is not a UTC time"),
        ("prev", "0" * 63, "prev is not 64 hex digits"),
        ("prev", "A" * 64, "prev is not 64 hex digits"),
        ("prev", None, "prev is not 64 hex digits"),
        ("key", "0" * 15, "key is not 16 hex digits"),
        ("kind", "secret", "kind is not known"),
        ("kind", [], "kind is not known"),
        ("body", [], "body is not an object"),
        ("signature", 1, "signature is not 64 bytes"),
        ("signature", encode_base64(bytes(63)), "signature is not 64 bytes"),
        ("signature", encode_base64(bytes(64))[:-3] + "B==", "signature is not 64 bytes"),
        ("extra", 1, "the members are not those of a record"),
    ],
)
def test_a_malformed_member_is_named(key, member, value, message):
    stored, _ = seal(EMPTY, Kind.ENTRY, encode_body({}), NOW, key)
    members = {**json.loads(stored), member: value}
    with pytest.raises(RecordError, match=message) as caught:
        parse(encode(members))
    assert caught.value.fault is Fault.CANONICAL_FORM


@pytest.mark.parametrize("missing", ["body", "key", "kind", "prev", "seq", "signature", "timestamp", "v"])
def test_no_member_may_be_missing(key, missing):
    stored, _ = seal(EMPTY, Kind.ENTRY, encode_body({}), NOW, key)
    members = json.loads(stored)
    del members[missing]
    with pytest.raises(RecordError, match="the members are not those of a record"):
        parse(encode(members))


def test_a_duplicate_key_in_a_record_is_found(write, folder, journal, key):
    first, second = entries(write(1))
    doubled = second.replace(b'"cycle":0', b'"cycle":0,"cycle":0')
    journal.write_bytes(frames.encode(first) + frames.encode(doubled))
    report = verify(folder, key.verify_key)
    assert report.finding.fault is Fault.CANONICAL_FORM
    assert "key 'cycle' appears twice" in str(report.finding)


def test_two_spellings_of_one_letter_stay_two(folder, signers, key):
    with Ledger.open(folder, signers) as ledger:
        ledger.append({"\u00e9": 1, "e\u0301": 2})
    *_, record = read_records(folder)
    assert record.body == {"\u00e9": 1, "e\u0301": 2}
    assert verify(folder, key.verify_key).verdict is Verdict.NO_ANCHOR


def test_a_record_without_end_is_never_held_in_memory(write, folder, journal, key):
    data = write(1)
    with journal.open("ab") as stream:
        stream.write(b"x" * 100)
        stream.truncate(len(data) + 64 * 1024 * 1024)
    tracemalloc.start()
    try:
        report = verify(folder, key.verify_key)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (report.verdict, report.finding.fault) == (Verdict.TAMPERED, Fault.FRAME)
    assert peak < 16 * 1024 * 1024


def test_the_longest_torn_tail_is_still_torn(write, folder, journal, key):
    data = write(1)
    begun = frames.encode(b"x" * (MAX_FRAME_BYTES - frames.OVERHEAD))
    for tail, verdict in [
        (begun[:-1], Verdict.TORN_TAIL),
        (begun[:-1] + b"x", Verdict.TAMPERED),
        (b"\xff" * 20, Verdict.TAMPERED),
    ]:
        journal.write_bytes(data + tail)
        assert verify(folder, key.verify_key).verdict is verdict


def test_reading_stops_at_a_torn_tail_and_needs_no_lock(write, folder, journal, signers, clock):
    data = write(2)
    with Ledger.open(folder, signers, clock=clock):
        assert len(list(read_records(folder))) == 3
    journal.write_bytes(data[:-1])
    assert [record.sequence for record in read_records(folder)] == [0, 1]


def test_reading_yields_the_good_records_before_the_bad_one(write, folder, journal):
    data = bytearray(write(3))
    data[offsets(data)[2] + 12] ^= 1
    journal.write_bytes(data)
    reader = read_records(folder)
    assert [next(reader).sequence, next(reader).sequence] == [0, 1]
    with pytest.raises(LedgerTamperedError, match="record 2 at byte"):
        next(reader)


def test_what_cannot_be_read_is_an_error_of_reading(tmp_path, key):
    (tmp_path / "journal").mkdir()
    for name, told in ((tmp_path, "cannot read"), (tmp_path / "absent", "no ledger in .*absent: it has no")):
        with pytest.raises(LedgerReadError, match=told):
            verify(name, key.verify_key)
        with pytest.raises(LedgerReadError, match=told):
            list(read_records(name))


def put_pipe(path):
    path.unlink(missing_ok=True)
    os.mkfifo(path)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["journal", "checkpoint", "witnessed"])
def test_no_reader_waits_for_a_pipe(write, folder, key, signers, name):
    write(3)
    put_pipe(folder / name)
    with pytest.raises(LedgerReadError, match=f"{name}: it is not a regular file"):
        verify(folder, key.verify_key)
    if name != "journal":
        with pytest.raises(LedgerReadError, match="is not a regular file"):
            Evidence(folder, signers.log.verifier, is_witnessed=name == "witnessed")


@pytest.mark.timeout(20)
def test_no_proof_waits_for_a_pipe(write, folder, signers):
    write(3)
    put_pipe(folder / "tile/entries/000.p/4")
    evidence = Evidence(folder, signers.log.verifier)
    with pytest.raises(LedgerReadError, match="4: it is not a regular file"):
        evidence.record(1)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("journal", LedgerWriteError),
        ("checkpoint", LedgerReadError),
        ("reserve", LedgerWriteError),
        (f"torn-{'0' * 64}", LedgerReadError),
    ],
)
def test_no_writer_waits_for_a_pipe(write, folder, signers, name, error):
    write(3)
    put_pipe(folder / name)
    with pytest.raises(error, match=f"{name}.* is not a regular file"):
        Ledger.open(folder, signers)


@pytest.mark.timeout(20)
def test_a_pipe_in_place_of_a_draft_is_not_waited_for(write, folder, signers):
    write(3)
    ledger = Ledger.open(folder, signers)
    ledger.append({})
    put_pipe(folder / "checkpoint.new")
    with pytest.raises(LedgerWriteError, match="cannot publish"):
        ledger.close()


@pytest.mark.timeout(20)
def test_a_pipe_in_place_of_a_tile_is_written_over_by_the_writer(write, folder, signers):
    write(260)
    put_pipe(folder / "tile/0/000")
    Ledger.open(folder, signers).close()
    assert verify(folder, signers.records.verify_key).verdict is Verdict.NO_ANCHOR


def test_a_link_to_a_regular_file_is_read(write, folder, key):
    write(3)
    (folder / "journal").rename(folder / "elsewhere")
    (folder / "journal").symlink_to("elsewhere")
    assert verify(folder, key.verify_key).verdict is Verdict.NO_ANCHOR


def test_a_failing_disk_is_not_taken_for_a_bad_ledger(tmp_path, key):
    # The system answers a read of address 0 with an input/output error.
    (tmp_path / "journal").symlink_to("/proc/self/mem")
    with pytest.raises(LedgerReadError, match="cannot read record 0 at byte 0: Input/output error"):
        verify(tmp_path, key.verify_key)


@pytest.mark.parametrize("name", ["tile/0/000", "tile/entries/000", "tile/0/001.p/6"])
def test_a_tile_that_cannot_be_read_is_not_called_tampered(write, folder, signers, name):
    write(261)
    tile = folder / name
    # The system answers a read of address 0 with an input/output error; then a loop of links; then a folder.
    for put, told in (
        (lambda: tile.symlink_to("/proc/self/mem"), "Input/output error"),
        (lambda: tile.symlink_to(tile.name), "Too many levels of symbolic links"),
        (tile.mkdir, "it is not a regular file"),
    ):
        tile.unlink()
        put()
        with pytest.raises(LedgerReadError, match=f"cannot read .*{name}: {told}"):
            verify(folder, signers.records.verify_key)
    tile.rmdir()
    tile.symlink_to(tile.name)
    Ledger.open(folder, signers).close()
    assert verify(folder, signers.records.verify_key).verdict is Verdict.NO_ANCHOR


def test_an_error_of_the_progress_callback_is_its_own(write, folder, key):
    def progress(done, total):
        raise BrokenPipeError

    write(1)
    with pytest.raises(BrokenPipeError):
        verify(folder, key.verify_key, progress=progress)


def test_the_tip_follows_the_record(key):
    stored, tip = seal(EMPTY, Kind.ENTRY, encode_body({"a": "é"}), NOW, key)
    assert tip == Tip(0, parse(stored).hash_hex, NOW, 0)
