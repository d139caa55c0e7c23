"""Append signed records to one file, each durable before it is acknowledged."""

import fcntl
import itertools
import os
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from types import TracebackType
from typing import Final, Self

import attrs

from ledger import canonical, files
from ledger.canonical import JsonValue
from ledger.chain import Chain, genesis_body, read_records
from ledger.errors import Fault, Finding, LedgerLockedError, LedgerTamperedError, LedgerWriteError
from ledger.keys import SigningKey
from ledger.record import EMPTY, MAX_LINE_BYTES, Head, Kind, Record, Tip, format_utc, seal

_FILE_MODE = 0o644


@attrs.frozen
class Receipt:
    """Proof for the caller that a record is durable: its place, its line's SHA-256 and its UTC time."""

    sequence: int
    hash_hex: str
    timestamp: str


def utc_now() -> datetime:
    """Return the present time in UTC."""
    return datetime.now(UTC)


class Ledger:
    """The one writer of a ledger file. Made by `open`; safe to share between threads.

    Order of an append: the file is still the one that was locked → line written by one write → sync → state
    and receipt. Until the receipt exists nothing was promised, so a line that failed is cut off again.
    """

    def __init__(
        self,
        path: str,
        descriptor: int,
        tip: Tip,
        key: SigningKey,
        clock: Callable[[], datetime],
        sync: Callable[[int], object],
    ) -> None:
        opened = os.fstat(descriptor)
        self._path: Final = path
        self._device: Final = opened.st_dev
        self._inode: Final = opened.st_ino
        self._key: Final = key
        self._clock: Final = clock
        self._sync: Final = sync
        self._lock: Final = threading.Lock()
        # Owned by whoever holds _lock, like all that follows; holds the file lock until it is closed.
        self._descriptor = descriptor
        # The last durable record. The file is exactly as long as the tip says, or the ledger is stopped.
        self._tip = tip
        # Why nothing may be appended any more; empty while all is well.
        self._stopped = ""

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        signing_key: SigningKey,
        *,
        clock: Callable[[], datetime] = utc_now,
        sync: Callable[[int], object] = os.fdatasync,
    ) -> Self:
        """Open a ledger for writing, or create it with its folder.

        An existing ledger is verified from its first record to its last. A torn last line is moved to
        `<path>.torn-<sequence>`, and a signed recovery record says so.

        Args:
            path: the ledger file.
            signing_key: the key that wrote it, or that will.
            clock: returns the time, with its zone.
            sync: makes the written bytes of a descriptor durable, or raises OSError.

        Raises:
            LedgerLockedError: another writer has it open.
            LedgerTamperedError: naming the first bad record.
            LedgerKeyError: another key wrote it.
            LedgerReadError: it cannot be read.
            LedgerWriteError: it cannot be created or opened, or the recovery cannot be written.
        """
        name = os.fspath(path)
        if not os.path.lexists(name):
            _create(name, signing_key, clock)
        descriptor = _open_locked(name)
        try:
            chain = Chain(signing_key.verify_key)
            with open(descriptor, "rb", closefd=False) as stream:
                for _ in chain.walk(stream):
                    pass
            ledger = cls(name, descriptor, chain.tip, signing_key, clock, sync)
            ledger._recover(chain.tail)
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
            LedgerTamperedError: the file was replaced or changed its length; the ledger is stopped.
            LedgerWriteError: nothing was acknowledged. After a failed write the bytes are cut off again, and
                a later append may succeed. After a failed sync the ledger is stopped, since the kernel may
                have dropped the bytes and would call the next sync a success; the record may be found or
                not when the ledger is next opened.
        """
        with self._lock:
            return self._append(Kind.ENTRY, body)

    def records(self) -> Iterator[Record]:
        """Return an iterator over the records that are durable now.

        Raises:
            LedgerReadError, LedgerTamperedError: while iterating, as of `read_records`.
        """
        return itertools.islice(read_records(self._path), self.head().sequence + 1)

    def head(self) -> Head:
        """Return the last durable record's place and hash."""
        with self._lock:
            return Head(self._tip.sequence, self._tip.hash_hex)

    def close(self) -> None:
        """Give the file free for another writer. Closing twice is allowed."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
                self._stopped = "it is closed"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _append(self, kind: Kind, body: Mapping[str, JsonValue]) -> Receipt:
        if self._stopped:
            raise LedgerWriteError(f"nothing can be appended to {self._path}: {self._stopped}")
        self._check_unchanged()
        line, tip = seal(self._tip, kind, body, _reading(self._clock), self._key)
        # Stands if anything below is interrupted, even by a signal: then the file's end is not known.
        self._stopped = "an append was interrupted"
        self._write(line)
        self._tip = tip
        self._stopped = ""
        return Receipt(tip.sequence, tip.hash_hex, tip.timestamp)

    def _check_unchanged(self) -> None:
        try:
            now = os.stat(self._path)
        except OSError as error:
            raise self._stop(f"{self._path} is gone: {error.strerror}") from error
        if not (now.st_ino == self._inode and now.st_dev == self._device):
            raise self._stop(f"{self._path} is now another file")
        if not now.st_size == self._tip.end:
            raise self._stop(f"{self._path} has {now.st_size} bytes, must have {self._tip.end}")

    def _stop(self, reason: str) -> LedgerTamperedError:
        self._stopped = reason
        return LedgerTamperedError(Finding(self._tip.sequence + 1, self._tip.end, Fault.TRUNCATED, reason))

    def _write(self, line: bytes) -> None:
        try:
            written = os.write(self._descriptor, line)
        except OSError as error:
            self._cut_back()
            raise LedgerWriteError(f"cannot write to {self._path}: {error.strerror}") from error
        if written != len(line):
            self._cut_back()
            raise LedgerWriteError(f"{written} of {len(line)} bytes could be written to {self._path}")
        try:
            self._sync(self._descriptor)
        except OSError as error:
            self._stopped = f"sync failed: {error.strerror}"
            raise LedgerWriteError(f"cannot sync {self._path}: {error.strerror}") from error

    def _cut_back(self) -> None:
        try:
            os.ftruncate(self._descriptor, self._tip.end)
            os.fsync(self._descriptor)
        except OSError as error:
            self._stopped = f"a failed write could not be cut off: {error.strerror}"
            raise LedgerWriteError(f"cannot cut {self._path} back: {error.strerror}") from error
        self._stopped = ""

    def _recover(self, tail: bytes) -> None:
        # Bytes set aside → file cut → recovery record. After a crash in between, the set-aside file under the
        # next record's number tells that this record is still owed.
        aside = f"{self._path}.torn-{self._tip.sequence + 1}"
        if tail and not os.path.exists(aside):
            files.publish(aside, tail, _FILE_MODE)
        if not os.path.exists(aside):
            return
        with open(aside, "rb") as stream:
            torn = stream.read(MAX_LINE_BYTES)
        body: dict[str, JsonValue] = {"length": len(torn), "sha256": sha256(torn).hexdigest()}
        begun = canonical.encode({"body": body})[:-1]
        # A tail is either what was set aside, or the beginning of the recovery record itself.
        if not (tail == torn or tail[: len(begun)] == begun[: len(tail)]):
            raise LedgerWriteError(f"{aside} holds other bytes than the torn record: move it away")
        self._cut_back()
        self._append(Kind.RECOVERY, body)


def _create(name: str, key: SigningKey, clock: Callable[[], datetime]) -> None:
    line, _ = seal(EMPTY, Kind.GENESIS, genesis_body(key.verify_key), _reading(clock), key)
    try:
        files.make_directories(os.path.dirname(name))
    except OSError as error:
        raise LedgerWriteError(f"cannot create the folder of {name}: {error.strerror}") from error
    try:
        files.publish(name, line, _FILE_MODE)
    except FileExistsError:
        # Another writer was first; whether it still holds the lock is seen when it is opened.
        return
    except OSError as error:
        raise LedgerWriteError(f"cannot create {name}: {error.strerror}") from error


def _open_locked(name: str) -> int:
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
