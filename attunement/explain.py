"""One record in plain words: what was asked, which limit broke by how much, what happened to α."""

from collections import Counter, deque
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Final

from attunement.foreign import escaped
from attunement.journal import entry_of, is_of_governance
from attunement.replay import Mismatch, Replay, is_decision
from kernel import Entry, Limits, Mode, Outcome, State
from kernel.limits import Check
from kernel.quantity import NANO
from kernel.rules import safety_checks
from kernel.state import ACCEPTED, REFUSED
from ledger import JsonValue, Kind, Record

RECENT: Final = 50
"""Decisions before a record that its explanation counts."""

_TRIED = frozenset({"propose", "override"})
_ENDINGS = (Outcome.COMMITTED, Outcome.RETURNED, Outcome.REVERTED, Outcome.RETREATED, Outcome.LATCHED)

_MEANINGS: Final[dict[Outcome, str]] = {
    Outcome.STARTED: "A history began.",
    Outcome.ACCEPTED: "Accepted: every check held, and a trial began that the next reading judges.",
    Outcome.REFUSED: "Refused: nothing was applied.",
    Outcome.COMMITTED: "Committed: the trial was measured safe and not worse, and α stays.",
    Outcome.RETURNED: "Returned: a probe was measured safe, and α goes back, as probes do.",
    Outcome.REVERTED: "Reverted: the trial was not kept, and α goes back.",
    Outcome.RETREATED: "Retreated: there was no safe reading, or no safe way back; α is where it is safer.",
    Outcome.HELD: "Held: α stays.",
    Outcome.LATCHED: "Emergency: the kernel latched, and only a signed approval leaves it.",
    Outcome.FROZEN: "Frozen: optimizers are stopped until a signed approval.",
    Outcome.APPROVED: "Approved: the latch is left, and optimizers may propose again.",
    Outcome.ADOPTED: "Adopted: another policy is in force.",
    Outcome.RECOVERED: "Recovered: a trial that was open is reverted, a latch is kept.",
    Outcome.ABORTED: "Aborted: the engine did not take α, which is back where it was.",
}

_KINDS: Final[dict[Kind, str]] = {
    Kind.GENESIS: "The ledger begins: the record names the keys that write it.",
    Kind.ENTRY: "No decision of the kernel; what it says:",
    Kind.RECOVERY: "A crash had left a record that was not ended; its bytes were set aside.",
    Kind.ROTATION: "The key that signs records was succeeded by another.",
    Kind.LOG_ROTATION: "The key that signs the log's checkpoints was succeeded by another.",
    Kind.EPOCH: "A writer took the ledger's head over.",
    Kind.STOP: "The writer could not write a record, and stopped.",
}


class Explainer:
    """Follows a ledger up to the record that is to be explained.

    Args:
        limits: The policy in force before the first record that is followed, for one who does not follow from
            the ledger's beginning but from `RECENT` + 1 records before; None at the beginning.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._replay = Replay()
        self._replay.limits = limits
        self._recent: deque[Entry] = deque(maxlen=RECENT)

    def follow(self, record: Record) -> None:
        """Take in a record before that one."""
        self._replay.follow(record)
        if is_decision(record) and self._replay.last is not None:
            self._recent.append(self._replay.last)

    @property
    def checks(self) -> tuple[Check, ...]:
        """Every check that the rules make for the record that was explained last."""
        derived = self._replay.derived
        return () if derived is None else derived.checks

    def explain(self, record: Record) -> tuple[tuple[str, ...], tuple[Mismatch, ...]]:
        """Return the lines about the next record, fit to be shown, and what the rules say against it.

        Raises:
            JournalError: it claims to be a decision and cannot be read.
        """
        if not is_decision(record):
            return tuple(map(escaped, _about_other(record))), ()
        entry = entry_of(record.body)
        limits = self._replay.limits if self._replay.limits is not None else entry.limits
        mismatches = self._replay.follow(record)
        return tuple(map(escaped, self._about(record, entry, limits, mismatches))), mismatches

    def _about(
        self, record: Record, entry: Entry, limits: Limits | None, mismatches: tuple[Mismatch, ...]
    ) -> Iterator[str]:
        yield f"Record {record.sequence} of {record.timestamp}: {entry.event}, by {entry.actor}."
        yield from _asked(entry)
        yield f'The reason given: "{entry.reason}".'
        yield _MEANINGS[entry.verdict.outcome]
        yield from (f"  {_broken(check)}." for check in entry.verdict.broken)
        yield _moved(entry.before, entry.after)
        if entry.before.mode != entry.after.mode:
            yield f"The mode went from {_word(entry.before.mode)} to {_word(entry.after.mode)}."
        yield from _changed_limits(entry, limits)
        yield from _measured(entry, limits)
        yield from self._before(entry.actor)
        if mismatches:
            yield "The rules do not give this:"
            yield from (f"  {mismatch}." for mismatch in mismatches)
        else:
            yield f"The rules give the same, under policy version {entry.before.policy}."

    def _before(self, actor: str) -> Iterator[str]:
        asked = [entry for entry in self._recent if entry.event in _TRIED and entry.actor == actor]
        if not asked:
            return
        fates = Counter(entry.verdict.outcome for entry in asked)
        ends = Counter(entry.verdict.outcome for entry in self._recent if entry.event == "settle")
        ended = ", ".join(f"{ends[outcome]} {outcome.value}" for outcome in _ENDINGS if ends[outcome])
        yield (
            f"In the {len(self._recent)} decisions before, {actor} asked {len(asked)} times "
            f"({fates[ACCEPTED]} accepted, {fates[REFUSED]} refused), last for "
            f'"{asked[-1].reason}"; of the trials ended {ended or "none"}.'
        )


def _asked(entry: Entry) -> Iterator[str]:
    if entry.event not in _TRIED:
        return
    kind = "trial" if entry.kind is None else _word(entry.kind)
    if entry.target is None:
        yield f"Proposed was a {kind} to what is no number."
        return
    change = entry.target - entry.before.alpha
    yield (
        f"Proposed was a {kind} from α = {_nano(entry.before.alpha)} to {_nano(entry.target)} "
        f"({_signed(change)})."
    )


def _moved(before: State, after: State) -> str:
    if before.alpha == after.alpha:
        return f"α stayed at {_nano(after.alpha)}."
    change = after.alpha - before.alpha
    return f"α moved from {_nano(before.alpha)} to {_nano(after.alpha)} ({_signed(change)})."


def _changed_limits(entry: Entry, before: Limits | None) -> Iterator[str]:
    if entry.event != "set_limits" or entry.limits is None or before is None:
        return
    yield "Limits that were to change, in units of 1e-9 or counts:"
    for name, old, new in zip(Limits._fields, before, entry.limits, strict=True):
        if old != new:
            yield f"  {name} from {old:,} to {new:,}"


def _measured(entry: Entry, limits: Limits | None) -> Iterator[str]:
    reading, comparison = entry.reading, entry.comparison
    if reading is None or limits is None:
        return
    judged = entry.target if entry.event in _TRIED and entry.target is not None else entry.before.alpha
    yield (
        f"The reading of cycle {reading.cycle}, taken at α = {_nano(reading.alpha)} and judged for "
        f"{_nano(judged)}:"
    )
    yield f"  coherence {_nano(reading.coherence)}, on which no safety depends"
    yield from (f"  {_margin(check)}" for check in safety_checks(limits, judged, reading))
    if comparison is not None:
        change = comparison.after - comparison.before
        yield (
            f"  mean coherence {_nano(comparison.before)} before and {_nano(comparison.after)} after: "
            f"changed by {_signed(change)}, a fall of {_nano(comparison.tolerance)} is tolerated"
        )


def _margin(check: Check) -> str:
    name, unit, least, figure, most = check
    if name == "h_internal":
        bound, margin, words = least, figure - least, "at least"
    else:
        bound, margin, words = most, most - figure, "at most"
    label = f"α·{name}" if name.startswith(("drive", "loop_gain")) else name
    told = f"{label} {_decimal(figure, unit)}, {words} {_decimal(bound, unit)}: "
    if least <= figure <= most:
        return f"{told}margin {_decimal(margin, unit)}{_share(margin, bound)}"
    return f"{told}BROKEN by {_decimal(_excess(check), unit)}{_share(_excess(check), bound)}"


def _broken(check: Check) -> str:
    name, unit, least, figure, most = check
    special = _SPECIAL.get(name)
    if special is not None:
        return special(check)
    side, bound = ("below", least) if figure < least else ("above", most)
    told = (
        f"{name} is {_decimal(figure, unit)}, must lie in [{_decimal(least, unit)}, {_decimal(most, unit)}]"
    )
    excess = _excess(check)
    return f"{told}: {side} by {_decimal(excess, unit)}{_share(excess, bound)}"


def _excess(check: Check) -> int:
    _, _, least, figure, most = check
    return least - figure if figure < least else figure - most


def _share(part: int, whole: int) -> str:
    return f" ({Decimal(100 * part) / whole:.3g} % of the limit)" if whole > 0 else ""


_SPECIAL: Final[dict[str, Callable[[Check], str]]] = {
    "mode": lambda check: f"the mode was {_mode(check[3])}, must be {_modes(check[2], check[4])}",
    "authorised": lambda _check: "the order was not signed by one whose orders count",
    "finite_alpha": lambda _check: "the target was no finite number",
    "cycle": lambda check: f"the reading was of cycle {check[3]}, must be of cycle {check[2]} or later",
    "measured_alpha": lambda check: (
        f"the reading was taken at α = {_nano(check[3])}, α in force was {_nano(check[2])}"
    ),
    "missed": lambda check: f"{check[3]} cycles in a row gave no usable reading, allowed are {check[4]}",
    "reverts": lambda check: f"{check[3]} trials in a row were taken back, allowed are {check[4]}",
}


def _mode(number: int) -> str:
    return _word(Mode(number)) if 0 <= number < len(Mode) else str(number)


def _modes(first: int, last: int) -> str:
    return " or ".join(_word(mode) for mode in Mode if first <= mode <= last)


def _word(value: object) -> str:
    return str(getattr(value, "name", value)).lower()


def _nano(figure: int) -> str:
    return f"{Decimal(figure).scaleb(-9):f}"


def _signed(figure: int) -> str:
    return f"{Decimal(figure).scaleb(-9):+f}"


def _decimal(figure: int, unit: int) -> str:
    if unit == NANO:
        return _nano(figure)
    # A forged check may name any unit, 0 as well.
    return f"{Decimal(figure) / unit:.12g}" if unit > 0 else f"{figure} of unit {unit}"


def _about_other(record: Record) -> Iterator[str]:
    place, body = f"Record {record.sequence} of {record.timestamp}", record.body
    if is_of_governance(body):
        what = " ".join(str(body[name]) for name in ("event", "action") if name in body)
        yield f"{place}: {what}, by {body.get('actor')}: {body.get('verdict')}."
        objections = body.get("objections")
        if isinstance(objections, list):
            yield from (f"  {objection}." for objection in objections)
        yield "All that it says:"
    else:
        yield f"{place}: {record.kind.value}."
        yield _KINDS[record.kind]
    yield from _members(body)


def _members(body: dict[str, JsonValue]) -> Iterator[str]:
    for name, value in body.items():
        yield f"  {name}: {value}"
