"""Signed notes (C2SP signed-note) and the keys that sign them.

A note is text, an empty line, and signature lines. Two kinds of signatures are known: Ed25519 of a log
(0x01), and cosignature/v1 of a witness (0x04); lines of other keys are left alone.
"""

import hashlib
import struct
from collections.abc import Iterable
from typing import Final, Self

import attrs

from ledger.errors import KeyFileError, NoteError
from ledger.keys import SIGNATURE_BYTES, SigningKey, VerifyKey, decode_base64, encode_base64

ED25519: Final = 0x01
COSIGNATURE: Final = 0x04
MAX_NOTE_BYTES: Final = 1 << 20
MAX_SIGNATURES: Final = 100

_DASH: Final = "— "
_KEY_HASH_BYTES: Final = 4
_MAX_TIME: Final = 2**63 - 1
_TIME = struct.Struct(">Q")


@attrs.frozen
class NoteKey:
    """A public key under the name by which notes know it; its text form is the vkey.

    Raises:
        NoteError: the name is empty or holds a space or a plus sign, or the kind is not known.
    """

    name: str
    key: VerifyKey
    kind: int = ED25519

    def __attrs_post_init__(self) -> None:
        if not is_name(self.name):
            raise NoteError(f"key name {self.name!a} must be non-empty, without space and plus")
        if self.kind not in (ED25519, COSIGNATURE):
            raise NoteError(f"key has the signature type {self.kind:#04x}, must be 0x01 or 0x04")

    @classmethod
    def parse(cls, vkey: str) -> Self:
        """Return the key of a vkey, `<name>+<key hash in hex>+<base64 of type and key>`.

        Raises:
            NoteError: it is malformed, of another type, or of small order.
        """
        name, _, rest = vkey.partition("+")
        hash_hex, _, encoded = rest.partition("+")
        data = decode_base64(encoded)
        if not data:
            raise NoteError(f"vkey {vkey!a} is malformed")
        try:
            parsed = cls(name, VerifyKey(data[1:]), data[0])
        except KeyFileError as error:
            raise NoteError(f"vkey {vkey!a}: {error}") from error
        if str(parsed) != vkey:
            raise NoteError(f"vkey {vkey!a} has the key hash {hash_hex!a}, must be {parsed.key_hash.hex()}")
        return parsed

    @property
    def key_hash(self) -> bytes:
        """The four bytes that begin every signature of this key."""
        data = b"%b\n%c%b" % (self.name.encode("utf-8"), self.kind, self.key.raw)
        return hashlib.sha256(data).digest()[:_KEY_HASH_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_hash.hex()}+{encode_base64(bytes([self.kind]) + self.key.raw)}"

    def verifies(self, text: str, signature: bytes) -> bool:
        """Say whether this is the key's signature of a note's text (without the key hash)."""
        message = text.encode("utf-8")
        if self.kind == COSIGNATURE:
            if len(signature) != _TIME.size + SIGNATURE_BYTES:
                return False
            (moment,) = _TIME.unpack_from(signature)
            if not moment <= _MAX_TIME:
                return False
            message, signature = _cosigned(moment, message), signature[_TIME.size :]
        return len(signature) == SIGNATURE_BYTES and self.key.verifies(signature, message)


@attrs.frozen
class NoteSigner:
    """A private key that signs notes under a name."""

    name: str
    key: SigningKey

    @property
    def verifier(self) -> NoteKey:
        """The key that verifies what this one signs."""
        return NoteKey(self.name, self.key.verify_key)

    def sign(self, text: str) -> bytes:
        """Return a note of this text, which ends in a newline."""
        signature = self.verifier.key_hash + self.key.sign(text.encode("utf-8"))
        return f"{text}\n{signature_line(self.name, signature)}".encode()


@attrs.frozen
class Signature:
    """One signature line: who is said to have signed, the key hash, and the signature's bytes."""

    name: str
    key_hash: bytes
    data: bytes

    @property
    def timestamp(self) -> int:
        """POSIX time of a cosignature, in seconds.

        Raises:
            NoteError: it is not as long as a cosignature is.
        """
        if not len(self.data) == _TIME.size + SIGNATURE_BYTES:
            raise NoteError(f"signature of {self.name} carries no time")
        return int(_TIME.unpack_from(self.data)[0])


@attrs.frozen
class Note:
    """A parsed note. Nothing is known of its signatures until `signers` was asked."""

    text: str
    signatures: tuple[Signature, ...]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a note.

        Raises:
            NoteError: it is too long or malformed, or has no or too many signatures.
        """
        if not len(data) <= MAX_NOTE_BYTES:
            raise NoteError(f"note has {len(data)} bytes, must not exceed {MAX_NOTE_BYTES}")
        try:
            whole = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise NoteError(f"byte {error.start} of the note is not UTF-8") from error
        if any(character < " " and character != "\n" for character in whole):
            raise NoteError("the note holds a control character")
        text, gap, lines = whole.rpartition("\n\n")
        if not (gap and lines.endswith("\n")):
            raise NoteError("the note has no signature lines, or the last is not ended")
        return cls(text + "\n", parse_signatures(lines))

    def signers(self, keys: Iterable[NoteKey]) -> dict[NoteKey, Signature]:
        """Return which of these keys signed; lines of other keys are passed over.

        Raises:
            NoteError: a line is of one of these keys, and its signature does not hold; or two different
                keys have one name and one hash.
        """
        known: dict[tuple[str, bytes], NoteKey] = {}
        for key in keys:
            if known.setdefault((key.name, key.key_hash), key) != key:
                raise NoteError(f"two keys have the name {key.name} and the hash {key.key_hash.hex()}")
        signed: dict[NoteKey, Signature] = {}
        for signature in self.signatures:
            signer = known.get((signature.name, signature.key_hash))
            if signer is None:
                continue
            if not signer.verifies(self.text, signature.data):
                raise NoteError(f"a line is not a signature of this note by {signer}")
            signed[signer] = signature
        return signed


def cosign(name: str, key: SigningKey, text: str, moment: int) -> str:
    """Return the signature line of a witness that saw this checkpoint at a POSIX time in seconds."""
    signature = key.sign(_cosigned(moment, text.encode("utf-8")))
    key_hash = NoteKey(name, key.verify_key, COSIGNATURE).key_hash
    return signature_line(name, key_hash + _TIME.pack(moment) + signature)


def signature_line(name: str, data: bytes) -> str:
    """Return a signature line; `data` begins with the key hash."""
    return f"{_DASH}{name} {encode_base64(data)}\n"


def parse_signatures(lines: str) -> tuple[Signature, ...]:
    """Read signature lines, each ended by a newline.

    Raises:
        NoteError: one of them is malformed, or there are none or too many.
    """
    found = lines.split("\n")[:-1]
    if not (0 < len(found) <= MAX_SIGNATURES and lines.endswith("\n")):
        raise NoteError(f"there are {len(found)} signature lines, must be 1 to {MAX_SIGNATURES}")
    return tuple(map(_parse_line, found))


def is_name(name: str) -> bool:
    """Say whether a signature line can give this as the name of a key."""
    return bool(name) and "+" not in name and name.isprintable() and not any(map(str.isspace, name))


def _parse_line(line: str) -> Signature:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    data = decode_base64(encoded)
    if not (line.startswith(_DASH) and is_name(name) and data and len(data) > _KEY_HASH_BYTES):
        raise NoteError(f"signature line {line[:80]!a} is malformed")
    return Signature(name, data[:_KEY_HASH_BYTES], data[_KEY_HASH_BYTES:])


def _cosigned(moment: int, text: bytes) -> bytes:
    return b"cosignature/v1\ntime %d\n%b" % (moment, text)
