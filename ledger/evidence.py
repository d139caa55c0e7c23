"""Evidence that others can check: inclusion and consistency proofs, and bundles of them."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from typing import Final, Self

import attrs

from ledger import files
from ledger.checkpoint import SignedCheckpoint, open_checkpoint, parse_decimal
from ledger.errors import LedgerReadError, LedgerWriteError, ProofError
from ledger.keys import decode_base64, encode_base64
from ledger.merkle import (
    HASH_BYTES,
    leaf_hash,
    prove_consistency,
    prove_inclusion,
    verify_consistency,
    verify_inclusion,
)
from ledger.note import MAX_NOTE_BYTES, NoteKey
from ledger.publish import CHECKPOINT
from ledger.tiles import TileReader
from ledger.verify import WITNESSED, read_note

HEADER: Final = "c2sp.org/tlog-proof@v1"
MANIFEST: Final = "MANIFEST"

_MODE = 0o644
_MAX_HASHES = 63


@attrs.frozen
class TlogProof:
    """An inclusion proof with its checkpoint (C2SP tlog-proof).

    Attributes:
        index: the record's place.
        hashes: the inclusion proof, the leaf's sibling first.
        note: the signed checkpoint, verbatim.
        extra: data of no authority; None if there is none.
    """

    index: int
    hashes: tuple[bytes, ...]
    note: bytes
    extra: bytes | None = None

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a proof file.

        Raises:
            ProofError: it is malformed.
        """
        if not len(data) <= MAX_NOTE_BYTES:
            raise ProofError(f"the proof has {len(data)} bytes, must not exceed {MAX_NOTE_BYTES}")
        head, gap, note = data.partition(b"\n\n")
        lines = head.decode("ascii", errors="replace").split("\n")
        extra = None
        if len(lines) > 1 and lines[1].startswith("extra "):
            extra = decode_base64(lines.pop(1).removeprefix("extra "))
            if extra is None:
                raise ProofError("the proof's extra data is not base64")
        if not (gap and lines[0] == HEADER and len(lines) > 1 and lines[1].startswith("index ")):
            raise ProofError(f"the proof must begin with {HEADER} and an index, and hold a checkpoint")
        index = parse_decimal(lines[1].removeprefix("index "))
        if index is None:
            raise ProofError(f"the proof's index is {lines[1][6:46]!a}, must be a decimal number")
        return cls(index, _hashes(lines[2:]), note, extra)

    def encode(self) -> bytes:
        """Return the proof file."""
        extra = [] if self.extra is None else [f"extra {encode_base64(self.extra)}"]
        lines = [HEADER, *extra, f"index {self.index}", *map(encode_base64, self.hashes), "", ""]
        return "\n".join(lines).encode("ascii") + self.note

    def verify(
        self, stored: bytes, log_key: NoteKey, witnesses: Iterable[NoteKey] = (), *, origin: str | None = None
    ) -> SignedCheckpoint:
        """Check that a record's stored bytes are in the log at `index`.

        Returns:
            The checkpoint, with the cosignatures of the given witnesses.

        Raises:
            NoteError: the checkpoint is malformed, or its signatures do not hold.
            ProofError: the record is not shown to be in the log.
        """
        signed = open_checkpoint(self.note, log_key, witnesses, origin=origin)
        tree = signed.checkpoint
        verify_inclusion(leaf_hash(stored), self.index, tree.size, tree.root, self.hashes)
        return signed


@attrs.frozen
class ConsistencyProof:
    """That the tree of size `old` is the beginning of the tree of size `new`."""

    old: int
    new: int
    old_root: bytes
    new_root: bytes
    hashes: tuple[bytes, ...]

    def verify(self) -> None:
        """Check it.

        Raises:
            ProofError: it does not hold.
        """
        verify_consistency(self.old, self.new, self.old_root, self.new_root, self.hashes)


class Evidence:
    """The published log of a ledger's folder, as proofs are made from it.

    It stands at the newest cosigned checkpoint where `is_witnessed`, else at the newest of the log itself.

    Raises:
        LedgerReadError: there is no such checkpoint, or it cannot be read.
        NoteError: it is not the log's.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        log_key: NoteKey,
        witnesses: Sequence[NoteKey] = (),
        *,
        is_witnessed: bool = False,
    ) -> None:
        name = WITNESSED if is_witnessed else CHECKPOINT
        note = read_note(folder, name)
        if note is None:
            raise LedgerReadError(f"{os.fspath(folder)} has no {name}")
        self.log_key = log_key
        self.signed = open_checkpoint(note, log_key, witnesses)
        self._reader = TileReader(folder, self.signed.checkpoint.size)

    def record(self, index: int) -> bytes:
        """Return a record's stored bytes.

        Raises:
            LedgerReadError, ProofError: as of `TileReader.entry`.
        """
        return self._reader.entry(index)

    def inclusion(self, index: int) -> TlogProof:
        """Prove that a record is in the log.

        Raises:
            LedgerReadError: a tile cannot be read.
            ProofError: there is no such record, or the tiles do not belong to the checkpoint.
        """
        hashes = prove_inclusion(self._reader.node, index, self.signed.checkpoint.size)
        proof = TlogProof(index, tuple(hashes), self.signed.note)
        proof.verify(self._reader.entry(index), self.log_key)
        return proof

    def consistency(self, old: int, new: int) -> ConsistencyProof:
        """Prove that the log at one size is the beginning of the log at another.

        Raises:
            LedgerReadError: a tile cannot be read.
            ProofError: a size is out of range, or the tiles do not belong together.
        """
        size = self.signed.checkpoint.size
        if not 0 < old <= new <= size:
            raise ProofError(f"sizes are {old} and {new}, must be in order and lie in [1, {size}]")
        node = self._reader.node
        hashes = tuple(prove_consistency(node, old, new))
        proof = ConsistencyProof(old, new, self._reader.root(old), self._reader.root(new), hashes)
        proof.verify()
        # Roots from damaged tiles may agree with one another; with the signed root they do not.
        to_signed = prove_consistency(node, new, size)
        verify_consistency(new, size, proof.new_root, self.signed.checkpoint.root, to_signed)
        return proof

    def export(self, folder: str | os.PathLike[str], indices: Iterable[int]) -> str:
        """Write records with their proofs, the checkpoint, the log's vkey and a manifest into a new folder.

        Record N is `N.json` with `N.tlog-proof`. The manifest has the form of `sha256sum`.

        Returns:
            The manifest's hash, as Go's dirhash has it: `h1:` and base64.

        Raises:
            LedgerReadError, ProofError: as of `inclusion`.
            LedgerWriteError: the folder exists, or a file cannot be written.
        """
        written = {CHECKPOINT: self.signed.note, "log.vkey": f"{self.log_key}\n".encode()}
        for index in indices:
            written[f"{index}.json"] = self.record(index)
            written[f"{index}.tlog-proof"] = self.inclusion(index).encode()
        manifest = manifest_of(written)
        try:
            os.makedirs(folder)
            for name, data in {**written, MANIFEST: manifest}.items():
                files.replace(os.path.join(folder, name), data, _MODE)
            files.sync_directory(os.fspath(folder))
        except OSError as error:
            raise LedgerWriteError(f"cannot write to {os.fspath(folder)}: {error.strerror}") from error
        return f"h1:{encode_base64(hashlib.sha256(manifest).digest())}"


def manifest_of(contents: dict[str, bytes]) -> bytes:
    """Return the lines of `sha256sum` over files, sorted by name; their SHA-256 is dirhash h1.

    Raises:
        ProofError: a name holds a newline.
    """
    if any("\n" in name for name in contents):
        raise ProofError("a name holds a newline")
    lines = (f"{hashlib.sha256(contents[name]).hexdigest()}  {name}\n" for name in sorted(contents))
    return "".join(lines).encode("utf-8")


def _hashes(lines: list[str]) -> tuple[bytes, ...]:
    hashes = tuple(decode_base64(line) for line in lines)
    if not len(hashes) <= _MAX_HASHES:
        raise ProofError(f"the proof has {len(hashes)} hashes, must not exceed {_MAX_HASHES}")
    found = tuple(value for value in hashes if value is not None and len(value) == HASH_BYTES)
    if len(found) == len(hashes):
        return found
    raise ProofError(f"a line of the proof is not the base64 of {HASH_BYTES} bytes")
