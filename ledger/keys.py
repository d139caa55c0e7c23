"""Ed25519 keys and the one-line text files that hold them.

A key file is `<tag> <key id> <base64 of 32 bytes>` and a newline; the tag names the format's version.
The key id is in the file so that a damaged key is noticed when it is read, not when it signs.
"""

import base64
import binascii
import hashlib
import os
import stat
from typing import Final

from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError

from ledger import files
from ledger.errors import KeyFileError

PRIVATE_TAG: Final = "lambda-attunement-private-key-v1"
PUBLIC_TAG: Final = "lambda-attunement-public-key-v1"
KEY_ID_CHARACTERS: Final = 16
SIGNATURE_BYTES: Final = 64

_KEY_BYTES = 32
_KEY_ID_DOMAIN = b"lambda-attunement/ledger/key-id/v1\0"
_MAX_FILE_BYTES = 1024

_FIELD = 2**255 - 19
_SIGN_BIT = 2**255

# The y coordinates of the eight points whose order divides 8 (orders 4, 1, 2, and twice 8): a signature
# under such a key can hold for any message. With either sign bit, and y below the field's prime, this
# refuses every encoding of them.
_SMALL_ORDER_Y = frozenset(
    {
        0,
        1,
        _FIELD - 1,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
        0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
    }
)


# Keys whose secrets are in print: the first three of RFC 8032, section 7.1, those that the tests of other
# projects and of this one sign with, and two that were committed here by mistake. They are never read from
# a file.
_PUBLISHED = frozenset(
    map(
        bytes.fromhex,
        (
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "1a5cd907143c384c41e830c5bce12aa8817ec5649aaabf2c31388b35b2d744d6",
            "e1d3bb843784420c1cda9ce9f01232cab7aca371dbcd0d23ea0ee710859244b1",
            "66e0b858e462a609e66fe71370c816d8846ff103d5499a22a7fec37fdbc424a7",
            "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29",
            "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8",
            "79b5562e8fe654f94078b112e8a98ba7901f853ae695bed7e0e3910bad049664",
            "43cdc023d22d5f9e107d1a0693457d35d1d10eb7d21c721192f56f5de40665d3",
            "5e423033044f56a13a686799487bcbfa63dd1e39204cec27dd39a26daa615628",
            "0bbc346a57667c380120bd9c7fd7e51d2c5fdfea37cd2f5bf405b2c6bf6f2d78",
            "734f3ac00db9a81bedfb13f67e35a1b401a12657a319cc2e66bfa0ca895c611d",
            "84d5a82ef758e84be010a336beb70f15c1b763df7bf02cba60060d1c26c4205d",
        ),
    )
)


class VerifyKey:
    """A public key that is known to be of large order.

    Args:
        raw: the 32 bytes of RFC 8032, section 5.1.2.

    Raises:
        KeyFileError: the length is wrong, y is not below 2**255 - 19, or the point has small order.
    """

    def __init__(self, raw: bytes) -> None:
        if not len(raw) == _KEY_BYTES:
            raise KeyFileError(f"public key has {len(raw)} bytes, must have {_KEY_BYTES}")
        y = int.from_bytes(raw, "little") % _SIGN_BIT
        if not y < _FIELD:
            raise KeyFileError("public key has a y coordinate above 2**255 - 20")
        if y in _SMALL_ORDER_Y:
            raise KeyFileError("public key is a point of small order")
        self.raw: Final = raw
        self.key_id: Final = hashlib.sha256(_KEY_ID_DOMAIN + raw).hexdigest()[:KEY_ID_CHARACTERS]

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Say whether `signature` (64 bytes) is this key's signature of `message`."""
        if len(signature) != SIGNATURE_BYTES:
            return False
        try:
            crypto_sign_open(signature + message, self.raw)
        except BadSignatureError:
            return False
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VerifyKey) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"VerifyKey({self.key_id})"


class SigningKey:
    """A private key; its text form never shows the secret.

    Args:
        seed: the 32 secret bytes of RFC 8032, section 5.1.5.

    Raises:
        KeyFileError: the length is wrong.
    """

    def __init__(self, seed: bytes) -> None:
        if not len(seed) == _KEY_BYTES:
            raise KeyFileError(f"private key has {len(seed)} bytes, must have {_KEY_BYTES}")
        public, self._secret = crypto_sign_seed_keypair(seed)
        self.verify_key: Final = VerifyKey(public)

    def sign(self, message: bytes) -> bytes:
        """Return the 64 bytes of the signature of `message`."""
        return crypto_sign(message, self._secret)[:SIGNATURE_BYTES]

    def __repr__(self) -> str:
        return f"SigningKey({self.verify_key.key_id})"


def generate(path_private: str | os.PathLike[str], path_public: str | os.PathLike[str]) -> SigningKey:
    """Make a key pair and write both files, the private one readable by its owner alone (0600).

    Raises:
        KeyFileError: a file of that name exists, or cannot be written. Nothing is overwritten, and no
            private key is left behind without its public one.
    """
    private, public = os.fspath(path_private), os.fspath(path_public)
    seed = os.urandom(_KEY_BYTES)
    key = SigningKey(seed)
    _write(private, _render(PRIVATE_TAG, key.verify_key, seed), 0o600)
    try:
        _write(public, _render(PUBLIC_TAG, key.verify_key, key.verify_key.raw), 0o644)
    except KeyFileError:
        os.unlink(private)
        raise
    return key


def load_private(path: str | os.PathLike[str]) -> SigningKey:
    """Read a private key file.

    Raises:
        KeyFileError: it cannot be read, others than its owner may open it, it is malformed, or its secret was
            published.
    """
    name = os.fspath(path)
    text, mode = _read(name)
    if not mode & 0o077 == 0:
        raise KeyFileError(f"{name} has mode {mode:04o}, must be its owner's alone: chmod 600 {name}")
    seed = _payload(name, PRIVATE_TAG, text)
    key = SigningKey(seed)
    _check_key(name, key.verify_key, text, _render(PRIVATE_TAG, key.verify_key, seed))
    return key


def load_public(path: str | os.PathLike[str]) -> VerifyKey:
    """Read a public key file.

    Raises:
        KeyFileError: it cannot be read, is malformed, or holds a key of small order or one whose secret was
            published.
    """
    name = os.fspath(path)
    text, _ = _read(name)
    try:
        key = VerifyKey(_payload(name, PUBLIC_TAG, text))
    except KeyFileError as error:
        raise KeyFileError(f"{name}: {error}") from error
    _check_key(name, key, text, _render(PUBLIC_TAG, key, key.raw))
    return key


def encode_base64(data: bytes) -> str:
    """Return the one base64 spelling of `data` that `decode_base64` accepts."""
    return base64.b64encode(data).decode("ascii")


def decode_base64(text: str) -> bytes | None:
    """Return the bytes, or None for text that is not base64 in its canonical spelling."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    # b64decode drops stray bits after the last byte, so two spellings would stand for one value.
    return data if encode_base64(data) == text else None


def _render(tag: str, key: VerifyKey, payload: bytes) -> bytes:
    return f"{tag} {key.key_id} {encode_base64(payload)}\n".encode("ascii")


def _payload(name: str, tag: str, text: bytes) -> bytes:
    fields = text.decode("ascii", errors="replace").rstrip("\n").split(" ")
    if not (len(fields) == 3 and fields[0] == tag):
        raise KeyFileError(f"{name} is not a key file, must begin with {tag}")
    payload = decode_base64(fields[2])
    if payload is None:
        raise KeyFileError(f"{name} holds a key that is not canonical base64")
    if not len(payload) == _KEY_BYTES:
        raise KeyFileError(f"{name} holds a key of {len(payload)} bytes, must have {_KEY_BYTES}")
    return payload


def _check_key(name: str, key: VerifyKey, text: bytes, rendered: bytes) -> None:
    if not text == rendered:
        raise KeyFileError(f"{name} is malformed: its key id or its line end does not fit its key")
    if key.raw in _PUBLISHED:
        raise KeyFileError(f"{name} holds a test key: its secret was published")


def _write(name: str, data: bytes, mode: int) -> None:
    try:
        files.publish(name, data, mode)
    except FileExistsError as error:
        raise KeyFileError(f"{name} exists, a key file is never overwritten") from error
    except OSError as error:
        raise KeyFileError(f"cannot write {name}: {error.strerror}") from error


def _read(name: str) -> tuple[bytes, int]:
    try:
        with open(name, "rb") as stream:
            return stream.read(_MAX_FILE_BYTES), stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
    except OSError as error:
        raise KeyFileError(f"cannot read {name}: {error.strerror}") from error
