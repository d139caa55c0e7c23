"""What the tests of the ledger share: its journal taken apart, and other processes that write to it."""

import itertools
import os
import struct
import subprocess
import sys
from pathlib import Path

from ledger import Head, NoteSigner, Signers, SigningKey, read_records
from ledger import frame as frames

ROOT = Path(__file__).resolve().parents[1]

# How another process opens the ledger that the fixtures open.
OPENING = """
import sys
from ledger import Ledger, LedgerError, NoteSigner, Signers, SigningKey
log = NoteSigner("example.com/attunement", SigningKey(bytes(range(2, 34))))
signers = Signers(SigningKey(bytes(range(32))), log)
"""


def signers_of(key: SigningKey) -> Signers:
    """The keys of a ledger whose records this one signs."""
    return Signers(key, NoteSigner("example.com/attunement", SigningKey(bytes(range(2, 34)))))


def split(journal: bytes) -> list[bytes]:
    """Cut a whole journal into its frames."""
    found, place = [], 0
    while place < len(journal):
        # The highest bit says that a frame was written together with the one before.
        length = struct.unpack_from(">I", journal, place)[0] & 0x7FFF_FFFF
        found.append(journal[place : place + length + frames.OVERHEAD])
        place += len(found[-1])
    return found


def entries(journal: bytes) -> list[bytes]:
    """The stored bytes of the records of a whole journal."""
    return [frame[frames.HEADER.size : -1] for frame in split(journal)]


def offsets(journal: bytes) -> list[int]:
    """Where each frame of a whole journal begins, and where the last one ends."""
    return [0, *itertools.accumulate(map(len, split(journal)))]


def unpublished(folder: Path, data: bytes) -> None:
    """Put a journal back as a crash leaves it before its records are published."""
    (folder / "checkpoint").unlink(missing_ok=True)
    for aside in folder.glob("torn-*"):
        aside.unlink()
    (folder / "journal").write_bytes(data)


def head_of(folder: Path) -> Head:
    *_, last = read_records(folder)
    return Head(last.sequence, last.hash_hex)


def environment(**extra: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **extra}


def run_child(script: str, *arguments: object, zone: str = "UTC", under: tuple[str, ...] = ()):
    """Run a script in another process, under another program if one is named."""
    return subprocess.run(
        [*under, sys.executable, "-c", OPENING + script, *map(str, arguments)],
        env=environment(TZ=zone),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
