"""One record: how it is written, and how it is read back.

A record is stored as the canonical bytes of an object: they are its leaf in the Merkle tree. Its members, in
the order in which they stand:

    body       what the caller says
    clock      the reading of a clock that went back; absent otherwise
    key        id of the key that signed
    kind       what `Kind` lists
    prev       hex leaf hash (RFC 6962) of the record before; 64 zeros in the first record
    seq        0, 1, 2, ...
    signature  base64 of Ed25519 over the domain prefix and the canonical bytes of the other members
    timestamp  UTC, the clock's reading or the last record's timestamp, whichever is later
    v          version of this format
"""

import enum
import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple, TypeAlias

import attrs

from ledger import canonical
from ledger.canonical import Canonical, JsonValue
from ledger.errors import CanonicalError, Fault
from ledger.keys import KEY_ID_CHARACTERS, SIGNATURE_BYTES, SigningKey, encode_base64
from ledger.merkle import leaf_hash

Body: TypeAlias = Mapping[str, JsonValue] | Canonical
"""What a record says: an object, or the bytes of one."""

FORMAT: Final = "lambda-attunement-ledger"
VERSION: Final = 1
SIGNATURE_DOMAIN: Final = b"lambda-attunement/ledger/record/v1\0"

_HASH_CHARACTERS = 64
_HEX = {count: re.compile(f"[0-9a-f]{{{count}}}") for count in (_HASH_CHARACTERS, KEY_ID_CHARACTERS)}
# 64 bytes in base64: of the last digit only two bits are used, the others must be 0.
_SIGNATURE = re.compile("[A-Za-z0-9+/]{85}[AQgw]==")
_TIME = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{6}Z")
_WITHOUT_CLOCK = {"body", "key", "kind", "prev", "seq", "signature", "timestamp", "v"}
_MEMBERS = (_WITHOUT_CLOCK, {*_WITHOUT_CLOCK, "clock"})

# Both have one length, since a signature always takes 88 characters and a timestamp 27.
_SIGNATURE_LENGTH = len('"signature":"",') + len(encode_base64(bytes(SIGNATURE_BYTES)))
_TAIL_LENGTH = len('"timestamp":"2000-01-01T00:00:00.000000Z","v":1}')

# What all members but the body can take at most: a clock, the longest kind, and a sequence of 19 digits.
RECORD_OVERHEAD: Final = 400
MAX_BODY_BYTES: Final = canonical.MAX_BYTES - RECORD_OVERHEAD


class Kind(enum.Enum):
    """Who speaks in the body of a record."""

    # The first record: what the ledger is, and the keys that write it.
    GENESIS = "genesis"
    # What the caller says.
    ENTRY = "entry"
    # A torn record was cut off; length and SHA-256 of what was set aside.
    RECOVERY = "recovery"
    # The successor of the key that signs this record.
    ROTATION = "rotation"
    # The successor of the log's key.
    LOG_ROTATION = "log_rotation"
    # A writer took over the row of the head.
    EPOCH = "epoch"
    # The writer could not write a record, and stopped.
    STOP = "stop"


_KINDS: Final = {kind.value: kind for kind in Kind}
# Reading an enum's value takes longer than looking it up.
_WORDS: Final = {kind: kind.value for kind in Kind}


@attrs.frozen
class Record:
    """A record as it was read.

    `timestamp` and `clock` are UTC texts, `YYYY-MM-DDTHH:MM:SS.ffffffZ`; `stored` are its bytes, and
    `hash_hex` is their leaf hash, which the next record names as its `previous_hash`.
    """

    sequence: int
    timestamp: str
    clock: str | None
    previous_hash: str
    key_id: str
    kind: Kind
    body: dict[str, JsonValue]
    signature: bytes
    hash_hex: str
    stored: bytes = attrs.field(repr=False)


class Tip(NamedTuple):
    """The end of a ledger: all that the next record must follow.

    `sequence` and `hash_hex` are those of the last record, `end` is the length of the journal in bytes.
    """

    sequence: int
    hash_hex: str
    timestamp: str
    end: int


@attrs.frozen
class Head:
    """The last record's place and its leaf hash: what an auditor remembers to notice a cut tail.

    Raises:
        ValueError: the sequence is negative.
    """

    sequence: int = attrs.field(validator=attrs.validators.ge(0))
    hash_hex: str


EMPTY: Final = Tip(sequence=-1, hash_hex="0" * _HASH_CHARACTERS, timestamp="", end=0)


class RecordError(Exception):
    """Bytes are not a record, or not the one that belongs there."""

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault
        self.detail = detail


def encode_body(body: Body) -> bytes:
    """Return the beginning of a record, which needs no place in the ledger yet.

    Raises:
        CanonicalError: the body has no canonical bytes, or a record of it might exceed `MAX_BYTES`.
    """
    begun = b'{"body":' + body if isinstance(body, bytes) else canonical.encode({"body": dict(body)})[:-1]
    if len(begun) <= MAX_BODY_BYTES:
        return begun
    raise CanonicalError(f"body takes {len(begun)} bytes, must not exceed {MAX_BODY_BYTES}")


def seal(tip: Tip, kind: Kind, begun: bytes, now: str, key: SigningKey) -> tuple[bytes, Tip]:
    """Sign a body as the record after `tip`.

    Args:
        tip: the end of the ledger so far.
        kind: who speaks.
        begun: the body, as `encode_body` returns it.
        now: the clock's reading, in the form of `format_utc`.
        key: the key that signs records.

    Returns:
        The record's bytes, and the end of the ledger; `end` is that of the old tip, since what a record takes
        in the journal is the journal's affair.
    """
    # The text form of the time sorts as the time does.
    timestamp, clock = (now, "") if now >= tip.timestamp else (tip.timestamp, f'"clock":"{now}",')
    sequence = tip.sequence + 1
    head = begun + (
        f',{clock}"key":"{key.verify_key.key_id}","kind":"{_WORDS[kind]}",'
        f'"prev":"{tip.hash_hex}","seq":{sequence},'
    ).encode("ascii")
    tail = f'"timestamp":"{timestamp}","v":{VERSION}}}'.encode("ascii")
    signature = b2a_base64(key.sign(SIGNATURE_DOMAIN + head + tail), newline=False)
    stored = b'%b"signature":"%b",%b' % (head, signature, tail)
    return stored, Tip(sequence, leaf_hash(stored).hex(), timestamp, tip.end)


def signed_bytes(stored: bytes) -> bytes:
    """Return what the signature in a well-formed record (one that `parse` took) is a signature of."""
    tail = len(stored) - _TAIL_LENGTH
    return SIGNATURE_DOMAIN + stored[: tail - _SIGNATURE_LENGTH] + stored[tail:]


def parse(stored: bytes) -> Record:
    """Read one record. Its form is checked; its signature and its place are not.

    Raises:
        RecordError: it is not canonical, or a member is missing, unknown or malformed.
    """
    try:
        members = canonical.parse(stored)
    except CanonicalError as error:
        raise RecordError(Fault.CANONICAL_FORM, str(error)) from error
    if not (isinstance(members, dict) and members.keys() in _MEMBERS):
        raise RecordError(Fault.CANONICAL_FORM, "the members are not those of a record")
    version = members["v"]
    if not (type(version) is int and version == VERSION):
        raise RecordError(Fault.CANONICAL_FORM, f"v is {ascii(version)[:80]}, must be {VERSION}")
    return Record(
        sequence=_sequence(members["seq"]),
        timestamp=_time("timestamp", members["timestamp"]),
        clock=_time("clock", members["clock"]) if "clock" in members else None,
        previous_hash=_hex("prev", members["prev"], _HASH_CHARACTERS),
        key_id=_hex("key", members["key"], KEY_ID_CHARACTERS),
        kind=_kind(members["kind"]),
        body=_body(members["body"]),
        signature=_signature(members["signature"]),
        hash_hex=leaf_hash(stored).hex(),
        stored=stored,
    )


def format_utc(moment: datetime) -> str:
    """Return `YYYY-MM-DDTHH:MM:SS.ffffffZ` of a time that knows its zone.

    Raises:
        ValueError: the time has no zone; the process's own zone is never assumed.
    """
    if moment.tzinfo is not UTC:
        if moment.utcoffset() is None:
            raise ValueError(f"{moment.isoformat()} has no time zone")
        moment = moment.astimezone(UTC)
    # Without its zone, which the Z names: to spell that and to take it off again takes twice as long.
    return moment.replace(tzinfo=None).isoformat("T", "microseconds") + "Z"


def _time(name: str, value: JsonValue) -> str:
    # fromisoformat reads many spellings, and zones.
    if isinstance(value, str) and _TIME.fullmatch(value):
        try:
            datetime.fromisoformat(value[:-1])
        except ValueError as error:
            raise RecordError(Fault.CANONICAL_FORM, f"{name} is not a UTC time") from error
        return value
    raise RecordError(Fault.CANONICAL_FORM, f"{name} is not a UTC time")


def _sequence(value: JsonValue) -> int:
    if type(value) is int and value >= 0:
        return value
    raise RecordError(Fault.CANONICAL_FORM, "seq is not a whole number from 0 on")


def _hex(name: str, value: JsonValue, characters: int) -> str:
    if isinstance(value, str) and _HEX[characters].fullmatch(value):
        return value
    raise RecordError(Fault.CANONICAL_FORM, f"{name} is not {characters} hex digits in lower case")


def _kind(value: JsonValue) -> Kind:
    kind = _KINDS.get(value) if isinstance(value, str) else None
    if kind is not None:
        return kind
    raise RecordError(Fault.CANONICAL_FORM, "kind is not known")


def _body(value: JsonValue) -> dict[str, JsonValue]:
    if isinstance(value, dict):
        return value
    raise RecordError(Fault.CANONICAL_FORM, "body is not an object")


def _signature(value: JsonValue) -> bytes:
    if isinstance(value, str) and _SIGNATURE.fullmatch(value):
        return a2b_base64(value)
    raise RecordError(Fault.CANONICAL_FORM, f"signature is not {SIGNATURE_BYTES} bytes in canonical base64")
