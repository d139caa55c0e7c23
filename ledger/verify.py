"""Check a ledger as an auditor does: with a public key and the folder alone, and no lock."""

import enum
import os
from collections.abc import Callable, Sequence
from typing import BinaryIO

import attrs

from ledger import files
from ledger.chain import Chain, open_journal
from ledger.checkpoint import Checkpoint
from ledger.errors import (
    Fault,
    Finding,
    LedgerKeyError,
    LedgerTamperedError,
    NoteError,
)
from ledger.keys import VerifyKey
from ledger.marks import Mark, Marks
from ledger.note import MAX_NOTE_BYTES, NoteKey
from ledger.publish import CHECKPOINT, compare
from ledger.record import EMPTY, Head, Record
from ledger.tiles import Tile
from ledger.tree import Tree

WITNESSED = "witnessed"


class Verdict(enum.Enum):
    """What can be said of a ledger. Only VERIFIED says that all of it is good and nothing is missing.

    VERIFIED: all is good, up to something that was remembered outside of the folder.
    NO_ANCHOR: all is good, but nothing from outside was given: a folder that was set back as a whole to an
        earlier state looks like this.
    TORN_TAIL: every whole record is good, and a record follows that was not ended, left by a crash or by a
        writer at work.
    TRUNCATED: records that were seen are missing from the end.
    FORKED: every record is good, but they are another history than the one that was seen.
    TAMPERED: a record, a tile or the checkpoint is not what its writer wrote.
    UNVERIFIABLE: the ledger was written by another key than the one that was given.
    """

    VERIFIED = "verified"
    NO_ANCHOR = "no anchor"
    TORN_TAIL = "torn tail"
    TRUNCATED = "truncated"
    FORKED = "forked"
    TAMPERED = "tampered"
    UNVERIFIABLE = "unverifiable"


_VERDICTS = {Fault.TRUNCATED: Verdict.TRUNCATED, Fault.TREE: Verdict.FORKED}


@attrs.frozen
class Report:
    """The outcome of a verification.

    Attributes:
        verdict: what can be said.
        records: how many records are good, counted from the first.
        size: bytes of the journal that these records take.
        head: the last good record; None if there is none.
        root: Merkle root over the good records.
        first_timestamp: UTC time of the first good record.
        last_timestamp: UTC time of the last good record.
        published: how many records the folder's checkpoint covers, 0 if it has none.
        anchored: how many records are covered by what was remembered outside of the folder.
        witnesses: names of the given witnesses whose cosignatures were found good.
        finding: what is wrong; None for VERIFIED and NO_ANCHOR.
    """

    verdict: Verdict
    records: int
    size: int
    head: Head | None
    root: bytes
    first_timestamp: str | None
    last_timestamp: str | None
    published: int
    anchored: int
    witnesses: tuple[str, ...]
    finding: Finding | None


def verify(
    folder: str | os.PathLike[str],
    public_key: VerifyKey,
    *,
    anchor: Head | Checkpoint | None = None,
    witnesses: Sequence[NoteKey] = (),
    progress: Callable[[int, int], object] | None = None,
) -> Report:
    """Check every record's form, signature, place and time, the tree, its tiles and the checkpoint.

    Memory does not grow with the ledger.

    Args:
        folder: the ledger; a writer may be appending to it.
        public_key: the key that signed the first record. It vouches for its successors and for the log's key.
        anchor: a head or a checkpoint seen earlier. Without one, and without a cosignature of a witness,
            nothing shows that the folder was not set back as a whole.
        witnesses: keys whose cosignatures count as seen outside.
        progress: called after each record with the bytes done and the bytes in all, and once more at the end,
            since the journal of a writer at work is longer than its records.

    Raises:
        LedgerReadError: a file cannot be read.
    """
    with open_journal(folder) as stream:
        return _Audit(os.fspath(folder), public_key, anchor, witnesses).run(stream, progress)


def read_note(folder: str | os.PathLike[str], name: str) -> bytes | None:
    """Return a stored note, None if there is none.

    Raises:
        LedgerReadError: it cannot be read.
    """
    try:
        return files.read(os.path.join(folder, name), MAX_NOTE_BYTES + 1)
    except FileNotFoundError:
        return None


class _Audit:
    def __init__(
        self,
        folder: str,
        key: VerifyKey,
        anchor: Head | Checkpoint | None,
        witnesses: Sequence[NoteKey],
    ) -> None:
        self._folder = folder
        self._anchor = anchor
        self._witnesses = witnesses
        # Read first: a writer at work only ever brings the journal further than they are.
        self._notes = [(name, read_note(folder, name)) for name in (CHECKPOINT, WITNESSED)]
        self._chain = Chain(key)
        self._tree = Tree()
        self._marks = Marks(())
        # The good records so far: one behind the chain while a record is examined further.
        self._tip = EMPTY
        self._first_timestamp: str | None = None
        self._published = 0

    def run(self, stream: BinaryIO, progress: Callable[[int, int], object] | None) -> Report:
        total = os.fstat(stream.fileno()).st_size
        try:
            for record in self._chain.walk(stream):
                self._follow(record)
                if progress is not None:
                    progress(self._tip.end, total)
            if progress is not None:
                progress(self._tip.end, self._tip.end)
            self._marks.finish(self._tip, self._chain.log_key)
        except LedgerTamperedError as error:
            return self._report(_VERDICTS.get(error.finding.fault, Verdict.TAMPERED), error.finding)
        except LedgerKeyError as error:
            return self._report(Verdict.UNVERIFIABLE, self._finding(Fault.UNKNOWN_KEY, str(error)))
        if self._chain.tail:
            detail = f"{len(self._chain.tail)} bytes of a record that was not ended"
            return self._report(Verdict.TORN_TAIL, self._finding(Fault.TRUNCATED, detail))
        return self._report(Verdict.VERIFIED if self._marks.met_outside else Verdict.NO_ANCHOR, None)

    def _follow(self, record: Record) -> None:
        if self._tip == EMPTY:
            self._marks = self._read_marks()
        for tile, data in self._tree.add(record.stored, bytes.fromhex(record.hash_hex)):
            self._check_tile(tile, data, is_needed=self._tree.size <= self._published)
        for tile, data in self._tree.partial() if self._tree.size == self._published else ():
            self._check_tile(tile, data, is_needed=False)
        if self._chain.log_key is not None:
            self._marks.check(self._chain.tip, self._tip, self._tree, self._chain.log_key)
        self._tip = self._chain.tip
        self._first_timestamp = self._first_timestamp or record.timestamp

    def _read_marks(self) -> Marks:
        marks: list[Mark] = []
        for name, note in self._notes:
            if note is None:
                continue
            try:
                marks.append(Mark.of_note(note, f"the file {name}"))
            except NoteError as error:
                finding = self._finding(Fault.CHECKPOINT, f"the file {name}: {error}")
                raise LedgerTamperedError(finding) from error
            if name == CHECKPOINT:
                self._published = marks[-1].size
        if isinstance(self._anchor, Checkpoint):
            marks.append(Mark.of(self._anchor, "the anchor", is_outside=True))
            return Marks(marks, None, self._witnesses)
        return Marks(marks, self._anchor, self._witnesses)

    def _check_tile(self, tile: Tile, data: bytes, *, is_needed: bool) -> None:
        # A partial tile may go as soon as a newer checkpoint is there, between two looks as well; and one of
        # the future may be there.
        held = compare(os.path.join(self._folder, tile.path), data)
        if not (held or (held is None and not is_needed)):
            raise LedgerTamperedError(
                self._finding(Fault.TILE, f"{tile.path} is not what the records make it")
            )

    def _finding(self, fault: Fault, detail: str) -> Finding:
        return Finding(self._tip.sequence + 1, self._tip.end, fault, detail)

    def _report(self, verdict: Verdict, finding: Finding | None) -> Report:
        tip = self._tip
        return Report(
            verdict=verdict,
            records=tip.sequence + 1,
            size=tip.end,
            head=Head(tip.sequence, tip.hash_hex) if tip != EMPTY else None,
            root=self._tree.root(),
            first_timestamp=self._first_timestamp,
            last_timestamp=tip.timestamp or None,
            published=self._published,
            anchored=self._marks.met_outside,
            witnesses=tuple(sorted(self._marks.seen_by)),
            finding=finding,
        )
