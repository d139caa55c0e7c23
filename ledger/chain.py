"""Walk a ledger from its first byte: every record's form, key, signature and place, in bounded memory."""

import os
from collections.abc import Iterator
from typing import BinaryIO

from ledger.canonical import JsonValue
from ledger.errors import Fault, Finding, KeyFileError, LedgerKeyError, LedgerReadError, LedgerTamperedError
from ledger.keys import VerifyKey, decode_base64, encode_base64
from ledger.record import EMPTY, FORMAT, MAX_LINE_BYTES, Kind, Record, RecordError, Tip, parse, signed_bytes


class Chain:
    """A walk along a ledger.

    Args:
        key: the key that must have signed every record; None reads without checking signatures.
    """

    def __init__(self, key: VerifyKey | None) -> None:
        self._key = key
        # Where the walk stands: the last record that was found good.
        self.tip: Tip = EMPTY
        # An unterminated last line: what a crash, or a writer still writing, leaves behind.
        self.tail: bytes = b""

    def walk(self, stream: BinaryIO) -> Iterator[Record]:
        """Yield each record once it is found good; `tip` then ends at that record, `tail` is set at the end.

        Raises:
            LedgerReadError: the stream cannot be read.
            LedgerTamperedError: naming the first bad record; no record at all is bad as well.
            LedgerKeyError: the first record is good, under another key.
        """
        while line := self._next_line(stream):
            if not line.endswith(b"\n") and len(line) < MAX_LINE_BYTES:
                self.tail = line
                break
            try:
                record = self._examine(line)
            except RecordError as error:
                raise self._tampered(error.fault, error.detail) from error
            self.tip = Tip(record.sequence, record.hash_hex, record.timestamp, self.tip.end + len(line))
            yield record
        if self.tip == EMPTY:
            raise self._tampered(Fault.TRUNCATED, "a ledger begins with a whole genesis record")

    def _next_line(self, stream: BinaryIO) -> bytes:
        try:
            # Never more than this is held, however long the line that somebody put there.
            return stream.readline(MAX_LINE_BYTES)
        except OSError as error:
            place = f"record {self.tip.sequence + 1} at byte {self.tip.end}"
            raise LedgerReadError(f"cannot read {place}: {error.strerror}") from error

    def _examine(self, line: bytes) -> Record:
        if not line.endswith(b"\n"):
            raise RecordError(Fault.CANONICAL_FORM, f"line is longer than {MAX_LINE_BYTES} bytes")
        record = parse(line)
        key = self._key if self.tip != EMPTY else _genesis_key(record)
        if key is not None:
            _check_signature(key, record, line)
        self._check_place(record)
        if self.tip == EMPTY and self._key is not None and self._key != key:
            raise LedgerKeyError(written_by=record.key_id, held=self._key.key_id)
        return record

    def _check_place(self, record: Record) -> None:
        tip = self.tip
        if not record.sequence == tip.sequence + 1:
            raise RecordError(Fault.SEQUENCE, f"seq is {record.sequence}, must be {tip.sequence + 1}")
        if not (record.kind is Kind.GENESIS) == (record.sequence == 0):
            raise RecordError(Fault.SEQUENCE, f"kind is {record.kind.value} at seq {record.sequence}")
        if not record.previous_hash == tip.hash_hex:
            raise RecordError(Fault.CHAIN, f"prev is {record.previous_hash}, must be {tip.hash_hex}")
        if record.clock is None:
            in_order = record.timestamp >= tip.timestamp
        else:
            in_order = record.clock < record.timestamp == tip.timestamp
        if not in_order:
            raise RecordError(
                Fault.TIMESTAMP,
                f"timestamp is {record.timestamp} with clock {record.clock}, after {tip.timestamp}",
            )

    def _tampered(self, fault: Fault, detail: str) -> LedgerTamperedError:
        return LedgerTamperedError(Finding(self.tip.sequence + 1, self.tip.end, fault, detail))


def _check_signature(key: VerifyKey, record: Record, line: bytes) -> None:
    if not record.key_id == key.key_id:
        raise RecordError(Fault.UNKNOWN_KEY, f"key is {record.key_id}, must be {key.key_id}")
    if not key.verifies(record.signature, signed_bytes(line)):
        raise RecordError(Fault.SIGNATURE, f"it is not a signature of this record by key {key.key_id}")


def genesis_body(key: VerifyKey) -> dict[str, JsonValue]:
    """Return the body of the first record: what the file is, and the key that writes it."""
    return {"format": FORMAT, "public_key": encode_base64(key.raw)}


def read_records(path: str | os.PathLike[str]) -> Iterator[Record]:
    """Yield the records of a ledger without its lock, up to a torn last line, if there is one.

    The form, the sequence, the hash chain and the times are checked, and the first record's signature; the
    signatures of the others are not: that is `verify`.

    Raises:
        LedgerReadError: the file cannot be read.
        LedgerTamperedError: naming the first bad record, once the good ones before it were yielded.
    """
    with open_ledger(path) as stream:
        yield from Chain(None).walk(stream)


def open_ledger(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a ledger file for reading, without its lock.

    Raises:
        LedgerReadError: it cannot be opened.
    """
    try:
        return open(path, "rb")
    except OSError as error:
        raise LedgerReadError(f"cannot read {os.fspath(path)}: {error.strerror}") from error


def _genesis_key(record: Record) -> VerifyKey:
    value = record.body.get("public_key")
    raw = decode_base64(value) if isinstance(value, str) else None
    try:
        key = VerifyKey(raw or b"")
    except KeyFileError as error:
        raise RecordError(Fault.UNKNOWN_KEY, f"public_key of the first record: {error}") from error
    if record.body == genesis_body(key):
        return key
    raise RecordError(Fault.CANONICAL_FORM, "the body of the first record is not that of a genesis record")
