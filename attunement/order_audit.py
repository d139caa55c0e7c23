"""Holds the recorded orders against the operators' keys, and the decisions against the orders.

What the authority answered is derived again from what it recorded: the order, its signatures, the time and Ψ.
"""

from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

from attunement.charter import Charter, charter_body
from attunement.foreign import printable
from attunement.governance import follow
from attunement.journal import JournalError
from attunement.objections import ASKED_OF_KERNEL, counting_objections, lapsed, misfits, objections
from attunement.order import OrderError, OrderTerms, SignedOrder, terms_of, vote_of
from attunement.order_book import AUTHORISED, COUNTED, ORDER, REFUSED, VOTE, OrderBook
from attunement.replay import Mismatch, was_authorised
from kernel import Entry, Order
from ledger import JsonValue, Kind, Record

_ORDERED = frozenset({"approve", "override", "set_limits"})


class _Doubted(NamedTuple):
    sequence: int
    signed: SignedOrder
    objections: tuple[str, ...]


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
        # Refused by the newest record for what only the kernel's answer can show, if anything does.
        self._doubted: _Doubted | None = None

    def follow(self, record: Record, entry: Entry | None) -> Iterator[Mismatch]:
        """Take in the next record, and yield what is wrong with the order that it holds or answers to."""
        yield from self._resolve_doubt(entry)
        if entry is not None:
            yield from self._judge_decision(record, entry)
            self._granted = None
        elif record.kind is Kind.ENTRY:
            yield from self._judge_record(record)
        try:
            follow(self._book, record)
        except JournalError as error:
            yield Mismatch(record.sequence, "body", f"unreadable ({error})", "a decision, an order or a vote")
        if self._book.charter is not None and self._book.charter is not self._charter:
            self._charter, self._named_at = self._book.charter, record.sequence

    def finish(self) -> Iterator[Mismatch]:
        """Yield what is wrong with the last record, and with the charter that the ledger names last."""
        yield from self._resolve_doubt(None)
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
            for objection in () if terms is None else lapsed(self._book, terms, self._book.timestamp):
                yield Mismatch(record.sequence, "authorised", "1", f"0: {objection}")
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
            elif (body.get("event"), body.get("verdict")) == (ORDER, REFUSED):
                yield from self._judge_refusal(record)
            elif body.get("event") == VOTE:
                yield from self._judge_vote(record, terms_of(body.get("order")))
        except OrderError as error:
            self._granted = None
            # Of what counts, the book says so.
            if body.get("verdict") == REFUSED:
                yield Mismatch(
                    record.sequence, "order", f"unreadable ({error})", "the order that was refused"
                )

    def _judge_order(self, record: Record, signed: SignedOrder) -> Iterator[Mismatch]:
        sequence, body, terms = record.sequence, record.body, signed.terms
        if ASKED_OF_KERNEL[terms.action] in _ORDERED:
            self._granted = terms
        yield from _unlike(sequence, "objections", str(body.get("objections")), "[]")
        found = yield from self._derived(record, signed)
        for objection in found or ():
            yield Mismatch(sequence, "verdict", "'authorised'", f"'refused' ({objection})")

    def _judge_refusal(self, record: Record) -> Iterator[Mismatch]:
        sequence, said = record.sequence, record.body.get("objections")
        if not (isinstance(said, list) and said):
            yield Mismatch(sequence, "objections", ascii(said), "at least one, since the order was refused")
            return
        if record.body.get("order") is None:
            # What was handed in was no order, and is not in the ledger.
            return
        signed = _signed(record.body)
        found = yield from self._derived(record, signed)
        doubted = () if found is None else tuple(str(one) for one in said if one not in found)
        self._doubted = _Doubted(sequence, signed, doubted) if doubted else None

    def _derived(
        self, record: Record, signed: SignedOrder
    ) -> Generator[Mismatch, None, tuple[str, ...] | None]:
        """Return every objection to a recorded order, None if they cannot be derived."""
        sequence, body, terms = record.sequence, record.body, signed.terms
        yield from _unlike(sequence, "action", str(body.get("action")), terms.action.value)
        yield from _unlike(sequence, "order_id", str(body.get("order_id")), terms.order_id)
        now, psi = body.get("now"), body.get("psi")
        latest = record.timestamp if record.clock is None else "9999"
        if not (isinstance(now, str) and self._book.timestamp <= now <= latest):
            yield Mismatch(sequence, "now", ascii(now), "a time between the record before and this one")
            return None
        known: Any = psi if type(psi) is int else None
        return None if self._charter is None else objections(self._charter, self._book, signed, now, known)

    def _resolve_doubt(self, entry: Entry | None) -> Iterator[Mismatch]:
        """Hold an order that was refused for not being what the kernel was asked against that question."""
        doubted, self._doubted = self._doubted, None
        if doubted is None:
            return
        asked = None if entry is None else _asked(entry)
        found = () if asked is None else tuple(misfits(asked, doubted.signed, self._book.alpha))
        for objection in doubted.objections:
            if objection not in found:
                yield Mismatch(doubted.sequence, "objections", ascii(objection), "none that is not derived")

    def _judge_vote(self, record: Record, terms: OrderTerms) -> Iterator[Mismatch]:
        vote, said = vote_of(record.body.get("vote")), record.body.get("objections")
        if self._charter is None:
            return
        found = counting_objections(self._charter, self._book, terms, vote)
        verdict, told = (REFUSED, "; ".join(found)) if found else (COUNTED, "nothing is against it")
        if record.body.get("verdict") != verdict:
            yield Mismatch(
                record.sequence, "verdict", ascii(record.body.get("verdict")), f"{verdict!a} ({told})"
            )
        elif said != list(found):
            yield Mismatch(record.sequence, "objections", ascii(said), ascii(list(found)))


def _asked(entry: Entry) -> Order | None:
    subjects: dict[str, tuple[int, ...]] = {
        "approve": (),
        "override": () if entry.target is None else (entry.target,),
        "set_limits": () if entry.limits is None else tuple(entry.limits),
    }
    if entry.event not in subjects:
        return None
    return Order(entry.event, subjects[entry.event], entry.actor, entry.reason, "")


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
