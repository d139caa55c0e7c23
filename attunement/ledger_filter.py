"""Which records of a ledger are wanted."""

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

import attrs

from attunement.journal import is_among
from ledger import Record
from ledger.record import format_utc

_NANO_DIGITS = 9


@attrs.frozen
class RecordFilter:
    """Wants a record if every condition that is set holds for it.

    Attributes:
        actors: Who acted, any of these; empty for anybody.
        verdicts: What was decided, any of these; empty for anything.
        since: Earliest time, UTC in the records' form.
        until: Time before which it must lie, in the same form.
        alpha_min: Smallest α after the decision.
        alpha_max: Largest α after the decision.
    """

    actors: frozenset[str] = frozenset()
    verdicts: frozenset[str] = frozenset()
    since: str | None = None
    until: str | None = None
    alpha_min: Decimal | None = None
    alpha_max: Decimal | None = None

    def wants(self, record: Record) -> bool:
        """Say whether a record is wanted."""
        body = record.body
        return (
            (not self.actors or is_among(body.get("actor"), self.actors))
            and (not self.verdicts or is_among(body.get("verdict"), self.verdicts))
            and (self.since is None or self.since <= record.timestamp)
            and (self.until is None or record.timestamp < self.until)
            and (self._holds_alpha(body.get("new_alpha")))
        )

    def _holds_alpha(self, alpha: object) -> bool:
        if self.alpha_min is None and self.alpha_max is None:
            return True
        if type(alpha) is not int:
            return False
        above = self.alpha_min is None or self.alpha_min.scaleb(_NANO_DIGITS) <= alpha
        return above and (self.alpha_max is None or alpha <= self.alpha_max.scaleb(_NANO_DIGITS))


def parse_moment(text: str) -> str:
    """Return a time in the form of the records' timestamps; one that names no zone is UTC.

    Raises:
        ValueError: it is no ISO 8601 date or time.
    """
    try:
        moment = datetime.fromisoformat(text)
        return format_utc(moment if moment.utcoffset() is not None else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!a} is no ISO 8601 date or time, such as 2026-03-01T12:00:00Z") from error


def parse_alpha(text: str) -> Decimal:
    """Return an α as the decimal that it is written as.

    Raises:
        ValueError: it is no finite number of a size that α can have.
    """
    try:
        alpha = Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"{text!a} is no number") from error
    if alpha.is_finite() and alpha.adjusted() <= _NANO_DIGITS:
        return alpha
    raise ValueError(f"{text!a} is no α")
