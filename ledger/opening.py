"""What happens to a ledger's folder before its writer appends: made, locked, and followed to its end."""

import contextlib
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from datetime import datetime
from hashlib import sha256
from typing import BinaryIO, Final

import attrs

from ledger import files, frame
from ledger.chain import Chain, genesis_body, journal_path
from ledger.errors import (
    Fault,
    Finding,
    LedgerKeyError,
    LedgerLockedError,
    LedgerTamperedError,
    LedgerWriteError,
    NoteError,
    PrefixError,
)
from ledger.head_store import HeadRow
from ledger.keys import SigningKey, VerifyKey
from ledger.marks import Mark, Marks
from ledger.merkle import leaf_hash
from ledger.note import NoteKey, NoteSigner
from ledger.publish import CHECKPOINT, Publisher, holds, write_tiles
from ledger.record import EMPTY, Head, Kind, Record, RecordError, encode_body, format_utc, parse, seal
from ledger.tree import Tree
from ledger.verify import read_note

TORN_PREFIX: Final = "torn-"
RESERVE: Final = "reserve"
RESERVE_BYTES: Final = 2 * frame.MAX_FRAME_BYTES

_OF_CHECKPOINT = f"the file {CHECKPOINT}"
_RECOVERY = b'"kind":"recovery"'
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
class Prefix:
    """The beginning of a ledger that was verified before, up to the record `head`.

    Attributes:
        head: its last record.
        begin: byte of the journal at which that record's frame begins.
        root: Merkle root over all of it, which no other bytes have.
        key: key that signs the records after it.
        log_key: key that signs checkpoints after it.
    """

    head: Head
    begin: int
    root: bytes
    key: VerifyKey
    log_key: NoteKey


@attrs.frozen
class Replayed:
    """What a journal that was found good leaves behind."""

    chain: Chain
    publisher: Publisher
    # Hex SHA-256 of the torn bytes that recovery records name.
    recovered: frozenset[str]


def create(folder: str, signers: Signers, clock: Callable[[], datetime]) -> None:
    """Make a ledger that holds its first record; where another writer was faster, that one made it.

    Raises:
        LedgerWriteError: it cannot be made, or a checkpoint says that a journal is missing here.
    """
    body = encode_body(genesis_body(signers.records.verify_key, signers.log.verifier))
    stored, _ = seal(EMPTY, Kind.GENESIS, body, reading(clock), signers.records)
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
        # Whether the other writer still holds the lock is seen when it is opened.
        return
    except OSError as error:
        raise LedgerWriteError(f"cannot create {journal_path(folder)}: {error.strerror}") from error


def open_locked(folder: str) -> int:
    """Return a descriptor of the journal that holds the writer's lock until it is closed.

    Raises:
        LedgerLockedError: another writer holds the lock.
        LedgerWriteError: it cannot be opened, or is no regular file.
    """
    name = journal_path(folder)
    try:
        descriptor = _open_to_write(name, 0)
    except OSError as error:
        raise LedgerWriteError(f"cannot open {name}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise LedgerLockedError(f"{name} is held by another writer: {error.strerror}") from error
    return descriptor


def replay(
    folder: str, descriptor: int, signers: Signers, row: HeadRow | None, known: Prefix | None
) -> Replayed:
    """Verify a journal from its first record to its last, against checkpoint and row, and repair its tiles.

    Of a beginning that is known only the Merkle root is computed.

    Raises:
        LedgerTamperedError, LedgerKeyError, LedgerReadError: as of `Ledger.open`.
        PrefixError: the beginning is not the known one, or the checkpoint or the row lies within it.
        OSError: a tile cannot be written.
    """
    chain, tree = Chain(None), Tree()
    marks = list(_marks(folder, row))
    checked = Marks(marks)
    recovered: set[str] = set()
    is_whole = True
    with open(descriptor, "rb", closefd=False) as stream:
        if known is not None:
            _check_outside(known, marks)
            recoveries: list[bytes] = []
            for stored in _skimmed(stream, known):
                for tile, data in tree.add(stored, leaf_hash(stored)):
                    is_whole = is_whole and holds(os.path.join(folder, tile.path), data)
                if _RECOVERY in stored:
                    recoveries.append(stored)
            last = _last_known(stored, tree, known)
            # Only now: before the root is known, they may be anything.
            recovered.update(*map(_recovered, map(parse, recoveries)))
            end = known.begin + len(stored) + frame.OVERHEAD
            chain.go_on_after(last, end, known.key, known.log_key)
            checked.check(chain.tip, chain.tip, tree, known.log_key)
        before = chain.tip
        for record in chain.walk(stream):
            for tile, data in tree.add(record.stored, bytes.fromhex(record.hash_hex)):
                is_whole = is_whole and holds(os.path.join(folder, tile.path), data)
            if chain.log_key is not None:
                checked.check(chain.tip, before, tree, chain.log_key)
            before = chain.tip
            recovered |= _recovered(record)
    for found, held in (
        (chain.log_key, signers.log.verifier),
        (chain.key, signers.records.verify_key),
    ):
        if found != held:
            raise LedgerKeyError(_named(found), _named(held))
    checked.finish(chain.tip, chain.log_key)
    if not is_whole:
        # Only now: the tiles of a ledger that is not good are evidence.
        _write_tiles_again(folder, descriptor)
    published = checked.opened.get(_OF_CHECKPOINT)
    return Replayed(chain, Publisher(folder, signers.log, tree, published), frozenset(recovered))


def set_aside(folder: str, tail: bytes) -> str:
    """Keep the bytes of a torn record in a file of their own, and return its digest."""
    digest = sha256(tail).hexdigest()
    with contextlib.suppress(FileExistsError):
        files.publish(os.path.join(folder, TORN_PREFIX + digest), tail, _FILE_MODE)
    return digest


def digests_aside(folder: str) -> list[str]:
    """Return the digests of all that was set aside."""
    found = sorted(
        name.removeprefix(TORN_PREFIX) for name in os.listdir(folder) if name.startswith(TORN_PREFIX)
    )
    # A draft that a crash left behind has a longer name.
    return [digest for digest in found if len(digest) == _DIGEST_CHARACTERS]


def size_aside(folder: str, digest: str) -> int:
    """Return how many bytes were set aside under a digest.

    Raises:
        LedgerReadError: they cannot be read.
        LedgerWriteError: they are other bytes than the digest says.
    """
    torn = files.read(os.path.join(folder, TORN_PREFIX + digest), frame.MAX_TAIL_BYTES)
    if sha256(torn).hexdigest() == digest:
        return len(torn)
    raise LedgerWriteError(f"{TORN_PREFIX}{digest} holds other bytes than its name says: move it away")


def keep_reserve(folder: str) -> None:
    """Set space aside, so that a stop can be recorded on a full disk.

    Raises:
        OSError: there is not so much space.
        LedgerWriteError: what has its name is no regular file.
    """
    descriptor = _open_to_write(os.path.join(folder, RESERVE), os.O_CREAT)
    try:
        os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def release_reserve(folder: str) -> None:
    """Give the space free that was set aside.

    Raises:
        OSError: that fails.
    """
    os.truncate(os.path.join(folder, RESERVE), 0)


def reading(clock: Callable[[], datetime]) -> str:
    """Return a clock's time in the form of records.

    Raises:
        LedgerWriteError: it names no zone.
    """
    try:
        return format_utc(clock())
    except ValueError as error:
        raise LedgerWriteError(f"the clock is of no use: {error}") from error


def _open_to_write(path: str, flags: int) -> int:
    # A pipe that is opened for both has its reader, and so nobody waits for one.
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | flags, _FILE_MODE)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise LedgerWriteError(f"{path} is not a regular file")


def _marks(folder: str, row: HeadRow | None) -> Iterator[Mark]:
    note = read_note(folder, CHECKPOINT)
    if note is not None:
        try:
            yield Mark.of_note(note, _OF_CHECKPOINT)
        except NoteError as error:
            detail = f"{_OF_CHECKPOINT}: {error}: put back the one that was there"
            raise LedgerTamperedError(Finding(0, 0, Fault.CHECKPOINT, detail)) from error
    if row is not None:
        yield Mark("the head's row", row.size, bytes.fromhex(row.root), is_outside=True)


def _check_outside(known: Prefix, marks: list[Mark]) -> None:
    for mark in marks:
        if not mark.size > known.head.sequence:
            raise PrefixError(f"{mark.seen_by} has {mark.size} records, the known beginning more")


def _skimmed(stream: BinaryIO, known: Prefix) -> Iterator[bytes]:
    for _ in range(known.head.sequence + 1):
        try:
            stored = frame.read(stream)
        except (frame.TornFrame, RecordError) as error:
            raise PrefixError(f"the known beginning is damaged: {error}") from error
        if stored is None:
            raise PrefixError("the journal is shorter than the known beginning")
        yield stored


def _last_known(stored: bytes, tree: Tree, known: Prefix) -> Record:
    if not tree.root() == known.root:
        raise PrefixError(f"root at size {tree.size} is {tree.root().hex()}, was {known.root.hex()}")
    record = parse(stored)
    if not Head(record.sequence, record.hash_hex) == known.head:
        raise PrefixError(f"record {record.sequence} is not the head of the known beginning")
    return record


def _recovered(record: Record) -> set[str]:
    return {str(record.body.get("sha256"))} if record.kind is Kind.RECOVERY else set()


def _named(key: NoteKey | VerifyKey | None) -> str:
    return key.key_id if isinstance(key, VerifyKey) else str(key)


def _write_tiles_again(folder: str, descriptor: int) -> None:
    tree = Tree()
    with open(descriptor, "rb", closefd=False) as stream:
        stream.seek(0)
        for record in Chain(None, checks_signatures=False).walk(stream):
            write_tiles(folder, tree.add(record.stored, bytes.fromhex(record.hash_hex)))
