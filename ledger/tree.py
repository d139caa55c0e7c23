"""The tree over a growing log, with the tiles and bundles of its right edge."""

from ledger.merkle import HASH_BYTES, RightEdge
from ledger.tiles import HEIGHT, WIDTH, Tile, encode_bundle_entry, partials


class Tree:
    """A tree to which stored records are added in order; what it holds does not grow with the log."""

    def __init__(self) -> None:
        self._edge = RightEdge()
        # The entries, and the hashes of each level, of the tiles that are not full yet.
        self._bundle = bytearray()
        self._levels = [bytearray()]

    @property
    def size(self) -> int:
        """How many records were added."""
        return self._edge.size

    def root(self) -> bytes:
        """Return the Merkle root over the records that were added."""
        return self._edge.root()

    def add(self, stored: bytes, leaf: bytes) -> list[tuple[Tile, bytes]]:
        """Add a record's stored bytes, and the leaf hash of them.

        Returns:
            The bundle and the tiles that it made full, and what they hold; mostly none.
        """
        ending = self._edge.append(leaf)
        self._bundle += encode_bundle_entry(stored)
        self._levels[0] += leaf
        if self.size % WIDTH:
            return []
        full = [(Tile(None, self.size // WIDTH - 1), bytes(self._bundle))]
        self._bundle.clear()
        level = 0
        while len(self._levels[level]) == WIDTH * HASH_BYTES:
            hashes = bytes(self._levels[level])
            self._levels[level].clear()
            level += 1
            full.append((Tile(level - 1, (self.size >> HEIGHT * level) - 1), hashes))
            if level == len(self._levels):
                self._levels.append(bytearray())
            self._levels[level] += ending[HEIGHT * level]
        return full

    def partial(self) -> list[tuple[Tile, bytes]]:
        """Return the tiles that are not full, and what they hold; the bundle first."""
        return [
            (tile, bytes(self._bundle if tile.level is None else self._levels[tile.level]))
            for tile in partials(self.size)
        ]
