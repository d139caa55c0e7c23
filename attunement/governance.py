"""Who may order what, and the record of every order: the kernel's authority.

An order counts if enough of the operators signed it for this ledger, as it stands now, and it was not used
before. Whoever asks, each order is recorded with the answer before the kernel acts on it.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

import attrs

from attunement.charter import Charter, charter_body
from attunement.foreign import printable
from attunement.journal import Journal, JournalError, is_of_governance, is_version
from attunement.objections import (
    ASKED_OF_KERNEL,
    counting_objections,
    lapsed,
    later,
    misfits,
    objections,
    standing_objections,
)
from attunement.order import Action, Choice, OrderError, OrderTerms, SignedOrder, Vote, new_nonce
from attunement.order_book import (
    ADOPTED,
    AUTHORISED,
    CHARTER,
    COUNTED,
    ORDER,
    REFUSED,
    SCHEMA,
    VOTE,
    OrderBook,
    choices,
)
from kernel import Entry, MalformedQuantityError, Order
from kernel.quantity import Nano, round_down
from ledger import Head, JsonValue, Ledger, LedgerError, Receipt, Record
from ledger import Kind as RecordKind
from ledger.record import format_utc


class RecordWatcher(Protocol):
    """Is told every record of governance, once it is durable, in the thread that caused it."""

    def on_record(self, body: Mapping[str, JsonValue]) -> None:
        """Take in the body of one durable record."""


class Governance:
    """Appends to a ledger, keeps the book of its orders, and is the authority that the kernel asks.

    Args:
        ledger: Open, and owned by the caller; from now on appended to through this object alone.
        charter: Who governs.
        psi: Returns Ψ of the newest cycle, None when there is none.
        watchers: Told every record of governance.
        clock: Returns the time, with its zone.
    """

    def __init__(
        self,
        ledger: Ledger,
        charter: Charter,
        psi: Callable[[], float | None],
        watchers: Sequence[RecordWatcher] = (),
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._lock = threading.RLock()  # guards the book, so that it follows records in their order
        self._ledger = ledger
        self._journal = Journal(ledger)
        self._psi = psi
        self._watchers = tuple(watchers)
        self._clock = clock
        # Votes that were recorded as refused since the start, so that each is recorded once.
        self._refused: set[tuple[str, Vote]] = set()
        # Why the last order was refused, empty when it was authorised.
        self.objected: tuple[str, ...] = ()
        self.charter = charter
        self.book = OrderBook(charter.order_ttl_s)

    def followed(self, records: Iterable[Record]) -> Iterator[Record]:
        """Yield the records that are in the ledger already, and take each in once it was looked at.

        Raises:
            JournalError: a record says that it holds an order or a vote, and does not.
        """
        for record in records:
            yield record
            follow(self.book, record)

    def append(self, body: Mapping[str, JsonValue]) -> Receipt:
        """Append a record of governance.

        Raises:
            LedgerError: it is not durable.
        """
        with self._lock:
            receipt = self._ledger.append(body)
            self.book.follow(Head(receipt.sequence, receipt.hash_hex), receipt.timestamp, body)
        for watcher in self._watchers:
            watcher.on_record(body)
        return receipt

    def record(self, entry: Entry) -> Receipt:
        """Append a decision of the kernel's.

        Raises:
            LedgerError: it is not durable.
        """
        with self._lock:
            receipt = self._journal.append(entry)
            self.book.follow_entry(Head(receipt.sequence, receipt.hash_hex), receipt.timestamp, entry)
        return receipt

    def adopt_charter(self, actor: str) -> Receipt | None:
        """Record the charter, unless it is the one that the ledger names last, or nobody was ever named.

        So whoever has the ledger knows by whose keys and which rules its orders were judged.

        Raises:
            LedgerError: it is not durable.
        """
        said, named = charter_body(self.charter), charter_body(self.book.charter or Charter())
        # Without operators no order counts, whatever else is said.
        if said == named or not (self.charter.operators or self.book.charter):
            return None
        reason = "charter of the configuration"
        told: dict[str, JsonValue] = {"actor": actor, "event": CHARTER, "reason": reason}
        return self.append({**said, **told, "schema": SCHEMA, "verdict": ADOPTED})

    def draft(self, action: Action, subject: tuple[int, ...], actor: str, reason: str) -> SignedOrder:
        """Return an unsigned order that answers to the ledger as it stands, with the longest life there is.

        Raises:
            OrderError: actor, reason or subject do not fit.
        """
        with self._lock:
            return draft(self.book, self._now(), self.charter.order_ttl_s, action, subject, actor, reason)

    def authorises(self, order: Order) -> bool:
        """Say whether the order's text, its signature, authorises it; record the votes, and the answer."""
        with self._lock:
            try:
                return self._answer(order)
            except LedgerError:
                # Nothing counts that is not recorded. The kernel's own record meets the stopped ledger next,
                # and closes the kernel.
                return False

    def hear(self, signed: SignedOrder) -> bool:
        """Record the votes on a policy, and say whether it waits for more of them and nothing else.

        Raises:
            LedgerError: a vote is not durable.
        """
        with self._lock:
            now = self._now()
            if signed.terms.action is not Action.POLICY or any(
                standing_objections(self.charter, self.book, signed.terms, now)
            ):
                return False
            self._record_votes(signed)
            if any(counting_objections(self.charter, self.book, signed.terms, vote) for vote in signed.votes):
                return False
            votes = self.book.votes(signed.terms.order_id)
            short = self.charter.needed(Action.POLICY) - choices(votes, Choice.FOR)
            return 0 < short <= len(self.charter.operators) - len(votes)

    def _answer(self, order: Order) -> bool:
        try:
            signed = SignedOrder.parse(order.signature)
        except OrderError as error:
            return self._record(order, None, (printable(str(error)),), None, self._now())
        self.hear(signed)
        now, psi = self._now(), self._read_psi()
        unfit = tuple(misfits(order, signed, self.book.alpha))
        underway = self.book.underway
        if underway is not None and underway.order_id == signed.terms.order_id:
            # It was authorised, and its nonce used, by its first step.
            found = (*unfit, *lapsed(self.book, signed.terms, now))
            return self._record(order, signed, found, psi, now) if found else True
        found = (*unfit, *objections(self.charter, self.book, signed, now, psi))
        return self._record(order, signed, found, psi, now)

    def _record_votes(self, signed: SignedOrder) -> None:
        terms, counted = signed.terms, self.book.votes(signed.terms.order_id)
        for vote in signed.votes:
            if vote in counted or (terms.order_id, vote) in self._refused:
                continue
            found = counting_objections(self.charter, self.book, terms, vote)
            if found:
                self._refused.add((terms.order_id, vote))
            operator = self.charter.operator(vote.key_id)
            objecting: list[JsonValue] = list(found)
            self.append(
                {
                    "actor": "" if operator is None else printable(operator.name),
                    "event": VOTE,
                    "objections": objecting,
                    "order": terms.body(),
                    "order_id": terms.order_id,
                    "reason": terms.reason,
                    "schema": SCHEMA,
                    "verdict": REFUSED if found else COUNTED,
                    "vote": vote.body(),
                }
            )

    def _record(
        self, order: Order, signed: SignedOrder | None, found: tuple[str, ...], psi: Nano | None, now: str
    ) -> bool:
        objecting: list[JsonValue] = list(found)
        votes: list[JsonValue] = [] if signed is None else [vote.body() for vote in signed.votes]
        self.append(
            {
                "action": order.action if signed is None else signed.terms.action.value,
                "actor": printable(order.actor),
                "event": ORDER,
                "now": now,
                "objections": objecting,
                "order": None if signed is None else signed.terms.body(),
                "order_id": None if signed is None else signed.terms.order_id,
                "psi": psi,
                "psi_min": self.charter.psi_min,
                "reason": printable(order.reason),
                "schema": SCHEMA,
                "signatures": votes,
                "verdict": REFUSED if found else AUTHORISED,
            }
        )
        self.objected = found
        return not found

    def _now(self) -> str:
        # The ledger's time never goes back, so that a clock set back revives no order.
        return max(format_utc(self._clock()), self.book.timestamp)

    def _read_psi(self) -> Nano | None:
        figure = self._psi()
        try:
            return None if figure is None else round_down("psi", figure)
        except MalformedQuantityError:
            return None


@attrs.frozen
class GovernedJournal:
    """What the kernel calls its ledger: the book takes in each decision before the kernel acts on it."""

    governance: Governance

    def append(self, entry: Entry) -> Receipt:
        """Make the entry durable.

        Raises:
            LedgerError: it is not durable.
        """
        return self.governance.record(entry)


def draft(
    book: OrderBook,
    now: str,
    ttl_s: float,
    action: Action,
    subject: tuple[int, ...],
    actor: str,
    reason: str,
) -> SignedOrder:
    """Return an unsigned order that answers to a book's ledger as it stands.

    Raises:
        OrderError: actor, reason or subject do not fit, or the ledger is empty.
    """
    if book.head is None:
        raise OrderError("the ledger has no record that an order could answer to")
    expires = later(now, ttl_s)
    return SignedOrder(
        OrderTerms(action, subject, actor, reason, book.head, book.latch, new_nonce(), expires)
    )


def kernel_order(signed: SignedOrder, subject: tuple[int, ...]) -> Order:
    """Return what the kernel is asked on the strength of a signed order."""
    terms = signed.terms
    return Order(ASKED_OF_KERNEL[terms.action], subject, terms.actor, terms.reason, signed.encode())


def follow(book: OrderBook, record: Record) -> None:
    """Have a book take in a record as it was read.

    Raises:
        JournalError: it says that it holds a decision, an order, a vote or a charter, and does not; or it is
            of a version that is not known here.
    """
    head, body = Head(record.sequence, record.hash_hex), record.body
    try:
        if is_of_governance(body):
            _check_version(body.get("schema"))
        book.follow(head, record.timestamp, body if record.kind is RecordKind.ENTRY else None)
    except OrderError as error:
        raise JournalError(f"record {record.sequence} holds no {body['event']}: {error}") from error
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise JournalError(f"record {record.sequence} holds no kernel entry: {error}") from error


def _check_version(schema: JsonValue) -> None:
    if not is_version(schema, {SCHEMA}):
        raise OrderError(f"schema is {ascii(schema)[:40]}, must be {SCHEMA}")
