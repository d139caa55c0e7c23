import bisect
import itertools
import json
import tracemalloc

import attrs
import pytest

from ledger import (
    Fault,
    Finding,
    Head,
    Kind,
    Ledger,
    LedgerReadError,
    LedgerTamperedError,
    Verdict,
    read_records,
    verify,
)
from ledger.canonical import encode
from ledger.chain import genesis_body
from ledger.keys import encode_base64
from ledger.record import EMPTY, MAX_LINE_BYTES, RecordError, Tip, parse, seal

NOW = "2026-03-01T12:00:00.000000Z"
LATER = "2026-03-01T12:00:01.000000Z"


def offsets_of(data):
    return [0, *itertools.accumulate(map(len, data.splitlines(keepends=True)))]


def head_of(path):
    *_, last = read_records(path)
    return Head(last.sequence, last.hash_hex)


def test_the_report_of_a_good_ledger(write, path, key):
    data = write(3)
    seen = []
    report = verify(path, key.verify_key, anchor=head_of(path), progress=lambda *step: seen.append(step))
    assert attrs.asdict(report, recurse=False) == {
        "verdict": Verdict.VERIFIED,
        "records": 4,
        "size": len(data),
        "head": head_of(path),
        "first_timestamp": "2026-03-01T12:00:01.123456Z",
        "last_timestamp": "2026-03-01T12:00:04.123456Z",
        "finding": None,
    }
    assert seen == [(offset, len(data)) for offset in offsets_of(data)[1:]]


@pytest.mark.parametrize("mask", [0x01, 0x20, 0xFF])
def test_every_flipped_byte_is_found_in_its_record(write, path, key, mask):
    data = write(2)
    offsets = offsets_of(data)
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= mask
        path.write_bytes(changed)
        report = verify(path, key.verify_key)
        struck = bisect.bisect_right(offsets, place) - 1
        assert report.finding is not None
        assert (report.finding.sequence, report.finding.offset) == (struck, offsets[struck]), place
        assert report.records == struck
        last_line_end = place == len(data) - 1
        assert report.verdict is (Verdict.TORN_TAIL if last_line_end else Verdict.TAMPERED), place


def test_no_byte_can_be_changed_into_a_line_end_unseen(write, path, key):
    data = write(1)
    offsets = offsets_of(data)
    for place in range(len(data)):
        if data[place : place + 1] != b"\n":
            path.write_bytes(data[:place] + b"\n" + data[place + 1 :])
            report = verify(path, key.verify_key)
            assert report.verdict is Verdict.TAMPERED
            assert report.records == bisect.bisect_right(offsets, place) - 1


def test_every_cut_is_a_shorter_ledger_or_torn_and_the_anchor_finds_it(write, path, key):
    data = write(2)
    offsets = offsets_of(data)
    anchor = head_of(path)
    for length in range(len(data)):
        path.write_bytes(data[:length])
        whole = bisect.bisect_right(offsets, length) - 1
        report = verify(path, key.verify_key)
        if whole == 0:
            assert report.verdict is Verdict.TRUNCATED
            assert (report.head, report.first_timestamp, report.last_timestamp) == (None, None, None)
        else:
            assert report.verdict is (Verdict.VERIFIED if length in offsets else Verdict.TORN_TAIL)
        assert report.records == whole
        anchored = verify(path, key.verify_key, anchor=anchor)
        assert anchored.verdict is Verdict.TRUNCATED
        assert anchored.finding is not None
        assert (anchored.finding.sequence, anchored.finding.offset) == (whole, offsets[whole])


def test_removed_doubled_swapped_and_foreign_records_are_found(write, path, key, clock, tmp_path):
    lines = write(4).splitlines(keepends=True)
    with Ledger.open(tmp_path / "other.log", key, clock=clock) as ledger:
        for number in range(4):
            ledger.append({"cycle": number})
    foreign = (tmp_path / "other.log").read_bytes().splitlines(keepends=True)
    for changed, struck, fault in [
        (lines[:2] + lines[3:], 2, Fault.SEQUENCE),
        (lines[1:], 0, Fault.CANONICAL_FORM),
        (lines[:2] + lines[1:], 2, Fault.SEQUENCE),
        ([lines[0], lines[2], lines[1], *lines[3:]], 1, Fault.SEQUENCE),
        (lines[:2] + foreign[2:], 2, Fault.CHAIN),
        ([*lines, b"\n"], 5, Fault.CANONICAL_FORM),
    ]:
        path.write_bytes(b"".join(changed))
        report = verify(path, key.verify_key)
        assert report.finding is not None
        if struck == 0:
            # An entry in front holds no public key.
            assert report.finding.fault is Fault.UNKNOWN_KEY
        else:
            assert report.finding.fault is fault
        assert (report.verdict, report.finding.sequence) == (Verdict.TAMPERED, struck)


def test_the_anchor_finds_a_ledger_that_was_written_anew_by_the_key_holder(write, path, key, clock):
    write(3)
    anchor = head_of(path)
    path.unlink()
    data = write(5)
    assert verify(path, key.verify_key).verdict is Verdict.VERIFIED
    report = verify(path, key.verify_key, anchor=anchor)
    assert report.finding is not None
    assert (report.verdict, report.records) == (Verdict.TAMPERED, 3)
    assert (report.finding.sequence, report.finding.offset) == (3, offsets_of(data)[3])
    assert report.finding.fault is Fault.CHAIN
    assert f"was seen as {anchor.hash_hex}" in report.finding.detail


def test_an_anchor_that_could_never_be_met_is_refused():
    with pytest.raises(ValueError, match="sequence"):
        Head(-1, "0" * 64)


def test_another_key_can_say_nothing(write, path, key, other_key):
    write(1)
    report = verify(path, other_key.verify_key)
    assert (report.verdict, report.records) == (Verdict.UNVERIFIABLE, 0)
    assert report.finding == Finding(
        0,
        0,
        Fault.UNKNOWN_KEY,
        f"ledger was written by key {key.verify_key.key_id}, "
        f"this process holds key {other_key.verify_key.key_id}",
    )


def sign(path, key, *steps):
    """Write records that the key's holder signed one by one, each claiming to follow the given tip."""
    tip, data = EMPTY, b""
    for step in steps:
        line, tip = step(tip, key)
        data += line
    path.write_bytes(data)


def genesis(tip, key):
    return seal(tip, Kind.GENESIS, genesis_body(key.verify_key), NOW, key)


def entry(kind=Kind.ENTRY, now=NOW, signer=None, **claimed):
    def step(tip, key):
        line, after = seal(attrs.evolve(tip, **claimed), kind, {"a": 1}, now, signer or key)
        return line, attrs.evolve(after, sequence=tip.sequence + 1, end=tip.end + len(line))

    return step


@pytest.mark.parametrize(
    ("step", "fault"),
    [
        (entry(sequence=5), Fault.SEQUENCE),
        (entry(sequence=0, kind=Kind.GENESIS), Fault.SEQUENCE),
        (entry(hash_hex="f" * 64), Fault.CHAIN),
        (entry(timestamp="", now="2026-03-01T11:59:59.999999Z"), Fault.TIMESTAMP),
        (entry(timestamp=LATER, now=NOW), Fault.TIMESTAMP),
    ],
)
def test_even_the_key_holder_must_follow_the_chain(path, key, step, fault):
    sign(path, key, genesis, entry(), step, entry())
    report = verify(path, key.verify_key)
    assert report.finding is not None
    assert (report.verdict, report.finding.sequence, report.finding.fault) == (Verdict.TAMPERED, 2, fault)
    with pytest.raises(LedgerTamperedError) as caught:
        Ledger.open(path, key)
    assert caught.value.finding == report.finding
    with pytest.raises(LedgerTamperedError, match=fault.value):
        list(read_records(path))


def test_a_record_of_another_key_in_the_midst_is_found(path, key, other_key):
    sign(path, key, genesis, entry(signer=other_key))
    report = verify(path, key.verify_key)
    assert report.finding is not None
    assert (report.verdict, report.finding.fault) == (Verdict.TAMPERED, Fault.UNKNOWN_KEY)


@pytest.mark.parametrize(
    ("kind", "body", "fault"),
    [
        (Kind.ENTRY, None, Fault.SEQUENCE),
        (Kind.GENESIS, {}, Fault.UNKNOWN_KEY),
        (Kind.GENESIS, {"public_key": 5}, Fault.UNKNOWN_KEY),
        (Kind.GENESIS, {"public_key": encode_base64(bytes([1]) + bytes(31))}, Fault.UNKNOWN_KEY),
        (Kind.GENESIS, "without format", Fault.CANONICAL_FORM),
    ],
)
def test_the_first_record_must_be_a_genesis_record(path, key, kind, body, fault):
    whole = genesis_body(key.verify_key)
    if body is None:
        body = whole
    elif body == "without format":
        body = {"public_key": whole["public_key"]}
    path.write_bytes(seal(EMPTY, kind, body, NOW, key)[0])
    report = verify(path, key.verify_key)
    assert report.finding is not None
    assert (report.verdict, report.finding.fault) == (Verdict.TAMPERED, fault)


@pytest.mark.parametrize(
    ("member", "value", "message"),
    [
        ("v", 2, "v is 2, must be 1"),
        ("v", True, "v is True, must be 1"),
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
    line, _ = seal(EMPTY, Kind.ENTRY, {}, NOW, key)
    members = {**json.loads(line), member: value}
    with pytest.raises(RecordError, match=message) as caught:
        parse(encode(members) + b"\n")
    assert caught.value.fault is Fault.CANONICAL_FORM


@pytest.mark.parametrize("missing", ["body", "key", "kind", "prev", "seq", "signature", "timestamp", "v"])
def test_no_member_may_be_missing(key, missing):
    line, _ = seal(EMPTY, Kind.ENTRY, {}, NOW, key)
    members = json.loads(line)
    del members[missing]
    with pytest.raises(RecordError, match="the members are not those of a record"):
        parse(encode(members) + b"\n")


def test_a_duplicate_key_in_a_record_is_found(write, path, key):
    data = write(1)
    path.write_bytes(data.replace(b'"cycle":0', b'"cycle":0,"cycle":0'))
    report = verify(path, key.verify_key)
    assert report.finding is not None
    assert report.finding.fault is Fault.CANONICAL_FORM
    assert "key 'cycle' appears twice" in str(report.finding)


def test_a_line_without_end_is_never_held_in_memory(write, path, key):
    data = write(1)
    with path.open("ab") as stream:
        stream.truncate(len(data) + 64 * 1024 * 1024)
    tracemalloc.start()
    try:
        report = verify(path, key.verify_key)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert report.finding == Finding(
        2, len(data), Fault.CANONICAL_FORM, f"line is longer than {MAX_LINE_BYTES} bytes"
    )
    assert peak < 4 * 1024 * 1024


def test_the_longest_torn_tail_is_still_torn(write, path, key):
    data = write(1)
    for tail, verdict in [(MAX_LINE_BYTES - 1, Verdict.TORN_TAIL), (MAX_LINE_BYTES, Verdict.TAMPERED)]:
        path.write_bytes(data + b"x" * tail)
        assert verify(path, key.verify_key).verdict is verdict


def test_reading_stops_at_a_torn_tail_and_needs_no_lock(write, path, key, clock):
    data = write(2)
    with Ledger.open(path, key, clock=clock):
        assert len(list(read_records(path))) == 3
    path.write_bytes(data[:-1])
    assert [record.sequence for record in read_records(path)] == [0, 1]


def test_reading_yields_the_good_records_before_the_bad_one(write, path):
    data = bytearray(write(3))
    data[offsets_of(data)[2] + 3] ^= 1
    path.write_bytes(data)
    reader = read_records(path)
    assert [next(reader).sequence, next(reader).sequence] == [0, 1]
    with pytest.raises(LedgerTamperedError, match="record 2 at byte"):
        next(reader)


def test_what_cannot_be_read_is_an_error_of_reading(tmp_path, key):
    for name in (tmp_path, tmp_path / "absent"):
        with pytest.raises(LedgerReadError, match="cannot read"):
            verify(name, key.verify_key)
        with pytest.raises(LedgerReadError, match="cannot read"):
            list(read_records(name))


def test_a_failing_disk_is_not_taken_for_a_bad_ledger(key):
    # The system answers a read of address 0 with an input/output error.
    with pytest.raises(LedgerReadError, match="cannot read record 0 at byte 0: Input/output error"):
        verify("/proc/self/mem", key.verify_key)


def test_an_error_of_the_progress_callback_is_its_own(write, path, key):
    def progress(done, total):
        raise BrokenPipeError

    write(1)
    with pytest.raises(BrokenPipeError):
        verify(path, key.verify_key, progress=progress)


def test_the_tip_follows_the_line(key):
    line, tip = seal(EMPTY, Kind.ENTRY, {"a": "é"}, NOW, key)
    assert tip == Tip(0, parse(line).hash_hex, NOW, len(line))
