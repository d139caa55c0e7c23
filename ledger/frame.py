"""The journal's frames: how one entry lies in the file, and what is left of a write that a crash cut off.

A frame is the entry's length (4 bytes, big-endian), the CRC-32 of these four bytes and the entry (4 bytes,
big-endian), the entry, and a newline. The highest bit of the length says that the frame was written together
with the one before. Canonical JSON holds neither a newline nor a zero byte: a newline after the first eight
bytes shows that a frame was ended, and a sector of zeros that it never reached the disk.

After the last frame the file may go on with zeros, the room for frames to come.
"""

import os
import re
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
# What one write may hold, and more than it can leave behind, the room after it included.
MAX_GROUP_BYTES: Final = 2 << 20
MAX_TAIL_BYTES: Final = 2 * MAX_GROUP_BYTES

_LENGTH = struct.Struct(">I")
_CONTINUES = 1 << 31

# The least that a disk writes whole. After a power cut any of them may be missing from the last write.
_SECTOR = 512
_EMPTY_SECTOR = bytes(_SECTOR)
# Of a frame's first bytes two are always zero; the third is not, since no record is so short.
_ALWAYS_ZERO = 2
# Where a frame may begin that was the first of its write.
_BEGINNING = re.compile(rb"(?s)(?=\0\0(?:[^\0]|.[^\0]))")
_DAMAGED = "its length, its checksum or its end is wrong, and bytes follow"


class TornFrame(Exception):  # noqa: N818 - not an error: what a crash, or a writer at work, leaves behind
    """The file ends in a write that did not; `tail` is what there is of it, without the zeros at its end."""

    def __init__(self, tail: bytes) -> None:
        super().__init__(f"{len(tail)} bytes of a frame that was not ended")
        self.tail = tail


def encode(*entries: bytes) -> bytes:
    """Return the frames of one write, of entries of 1 to `MAX_BYTES` bytes that hold no newline."""
    return b"".join([_encode(entry, _CONTINUES if index else 0) for index, entry in enumerate(entries)])


def read(stream: BinaryIO) -> bytes | None:
    """Return the next entry, None at the end of the stream or where nothing but room follows.

    Raises:
        OSError: the stream cannot be read.
        TornFrame: the last write was not ended.
        RecordError: the frame is damaged.
    """
    header = stream.read(HEADER.size)
    if not header:
        return None
    length = _length(header) if len(header) == HEADER.size else 0
    data = header + stream.read(length + 1) if 0 < length <= MAX_BYTES else header
    if end_of(data, 0) == len(data):
        return data[HEADER.size : -1]
    return _look_closer(stream, stream.tell() - len(data))


def end_of(data: bytes, begin: int) -> int | None:
    """Return where the frame ends that begins at a place, None if no whole frame does."""
    if not begin + OVERHEAD < len(data):
        return None
    length, (_, checksum) = _length(data, begin), HEADER.unpack_from(data, begin)
    end = begin + OVERHEAD + length
    if not (0 < length <= MAX_BYTES and end <= len(data) and data.startswith(TERMINATOR, end - 1)):
        return None
    entry = memoryview(data)[begin + HEADER.size : end - 1]
    return end if zlib.crc32(entry, zlib.crc32(data[begin : begin + _LENGTH.size])) == checksum else None


def _length(data: bytes, begin: int = 0) -> int:
    return int(_LENGTH.unpack_from(data, begin)[0] & ~_CONTINUES)


def _encode(entry: bytes, flag: int) -> bytes:
    length = _LENGTH.pack(len(entry) | flag)
    return length + _LENGTH.pack(zlib.crc32(entry, zlib.crc32(length))) + entry + TERMINATOR


def _look_closer(stream: BinaryIO, begin: int) -> bytes | None:
    try:
        return _look_anew(stream, begin)
    except RecordError:
        # Beside a writer, one page may have been read before it was filled and the next one after. But what
        # was seen behind this frame was written after it: if it was ever whole, it is now.
        return _look_anew(stream, begin)


def _look_anew(stream: BinaryIO, begin: int) -> bytes | None:
    # To seek the end makes the stream forget what it has buffered.
    stream.seek(0, os.SEEK_END)
    stream.seek(begin)
    tail = stream.read(MAX_TAIL_BYTES)
    end = end_of(tail, 0)
    if end is not None:
        stream.seek(begin + end)
        return tail[HEADER.size : end - 1]
    written = tail.rstrip(b"\0")
    if not len(tail) < MAX_TAIL_BYTES:
        raise RecordError(Fault.FRAME, _DAMAGED)
    if not written:
        return None
    if _is_cut_off(written) or (_has_hole(written, begin) and not _has_later_write(written)):
        raise TornFrame(written)
    if TERMINATOR in written[HEADER.size :]:
        raise RecordError(Fault.FRAME, _DAMAGED)
    detail = f"length is {_length(written)}, must lie in [1, {MAX_BYTES}] and hold what follows"
    raise RecordError(Fault.FRAME, detail)


def _is_cut_off(written: bytes) -> bool:
    if len(written) < HEADER.size:
        return True
    length = _length(written)
    is_within = 0 < length <= MAX_BYTES and len(written) <= HEADER.size + length
    return is_within and TERMINATOR not in written[HEADER.size :]


def _has_hole(written: bytes, begin: int) -> bool:
    # In the first frame alone: a hole further on says nothing of a frame that was whole once.
    first = _SECTOR - begin % _SECTOR
    if first > _ALWAYS_ZERO and not any(written[:first]):
        return True
    length = _length(written)
    end = min(OVERHEAD + length, len(written)) if length else HEADER.size
    newline = written.find(TERMINATOR, HEADER.size, end)
    return any(
        written.startswith(_EMPTY_SECTOR, place)
        for place in range(first, end if newline < 0 else newline, _SECTOR)
    )


def _has_later_write(written: bytes) -> bool:
    # Nothing is written before the sync of what was written last: that was whole once.
    return any(end_of(written, found.start()) is not None for found in _BEGINNING.finditer(written, 1))
