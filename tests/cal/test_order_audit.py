"""Orders in a ledger: verified by their keys, and held against the decisions that they led to."""

import contextlib
import json

import attrs
import pytest

from attunement.charter import Charter, Operator
from attunement.cli import _exit_code
from attunement.explain import Explainer
from attunement.governance import follow, kernel_order
from attunement.journal import JournalError, is_of_governance
from attunement.order import Action, sign_order
from attunement.order_audit import OrderAuditor
from attunement.order_book import OrderBook
from attunement.replay import Replay
from ledger import Kind, SigningKey, read_records
from ledger.keys import PUBLIC_TAG, encode_base64

INES, OMAR, EVA = KEYS = tuple(SigningKey(bytes([number] * 32)) for number in (11, 12, 13))
OPERATORS = tuple(
    Operator(name, key.verify_key) for name, key in zip(("ines", "omar", "eva"), KEYS, strict=True)
)
TWO_OF_THREE = Charter(OPERATORS, quorum=2)
FAR = 1_030_000_000


@pytest.fixture
def loop(attune, scripted_engine, wishes):
    """A history with an order of every kind in it, one of them refused."""
    loop = attune(scripted_engine(), wishes(), charter=TWO_OF_THREE)
    loop.controller.start()
    loop.engine.run(1)

    def order(action, subject=(), keys=(INES, OMAR)):
        signed = loop.governance.draft(action, subject, "ines", "storm is over")
        for key in keys:
            signed = sign_order(key, signed)
        loop.desk.submit([signed])
        loop.engine.run(1)

    order(Action.OVERRIDE, (FAR,))
    loop.engine.run(4)
    order(Action.OVERRIDE, (FAR,), (INES,))
    limits = loop.kernel.limits._replace(entropy_max=1_000_000)
    order(Action.POLICY, tuple(limits))
    order(Action.FREEZE, (), (EVA,))
    order(Action.UNFREEZE)
    commit = next(one for one in loop.governance.book.commits() if one.alpha == FAR)
    order(Action.PERSIST, (commit.sequence, commit.alpha))
    said = [answer.is_refused for answer in loop.desk.answers]
    assert said == [False, True, False, False, False, False], loop.desk.answers
    assert loop.kernel.state.alpha == FAR
    return loop


@pytest.fixture
def records(loop):
    return list(read_records(loop.path))


def audited(records, charter=TWO_OF_THREE):
    return list(Replay(OrderAuditor(charter)).run(records))


def changed(records, change, **wanted):
    """The records with the first body that has these members changed; and its sequence."""
    place = next(place for place, one in enumerate(records) if wanted.items() <= one.body.items())
    one = records[place]
    body = change(json.loads(json.dumps(one.body)))
    return [*records[:place], attrs.evolve(one, body=body), *records[place + 1 :]], one.sequence


def test_orders_as_they_were_given_audit_clean(records):
    assert audited(records) == []
    assert audited(records, None) == []
    verdicts = [one.body.get("verdict") for one in records if one.body.get("event") == "order"]
    assert (verdicts.count("authorised"), verdicts.count("refused")) == (5, 1)


@pytest.mark.parametrize("charter", [TWO_OF_THREE, None], ids=["with keys", "without keys"])
@pytest.mark.parametrize("event", ["override", "set_limits", "approve"])
def test_a_decision_without_its_order_is_found(records, event, charter):
    sequence = next(one.sequence for one in records if one.body.get("event") == event)
    without = [one for one in records if one.sequence != sequence - 1]
    assert records[sequence - 1].body["event"] == "order"
    found = [one for one in audited(without, charter) if one.sequence == sequence]
    assert [(one.field, one.derived) for one in found] == [
        ("authorised", "0: no authorised order comes before it")
    ]


def test_a_refused_order_authorises_nothing(records):
    lie, sequence = changed(
        records, lambda body: {**body, "verdict": "refused"}, event="order", action="unfreeze"
    )
    assert [one.sequence for one in audited(lie)] == [sequence, sequence + 1]


@pytest.mark.parametrize("action", ["freeze", "unfreeze", "persist", "override", "policy"])
@pytest.mark.parametrize("said", [["the watch was asleep"], [], None], ids=str)
def test_an_authorisation_turned_into_a_refusal_is_found_by_the_keys(records, action, said):
    lie, sequence = changed(
        records, lambda body: {**body, "verdict": "refused", "objections": said}, event="order", action=action
    )
    found = [one for one in audited(lie) if one.sequence == sequence]
    assert [one.field for one in found] == ["objections"]


def test_a_refusal_whose_order_cannot_be_read_is_found(records):
    lie, sequence = changed(
        records, lambda body: {**body, "order": {"v": 1}}, event="order", verdict="refused"
    )
    assert ("order", sequence) in {(one.field, one.sequence) for one in audited(lie)}


def test_an_order_that_does_not_fit_what_the_kernel_was_asked_audits_clean(loop, records):
    signed = loop.governance.draft(Action.OVERRIDE, (1_100_000_000,), "ines", "higher")
    for key in (INES, OMAR):
        signed = sign_order(key, signed)
    reading = loop.controller._reading
    entry = loop.kernel.override(kernel_order(signed, (1_020_000_000,)), 1.02, reading)
    assert entry.verdict.outcome.value == "refused"
    now = list(read_records(loop.path))
    order, decision = now[len(records) :]
    assert order.body["objections"] == [
        "α asked for does not lie on the way from the one in force to 1.100000000"
    ]
    assert audited(now) == []
    # Without the question nothing shows that it did not fit.
    assert [(one.sequence, one.field) for one in audited(now[:-1])] == [(order.sequence, "objections")]
    for change in ({"target": 1_040_000_000}, {"event": "approve"}):
        lie = [*now[:-1], attrs.evolve(decision, body={**decision.body, **change})]
        assert (order.sequence, "objections") in {(one.sequence, one.field) for one in audited(lie)}


def test_an_alpha_out_of_the_limits_is_refused_and_audits_clean(loop, records):
    signed = loop.governance.draft(Action.OVERRIDE, (98_000_000,), "ines", "lower")
    for key in (INES, OMAR):
        signed = sign_order(key, signed)
    loop.desk.submit([signed])
    loop.engine.run(1)
    now = list(read_records(loop.path))
    order = now[len(records)]
    assert (order.body["verdict"], order.body["objections"]) == (
        "refused",
        ["α is 0.098, must lie in [0.8, 1.2]"],
    )
    assert audited(now) == []


def test_a_counted_vote_turned_into_a_refused_one_is_found(records):
    for objections in (["well"], []):
        lie, sequence = changed(
            records,
            lambda body, said=objections: {**body, "verdict": "refused", "objections": said},
            event="vote",
            verdict="counted",
        )
        found = [one for one in audited(lie) if one.sequence == sequence]
        assert [one.derived for one in found] == ["'counted' (nothing is against it)"]
    lie, sequence = changed(records, lambda body: {**body, "objections": ["well"]}, event="vote")
    assert [one.field for one in audited(lie) if one.sequence == sequence] == ["objections"]


def test_steps_after_an_orders_life_are_found(records):
    steps = [one.sequence for one in records if one.body.get("event") == "override"]
    late = [
        one if one.sequence < steps[1] - 1 else attrs.evolve(one, timestamp="2999-01-01T00:00:00.000000Z")
        for one in records
    ]
    found = [one for one in audited(late) if one.sequence == steps[1]]
    assert [one.field for one in found] == ["authorised"]
    assert found[0].derived.startswith("0: expired at")


def test_a_refusal_turned_into_an_authorisation_is_found_by_the_keys(records):
    lie, sequence = changed(
        records,
        lambda body: {**body, "verdict": "authorised", "objections": []},
        event="order",
        verdict="refused",
    )
    found = [one for one in audited(lie) if one.sequence == sequence]
    assert [one.field for one in found] == ["verdict"]
    assert "1 of 3 operators are for it, must be 2" in found[0].derived
    # Without the keys the order is taken at its word, and no decision answers to it.
    assert audited(lie, None) == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"signatures": []}, "verdict"),
        ({"now": "2999-01-01T00:00:00.000000Z"}, "now"),
        ({"now": None}, "now"),
        ({"now": "2001-01-01T00:00:00.000000Z"}, "now"),
        ({"action": "approve"}, "action"),
        ({"order_id": "0" * 64}, "order_id"),
        ({"objections": ["well"]}, "objections"),
        ({"order": None}, "body"),
    ],
    ids=str,
)
def test_an_altered_order_is_found(records, change, field):
    lie, sequence = changed(records, lambda body: {**body, **change}, event="order", action="unfreeze")
    assert field in {one.field for one in audited(lie) if one.sequence == sequence}


def test_signatures_that_are_no_list_are_found(records):
    lie, sequence = changed(
        records, lambda body: {**body, "signatures": None}, event="order", action="unfreeze"
    )
    assert (sequence + 1, "authorised") in {(one.sequence, one.field) for one in audited(lie)}


@pytest.mark.parametrize("member", ["reason", "actor", "nonce", "expires"])
def test_terms_that_were_not_signed_are_found(records, member):
    def change(body):
        body["order"][member] = {"nonce": "0" * 32, "expires": "2026-01-01T00:00:00.000000Z"}.get(
            member, "eve"
        )
        return body

    lie, sequence = changed(records, change, event="order", action="unfreeze")
    found = {one.field for one in audited(lie) if one.sequence == sequence}
    assert {"verdict", "order_id"} <= found


def test_a_vote_of_nobody_is_found(records):
    lie, sequence = changed(
        records,
        lambda body: {**body, "vote": {**body["vote"], "key": "0" * 16}},
        event="vote",
        verdict="counted",
    )
    found = [one for one in audited(lie) if one.sequence == sequence]
    assert [one.derived for one in found] == [f"'refused' (key {'0' * 16} is no operator's)"]
    assert all(one.sequence != sequence for one in audited(lie, None))


@pytest.mark.parametrize(
    ("event", "change", "field"),
    [
        ("approve", {"actor": "mallory"}, "actor"),
        ("approve", {"reason": "because"}, "reason"),
        ("override", {"target": 990_000_000}, "target"),
        ("override", {"target": None}, "target"),
    ],
)
def test_a_decision_that_is_not_what_was_ordered_is_found(records, event, change, field):
    lie, sequence = changed(
        records,
        lambda body: {**body, **change},
        event=event,
        verdict={"approve": "approved", "override": "accepted"}[event],
    )
    assert (sequence, field) in {(one.sequence, one.field) for one in audited(lie)}


def test_a_policy_that_is_not_what_was_ordered_is_found(records):
    def change(body):
        return {**body, "limits": {**body["limits"], "reverts_max": 3}}

    lie, sequence = changed(records, change, event="set_limits", verdict="adopted")
    assert [(one.sequence, one.field) for one in audited(lie)] == [(sequence, "limits")]
    lie, sequence = changed(records, lambda body: {**body, "limits": None}, event="set_limits")
    assert (sequence, "limits") in {(one.sequence, one.field) for one in audited(lie)}


def test_an_order_does_for_one_decision(records):
    approved = next(one for one in records if one.body.get("event") == "approve")
    again = attrs.evolve(approved, sequence=approved.sequence + 1)
    found = audited([*records[: approved.sequence + 1], again])
    assert (again.sequence, "authorised") in {(one.sequence, one.field) for one in found}


def test_an_order_for_one_thing_does_not_do_for_another(records):
    place = next(one.sequence for one in records if one.body.get("action") == "unfreeze")
    policy = next(one for one in records if one.body.get("action") == "policy")
    lie = [*records[:place], attrs.evolve(policy, sequence=place), *records[place + 1 :]]
    assert (place + 1, "event") in {(one.sequence, one.field) for one in audited(lie)}


def test_steps_go_on_only_while_the_order_does(records):
    steps = [one for one in records if one.body.get("event") == "override"]
    assert len(steps) == 3
    assert [one.body["verdict"] for one in steps] == ["accepted", "accepted", "refused"]
    lie, _ = changed(
        records, lambda body: {**body, "verdict": "reverted"}, event="settle", verdict="committed"
    )
    assert (steps[1].sequence, "authorised") in {(one.sequence, one.field) for one in audited(lie)}


def test_an_order_that_the_kernel_does_not_carry_out_is_in_nobodys_way(records):
    step = [one for one in records if one.body.get("event") == "override"][1]
    persist = next(one for one in records if one.body.get("action") == "persist")
    between = [*records[: step.sequence], persist, *records[step.sequence :]]
    assert "authorised" not in {one.field for one in audited(between, None)}
    approve = next(one for one in records if one.body.get("event") == "approve")
    instead = [*records[: approve.sequence - 1], persist, *records[approve.sequence :]]
    assert (approve.sequence, "authorised") in {(one.sequence, one.field) for one in audited(instead, None)}


def test_records_of_others_are_passed_over(records, loop):
    note = attrs.evolve(records[-1], body={"event": "note"})
    stop = attrs.evolve(records[-1], kind=Kind.STOP, body={"reason": "full"})
    assert audited([*records[:-1], note, stop]) == []


def test_a_refused_order_is_explained(records):
    refused = next(
        one for one in records if (one.body.get("event"), one.body.get("verdict")) == ("order", "refused")
    )
    lines, found = Explainer().explain(refused)
    assert found == ()
    assert lines[0] == f"Record {refused.sequence} of {refused.timestamp}: order override, by ines: refused."
    assert lines[1:3] == ("  1 of 3 operators are for it, must be 2.", "All that it says:")
    alert = attrs.evolve(refused, body={"event": "alert", "actor": "x", "verdict": "raised"})
    assert "alert, by x: raised." in Explainer().explain(alert)[0][0]


def test_replay_uses_the_operators_of_the_configuration(records, loop, site, capsys):
    def replayed(*names):
        operators = []
        for name in names:
            key = dict(zip(("ines", "omar", "eva"), KEYS, strict=True))[name]
            path = site.folder / f"{name}.pub"
            path.write_bytes(public_key_file(key))
            operators.append({"name": name, "key_path": str(path)})
        config = site.config(governance={"operators": operators, "quorum": min(2, len(names)) or 1})
        code = _exit_code(["ledger", "replay", "--config", config, "--path", str(loop.path)])
        return code, capsys.readouterr().out

    assert replayed("ines", "omar", "eva")[0] == 0
    assert replayed()[0] == 0
    code, out = replayed("ines", "eva")
    assert code == 3
    assert f"key {OMAR.verify_key.key_id} is no operator's" in out


def public_key_file(key):
    verify_key = key.verify_key
    return f"{PUBLIC_TAG} {verify_key.key_id} {encode_base64(verify_key.raw)}\n".encode()


@pytest.mark.parametrize(
    "change",
    [
        {"event": ["x"]},
        {"event": {"x": 1}, "after": 3},
        {"after": 3},
        {"after": {"mode": "nope"}},
        {"limits": {"alpha_min": 1}},
        {"after": {"mode": "ready", "alpha": []}},
        {"event": "charter", "operators": [], "quorum": 1, "psi_min": 0, "order_ttl": 10**400, "after": None},
    ],
    ids=str,
)
def test_a_body_of_any_shape_is_named_and_breaks_nothing(records, change):
    place, one = next((place, one) for place, one in enumerate(records) if "after" in one.body)
    body = {
        key: value for key, value in {**one.body, **change}.items() if key != "after" or value is not None
    }
    lie = [*records[:place], attrs.evolve(one, body=body), *records[place + 1 :]]
    found = list(Replay(OrderAuditor(None)).run(lie))
    assert any(mismatch.sequence in (one.sequence, one.sequence + 1) for mismatch in found)
    assert isinstance(is_of_governance(body), bool)
    book = OrderBook(3600.0)
    with contextlib.suppress(JournalError):
        for record in lie:
            follow(book, record)
