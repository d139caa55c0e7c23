import errno
import hashlib
import os
import select
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from ledger_bench import OPENING, environment, offsets, unpublished

from ledger import (
    Cadence,
    Fault,
    Kind,
    Ledger,
    LedgerTamperedError,
    LedgerWriteError,
    NoteSigner,
    Signers,
    SigningKey,
    Verdict,
    read_records,
    verify,
)
from ledger import frame as frames
from ledger.tiles import parse_path

NEVER = Cadence(records=10**9, seconds=10**9)


def expected_body(torn):
    written = torn.rstrip(b"\0")
    return {"length": len(written), "sha256": hashlib.sha256(written).hexdigest()}


def aside_of(folder, torn):
    return folder / f"torn-{expected_body(torn)['sha256']}"


def test_a_torn_record_is_set_aside_and_recorded_at_every_length(write, folder, journal, signers, clock):
    data = write(3)
    *_, begin, end = offsets(data)
    # The first two bytes of a frame are zeros, as the room after the last one is.
    for length in [*range(begin + 3, begin + 12), *range(begin + 12, end, 17), end - 1]:
        unpublished(folder, data[:length])
        torn = data[begin:length]
        assert verify(folder, signers.records.verify_key).verdict is Verdict.TORN_TAIL
        with Ledger.open(folder, signers, clock=clock) as ledger:
            assert ledger.head().sequence == 3
            assert ledger.append({"after": True}).sequence == 4
        *kept, recovery, entry = read_records(folder)
        assert journal.read_bytes().startswith(data[:begin])
        assert len(kept) == 3
        assert (recovery.kind, recovery.body) == (Kind.RECOVERY, expected_body(torn))
        assert entry.body == {"after": True}
        assert aside_of(folder, torn).read_bytes() == torn.rstrip(b"\0")
        assert verify(folder, signers.records.verify_key).verdict is Verdict.NO_ANCHOR
        aside_of(folder, torn).unlink()


@pytest.mark.parametrize("zeros", [1, 5000, 300_000])
def test_zeros_where_the_end_of_a_record_should_be_are_torn(write, folder, signers, zeros):
    data = write(2)
    begin = offsets(data)[2]
    for kept in (3, 8, 50):
        torn = data[begin : begin + kept] + bytes(zeros)
        unpublished(folder, data[:begin] + torn)
        with Ledger.open(folder, signers) as ledger:
            assert ledger.head().sequence == 2
        *_, recovery = read_records(folder)
        assert recovery.body == expected_body(torn)


def test_more_zeros_than_one_write_leaves_are_not_torn(write, folder, signers):
    data = write(1)
    unpublished(folder, data + bytes(frames.MAX_TAIL_BYTES))
    with pytest.raises(LedgerTamperedError, match="frame"):
        Ledger.open(folder, signers)


def test_damage_in_front_of_a_torn_record_is_still_tampering(write, folder, journal, signers):
    data = bytearray(write(2)[:-5])
    data[len(data) // 2] ^= 1
    unpublished(folder, data)
    before = sorted(os.listdir(folder))
    with pytest.raises(LedgerTamperedError, match="record 1 at byte"):
        Ledger.open(folder, signers)
    assert journal.read_bytes() == data
    assert sorted(os.listdir(folder)) == before


@pytest.mark.parametrize("step", ["set aside", "cut", "recovery begun"])
def test_a_recovery_that_was_interrupted_is_finished(write, folder, journal, signers, clock, step):
    data = write(2)
    begin = offsets(data)[2]
    torn = data[begin:-9]
    unpublished(folder, data[:begin] + torn)
    second = b""
    if step == "cut":
        journal.write_bytes(data[:begin])
    elif step == "recovery begun":
        Ledger.open(folder, signers, clock=clock).close()
        unpublished(folder, journal.read_bytes()[:-20])
        second = journal.read_bytes()[begin:]
    aside_of(folder, torn).write_bytes(torn)
    with Ledger.open(folder, signers, clock=clock) as ledger:
        last = ledger.head().sequence
    recovered = [record.body for record in read_records(folder) if record.kind is Kind.RECOVERY]
    assert recovered == ([expected_body(second)] if second else []) + [expected_body(torn)]
    assert last == 1 + len(recovered)
    assert aside_of(folder, torn).read_bytes() == torn
    assert verify(folder, signers.records.verify_key).verdict is Verdict.NO_ANCHOR
    with Ledger.open(folder, signers) as ledger:
        assert ledger.head().sequence == last


def test_the_same_bytes_torn_again_are_recorded_again(write, folder, journal, signers):
    data = write(1)
    for _ in range(2):
        with journal.open("ab") as stream:
            stream.write(b"\0\0\1")
        Ledger.open(folder, signers).close()
    assert [record.kind for record in read_records(folder)][2:] == [Kind.RECOVERY] * 2
    assert data == journal.read_bytes()[: len(data)]


def test_a_set_aside_file_with_other_bytes_is_not_believed(write, folder, signers):
    write(1)
    aside = folder / f"torn-{'0' * 64}"
    aside.write_bytes(b"precious")
    with pytest.raises(LedgerWriteError, match="holds other bytes than its name says: move it away"):
        Ledger.open(folder, signers)
    assert aside.read_bytes() == b"precious"


def test_a_recovery_that_cannot_be_written_leaves_the_torn_record_in_place(write, folder, journal, signers):
    data = write(2)[:-9]
    unpublished(folder, data)
    (folder / "reserve").unlink()
    (folder / "reserve").mkdir()
    with pytest.raises(LedgerWriteError, match=r"cannot open .*: Is a directory"):
        Ledger.open(folder, signers)
    assert journal.read_bytes() == data
    (folder / "reserve").rmdir()
    Ledger.open(folder, signers).close()


def test_a_recovery_that_cannot_be_synced_does_not_open(write, folder, signers):
    unpublished(folder, write(2)[:-9])

    def sync(descriptor):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(LedgerWriteError, match="cannot sync"):
        Ledger.open(folder, signers, sync=sync)
    Ledger.open(folder, signers).close()
    assert verify(folder, signers.records.verify_key).verdict is Verdict.NO_ANCHOR


def test_a_journal_behind_its_checkpoint_does_not_start(write, folder, journal, signers):
    data = write(3)
    for length in (offsets(data)[3], len(data) - 1):
        journal.write_bytes(data[:length])
        with pytest.raises(
            LedgerTamperedError, match="file checkpoint has 4 records, the journal 3"
        ) as caught:
            Ledger.open(folder, signers)
        assert caught.value.finding.fault is Fault.TRUNCATED
        assert "put back" in str(caught.value)
        assert journal.read_bytes() == data[:length]
    journal.unlink()
    with pytest.raises(LedgerWriteError, match="has a checkpoint and no journal: put the journal back"):
        Ledger.open(folder, signers)


def test_another_history_than_the_checkpoint_has_does_not_start(write, folder, signers, clock):
    write(3)
    checkpoint = (folder / "checkpoint").read_bytes()
    (folder / "journal").unlink()
    (folder / "checkpoint").unlink()
    write(5)
    (folder / "checkpoint").write_bytes(checkpoint)
    with pytest.raises(LedgerTamperedError, match=r"root at size 4 is .*, the file checkpoint has") as caught:
        Ledger.open(folder, signers)
    assert caught.value.finding.fault is Fault.TREE


def test_a_checkpoint_that_does_not_hold_does_not_start(write, folder, signers):
    write(1)
    note = (folder / "checkpoint").read_bytes()
    (folder / "checkpoint").write_bytes(note.replace(b"\n2\n", b"\n1\n"))
    with pytest.raises(LedgerTamperedError, match="a line is not a signature of this note") as caught:
        Ledger.open(folder, signers)
    assert caught.value.finding.fault is Fault.CHECKPOINT


def published(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("tile/**/*")
        if path.is_file()
    }


def test_missing_and_damaged_tiles_are_written_again(write, folder, signers):
    write(600)
    tiles = published(folder)
    (folder / "tile/entries/000").unlink()
    (folder / "tile/0/001").write_bytes(b"damaged")
    (folder / "tile/1/000.p/2").unlink()
    report = verify(folder, signers.records.verify_key)
    assert (report.verdict, report.finding.fault) == (Verdict.TAMPERED, Fault.TILE)
    Ledger.open(folder, signers).close()
    # The partial tiles of the first checkpoint are gone by now.
    wanted = {name: data for name, data in tiles.items() if not name.endswith("/1")}
    assert {name: data for name, data in published(folder).items() if name in wanted} == wanted
    assert verify(folder, signers.records.verify_key).verdict is Verdict.NO_ANCHOR


def test_partial_tiles_go_when_the_second_next_checkpoint_is_there(folder, signers):
    with Ledger.open(folder, signers) as ledger:
        for _ in range(4):
            ledger.append_many([{}, {}])
            ledger.checkpoint()
        assert sorted(parse_path(name).width for name in published(folder) if "entries" in name) == [7, 9]
    with Ledger.open(folder, signers) as ledger:
        ledger.append({})
        ledger.checkpoint()
        ledger.append({})
    assert sorted(parse_path(name).width for name in published(folder) if "entries" in name) == [7, 10, 11]


def test_a_partial_tile_that_does_not_change_stays(write, folder, signers):
    write(300)
    with Ledger.open(folder, signers) as ledger:
        for _ in range(4):
            ledger.append_many([{}, {}])
            ledger.checkpoint()
    assert (folder / "tile/1/000.p/1").exists()
    assert verify(folder, signers.records.verify_key).verdict is Verdict.NO_ANCHOR


APPENDING = (
    OPENING
    + """
with Ledger.open(sys.argv[1], signers) as ledger:
    while True:
        receipt = ledger.append({"pad": "x" * 3000})
        print(receipt.sequence, receipt.hash_hex, flush=True)
"""
)


def kill_rounds(folder, signers, rounds, lines_each):
    acknowledged = {}
    for _ in range(rounds):
        child = subprocess.Popen(
            [sys.executable, "-c", APPENDING, str(folder)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        assert child.stdout is not None
        lines = []
        while len(lines) < lines_each:
            assert select.select([child.stdout], [], [], 30)[0], "the writer is silent"
            lines.append(child.stdout.readline())
        child.kill()
        lines += child.stdout.readlines()
        child.stdout.close()
        child.wait()
        acknowledged |= dict(line.split() for line in lines if line.endswith("\n"))
        with Ledger.open(folder, signers) as ledger:
            stored = {str(record.sequence): record.hash_hex for record in ledger.records()}
            assert acknowledged.items() <= stored.items()
            ledger.append({"after": "kill"})
            head = ledger.head()
        assert verify(folder, signers.records.verify_key, anchor=head).verdict is Verdict.VERIFIED
    return acknowledged


def test_nothing_acknowledged_is_lost_when_the_writer_is_killed(folder, signers):
    rounds = int(os.environ.get("LEDGER_KILL_ROUNDS", "3"))
    acknowledged = kill_rounds(folder, signers, rounds, lines_each=40)
    assert len(acknowledged) >= 40 * rounds


def test_every_cut_and_every_flip_of_a_small_ledger(write, folder, signers):
    """Nothing that is torn is refused, nothing that was changed is accepted."""
    data = write(2, NEVER)
    ends = offsets(data)
    key = signers.records.verify_key
    (folder / "checkpoint").unlink()
    for length in range(ends[1], len(data)):
        (folder / "journal").write_bytes(data[:length])
        whole = sum(end <= length for end in ends) - 1
        report = verify(folder, key)
        is_torn = any(data[ends[whole] : length])
        assert report.verdict is (Verdict.TORN_TAIL if is_torn else Verdict.NO_ANCHOR)
        assert report.records == whole
    for place in range(len(data)):
        for mask in (0x01, 0xFF):
            changed = bytearray(data)
            changed[place] ^= mask
            (folder / "journal").write_bytes(changed)
            report = verify(folder, key)
            assert report.verdict is Verdict.TAMPERED, (place, mask)
            assert report.records == sum(end <= place for end in ends) - 1


@pytest.mark.parametrize("place", [0, 9, 40])
def test_a_damaged_record_before_a_good_one_does_not_start(write, folder, journal, signers, place):
    data = bytearray(write(3))
    data[offsets(data)[2] + place] ^= 4
    unpublished(folder, data)
    with pytest.raises(LedgerTamperedError, match="record 2 at byte"):
        Ledger.open(folder, signers)
    assert journal.read_bytes() == data


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
BODIES = st.dictionaries(TEXT, st.integers() | st.none() | TEXT, max_size=3)


class LedgerMachine(RuleBasedStateMachine):
    """Appends, restarts and torn writes in any order: what was acknowledged is what is read."""

    def __init__(self):
        super().__init__()
        self.root = tempfile.TemporaryDirectory()
        self.folder = Path(self.root.name, "ledger")
        self.key = SigningKey(bytes(range(32)))
        self.signers = Signers(self.key, NoteSigner("example.com/machine", SigningKey(bytes(range(2, 34)))))
        self.ledger = Ledger.open(self.folder, self.signers, cadence=Cadence(records=3))
        self.bodies = []
        self.tears = 0

    @rule(bodies=st.lists(BODIES, min_size=1, max_size=4))
    def append(self, bodies):
        receipts = self.ledger.append_many(bodies)
        self.bodies += [(receipt.hash_hex, body) for receipt, body in zip(receipts, bodies, strict=True)]

    @rule()
    def publish(self):
        self.ledger.checkpoint()

    @rule()
    def restart(self):
        self.ledger.close()
        self.ledger = Ledger.open(self.folder, self.signers, cadence=Cadence(records=3))

    @rule(whole=BODIES, share=st.floats(0, 1, exclude_max=True), zeros=st.integers(0, 30))
    def tear(self, whole, share, zeros):
        self.ledger.close()
        frame = frames.encode(repr(whole).encode("ascii", "backslashreplace"))
        torn = frame[: int(share * len(frame))] + bytes(zeros)
        with (self.folder / "journal").open("ab") as stream:
            stream.write(torn)
        if any(torn):
            assert verify(self.folder, self.key.verify_key).verdict is Verdict.TORN_TAIL
            self.tears += 1
        self.ledger = Ledger.open(self.folder, self.signers, cadence=Cadence(records=3))

    @invariant()
    def all_that_was_acknowledged_is_there(self):
        report = verify(self.folder, self.key.verify_key, anchor=self.ledger.head())
        assert (report.verdict, report.head) == (Verdict.VERIFIED, self.ledger.head())
        records = list(self.ledger.records())
        assert [(r.hash_hex, r.body) for r in records if r.kind is Kind.ENTRY] == self.bodies
        assert sum(r.kind is Kind.RECOVERY for r in records) == self.tears

    def teardown(self):
        self.ledger.close()
        self.root.cleanup()


LedgerMachine.TestCase.settings = settings(
    max_examples=20, stateful_step_count=12, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestLedgerMachine = LedgerMachine.TestCase
