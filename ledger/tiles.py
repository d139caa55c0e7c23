"""Tiles and entry bundles (C2SP tlog-tiles): how a log lies in a folder, and its hashes read from there."""

import os
import re
import struct
from collections.abc import Iterator
from typing import Final

import attrs

from ledger import files
from ledger.errors import LedgerReadError, ProofError
from ledger.merkle import HASH_BYTES, perfect_root, subtree_root

WIDTH: Final = 256
HEIGHT: Final = 8
MAX_LEVEL: Final = 63

_LENGTH = struct.Struct(">H")
_PATH = re.compile(
    r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?", re.ASCII
)


@attrs.frozen
class Tile:
    """One tile: `width` hashes of a level, the first of them at `index * 256`; level None is the entries.

    Raises:
        ProofError: a figure is out of range.
    """

    level: int | None
    index: int
    width: int = WIDTH

    def __attrs_post_init__(self) -> None:
        if not (self.level is None or 0 <= self.level <= MAX_LEVEL):
            raise ProofError(f"tile level is {self.level}, must lie in [0, {MAX_LEVEL}]")
        if not (self.index >= 0 and 1 <= self.width <= WIDTH):
            raise ProofError(f"tile {self.index} has the width {self.width}, must lie in [1, {WIDTH}]")

    @property
    def path(self) -> str:
        """Its file's name in the log's folder."""
        level = "entries" if self.level is None else str(self.level)
        digits = f"{self.index:0{3 * max(1, -(-len(str(self.index)) // 3))}d}"
        groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        place = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
        return f"tile/{level}/{place}" + ("" if self.width == WIDTH else f".p/{self.width}")


def parse_path(path: str) -> Tile:
    """Return the tile that has this file name.

    Raises:
        ProofError: no tile has it.
    """
    found = _PATH.fullmatch(path)
    if found is None:
        raise ProofError(f"{path!a} is not a tile's path")
    level, place, width = found.groups()
    tile = Tile(
        None if level == "entries" else int(level),
        int(place.replace("x", "").replace("/", "")),
        WIDTH if width is None else int(width),
    )
    if tile.path == path:
        return tile
    raise ProofError(f"{path!a} is not a tile's path, would be {tile.path!a}")


def partials(size: int) -> Iterator[Tile]:
    """Yield the partial tiles that a log of this size has, entries first."""
    if size % WIDTH:
        yield Tile(None, size // WIDTH, size % WIDTH)
    level = 0
    while size:
        if size % WIDTH:
            yield Tile(level, size // WIDTH, size % WIDTH)
        level, size = level + 1, size // WIDTH


def encode_bundle_entry(entry: bytes) -> bytes:
    """Return an entry of up to 65,535 bytes as it stands in a bundle."""
    return _LENGTH.pack(len(entry)) + entry


def split_bundle(bundle: bytes) -> list[bytes]:
    """Return the entries of a bundle.

    Raises:
        ProofError: it ends within an entry.
    """
    entries: list[bytes] = []
    place = 0
    while place < len(bundle):
        begin = place + _LENGTH.size
        length = int.from_bytes(bundle[place:begin], "big")
        entry = bundle[begin : begin + length]
        if not (begin <= len(bundle) and len(entry) == length):
            raise ProofError(f"the bundle ends within entry {len(entries)}")
        entries.append(entry)
        place = begin + length
    return entries


class TileReader:
    """A published log of a known size: entries and hashes, as its tiles have them.

    What is read is not checked: a proof made from it holds only if it verifies.
    """

    def __init__(self, folder: str | os.PathLike[str], size: int) -> None:
        self._folder = os.fspath(folder)
        self._size = size

    def entry(self, index: int) -> bytes:
        """Return a record's stored bytes.

        Raises:
            LedgerReadError: the bundle cannot be read.
            ProofError: there is no such record, or the bundle is damaged.
        """
        if not 0 <= index < self._size:
            raise ProofError(f"index is {index}, must lie in [0, {self._size})")
        entries = split_bundle(self._read(None, index // WIDTH))
        if not index % WIDTH < len(entries):
            raise ProofError(f"the bundle of record {index} holds {len(entries)} entries")
        return entries[index % WIDTH]

    def node(self, level: int, index: int) -> bytes:
        """Return the hash of a perfect subtree, as `merkle.Nodes` has it.

        Raises:
            LedgerReadError: a tile cannot be read.
            ProofError: a tile is too short.
        """
        row, inner = divmod(level, HEIGHT)
        first = index << inner
        tile = self._read(row, first // WIDTH)
        begin = first % WIDTH
        hashes = [tile[at * HASH_BYTES : (at + 1) * HASH_BYTES] for at in range(begin, begin + (1 << inner))]
        if not len(hashes[-1]) == HASH_BYTES:
            raise ProofError(f"{Tile(row, first // WIDTH).path} holds {len(tile)} bytes, too few")
        return perfect_root(hashes)

    def root(self, size: int) -> bytes:
        """Return the root that the log had at a size of 1 or more, up to that of the reader.

        Raises:
            LedgerReadError, ProofError: as of `node`.
        """
        return subtree_root(self.node, 0, size)

    def _read(self, level: int | None, index: int) -> bytes:
        of_level = self._size >> HEIGHT * (level or 0)
        wanted = tile = Tile(level, index, min(WIDTH, of_level - index * WIDTH))
        # The writer drops a partial tile some time after a longer one is there, and never a full one. The
        # longer one begins with the other, and nothing behind that is asked for.
        while (data := self._held(tile)) is None:
            if tile.width == WIDTH:
                raise LedgerReadError(f"cannot read {wanted.path}: it is not there")
            tile = self._longest(tile)
        return data

    def _held(self, tile: Tile) -> bytes | None:
        try:
            return files.read(os.path.join(self._folder, tile.path))
        except FileNotFoundError:
            return None

    def _longest(self, tile: Tile) -> Tile:
        """Return the longest tile that is longer: a partial one that is there, else the full one."""
        directory = os.path.dirname(tile.path)
        try:
            names = os.listdir(os.path.join(self._folder, directory))
        except FileNotFoundError:
            names = []
        except OSError as error:
            raise LedgerReadError(f"cannot read {directory}: {error.strerror}") from error
        widths = [int(name) for name in names if name.isascii() and name.isdecimal()]
        longer = [width for width in widths if tile.width < width < WIDTH]
        return Tile(tile.level, tile.index, max(longer, default=WIDTH))
