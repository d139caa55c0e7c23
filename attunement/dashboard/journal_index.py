"""A ledger's journal as a table that can be paged, searched and explained, while a writer appends to it.

Only the place of each record is kept in memory; records are read when they are looked at. Signatures are not
checked here, that is `ledger verify`.
"""

import json
import os
import threading
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import attrs

from attunement.explain import RECENT, Explainer
from attunement.journal import JournalError, limits_of
from attunement.ledger_view import record_as_json, record_row
from attunement.telemetry_body import check_body, tellable
from kernel import Limits
from ledger import LedgerReadError, Record
from ledger import frame as frames
from ledger.chain import journal_path, open_journal
from ledger.record import RecordError, parse

PAGE_MAX: Final = 200
SEARCH_S: Final = 1.0

_BLOCK_BYTES = 1 << 20
_POLICY = b'"limits":{'


@attrs.frozen
class Query:
    """Which records are looked for.

    Attributes:
        text: Stands in one of the cells of its row, in upper or lower case; empty for any.
        event, verdict, actor: Equal to the record's; empty for any.
    """

    text: str = ""
    event: str = ""
    verdict: str = ""
    actor: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether every record is wanted."""
        return self == Query()

    def needles(self) -> tuple[bytes, ...]:
        """Return bytes without which no record's stored form can be wanted."""
        members = (("event", self.event), ("verdict", self.verdict), ("actor", self.actor))
        return tuple(f'"{name}":{_spelt(value)}'.encode() for name, value in members if value)

    def wants(self, record: Record) -> bool:
        """Say whether a record is wanted."""
        body, text = record.body, self.text.casefold()
        return (
            all(
                not value or body.get(name) == value
                for name, value in (("event", self.event), ("verdict", self.verdict), ("actor", self.actor))
            )
            and (not text or any(text in cell.casefold() for cell in record_row(record)))
        )  # fmt: skip


@attrs.frozen
class Page:
    """Records, the newest first.

    Attributes:
        records: At most as many as were asked for.
        before: Where the next page begins, or the search goes on; None when all were looked at.
        total: How many records the ledger holds.
    """

    records: tuple[Record, ...]
    before: int | None
    total: int


class JournalIndex:
    """Where each record of a journal lies.

    Args:
        folder: The ledger.

    Raises:
        LedgerReadError: there is no journal, or it cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = journal_path(folder)
        self._lock = threading.Lock()  # held by whoever changes what follows, while the journal is scanned
        self._begin_anew()
        self._stream = open_journal(folder)
        self._descriptor = self._stream.fileno()
        self.refresh()

    def close(self) -> None:
        """Let the journal go."""
        self._stream.close()

    def __len__(self) -> int:
        return len(self._bounds) - 1

    @property
    def newest(self) -> tuple[int, bytes]:
        """Where the newest record begins in the journal, and the header of its frame: its length and CRC."""
        return self._last

    def refresh(self) -> int:
        """Take in what was appended, and return how many records there are.

        A writer whose disk is full cuts off what it began to write; then the journal is indexed anew.

        Raises:
            LedgerReadError: the journal cannot be read, or has no record.
        """
        with self._lock:
            size = os.fstat(self._descriptor).st_size
            begin, header = self._last
            # A record names all before it: while the last one stands, so do they.
            if not (self._bounds[-1] <= size and self._read(begin, len(header)) == header):
                self._begin_anew()
            while self._bounds[-1] < size and self._scan(self._read(self._bounds[-1], _BLOCK_BYTES)):
                pass
            if not len(self) > 0:
                raise LedgerReadError(f"{self._path} has no whole record")
            return len(self)

    def record(self, sequence: int) -> Record:
        """Return one record.

        Raises:
            LedgerReadError: there is none, or it cannot be read.
        """
        bounds = self._bounds
        if not 0 <= sequence < len(bounds) - 1:
            raise LedgerReadError(f"record {sequence} is not in {self.folder}")
        start, stop = bounds[sequence : sequence + 2]
        return self._parsed(sequence, self._read(start, stop - start))

    def page(self, query: Query, before: int | None, count: int, budget_s: float = SEARCH_S) -> Page:
        """Return the newest records that are wanted, older than one; what was found, when the time is up.

        Raises:
            LedgerReadError: a record cannot be read.
        """
        total, until_s = len(self), time.monotonic() + budget_s
        end = total if before is None else max(0, min(before, total))
        found: list[Record] = []
        needles = query.needles()

        def may_hold(stored: bytes) -> bool:
            return all(needle in stored for needle in needles) and _may_hold(query.text, stored)

        for sequence, stored in self._backwards(end, may_hold):
            if time.monotonic() > until_s:
                return Page(tuple(found), sequence + 1, total)
            if not may_hold(stored):
                continue
            record = self._parsed(sequence, stored)
            if query.wants(record):
                found.append(record)
            if len(found) == count:
                return Page(tuple(found), sequence or None, total)
        return Page(tuple(found), None, total)

    def newest_decisions(self, count: int) -> list[Record]:
        """Return the newest decisions of the kernel, oldest first.

        Raises:
            LedgerReadError: a record cannot be read.
        """
        found: list[Record] = []
        for sequence, stored in self._backwards(len(self), lambda _block: True):
            if b'"after":{' in stored:
                found.append(self._parsed(sequence, stored))
            if len(found) == count:
                break
        return found[::-1]

    def explained(self, sequence: int) -> dict[str, Any]:
        """Return a record in words, every check that the rules make for it, and the record as stored.

        Raises:
            LedgerReadError: it is not there, or one before it cannot be read.
            JournalError: it claims to be a decision and cannot be read, or no float can tell its figures.
        """
        record, first = self.record(sequence), max(0, sequence - RECENT - 1)
        explainer = Explainer(self.limits_before(first))
        for before in range(first, sequence):
            explainer.follow(self.record(before))
        lines, mismatches = explainer.explain(record)
        with tellable(f"record {sequence}"):
            checks = [check_body(check) for check in explainer.checks]
        return {
            "seq": sequence,
            "lines": list(lines),
            "mismatches": [str(one) for one in mismatches],
            "checks": checks,
            "record": record_as_json(record),
        }

    def limits_before(self, sequence: int) -> Limits | None:
        """Return the policy in force before a record, None before the first.

        Raises:
            LedgerReadError: a record cannot be read.
            JournalError: what stands for the policy is none.
        """
        policies = self._policies
        for index in range(bisect_left(policies, sequence) - 1, -1, -1):
            record = self.record(policies[index])
            if record.body.get("limits") is not None and record.body.get("verdict") != "refused":
                return _limits_of(record)
        return None

    def _begin_anew(self) -> None:
        # Others read while these are changed: they grow at their ends, or others take their places.
        # Where each record begins, and where the last one ends.
        self._bounds = array("Q", [0])
        # Sequences of the records that carry a policy.
        self._policies = array("Q")
        # Where the last record begins, and the header that its frame has there.
        self._last = (0, b"")

    def _scan(self, block: bytes) -> bool:
        """Take in the whole frames at the block's beginning, and say whether there was one."""
        base, at = self._bounds[-1], 0
        while (end := frames.end_of(block, at)) is not None:
            if block.find(_POLICY, at, end) >= 0:
                self._policies.append(len(self))
            self._last = (base + at, block[at : at + frames.HEADER.size])
            self._bounds.append(base + end)
            at = end
        return at > 0

    def _backwards(self, end: int, wants: Callable[[bytes], bool]) -> Iterator[tuple[int, bytes]]:
        """Yield records from the last before `end` to the first; blocks that are not wanted are left out."""
        bounds = self._bounds
        end = min(end, len(bounds) - 1)
        while end > 0:
            last = bounds[end]
            first = min(bisect_left(bounds, max(0, last - _BLOCK_BYTES)), end - 1)
            base = bounds[first]
            block = self._read(base, last - base)
            for sequence in range(end - 1, first - 1, -1) if wants(block) else ():
                yield sequence, block[bounds[sequence] - base : bounds[sequence + 1] - base]
            end = first

    def _read(self, start: int, count: int) -> bytes:
        try:
            return os.pread(self._descriptor, count, start)
        except OSError as error:
            raise LedgerReadError(f"cannot read {self._path}: {error.strerror}") from error

    def _parsed(self, sequence: int, framed: bytes) -> Record:
        try:
            return parse(frames.read(BytesIO(framed)) or b"")
        except (RecordError, frames.TornFrame) as error:
            raise LedgerReadError(f"record {sequence} of {self.folder} cannot be read: {error}") from error


def _limits_of(record: Record) -> Limits:
    try:
        return limits_of(record.body["limits"])
    except TypeError as error:
        raise JournalError(f"record {record.sequence} holds no limits: {error}") from error


def _may_hold(text: str, stored: bytes) -> bool:
    # Figures are shown otherwise than they are stored; all else stands there as it is shown.
    if not text or ", " in text or any(one.isdigit() for one in text):
        return True
    part = _spelt(text)[1:-1]
    if part.isascii():
        return part.lower().encode() in stored.lower()
    return part.casefold() in stored.decode(errors="replace").casefold()


def _spelt(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
