"""A ledger as people and programs read it."""

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs

from attunement.foreign import escaped
from attunement.governance import follow
from attunement.journal import JournalError, is_of_governance, resume_point
from attunement.order_book import Commit, OrderBook
from kernel import Limits, State
from kernel.quantity import to_float
from ledger import Kind, Record, Report, Verdict, read_records

RECORD_COLUMNS = (
    "seq",
    "time (UTC)",
    "event",
    "verdict",
    "old α",
    "new α",
    "broken limits",
    "actor",
    "reason",
)


@attrs.frozen
class LedgerVerdict:
    """What verification found in one ledger."""

    path: Path
    report: Report

    @property
    def is_verified(self) -> bool:
        """Whether all is good, as far as the anchors that were given reach."""
        return self.report.verdict in (Verdict.VERIFIED, Verdict.NO_ANCHOR)

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        report = self.report
        found = f": {escaped(str(report.finding))}" if report.finding is not None else ""
        head = "" if report.head is None else f", head {report.head.sequence}:{report.head.hash_hex}"
        return f"ledger {self.path}: {report.verdict.value}, {report.records} records good{head}{found}"

    def as_json(self) -> dict[str, Any]:
        """The verdict as JSON's types."""
        report = self.report
        return {
            "path": str(self.path),
            "verdict": report.verdict.value,
            "records": report.records,
            "head": None if report.head is None else f"{report.head.sequence}:{report.head.hash_hex}",
            "finding": None if report.finding is None else str(report.finding),
        }


@attrs.frozen
class Status:
    """Where the ledger says that α is, and what was decided so far."""

    path: Path
    records: int
    last_timestamp: str
    state: State
    limits: Limits
    verdicts: dict[str, int]
    latch: int | None
    initial: Commit | None

    def rows(self) -> Iterator[tuple[str, str]]:
        """Names and figures for a table."""
        state, limits = self.state, self.limits
        low, high = (nano_text(one, "g") for one in (limits.alpha_min, limits.alpha_max))
        yield "mode", state.mode.name
        yield "α", f"{nano_text(state.alpha)} in [{low}, {high}]"
        yield "rollback target", nano_text(state.good)
        if self.latch is not None:
            yield "latched by", f"record {self.latch}"
        if self.initial is not None:
            yield "α to begin at", f"{nano_text(self.initial.alpha)}, of record {self.initial.sequence}"
        yield "cycle", str(state.cycle)
        yield "consecutive reverts", f"{state.reverts} of {limits.reverts_max}"
        yield "policy version", str(state.policy)
        yield (
            "decisions",
            escaped(", ".join(f"{name} {count}" for name, count in sorted(self.verdicts.items()))),
        )
        yield "ledger", f"{self.path}, {self.records} records, last at {self.last_timestamp}"

    def as_json(self) -> dict[str, Any]:
        """The same as JSON's types."""
        state = self.state
        return {
            "mode": state.mode.name.lower(),
            "alpha": _number(state.alpha),
            "good": _number(state.good),
            "latch": self.latch,
            "alpha_initial": None if self.initial is None else _number(self.initial.alpha),
            "cycle": state.cycle,
            "reverts": state.reverts,
            "policy": state.policy,
            "verdicts": self.verdicts,
            "ledger": str(self.path),
            "records": self.records,
            "last_timestamp": self.last_timestamp,
        }


def status(path: Path) -> Status:
    """Read a ledger, which a writer may be appending to, and return where it stands.

    Raises:
        LedgerReadError, LedgerTamperedError: it cannot be read.
        JournalError: it holds no decisions.
    """
    verdicts: dict[str, int] = {}
    newest: list[Record] = []
    book = OrderBook(order_ttl_s=0.0)

    def counted() -> Iterator[Record]:
        for record in read_records(path):
            newest[:] = [record]
            if record.kind is Kind.ENTRY and not is_of_governance(record.body):
                verdict = str(record.body.get("verdict"))
                verdicts[verdict] = verdicts.get(verdict, 0) + 1
            yield record
            follow(book, record)

    resume = resume_point(counted())
    if resume is None:
        raise JournalError(f"{path} holds no decisions yet")
    last = newest[0]
    return Status(path, last.sequence + 1, last.timestamp, *resume, verdicts, book.latch, book.initial)


def newest(records: Iterable[Record], count: int | None) -> Iterable[Record]:
    """Return the last records, all if count is None."""
    return records if count is None else deque(records, maxlen=count)


def record_row(record: Record) -> tuple[str, ...]:
    """Return one record's cells for `RECORD_COLUMNS`, all of it fit to be shown."""
    body = record.body
    broken = body.get("broken")
    checks = broken if isinstance(broken, list) else []
    names = [str(check[0]) for check in checks if isinstance(check, list) and check]
    cells = (
        str(record.sequence),
        record.timestamp,
        str(body.get("event", record.kind.value)),
        str(body.get("verdict", "")),
        _alpha(body.get("old_alpha")),
        _alpha(body.get("new_alpha")),
        ", ".join(names),
        str(body.get("actor", "")),
        str(body.get("reason", "")),
    )
    return tuple(map(escaped, cells))


def record_as_json(record: Record) -> dict[str, Any]:
    """Return one record as JSON's types."""
    return {
        "seq": record.sequence,
        "timestamp": record.timestamp,
        "kind": record.kind.value,
        "hash": record.hash_hex,
        "prev": record.previous_hash,
        "key": record.key_id,
        "body": record.body,
    }


def nano_text(figure: int, form: str = ".9f") -> str:
    """Return a quantity in its own unit; one that no float comes near to, as it stands."""
    number = _number(figure)
    return number if isinstance(number, str) else format(number, form)


def _alpha(figure: object) -> str:
    return nano_text(figure) if isinstance(figure, int) else ""


def _number(figure: int) -> float | str:
    # A record may say any integer, also one that no float comes near to.
    try:
        return to_float(figure)
    except OverflowError:
        return f"{figure}e-9"
