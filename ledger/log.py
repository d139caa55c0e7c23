"""Append signed records to one journal, each durable before it is acknowledged."""

import errno
import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, NamedTuple, Self

import attrs

from ledger import frame, opening
from ledger.cadence import DEFAULT, Cadence, Reminder
from ledger.canonical import JsonValue
from ledger.chain import journal_path, log_rotation_body, read_records, rotation_body
from ledger.checkpoint import SignedCheckpoint
from ledger.errors import (
    CanonicalError,
    Fault,
    Finding,
    LedgerError,
    LedgerTamperedError,
    LedgerWriteError,
    NoteError,
)
from ledger.head_store import HeadRow, HeadStore, Ownership
from ledger.keys import SigningKey
from ledger.note import NoteSigner
from ledger.opening import Prefix, Signers
from ledger.place import Locator
from ledger.publish import Draft, Publisher
from ledger.record import RECORD_OVERHEAD, Body, Head, Kind, Record, Tip, encode_body, seal

# How far the journal is filled with zeros ahead of its records. To write over them is faster than to append:
# the sync has no new length of the file to make durable.
ROOM_BYTES: Final = 256 << 10

_INTERRUPTED: Final = "an append was interrupted"


class Receipt(NamedTuple):
    """Proof for the caller that a record is durable: its place, its leaf hash and its UTC time."""

    sequence: int
    hash_hex: str
    timestamp: str


class _Sealed(NamedTuple):
    stored: bytes
    receipt: Receipt


@attrs.frozen
class Health:
    """How a ledger stands, for those who watch it.

    Attributes:
        records: Records that are durable.
        size_bytes: What the records take in the journal, without the room after them.
        timestamp: UTC time of the newest durable record.
        stopped: Why nothing can be appended; empty while all is well.
    """

    records: int
    size_bytes: int
    timestamp: str
    stopped: str


@attrs.define(eq=False)
class _Request:
    """What one caller waits for. Whoever takes it from the queue ends it, with sealed records or an error.

    A caller who waits no more ends it himself; it is not taken then.
    """

    bodies: list[bytes]
    is_taken: bool = False
    is_done: bool = False
    sealed: list[_Sealed] = attrs.field(factory=list)
    error: BaseException | None = None


def utc_now() -> datetime:
    """Return the present time in UTC."""
    return datetime.now(UTC)


class Ledger:
    """The one writer of a ledger's folder. Made by `open`; safe to share between threads.

    Order of an append: signed → the journal is still the file that was locked → frames written by one write,
    over the zeros that the journal has ahead of its records → sync → the head's row moves, if there is one →
    state and receipts. Until the receipt exists nothing was promised, so frames that failed are cut off
    again. Appends that wait for one another share a write and a sync: whoever comes first does the work of
    all who wait, and signs while the sync before is under way. Tiles and checkpoints follow from the journal;
    a thread of their own writes them.
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
        # Used by whoever holds _lock.
        self._locator: Final = Locator(self._journal)
        self._clock: Final = clock
        self._sync: Final = sync
        self._reminder: Final = Reminder(cadence, self._publish_what_is_due)
        self._queue: Final[deque[_Request]] = deque()
        # Taken in this order: one publisher at a time; the order of records; the journal and its state.
        self._publishing: Final = threading.Lock()
        self._signing: Final = threading.Lock()
        # The last one knows its owner, and release() raises RuntimeError for anybody else: a signal's handler
        # may raise right after acquire() took it. On the way out release() is the first call of all, so that
        # no other handler comes before it.
        self._lock: Final = threading.RLock()
        # Owned by whoever holds _signing: the key in force, and the last record that was signed. It is the
        # last durable one as well, or the records between are about to be written.
        self._key = key
        self._signed = tip
        # Owned by whoever holds _lock, like all that follows; holds the file lock until it is closed.
        self._descriptor = descriptor
        # The last durable record.
        self._tip = tip
        # How long the journal is: from the tip's end on it is zeros, or the ledger is stopped.
        self._length = opened.st_size
        self._publisher = publisher
        self._ownership: Ownership | None = None
        # Whether room is made where there is none; no longer once the disk had none to give.
        self._makes_room = True
        # Why nothing may be appended any more; empty while all is well.
        self._stopped = ""

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        signers: Signers,
        *,
        head_store: HeadStore | None = None,
        cadence: Cadence = DEFAULT,
        clock: Callable[[], datetime] = utc_now,
        sync: Callable[[int], object] = os.fdatasync,
        known: Prefix | None = None,
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
            known: a beginning of the ledger that was verified before: not verified again, only compared.

        Raises:
            LedgerLockedError: another writer has it open.
            LedgerTamperedError: naming the first bad record, or saying that records are missing.
            LedgerKeyError: another key wrote it.
            PrefixError: it does not begin as it is known to; nothing was written.
            LedgerReadError: it cannot be read.
            LedgerWriteError: it cannot be created or opened, or the recovery cannot be written.
            HeadStoreError: the row cannot be read or moved.
            OwnershipLostError: another writer took the row at the same time.
        """
        name = os.fspath(folder)
        if not os.path.lexists(journal_path(name)):
            opening.create(name, signers, clock)
        descriptor = opening.open_locked(name)
        try:
            ledger = cls._resume(name, descriptor, signers, head_store, cadence, clock, sync, known)
        except OSError as error:
            os.close(descriptor)
            raise LedgerWriteError(f"cannot open {name}: {error.strerror}") from error
        except BaseException:
            os.close(descriptor)
            raise
        ledger._reminder.start()
        return ledger

    def append(self, body: Body) -> Receipt:
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
        return self._ended(_Request([encode_body(body)])).sealed[0].receipt

    def append_many(self, bodies: Sequence[Body]) -> list[Receipt]:
        """Append records that are written and synced as one; errors are those of `append`.

        Raises:
            CanonicalError: also if the bodies take more than `MAX_GROUP_BYTES` together.
        """
        request = _Request([encode_body(body) for body in bodies])
        if not _size(request) <= frame.MAX_GROUP_BYTES:
            raise CanonicalError(
                f"bodies take {_size(request)} bytes, must not exceed {frame.MAX_GROUP_BYTES}"
            )
        return [sealed.receipt for sealed in self._ended(request).sealed]

    def rotate(self, successor: SigningKey) -> Receipt:
        """Have the key in force sign its successor into the ledger; all records after that are signed by it.

        Errors are those of `append`; then the old key stays in force.
        """
        with self._signing:
            body = encode_body(rotation_body(successor, self._signed.hash_hex))
            with self._lock:
                receipt = self._append_own(Kind.ROTATION, body)
            self._key = successor
            return receipt

    def rotate_log(self, successor: NoteSigner) -> Receipt:
        """Have the log's key in force sign its successor into the ledger; the successor signs from then on.

        Errors are those of `append`; then the old key stays in force.

        Raises:
            NoteError: the successor has another name: the log's origin would change.
        """
        with self._signing, self._lock:
            log = self._publisher.signer
            if successor.name != log.name:
                raise NoteError(f"the log's key has the name {successor.name}, must keep {log.name}")
            body = log_rotation_body(log, successor, self._signed.hash_hex)
            receipt = self._append_own(Kind.LOG_ROTATION, encode_body(body))
            self._publisher.signer = successor
            return receipt

    def checkpoint(self) -> SignedCheckpoint:
        """Publish all that was appended, and return the checkpoint of it.

        Raises:
            LedgerWriteError: the ledger is stopped, or a file cannot be written; then it is stopped.
        """
        with self._publishing:
            with self._lock:
                if self._stopped:
                    raise self._refusal()
                draft = self._publisher.draft()
            return self._publish(draft)

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
        try:
            is_free = self._lock.acquire(timeout=patience_s)
            tip = self._tip
            stopped = self._stopped if is_free else f"an append takes longer than {patience_s:g} s"
            return Health(tip.sequence + 1, tip.end, tip.timestamp, stopped)
        finally:
            try:  # noqa: SIM105 - suppress() would be a call before it
                self._lock.release()
            except RuntimeError:
                pass

    def close(self) -> None:
        """Publish a last checkpoint, and give the ledger free for another writer. Closing twice is allowed.

        Raises:
            LedgerWriteError: the room cannot be cut off or the checkpoint cannot be written; the ledger is
                closed nevertheless.
        """
        self._reminder.stop()
        with self._publishing:
            with self._lock:
                if self._descriptor < 0:
                    return
                draft = None if self._stopped else self._publisher.draft()
                self._stopped = self._stopped or "it is closed"
            try:
                if draft is not None:
                    self._drop_room()
                    self._publish(draft)
            finally:
                with self._lock:
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
        known: Prefix | None,
    ) -> Self:
        origin = signers.log.name
        row = None if head_store is None else head_store.read(origin)
        replayed = opening.replay(folder, descriptor, signers, row, known)
        ledger = cls(
            folder, descriptor, replayed.chain.tip, replayed.publisher, signers.records, cadence, clock, sync
        )
        # A writer that was killed may have left records that are whole and not yet durable; the checkpoint
        # below must not be ahead of the journal after a power cut.
        os.fsync(descriptor)
        opening.keep_reserve(folder)
        with ledger._signing, ledger._lock:
            if head_store is not None:
                size, root = replayed.publisher.head()
                first = HeadRow(origin, 1, size, root.hex(), ledger._checkpoint_text())
                ledger._ownership = Ownership.claim(head_store, row, first)
            ledger._recover(replayed.chain.tail, replayed.recovered)
            if ledger._ownership is not None:
                ledger._append_own(Kind.EPOCH, encode_body(_epoch_body(ledger._ownership.row)))
        ledger.checkpoint()
        return ledger

    def _ended(self, request: _Request) -> _Request:
        try:
            self._queue.append(request)
            while not request.is_done:
                self._take_turn(request)
        finally:
            # Where the caller was interrupted: whoever finds it in the queue leaves it unwritten. Whoever has
            # taken it before writes it, as if the caller were still there.
            request.is_done = True
        if request.error is not None:
            raise request.error
        return request

    def _take_turn(self, request: _Request) -> None:
        taken: list[_Request] = []
        error: BaseException | None = None
        is_committed = False
        try:
            with self._signing:
                base = self._signed
                if not request.is_taken:
                    self._sign_waiting(taken)
                # Before the other lock is given up, so that groups are written in the order of signing.
                self._lock.acquire()
                if taken and self._queue:
                    # Those who came while the group before was written.
                    self._sign_waiting(taken)
            # Whoever else took the request has ended it before this lock was to be had.
            self._commit(base, [sealed for one in taken for sealed in one.sealed])
            is_committed = True
        except LedgerError as refusal:
            error = refusal
        finally:
            try:
                self._lock.release()
            except RuntimeError:
                pass
            finally:
                if not is_committed:
                    error = error or LedgerWriteError(_INTERRUPTED)
                for one in taken:
                    one.error = one.error or error
                    one.is_done = True

    def _sign_waiting(self, taken: list[_Request]) -> None:
        while self._queue:
            if taken and not sum(map(_size, (*taken, self._queue[0]))) <= frame.MAX_GROUP_BYTES:
                return
            request = self._queue[0]
            if request.is_done:
                self._queue.popleft()
                continue
            # In this order: whoever is interrupted in between ends it, and it is passed over in the queue.
            taken.append(request)
            request.is_taken = True
            self._queue.popleft()
            try:
                request.sealed, self._signed = self._sign(Kind.ENTRY, request.bodies)
            except LedgerError as error:
                request.error = error

    def _sign(self, kind: Kind, bodies: list[bytes]) -> tuple[list[_Sealed], Tip]:
        tip, key, now = self._signed, self._key, opening.reading(self._clock)
        records: list[_Sealed] = []
        for begun in bodies:
            stored, tip = seal(tip, kind, begun, now, key)
            receipt = Receipt(tip.sequence, tip.hash_hex, tip.timestamp)
            records.append(_Sealed(stored, receipt))
        return records, tip

    def _append_own(self, kind: Kind, body: bytes) -> Receipt:
        base = self._signed
        records, self._signed = self._sign(kind, [body])
        self._commit(base, records)
        return records[0].receipt

    def _commit(self, base: Tip, records: list[_Sealed]) -> None:
        if self._stopped:
            raise self._refusal()
        self._check_unchanged()
        if base.hash_hex != self._tip.hash_hex:
            # Records were signed and then, for whatever reason, not written.
            self._stopped = _INTERRUPTED
            raise self._refusal()
        if not records:
            return
        frames = frame.encode(*[one.stored for one in records])
        end = self._tip.end + len(frames)
        # Stands if anything below is interrupted, even by a signal: then the journal's end is not known.
        self._stopped = _INTERRUPTED
        self._write(frames)
        self._sync_journal()
        self._tip = Tip(*records[-1].receipt, end)
        for stored, receipt in records:
            self._publisher.add(stored, receipt.hash_hex)
        if self._ownership is not None:
            self._advance(self._ownership)
        self._stopped = ""
        self._reminder.note(self._publisher.undrafted)

    def _refusal(self) -> LedgerWriteError:
        return LedgerWriteError(f"nothing can be appended to {self._folder}: {self._stopped}")

    def _check_unchanged(self) -> None:
        try:
            now = self._locator.locate()
        except OSError as error:
            raise self._tampered(f"{self._journal} is gone: {error.strerror}") from error
        if not (now.inode == self._inode and now.device == self._device):
            raise self._tampered(f"{self._journal} is now another file")
        if not now.size == self._length:
            raise self._tampered(f"{self._journal} has {now.size} bytes, must have {self._length}")

    def _tampered(self, reason: str) -> LedgerTamperedError:
        self._stopped = reason
        return LedgerTamperedError(Finding(self._tip.sequence + 1, self._tip.end, Fault.TRUNCATED, reason))

    def _write(self, frames: bytes) -> None:
        is_within = self._tip.end + len(frames) <= self._length
        if not is_within and self._makes_room and self._write_with_room(frames):
            return
        try:
            written = os.pwrite(self._descriptor, frames, self._tip.end)
        except OSError as error:
            raise self._cannot_write(error) from error
        if written != len(frames):
            raise self._refuse(f"{written} of {len(frames)} bytes could be written to {self._journal}")
        self._length = max(self._length, self._tip.end + written)

    def _write_with_room(self, frames: bytes) -> bool:
        """Write frames and room after them, and say whether there was space for both."""
        data = frames + bytes(ROOM_BYTES)
        try:
            written = os.pwrite(self._descriptor, data, self._tip.end)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise self._cannot_write(error) from error
            written = 0
        if written == len(data):
            self._length = self._tip.end + written
            return True
        # What little space there is is given back, for records and for the tiles and checkpoints of them.
        self._makes_room = False
        self._cut_back()
        return False

    def _cannot_write(self, error: OSError) -> LedgerWriteError:
        return self._refuse(f"cannot write to {self._journal}: {error.strerror}")

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
        opening.release_reserve(self._folder)
        body = encode_body({"reason": ascii(reason)[1:-1]})
        # After the last durable record, whatever was signed since: none of that is written any more.
        stored, tip = seal(self._tip, Kind.STOP, body, opening.reading(self._clock), self._key)
        data = frame.encode(stored)
        if os.pwrite(self._descriptor, data, self._tip.end) != len(data):
            self._cut_back()
            raise LedgerWriteError("no space left even so")
        self._sync(self._descriptor)
        self._tip = tip._replace(end=self._tip.end + len(data))

    def _cut_back(self) -> None:
        try:
            os.ftruncate(self._descriptor, self._tip.end)
            self._length = self._tip.end
            os.fsync(self._descriptor)
        except OSError as error:
            self._stopped = f"a failed write could not be cut off: {error.strerror}"
            raise LedgerWriteError(f"cannot cut {self._journal} back: {error.strerror}") from error

    def _drop_room(self) -> None:
        # Not made durable: zeros that come back are room again. What others wrote is left as it is found.
        try:
            if os.fstat(self._descriptor).st_size == self._length:
                os.ftruncate(self._descriptor, self._tip.end)
        except OSError as error:
            raise LedgerWriteError(f"cannot cut {self._journal} back: {error.strerror}") from error

    def _advance(self, ownership: Ownership) -> None:
        size, root = self._publisher.head()
        try:
            ownership.advance(size, root.hex(), self._checkpoint_text())
        except LedgerError as error:
            self._stopped = str(error)
            raise

    def _publish_what_is_due(self) -> None:
        try:
            self.checkpoint()
        except LedgerWriteError:
            # The records are durable, and nobody waits here; the stop meets the next append.
            return

    def _publish(self, draft: Draft) -> SignedCheckpoint:
        try:
            return self._publisher.publish(draft)
        except OSError as error:
            with self._lock:
                self._stopped = self._stopped or f"cannot publish: {error.strerror}"
            raise LedgerWriteError(f"cannot publish {self._folder}: {error.strerror}") from error

    def _checkpoint_text(self) -> str:
        published = self._publisher.published
        return "" if published is None else published.note.decode("utf-8")

    def _recover(self, tail: bytes, recovered: frozenset[str]) -> None:
        # Bytes set aside → journal cut → recovery record. After a crash in between, a file that no record
        # names tells that its record is still owed.
        owed = [opening.set_aside(self._folder, tail)] if tail else []
        owed += [one for one in opening.digests_aside(self._folder) if one not in {*recovered, *owed}]
        if tail:
            self._cut_back()
        for digest in owed:
            length = opening.size_aside(self._folder, digest)
            self._append_own(Kind.RECOVERY, encode_body({"length": length, "sha256": digest}))


def _epoch_body(row: HeadRow) -> dict[str, JsonValue]:
    return {"epoch": row.epoch, "size": row.size, "root": row.root, "checkpoint": row.checkpoint}


def _size(request: _Request) -> int:
    """Return how many bytes the records of a request take at most."""
    return sum(map(len, request.bodies)) + RECORD_OVERHEAD * len(request.bodies)
