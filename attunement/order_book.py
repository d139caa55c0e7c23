"""What a ledger's records, followed in order, make of the orders: latch, votes, used nonces, and so on.

Nothing here is remembered beside the ledger: whoever follows the same records has the same book.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import attrs

from attunement.charter import Charter, charter_of
from attunement.order import Action, Choice, OrderTerms, Vote, terms_of, vote_of
from kernel import Entry, Limits, Mode
from ledger import Head, JsonValue
from ledger.record import format_utc

SCHEMA: Final = 1
"""Version of the bodies of orders, votes, alerts and charters."""

ORDER, VOTE, ALERT, CHARTER = "order", "vote", "alert", "charter"
GOVERNANCE_EVENTS: Final = frozenset({ORDER, VOTE, ALERT, CHARTER})
ADOPTED: Final = "adopted"
AUTHORISED, REFUSED, COUNTED, RAISED, FAILED = "authorised", "refused", "counted", "raised", "failed"

COMMITS_KEPT: Final = 4096
"""How many of the newest commits a rollback or a persist order can name."""

_PRUNE_EVERY = 1024


@attrs.frozen
class Commit:
    """A record that committed an α, nano."""

    sequence: int
    alpha: int


@attrs.frozen
class Underway:
    """An authorised order that moves α to its target by steps of the policy's Δ."""

    order_id: str
    target: int


@attrs.frozen
class _Dated:
    head: Head
    timestamp: str


class OrderBook:
    """Follows the records of one ledger.

    Args:
        order_ttl_s: Longest life of an order, seconds: no order can answer to a head that was not the newest
            within that time, so older ones are forgotten.

    Attributes:
        head: The newest record, None before the first.
        timestamp: Its UTC time, empty before the first.
        alpha: α in force, nano; None before the first decision.
        mode: What the kernel is in, a trial aside; None before the first decision.
        limits: The policy in force; None before the first decision.
        latch: Sequence of the record that latched FROZEN or EMERGENCY; None outside of them.
        era: Sequence of the last record that changed the latch, the policy or the charter.
        charter: Who governs, as the ledger named it last; None if it never did.
        initial: The commit that was last made the α to begin with, None if none was.
        underway: The order that is moving α, None if none is.
    """

    def __init__(self, order_ttl_s: float) -> None:
        self.head: Head | None = None
        self.timestamp = ""
        self.alpha: int | None = None
        self.mode: Mode | None = None
        self.limits: Limits | None = None
        self.latch: int | None = None
        self.era = 0
        self.charter: Charter | None = None
        self.initial: Commit | None = None
        self.underway: Underway | None = None
        self._ttl = timedelta(seconds=order_ttl_s)
        self._heads: deque[_Dated] = deque()
        self._commits: deque[Commit] = deque(maxlen=COMMITS_KEPT)
        # Nonces of authorised orders, and votes by order and key; with the times at which they are void.
        self._used: dict[str, str] = {}
        self._votes: dict[str, dict[str, Vote]] = {}
        self._proposed: dict[str, str] = {}

    def follow(self, head: Head, timestamp: str, body: Mapping[str, JsonValue] | None) -> None:
        """Take in the next record; body is None for a record of the ledger's own.

        Raises:
            OrderError: a record says that it holds an order or a vote, and does not.
        """
        self._follow_head(head, timestamp)
        if body is None:
            return
        if "after" in body:
            self._follow_decision(head.sequence, body)
        elif (body.get("event"), body.get("verdict")) == (ORDER, AUTHORISED):
            self._follow_order(terms_of(body.get("order")))
        elif body.get("event") == CHARTER:
            # No order of before answers to it, so that heads of another time limit are not asked for.
            self.charter, self.era = charter_of(body), head.sequence
            self._ttl = timedelta(seconds=self.charter.order_ttl_s)
        elif (body.get("event"), body.get("verdict")) == (VOTE, COUNTED):
            self.count(terms_of(body.get("order")), vote_of(body.get("vote")))

    def follow_entry(self, head: Head, timestamp: str, entry: Entry) -> None:
        """Take in the next record, which holds this decision."""
        self._follow_head(head, timestamp)
        after = entry.after
        mode = after.resume if after.mode is Mode.TRIAL else after.mode
        verdict = entry.verdict.outcome.value
        self._take_in(head.sequence, entry.event, verdict, mode, after.alpha, entry.limits)

    def was_head(self, head: Head, now: str) -> bool:
        """Say whether this was the newest record at some moment within an order's life before now."""
        since = _earlier(now, self._ttl)
        for dated in reversed(self._heads):
            if dated.head == head:
                return True
            # Whatever came before this record was the newest until this one came.
            if dated.timestamp < since:
                return False
        return False

    def is_used(self, nonce: str) -> bool:
        """Say whether an order with this nonce was authorised."""
        return nonce in self._used

    def votes(self, order_id: str) -> tuple[Vote, ...]:
        """Return the votes that were counted for an order, in the order of the key ids."""
        return tuple(vote for _, vote in sorted(self._votes.get(order_id, {}).items()))

    def has_commit(self, sequence: int, alpha: int) -> bool:
        """Say whether a record committed this α, nano, and is not too long ago."""
        return Commit(sequence, alpha) in self._commits

    def commits(self) -> Iterator[Commit]:
        """Return an iterator over the newest commits, the last one first."""
        return reversed(self._commits)

    def count(self, terms: OrderTerms, vote: Vote) -> None:
        """Count a vote on an order."""
        self._votes.setdefault(terms.order_id, {})[vote.key_id] = vote
        self._proposed[terms.order_id] = terms.expires

    def oldest_needed(self) -> int:
        """Return the sequence of the oldest record without which the book would not be what it is."""
        self._prune()
        firsts = [dated.head.sequence for dated in (*self._heads,)[:1]]
        return min([*firsts, *(commit.sequence for commit in (*self._commits,)[:1])], default=0)

    def _follow_order(self, terms: OrderTerms) -> None:
        self._used[terms.nonce] = terms.expires
        if terms.action in (Action.ROLLBACK, Action.OVERRIDE):
            self.underway = Underway(terms.order_id, terms.subject[-1])
        elif terms.action is Action.PERSIST:
            self.initial = Commit(*terms.subject)

    def _follow_decision(self, sequence: int, body: Mapping[str, JsonValue]) -> None:
        after: Any = body["after"]
        figures: Any = body["limits"]
        mode = Mode[str(after["resume" if after["mode"] == "trial" else "mode"]).upper()]
        limits = Limits(**figures) if isinstance(figures, dict) and body["verdict"] != REFUSED else None
        self._take_in(sequence, body.get("event"), body["verdict"], mode, int(after["alpha"]), limits)

    def _follow_head(self, head: Head, timestamp: str) -> None:
        self.head, self.timestamp = head, timestamp
        self._heads.append(_Dated(head, timestamp))
        if head.sequence % _PRUNE_EVERY == 0:
            self._prune()

    def _take_in(
        self,
        sequence: int,
        event: JsonValue,
        verdict: JsonValue,
        mode: Mode,
        alpha: int,
        limits: Limits | None,
    ) -> None:
        if mode is not self.mode:
            self.latch = None if mode is Mode.READY else sequence
            self.era = sequence
        if limits is not None and verdict != REFUSED and limits != self.limits:
            self.limits, self.era = limits, sequence
        self.mode, self.alpha = mode, alpha
        if verdict == "committed":
            self._commits.append(Commit(sequence, self.alpha))
        if not self._goes_on(event, verdict):
            self.underway = None

    def _goes_on(self, event: JsonValue, verdict: JsonValue) -> bool:
        if self.underway is None or self.mode is Mode.EMERGENCY:
            return False
        return (event == "override" and verdict == "accepted") or (
            event == "settle" and verdict == "committed" and self.alpha != self.underway.target
        )

    def _prune(self) -> None:
        since = _earlier(self.timestamp, self._ttl)
        while len(self._heads) > 1 and self._heads[1].timestamp < since:
            self._heads.popleft()
        for nonce in [nonce for nonce, expires in self._used.items() if expires < self.timestamp]:
            del self._used[nonce]
        for order_id in [one for one, expires in self._proposed.items() if expires < self.timestamp]:
            del self._proposed[order_id], self._votes[order_id]


def choices(votes: tuple[Vote, ...], choice: Choice) -> int:
    """Count the votes with this choice."""
    return sum(vote.choice is choice for vote in votes)


def _earlier(timestamp: str, span: timedelta) -> str:
    return format_utc(datetime.fromisoformat(timestamp) - span)
