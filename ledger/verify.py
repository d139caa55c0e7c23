"""Check a ledger as an auditor does: with the public key alone, and no lock."""

import enum
import os
from collections.abc import Callable
from typing import BinaryIO

import attrs

from ledger.chain import Chain, open_ledger
from ledger.errors import Fault, Finding, LedgerKeyError, LedgerTamperedError
from ledger.keys import VerifyKey
from ledger.record import EMPTY, Head


class Verdict(enum.Enum):
    """What can be said of a ledger. Only VERIFIED says that all of it is good."""

    VERIFIED = "verified"
    TORN_TAIL = "torn tail"
    TRUNCATED = "truncated"
    TAMPERED = "tampered"
    UNVERIFIABLE = "unverifiable"


@attrs.frozen
class Report:
    """The outcome of a verification.

    Attributes:
        verdict: TORN_TAIL: every whole record is good, and an unterminated line follows, left by a crash or
            by a writer at work. TRUNCATED: the remembered head is missing. TAMPERED: a record is bad.
            UNVERIFIABLE: the ledger was written by another key.
        records: how many records are good, counted from the first.
        size: bytes of these records.
        head: the last good record; None if there is none.
        first_timestamp: UTC time of the first good record.
        last_timestamp: UTC time of the last good record.
        finding: the first bad record; None if and only if the verdict is VERIFIED.
    """

    verdict: Verdict
    records: int
    size: int
    head: Head | None
    first_timestamp: str | None
    last_timestamp: str | None
    finding: Finding | None


def verify(
    path: str | os.PathLike[str],
    public_key: VerifyKey,
    *,
    anchor: Head | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Report:
    """Check every record's form, signature, sequence, hash chain and time, in bounded memory.

    Args:
        path: the ledger file; a writer may be appending to it.
        public_key: the key that must have signed every record.
        anchor: a head seen earlier. Without it, records deleted from the end are not noticed.
        progress: called after each record with the bytes done and the bytes in all.

    Raises:
        LedgerReadError: the file cannot be read.
    """
    with open_ledger(path) as stream:
        return _Audit(public_key).run(stream, anchor, progress)


class _Audit:
    def __init__(self, key: VerifyKey) -> None:
        self._chain = Chain(key)
        # The good records so far: one behind the chain while a record is compared with the anchor.
        self._tip = EMPTY
        self._first_timestamp: str | None = None

    def run(
        self, stream: BinaryIO, anchor: Head | None, progress: Callable[[int, int], object] | None
    ) -> Report:
        total = os.fstat(stream.fileno()).st_size
        try:
            for record in self._chain.walk(stream):
                here = Head(record.sequence, record.hash_hex)
                if anchor is not None and anchor.sequence == here.sequence and anchor != here:
                    detail = f"hash is {here.hash_hex}, was seen as {anchor.hash_hex}"
                    return self._report(Verdict.TAMPERED, Fault.CHAIN, detail)
                self._tip = self._chain.tip
                self._first_timestamp = self._first_timestamp or record.timestamp
                if progress is not None:
                    progress(self._tip.end, total)
        except LedgerTamperedError as error:
            fault = error.finding.fault
            verdict = Verdict.TRUNCATED if fault is Fault.TRUNCATED else Verdict.TAMPERED
            return self._report(verdict, fault, error.finding.detail)
        except LedgerKeyError as error:
            return self._report(Verdict.UNVERIFIABLE, Fault.UNKNOWN_KEY, str(error))
        if anchor is not None and anchor.sequence > self._tip.sequence:
            return self._report(
                Verdict.TRUNCATED, Fault.TRUNCATED, f"record {anchor.sequence} was seen and is missing"
            )
        if self._chain.tail:
            return self._report(
                Verdict.TORN_TAIL, Fault.TRUNCATED, f"{len(self._chain.tail)} bytes without a line end"
            )
        return self._summary(Verdict.VERIFIED, None)

    def _report(self, verdict: Verdict, fault: Fault, detail: str) -> Report:
        return self._summary(verdict, Finding(self._tip.sequence + 1, self._tip.end, fault, detail))

    def _summary(self, verdict: Verdict, finding: Finding | None) -> Report:
        tip = self._tip
        return Report(
            verdict=verdict,
            records=tip.sequence + 1,
            size=tip.end,
            head=Head(tip.sequence, tip.hash_hex) if tip != EMPTY else None,
            first_timestamp=self._first_timestamp,
            last_timestamp=tip.timestamp or None,
            finding=finding,
        )
