"""Holds the recorded orders against the operators' keys, and the decisions against the orders.

What the authority answered is derived again from what it recorded: the order, its signatures, the time and Ψ.
"""

from collections.abc import Iterator
from typing import Any

from attunement.charter import Charter, charter_body
from attunement.foreign import printable
from attunement.governance import follow
from attunement.journal import JournalError
from attunement.objections import ASKED_OF_KERNEL, objections, vote_objections
from attunement.order import OrderError, OrderTerms, SignedOrder, terms_of, vote_of
from attunement.order_book import AUTHORISED, COUNTED, ORDER, VOTE, OrderBook
from attunement.replay import Mismatch, was_authorised
from kernel import Entry
from ledger import JsonValue, Kind, Record

_ORDERED = frozenset({"approve", "override", "set_limits"})


class OrderAuditor:
    """Follows a ledger's records beside a replay.

    Args:
        charter: Who may order now, as it is known outside of the ledger; it holds until the ledger names a
            charter, and must be the one that the ledger names last. None when it is not known: until the
            ledger names one, decisions are held against orders and no signature is verified.
    """

    def __init__(self, charter: Charter | None) -> None:
        self._known = charter
        self._charter = charter
        self._named_at: int | None = None
        self._book = OrderBook((charter or Charter()).order_ttl_s)
        # Authorised by the newest records, and not acted on yet.
        self._granted: OrderTerms | None = None
        # Authorised, and moving α step by step.
        self._moving: OrderTerms | None = None

    def follow(self, record: Record, entry: Entry | None) -> Iterator[Mismatch]:
        """Take in the next record, and yield what is wrong with the order that it holds or answers to."""
        if entry is not None:
            yield from self._judge_decision(record, entry)
            self._granted = None
        elif record.kind is Kind.ENTRY:
            yield from self._judge_record(record)
        try:
            follow(self._book, record)
        except (JournalError, KeyError, TypeError, ValueError) as error:
            yield Mismatch(record.sequence, "body", f"unreadable ({error})", "a decision, an order or a vote")
        if self._book.charter is not None and self._book.charter is not self._charter:
            self._charter, self._named_at = self._book.charter, record.sequence

    def finish(self) -> Iterator[Mismatch]:
        """Yield what is wrong with the charter that the ledger names last."""
        known, named = self._known, self._book.charter
        if known is not None and named is not None and charter_body(known) != charter_body(named):
            yield Mismatch(
                self._named_at or 0, "charter", _operators(named), f"{_operators(known)}, as configured"
            )

    def _judge_decision(self, record: Record, entry: Entry) -> Iterator[Mismatch]:
        if entry.event not in _ORDERED or not was_authorised(entry):
            return
        terms, underway = self._granted, self._book.underway
        moving = self._moving
        if terms is None and underway is not None and moving is not None:
            terms = moving if moving.order_id == underway.order_id else None
        if terms is None:
            yield Mismatch(record.sequence, "authorised", "1", "0: no authorised order comes before it")
            return
        self._moving = terms
        yield from _unlike(record.sequence, "event", entry.event, ASKED_OF_KERNEL[terms.action])
        yield from _unlike(record.sequence, "actor", entry.actor, printable(terms.actor))
        yield from _unlike(record.sequence, "reason", entry.reason, printable(terms.reason))
        if entry.event == "override":
            yield from _off_the_way(record.sequence, entry, terms.subject[-1])
        elif entry.event == "set_limits":
            adopted = () if entry.limits is None else tuple(entry.limits)
            yield from _unlike(record.sequence, "limits", str(adopted), str(terms.subject))

    def _judge_record(self, record: Record) -> Iterator[Mismatch]:
        body = record.body
        try:
            if (body.get("event"), body.get("verdict")) == (ORDER, AUTHORISED):
                yield from self._judge_order(record, _signed(body))
            elif (body.get("event"), body.get("verdict")) == (VOTE, COUNTED):
                yield from self._judge_vote(record, terms_of(body.get("order")))
        except OrderError:
            # The book cannot read it either, and says so.
            self._granted = None

    def _judge_order(self, record: Record, signed: SignedOrder) -> Iterator[Mismatch]:
        sequence, body, terms = record.sequence, record.body, signed.terms
        if ASKED_OF_KERNEL[terms.action] in _ORDERED:
            self._granted = terms
        yield from _unlike(sequence, "action", str(body.get("action")), terms.action.value)
        yield from _unlike(sequence, "order_id", str(body.get("order_id")), terms.order_id)
        yield from _unlike(sequence, "objections", str(body.get("objections")), "[]")
        now, psi = body.get("now"), body.get("psi")
        latest = record.timestamp if record.clock is None else "9999"
        if not (isinstance(now, str) and self._book.timestamp <= now <= latest):
            yield Mismatch(sequence, "now", ascii(now), "a time between the record before and this one")
            return
        if self._charter is not None:
            known: Any = psi if type(psi) is int else None
            for objection in objections(self._charter, self._book, signed, now, known):
                yield Mismatch(sequence, "verdict", "'authorised'", f"'refused' ({objection})")

    def _judge_vote(self, record: Record, terms: OrderTerms) -> Iterator[Mismatch]:
        vote = vote_of(record.body.get("vote"))
        if self._charter is not None:
            for objection in vote_objections(self._charter, terms, vote):
                yield Mismatch(record.sequence, "verdict", "'counted'", f"'refused' ({objection})")


def _signed(body: dict[str, JsonValue]) -> SignedOrder:
    votes = body.get("signatures")
    if not isinstance(votes, list):
        raise OrderError("signatures must be a list")
    return SignedOrder(terms_of(body.get("order")), tuple(map(vote_of, votes)))


def _operators(charter: Charter) -> str:
    keys = ", ".join(f"{printable(one.name)} {one.key.key_id}" for one in charter.operators)
    return f"{charter.quorum} of ({keys}), psi_min {charter.psi_min}, order_ttl {charter.order_ttl_s:g} s"


def _unlike(sequence: int, field: str, recorded: str, ordered: str) -> Iterator[Mismatch]:
    if recorded != ordered:
        yield Mismatch(sequence, field, ascii(recorded), f"{ordered!a}, as it was ordered")


def _off_the_way(sequence: int, entry: Entry, target: int) -> Iterator[Mismatch]:
    alpha, reached = entry.before.alpha, entry.target
    if reached is None or not min(alpha, target) <= reached <= max(alpha, target):
        yield Mismatch(
            sequence, "target", str(reached), f"on the way from {alpha} to {target}, as it was ordered"
        )
