"""Remembered places of a ledger, held against its records while they are walked."""

from collections.abc import Iterable, Sequence

import attrs

from ledger.checkpoint import Checkpoint, SignedCheckpoint, open_checkpoint
from ledger.errors import Fault, Finding, LedgerTamperedError, NoteError
from ledger.note import Note, NoteKey
from ledger.record import Head, Tip
from ledger.tree import Tree


@attrs.frozen
class Mark:
    """A size and a Merkle root that somebody saw.

    Attributes:
        seen_by: where it is remembered, in words.
        is_outside: whether that place is out of reach of whoever can write to the ledger's folder; a note is
            if a witness cosigned it.
        note: the note that says so, whose signatures are judged when the log's key at this size is known.
    """

    seen_by: str
    size: int
    root: bytes
    is_outside: bool
    note: bytes | None = None

    @classmethod
    def of(cls, checkpoint: Checkpoint, seen_by: str, *, is_outside: bool) -> "Mark":
        """Return a checkpoint as a mark."""
        return cls(seen_by, checkpoint.size, checkpoint.root, is_outside)

    @classmethod
    def of_note(cls, note: bytes, seen_by: str) -> "Mark":
        """Return a signed checkpoint as a mark.

        Raises:
            NoteError: it is no note of a checkpoint.
        """
        checkpoint = Checkpoint.parse(Note.parse(note).text)
        return cls(seen_by, checkpoint.size, checkpoint.root, False, note)


class Marks:
    """Compares marks, and a remembered head, with a ledger on the way to its end.

    Args:
        marks: what is compared.
        head: compared as well.
        witnesses: keys whose cosignatures under notes count as seen outside.
    """

    def __init__(
        self, marks: Iterable[Mark], head: Head | None = None, witnesses: Sequence[NoteKey] = ()
    ) -> None:
        self._waiting = sorted(marks, key=lambda mark: mark.size, reverse=True)
        self._head = head
        self._witnesses = witnesses
        # Size at the last mark that was met and is out of a forger's reach.
        self.met_outside = 0
        # Names of the witnesses whose cosignatures were found good.
        self.seen_by: set[str] = set()
        # The notes that were found good, by where they are.
        self.opened: dict[str, SignedCheckpoint] = {}

    def check(self, tip: Tip, before: Tip, tree: Tree, log_key: NoteKey) -> None:
        """Compare with the ledger up to `tip`, which follows `before` and leaves this log's key in force.

        Raises:
            LedgerTamperedError: with the fault TREE, if this is another history than the one that was seen;
                CHECKPOINT, if a note is not signed by the log.
        """
        while self._waiting and self._waiting[-1].size <= tree.size:
            mark = self._waiting.pop()
            is_outside = self._open(mark, log_key, before)
            if not (mark.size == tree.size and mark.root == tree.root()):
                detail = (
                    f"root at size {mark.size} is {tree.root().hex()}, {mark.seen_by} has {mark.root.hex()}"
                )
                raise _differs(before, Fault.TREE, detail)
            if is_outside:
                self.met_outside = mark.size
        head = self._head
        if head is not None and head.sequence == tip.sequence:
            if head.hash_hex != tip.hash_hex:
                detail = f"hash is {tip.hash_hex}, was seen as {head.hash_hex}"
                raise _differs(before, Fault.TREE, detail)
            self.met_outside = tree.size

    def finish(self, tip: Tip, log_key: NoteKey | None) -> None:
        """Look for marks that lie behind the end of the ledger.

        Raises:
            LedgerTamperedError: with the fault TRUNCATED, if there is one; CHECKPOINT, if that is a note that
                is not signed by the log's last key.
        """
        records = tip.sequence + 1
        for mark in self._waiting:
            if log_key is not None:
                self._open(mark, log_key, tip)
            detail = (
                f"{mark.seen_by} has {mark.size} records, the journal {records}: put back a whole journal"
            )
            raise _differs(tip, Fault.TRUNCATED, detail)
        if self._head is not None and self._head.sequence >= records:
            raise _differs(tip, Fault.TRUNCATED, f"record {self._head.sequence} was seen and is missing")

    def _open(self, mark: Mark, log_key: NoteKey, before: Tip) -> bool:
        if mark.note is None:
            return mark.is_outside
        try:
            signed = open_checkpoint(mark.note, log_key, self._witnesses)
        except NoteError as error:
            raise _differs(before, Fault.CHECKPOINT, f"{mark.seen_by}: {error}") from error
        self.opened[mark.seen_by] = signed
        self.seen_by |= {key.name for key in signed.cosignatures}
        return bool(signed.cosignatures)


def _differs(tip: Tip, fault: Fault, detail: str) -> LedgerTamperedError:
    return LedgerTamperedError(Finding(tip.sequence + 1, tip.end, fault, detail))
