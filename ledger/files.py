"""Files that appear whole or not at all, and survive a power cut."""

import os
import secrets


def publish(path: str, data: bytes, mode: int) -> None:
    """Create a file that holds `data`, durable with its directory entry; never replace one.

    Raises:
        FileExistsError: something has that name.
        OSError: it could not be written; nothing is left behind.
    """
    draft = f"{path}.new-{secrets.token_hex(8)}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(descriptor)
        # A link, unlike a rename, refuses a name that is taken.
        os.link(draft, path)
    finally:
        os.unlink(draft)
    sync_directory(os.path.dirname(path))


def replace(path: str, data: bytes, mode: int) -> None:
    """Put a file that holds `data` in a place, taken or not. The directory entry is for the caller to sync.

    Raises:
        OSError: it could not be written; what was there is unharmed.
    """
    draft = f"{path}.new"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with open(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fdatasync(descriptor)
    os.rename(draft, path)


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
