"""Who may order what, and the record of every order: the kernel's authority.

An order counts if enough of the operators signed it for this ledger, as it stands now, and it was not used
before. Whoever asks, each order is recorded with the answer before the kernel acts on it.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

import attrs

from attunement.config_schema import ROOT, Config, ConfigError
from attunement.foreign import printable
from attunement.journal import Journal, JournalError
from attunement.order import Action, Choice, OrderError, OrderTerms, SignedOrder, Vote, new_nonce
from attunement.order_book import AUTHORISED, COUNTED, ORDER, REFUSED, VOTE, OrderBook, choices
from kernel import Entry, MalformedQuantityError, Mode, Order
from kernel.quantity import NANO, Nano, round_down, round_nearest, to_float
from ledger import Head, JsonValue, Ledger, LedgerError, Receipt, Record, VerifyKey, load_public
from ledger import Kind as RecordKind
from ledger.record import format_utc

SCHEMA = 1

ASKED_OF_KERNEL: dict[Action, str] = {
    Action.FREEZE: "freeze",
    Action.UNFREEZE: "approve",
    Action.APPROVE: "approve",
    Action.ROLLBACK: "override",
    Action.OVERRIDE: "override",
    Action.POLICY: "set_limits",
    Action.PERSIST: "persist",
}
"""The kernel's action that an order authorises; to persist is not the kernel's affair."""

_HALF = Nano(NANO // 2)
_LEAVES = {Action.UNFREEZE: Mode.FROZEN, Action.APPROVE: Mode.EMERGENCY}


class RecordWatcher(Protocol):
    """Is told every record of governance, once it is durable, in the thread that caused it."""

    def on_record(self, body: Mapping[str, JsonValue]) -> None: ...


@attrs.frozen
class Operator:
    """One who may sign orders."""

    name: str
    key: VerifyKey


@attrs.frozen
class Charter:
    """Who governs, and by which rules.

    Attributes:
        operators: Who may sign; nobody may order when there are none.
        quorum: How many of them an order needs; a freeze needs one.
        psi_min: Smallest Ψ, nano, at which a policy is adopted.
        order_ttl_s: Longest life of an order, seconds.

    Raises:
        ConfigError: two operators have one name or one key, or there are fewer than the quorum.
    """

    operators: tuple[Operator, ...] = ()
    quorum: int = 1
    psi_min: Nano = _HALF
    order_ttl_s: float = 3600.0

    def __attrs_post_init__(self) -> None:
        for what, values in (
            ("name", [one.name for one in self.operators]),
            ("key", [one.key.key_id for one in self.operators]),
        ):
            twice = sorted({value for value in values if values.count(value) > 1})
            if twice:
                raise ConfigError(f"{ROOT}.governance.operators has the {what} {twice[0]} twice")
        if self.operators and not 1 <= self.quorum <= len(self.operators):
            raise ConfigError(
                f"{ROOT}.governance.quorum is {self.quorum}, must lie in [1, {len(self.operators)}] "
                "(the number of operators)"
            )

    def operator(self, key_id: str) -> Operator | None:
        """Return the operator with this key, None if there is none."""
        return next((one for one in self.operators if one.key.key_id == key_id), None)

    def needed(self, action: Action) -> int:
        """Return how many operators must be for an order."""
        return 1 if action is Action.FREEZE else self.quorum


NOBODY: Final = Charter()
"""Nobody may order."""


def load_charter(config: Config) -> Charter:
    """Return the charter that a configuration describes.

    Raises:
        KeyFileError: an operator's public key cannot be used.
        ConfigError: see `Charter`.
    """
    governance = config.governance
    return Charter(
        tuple(Operator(one.name, load_public(Path(one.key_path))) for one in governance.operators),
        governance.quorum,
        round_nearest("psi_min", governance.psi_min),
        governance.order_ttl,
    )


def objections(
    charter: Charter, book: OrderBook, signed: SignedOrder, now: str, psi: Nano | None
) -> tuple[str, ...]:
    """Return every reason why an order does not count now, none if it does.

    Args:
        charter: Who governs.
        book: What the ledger says so far.
        signed: The order.
        now: UTC time in the ledger's form.
        psi: Ψ of the newest cycle, nano; None when unknown.
    """
    terms = signed.terms
    votes = book.votes(terms.order_id) if terms.action is Action.POLICY else signed.votes
    return (
        *standing_objections(charter, book, terms, now),
        *(objection for vote in signed.votes for objection in vote_objections(charter, terms, vote)),
        *_quorum_objections(charter, terms.action, votes),
        *_subject_objections(charter, book, terms, psi),
    )


def standing_objections(charter: Charter, book: OrderBook, terms: OrderTerms, now: str) -> Iterator[str]:
    """Yield why terms do not answer to the ledger as it stands, whoever signed them."""
    yield from _lapsed(book, terms, now)
    if not terms.expires <= _later(now, charter.order_ttl_s):
        yield f"expires at {terms.expires}, must be within {charter.order_ttl_s:g} s of {now}"
    if book.is_used(terms.nonce):
        yield f"nonce {terms.nonce} was used"
    head = terms.head
    if not book.was_head(head, now):
        yield (
            f"head {head.sequence}:{head.hash_hex[:16]} was no head of this ledger in the last "
            f"{charter.order_ttl_s:g} s"
        )
    if not head.sequence >= book.era:
        yield f"head {head.sequence} is older than record {book.era}, which changed the latch or the policy"


def vote_objections(charter: Charter, terms: OrderTerms, vote: Vote) -> Iterator[str]:
    """Yield why a vote is not an operator's."""
    operator = charter.operator(vote.key_id)
    if operator is None:
        yield f"key {vote.key_id} is no operator's"
    elif not vote.holds(operator.key, terms):
        yield f"it is not a signature of this order by {printable(operator.name)}"


def _lapsed(book: OrderBook, terms: OrderTerms, now: str) -> Iterator[str]:
    if not now <= terms.expires:
        yield f"expired at {terms.expires}, now it is {now}"
    if terms.latch != book.latch:
        yield f"latch is {_named(terms.latch)}, must be {_named(book.latch)}"


def _quorum_objections(charter: Charter, action: Action, votes: tuple[Vote, ...]) -> Iterator[str]:
    known = tuple(vote for vote in votes if charter.operator(vote.key_id) is not None)
    count, needed, against = (
        choices(known, Choice.FOR),
        charter.needed(action),
        choices(known, Choice.AGAINST),
    )
    if not (charter.operators and count >= needed):
        yield f"{count} of {len(charter.operators)} operators are for it, must be {needed}"
    if action is Action.POLICY and not against <= len(charter.operators) - needed:
        yield f"{against} of {len(charter.operators)} operators are against it: it is rejected"


def _subject_objections(
    charter: Charter, book: OrderBook, terms: OrderTerms, psi: Nano | None
) -> Iterator[str]:
    action = terms.action
    if action in _LEAVES and book.mode is not _LEAVES[action]:
        mode = "unknown" if book.mode is None else book.mode.name
        yield f"mode is {mode}, must be {_LEAVES[action].name} for {action.value}"
    if action in (Action.ROLLBACK, Action.PERSIST) and not book.has_commit(*terms.subject):
        sequence, alpha = terms.subject
        yield f"record {sequence} is none of the newest commits of α = {to_float(alpha):.9f}"
    if action is Action.PERSIST and not _admits(book, terms.subject[1]):
        yield f"α = {to_float(terms.subject[1]):.9f} lies outside the policy in force"
    if action is Action.POLICY and not (psi is not None and psi >= charter.psi_min):
        figure = "unknown" if psi is None else f"{to_float(psi):.9f}"
        yield f"Ψ is {figure}, must be at least {to_float(charter.psi_min):.9f}"


def _admits(book: OrderBook, alpha: int) -> bool:
    return book.limits is not None and book.limits.alpha_min <= alpha <= book.limits.alpha_max


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
            if any(objection for vote in signed.votes for objection in self._objections_to(signed, vote)):
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
        unfit = tuple(_unfit(order, signed, self.book.alpha))
        underway = self.book.underway
        if underway is not None and underway.order_id == signed.terms.order_id:
            # It was authorised, and its nonce used, by its first step.
            found = (*unfit, *_lapsed(self.book, signed.terms, now))
            return self._record(order, signed, found, psi, now) if found else True
        found = (*unfit, *objections(self.charter, self.book, signed, now, psi))
        return self._record(order, signed, found, psi, now)

    def _objections_to(self, signed: SignedOrder, vote: Vote) -> tuple[str, ...]:
        found = tuple(vote_objections(self.charter, signed.terms, vote))
        earlier = [one for one in self.book.votes(signed.terms.order_id) if one.key_id == vote.key_id]
        if earlier and earlier[0].choice is not vote.choice:
            return (*found, f"key {vote.key_id} has voted {earlier[0].choice.value} before")
        return found

    def _record_votes(self, signed: SignedOrder) -> None:
        terms, counted = signed.terms, self.book.votes(signed.terms.order_id)
        for vote in signed.votes:
            if vote in counted or (terms.order_id, vote) in self._refused:
                continue
            found = self._objections_to(signed, vote)
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
    expires = _later(now, ttl_s)
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
        JournalError: it says that it holds an order or a vote, and does not.
    """
    head, body = Head(record.sequence, record.hash_hex), record.body
    try:
        book.follow(head, record.timestamp, body if record.kind is RecordKind.ENTRY else None)
    except OrderError as error:
        raise JournalError(f"record {record.sequence} holds no {body['event']}: {error}") from error


def _unfit(order: Order, signed: SignedOrder, alpha: int | None) -> Iterator[str]:
    terms = signed.terms
    if order.action != ASKED_OF_KERNEL[terms.action]:
        yield f"{terms.action.value} does not authorise {printable(order.action)}"
    elif order.action == "override":
        target = terms.subject[-1]
        reached = order.subject[0] if len(order.subject) == 1 else None
        if alpha is None or reached is None or not min(alpha, target) <= reached <= max(alpha, target):
            yield f"α asked for does not lie on the way from the one in force to {to_float(target):.9f}"
    elif order.subject != terms.subject:
        yield "the subject is not the one that was signed"
    if (order.actor, order.reason) != (terms.actor, terms.reason):
        yield "actor and reason are not those that were signed"


def _named(latch: int | None) -> str:
    return "none" if latch is None else f"record {latch}"


def _later(now: str, seconds: float) -> str:
    return format_utc(datetime.fromisoformat(now) + timedelta(seconds=seconds))
