"""The journal's frames: how one entry lies in the file, and what is left of one that a crash cut off.

A frame is the entry's length (4 bytes, big-endian), the CRC-32 of these four bytes and the entry (4 bytes,
big-endian), the entry, and a newline. Canonical JSON holds no newline, so that a newline after the first
eight bytes shows that a frame was ended, whatever happened to its length.
"""

import struct
import zlib
from typing import BinaryIO, Final

from ledger.canonical import MAX_BYTES
from ledger.errors import Fault
from ledger.record import RecordError

HEADER: Final = struct.Struct(">II")
TERMINATOR: Final = b"\n"
OVERHEAD: Final = HEADER.size + len(TERMINATOR)
MAX_FRAME_BYTES: Final = MAX_BYTES + OVERHEAD
# What one write may hold, and more than it can leave behind.
MAX_GROUP_BYTES: Final = 2 << 20
MAX_TAIL_BYTES: Final = 2 * MAX_GROUP_BYTES

_LENGTH = struct.Struct(">I")


class TornFrame(Exception):  # noqa: N818 - not an error: what a crash, or a writer at work, leaves behind
    """The file ends in the middle of a frame; `tail` is all of it, trailing zeros included."""

    def __init__(self, tail: bytes) -> None:
        super().__init__(f"{len(tail)} bytes of a frame that was not ended")
        self.tail = tail


def encode(entry: bytes) -> bytes:
    """Return the frame of an entry of 1 to `MAX_BYTES` bytes that holds no newline."""
    length = _LENGTH.pack(len(entry))
    return length + _LENGTH.pack(zlib.crc32(entry, zlib.crc32(length))) + entry + TERMINATOR


def read(stream: BinaryIO) -> bytes | None:
    """Return the next entry, None at the end of the stream.

    Raises:
        OSError: the stream cannot be read.
        TornFrame: the last frame was not ended.
        RecordError: the frame is damaged.
    """
    header = stream.read(HEADER.size)
    if not header:
        return None
    if len(header) == HEADER.size:
        length, checksum = HEADER.unpack(header)
        if 0 < length <= MAX_BYTES:
            rest = stream.read(length + 1)
            intact = zlib.crc32(memoryview(rest)[:length], zlib.crc32(header[:4])) == checksum
            if intact and len(rest) == length + 1 and rest.endswith(TERMINATOR):
                return rest[:-1]
            header += rest
    raise _damage(header + stream.read(MAX_TAIL_BYTES))


def _damage(tail: bytes) -> Exception:
    # After a power cut a file may have its new length and zeros where its last bytes should be.
    written = tail.rstrip(b"\0")
    if not (len(tail) < MAX_TAIL_BYTES and TERMINATOR not in written[HEADER.size :]):
        return RecordError(Fault.FRAME, "its length, its checksum or its end is wrong, and bytes follow")
    if len(written) < HEADER.size:
        return TornFrame(tail)
    length, _ = HEADER.unpack(written[: HEADER.size])
    if 0 < length <= MAX_BYTES and len(written) <= HEADER.size + length:
        return TornFrame(tail)
    return RecordError(Fault.FRAME, f"length is {length}, must lie in [1, {MAX_BYTES}] and hold what follows")
