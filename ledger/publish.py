"""Publish a journal in the C2SP forms: entry bundles, tiles and the checkpoint.

Order of writes: the journal is durable before a record comes here; then bundles, then tiles, then the
checkpoint. So whoever reads a checkpoint finds every tile it implies, every tile's entries are there, and
every published entry is in the journal, wherever a crash fell. All of it follows from the journal: what is
missing or damaged is written again when the ledger is next opened.
"""

import contextlib
import os
from collections.abc import Iterable
from typing import Final

import attrs

from ledger import checkpoint as checkpoints
from ledger import files
from ledger.checkpoint import Checkpoint, SignedCheckpoint
from ledger.errors import LedgerReadError
from ledger.note import NoteSigner
from ledger.tiles import Tile, partials
from ledger.tree import Tree

CHECKPOINT: Final = "checkpoint"

_MODE = 0o644
_MOST_ADDED = 1024


@attrs.frozen
class Draft:
    """What must be written so that a checkpoint holds."""

    checkpoint: Checkpoint
    # Whose key is in force at the checkpoint's size.
    signer: NoteSigner
    full: list[tuple[Tile, bytes]]
    partial: list[tuple[Tile, bytes]]


class Publisher:
    """The folder in which a journal's tree is published.

    `add`, `head` and `draft` are the journal's one writer's. `publish` may run beside them, for one draft
    after the other.
    """

    def __init__(
        self, folder: str, signer: NoteSigner, tree: Tree, published: SignedCheckpoint | None
    ) -> None:
        self._folder: Final = folder
        # Signs the drafts to come.
        self.signer = signer
        self._tree: Final = tree
        # Records whose place in the tree nobody asked for yet: an append does not wait for the hashing.
        self._added: list[tuple[bytes, str]] = []
        # How many records the last draft covers.
        self._drafted = 0 if published is None else published.checkpoint.size
        self.published = published
        # Full tiles that are in no draft yet.
        self._full: list[tuple[Tile, bytes]] = []
        # The partial tiles of the last two checkpoints; those of the last but one are for slow readers.
        self._partials: tuple[list[Tile], list[Tile]] = (
            [],
            [] if published is None else list(partials(published.checkpoint.size)),
        )

    @property
    def undrafted(self) -> int:
        """How many records no draft covers."""
        return self._tree.size + len(self._added) - self._drafted

    def add(self, stored: bytes, leaf: str) -> None:
        """Add a record's stored bytes, which are durable in the journal, and their leaf hash in hex."""
        self._added.append((stored, leaf))
        if len(self._added) == _MOST_ADDED:
            self._hash_added()

    def head(self) -> tuple[int, bytes]:
        """Return the size and the root of the tree over all records that were added."""
        self._hash_added()
        return self._tree.size, self._tree.root()

    def draft(self) -> Draft:
        """Return what brings the folder up to all records that were added. If it is lost, so is the tree."""
        checkpoint = Checkpoint(self.signer.name, *self.head())
        full, self._full = self._full, []
        self._drafted = checkpoint.size
        return Draft(checkpoint, self.signer, full, self._tree.partial())

    def publish(self, draft: Draft) -> SignedCheckpoint:
        """Write what a draft holds, and sign its checkpoint.

        Raises:
            OSError: a file cannot be written; the checkpoint, if there is one, is still the one before.
        """
        write_tiles(self._folder, [*draft.full, *draft.partial])
        if self.published is None or self.published.checkpoint != draft.checkpoint:
            signed = checkpoints.sign(draft.checkpoint, draft.signer)
            files.replace(os.path.join(self._folder, CHECKPOINT), signed.note, _MODE)
            files.sync_directory(self._folder)
            self.published = signed
            self._drop_partials([tile for tile, _ in draft.partial])
        return self.published

    def _hash_added(self) -> None:
        for stored, leaf in self._added:
            self._full += self._tree.add(stored, bytes.fromhex(leaf))
        self._added.clear()

    def _drop_partials(self, current: list[Tile]) -> None:
        previous, last = self._partials
        for tile in previous:
            if tile not in last and tile not in current:
                # Whoever tidied it away before did no harm.
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(self._folder, tile.path))
        self._partials = (last, current)


def write_tiles(folder: str, tiles: Iterable[tuple[Tile, bytes]]) -> None:
    """Write the tiles of a log that its folder does not hold yet, bundles first.

    Raises:
        OSError: one of them cannot be written.
    """
    changed: set[str] = set()
    for tile, data in sorted(tiles, key=lambda item: item[0].level is not None):
        path = os.path.join(folder, tile.path)
        if holds(path, data):
            continue
        files.make_directories(os.path.dirname(path))
        files.replace(path, data, _MODE)
        changed.add(os.path.dirname(path))
    for name in sorted(changed):
        files.sync_directory(name)


def holds(path: str, data: bytes) -> bool:
    """Say whether a file can be read and holds exactly these bytes."""
    try:
        return bool(compare(path, data))
    except LedgerReadError:
        # To write it again is the remedy for this as well; if that fails, that is said.
        return False


def compare(path: str, data: bytes) -> bool | None:
    """Say whether a file holds exactly these bytes; None if it is not there.

    Raises:
        LedgerReadError: it is there and cannot be read.
    """
    try:
        return files.read(path, len(data) + 1) == data
    except FileNotFoundError:
        return None
