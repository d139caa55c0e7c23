"""Where a file lies and how long it is, asked for without its times.

Since Linux 6.13, a write to a file whose times were asked for stamps it anew, to the nanosecond; without that
it keeps the stamp of the clock's last tick, and most writes have none to make durable. To look at the journal
before every append by stat(2) lengthens the sync after it by a quarter; statx(2) can leave the times out.
"""

import ctypes
import os
import struct
from typing import Final, NamedTuple

# Of linux/stat.h: what is asked for, and where it lies in struct statx.
_AT_FDCWD = -100
_STATX_TYPE_INO_SIZE = 0x001 | 0x100 | 0x200
_STATX_BYTES = 256
_FIELDS = struct.Struct("=32xQQ88xII")

# Not every libc has the call, and not every sandbox lets it through.
_STATX = getattr(ctypes.CDLL(None), "statx", None)


class Place(NamedTuple):
    """What a name leads to: device and inode number of the file, and its length in bytes."""

    device: int
    inode: int
    size: int


class Locator:
    """Looks at one file again and again; for one thread at a time.

    Args:
        path: its name.
    """

    def __init__(self, path: str) -> None:
        self._path: Final = os.fsencode(path)
        self._buffer: Final = ctypes.create_string_buffer(_STATX_BYTES)

    def locate(self) -> Place:
        """Return where the file is now.

        Raises:
            OSError: there is none, or it cannot be reached.
        """
        if _STATX is not None and _STATX(_AT_FDCWD, self._path, 0, _STATX_TYPE_INO_SIZE, self._buffer) == 0:
            inode, size, major, minor = _FIELDS.unpack_from(self._buffer)
            return Place(os.makedev(major, minor), inode, size)
        # Whatever it was that failed, here it has a name; or it is only statx that is not let through.
        found = os.stat(self._path)
        return Place(found.st_dev, found.st_ino, found.st_size)
