"""Why an order does not count: pure functions of the charter, the book of the ledger, and the order."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from attunement.charter import Charter
from attunement.foreign import printable
from attunement.order import Action, Choice, OrderTerms, SignedOrder, Vote
from attunement.order_book import OrderBook, choices
from kernel import Mode, Order
from kernel.quantity import Nano, to_float
from ledger.record import format_utc

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

_LEAVES = {Action.UNFREEZE: Mode.FROZEN, Action.APPROVE: Mode.EMERGENCY}
# Their subject ends with an α that the kernel takes in the end, or at the next start.
_TOWARDS_ALPHA = {Action.OVERRIDE, Action.ROLLBACK, Action.PERSIST}


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
    yield from lapsed(book, terms, now)
    if not terms.expires <= later(now, charter.order_ttl_s):
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
        since = f"record {book.era}, which changed the latch, the policy or the charter"
        yield f"head {head.sequence} is older than {since}"


def vote_objections(charter: Charter, terms: OrderTerms, vote: Vote) -> Iterator[str]:
    """Yield why a vote is not an operator's."""
    operator = charter.operator(vote.key_id)
    if operator is None:
        yield f"key {vote.key_id} is no operator's"
    elif not vote.holds(operator.key, terms):
        yield f"it is not a signature of this order by {printable(operator.name)}"


def counting_objections(charter: Charter, book: OrderBook, terms: OrderTerms, vote: Vote) -> tuple[str, ...]:
    """Return why a vote does not count now: it is no operator's, or takes back what he has voted before."""
    found = tuple(vote_objections(charter, terms, vote))
    earlier = [one for one in book.votes(terms.order_id) if one.key_id == vote.key_id]
    if earlier and earlier[0].choice is not vote.choice:
        return (*found, f"key {vote.key_id} has voted {earlier[0].choice.value} before")
    return found


def lapsed(book: OrderBook, terms: OrderTerms, now: str) -> Iterator[str]:
    """Yield why an order that was authorised before does not go on now."""
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
    if action in _TOWARDS_ALPHA:
        yield from _outside(book, terms.subject[-1])
    if action is Action.POLICY and not (psi is not None and psi >= charter.psi_min):
        figure = "unknown" if psi is None else f"{to_float(psi):.9f}"
        yield f"Ψ is {figure}, must be at least {to_float(charter.psi_min):.9f}"


def _outside(book: OrderBook, alpha: int) -> Iterator[str]:
    limits = book.limits
    if limits is not None and limits.alpha_min <= alpha <= limits.alpha_max:
        return
    bounds = "a policy, and none is in force"
    if limits is not None:
        bounds = f"[{to_float(limits.alpha_min):.12g}, {to_float(limits.alpha_max):.12g}]"
    yield f"α is {to_float(alpha):.12g}, must lie in {bounds}"


def misfits(order: Order, signed: SignedOrder, alpha: int | None) -> Iterator[str]:
    """Yield why what the kernel is asked is not what was signed; alpha is the one in force, nano."""
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


def later(now: str, seconds: float) -> str:
    """Return the UTC time so many seconds after another."""
    return format_utc(datetime.fromisoformat(now) + timedelta(seconds=seconds))


def _named(latch: int | None) -> str:
    return "none" if latch is None else f"record {latch}"
