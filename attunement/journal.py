"""The kernel's decisions as ledger bodies, and back.

Quantities are integers in units of 1e-9. `before`, `after`, `reading`, `comparison`, `target`, `kind` and
`limits` are enough to derive the decision again; the other members are what people look for. `decimal` says
α and the reading once more as they are written by hand; who derives a decision again holds that against the
integers.
"""

from collections.abc import Collection, Iterable, Mapping
from itertools import chain
from json.encoder import encode_basestring
from typing import Any, Protocol, cast

from attunement.foreign import escaped, printable
from attunement.order_book import GOVERNANCE_EVENTS
from kernel import Comparison, Entry, Kind, Limits, Mode, Outcome, Reading, State
from kernel.limits import Check
from kernel.quantity import NANO, Nano
from kernel.state import SCALES, PerScale, Verdict
from ledger import Canonical, JsonValue, Receipt, Record
from ledger import Kind as RecordKind
from ledger.canonical import parse

SCHEMA = 2
FIRST_SCHEMA = 1
"""Versions of a decision's body: what is written, and what is still read, which has no `decimal`."""

_OF_FIRST = frozenset(
    {
        *("C_after", "C_before", "actor", "after", "before", "broken", "comparison", "event", "kind"),
        *("limits", "new_alpha", "old_alpha", "reading", "reason", "schema", "target", "verdict"),
    }
)
_MEMBERS = {FIRST_SCHEMA: _OF_FIRST, SCHEMA: _OF_FIRST | {"decimal"}}
_MU, _PHI, _BIG_PHI = SCALES
_MODE_WORDS: dict[Mode, str] = {mode: mode.name.lower() for mode in Mode}
_KIND_WORDS: dict[Kind, str] = {kind: kind.name.lower() for kind in Kind}
_OUTCOME_WORDS: dict[Outcome, str] = {outcome: outcome.value for outcome in Outcome}
_NAMES_OF_LIMITS = sorted(Limits._fields)
_WHOLE = frozenset({int})


def _layout(figure: str, cycle: str) -> str:
    """Return how a reading is spelt, sorted by code point, with a form for each of its figures."""
    by_scale = f'{{"{_BIG_PHI}":{figure},"{_MU}":{figure},"{_PHI}":{figure}}}'
    return (
        f'{{"alpha":{figure},"coherence":{figure}{cycle},"drive":{by_scale}'
        f',"entropy_rate":{figure},"h_internal":{figure},"loop_gain":{by_scale}}}'
    )


# One form for all of a reading is faster than one for each of its figures.
_INTEGERS = _layout("%d", ',"cycle":%d')
_DECIMALS = _layout('"%d.%09d"', "")
_TEXTS = _layout("%s", "")


class JournalError(Exception):
    """A record's body is not an entry of the kernel; what it quotes of the record is fit to be shown."""

    def __init__(self, said: str) -> None:
        super().__init__(escaped(said))


class Appendable(Protocol):
    """A ledger, or what stands before one."""

    def append(self, body: Canonical) -> Receipt:
        """Make a record of the body and return where it stands, once it is durable.

        Raises:
            LedgerError: it is not durable.
        """


class Journal:
    """Appends entries to a ledger; what the kernel calls its ledger.

    Args:
        ledger: Open, and owned by the caller.
    """

    def __init__(self, ledger: Appendable) -> None:
        self._ledger = ledger

    def append(self, entry: Entry) -> Receipt:
        """Make the entry durable.

        Raises:
            LedgerError: it is not durable.
        """
        return self._ledger.append(encode_entry(entry))


def encode_entry(entry: Entry, schema: int = SCHEMA) -> Canonical:
    """Return an entry as the ledger stores it, in canonical bytes.

    Every change of α waits for this: the members are spelt out here, sorted as the canonical form has them,
    instead of being put into an object that is then looked at member by member.

    Args:
        entry: The decision.
        schema: `SCHEMA`, or `FIRST_SCHEMA` for a body as ledgers of that time hold it.

    Raises:
        TypeError, ValueError: a figure is no integer.
    """
    comparison, reading, after = entry.comparison, entry.reading, entry.after
    figures = () if reading is None else _figures(reading)
    coherence = None if reading is None else reading.coherence
    measured = coherence if comparison is None else comparison.after
    broken = ",".join([_broken(*check) for check in entry.verdict.broken])
    text = (
        f'{{"C_after":{_figure(measured)}'
        f',"C_before":{_figure(None if comparison is None else comparison.before)}'
        f',"actor":{encode_basestring(printable(entry.actor))}'
        f',"after":{_state(after)}'
        f',"before":{_state(entry.before)}'
        f',"broken":[{broken}]'
        f',"comparison":{"null" if comparison is None else _comparison(comparison)}'
        f"{_decimals(entry, figures) if schema > FIRST_SCHEMA else ''}"
        f',"event":{encode_basestring(entry.event)}'
        f',"kind":{"null" if entry.kind is None else encode_basestring(_KIND_WORDS[entry.kind])}'
        f',"limits":{"null" if entry.limits is None else _limits(entry.limits)}'
        f',"new_alpha":{after.alpha:d}'
        f',"old_alpha":{entry.before.alpha:d}'
        f',"reading":{"null" if reading is None else _measured(reading.cycle, figures)}'
        f',"reason":{encode_basestring(printable(entry.reason))}'
        f',"schema":{schema:d}'
        f',"target":{_figure(entry.target)}'
        f',"verdict":"{_OUTCOME_WORDS[entry.verdict.outcome]}"}}'
    )
    return Canonical(text.encode("utf-8"))


def body_of(entry: Entry, schema: int = SCHEMA) -> dict[str, JsonValue]:
    """Return an entry as it is read from the ledger.

    Raises:
        TypeError, ValueError: a figure is no integer.
    """
    return cast(dict[str, JsonValue], parse(encode_entry(entry, schema)))


def resume_point(
    records: Iterable[Record], begun: tuple[State, Limits] | None = None
) -> tuple[State, Limits] | None:
    """Return the state and the policy that the last entries leave behind, None if there are none.

    Args:
        records: What follows, of a whole ledger or of a place in it.
        begun: State and policy at that place, None at the beginning.

    Raises:
        JournalError: an entry cannot be read, is of a version that is not known here or has members that its
            version does not have; or the first does not carry a policy.
    """
    state, limits = begun or (None, None)
    for record in records:
        if record.kind is not RecordKind.ENTRY or is_of_governance(record.body):
            continue
        try:
            _check_members(record.body)
            state = state_of(record.body["after"])
            if record.body["limits"] is not None and record.body["verdict"] != "refused":
                limits = limits_of(record.body["limits"])
        except (KeyError, TypeError, ValueError) as error:
            raise JournalError(f"record {record.sequence} holds no kernel entry: {error}") from error
    if state is None:
        return None
    if limits is None:
        raise JournalError("no record carries the limits in force")
    return state, limits


def is_of_governance(body: Mapping[str, JsonValue]) -> bool:
    """Say whether a body is an order, a vote or an alert, and no decision of the kernel."""
    return is_among(body.get("event"), GOVERNANCE_EVENTS) and "after" not in body


def is_version(found: object, known: Collection[int]) -> bool:
    """Say whether a member of a body, which may be JSON of any kind, is one of these versions."""
    # True would pass for 1.
    return type(found) is int and found in known


def is_among(found: object, words: frozenset[str]) -> bool:
    """Say whether a member of a body, which may be JSON of any kind, is one of these words."""
    # A list has no place in a set, not even to be looked up.
    return isinstance(found, str) and found in words


def reading_of(body: Mapping[str, JsonValue]) -> Reading | None:
    """Return the reading in a record's body, None if it has none.

    Raises:
        JournalError: it is there and cannot be read.
    """
    stored = body.get("reading")
    if stored is None:
        return None
    try:
        return _reading(stored)
    except (KeyError, TypeError) as error:
        raise JournalError(f"reading cannot be read: {error}") from error


def comparison_of(body: Mapping[str, JsonValue]) -> Comparison | None:
    """Return the comparison in a record's body, None if it has none.

    Raises:
        JournalError: it is there and cannot be read.
    """
    stored = body.get("comparison")
    if stored is None:
        return None
    try:
        return Comparison(**_integers(stored))
    except TypeError as error:
        raise JournalError(f"comparison cannot be read: {error}") from error


def entry_of(body: Mapping[str, JsonValue]) -> Entry:
    """Return the entry that `body_of` made a body of; its verdict holds the broken checks alone.

    Raises:
        JournalError: the body is not an entry's, a member is missing or ill-typed.
    """
    try:
        kind, limits = body["kind"], body["limits"]
        return Entry(
            event=_text(body["event"]),
            actor=_text(body["actor"]),
            reason=_text(body["reason"]),
            before=state_of(body["before"]),
            after=state_of(body["after"]),
            verdict=Verdict(Outcome(body["verdict"]), _checks(body["broken"])),
            target=_target(body["target"]),
            kind=None if kind is None else Kind[_text(kind).upper()],
            reading=reading_of(body),
            comparison=comparison_of(body),
            limits=None if limits is None else limits_of(limits),
        )
    except KeyError as error:
        raise JournalError(f"no kernel entry: {error.args[0]!a} is missing or unknown") from error
    except (TypeError, ValueError) as error:
        raise JournalError(f"no kernel entry: {error}") from error


def names_of_broken(entry: Entry) -> tuple[str, ...]:
    """Return the names of the limits that an entry broke."""
    return tuple(check[0] for check in entry.verdict.broken)


def figures_body(figures: Comparison | Limits) -> dict[str, JsonValue]:
    """Return a comparison or limits as the ledger stores them."""
    return dict(sorted(zip(figures._fields, figures, strict=True)))


def state_body(state: State) -> dict[str, JsonValue]:
    """Return a state as the ledger stores it."""
    return {
        "alpha": state.alpha,
        "cycle": state.cycle,
        "good": state.good,
        "kind": _KIND_WORDS[state.kind],
        "missed": state.missed,
        "mode": _MODE_WORDS[state.mode],
        "policy": state.policy,
        "resume": _MODE_WORDS[state.resume],
        "reverts": state.reverts,
    }


def limits_of(stored: JsonValue) -> Limits:
    """Return the limits that `figures_body` made an object of.

    Raises:
        TypeError: it is no such object.
    """
    return Limits(**_integers(stored))


def state_of(stored: JsonValue) -> State:
    """Return the state that `state_body` made an object of.

    Raises:
        TypeError, KeyError: it is no such object.
    """
    if not isinstance(stored, dict):
        raise TypeError(f"state is a {type(stored).__name__}, must be an object")
    names = {name: str(stored[name]).upper() for name in ("mode", "kind", "resume")}
    figures = {name: value for name, value in stored.items() if name not in names}
    return State(
        mode=Mode[names["mode"]], kind=Kind[names["kind"]], resume=Mode[names["resume"]], **_integers(figures)
    )


def _check_members(body: Mapping[str, JsonValue]) -> None:
    schema = body["schema"]
    if not is_version(schema, _MEMBERS):
        raise ValueError(f"schema is {ascii(schema)[:40]}, must be one of {', '.join(map(str, _MEMBERS))}")
    odd = body.keys() ^ _MEMBERS[cast(int, schema)]
    if odd:
        name = min(odd)
        raise ValueError(f"{escaped(name)} is {'no member of it' if name in body else 'missing'}")


def _figure(value: int | None) -> str:
    return "null" if value is None else f"{value:d}"


def _decimals(entry: Entry, figures: tuple[Nano, ...]) -> str:
    return (
        f',"decimal":{{"new_alpha":{_decimal(entry.after.alpha)},"old_alpha":{_decimal(entry.before.alpha)}'
        f',"reading":{_measured_decimals(figures)},"target":{_decimal(entry.target)}}}'
    )


def _measured_decimals(figures: tuple[Nano, ...]) -> str:
    if not figures:
        return "null"
    if min(figures) < 0:
        return _TEXTS % tuple(map(_decimal, figures))
    return _DECIMALS % tuple(chain.from_iterable([divmod(figure, NANO) for figure in figures]))


def _decimal(figure: int | None) -> str:
    if figure is None:
        return "null"
    if figure < 0:
        return f'"-{_decimal(-figure)[1:]}'
    digits = f"{figure:d}"
    return f'"{digits[:-9]}.{digits[-9:]}"' if len(digits) > 9 else f'"0.{digits:0>9}"'


def _state(state: State) -> str:
    mode, alpha, good, cycle, reverts, missed, policy, kind, resume = state
    return (
        f'{{"alpha":{alpha:d},"cycle":{cycle:d},"good":{good:d},"kind":"{_KIND_WORDS[kind]}"'
        f',"missed":{missed:d},"mode":"{_MODE_WORDS[mode]}","policy":{policy:d}'
        f',"resume":"{_MODE_WORDS[resume]}","reverts":{reverts:d}}}'
    )


def _measured(cycle: int, figures: tuple[Nano, ...]) -> str:
    alpha, coherence, *others = figures
    return _INTEGERS % (alpha, coherence, cycle, *others)


def _figures(reading: Reading) -> tuple[Nano, ...]:
    """Return all of a reading but its cycle, sorted by name.

    Raises:
        TypeError: a figure is no integer; a form would cut a float down to one.
    """
    cycle, alpha, coherence, entropy_rate, h_internal, drive, loop_gain = reading
    drive_mu, drive_phi, drive_big_phi = drive
    gain_mu, gain_phi, gain_big_phi = loop_gain
    figures = (
        *(alpha, coherence, drive_big_phi, drive_mu, drive_phi),
        *(entropy_rate, h_internal, gain_big_phi, gain_mu, gain_phi),
    )
    if _WHOLE.issuperset(map(type, (cycle, *figures))):
        return figures
    raise TypeError("a reading holds what is no integer")


def _comparison(comparison: Comparison) -> str:
    before, after, tolerance = comparison
    return f'{{"after":{after:d},"before":{before:d},"tolerance":{tolerance:d}}}'


def _limits(limits: Limits) -> str:
    return "{" + ",".join([f'"{name}":{getattr(limits, name):d}' for name in _NAMES_OF_LIMITS]) + "}"


def _broken(name: str, unit: int, least: int, figure: int, most: int) -> str:
    return f"[{encode_basestring(name)},{unit:d},{least:d},{figure:d},{most:d}]"


def _reading(stored: Any) -> Reading:
    if not isinstance(stored, dict):
        raise TypeError(f"found a {type(stored).__name__}, must be an object")
    scalars = {name: value for name, value in stored.items() if name not in ("drive", "loop_gain")}
    return Reading(
        **_integers(scalars),
        drive=_per_scale(stored["drive"]),
        loop_gain=_per_scale(stored["loop_gain"]),
    )


def _per_scale(stored: Any) -> PerScale:
    figures = _integers(stored)
    return (figures[SCALES[0]], figures[SCALES[1]], figures[SCALES[2]])


def _text(stored: JsonValue) -> str:
    if isinstance(stored, str):
        return stored
    raise TypeError(f"found a {type(stored).__name__}, must be a text")


def _target(stored: JsonValue) -> Nano | None:
    if stored is None:
        return None
    if type(stored) is not int:
        raise TypeError(f"target is a {type(stored).__name__}, must be an integer")
    return Nano(stored)


def _checks(stored: JsonValue) -> tuple[Check, ...]:
    if not isinstance(stored, list):
        raise TypeError(f"broken is a {type(stored).__name__}, must be a list")
    return tuple(_check(check) for check in stored)


def _check(stored: Any) -> Check:
    if not (isinstance(stored, list) and [type(part) for part in stored] == [str, int, int, int, int]):
        raise TypeError("a broken check is not its name and four integers")
    name, unit, least, figure, most = stored
    return (name, unit, least, figure, most)


def _integers(stored: Any) -> dict[str, Any]:
    if not isinstance(stored, dict):
        raise TypeError(f"found a {type(stored).__name__}, must be an object")
    for name, value in stored.items():
        if type(value) is not int:
            raise TypeError(f"{escaped(name)} is a {type(value).__name__}, must be an integer")
    return stored
