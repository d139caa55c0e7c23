"""Where the ledger's keys lie, and how one gives way to the next.

FILE is the private key in force and FILE.pub its public key. FILE.<id> and FILE.<id>.pub are those of a key
that was rotated out: its public key is still needed, since the first key of a ledger vouches for all that
follow. FILE.next is a successor on its way.
"""

import os
from collections.abc import Callable
from pathlib import Path

import ledger
from ledger import KeyFileError, SigningKey, VerifyKey
from ledger.chain import journal_path
from ledger.files import sync_directory


def with_pub(private: Path) -> Path:
    """Return the file of the public key that belongs to a private key's file."""
    return private.with_name(f"{private.name}.pub")


def retired(private: Path, key_id: str) -> Path:
    """Return the file of a key that was rotated out."""
    return private.with_name(f"{private.name}.{key_id}")


def first_key(private: Path, folder: Path) -> VerifyKey:
    """Return the public key that a ledger's first record names, if its file is here; else the one in force.

    Raises:
        KeyFileError: the file cannot be read, or holds another key than its name says.
        LedgerReadError, LedgerTamperedError: the first record cannot be read.
    """
    if os.path.lexists(journal_path(folder)):
        key_id = next(iter(ledger.read_records(folder))).key_id
        before = with_pub(retired(private, key_id))
        if before.exists():
            key = ledger.load_public(before)
            if key.key_id == key_id:
                return key
            raise KeyFileError(f"{before} holds key {key.key_id}, must hold {key_id}")
    return ledger.load_public(with_pub(private))


def replace_key(
    private: Path, in_force: VerifyKey | None, append: Callable[[SigningKey, SigningKey], object]
) -> SigningKey:
    """Have a ledger's key sign its successor, and put the successor's files in its place.

    A rotation that was cut off is finished: the successor lies in FILE.next until all is done.

    Args:
        private: The file of the key in force.
        in_force: The key that the ledger names last.
        append: Makes the rotation durable in the ledger, given the key in force and its successor.

    Raises:
        KeyFileError: a key file cannot be read or written.
        LedgerError: the rotation is not in the ledger; the key is still in force.
    """
    fresh = private.with_name(f"{private.name}.next")
    successor = ledger.load_private(fresh) if fresh.exists() else ledger.generate(fresh, with_pub(fresh))
    if in_force != successor.verify_key:
        append(ledger.load_private(private), successor)
    try:
        if private.exists():
            old = ledger.load_private(private).verify_key
            if with_pub(private).exists():
                os.rename(with_pub(private), with_pub(retired(private, old.key_id)))
            os.rename(private, retired(private, old.key_id))
        if with_pub(fresh).exists():
            os.rename(with_pub(fresh), with_pub(private))
        os.rename(fresh, private)
        sync_directory(os.path.dirname(private))
    except OSError as error:
        raise KeyFileError(f"cannot put {fresh} in the place of {private}: {error.strerror}") from error
    return successor
