"""Walk a journal from its first byte: every record's form, key, signature and place, in bounded memory."""

import os
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final

from ledger import files, frame
from ledger.canonical import JsonValue
from ledger.errors import (
    Fault,
    Finding,
    KeyFileError,
    LedgerKeyError,
    LedgerReadError,
    LedgerTamperedError,
    NoteError,
)
from ledger.keys import SigningKey, VerifyKey, decode_base64, encode_base64
from ledger.note import NoteKey, NoteSigner
from ledger.record import EMPTY, FORMAT, Kind, Record, RecordError, Tip, parse, signed_bytes

JOURNAL: Final = "journal"

_NO_GENESIS = "a ledger begins with a whole genesis record"
_SUCCESSION_DOMAIN = b"lambda-attunement/ledger/succession/v1\0"
_LOG_SUCCESSION_DOMAIN = b"lambda-attunement/ledger/log-succession/v1\0"


class Chain:
    """A walk along a journal.

    Args:
        first_key: the key that must have signed the first record; None takes the one that it names.
        checks_signatures: whether the records after the first have their signatures checked.
    """

    def __init__(self, first_key: VerifyKey | None, *, checks_signatures: bool = True) -> None:
        self._first_key = first_key
        self._checks_signatures = checks_signatures
        # The key in force: the first record names it, and rotation records name its successors.
        self.key: VerifyKey | None = None
        # Where the walk stands: the last record that was found good.
        self.tip: Tip = EMPTY
        # The log's key in force: the first record names it, and log rotation records name its successors.
        self.log_key: NoteKey | None = None
        # A write that was not ended: what a crash, or a writer still writing, leaves behind.
        self.tail: bytes = b""

    def go_on_after(self, record: Record, end: int, key: VerifyKey, log_key: NoteKey | None) -> None:
        """Stand where a walk stands after this record, which ends at a byte and leaves these keys."""
        self.key, self.log_key = key, log_key
        self.tip = Tip(record.sequence, record.hash_hex, record.timestamp, end)

    def walk(self, stream: BinaryIO) -> Iterator[Record]:
        """Yield each record once it is found good; `tip` then ends at that record, `tail` is set at the end.

        Raises:
            LedgerReadError: the stream cannot be read.
            LedgerTamperedError: naming the first bad record; no record at all is bad as well.
            LedgerKeyError: the first record is good, under another key.
        """
        while stored := self._next(stream):
            try:
                record = self._examine(stored)
            except RecordError as error:
                raise self._tampered(error.fault, error.detail) from error
            end = self.tip.end + len(stored) + frame.OVERHEAD
            self.tip = Tip(record.sequence, record.hash_hex, record.timestamp, end)
            yield record
        if self.tip == EMPTY:
            raise self._tampered(Fault.TRUNCATED, _NO_GENESIS)

    def _next(self, stream: BinaryIO) -> bytes | None:
        try:
            return frame.read(stream)
        except frame.TornFrame as torn:
            self.tail = torn.tail
            return None
        except RecordError as error:
            raise self._tampered(error.fault, error.detail) from error
        except OSError as error:
            place = f"record {self.tip.sequence + 1} at byte {self.tip.end}"
            raise LedgerReadError(f"cannot read {place}: {error.strerror}") from error

    def _examine(self, stored: bytes) -> Record:
        record = parse(stored)
        if self.key is None:
            self.key, self.log_key = _genesis_keys(record)
            _check_signature(self.key, record)
        elif self._checks_signatures:
            _check_signature(self.key, record)
        self._check_place(record)
        first = self._first_key
        if self.tip == EMPTY and first is not None and first != self.key:
            raise LedgerKeyError(written_by=record.key_id, held=first.key_id)
        if record.kind is Kind.ROTATION:
            self.key = _successor(record)
        elif record.kind is Kind.LOG_ROTATION and self.log_key is not None:
            self.log_key = _log_successor(record, self.log_key)
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


def genesis_body(key: VerifyKey, log_key: NoteKey) -> dict[str, JsonValue]:
    """Return the body of the first record: what the ledger is, and the keys that write it."""
    return {"format": FORMAT, "log_key": str(log_key), "public_key": encode_base64(key.raw)}


def rotation_body(successor: SigningKey, before: str) -> dict[str, JsonValue]:
    """Return the body of a record that names the key which signs all records after it.

    The successor signs the hash of the record before, so that nobody can put another history before it.
    """
    proof = encode_base64(successor.sign(_SUCCESSION_DOMAIN + before.encode("ascii")))
    return {"proof": proof, "public_key": encode_base64(successor.verify_key.raw)}


def log_rotation_body(log: NoteSigner, successor: NoteSigner, before: str) -> dict[str, JsonValue]:
    """Return the body of a record that names the key which signs all checkpoints that cover it.

    The log's key in force signs its successor, so that whoever holds the key of the records cannot put a log
    of his own in its place; and the successor signs as well, that it is there.
    """
    vkey = str(successor.verifier)
    message = _log_succession(vkey, before)
    return {
        "log_key": vkey,
        "predecessor_proof": encode_base64(log.key.sign(message)),
        "proof": encode_base64(successor.key.sign(message)),
    }


class KeyTrail:
    """The keys that a ledger's records, read in order, name last: one for records, one for the log."""

    def __init__(self) -> None:
        self.key: VerifyKey | None = None
        self.log_key: NoteKey | None = None

    def follow(self, record: Record) -> None:
        """Take in the next record, which `read_records` or `Chain` found good."""
        if record.kind is Kind.GENESIS:
            self.key, self.log_key = _genesis_keys(record)
        elif record.kind is Kind.ROTATION:
            self.key = _successor(record)
        elif record.kind is Kind.LOG_ROTATION and self.log_key is not None:
            self.log_key = _log_successor(record, self.log_key)


def keys_in_force(records: Iterable[Record]) -> tuple[VerifyKey, NoteKey]:
    """Return the keys of records and of the log that a ledger's records, which were read, name last.

    Raises:
        LedgerTamperedError: there is no record.
    """
    trail = KeyTrail()
    for record in records:
        trail.follow(record)
    if trail.key is None or trail.log_key is None:
        raise LedgerTamperedError(Finding(0, 0, Fault.TRUNCATED, _NO_GENESIS))
    return trail.key, trail.log_key


def log_keys(records: Iterable[Record]) -> Iterator[NoteKey]:
    """Yield the keys of a log that its ledger's records, which were read, name: the first one first."""
    trail, last = KeyTrail(), None
    for record in records:
        trail.follow(record)
        if trail.log_key is not None and trail.log_key != last:
            last = trail.log_key
            yield last


def journal_path(folder: str | os.PathLike[str]) -> str:
    """Return the name of the journal of a ledger's folder."""
    return os.path.join(os.fspath(folder), JOURNAL)


def read_records(folder: str | os.PathLike[str]) -> Iterator[Record]:
    """Yield the records of a ledger without its lock, up to a torn last record, if there is one.

    The form, the sequence, the hash chain and the times are checked, and the first record's signature; the
    signatures of the others are not: that is `verify`.

    Raises:
        LedgerReadError: the journal cannot be read.
        LedgerTamperedError: naming the first bad record, once the good ones before it were yielded.
    """
    with open_journal(folder) as stream:
        yield from Chain(None, checks_signatures=False).walk(stream)


def read_on(folder: str | os.PathLike[str], begin: int) -> Iterator[Record]:
    """Yield the records from a byte of the journal on, of which nothing but the form is checked.

    For bytes that are known to be good.

    Raises:
        LedgerReadError: the journal cannot be read, or no record begins there.
    """
    with open_journal(folder) as stream:
        try:
            stream.seek(begin)
            while stored := frame.read(stream):
                yield parse(stored)
        except frame.TornFrame:
            return
        except (OSError, RecordError) as error:
            raise LedgerReadError(
                f"cannot read {journal_path(folder)} from byte {begin} on: {error}"
            ) from error


def open_journal(folder: str | os.PathLike[str]) -> BinaryIO:
    """Open a ledger's journal for reading, without its lock.

    Raises:
        LedgerReadError: it cannot be opened, or is not a regular file.
    """
    try:
        return files.open_to_read(journal_path(folder))
    except FileNotFoundError as error:
        raise LedgerReadError(f"no ledger in {os.fspath(folder)}: it has no file {JOURNAL}") from error


def _check_signature(key: VerifyKey, record: Record) -> None:
    if not record.key_id == key.key_id:
        raise RecordError(Fault.UNKNOWN_KEY, f"key is {record.key_id}, must be {key.key_id}")
    if not key.verifies(record.signature, signed_bytes(record.stored)):
        raise RecordError(Fault.SIGNATURE, f"it is not a signature of this record by key {key.key_id}")


def _genesis_keys(record: Record) -> tuple[VerifyKey, NoteKey]:
    key, log_key = _public_key(record), record.body.get("log_key")
    try:
        log = NoteKey.parse(log_key if isinstance(log_key, str) else "")
    except NoteError as error:
        raise RecordError(Fault.UNKNOWN_KEY, f"log_key of the first record: {error}") from error
    if record.body == genesis_body(key, log):
        return key, log
    raise RecordError(Fault.CANONICAL_FORM, "the body of the first record is not that of a genesis record")


def _successor(record: Record) -> VerifyKey:
    successor = _public_key(record)
    proof = record.body.get("proof")
    signature = decode_base64(proof) if isinstance(proof, str) else None
    if not (record.body.keys() == {"proof", "public_key"} and signature is not None):
        raise RecordError(Fault.CANONICAL_FORM, "the body is not that of a rotation record")
    if not successor.verifies(signature, _SUCCESSION_DOMAIN + record.previous_hash.encode("ascii")):
        raise RecordError(Fault.SIGNATURE, f"proof is not a signature by the successor {successor.key_id}")
    return successor


def _log_successor(record: Record, log_key: NoteKey) -> NoteKey:
    body = record.body
    vkey = body.get("log_key")
    try:
        successor = NoteKey.parse(vkey if isinstance(vkey, str) else "")
    except NoteError as error:
        raise RecordError(Fault.UNKNOWN_KEY, f"log_key of the record: {error}") from error
    if not (body.keys() == {"log_key", "predecessor_proof", "proof"} and successor.name == log_key.name):
        raise RecordError(Fault.CANONICAL_FORM, "the body is not that of a log rotation record of this log")
    message = _log_succession(str(successor), record.previous_hash)
    for name, key in (("predecessor_proof", log_key), ("proof", successor)):
        proof = body[name]
        signature = decode_base64(proof) if isinstance(proof, str) else None
        if not (signature is not None and key.key.verifies(signature, message)):
            raise RecordError(Fault.SIGNATURE, f"{name} is not a signature by the log's key {key}")
    return successor


def _log_succession(vkey: str, before: str) -> bytes:
    return _LOG_SUCCESSION_DOMAIN + f"{before}\n{vkey}".encode()


def _public_key(record: Record) -> VerifyKey:
    value = record.body.get("public_key")
    raw = decode_base64(value) if isinstance(value, str) else None
    try:
        return VerifyKey(raw or b"")
    except KeyFileError as error:
        raise RecordError(Fault.UNKNOWN_KEY, f"public_key of the record: {error}") from error
