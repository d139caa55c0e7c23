"""The head as a row: SQLite in a file, and a PostgreSQL server of the test's own."""

import os
import pwd
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import attrs
import psutil
import pytest

from ledger import (
    Fault,
    HeadRow,
    HeadStoreError,
    Kind,
    Ledger,
    LedgerTamperedError,
    LedgerWriteError,
    NoteSigner,
    OwnershipLostError,
    Signers,
    SigningKey,
    head_store,
    postgres_head_store,
    read_records,
    sqlite_head_store,
)
from ledger.head_store import Ownership

ORIGIN = "example.com/attunement"
ROW = HeadRow(ORIGIN, 1, 5, "ab" * 32, "note\n")
NO_DATABASE = "not a database, but long enough to be looked at " * 30


def postgres_programs():
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else found[-1].parent if found else None


@pytest.fixture(scope="module")
def postgres():
    """A conninfo of a server that listens at a socket in a temporary folder, and nowhere else."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("no PostgreSQL server is installed")
    pytest.importorskip("psycopg")
    # A socket's path may have no more than 107 bytes.
    folder = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    user, prefix = pwd.getpwuid(os.geteuid()).pw_name, []
    if os.geteuid() == 0:
        # The server does not run as root.
        user, prefix = "postgres", ["runuser", "-u", "postgres", "--"]
        shutil.chown(folder, user)
    data = folder / "data"

    def run(*command):
        subprocess.run([*prefix, *command], check=True, capture_output=True, cwd=folder, timeout=60)

    control = [f"{programs}/pg_ctl", "-D", str(data), "-w", "-l", str(folder / "server.log")]
    run(f"{programs}/initdb", "-D", str(data), "-A", "trust", "-N", "--no-locale", "-E", "UTF8")
    run(*control, "start", "-o", f"-c listen_addresses='' -c unix_socket_directories={folder}")
    try:
        yield f"host={folder} user={user} dbname=postgres"
    finally:
        run(*control, "stop", "-m", "immediate")
        shutil.rmtree(folder)


@contextmanager
def closing(store):
    try:
        yield store
    finally:
        store.close()


@pytest.fixture(params=["sqlite", "postgres"])
def connect(request, tmp_path):
    """Return a function that opens the same store each time."""
    if request.param == "sqlite":
        return lambda: closing(sqlite_head_store(tmp_path / "head.sqlite"))
    conninfo = request.getfixturevalue("postgres")
    with closing(postgres_head_store(conninfo)) as store:
        store._execute("DELETE FROM head", ())
    return lambda: closing(postgres_head_store(conninfo))


def test_a_row_moves_only_from_where_it_is(connect):
    with connect() as store, connect() as other:
        assert store.read(ORIGIN) is None
        assert not store.replace(ROW, ROW)
        assert store.create(ROW)
        assert not other.create(attrs.evolve(ROW, size=9))
        assert other.read(ORIGIN) == ROW
        for old in (
            attrs.evolve(ROW, epoch=2),
            attrs.evolve(ROW, size=4),
            attrs.evolve(ROW, root="cd" * 32),
            attrs.evolve(ROW, origin="another"),
        ):
            assert not store.replace(old, attrs.evolve(ROW, size=6))
        moved = attrs.evolve(ROW, size=6, root="cd" * 32, checkpoint="")
        assert store.replace(attrs.evolve(ROW, checkpoint="does not count"), moved)
        assert not other.replace(ROW, moved)
        assert other.read(ORIGIN) == moved


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("epoch", "x"),
        ("epoch", 0),
        ("epoch", 1.5),
        # The next owner's has no room.
        ("epoch", 2**63 - 1),
        ("size", "x"),
        ("size", -1),
        ("root", "zz"),
        ("root", "AB" * 32),
        ("root", b"5"),
        ("checkpoint", b"?"),
    ],
)
def test_a_damaged_row_is_named(folder, signers, tmp_path, name, damage):
    with closing(sqlite_head_store(tmp_path / "head.sqlite")) as store:
        with Ledger.open(folder, signers, head_store=store):
            pass
        store._execute(f"UPDATE head SET {name} = ?", (damage,))
        told = rf"damaged: {name} is {re.escape(ascii(damage))}, must be"
        with pytest.raises(HeadStoreError, match=told):
            store.read(ORIGIN)
        with pytest.raises(HeadStoreError, match=told):
            Ledger.open(folder, signers, head_store=store)


def test_the_row_follows_the_ledger(folder, signers, connect):
    with connect() as store:
        with Ledger.open(folder, signers, head_store=store) as ledger:
            ledger.append({"a": 1})
            ledger.append_many([{"a": 2}, {"a": 3}])
            row = store.read(ORIGIN)
            assert (row.epoch, row.size) == (1, 5)
        with Ledger.open(folder, signers, head_store=store):
            row = store.read(ORIGIN)
            assert (row.epoch, row.size) == (2, 6)
    epochs = [record.body for record in read_records(folder) if record.kind is Kind.EPOCH]
    assert [(body["epoch"], body["size"]) for body in epochs] == [(1, 1), (2, 5)]
    assert epochs[0]["checkpoint"] == ""
    assert epochs[1]["checkpoint"].startswith(f"{ORIGIN}\n")


def test_a_writer_that_lost_the_row_stops(folder, signers, connect, tmp_path):
    with connect() as store, connect() as other:
        ledger = Ledger.open(folder, signers, head_store=store)
        ledger.append({"mine": 1})
        # Another machine has a copy of the folder, and takes over.
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
        with Ledger.open(copy, signers, head_store=other) as successor:
            successor.append({"theirs": 1})
            with pytest.raises(OwnershipLostError, match="no longer at epoch 1, size 3"):
                ledger.append({"mine": 2})
            with pytest.raises(LedgerWriteError, match="no longer at epoch 1"):
                ledger.append({"mine": 3})
            successor.append({"theirs": 2})
        ledger.close()
        with pytest.raises(LedgerTamperedError, match="the head's row has") as caught:
            Ledger.open(folder, signers, head_store=store)
        assert caught.value.finding.fault is Fault.TRUNCATED


def test_a_journal_that_forked_from_the_row_does_not_start(folder, signers, connect, clock, write):
    write(3)
    with connect() as store:
        store.create(HeadRow(ORIGIN, 1, 2, "ab" * 32, ""))
        with pytest.raises(LedgerTamperedError, match=r"root at size 2 is .*, the head's row has") as caught:
            Ledger.open(folder, signers, head_store=store)
        assert caught.value.finding.fault is Fault.TREE
        assert store.read(ORIGIN).epoch == 1


def test_records_that_the_row_does_not_know_yet_are_kept(folder, signers, connect):
    """A crash between the journal's sync and the row leaves the journal ahead."""
    with connect() as store:
        with Ledger.open(folder, signers, head_store=store) as ledger:
            ledger.append({"a": 1})
        with Ledger.open(folder, signers) as ledger:
            ledger.append({"ahead": True})
        with Ledger.open(folder, signers, head_store=store) as ledger:
            assert ledger.append({"a": 2}).sequence == 5
        assert store.read(ORIGIN).size == 6


def test_of_two_claims_one_is_lost(connect):
    with connect() as store:
        Ownership.claim(store, None, ROW)
        with pytest.raises(OwnershipLostError, match="at the same time"):
            Ownership.claim(store, None, ROW)
        found = store.read(ORIGIN)
        Ownership.claim(store, found, ROW)
        with pytest.raises(OwnershipLostError, match="at the same time"):
            Ownership.claim(store, found, ROW)


def test_a_store_that_fails_stops_the_ledger(folder, signers, connect):
    with connect() as store:
        ledger = Ledger.open(folder, signers, head_store=store)
        store.close()
        with pytest.raises(HeadStoreError, match="the store of heads failed"):
            ledger.append({})
        with pytest.raises(LedgerWriteError, match="the store of heads failed"):
            ledger.append({})
        ledger.close()


def is_open(path):
    """Say whether this process has a file open."""
    return str(path) in {one.path for one in psutil.Process().open_files()}


def test_stores_that_cannot_be_opened(tmp_path, monkeypatch):
    with pytest.raises(HeadStoreError, match="cannot open"):
        sqlite_head_store(tmp_path)
    text = tmp_path / "text"
    text.write_text(NO_DATABASE)
    with pytest.raises(HeadStoreError, match=f"^cannot open {re.escape(str(text))}: file is not a database$"):
        sqlite_head_store(text)
    if pytest.importorskip("psycopg"):
        with pytest.raises(HeadStoreError, match="cannot reach the store of heads"):
            postgres_head_store(f"host={tmp_path} dbname=none")
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(HeadStoreError, match="needs the extra"):
        postgres_head_store("")


def test_a_store_that_cannot_be_used_is_closed(tmp_path, monkeypatch):
    text, rows = tmp_path / "text", tmp_path / "rows"
    text.write_text(NO_DATABASE)
    monkeypatch.setattr(head_store, "_TABLE", "CREATE TABLE head")
    # The error keeps all alive that it passed on its way; none of that has a file open.
    for path, said in ((text, "file is not a database"), (rows, "incomplete input")):
        with pytest.raises(HeadStoreError, match=said) as caught:
            sqlite_head_store(path)
        assert not is_open(path), caught
    with closing(sqlite3.connect(rows)):
        assert is_open(rows)


def test_the_row_is_durable_in_sqlite(tmp_path):
    with closing(sqlite_head_store(tmp_path / "head.sqlite")) as store:
        assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)
        store.create(ROW)
    with sqlite3.connect(tmp_path / "head.sqlite") as connection:
        assert connection.execute("SELECT size FROM head").fetchall() == [(5,)]
    connection.close()


def test_origins_do_not_touch_one_another(tmp_path, connect):
    with connect() as store:
        for name in ("a.example", "b.example"):
            signers = Signers(SigningKey(bytes(32)), NoteSigner(name, SigningKey(bytes(31) + b"\1")))
            with Ledger.open(tmp_path / name, signers, head_store=store) as ledger:
                ledger.append({})
        assert [store.read(name).size for name in ("a.example", "b.example")] == [3, 3]
