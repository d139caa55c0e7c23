"""Replay: decisions of the real kernel derive again to the last figure, and no altered one passes."""

import copy
import random
import threading

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attunement.assembly import Attunement
from attunement.build import build_engine
from attunement.config_schema import Config, LoggingConfig, OptimizerConfig, Shock, SourceConfig
from attunement.journal import FIRST_SCHEMA, JournalError, body_of, entry_of
from attunement.policy import kernel_limits
from attunement.replay import EVENTS, Mismatch, Replay, after_calm_cycles, is_decision, was_authorised
from attunement.running import run_cycles
from kernel import (
    ActuatorError,
    Comparison,
    Kind,
    Mode,
    Order,
    Outcome,
    Proposal,
    Reading,
    SafetyKernel,
    State,
)
from ledger import Kind as RecordKind
from ledger import Ledger, Record, Verdict, read_records, verify
from ledger.canonical import encode, parse

LIMITS = kernel_limits(Config())
CALM = {"entropy_rate": 0, "h_internal": 10**9, "drive": (10**8,) * 3, "loop_gain": (2 * 10**8,) * 3}
UNSAFE = {
    "mild": {"entropy_rate": 5_000_000},
    "severe": {"entropy_rate": 90_000_000},
    "low h": {"h_internal": 910_000_000},
    "loop": {"loop_gain": (10**8, 361_000_000, 10**8)},
}


def record(body, sequence=1, kind=RecordKind.ENTRY):
    # Through the ledger's own bytes: what is judged is what would be read back.
    stored = parse(encode(body))
    return Record(
        sequence, "2026-03-01T00:00:00.000000Z", None, "0" * 64, "key", kind, stored, b"", "0" * 64, b""
    )


def replayed(bodies, orders=None):
    replay = Replay(orders)
    found = list(replay.run(record(body, sequence) for sequence, body in enumerate(bodies, 1)))
    assert replay.mismatches == len(found)
    return replay, found


def found_in(bodies):
    return {(mismatch.sequence, mismatch.field) for mismatch in replayed(bodies)[1]}


class Bodies(list):
    def append(self, entry):
        super().append(body_of(entry))


class Drive:
    """A real kernel that chance drives through every event; its decisions are kept as ledger bodies."""

    def __init__(self, seed):
        self.dice = random.Random(seed)
        self.bodies = Bodies()
        self.broken = 0
        self.signs = True
        self.cycle = 0
        self.kernel = SafetyKernel.start(LIMITS, 1.0, self.bodies, self, self, actor="test", reason="start")

    def set_alpha_multiplier(self, alpha):
        if self.broken > 0:
            self.broken -= 1
            raise OSError("stuck")

    def authorises(self, order):
        return self.signs

    def reading(self):
        self.cycle += self.dice.choice((1, 1, 1, 0))
        figures = dict(CALM, **self.dice.choice(({}, {}, {}, *UNSAFE.values())))
        alpha = self.kernel.state.alpha + self.dice.choice((0, 0, 0, 0, 1))
        return Reading(cycle=self.cycle, alpha=alpha, coherence=self.dice.randrange(10**9), **figures)

    def step(self):
        kernel, dice = self.kernel, self.dice
        self.broken = dice.choice((0,) * 8 + (1, 2))
        self.signs = dice.random() < 0.7
        reading, wanted = self.reading(), kernel.alpha + dice.choice((-0.02, -0.01, 0.0, 0.01, 0.02, 0.03))
        order = Order("approve", (), "ines", "again", "")
        # Chance alone would stay latched, and leave few trials to settle.
        likely = {Mode.TRIAL: 3, Mode.EMERGENCY: 8, Mode.FROZEN: 8}.get(kernel.mode, 0)
        match dice.choice((likely, dice.randrange(11))):
            case 0 | 1 | 2:
                target = dice.choice((wanted, wanted, wanted, float("nan"), None))
                kernel.propose(Proposal(target, dice.choice(list(Kind)), "tuner", "gradient step"), reading)
            case 3 | 4 | 5:
                better = Comparison(10**8, dice.choice((0, 10**8, 2 * 10**8)), 10**6)
                kernel.settle(reading, better, "test", "trial measured")
            case 6:
                kernel.observe(reading, "test", "cycle observed")
            case 7:
                kernel.miss("test", "no sample")
            case 8:
                kernel.approve(order, reading)
            case 9 if dice.random() < 0.4:
                kernel.freeze("ines", "lunch")
            case 9:
                subject = (round(wanted * 1e9),)
                kernel.override(order._replace(action="override", subject=subject), subject[0] / 1e9, reading)
            case 10 if dice.random() < 0.5:
                limits = LIMITS._replace(
                    entropy_max=dice.choice((10**6, 2 * 10**6)), missed_max=dice.choice((2, 5))
                )
                kernel.set_limits(order._replace(action="set_limits", subject=tuple(limits)), limits)
            case 10:
                kernel.recover("test", "restart")


def driven(seed, steps):
    drive = Drive(seed)
    for _ in range(steps):
        drive.step()
    return drive


@pytest.fixture(scope="module")
def history():
    """Bodies of one long history with every event and every outcome in it."""
    bodies = list(driven(11, 900).bodies)
    assert {body["event"] for body in bodies} == EVENTS
    assert {body["verdict"] for body in bodies} == {outcome.value for outcome in Outcome}
    return bodies


@pytest.fixture(scope="module")
def alter(history):
    """Return a function that puts a body in the place of another, and tells which of its fields are found."""
    replays, replay = [], Replay()
    for sequence, body in enumerate(history, 1):
        replays.append(copy.copy(replay))
        replay.follow(record(body, sequence))

    def fields(place, body):
        found = copy.copy(replays[place]).follow(record(body, place + 1))
        assert {one.sequence for one in found} <= {place + 1}
        return {one.field for one in found}

    return fields


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 150))
def test_whatever_the_kernel_decides_derives_again(seed, steps):
    drive = driven(seed, steps)
    replay, found = replayed(drive.bodies)
    assert found == []
    assert replay.decisions == len(drive.bodies)
    assert replay.limits == drive.kernel.limits
    calm = after_calm_cycles(replay.limits, replay.state, drive.kernel.state)
    assert calm == drive.kernel.state


def test_every_event_and_outcome_derives_again(history):
    assert replayed(history)[1] == []


def test_an_entry_comes_back_from_its_body(history):
    for body in history:
        entry = entry_of(parse(encode(body)))
        assert entry_of(body_of(entry)) == entry
        assert body_of(entry) == body


@pytest.mark.parametrize("outcome", [outcome.value for outcome in Outcome])
def test_a_changed_verdict_is_found_wherever_it_stands(history, alter, outcome):
    for place, body in list(enumerate(history))[::7]:
        if body["verdict"] != outcome:
            # An actuator that failed gives no more away than its verdict: then the state tells.
            assert alter(place, {**body, "verdict": outcome}) & {"verdict", "after.mode"}, body


@pytest.mark.parametrize("change", [-1, 1, 10**6])
def test_a_changed_result_is_found(history, alter, change):
    for place, body in list(enumerate(history))[::6]:
        for name in ("alpha", "good", "cycle", "missed", "reverts", "policy"):
            after = {**body["after"], name: body["after"][name] + change}
            assert alter(place, {**body, "after": after}) == {f"after.{name}"}
        for name in ("old_alpha", "new_alpha", "C_after", "C_before"):
            assert alter(place, {**body, name: change if body[name] is None else body[name] + change}) == {
                name
            }
        assert "broken" in alter(place, {**body, "broken": [*body["broken"], ["alpha", 10**9, 0, 2, 1]]})


@pytest.mark.parametrize("name", ["alpha", "good", "reverts", "policy"])
def test_a_decision_begins_where_the_last_one_ended(history, alter, name):
    for place, body in list(enumerate(history))[::6]:
        before = {**body["before"], name: body["before"][name] + 1}
        assert f"before.{name}" in alter(place, {**body, "before": before})


@pytest.mark.parametrize("name", ["mode", "kind", "resume"])
def test_a_changed_mode_is_found(history, alter, name):
    words = ("step", "probe", "restore") if name == "kind" else ("ready", "trial", "frozen", "emergency")
    for place, body in list(enumerate(history))[::6]:
        for word in words:
            if body["after"][name] != word:
                after = {**body["after"], name: word}
                assert alter(place, {**body, "after": after}) == {f"after.{name}"}


def test_a_false_record_is_not_found_again_in_those_that_follow(history):
    place = next(place for place, body in enumerate(history) if body["verdict"] == "reverted")
    body = {**copy.deepcopy(history[place]), "reason": "another"}
    body["broken"][0][3] += 1
    found = replayed([*history[:place], body, *history[place + 1 :]])[1]
    assert [(one.sequence, one.field) for one in found] == [(place + 1, "broken")]
    assert str(found[0]).startswith(f"record {place + 1}: broken is [['")
    assert ", must be [['" in str(found[0])


def test_a_dropped_record_is_found(history):
    places = [
        place
        for place in range(1, len(history) - 1)
        if history[place]["after"] != history[place]["before"] or history[place]["event"] == "set_limits"
    ]
    unfound = 0
    for place in places[::20]:
        if not found_in([*history[:place], *history[place + 1 : place + 2]]):
            # Between two refusals nothing but the count of cycles may show, and calm cycles explain it.
            unfound += 1
            before, after = history[place]["before"], history[place]["after"]
            moved = {name for name in before if before[name] != after[name]}
            assert moved <= {"cycle", "missed"} or history[place + 1]["event"] == "actuator_failed"
    assert unfound < len(places[::20]) / 2


def test_a_policy_hidden_in_another_decision_is_found(history, alter):
    wide = {**history[0]["limits"], "alpha_max": 5 * 10**9}
    for place, body in enumerate(history):
        if body["event"] not in ("start", "set_limits"):
            assert alter(place, {**body, "limits": wide}) & {"limits", "limits.alpha_max"}, body


def test_a_policy_that_was_never_adopted_does_not_come_into_force(history):
    replay, found = replayed([body for body in history if body["event"] != "set_limits"])
    assert replay.limits == LIMITS
    assert any(one.field.startswith("limits.") or one.field.startswith("before.policy") for one in found)


@pytest.mark.parametrize(
    ("event", "member"),
    [
        ("propose", "kind"),
        ("propose", "reading"),
        ("settle", "reading"),
        ("settle", "comparison"),
        ("observe", "reading"),
        ("approve", "reading"),
        ("override", "target"),
        ("override", "reading"),
        ("set_limits", "limits"),
        ("start", "target"),
    ],
)
def test_a_missing_input_is_named(history, event, member):
    place = next(
        place
        for place, body in enumerate(history)
        if body["event"] == event and (event != "propose" or body["target"] is not None)
    )
    found = replayed([*history[:place], {**history[place], member: None}])[1]
    assert found == [Mismatch(place + 1, member, "null", f"what {event} is decided on")]


def test_an_order_that_was_not_authorised_cannot_have_been_adopted(history):
    forged = 0
    for place, body in enumerate(history):
        refused = [check for check in body["broken"] if check[0] == "authorised"]
        if body["event"] == "set_limits" and len(body["broken"]) == 1 and refused:
            lie = {
                **body,
                "verdict": "adopted",
                "after": {**body["after"], "policy": body["after"]["policy"] + 1},
            }
            assert {field for _, field in found_in([*history[:place], lie])} == {"after.policy", "verdict"}
            forged += 1
    assert forged


def test_whoever_keeps_the_orders_is_told_every_record(history):
    class Orders:
        def __init__(self):
            self.told = []

        def follow(self, record, entry):
            self.told.append((record.sequence, entry))
            if entry is not None and entry.actor == "mallory":
                yield Mismatch(record.sequence, "signature", "absent", "mallory's")

        def finish(self):
            yield Mismatch(len(self.told), "charter", "absent", "somebody's")

    place = next(place for place, body in enumerate(history) if body["verdict"] == "approved")
    vote, damaged = {"event": "vote", "actor": "mallory"}, {"event": "miss"}
    orders = Orders()
    bodies = [*history[:place], vote, {**history[place], "actor": "mallory"}, damaged]
    replay, found = replayed(bodies, orders)
    assert [(one.sequence, one.field) for one in found] == [
        (place + 2, "signature"),
        (place + 3, "body"),
        (place + 3, "charter"),
    ]
    assert replay.mismatches == 3
    entries = [None if body in (vote, damaged) else entry_of(body) for body in bodies]
    assert orders.told == list(enumerate(entries, 1))
    assert (replay.decisions, replay.others) == (place + 2, 1)
    assert {was_authorised(entry_of(body)) for body in history} == {True, False}


def test_a_history_begins_once(history):
    assert found_in([history[0], history[0]]) == {(2, "event")}
    place = next(place for place, body in enumerate(history) if body["event"] == "recover")
    assert found_in([history[place]]) == {(1, "event")}
    (found,) = replayed([{**history[place], "event": "miss", "limits": None}])[1][1:]
    assert (found.field, found.recorded) == ("limits", "null")


def test_an_unknown_event_with_a_state_is_not_passed_over(history):
    assert is_decision(record({**history[1], "event": "nudge"}))
    (found,) = replayed([history[0], {**history[1], "event": "nudge"}])[1][-1:]
    assert (found.field, found.recorded) == ("event", "'nudge'")
    assert not is_decision(record({"event": "vote"}))
    assert not is_decision(record({"event": "miss"}, kind=RecordKind.STOP))


def test_a_failure_of_the_actuator_follows_what_it_undoes(history):
    place = next(place for place, body in enumerate(history) if body["verdict"] == "aborted")
    failed = history[place]
    assert (place + 1, "actor") in found_in([*history[:place], {**failed, "actor": "other"}])
    assert (place + 1, "target") in found_in([*history[:place], {**failed, "target": 3}])
    refused = next(place for place, body in enumerate(history) if body["verdict"] == "refused")
    fields = found_in([*history[: refused + 1], {**failed, "before": history[refused]["before"]}])
    assert (refused + 2, "event") in fields


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"before": None}, "state is a NoneType"),
        ({"verdict": "fine"}, "'fine' is not a valid Outcome"),
        ({"target": "1"}, "target is a str"),
        ({"target": True}, "target is a bool"),
        ({"kind": "nudge"}, "'NUDGE' is missing or unknown"),
        ({"kind": 3}, "found a int, must be a text"),
        ({"actor": 3}, "found a int, must be a text"),
        ({"broken": None}, "broken is a NoneType"),
        ({"broken": [["alpha", 1, 2, 3]]}, "a broken check is not its name and four integers"),
        ({"broken": [["alpha", 1, 2, 3, True]]}, "a broken check is not its name and four integers"),
        ({"limits": {"alpha_min": 1}}, "missing 12 required"),
        ({"reading": []}, "reading cannot be read"),
        ({"comparison": {"x": 1}}, "comparison cannot be read"),
    ],
    ids=str,
)
def test_what_is_no_entry_is_named(history, change, said):
    body = {**history[1], **change}
    with pytest.raises(JournalError, match=said.replace("(", "\\(")):
        entry_of(body)
    replay, (found,) = replayed([history[0], body])
    assert (found.sequence, found.field, found.derived) == (2, "body", "an entry of the kernel")
    assert said in found.recorded
    assert replay.state == entry_of(history[0]).after


def test_a_decimal_that_its_integer_does_not_say_is_found(history):
    propose = next(body for body in history if body["event"] == "propose" and body["target"] is not None)
    place = history.index(propose)
    for path in (("new_alpha",), ("target",), ("reading", "alpha"), ("reading", "loop_gain", "L_phi")):
        altered = copy.deepcopy(propose)
        *way, leaf = ("decimal", *path)
        inner = altered
        for step in way:
            inner = inner[step]
        inner[leaf] = "0.999999999"
        assert found_in([*history[:place], altered, *history[place + 1 :]]) == {
            (place + 1, ".".join(("decimal", *path)))
        }


def test_a_ledger_of_the_first_version_derives_again(history):
    first = [body_of(entry_of(body), FIRST_SCHEMA) for body in history]
    assert {body["schema"] for body in first} == {FIRST_SCHEMA}
    assert replayed(first)[1] == []
    # Once a newer version writes on, it is a ledger of both.
    assert replayed([*first[:7], *history[7:]])[1] == []
    # What the first version does not know is not passed over in it.
    lied = {**first[3], "decimal": {"new_alpha": "0.999999999"}}
    assert found_in([*first[:3], lied, *first[4:]]) == {(4, "decimal")}


@pytest.mark.parametrize("version", [0, 3, True, "1", None])
def test_another_version_of_a_body_is_found(history, version):
    assert (1, "schema") in found_in([{**history[0], "schema": version}])


@pytest.mark.parametrize("name", ["schema", "target", "new_alpha", "comparison", "decimal"])
def test_a_member_too_few_or_too_many_is_found(history, name):
    body = dict(history[0])
    del body[name]
    if name in ("schema", "new_alpha", "decimal"):
        assert found_in([body]) == {(1, name)}
        assert replayed([body])[1][0].recorded == "absent"
    else:
        assert {field for _, field in found_in([body])} <= {"body", name}
    assert found_in([{**history[0], "extra": 1}]) == {(1, "extra")}
    assert found_in([{**history[0], "C_after": False}]) == {(1, "C_after")}


def test_a_start_that_the_engine_did_not_take_derives_again():
    bodies = Bodies()

    class Stuck:
        def set_alpha_multiplier(self, alpha):
            raise OSError("stuck")

    with pytest.raises(ActuatorError):
        SafetyKernel.start(LIMITS, 1.0, bodies, Stuck(), None, actor="test", reason="start")
    assert [body["event"] for body in bodies] == ["start", "actuator_failed"]
    assert replayed(bodies)[1] == []


READY = State(Mode.READY, 10**9, 10**9, 5, 0, 1, 1, Kind.STEP, Mode.READY)


@pytest.mark.parametrize(
    ("mode", "found", "reached"),
    [
        (Mode.READY, {"cycle": 9, "missed": 0}, {"cycle": 9, "missed": 0}),
        (Mode.READY, {"cycle": 9, "missed": 4}, {"cycle": 9, "missed": 4}),
        (Mode.READY, {"cycle": 9, "missed": 5}, {"cycle": 9, "missed": 4}),
        (Mode.READY, {"cycle": 5, "missed": 0}, {"cycle": 5, "missed": 1}),
        (Mode.READY, {"cycle": 4, "missed": 1}, {"cycle": 5, "missed": 1}),
        (Mode.READY, {"alpha": 3}, {}),
        (Mode.FROZEN, {"cycle": 9, "missed": 4}, {"cycle": 9, "missed": 4}),
        (Mode.EMERGENCY, {"cycle": 9, "missed": 1}, {"cycle": 9, "missed": 0}),
        (Mode.EMERGENCY, {"missed": 3}, {}),
        (Mode.TRIAL, {"cycle": 9, "missed": 0}, {}),
    ],
    ids=str,
)
def test_calm_cycles_lead_only_so_far(mode, found, reached):
    last = READY._replace(mode=mode)
    assert after_calm_cycles(LIMITS, last, last._replace(**found)) == last._replace(**reached)


def simulated(tmp_path, signers, cycles=120, runs=2):
    shocks = (Shock("partition", start=30, length=15, magnitude=0.25, share=0.2),)
    config = Config(
        settle_delay=0.0,
        optimizer=OptimizerConfig(name="gradient", seed=5),
        source=SourceConfig(nodes=24, shocks=shocks, seed=3),
        logging=LoggingConfig(audit_ledger_path=str(tmp_path / "ledger")),
    )
    for _ in range(runs):
        engine = build_engine(config)
        with Attunement(config, engine, signers) as attunement:
            attunement.controller.start()
            run_cycles(engine, cycles, 0.0, threading.Event(), lambda: None)
    return tmp_path / "ledger"


def test_a_verdict_changed_and_signed_again_with_the_right_keys_is_found_by_replay_alone(tmp_path, signers):
    path = simulated(tmp_path, signers)
    assert list(Replay().run(read_records(path))) == []
    entries = [one for one in read_records(path) if one.kind is RecordKind.ENTRY]
    target = next(one for one in entries[20:] if one.body["verdict"] == "returned")
    forged = tmp_path / "forged"
    with Ledger.open(forged, signers, sync=lambda descriptor: None) as ledger:
        for one in entries:
            body = dict(one.body)
            if one.sequence == target.sequence:
                # The whole lie: a probe that was to return is kept.
                body |= {"verdict": "committed", "new_alpha": one.body["old_alpha"]}
                alpha = one.body["old_alpha"]
                body["after"] = {**one.body["after"], "alpha": alpha, "good": alpha}
            ledger.append(body)
        head = ledger.head()
    report = verify(forged, signers.records.verify_key, anchor=head)
    assert report.verdict is Verdict.VERIFIED
    found = list(Replay().run(read_records(forged)))
    assert {one.sequence for one in found} == {target.sequence, target.sequence + 1}
    fields = {one.field: one for one in found if one.sequence == target.sequence}
    assert fields.keys() == {"verdict", "after.alpha", "after.good", "new_alpha"}
    assert str(fields["verdict"]) == (
        f"record {target.sequence}: verdict is 'committed', must be '{target.body['verdict']}'"
    )


def test_replay_holds_no_more_than_the_last_decision(history):
    replay = Replay()
    for sequence, body in enumerate(history, 1):
        replay.follow(record(body, sequence))
    kept = {name: value for name, value in vars(replay).items() if not isinstance(value, int)}
    assert kept.keys() == {"limits", "_orders", "last", "derived"}
    assert attrs.fields(Mismatch).sequence.type is int
