"""Remembered places of a ledger, held against its records while they are walked."""

from collections.abc import Iterable

import attrs

from ledger.checkpoint import Checkpoint
from ledger.errors import Fault, Finding, LedgerTamperedError
from ledger.record import Head, Tip
from ledger.tree import Tree


@attrs.frozen
class Mark:
    """A size and a Merkle root that somebody saw.

    Attributes:
        seen_by: where it is remembered, in words.
        is_outside: whether that place is out of reach of whoever can write to the ledger's folder.
    """

    seen_by: str
    size: int
    root: bytes
    is_outside: bool

    @classmethod
    def of(cls, checkpoint: Checkpoint, seen_by: str, *, is_outside: bool) -> "Mark":
        """Return a checkpoint as a mark."""
        return cls(seen_by, checkpoint.size, checkpoint.root, is_outside)


class Marks:
    """Compares marks, and a remembered head, with a ledger on the way to its end."""

    def __init__(self, marks: Iterable[Mark], head: Head | None = None) -> None:
        self._waiting = sorted(marks, key=lambda mark: mark.size, reverse=True)
        self._head = head
        # Size at the last mark that was met and is out of a forger's reach.
        self.met_outside = 0

    def check(self, tip: Tip, before: Tip, tree: Tree) -> None:
        """Compare with the ledger up to `tip`, which follows `before`.

        Raises:
            LedgerTamperedError: with the fault TREE, if this is another history than the one that was seen.
        """
        while self._waiting and self._waiting[-1].size <= tree.size:
            mark = self._waiting.pop()
            if not (mark.size == tree.size and mark.root == tree.root()):
                detail = (
                    f"root at size {mark.size} is {tree.root().hex()}, {mark.seen_by} has {mark.root.hex()}"
                )
                raise _differs(before, Fault.TREE, detail)
            if mark.is_outside:
                self.met_outside = mark.size
        head = self._head
        if head is not None and head.sequence == tip.sequence:
            if head.hash_hex != tip.hash_hex:
                detail = f"hash is {tip.hash_hex}, was seen as {head.hash_hex}"
                raise _differs(before, Fault.TREE, detail)
            self.met_outside = tree.size

    def finish(self, tip: Tip) -> None:
        """Look for marks that lie behind the end of the ledger.

        Raises:
            LedgerTamperedError: with the fault TRUNCATED, if there is one.
        """
        records = tip.sequence + 1
        for mark in self._waiting:
            detail = (
                f"{mark.seen_by} has {mark.size} records, the journal {records}: put back a whole journal"
            )
            raise _differs(tip, Fault.TRUNCATED, detail)
        if self._head is not None and self._head.sequence >= records:
            raise _differs(tip, Fault.TRUNCATED, f"record {self._head.sequence} was seen and is missing")


def _differs(tip: Tip, fault: Fault, detail: str) -> LedgerTamperedError:
    return LedgerTamperedError(Finding(tip.sequence + 1, tip.end, fault, detail))
