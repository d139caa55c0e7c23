"""The kernel's decisions as ledger records, and back."""

import json
import re
from copy import deepcopy
from decimal import Decimal, localcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_bench import signers_of

from attunement.foreign import printable
from attunement.journal import (
    FIRST_SCHEMA,
    SCHEMA,
    Journal,
    JournalError,
    body_of,
    comparison_of,
    encode_entry,
    entry_of,
    names_of_broken,
    reading_of,
    resume_point,
)
from kernel import Comparison, Entry, Kind, Limits, Mode, Outcome, Reading, State
from kernel.state import Verdict
from ledger import Kind as RecordKind
from ledger import Ledger, Record, read_records
from ledger.canonical import encode, parse

NUMBERS = st.integers(-(2**80), 2**80)
COUNTS = st.integers(0, 2**63)
SCALED = st.tuples(NUMBERS, NUMBERS, NUMBERS)
STATES = st.builds(
    State,
    mode=st.sampled_from(Mode),
    alpha=NUMBERS,
    good=NUMBERS,
    cycle=COUNTS,
    reverts=COUNTS,
    missed=COUNTS,
    policy=COUNTS,
    kind=st.sampled_from(Kind),
    resume=st.sampled_from(Mode),
)
READINGS = st.builds(
    Reading,
    cycle=COUNTS,
    alpha=NUMBERS,
    coherence=NUMBERS,
    entropy_rate=NUMBERS,
    h_internal=NUMBERS,
    drive=SCALED,
    loop_gain=SCALED,
)
LIMITS = st.builds(Limits, *[NUMBERS] * len(Limits._fields))
COMPARISONS = st.builds(Comparison, before=NUMBERS, after=NUMBERS, tolerance=NUMBERS)
CHECKS = st.tuples(st.sampled_from(["alpha", "drive[L_mu]", "mode"]), NUMBERS, NUMBERS, NUMBERS, NUMBERS)
EVENTS = ("start", "propose", "settle", "observe", "miss", "recover", "freeze", "approve", "override")
ENTRIES = st.builds(
    Entry,
    event=st.sampled_from((*EVENTS, "set_limits", "actuator_failed")),
    actor=st.text(st.characters(), max_size=500),
    reason=st.text(st.characters(), max_size=500),
    before=STATES,
    after=STATES,
    verdict=st.builds(Verdict, st.sampled_from(Outcome), st.lists(CHECKS, max_size=6).map(tuple)),
    target=st.none() | NUMBERS,
    kind=st.none() | st.sampled_from(Kind),
    reading=st.none() | READINGS,
    comparison=st.none() | COMPARISONS,
    limits=st.none() | LIMITS,
)

PLAIN_STATE = State(Mode.READY, 10**9, 10**9, 5, 0, 0, 1, Kind.STEP, Mode.READY)
PLAIN_LIMITS = Limits(*range(1, 14))
PLAIN = Entry(
    "start",
    "ines",
    "first start",
    PLAIN_STATE,
    PLAIN_STATE,
    Verdict(Outcome.STARTED),
    10**9,
    Kind.RESTORE,
    Reading(5, 10**9, 1, 2, 3, (4, 5, 6), (7, 8, 9)),
    Comparison(1, 2, 3),
    PLAIN_LIMITS,
)


def record(body, sequence=1, kind=RecordKind.ENTRY):
    return Record(
        sequence, "2026-03-01T00:00:00.000000Z", None, "0" * 64, "key", kind, body, b"", "0" * 64, b""
    )


@settings(max_examples=120, deadline=None)
@given(ENTRIES)
def test_an_entry_survives_the_ledgers_bytes(entry):
    body = parse(encode(body_of(entry)))
    # The bytes that the kernel waits for are those of the general encoder.
    assert encode(body) == encode_entry(entry)
    assert entry_of(body) == entry._replace(
        actor=printable(entry.actor), reason=printable(entry.reason), verdict=broken_alone(entry.verdict)
    )
    if entry.limits is None or entry.verdict.outcome is Outcome.REFUSED:
        with pytest.raises(JournalError, match="no record carries the limits"):
            resume_point([record(body)])
    else:
        assert resume_point([record(body)]) == (entry.after, entry.limits)
    assert reading_of(body) == entry.reading
    assert comparison_of(body) == entry.comparison
    assert body["target"] == entry.target
    assert body["kind"] == (None if entry.kind is None else entry.kind.name.lower())
    assert tuple(tuple(check) for check in body["broken"]) == entry.verdict.broken
    assert body["before"]["mode"] == entry.before.mode.name.lower()
    assert (body["event"], body["verdict"]) == (entry.event, entry.verdict.outcome.value)


def broken_alone(verdict):
    return Verdict(verdict.outcome, verdict.broken)


@pytest.mark.parametrize("wrong", [0.5, float("nan"), "1", None])
def test_what_is_no_integer_is_not_written(wrong):
    for entry in (
        PLAIN._replace(after=PLAIN_STATE._replace(alpha=wrong)),
        PLAIN._replace(reading=PLAIN.reading._replace(drive=(wrong, 1, 2))),
        PLAIN._replace(comparison=Comparison(1, 2, wrong)),
    ):
        with pytest.raises((ValueError, TypeError)):
            encode_entry(entry)


def test_a_body_has_the_fields_that_the_specification_names():
    body = body_of(PLAIN)
    assert set(body) == {
        "schema",
        "event",
        "verdict",
        "actor",
        "reason",
        "old_alpha",
        "new_alpha",
        "C_before",
        "C_after",
        "broken",
        "before",
        "after",
        "target",
        "kind",
        "reading",
        "comparison",
        "decimal",
        "limits",
    }
    assert (body["schema"], body["C_before"], body["C_after"]) == (SCHEMA, 1, 2)
    assert (body["old_alpha"], body["new_alpha"]) == (10**9, 10**9)


@given(ENTRIES)
def test_what_is_said_in_decimals_is_what_the_integers_say(entry):
    body = body_of(entry)
    told, reading = body["decimal"], body["reading"]
    names = {"new_alpha", "old_alpha", "target"}
    assert told.keys() == {*names, "reading"}
    for name in names:
        assert_same_figure(told[name], body[name])
    if reading is None:
        assert told["reading"] is None
        return
    # A cycle is a count, and has no decimals.
    assert told["reading"].keys() == reading.keys() - {"cycle"}
    for name, found in told["reading"].items():
        if name in ("drive", "loop_gain"):
            assert found.keys() == reading[name].keys()
            for scale, text in found.items():
                assert_same_figure(text, reading[name][scale])
        else:
            assert_same_figure(found, reading[name])


def assert_same_figure(text, integer):
    if integer is None:
        assert text is None
        return
    assert re.fullmatch(r"-?(0|[1-9][0-9]*)\.[0-9]{9}", text)
    with localcontext(prec=60):
        assert Decimal(text).scaleb(9) == integer
    # Minus nothing is no figure of the kernel's.
    assert text != "-0.000000000"


@given(ENTRIES)
def test_a_body_of_the_first_version_is_the_same_without_decimals(entry):
    first, now = body_of(entry, FIRST_SCHEMA), body_of(entry)
    assert first == {name: now[name] for name in now.keys() - {"decimal"}} | {"schema": FIRST_SCHEMA}
    assert entry_of(first) == entry_of(now)
    assert encode(first) == encode_entry(entry, FIRST_SCHEMA)


@pytest.mark.parametrize(
    ("comparison", "reading", "after"),
    [(None, PLAIN.reading, 1), (None, None, None), (PLAIN.comparison, None, 2)],
)
def test_coherence_afterwards_is_the_mean_if_there_is_one_and_else_the_reading(comparison, reading, after):
    assert body_of(PLAIN._replace(comparison=comparison, reading=reading))["C_after"] == after


def test_the_journal_writes_signed_records(tmp_path, signing_key):
    path = tmp_path / "ledger.log"
    with Ledger.open(path, signers_of(signing_key)) as ledger:
        receipt = Journal(ledger).append(PLAIN)
    genesis, entry = read_records(path)
    assert genesis.kind is RecordKind.GENESIS
    assert (entry.sequence, entry.hash_hex) == (receipt.sequence, receipt.hash_hex)
    assert entry.body == json.loads(json.dumps(body_of(PLAIN)))


def test_a_new_ledger_is_resumed_from_nothing(tmp_path, signing_key):
    with Ledger.open(tmp_path / "ledger.log", signers_of(signing_key)) as ledger:
        assert resume_point(ledger.records()) is None


def test_the_newest_state_and_the_newest_adopted_policy_are_resumed():
    adopted = PLAIN._replace(limits=PLAIN_LIMITS._replace(reverts_max=99))
    refused = PLAIN._replace(verdict=Verdict(Outcome.REFUSED), limits=PLAIN_LIMITS._replace(reverts_max=7))
    last = PLAIN._replace(limits=None, after=PLAIN_STATE._replace(alpha=4, mode=Mode.EMERGENCY))
    found = resume_point(
        [
            record({"format": "genesis"}, 0, RecordKind.GENESIS),
            record(body_of(PLAIN)),
            record(body_of(adopted)),
            record({"length": 3}, 3, RecordKind.RECOVERY),
            record(body_of(refused)),
            record(body_of(last)),
        ]
    )
    assert found == (last.after, adopted.limits)


def _without(*path):
    def change(body):
        *way, leaf = path
        for step in way:
            body = body[step]
        del body[leaf]

    return change


def _with(value, *path):
    def change(body):
        *way, leaf = path
        for step in way:
            body = body[step]
        body[leaf] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        _without("after"),
        _without("limits"),
        _without("verdict"),
        _without("after", "mode"),
        _without("after", "alpha"),
        _without("limits", "step_max"),
        _with("resting", "after", "mode"),
        _with("jump", "after", "kind"),
        _with(1.0, "after", "alpha"),
        _with(True, "after", "reverts"),
        _with("1000000000", "after", "alpha"),
        _with(1, "after", "colour"),
        _with(1, "limits", "colour"),
        _with([1], "limits"),
        _with(None, "after"),
        _with([], "after"),
    ],
)
def test_a_record_that_holds_no_decision_is_named(change):
    body = deepcopy(body_of(PLAIN))
    change(body)
    with pytest.raises(JournalError, match="record 17 holds no kernel entry"):
        resume_point([record(body_of(PLAIN)), record(body, 17)])


@pytest.mark.parametrize("version", [0, 3, 2**80, True, "2", None, 2.0])
def test_a_decision_of_a_version_that_is_not_known_is_not_gone_on_from(version):
    body = {**body_of(PLAIN), "schema": version}
    said = r"record 17 holds no kernel entry: schema is .*, must be one of 1, 2$"
    with pytest.raises(JournalError, match=said):
        resume_point([record(body_of(PLAIN)), record(body, 17)])


@pytest.mark.parametrize(
    ("schema", "change", "said"),
    [
        (FIRST_SCHEMA, _with({}, "decimal"), "decimal is no member of it"),
        (FIRST_SCHEMA, _without("reason"), "reason is missing"),
        (SCHEMA, _without("decimal"), "decimal is missing"),
        (SCHEMA, _with(1, "colour\x1b"), r"colour\\x1b is no member of it"),
    ],
)
def test_a_decision_has_the_members_of_its_version_and_no_others(schema, change, said):
    body = deepcopy(body_of(PLAIN, schema))
    assert resume_point([record(body)]) == (PLAIN.after, PLAIN.limits)
    change(body)
    with pytest.raises(JournalError, match=f"record 17 holds no kernel entry: {said}$"):
        resume_point([record(body, 17)])


@pytest.mark.parametrize(
    ("value", "path"),
    [
        *(
            (value, (member,))
            for member in ("after", "limits", "reading", "comparison")
            for value in (1, "1")
        ),
        ("1", ("reading", "drive")),
    ],
)
def test_a_members_name_does_not_steer_the_terminal(value, path):
    body = deepcopy(body_of(PLAIN))
    _with(value, *path, "\x1b[2J\nall is well")(body)
    with pytest.raises(JournalError) as told:
        entry_of(body)
    assert str(told.value).isprintable()
    assert r"\x1b[2J\nall is well" in str(told.value)


@pytest.mark.parametrize(
    "change",
    [
        _with("calm", "reading"),
        _without("reading", "drive"),
        _without("reading", "cycle"),
        _without("reading", "loop_gain", "L_phi"),
        _with(1.5, "reading", "entropy_rate"),
        _with([1, 2, 3], "reading", "drive"),
        _with(1, "reading", "colour"),
    ],
)
def test_a_reading_that_cannot_be_read_is_told(change):
    body = deepcopy(body_of(PLAIN))
    change(body)
    with pytest.raises(JournalError, match="reading cannot be read"):
        reading_of(body)


@pytest.mark.parametrize("comparison", ["calm", {"before": 1}, {"before": 1, "after": 2, "tolerance": 0.5}])
def test_a_comparison_that_cannot_be_read_is_told(comparison):
    with pytest.raises(JournalError, match="comparison cannot be read"):
        comparison_of({"comparison": comparison})


def test_only_what_is_broken_is_named():
    verdict = Verdict(Outcome.REFUSED, (("alpha", 1, 0, 5, 4), ("mode", 1, 0, 0, 0)))
    assert names_of_broken(PLAIN._replace(verdict=verdict)) == ("alpha",)
    assert body_of(PLAIN._replace(verdict=verdict))["broken"] == [["alpha", 1, 0, 5, 4]]
