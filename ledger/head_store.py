"""The head of a ledger as one row that only its owner can move: compare-and-swap, no lock, no election."""

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

import attrs

from ledger.errors import HeadStoreError, OwnershipLostError

TIMEOUT_S: Final = 5

_INTEGER_LAST: Final = 2**63 - 1
_ROOT: Final = re.compile("[0-9a-f]{64}")
_TABLE = (
    "CREATE TABLE IF NOT EXISTS head (origin TEXT PRIMARY KEY, epoch BIGINT NOT NULL, size BIGINT NOT NULL, "
    "root TEXT NOT NULL, checkpoint TEXT NOT NULL)"
)
_READ = "SELECT origin, epoch, size, root, checkpoint FROM head WHERE origin = ?"
_CREATE = (
    "INSERT INTO head (origin, epoch, size, root, checkpoint) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)
_REPLACE = (
    "UPDATE head SET epoch = ?, size = ?, root = ?, checkpoint = ? "
    "WHERE origin = ? AND epoch = ? AND size = ? AND root = ?"
)


@attrs.frozen
class HeadRow:
    """Where a ledger stands.

    Attributes:
        origin: the log's origin.
        epoch: counts the writers that owned the ledger, from 1 on.
        size: how many records are acknowledged.
        root: their Merkle root in hex.
        checkpoint: the last signed checkpoint, empty if there is none yet.
    """

    origin: str
    epoch: int
    size: int
    root: str
    checkpoint: str


class HeadStore(Protocol):
    """Where rows live. Every method raises HeadStoreError when the store cannot be asked."""

    def read(self, origin: str) -> HeadRow | None:
        """Return the row of an origin, None if there is none."""
        ...

    def create(self, row: HeadRow) -> bool:
        """Put the first row of an origin; False if there is one already."""
        ...

    def replace(self, old: HeadRow, new: HeadRow) -> bool:
        """Put `new` where epoch, size and root are those of `old`; False if they are not."""
        ...


class SqlHeadStore:
    """A table of heads in a PEP 249 database; each statement is a transaction of its own.

    Args:
        connection: an open connection in autocommit mode, owned by this store from now on, even on errors.
        errors: what its calls raise.
        placeholder: how its statements mark a parameter.

    Raises:
        HeadStoreError: the database does not take the table.
    """

    def __init__(self, connection: Any, errors: type[Exception], placeholder: str) -> None:
        self._connection = connection
        self._errors = errors
        self._placeholder = placeholder
        try:
            self._execute(_TABLE, ())
        except BaseException:
            self.close()
            raise

    def read(self, origin: str) -> HeadRow | None:
        """Return the row of an origin, None if there is none.

        Raises:
            HeadStoreError: the store cannot be asked, or the row is damaged.
        """
        with self._asked():
            found = self._execute(_READ, (origin,)).fetchone()
        return None if found is None else _checked(origin, *found)

    def create(self, row: HeadRow) -> bool:
        """Put the first row of an origin; False if there is one already."""
        return self._changes_one(_CREATE, attrs.astuple(row))

    def replace(self, old: HeadRow, new: HeadRow) -> bool:
        """Put `new` where epoch, size and root are those of `old`; False if they are not."""
        values = (new.epoch, new.size, new.root, new.checkpoint)
        return self._changes_one(_REPLACE, (*values, old.origin, old.epoch, old.size, old.root))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _changes_one(self, statement: str, values: tuple[Any, ...]) -> bool:
        return bool(self._execute(statement, values).rowcount == 1)

    def _execute(self, statement: str, values: tuple[Any, ...]) -> Any:
        with self._asked():
            return self._connection.execute(statement.replace("?", self._placeholder), values)

    @contextmanager
    def _asked(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            raise HeadStoreError(f"the store of heads failed: {str(error).strip()}") from error


def sqlite_head_store(path: str | os.PathLike[str]) -> SqlHeadStore:
    """Open a store in an SQLite file, for writers that share one machine.

    Raises:
        HeadStoreError: it cannot be opened.
    """
    try:
        connection = _durable_sqlite(path)
    except sqlite3.Error as error:
        raise HeadStoreError(f"cannot open {os.fspath(path)}: {error}") from error
    return SqlHeadStore(connection, sqlite3.Error, "?")


def postgres_head_store(conninfo: str) -> SqlHeadStore:
    """Open a store in a PostgreSQL database, for writers on several machines.

    Args:
        conninfo: a connection string of libpq.

    Raises:
        HeadStoreError: psycopg is not installed, or the database cannot be reached.
    """
    try:
        # An optional dependency.
        import psycopg
    except ImportError as error:
        raise HeadStoreError("PostgreSQL needs the extra `lambda-attunement[postgres]`") from error
    try:
        connection = psycopg.connect(
            conninfo,
            autocommit=True,
            connect_timeout=TIMEOUT_S,
            options=f"-c statement_timeout={TIMEOUT_S}s -c synchronous_commit=on",
        )
    except psycopg.Error as error:
        raise HeadStoreError(f"cannot reach the store of heads: {str(error).strip()}") from error
    return SqlHeadStore(connection, psycopg.Error, "%s")


def _durable_sqlite(path: str | os.PathLike[str]) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def _checked(asked: str, origin: Any, epoch: Any, size: Any, root: Any, checkpoint: Any) -> HeadRow:
    # SQLite takes any type in any column, and either store can be written by others.
    for name, found, is_good, wanted in (
        ("origin", origin, origin == asked, "the one that was asked for"),
        # The next owner's epoch must have room as well.
        ("epoch", epoch, _is_count(epoch, 1, _INTEGER_LAST - 1), "a whole number from 1 on"),
        ("size", size, _is_count(size, 0, _INTEGER_LAST), "a whole number from 0 on"),
        ("root", root, isinstance(root, str) and _ROOT.fullmatch(root), "64 hex digits in lower case"),
        ("checkpoint", checkpoint, isinstance(checkpoint, str), "a text"),
    ):
        if not is_good:
            raise HeadStoreError(
                f"the head's row of {asked} is damaged: {name} is {ascii(found)[:80]}, must be {wanted}"
            )
    return HeadRow(origin, epoch, size, root, checkpoint)


def _is_count(found: object, least: int, most: int) -> bool:
    return type(found) is int and least <= found <= most


class Ownership:
    """A writer's claim to a ledger: the row as this writer left it.

    Raises:
        HeadStoreError, OwnershipLostError: as of `claim`.
    """

    def __init__(self, store: HeadStore, row: HeadRow) -> None:
        self._store = store
        self.row = row

    @classmethod
    def claim(cls, store: HeadStore, found: HeadRow | None, first: HeadRow) -> "Ownership":
        """Take over the row that was found, or put the first one.

        Raises:
            HeadStoreError: the store cannot be asked.
            OwnershipLostError: another writer was faster.
        """
        if found is None:
            row, done = first, store.create(first)
        else:
            row = attrs.evolve(found, epoch=found.epoch + 1)
            done = store.replace(found, row)
        if done:
            return cls(store, row)
        raise OwnershipLostError(f"another writer took over {first.origin} at the same time")

    def advance(self, size: int, root: str, checkpoint: str) -> None:
        """Move the head to records that are durable.

        Raises:
            HeadStoreError: the store cannot be asked.
            OwnershipLostError: the row is not as this writer left it.
        """
        row = attrs.evolve(self.row, size=size, root=root, checkpoint=checkpoint)
        if not self._store.replace(self.row, row):
            raise OwnershipLostError(
                f"the head of {row.origin} is no longer at epoch {self.row.epoch}, size {self.row.size}"
            )
        self.row = row
