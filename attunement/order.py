"""An order as text: what is asked, what it answers to, and who signed it.

The text is the canonical JSON (`ledger.canonical`) of

    order       the terms: action, actor, expires, head, latch, nonce, reason, subject, v
    signatures  one {choice, key, signature} for each key, in the order of the key ids

A signature is Ed25519 over a domain prefix and the canonical bytes of the choice and the terms, so that
operators sign one after the other, apart from one another, and none of them signs for the ledger.
"""

import enum
import secrets
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final, Self, TypeVar

import attrs

from attunement.config_forms import WORDS
from kernel import Limits
from ledger import CanonicalError, Head, JsonValue, SigningKey, VerifyKey
from ledger.canonical import encode, parse
from ledger.keys import KEY_ID_CHARACTERS, SIGNATURE_BYTES, decode_base64, encode_base64
from ledger.record import format_utc

VERSION: Final = 1
ORDER_DOMAIN: Final = b"lambda-attunement/order/v1\0"
SIGNATURES_MAX: Final = 64

_NONCE_BYTES = 16
_HASH_CHARACTERS = 64
_INTEGER_LAST = 2**63 - 1
_HEX = frozenset("0123456789abcdef")
MemberT = TypeVar("MemberT", bound=enum.Enum)
_TERMS = {"action", "actor", "expires", "head", "latch", "nonce", "reason", "subject", "v"}


class OrderError(ValueError):
    """A text is not an order, or the parts of one do not make an order."""


class Action(enum.Enum):
    """What is asked, and of what subject (nano integers and counts)."""

    # Stop the optimizers; no subject.
    FREEZE = "freeze"
    # Leave FROZEN; no subject.
    UNFREEZE = "unfreeze"
    # Leave EMERGENCY; no subject.
    APPROVE = "approve"
    # Go back to a committed α: (sequence of the record that committed it, α).
    ROLLBACK = "rollback"
    # Go to an α of one's own: (α,).
    OVERRIDE = "override"
    # Adopt other limits: all of them, in the order of `Limits`.
    POLICY = "policy"
    # Make a committed α the one that a new history begins at: (sequence of the record, α).
    PERSIST = "persist"


SUBJECT_FIGURES: Final[dict[Action, int]] = {
    Action.FREEZE: 0,
    Action.UNFREEZE: 0,
    Action.APPROVE: 0,
    Action.ROLLBACK: 2,
    Action.OVERRIDE: 1,
    Action.POLICY: len(Limits._fields),
    Action.PERSIST: 2,
}


class Choice(enum.Enum):
    """What a signature says to an order."""

    FOR = "for"
    AGAINST = "against"


@attrs.frozen
class OrderTerms:
    """What is signed.

    Attributes:
        action: What is asked.
        subject: What it is done to, see `Action`.
        actor: Who asks.
        reason: Why.
        head: A head of the ledger that the order answers to.
        latch: Sequence of the record that latched the freeze or emergency it was given in, None outside one.
        nonce: 32 hex digits that no other order has.
        expires: UTC time, in the ledger's form, from which on it is void.

    Raises:
        OrderError: naming what does not fit.
    """

    action: Action
    subject: tuple[int, ...]
    actor: str
    reason: str
    head: Head
    latch: int | None
    nonce: str
    expires: str

    def __attrs_post_init__(self) -> None:
        figures = SUBJECT_FIGURES[self.action]
        if not (len(self.subject) == figures and all(map(_is_figure, self.subject))):
            raise OrderError(f"subject of {self.action.value} must be {figures} whole numbers")
        check_words(self.actor, self.reason)
        if not (_is_count(self.head.sequence) and _is_hex(self.head.hash_hex, _HASH_CHARACTERS)):
            raise OrderError(f"head must be a sequence and {_HASH_CHARACTERS} hex digits in lower case")
        if not (self.latch is None or _is_count(self.latch)):
            raise OrderError("latch must be null or a sequence")
        if not _is_hex(self.nonce, 2 * _NONCE_BYTES):
            raise OrderError(f"nonce must be {2 * _NONCE_BYTES} hex digits in lower case")
        if not _is_utc(self.expires):
            raise OrderError("expires must be a UTC time like 2026-03-01T00:00:00.000000Z")

    @property
    def order_id(self) -> str:
        """Hex SHA-256 of the canonical bytes: what votes and records name the order by."""
        return sha256(ORDER_DOMAIN + encode(self.body())).hexdigest()

    def body(self) -> dict[str, JsonValue]:
        """Return the terms as JSON values."""
        return {
            "action": self.action.value,
            "actor": self.actor,
            "expires": self.expires,
            "head": {"hash": self.head.hash_hex, "sequence": self.head.sequence},
            "latch": self.latch,
            "nonce": self.nonce,
            "reason": self.reason,
            "subject": list(self.subject),
            "v": VERSION,
        }

    def signed_bytes(self, choice: Choice) -> bytes:
        """Return what a signature with this choice is a signature of."""
        return ORDER_DOMAIN + encode({"choice": choice.value, "order": self.body()})


@attrs.frozen
class Vote:
    """One operator's signature."""

    key_id: str
    choice: Choice
    signature: bytes

    def body(self) -> dict[str, JsonValue]:
        """Return the vote as JSON values."""
        return {
            "choice": self.choice.value,
            "key": self.key_id,
            "signature": encode_base64(self.signature),
        }

    def holds(self, key: VerifyKey, terms: OrderTerms) -> bool:
        """Say whether it is this key's signature of these terms."""
        return key.key_id == self.key_id and key.verifies(self.signature, terms.signed_bytes(self.choice))


@attrs.frozen
class SignedOrder:
    """Terms with the votes on them: at most one for each key, in the order of the key ids."""

    terms: OrderTerms
    votes: tuple[Vote, ...] = ()

    def __attrs_post_init__(self) -> None:
        keys = [vote.key_id for vote in self.votes]
        if not (keys == sorted(set(keys)) and len(keys) <= SIGNATURES_MAX):
            raise OrderError(f"signatures must be at most {SIGNATURES_MAX}, one for each key, in order")

    def with_vote(self, vote: Vote) -> Self:
        """Return the order with a vote that takes the place of an earlier one by the same key."""
        others = [other for other in self.votes if other.key_id != vote.key_id]
        return attrs.evolve(self, votes=tuple(sorted([*others, vote], key=lambda one: one.key_id)))

    def encode(self) -> str:
        """Return the canonical text."""
        votes: list[JsonValue] = [vote.body() for vote in self.votes]
        return encode({"order": self.terms.body(), "signatures": votes}).decode("utf-8")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the order whose canonical text this is; signatures are not verified.

        Raises:
            OrderError: it is not canonical, or a member is missing, unknown or malformed.
        """
        try:
            members = parse(text.encode("utf-8"))
        except (CanonicalError, UnicodeEncodeError) as error:
            raise OrderError(f"not an order: {error}") from error
        if not (isinstance(members, dict) and members.keys() == {"order", "signatures"}):
            raise OrderError("not an order: the members must be order and signatures")
        signatures = members["signatures"]
        if not isinstance(signatures, list):
            raise OrderError("signatures must be a list")
        return cls(terms_of(members["order"]), tuple(map(vote_of, signatures)))


def sign_order(key: SigningKey, order: SignedOrder, choice: Choice = Choice.FOR) -> SignedOrder:
    """Return the order with one more vote, by an operator's own key."""
    signature = key.sign(order.terms.signed_bytes(choice))
    return order.with_vote(Vote(key.verify_key.key_id, choice, signature))


def check_words(actor: str, reason: str) -> None:
    """Hold who asks, and why, to what can stand in an order.

    Raises:
        OrderError: one of them is blank, too long, or does not print.
    """
    for name, text in (("actor", actor), ("reason", reason)):
        if not WORDS.fits(text):
            raise OrderError(f"{name} must be {WORDS.words}")


def new_nonce() -> str:
    """Return 32 hex digits that nobody can guess."""
    return secrets.token_hex(_NONCE_BYTES)


def terms_of(stored: JsonValue) -> OrderTerms:
    """Return the terms that `OrderTerms.body` gave.

    Raises:
        OrderError: they are not that.
    """
    if not (isinstance(stored, dict) and stored.keys() == _TERMS):
        raise OrderError(f"order must have the members {', '.join(sorted(_TERMS))}")
    version, head, subject, latch = (stored[name] for name in ("v", "head", "subject", "latch"))
    if not (type(version) is int and version == VERSION):
        raise OrderError(f"v is {version}, must be {VERSION}")
    if not (isinstance(head, dict) and head.keys() == {"hash", "sequence"} and _is_count(head["sequence"])):
        raise OrderError("head must have a hash and a sequence")
    if not isinstance(subject, list):
        raise OrderError("subject must be a list of whole numbers")
    figures: Any = tuple(subject)
    sequence: Any = head["sequence"]
    since: Any = latch
    return OrderTerms(
        action=_member(Action, "action", stored["action"]),
        subject=figures,
        actor=_text("actor", stored["actor"]),
        reason=_text("reason", stored["reason"]),
        head=Head(sequence, _text("head.hash", head["hash"])),
        latch=since,
        nonce=_text("nonce", stored["nonce"]),
        expires=_text("expires", stored["expires"]),
    )


def vote_of(stored: JsonValue) -> Vote:
    """Return the vote that `Vote.body` gave.

    Raises:
        OrderError: it is not that.
    """
    if not (isinstance(stored, dict) and stored.keys() == {"choice", "key", "signature"}):
        raise OrderError("a signature must have the members choice, key, signature")
    key_id, signature = stored["key"], decode_base64(_text("signature", stored["signature"]))
    if not (isinstance(key_id, str) and _is_hex(key_id, KEY_ID_CHARACTERS)):
        raise OrderError(f"key must be {KEY_ID_CHARACTERS} hex digits in lower case")
    if signature is None or len(signature) != SIGNATURE_BYTES:
        raise OrderError(f"signature must be {SIGNATURE_BYTES} bytes in canonical base64")
    return Vote(key_id, _member(Choice, "choice", stored["choice"]), signature)


def _member(kind: type[MemberT], name: str, stored: JsonValue) -> MemberT:
    for member in kind:
        if member.value == stored:
            return member
    raise OrderError(f"{name} must be one of {', '.join(str(member.value) for member in kind)}")


def _text(name: str, stored: JsonValue) -> str:
    if isinstance(stored, str):
        return stored
    raise OrderError(f"{name} must be a text")


def _is_figure(value: object) -> bool:
    return type(value) is int and -_INTEGER_LAST <= value <= _INTEGER_LAST


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= _INTEGER_LAST


def _is_hex(text: str, characters: int) -> bool:
    return len(text) == characters and _HEX.issuperset(text)


def _is_utc(text: str) -> bool:
    try:
        moment = datetime.fromisoformat(text.removesuffix("Z"))
    except ValueError:
        return False
    # fromisoformat reads many spellings, and times with a zone of their own.
    return moment.tzinfo is None and format_utc(moment.replace(tzinfo=UTC)) == text
