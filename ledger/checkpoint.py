"""Checkpoints (C2SP tlog-checkpoint): a log's size and root hash, signed."""

from collections.abc import Iterable
from typing import Self

import attrs

from ledger.errors import NoteError
from ledger.keys import decode_base64, encode_base64
from ledger.merkle import HASH_BYTES
from ledger.note import Note, NoteKey, NoteSigner, Signature

# A size has no more digits than 2**63 has.
_MAX_DIGITS = 19


@attrs.frozen
class Checkpoint:
    """What a log says of itself: its origin, how many records it has, and their Merkle root."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The note text."""
        lines = (self.origin, str(self.size), encode_base64(self.root), *self.extensions)
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a note text.

        Raises:
            NoteError: it is not that of a checkpoint.
        """
        origin, *lines = text.split("\n")
        if not (len(lines) >= 3 and not lines[-1] and origin and all(lines[:-1])):
            raise NoteError("the checkpoint must have an origin, a size and a root hash, and no empty line")
        size, root = parse_decimal(lines[0]), decode_base64(lines[1])
        if size is None:
            raise NoteError(f"the checkpoint's size is {lines[0][:40]!a}, must be a decimal number")
        if root is None or not len(root) == HASH_BYTES:
            raise NoteError(f"the checkpoint's root hash is not the base64 of {HASH_BYTES} bytes")
        return cls(origin, size, root, tuple(lines[2:-1]))


@attrs.frozen
class SignedCheckpoint:
    """A checkpoint whose log's signature holds.

    `note` is the stored note; `cosignatures` are the good ones of the witnesses that were asked for.
    """

    checkpoint: Checkpoint
    note: bytes
    cosignatures: dict[NoteKey, Signature] = attrs.field(factory=dict)


def sign(checkpoint: Checkpoint, signer: NoteSigner) -> SignedCheckpoint:
    """Sign a checkpoint as its log."""
    return SignedCheckpoint(checkpoint, signer.sign(checkpoint.text))


def open_checkpoint(
    note: bytes, log_key: NoteKey, witnesses: Iterable[NoteKey] = (), *, origin: str | None = None
) -> SignedCheckpoint:
    """Read a checkpoint that must be signed by its log; witnesses' cosignatures are verified where present.

    Args:
        note: the signed note.
        log_key: the log's key.
        witnesses: keys whose cosignatures count; lines of all others are passed over.
        origin: the log's origin, where it is not the key's name.

    Raises:
        NoteError: it is malformed, of another log, not signed by the log, or a signature does not hold.
    """
    parsed = Note.parse(note)
    signers = parsed.signers({log_key, *witnesses})
    if log_key not in signers:
        raise NoteError(f"the checkpoint is not signed by {log_key}")
    checkpoint = Checkpoint.parse(parsed.text)
    expected = log_key.name if origin is None else origin
    if not checkpoint.origin == expected:
        raise NoteError(f"the checkpoint's origin is {checkpoint.origin!a}, must be {expected!a}")
    return SignedCheckpoint(
        checkpoint, note, {key: signed for key, signed in signers.items() if key != log_key}
    )


def signer(note: bytes, keys: Iterable[NoteKey]) -> NoteKey:
    """Return the first of these keys that signed a checkpoint as its log.

    Raises:
        NoteError: none of them did.
    """
    parsed = Note.parse(note)
    for key in keys:
        if key in parsed.signers([key]):
            return key
    raise NoteError("the checkpoint is not signed by a key of the log")


def parse_decimal(text: str) -> int | None:
    """Return a whole number from 0 on in its one decimal spelling, None for other text."""
    plain = text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS
    return int(text) if plain and (text == "0" or text[0] != "0") else None
