"""The zeros that a journal has ahead of its records, and what a power cut leaves of a write over them."""

import io
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from ledger_bench import entries, offsets, signers_of, split, unpublished

from ledger import Fault, Kind, Ledger, LedgerTamperedError, SigningKey, Verdict, read_records, verify
from ledger import frame as frames
from ledger.chain import open_journal
from ledger.log import ROOM_BYTES
from ledger.record import RecordError

SECTOR = 512
KEY = SigningKey(bytes(range(32)))
GROUP = [{"pad": "x" * 700}] * 4


def written_in(folder, signers, *groups):
    """Append groups, and return the journal after each of them, as it lies there while it is open."""
    with Ledger.open(folder, signers) as ledger:
        states = [(folder / "journal").read_bytes()]
        for bodies in groups:
            ledger.append_many(bodies)
            states.append((folder / "journal").read_bytes())
    return states


def frames_of(data):
    return data.rstrip(b"\0")


def without_sector(before, after, number):
    """The journal after a write of which one sector never reached the disk."""
    begin = number * SECTOR
    kept = before[begin : begin + SECTOR].ljust(min(SECTOR, len(after) - begin), b"\0")
    return after[:begin] + kept + after[begin + len(kept) :]


def test_a_journal_has_room_while_it_is_open_and_none_when_it_is_closed(folder, journal, signers):
    with Ledger.open(folder, signers) as ledger:
        for _ in range(3):
            ledger.append({"pad": "x" * (ROOM_BYTES // 5)})
            size = ledger.health(1.0).size_bytes
            data = journal.read_bytes()
            assert len(data) >= size == len(frames_of(data))
        assert len(data) > size
        assert verify(folder, signers.records.verify_key).records == 4
        assert [record.sequence for record in ledger.records()] == [0, 1, 2, 3]
    assert journal.stat().st_size == size


def test_room_that_a_killed_writer_left_is_no_torn_record(folder, journal, signers):
    *_, data = written_in(folder, signers, [{}], [{}])
    unpublished(folder, data)
    report = verify(folder, signers.records.verify_key)
    assert (report.verdict, report.records, report.size) == (Verdict.NO_ANCHOR, 3, len(frames_of(data)))
    with Ledger.open(folder, signers) as ledger:
        assert ledger.append({}).sequence == 3
    assert {record.kind for record in read_records(folder)} == {Kind.GENESIS, Kind.ENTRY}
    assert journal.read_bytes().startswith(frames_of(data))


def test_what_others_wrote_behind_the_room_is_not_cut_off_at_the_close(folder, journal, signers):
    ledger = Ledger.open(folder, signers)
    ledger.append({})
    with journal.open("ab") as stream:
        stream.write(b"evidence")
    data = journal.read_bytes()
    ledger.close()
    assert journal.read_bytes() == data
    Ledger.open(folder, signers).close()
    (aside,) = folder.glob("torn-*")
    assert aside.read_bytes() == data[len(frames_of(data.removesuffix(b"evidence"))) :]


@pytest.mark.parametrize("lost", ["first", "middle", "all but the last"])
def test_a_group_of_which_sectors_are_missing_is_torn_as_a_whole(folder, signers, lost):
    _, before, after = written_in(folder, signers, [{}], GROUP)
    begin, end = len(frames_of(before)), len(frames_of(after))
    sectors = list(range(begin // SECTOR, (end + SECTOR - 1) // SECTOR))
    missing = {"first": sectors[:1], "middle": sectors[3:4], "all but the last": sectors[:-1]}[lost]
    data = after
    for number in missing:
        data = without_sector(before, data, number)
    unpublished(folder, data)
    assert verify(folder, signers.records.verify_key).verdict is Verdict.TORN_TAIL
    with Ledger.open(folder, signers):
        *_, recovery = read_records(folder)
    whole = [stop for stop in offsets(frames_of(after)) if stop <= max(begin, missing[0] * SECTOR)][-1]
    assert recovery.kind is Kind.RECOVERY
    assert recovery.body["length"] == end - whole


@pytest.mark.parametrize("before_a_sector", [1, 2, 3, 7, 8, 9])
def test_a_sector_missing_where_the_header_crosses_into_it(folder, signers, before_a_sector):
    _, data = written_in(folder, signers, [{"pad": ""}])
    pad = -(len(frames_of(data)) + before_a_sector) % SECTOR
    unpublished(folder, b"")
    (folder / "journal").unlink()
    _, before, after = written_in(folder, signers, [{"pad": "x" * pad}], GROUP)
    begin = len(frames_of(before))
    assert -begin % SECTOR == before_a_sector
    for number in (begin // SECTOR, begin // SECTOR + 1):
        unpublished(folder, without_sector(before, after, number))
        report = verify(folder, signers.records.verify_key)
        # Of what is always zero nothing can be lost.
        is_whole = number == begin // SECTOR and before_a_sector <= 2
        assert report.verdict is (Verdict.NO_ANCHOR if is_whole else Verdict.TORN_TAIL)
        assert report.records == (6 if is_whole else 2)


def test_a_sector_missing_from_a_record_with_a_later_write_is_damage(folder, signers):
    before, middle, after = written_in(folder, signers, GROUP, [{"later": True}])
    for number in range(len(frames_of(before)) // SECTOR + 1, len(frames_of(middle)) // SECTOR):
        unpublished(folder, without_sector(before, after, number))
        with pytest.raises(LedgerTamperedError) as caught:
            Ledger.open(folder, signers)
        assert caught.value.finding.fault is Fault.FRAME


def test_a_changed_byte_of_the_last_group_is_damage(folder, signers):
    before, after = written_in(folder, signers, GROUP)
    end = len(frames_of(after))
    for place in range(len(frames_of(before)), end, 31):
        data = bytearray(after)
        data[place] ^= 1
        unpublished(folder, data)
        assert verify(folder, signers.records.verify_key).verdict is Verdict.TAMPERED, place


BODIES = st.lists(st.builds(lambda size: {"pad": "x" * size}, st.integers(0, 1600)), min_size=1, max_size=5)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(done=st.lists(BODIES, min_size=1, max_size=3), last=BODIES, data=st.data())
def test_whatever_sectors_a_power_cut_leaves_out_nothing_acknowledged_is_lost(done, last, data):
    with tempfile.TemporaryDirectory() as name:
        folder, signers = Path(name, "ledger"), signers_of(KEY)
        *_, before, after = written_in(folder, signers, *done, last)
        kept = entries(frames_of(before))
        left = after
        for number in range(len(frames_of(before)) // SECTOR, len(frames_of(after)) // SECTOR + 1):
            if data.draw(st.booleans(), label=f"sector {number} is lost"):
                left = without_sector(before, left, number)
        if len(after) > len(before):
            left = left[: data.draw(st.integers(len(before), len(after)), label="length")]
        unpublished(folder, left)
        report = verify(folder, signers.records.verify_key)
        assert report.verdict in (Verdict.NO_ANCHOR, Verdict.TORN_TAIL), report.finding
        assert len(kept) <= report.records <= len(kept) + len(last)

        place = data.draw(st.integers(0, len(frames_of(before)) - 1), label="changed byte")
        changed = bytearray(left)
        changed[place] ^= data.draw(st.integers(1, 255), label="by")
        assume(any(changed[place // SECTOR * SECTOR :][:SECTOR]))
        (folder / "journal").write_bytes(changed)
        assert verify(folder, signers.records.verify_key).verdict is Verdict.TAMPERED

        (folder / "journal").write_bytes(left)
        with Ledger.open(folder, signers) as ledger:
            ledger.append({"after": "the cut"})
        now = entries((folder / "journal").read_bytes())
        assert now[: report.records] == kept + entries(frames_of(after))[len(kept) : report.records]


class Changing(io.BytesIO):
    """A file that is another one each time that its reader forgets what it has buffered."""

    def __init__(self, *states):
        super().__init__(states[0])
        self.states = list(states[1:])

    def seek(self, place, whence=os.SEEK_SET):
        if whence == os.SEEK_END and self.states:
            super().__init__(self.states.pop(0))
        return super().seek(place, whence)


@pytest.mark.parametrize("looks", [1, 2])
def test_a_page_that_was_read_before_it_was_filled_is_read_again(folder, signers, looks):
    """Without the lock a reader may see a write behind a place where it saw nothing yet."""
    before, *_, after = written_in(folder, signers, GROUP, *[[{}]] * 12)
    first = len(frames_of(before))
    stale = after[:first] + bytes(SECTOR) + after[first + SECTOR :]
    stream = Changing(*[before.ljust(len(after), b"\0"), stale][2 - looks :], after)
    assert list(iter(lambda: frames.read(stream), None)) == entries(frames_of(after))
    damaged = Changing(stale)
    with pytest.raises(RecordError, match="bytes follow"):
        list(iter(lambda: frames.read(damaged), None))


def test_a_stream_forgets_what_it_has_buffered(folder, journal, signers):
    *_, after = written_in(folder, signers, *[[{}]] * 12)
    journal.write_bytes(after[: -len(after) // 2].ljust(len(after), b"\0"))
    with open_journal(folder) as stream:
        frames.read(stream)
        # In place, as a writer does it, so that the stream stays on the file.
        descriptor = os.open(journal, os.O_WRONLY)
        os.pwrite(descriptor, after, 0)
        os.close(descriptor)
        assert list(iter(lambda: frames.read(stream), None)) == entries(frames_of(after))[1:]


def test_frames_of_one_write_say_that_they_belong_together():
    first, *others = split(frames.encode(b"a" * 300, b"b" * 300, b"c" * 300))
    assert first[0] == 0
    assert [one[0] for one in others] == [0x80, 0x80]
    assert frames.encode(b"b" * 300) != others[0]
