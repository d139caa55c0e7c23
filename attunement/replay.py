"""Derive every recorded decision again: what the rules give for the recorded integers, against what was said.

A signature shows who wrote a record; only this shows that it says what the rules decide. Memory does not grow
with the ledger.
"""

import enum
from collections.abc import Iterable, Iterator
from typing import Any, Final, Protocol, TypeVar

import attrs

from attunement.journal import FIRST_SCHEMA, SCHEMA, JournalError, body_of, entry_of, is_among, is_version
from kernel import Entry, Limits, Mode, Outcome, State, rules
from kernel import Kind as TrialKind
from kernel.state import REFUSED, Verdict
from ledger import JsonValue, Kind, Record

NOT_A_NUMBER: Final = Verdict(REFUSED, (("finite_alpha", 1, 1, 0, 1),))
"""The kernel's verdict on a target that is no number: the rules are not asked."""

_USED: Final[dict[str, frozenset[str]]] = {
    "start": frozenset({"target", "limits"}),
    "propose": frozenset({"target", "kind", "reading"}),
    "override": frozenset({"target", "kind", "reading"}),
    "settle": frozenset({"reading", "comparison"}),
    "observe": frozenset({"reading"}),
    "approve": frozenset({"reading"}),
    "set_limits": frozenset({"limits"}),
    "recover": frozenset({"limits"}),
    "miss": frozenset(),
    "freeze": frozenset(),
    "actuator_failed": frozenset({"target", "kind", "reading", "comparison", "limits"}),
}
"""The inputs that an event is decided on, or carries; all others are null."""

EVENTS: Final = frozenset(_USED)

_INPUTS = ("target", "kind", "reading", "comparison", "limits")
_GRANTS = frozenset({Outcome.STARTED, Outcome.ACCEPTED})
# Words that people and optimizers chose: no rule gives them.
_FREE_WORDS = frozenset({"actor", "reason"})

T = TypeVar("T")


@attrs.frozen
class Mismatch:
    """One field of one record that the rules do not give.

    Attributes:
        sequence: The record's place in the ledger.
        field: The field's path in the record's body, such as `after.alpha`.
        recorded: What the record says.
        derived: What the rules give, or what must hold.
    """

    sequence: int
    field: str
    recorded: str
    derived: str

    def __str__(self) -> str:
        return f"record {self.sequence}: {self.field} is {self.recorded}, must be {self.derived}"


class OrderAudit(Protocol):
    """What a ledger shows of the orders behind decisions, told by whoever records them."""

    def follow(self, record: Record, entry: Entry | None) -> Iterable[Mismatch]:
        """Take in the next record, and say what is wrong with the order that it holds or answers to.

        Args:
            record: The record.
            entry: The decision in it; None if it is none, or cannot be read.
        """

    def finish(self) -> Iterable[Mismatch]:
        """Say what is wrong with the records as a whole, once all were taken in."""


class Replay:
    """Follows the records of one ledger in order.

    Args:
        orders: Judges the orders; None takes the kernel's word, recorded among the checks, for each of them.

    Attributes:
        limits: The policy in force, None before the first decision.
        last: The last decision that could be read, None before the first.
        decisions: How many decisions were derived again.
        others: How many records are no decisions.
        mismatches: How many mismatches were found.
        derived: The verdict that the rules give for the last record, None if they give none.
    """

    def __init__(self, orders: OrderAudit | None = None) -> None:
        self.limits: Limits | None = None
        self.last: Entry | None = None
        self.derived: Verdict | None = None
        self.decisions = 0
        self.others = 0
        self.mismatches = 0
        self._orders = orders

    @property
    def state(self) -> State | None:
        """What the last decision leaves behind, None before the first."""
        return None if self.last is None else self.last.after

    def run(self, records: Iterable[Record]) -> Iterator[Mismatch]:
        """Follow records, and yield each mismatch as it is found."""
        for record in records:
            yield from self.follow(record)
        found = [] if self._orders is None else list(self._orders.finish())
        self.mismatches += len(found)
        yield from found

    def follow(self, record: Record) -> tuple[Mismatch, ...]:
        """Derive one record again, and return what differs.

        The next record is then derived from what this one says, whatever was found: one false record is not
        found again in all that follow.
        """
        found: list[Mismatch] = []
        entry: Entry | None = None
        self.derived = None
        if is_decision(record):
            self.decisions += 1
            try:
                entry = entry_of(record.body)
            except JournalError as error:
                told = f"unreadable ({error})"
                found.append(Mismatch(record.sequence, "body", told, "an entry of the kernel"))
            else:
                found += self._judge(record, entry)
        else:
            self.others += 1
        if self._orders is not None:
            found += self._orders.follow(record, entry)
        self.mismatches += len(found)
        return tuple(found)

    def _judge(self, record: Record, entry: Entry) -> Iterator[Mismatch]:
        sequence = record.sequence
        limits = entry.limits if self.limits is None else self.limits
        yield from self._place(sequence, entry)
        if limits is None:
            yield Mismatch(sequence, "limits", "null", "the policy in force, which no record before names")
        elif entry.event not in EVENTS:
            yield Mismatch(sequence, "event", ascii(entry.event), f"one of {', '.join(sorted(EVENTS))}")
        else:
            yield from self._derivation(record, entry, limits)
        if entry.limits is not None and entry.verdict.outcome is not REFUSED:
            self.limits = entry.limits
        self.last = entry

    def _place(self, sequence: int, entry: Entry) -> Iterator[Mismatch]:
        last, limits = self.last, self.limits
        if last is None or limits is None:
            if entry.event != "start":
                yield Mismatch(sequence, "event", entry.event, "start: a history begins with it")
            return
        if entry.event == "start":
            yield Mismatch(sequence, "event", "start", "another event: a history starts once")
            return
        if entry.event == "actuator_failed":
            expected = last.before
            if not _was_applied(last):
                yield Mismatch(sequence, "event", entry.event, "another event: no α was applied before it")
            if entry.actor != last.actor:
                yield Mismatch(sequence, "actor", ascii(entry.actor), ascii(last.actor))
        else:
            expected = after_calm_cycles(limits, last.after, entry.before)
        yield from _differences(sequence, "before", _state_words(entry.before), _state_words(expected))

    def _derivation(self, record: Record, entry: Entry, limits: Limits) -> Iterator[Mismatch]:
        try:
            after, verdict = self._transition(limits, entry, was_authorised(entry))
        except _MissingInputError as error:
            yield Mismatch(record.sequence, error.name, "null", f"what {entry.event} is decided on")
            return
        self.derived = verdict
        derived = self._expected(entry, limits)._replace(after=after, verdict=verdict)
        if entry.event == "start":
            derived = derived._replace(before=after)
        is_old = is_version(record.body.get("schema"), {FIRST_SCHEMA})
        expected = body_of(derived, FIRST_SCHEMA if is_old else SCHEMA)
        recorded, expected = _without_words(record.body), _without_words(expected)
        yield from _differences(record.sequence, "", recorded, expected)

    def _expected(self, entry: Entry, limits: Limits) -> Entry:
        # What an event does not use must be null: a policy hidden in an observation would come into force.
        used = _USED[entry.event]
        inputs: dict[str, Any] = {name: getattr(entry, name) if name in used else None for name in _INPUTS}
        if entry.event == "override":
            inputs["kind"] = TrialKind.RESTORE
        if entry.event == "recover":
            inputs["limits"] = limits
        if entry.event == "actuator_failed" and self.last is not None:
            inputs = {name: getattr(self.last, name) for name in _INPUTS}
        return entry._replace(**inputs)

    def _transition(self, limits: Limits, entry: Entry, is_authorised: bool) -> rules.Transition:
        before, target = entry.before, entry.target
        match entry.event:
            case "start":
                return rules.start(_needed("limits", entry.limits), _needed("target", target))
            case "propose" if target is None:
                return before, NOT_A_NUMBER
            case "propose":
                kind, reading = _needed("kind", entry.kind), _needed("reading", entry.reading)
                return rules.propose(limits, before, _needed("target", target), kind, reading)
            case "override":
                reading = _needed("reading", entry.reading)
                return rules.override(limits, before, _needed("target", target), reading, is_authorised)
            case "settle":
                reading, comparison = _needed("reading", entry.reading), entry.comparison
                return rules.settle(limits, before, reading, _needed("comparison", comparison))
            case "observe":
                return rules.observe(limits, before, _needed("reading", entry.reading))
            case "approve":
                return rules.approve(limits, before, _needed("reading", entry.reading), is_authorised)
            case "set_limits":
                return rules.set_limits(before, _needed("limits", entry.limits), is_authorised)
            case "recover":
                return rules.recover(before)
            case "miss":
                return rules.miss(limits, before)
            case "freeze":
                return rules.freeze(before)
        granted = self.last is not None and self.last.verdict.outcome in _GRANTS
        # Whether α could be put back is known from the outcome alone; of the two both are possible.
        return rules.actuator_failed(before, granted, entry.verdict.outcome is Outcome.ABORTED)


class _MissingInputError(Exception):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def is_decision(record: Record) -> bool:
    """Say whether a record claims to be a decision of the kernel, whatever else may be wrong with it."""
    return record.kind is Kind.ENTRY and (
        is_among(record.body.get("event"), EVENTS) or "after" in record.body
    )


def was_authorised(entry: Entry) -> bool:
    """Say whether the kernel took the order behind a decision for authorised, as its broken checks tell."""
    return all(check[0] != "authorised" for check in entry.verdict.broken)


def _was_applied(entry: Entry) -> bool:
    # What begins anew is applied again, and so it is in each cycle of an emergency without a reading.
    is_blind = entry.event == "miss" and entry.after.mode is Mode.EMERGENCY
    return is_blind or entry.event in ("start", "recover") or entry.before.alpha != entry.after.alpha


def after_calm_cycles(limits: Limits, last: State, found: State) -> State:
    """Return the state nearest to `found` to which cycles without a record can lead from `last`.

    A cycle that changes nothing but its own count is not recorded: a safe reading, or a missed one before the
    limit. In a trial every cycle is recorded; in an emergency every missed one is.
    """
    if last.mode is Mode.TRIAL:
        return last
    cycle = max(last.cycle, found.cycle)
    fewest = last.missed if cycle == last.cycle else 0
    most = fewest if last.mode is Mode.EMERGENCY else max(fewest, limits.missed_max - 1)
    return last._replace(cycle=cycle, missed=min(max(found.missed, fewest), most))


def _needed(name: str, value: T | None) -> T:
    if value is None:
        raise _MissingInputError(name)
    return value


def _without_words(body: dict[str, JsonValue]) -> dict[str, JsonValue]:
    return {name: value for name, value in body.items() if name not in _FREE_WORDS}


def _state_words(state: State) -> dict[str, JsonValue]:
    return {
        name: part.name.lower() if isinstance(part, enum.IntEnum) else part
        for name, part in zip(state._fields, state, strict=True)
    }


def _differences(sequence: int, path: str, recorded: JsonValue, derived: JsonValue) -> Iterator[Mismatch]:
    if isinstance(recorded, dict) and isinstance(derived, dict):
        # The members of inner objects were read as what they are; at the top true might pass for 1.
        if path and recorded == derived:
            return
        for name in sorted(recorded.keys() | derived.keys()):
            inner = f"{path}.{name}" if path else name
            if name in recorded and name in derived:
                yield from _differences(sequence, inner, recorded[name], derived[name])
            else:
                yield Mismatch(sequence, inner, *(_shown(part, name) for part in (recorded, derived)))
    elif type(recorded) is not type(derived) or recorded != derived:
        yield Mismatch(sequence, path, _spelt(recorded), _spelt(derived))


def _shown(body: dict[str, JsonValue], name: str) -> str:
    return _spelt(body[name]) if name in body else "absent"


def _spelt(value: JsonValue) -> str:
    return "null" if value is None else ascii(value) if isinstance(value, str) else str(value)
