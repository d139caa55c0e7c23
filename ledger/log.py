"""Append signed records to one journal, each durable before it is acknowledged."""

import contextlib
import fcntl
import itertools
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from types import TracebackType
from typing import Final, Self

import attrs

from ledger import files, frame
from ledger.canonical import JsonValue
from ledger.chain import Chain, genesis_body, journal_path, read_records, rotation_body
from ledger.checkpoint import SignedCheckpoint, open_checkpoint
from ledger.errors import (
    CanonicalError,
    Fault,
    Finding,
    LedgerError,
    LedgerKeyError,
    LedgerLockedError,
    LedgerTamperedError,
    LedgerWriteError,
    NoteError,
)
from ledger.head_store import HeadRow, HeadStore, Ownership
from ledger.keys import SigningKey
from ledger.marks import Mark, Marks
from ledger.note import NoteKey, NoteSigner
from ledger.publish import CHECKPOINT, Publisher, holds, write_tiles
from ledger.record import EMPTY, RECORD_OVERHEAD, Head, Kind, Record, Tip, encode_body, format_utc, seal
from ledger.tree import Tree
from ledger.verify import read_note

TORN_PREFIX: Final = "torn-"
RESERVE: Final = "reserve"
RESERVE_BYTES: Final = 2 * frame.MAX_FRAME_BYTES

_FILE_MODE = 0o644
_DIGEST_CHARACTERS = 64


@attrs.frozen
class Signers:
    """The keys of a writer, apart from one another: one for records, one for the log's checkpoints.

    The name of the log's signer is the log's origin.
    """

    records: SigningKey
    log: NoteSigner


@attrs.frozen
class Cadence:
    """A checkpoint is due after so many records, or so many seconds after the first that it does not cover.

    The seconds are looked at with each append; `Ledger.checkpoint` publishes at any other time.
    """

    records: int = attrs.field(default=1024, validator=attrs.validators.ge(1))
    seconds: float = attrs.field(default=10.0, validator=attrs.validators.gt(0.0))


@attrs.frozen
class Receipt:
    """Proof for the caller that a record is durable: its place, its leaf hash and its UTC time."""

    sequence: int
    hash_hex: str
    timestamp: str


@attrs.frozen
class Health:
    """How a ledger stands, for those who watch it.

    Attributes:
        records: Records that are durable.
        size_bytes: Length of the journal.
        timestamp: UTC time of the newest durable record.
        stopped: Why nothing can be appended; empty while all is well.
    """

    records: int
    size_bytes: int
    timestamp: str
    stopped: str


@attrs.define(eq=False)
class _Request:
    bodies: list[bytes]
    receipts: list[Receipt] = attrs.field(factory=list)
    error: BaseException | None = None
    is_done: bool = False

    @property
    def size(self) -> int:
        """Bytes that its records take at most."""
        return sum(len(body) + RECORD_OVERHEAD for body in self.bodies)


def utc_now() -> datetime:
    """Return the present time in UTC."""
    return datetime.now(UTC)


class Ledger:
    """The one writer of a ledger's folder. Made by `open`; safe to share between threads.

    Order of an append: the journal is still the file that was locked → frames written by one write → sync →
    the head's row moves, if there is one → state and receipts. Until the receipt exists nothing was promised,
    so frames that failed are cut off again. Appends that wait for one another share a write and a sync.
    """

    def __init__(
        self,
        folder: str,
        descriptor: int,
        tip: Tip,
        publisher: Publisher,
        key: SigningKey,
        cadence: Cadence,
        clock: Callable[[], datetime],
        sync: Callable[[int], object],
    ) -> None:
        opened = os.fstat(descriptor)
        self._folder: Final = folder
        self._journal: Final = journal_path(folder)
        self._device: Final = opened.st_dev
        self._inode: Final = opened.st_ino
        self._cadence: Final = cadence
        self._clock: Final = clock
        self._sync: Final = sync
        # Held for no longer than it takes to add to the list of those who wait.
        self._queue_lock: Final = threading.Lock()
        self._queue: list[_Request] = []
        self._lock: Final = threading.Lock()
        # Owned by whoever holds _lock, like all that follows; holds the file lock until it is closed.
        self._descriptor = descriptor
        self._key = key
        # The last durable record. The journal is exactly as long as the tip says, or the ledger is stopped.
        self._tip = tip
        self._publisher = publisher
        self._ownership: Ownership | None = None
        # Monotonic time in seconds at which a checkpoint is due; None while all records are covered.
        self._due: float | None = None
        # Why nothing may be appended any more; empty while all is well.
        self._stopped = ""

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        signers: Signers,
        *,
        head_store: HeadStore | None = None,
        cadence: Cadence = Cadence(),
        clock: Callable[[], datetime] = utc_now,
        sync: Callable[[int], object] = os.fdatasync,
    ) -> Self:
        """Open a ledger for writing, or create it with its folder.

        An existing ledger is verified from its first record to its last, held against its checkpoint and the
        head's row, and its tiles are repaired. A record that a crash cut off is moved to
        `torn-<SHA-256>` in the folder, and a signed recovery record says so.

        Args:
            folder: the ledger.
            signers: the keys that wrote it, or that will.
            head_store: where the head lives as a row, for writers of which only one may go on; this writer
                takes the row over, and a signed epoch record says so.
            cadence: when checkpoints are due; one is also written here and at the close.
            clock: returns the time, with its zone.
            sync: makes the written bytes of a descriptor durable, or raises OSError.

        Raises:
            LedgerLockedError: another writer has it open.
            LedgerTamperedError: naming the first bad record, or saying that records are missing.
            LedgerKeyError: another key wrote it.
            LedgerReadError: it cannot be read.
            LedgerWriteError: it cannot be created or opened, or the recovery cannot be written.
            HeadStoreError: the row cannot be read or moved.
            OwnershipLostError: another writer took the row at the same time.
        """
        name = os.fspath(folder)
        if not os.path.lexists(journal_path(name)):
            _create(name, signers, clock)
        descriptor = _open_locked(name)
        try:
            ledger = cls._resume(name, descriptor, signers, head_store, cadence, clock, sync)
        except OSError as error:
            os.close(descriptor)
            raise LedgerWriteError(f"cannot open {name}: {error.strerror}") from error
        except BaseException:
            os.close(descriptor)
            raise
        return ledger

    def append(self, body: Mapping[str, JsonValue]) -> Receipt:
        """Sign a record, write it, make it durable, and only then return.

        Raises:
            CanonicalError: the body has no canonical form or is too large; nothing was written.
            LedgerTamperedError: the journal was replaced or changed its length; the ledger is stopped.
            LedgerWriteError: nothing was acknowledged, and the ledger is stopped. After a failed write the
                bytes are cut off again, and a stop record says why if it can still be written. A failed sync
                is never tried again, since the kernel may have dropped the bytes and would call the next
                sync a success; the record may be found or not when the ledger is next opened.
            HeadStoreError, OwnershipLostError: the head's row did not move; the ledger is stopped. The
                record is durable here, and not acknowledged.
        """
        return self.append_many((body,))[0]

    def append_many(self, bodies: Sequence[Mapping[str, JsonValue]]) -> list[Receipt]:
        """Append records that are written and synced as one; errors are those of `append`.

        Raises:
            CanonicalError: also if the bodies take more than `MAX_GROUP_BYTES` together.
        """
        request = _Request([encode_body(body) for body in bodies])
        if not request.size <= frame.MAX_GROUP_BYTES:
            raise CanonicalError(f"bodies take {request.size} bytes, must not exceed {frame.MAX_GROUP_BYTES}")
        with self._queue_lock:
            self._queue.append(request)
        with self._lock:
            # Whoever comes first commits for all who wait; the others find their work done.
            while not request.is_done:
                self._commit_for(self._take_group())
        if request.error is not None:
            raise request.error
        return request.receipts

    def rotate(self, successor: SigningKey) -> Receipt:
        """Have the key in force sign its successor into the ledger; all records after that are signed by it.

        Errors are those of `append`; then the old key stays in force.
        """
        with self._lock:
            body = encode_body(rotation_body(successor, self._tip.hash_hex))
            (receipt,) = self._commit(Kind.ROTATION, [body])
            self._key = successor
            return receipt

    def checkpoint(self) -> SignedCheckpoint:
        """Publish all that was appended, and return the checkpoint of it.

        Raises:
            LedgerWriteError: the ledger is stopped, or a file cannot be written; then it is stopped.
        """
        with self._lock:
            self._check_running()
            return self._publish()

    def records(self) -> Iterator[Record]:
        """Return an iterator over the records that are durable now.

        Raises:
            LedgerReadError, LedgerTamperedError: while iterating, as of `read_records`.
        """
        return itertools.islice(read_records(self._folder), self.head().sequence + 1)

    def head(self) -> Head:
        """Return the last durable record's place and leaf hash."""
        with self._lock:
            return Head(self._tip.sequence, self._tip.hash_hex)

    def health(self, patience_s: float) -> Health:
        """Return how the ledger stands, after waiting at most patience_s seconds for an append under way.

        An append that takes longer counts as a ledger that is stopped: a disk that hangs takes no records.
        """
        is_free = self._lock.acquire(timeout=patience_s)
        try:
            tip = self._tip
            stopped = self._stopped if is_free else f"an append takes longer than {patience_s:g} s"
            return Health(tip.sequence + 1, tip.end, tip.timestamp, stopped)
        finally:
            if is_free:
                self._lock.release()

    def close(self) -> None:
        """Publish a last checkpoint, and give the ledger free for another writer. Closing twice is allowed.

        Raises:
            LedgerWriteError: the checkpoint cannot be written; the ledger is closed nevertheless.
        """
        with self._lock:
            if self._descriptor < 0:
                return
            try:
                if not self._stopped:
                    self._publish()
            finally:
                os.close(self._descriptor)
                self._descriptor = -1
                self._stopped = "it is closed"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @classmethod
    def _resume(
        cls,
        folder: str,
        descriptor: int,
        signers: Signers,
        head_store: HeadStore | None,
        cadence: Cadence,
        clock: Callable[[], datetime],
        sync: Callable[[int], object],
    ) -> Self:
        origin = signers.log.name
        row = None if head_store is None else head_store.read(origin)
        replayed = _replay(folder, descriptor, signers, row)
        tree = replayed.publisher.tree
        ledger = cls(
            folder, descriptor, replayed.chain.tip, replayed.publisher, signers.records, cadence, clock, sync
        )
        # A writer that was killed may have left records that are whole and not yet durable; the checkpoint
        # below must not be ahead of the journal after a power cut.
        os.fsync(descriptor)
        _keep_reserve(folder)
        with ledger._lock:
            if head_store is not None:
                first = HeadRow(origin, 1, tree.size, tree.root().hex(), ledger._checkpoint_text())
                ledger._ownership = Ownership.claim(head_store, row, first)
            ledger._recover(replayed.chain.tail, replayed.recovered)
            if ledger._ownership is not None:
                ledger._commit(Kind.EPOCH, [encode_body(_epoch_body(ledger._ownership.row))])
            ledger._publish()
        return ledger

    def _take_group(self) -> list[_Request]:
        with self._queue_lock:
            sizes = itertools.accumulate(request.size for request in self._queue)
            count = max(1, sum(size <= frame.MAX_GROUP_BYTES for size in sizes))
            group, self._queue = self._queue[:count], self._queue[count:]
        return group

    def _commit_for(self, waiting: list[_Request]) -> None:
        error: BaseException | None = LedgerWriteError("the append was interrupted")
        receipts: Iterator[Receipt] = iter(())
        try:
            bodies = [body for request in waiting for body in request.bodies]
            receipts = iter(self._commit(Kind.ENTRY, bodies))
            error = None
        except LedgerError as refusal:
            error = refusal
        finally:
            for request in waiting:
                request.receipts = list(itertools.islice(receipts, len(request.bodies)))
                request.error = error
                request.is_done = True

    def _commit(self, kind: Kind, bodies: list[bytes]) -> list[Receipt]:
        self._check_running()
        self._check_unchanged()
        if not bodies:
            return []
        now, tip = _reading(self._clock), self._tip
        entries: list[bytes] = []
        receipts: list[Receipt] = []
        frames = bytearray()
        for begun in bodies:
            stored, tip = seal(tip, kind, begun, now, self._key)
            entries.append(stored)
            frames += frame.encode(stored)
            receipts.append(Receipt(tip.sequence, tip.hash_hex, tip.timestamp))
        # Stands if anything below is interrupted, even by a signal: then the journal's end is not known.
        self._stopped = "an append was interrupted"
        self._write(bytes(frames))
        self._sync_journal()
        self._tip = attrs.evolve(tip, end=self._tip.end + len(frames))
        for stored, receipt in zip(entries, receipts, strict=True):
            self._publisher.add(stored, bytes.fromhex(receipt.hash_hex))
        self._advance()
        self._stopped = ""
        self._publish_if_due()
        return receipts

    def _check_running(self) -> None:
        if self._stopped:
            raise LedgerWriteError(f"nothing can be appended to {self._folder}: {self._stopped}")

    def _check_unchanged(self) -> None:
        try:
            now = os.stat(self._journal)
        except OSError as error:
            raise self._tampered(f"{self._journal} is gone: {error.strerror}") from error
        if not (now.st_ino == self._inode and now.st_dev == self._device):
            raise self._tampered(f"{self._journal} is now another file")
        if not now.st_size == self._tip.end:
            raise self._tampered(f"{self._journal} has {now.st_size} bytes, must have {self._tip.end}")

    def _tampered(self, reason: str) -> LedgerTamperedError:
        self._stopped = reason
        return LedgerTamperedError(Finding(self._tip.sequence + 1, self._tip.end, Fault.TRUNCATED, reason))

    def _write(self, data: bytes) -> None:
        try:
            written = os.write(self._descriptor, data)
        except OSError as error:
            raise self._refuse(f"cannot write to {self._journal}: {error.strerror}") from error
        if written != len(data):
            raise self._refuse(f"{written} of {len(data)} bytes could be written to {self._journal}")

    def _sync_journal(self) -> None:
        try:
            self._sync(self._descriptor)
        except OSError as error:
            self._stopped = f"sync failed: {error.strerror}"
            raise LedgerWriteError(f"cannot sync {self._journal}: {error.strerror}") from error

    def _refuse(self, reason: str) -> LedgerWriteError:
        # What was begun is cut off; then the reserve's blocks make room for the record of the stop.
        self._cut_back()
        self._stopped = reason
        try:
            self._record_stop(reason)
        except (OSError, LedgerError) as error:
            return LedgerWriteError(f"{reason}; the stop could not be recorded: {error}")
        return LedgerWriteError(reason)

    def _record_stop(self, reason: str) -> None:
        os.truncate(os.path.join(self._folder, RESERVE), 0)
        body = encode_body({"reason": ascii(reason)[1:-1]})
        stored, tip = seal(self._tip, Kind.STOP, body, _reading(self._clock), self._key)
        data = frame.encode(stored)
        if os.write(self._descriptor, data) != len(data):
            self._cut_back()
            raise LedgerWriteError("no space left even so")
        self._sync(self._descriptor)
        self._tip = attrs.evolve(tip, end=self._tip.end + len(data))

    def _cut_back(self) -> None:
        try:
            os.ftruncate(self._descriptor, self._tip.end)
            os.fsync(self._descriptor)
        except OSError as error:
            self._stopped = f"a failed write could not be cut off: {error.strerror}"
            raise LedgerWriteError(f"cannot cut {self._journal} back: {error.strerror}") from error

    def _advance(self) -> None:
        if self._ownership is None:
            return
        tree = self._publisher.tree
        try:
            self._ownership.advance(tree.size, tree.root().hex(), self._checkpoint_text())
        except LedgerError as error:
            self._stopped = str(error)
            raise

    def _publish_if_due(self) -> None:
        now, last = time.monotonic(), self._publisher.published
        if self._due is None:
            self._due = now + self._cadence.seconds
        covered = 0 if last is None else last.checkpoint.size
        if self._publisher.tree.size - covered >= self._cadence.records or now >= self._due:
            try:
                self._publish()
            except LedgerWriteError:
                # The record is durable, and its receipt is due; the stop meets the next append.
                return

    def _publish(self) -> SignedCheckpoint:
        try:
            published = self._publisher.publish()
        except OSError as error:
            self._stopped = f"cannot publish: {error.strerror}"
            raise LedgerWriteError(f"cannot publish {self._folder}: {error.strerror}") from error
        self._due = None
        return published

    def _checkpoint_text(self) -> str:
        published = self._publisher.published
        return "" if published is None else published.note.decode("utf-8")

    def _recover(self, tail: bytes, recovered: frozenset[str]) -> None:
        # Bytes set aside → journal cut → recovery record. After a crash in between, a file that no record
        # names tells that its record is still owed.
        owed = [_set_aside(self._folder, tail)] if tail else []
        owed += [digest for digest in _asides(self._folder) if digest not in {*recovered, *owed}]
        if tail:
            self._cut_back()
        for digest in owed:
            with open(os.path.join(self._folder, TORN_PREFIX + digest), "rb") as stream:
                torn = stream.read(frame.MAX_TAIL_BYTES)
            if sha256(torn).hexdigest() != digest:
                raise LedgerWriteError(
                    f"{TORN_PREFIX}{digest} holds other bytes than its name says: move it away"
                )
            self._commit(Kind.RECOVERY, [encode_body({"length": len(torn), "sha256": digest})])


@attrs.frozen
class _Replayed:
    chain: Chain
    publisher: Publisher
    # Hex SHA-256 of the torn bytes that recovery records name.
    recovered: frozenset[str]


def _replay(folder: str, descriptor: int, signers: Signers, row: HeadRow | None) -> _Replayed:
    log_key, held = signers.log.verifier, signers.records.verify_key
    chain, tree, before = Chain(None), Tree(), EMPTY
    published: SignedCheckpoint | None = None
    marks = Marks(())
    recovered: set[str] = set()
    is_whole = True
    with open(descriptor, "rb", closefd=False) as stream:
        for record in chain.walk(stream):
            if before == EMPTY:
                if chain.log_key != log_key:
                    raise LedgerKeyError(str(chain.log_key), str(log_key))
                published = _read_checkpoint(folder, log_key)
                marks = Marks(_marks(published, row))
            for tile, data in tree.add(record.stored, bytes.fromhex(record.hash_hex)):
                is_whole = is_whole and holds(os.path.join(folder, tile.path), data)
            marks.check(chain.tip, before, tree)
            before = chain.tip
            if record.kind is Kind.RECOVERY:
                recovered.add(str(record.body.get("sha256")))
    if chain.key is not None and chain.key != held:
        raise LedgerKeyError(chain.key.key_id, held.key_id)
    marks.finish(chain.tip)
    if not is_whole:
        # Only now: the tiles of a ledger that is not good are evidence.
        _write_tiles_again(folder, descriptor)
    return _Replayed(chain, Publisher(folder, signers.log, tree, published), frozenset(recovered))


def _read_checkpoint(folder: str, log_key: NoteKey) -> SignedCheckpoint | None:
    note = read_note(folder, CHECKPOINT)
    if note is None:
        return None
    try:
        return open_checkpoint(note, log_key)
    except NoteError as error:
        detail = f"file {CHECKPOINT}: {error}: put back the one that was there"
        raise LedgerTamperedError(Finding(0, 0, Fault.CHECKPOINT, detail)) from error


def _marks(published: SignedCheckpoint | None, row: HeadRow | None) -> Iterator[Mark]:
    if published is not None:
        yield Mark.of(published.checkpoint, f"the file {CHECKPOINT}", is_outside=False)
    if row is not None:
        yield Mark("the head's row", row.size, bytes.fromhex(row.root), is_outside=True)


def _write_tiles_again(folder: str, descriptor: int) -> None:
    tree = Tree()
    with open(descriptor, "rb", closefd=False) as stream:
        stream.seek(0)
        for record in Chain(None, checks_signatures=False).walk(stream):
            write_tiles(folder, tree.add(record.stored, bytes.fromhex(record.hash_hex)))


def _set_aside(folder: str, tail: bytes) -> str:
    digest = sha256(tail).hexdigest()
    with contextlib.suppress(FileExistsError):
        files.publish(os.path.join(folder, TORN_PREFIX + digest), tail, _FILE_MODE)
    return digest


def _asides(folder: str) -> list[str]:
    found = sorted(
        name.removeprefix(TORN_PREFIX) for name in os.listdir(folder) if name.startswith(TORN_PREFIX)
    )
    # A draft that a crash left behind has a longer name.
    return [digest for digest in found if len(digest) == _DIGEST_CHARACTERS]


def _keep_reserve(folder: str) -> None:
    descriptor = os.open(os.path.join(folder, RESERVE), os.O_WRONLY | os.O_CREAT, _FILE_MODE)
    try:
        os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _epoch_body(row: HeadRow) -> dict[str, JsonValue]:
    return {"epoch": row.epoch, "size": row.size, "root": row.root, "checkpoint": row.checkpoint}


def _create(folder: str, signers: Signers, clock: Callable[[], datetime]) -> None:
    body = encode_body(genesis_body(signers.records.verify_key, signers.log.verifier))
    stored, _ = seal(EMPTY, Kind.GENESIS, body, _reading(clock), signers.records)
    try:
        files.make_directories(folder)
    except OSError as error:
        raise LedgerWriteError(f"cannot create the folder {folder}: {error.strerror}") from error
    if os.path.lexists(os.path.join(folder, CHECKPOINT)):
        raise LedgerWriteError(
            f"{folder} has a checkpoint and no journal: put the journal back, or begin in another folder"
        )
    try:
        files.publish(journal_path(folder), frame.encode(stored), _FILE_MODE)
    except FileExistsError:
        # Another writer was first; whether it still holds the lock is seen when it is opened.
        return
    except OSError as error:
        raise LedgerWriteError(f"cannot create {journal_path(folder)}: {error.strerror}") from error


def _open_locked(folder: str) -> int:
    name = journal_path(folder)
    try:
        descriptor = os.open(name, os.O_RDWR | os.O_APPEND)
    except OSError as error:
        raise LedgerWriteError(f"cannot open {name}: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise LedgerWriteError(f"{name} is not a regular file")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise LedgerLockedError(f"{name} is held by another writer: {error.strerror}") from error
    return descriptor


def _reading(clock: Callable[[], datetime]) -> str:
    try:
        return format_utc(clock())
    except ValueError as error:
        raise LedgerWriteError(f"the clock is of no use: {error}") from error
