"""Files that appear whole or not at all, survive a power cut, and are read without waiting for anybody."""

import contextlib
import os
import secrets
import stat
from collections.abc import Callable
from typing import BinaryIO

from ledger.errors import LedgerReadError


def publish(path: str, data: bytes, mode: int) -> None:
    """Create a file that holds `data`, durable with its directory entry; never replace one.

    Raises:
        FileExistsError: something has that name.
        OSError: it could not be written; nothing is left behind.
    """
    draft = f"{path}.new-{secrets.token_hex(8)}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        _fill(descriptor, data, os.fsync)
        # A link, unlike a rename, refuses a name that is taken.
        os.link(draft, path)
    finally:
        os.unlink(draft)
    sync_directory(os.path.dirname(path))


def replace(path: str, data: bytes, mode: int) -> None:
    """Put a file that holds `data` in a place, taken or not. The directory entry is for the caller to sync.

    Raises:
        OSError: it could not be written; what was there is unharmed, and nothing is left behind.
    """
    draft = f"{path}.new"
    # What lies there was left by a crash, or is a pipe, for whose reader nobody waits.
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK, mode)
    try:
        _fill(descriptor, data, os.fdatasync)
        os.rename(draft, path)
    except BaseException:
        # On a full disk every block of it is missed. What went wrong first is what is told.
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise


def _fill(descriptor: int, data: bytes, sync: Callable[[int], object]) -> None:
    with open(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        sync(descriptor)


def open_to_read(path: str) -> BinaryIO:
    """Open a regular file. Whatever else has its name, a pipe without a writer as well, is refused at once.

    Raises:
        FileNotFoundError: nothing has that name.
        LedgerReadError: it cannot be opened, or is not a regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise LedgerReadError(f"cannot read {path}: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise LedgerReadError(f"cannot read {path}: it is not a regular file")
    return open(descriptor, "rb")


def read(path: str, most: int = -1) -> bytes:
    """Return the bytes of a regular file, at most so many.

    Raises:
        FileNotFoundError, LedgerReadError: as of `open_to_read`, or while reading.
    """
    with open_to_read(path) as stream:
        try:
            return stream.read(most)
        except OSError as error:
            raise LedgerReadError(f"cannot read {path}: {error.strerror}") from error


def make_directories(path: str) -> None:
    """Create a directory and its missing parents, each durable in its parent.

    Raises:
        OSError: one of them cannot be created.
    """
    if os.path.isdir(path or "."):
        return
    parent = os.path.dirname(path)
    make_directories(parent)
    # Another process may have made it since.
    os.makedirs(path, exist_ok=True)
    sync_directory(parent)


def sync_directory(path: str) -> None:
    """Make the entries of a directory durable; an empty path is the working directory."""
    descriptor = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
