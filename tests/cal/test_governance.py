"""Whose orders count, for what, and once: the authority on a real kernel and ledger."""

import json
from datetime import UTC, datetime, timedelta

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attunement.charter import Charter, Operator, load_charter
from attunement.config_schema import ConfigError
from attunement.governance import Governance, follow, kernel_order
from attunement.journal import JournalError
from attunement.order import Action, Choice, SignedOrder, sign_order
from attunement.order_book import OrderBook
from kernel import LedgerUnavailableError, Limits, Mode, Order, Outcome
from kernel.quantity import Nano
from ledger import Head, Ledger, LedgerWriteError, SigningKey, read_records

INES, OMAR, EVA = KEYS = tuple(SigningKey(bytes([number] * 32)) for number in (11, 12, 13))
OPERATORS = tuple(
    Operator(name, key.verify_key) for name, key in zip(("ines", "omar", "eva"), KEYS, strict=True)
)
TWO_OF_THREE = Charter(OPERATORS, quorum=2)
TARGET = 1_010_000_000


def begun(attune, engine, wishes, charter=TWO_OF_THREE, cycles=1, **settings):
    loop = attune(engine, wishes(), charter=charter, **settings)
    loop.controller.start()
    loop.engine.run(cycles)
    return loop


def drafted(loop, action, subject=(), *keys, **changes):
    signed = loop.governance.draft(action, subject, "ines", "storm is over")
    signed = SignedOrder(attrs.evolve(signed.terms, **changes))
    for key in keys:
        signed = sign_order(key, signed)
    return signed


def asked(loop, signed):
    """Have the kernel asked, and return what it decided."""
    order, reading = kernel_order(signed, signed.terms.subject), loop.controller._newest()
    if order.action == "approve":
        return loop.kernel.approve(order, reading).verdict.outcome
    if order.action == "set_limits":
        return loop.kernel.set_limits(order, Limits(*order.subject)).verdict.outcome
    return loop.kernel.override(order, order.subject[0] / 1e9, reading).verdict.outcome


def governed(loop, event="order"):
    return [body for body in bodies_of(loop) if body.get("event") == event]


def bodies_of(loop):
    return [record.body for record in read_records(loop.path)]


def objections(loop):
    return governed(loop)[-1]["objections"]


def test_an_order_of_enough_operators_counts_and_is_recorded_before_the_decision(
    attune, scripted_engine, wishes
):
    loop = begun(attune, scripted_engine(), wishes)
    signed = drafted(loop, Action.OVERRIDE, (TARGET,), INES, EVA)
    assert asked(loop, signed) is Outcome.ACCEPTED
    order, decision = bodies_of(loop)[-2:]
    assert (order["event"], order["verdict"], order["objections"]) == ("order", "authorised", [])
    assert (order["action"], order["actor"], order["reason"]) == ("override", "ines", "storm is over")
    assert order["order"] == json.loads(signed.encode())["order"]
    assert order["signatures"] == json.loads(signed.encode())["signatures"]
    assert order["order_id"] == signed.terms.order_id
    assert (decision["event"], decision["verdict"]) == ("override", "accepted")


def test_an_order_of_too_few_is_refused_and_may_come_again_with_more(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes)
    signed = drafted(loop, Action.OVERRIDE, (TARGET,), INES)
    assert asked(loop, signed) is Outcome.REFUSED
    assert objections(loop) == ["1 of 3 operators are for it, must be 2"]
    assert asked(loop, sign_order(OMAR, signed)) is Outcome.ACCEPTED


def test_an_order_counts_once(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes)
    signed = drafted(loop, Action.OVERRIDE, (TARGET,), INES, OMAR)
    asked(loop, signed)
    loop.engine.run(1)
    assert asked(loop, signed) is Outcome.REFUSED
    assert objections(loop) == [
        f"nonce {signed.terms.nonce} was used",
    ]


def test_an_order_that_the_kernel_refused_is_used_up_too(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes)
    far = drafted(loop, Action.OVERRIDE, (1_150_000_000,), INES, OMAR)
    assert asked(loop, far) is Outcome.REFUSED
    assert governed(loop)[-1]["verdict"] == "authorised"
    assert asked(loop, far) is Outcome.REFUSED
    assert objections(loop) == [f"nonce {far.terms.nonce} was used"]


def test_an_expired_order_is_refused_and_a_clock_set_back_does_not_revive_it(
    attune, scripted_engine, wishes, monkeypatch
):
    loop = begun(attune, scripted_engine(), wishes)
    past = drafted(loop, Action.OVERRIDE, (TARGET,), INES, OMAR, expires="2026-03-01T00:00:00.000000Z")
    assert asked(loop, past) is Outcome.REFUSED
    assert objections(loop)[0].startswith("expired at 2026-03-01T00:00:00.000000Z, now it is 20")
    loop.governance._clock = lambda: datetime(2020, 1, 1, tzinfo=UTC)
    assert asked(loop, past) is Outcome.REFUSED
    assert objections(loop)[0].startswith("expired")


def test_an_order_that_lives_too_long_is_refused(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes)
    eternal = drafted(loop, Action.OVERRIDE, (TARGET,), INES, OMAR, expires="9999-01-01T00:00:00.000000Z")
    assert asked(loop, eternal) is Outcome.REFUSED
    (line,) = objections(loop)
    assert line.startswith("expires at 9999-01-01T00:00:00.000000Z, must be within 3600 s of")


def test_an_order_for_another_ledger_is_refused(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes)
    strange = drafted(loop, Action.OVERRIDE, (TARGET,), INES, OMAR, head=Head(1, "cd" * 32))
    assert asked(loop, strange) is Outcome.REFUSED
    assert objections(loop) == ["head 1:cdcdcdcdcdcdcdcd was no head of this ledger in the last 3600 s"]


def test_an_order_given_before_a_latch_is_refused_after_it(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes)
    signed = drafted(loop, Action.OVERRIDE, (TARGET,), INES, OMAR)
    loop.controller.freeze("ines", "maintenance")
    assert asked(loop, signed) is Outcome.REFUSED
    assert objections(loop) == [
        "latch is none, must be record 2",
        "head 1 is older than record 2, which changed the latch, the policy or the charter",
    ]


def test_an_approval_is_for_one_latch(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes)
    loop.controller.freeze("ines", "maintenance")
    first = drafted(loop, Action.UNFREEZE, (), INES, OMAR)
    kept = drafted(loop, Action.UNFREEZE, (), INES, OMAR)
    assert asked(loop, first) is Outcome.APPROVED
    loop.controller.freeze("ines", "maintenance again")
    assert asked(loop, kept) is Outcome.REFUSED
    assert objections(loop)[0] == "latch is record 2, must be record 5"
    assert loop.kernel.mode is Mode.FROZEN


@pytest.mark.parametrize("action", [Action.UNFREEZE, Action.APPROVE])
def test_leaving_a_freeze_is_not_leaving_an_emergency(attune, scripted_engine, wishes, action):
    loop = begun(attune, scripted_engine(), wishes)
    if action is Action.APPROVE:
        loop.controller.freeze("ines", "maintenance")
    else:
        loop.engine.h_internal = 0.1
        loop.engine.run(1)
        loop.engine.h_internal = 1.0
        loop.engine.run(20)
    mode, needed = ("FROZEN", "EMERGENCY") if action is Action.APPROVE else ("EMERGENCY", "FROZEN")
    assert asked(loop, drafted(loop, action, (), INES, OMAR)) is Outcome.REFUSED
    assert objections(loop) == [f"mode is {mode}, must be {needed} for {action.value}"]


def test_an_order_in_ready_has_nothing_to_leave(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes)
    assert asked(loop, drafted(loop, Action.APPROVE, (), INES, OMAR)) is Outcome.REFUSED
    assert objections(loop) == ["mode is READY, must be EMERGENCY for approve"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"action": "approve", "subject": ()}, "override does not authorise approve"),
        (
            {"subject": (TARGET + 1,)},
            "α asked for does not lie on the way from the one in force to 1.010000000",
        ),
        ({"subject": (999_999_999,)}, "α asked for does not lie on the way"),
        ({"subject": ()}, "α asked for does not lie on the way"),
        ({"actor": "mallory"}, "actor and reason are not those that were signed"),
        ({"reason": "because"}, "actor and reason are not those that were signed"),
        ({"signature": "λ"}, "not an order"),
        ({"signature": "\ud800"}, "not an order"),
        ({"signature": ""}, "not an order"),
    ],
)
def test_what_is_asked_must_be_what_was_signed(attune, scripted_engine, wishes, changes, said):
    loop = begun(attune, scripted_engine(), wishes)
    order = kernel_order(drafted(loop, Action.OVERRIDE, (TARGET,), INES, OMAR), (TARGET,))
    assert not loop.governance.authorises(order._replace(**changes))
    assert objections(loop)[0].startswith(said)
    assert governed(loop)[-1]["verdict"] == "refused"
    assert loop.governance.authorises(order)


def test_a_policy_is_adopted_as_it_was_signed_and_not_another(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes)
    limits = loop.kernel.limits._replace(entropy_max=1_000_000)
    signed = drafted(loop, Action.POLICY, tuple(limits), INES, OMAR)
    other = kernel_order(signed, tuple(limits._replace(reverts_max=99)))
    assert not loop.governance.authorises(other)
    assert "the subject is not the one that was signed" in objections(loop)
    assert asked(loop, signed) is Outcome.ADOPTED
    assert loop.kernel.limits == limits


def test_votes_are_recorded_one_by_one_and_counted_from_the_ledger(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes)
    limits = loop.kernel.limits._replace(entropy_max=1_000_000)
    proposal = drafted(loop, Action.POLICY, tuple(limits))
    assert loop.governance.hear(sign_order(INES, proposal))
    assert asked(loop, sign_order(INES, proposal)) is Outcome.REFUSED
    assert objections(loop) == ["1 of 3 operators are for it, must be 2"]
    assert asked(loop, sign_order(EVA, proposal)) is Outcome.ADOPTED
    votes = governed(loop, "vote")
    assert [(vote["actor"], vote["verdict"], vote["vote"]["choice"]) for vote in votes] == [
        ("ines", "counted", "for"),
        ("eva", "counted", "for"),
    ]
    assert {vote["order_id"] for vote in votes} == {proposal.terms.order_id}


def test_the_quorum_is_counted_over_a_restart(attune, scripted_engine, wishes, signers):
    loop = begun(attune, scripted_engine(), wishes)
    proposal = drafted(loop, Action.POLICY, tuple(loop.kernel.limits._replace(reverts_max=4)))
    loop.governance.hear(sign_order(INES, proposal))
    loop.controller.stop()
    loop.ledger.close()
    with Ledger.open(loop.path, signers) as ledger:
        after = Governance(ledger, TWO_OF_THREE, lambda: 0.9)
        assert len(list(after.followed(ledger.records()))) == 3
        assert not after.hear(sign_order(OMAR, proposal))
        assert after.authorises(kernel_order(sign_order(OMAR, proposal), proposal.terms.subject))
    loop.broken = True


def test_an_operator_votes_once(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes)
    proposal = drafted(loop, Action.POLICY, tuple(loop.kernel.limits))
    assert loop.governance.hear(sign_order(INES, proposal))
    assert loop.governance.hear(sign_order(INES, proposal))
    assert len(governed(loop, "vote")) == 1
    assert not loop.governance.hear(sign_order(INES, proposal, Choice.AGAINST))
    first, second = governed(loop, "vote")
    assert (first["verdict"], second["verdict"]) == ("counted", "refused")
    assert second["objections"] == [f"key {INES.verify_key.key_id} has voted for before"]


def test_a_proposal_that_too_many_are_against_is_rejected(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes)
    proposal = drafted(loop, Action.POLICY, tuple(loop.kernel.limits))
    assert loop.governance.hear(sign_order(INES, proposal, Choice.AGAINST))
    assert not loop.governance.hear(sign_order(OMAR, proposal, Choice.AGAINST))
    assert asked(loop, sign_order(EVA, proposal)) is Outcome.REFUSED
    assert objections(loop) == [
        "1 of 3 operators are for it, must be 2",
        "2 of 3 operators are against it: it is rejected",
    ]


def test_a_vote_of_nobody_is_recorded_and_not_counted(attune, scripted_engine, wishes, signing_key):
    loop = begun(attune, scripted_engine(), wishes)
    proposal = drafted(loop, Action.POLICY, tuple(loop.kernel.limits), INES)
    assert not loop.governance.hear(sign_order(signing_key, proposal))
    key_id = signing_key.verify_key.key_id
    assert sorted((vote["actor"], vote["verdict"]) for vote in governed(loop, "vote")) == [
        ("", "refused"),
        ("ines", "counted"),
    ]
    assert [vote["objections"] for vote in governed(loop, "vote") if vote["verdict"] == "refused"] == [
        [f"key {key_id} is no operator's"]
    ]


def test_no_vote_is_taken_on_a_proposal_that_lapsed_and_none_on_other_orders(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes)
    lapsed = drafted(
        loop, Action.POLICY, tuple(loop.kernel.limits), INES, expires="2026-03-01T00:00:00.000000Z"
    )
    assert not loop.governance.hear(lapsed)
    assert not loop.governance.hear(drafted(loop, Action.OVERRIDE, (TARGET,), INES))
    assert governed(loop, "vote") == []


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(Choice)), max_size=6),
    st.integers(1, 3),
)
def test_the_first_vote_of_each_stands_and_the_quorum_decides(tmp_path_factory, signers, votes, quorum):
    folder = tmp_path_factory.mktemp("votes") / "ledger"
    with Ledger.open(folder, signers, sync=lambda _: None) as ledger:
        governance = Governance(ledger, Charter(OPERATORS, quorum), lambda: 0.9)
        list(governance.followed(ledger.records()))
        proposal = governance.draft(Action.POLICY, tuple(range(13)), "ines", "drill")
        stands = {}
        for key, choice in votes:
            governance.hear(sign_order(key, proposal, choice))
            stands.setdefault(key, choice)
        ahead = list(stands.values()).count(Choice.FOR)
        against = len(stands) - ahead
        is_adopted = governance.authorises(kernel_order(proposal, proposal.terms.subject))
        assert is_adopted == (ahead >= quorum and against <= 3 - quorum)
        counted = [vote for record in ledger.records() if (vote := record.body).get("verdict") == "counted"]
    assert len(counted) == len(stands)


@pytest.mark.parametrize("psi", [0.4999999999, 0.0, None, float("nan"), 1.5, OSError("no Ψ"), "much"])
def test_no_policy_is_adopted_while_psi_is_low_or_unknown(attune, scripted_engine, wishes, psi):
    loop = begun(attune, scripted_engine(), wishes)
    limits = loop.kernel.limits._replace(reverts_max=4)
    signed = drafted(loop, Action.POLICY, tuple(limits), INES, OMAR)
    loop.engine.psi = psi
    assert asked(loop, signed) is Outcome.REFUSED
    (line,) = objections(loop)
    assert line in (
        "Ψ is unknown, must be at least 0.500000000",
        f"Ψ is {0.499999999 if psi else 0:.9f}, must be at least 0.500000000",
    )
    assert loop.kernel.limits != limits
    loop.engine.psi = 0.5
    assert asked(loop, signed) is Outcome.ADOPTED
    assert (governed(loop)[-1]["psi"], governed(loop)[-1]["psi_min"]) == (500_000_000, 500_000_000)


def test_a_policy_that_alpha_lies_outside_is_the_kernels_to_refuse(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes)
    narrow = loop.kernel.limits._replace(alpha_min=Nano(1_010_000_000), alpha_safe=Nano(1_010_000_000))
    assert asked(loop, drafted(loop, Action.POLICY, tuple(narrow), INES, OMAR)) is Outcome.REFUSED
    assert governed(loop)[-1]["verdict"] == "authorised"
    assert [check[0] for check in bodies_of(loop)[-1]["broken"]] == ["alpha"]
    assert loop.kernel.state.policy == 1


def test_an_order_given_before_a_change_of_policy_is_refused_after_it(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes)
    before = drafted(loop, Action.OVERRIDE, (TARGET,), INES, OMAR)
    limits = loop.kernel.limits._replace(reverts_max=4)
    assert asked(loop, drafted(loop, Action.POLICY, tuple(limits), INES, OMAR)) is Outcome.ADOPTED
    assert asked(loop, before) is Outcome.REFUSED
    assert "which changed the latch, the policy or the charter" in objections(loop)[0]


def test_no_order_counts_that_cannot_be_recorded(attune, scripted_engine, wishes, monkeypatch):
    loop = begun(attune, scripted_engine(), wishes)
    signed = drafted(loop, Action.OVERRIDE, (TARGET,), INES, OMAR)

    def full(body):
        raise LedgerWriteError("no space left")

    monkeypatch.setattr(loop.ledger, "append", full)
    loop.broken = True
    with pytest.raises(LedgerUnavailableError, match="no space left"):
        asked(loop, signed)
    assert loop.engine.applied == [1.0]
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("operators", "quorum", "said"),
    [
        (OPERATORS, 4, r"governance.quorum is 4, must lie in \[1, 3\]"),
        (OPERATORS, 0, r"governance.quorum is 0, must lie in \[1, 3\]"),
        (
            (*OPERATORS, attrs.evolve(OPERATORS[0], key=SigningKey(bytes(32)).verify_key)),
            1,
            "the name ines twice",
        ),
        ((*OPERATORS, attrs.evolve(OPERATORS[0], name="again")), 1, "the key [0-9a-f]{16} twice"),
    ],
)
def test_a_charter_that_contradicts_itself_is_named(operators, quorum, said):
    with pytest.raises(ConfigError, match=said):
        Charter(operators, quorum)


def test_the_configuration_names_the_operators(site):
    from attunement.config import load

    governance = {
        "operators": [{"name": "ines", "key_path": f"{site.operator}.pub"}],
        "psi_min": 0.7,
        "order_ttl": 60,
    }
    charter = load_charter(load(site.folder / site.config(governance=governance), {}))
    assert [operator.name for operator in charter.operators] == ["ines"]
    assert (charter.quorum, charter.psi_min, charter.order_ttl_s) == (1, 700_000_000, 60.0)


def test_a_book_read_again_is_the_book_that_was_kept(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes)
    asked(loop, drafted(loop, Action.OVERRIDE, (TARGET,), INES, OMAR))
    loop.engine.run(1)
    loop.controller.freeze("ines", "maintenance")
    loop.governance.hear(drafted(loop, Action.POLICY, tuple(loop.kernel.limits), EVA))
    again = OrderBook(3600.0)
    for record in read_records(loop.path):
        follow(again, record)
    assert vars(again) == vars(loop.governance.book)


@pytest.mark.parametrize(
    "body",
    [
        {"event": "order", "verdict": "authorised"},
        {"event": "order", "verdict": "authorised", "order": None},
        {"event": "vote", "verdict": "counted", "order": {}},
        *({"event": "alert", "verdict": "raised", "schema": version} for version in (0, 2, True, "1", None)),
    ],
)
def test_a_record_that_says_it_is_an_order_and_is_none_is_named(tmp_path, signers, body):
    with Ledger.open(tmp_path / "ledger", signers) as ledger:
        ledger.append({"schema": 1, **body})
        governance = Governance(ledger, TWO_OF_THREE, lambda: 0.9)
        with pytest.raises(JournalError, match=f"record 1 holds no {body['event']}: "):
            list(governance.followed(ledger.records()))


def test_an_order_needs_a_ledger_to_answer_to(tmp_path, signers):
    from attunement.order import OrderError

    with Ledger.open(tmp_path / "ledger", signers) as ledger:
        governance = Governance(ledger, TWO_OF_THREE, lambda: 0.9)
        with pytest.raises(OrderError, match="no record that an order could answer to"):
            governance.draft(Action.FREEZE, (), "ines", "drill")


def test_heads_that_are_older_than_an_order_can_be_are_forgotten(tmp_path, signers):
    moment = [datetime(2026, 3, 1, tzinfo=UTC)]
    with Ledger.open(tmp_path / "ledger", signers, clock=lambda: moment[0], sync=lambda _: None) as ledger:
        governance = Governance(
            ledger, attrs.evolve(TWO_OF_THREE, order_ttl_s=60.0), lambda: 0.9, clock=lambda: moment[0]
        )
        list(governance.followed(ledger.records()))
        book, heads = governance.book, []
        for _ in range(1100):
            moment[0] += timedelta(seconds=1)
            receipt = governance.append({"event": "alert", "verdict": "raised"})
            heads.append(Head(receipt.sequence, receipt.hash_hex))
        now = book.timestamp
        assert [book.was_head(head, now) for head in heads[-63:]] == [False] + [True] * 62
        assert len(book._heads) < 200
        moment[0] += timedelta(days=9)
        assert book.was_head(heads[-1], "2026-03-10T00:00:00.000000Z")
        assert not book.was_head(heads[-2], "2026-03-10T00:00:00.000000Z")


def test_an_order_that_is_no_order_of_the_kernels_is_refused_by_name(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes)
    assert not loop.governance.authorises(Order("approve", (), "\ud800", "x\ny", "{}"))
    assert (governed(loop)[-1]["actor"], governed(loop)[-1]["reason"]) == ("\\ud800", "x\\ny")
    assert governed(loop)[-1]["order"] is None


def test_nonces_and_votes_are_kept_until_their_orders_are_void(tmp_path, signers):
    moment = [datetime(2026, 3, 1, tzinfo=UTC)]
    charter = attrs.evolve(TWO_OF_THREE, quorum=1, order_ttl_s=60.0)
    with Ledger.open(tmp_path / "ledger", signers, clock=lambda: moment[0], sync=lambda _: None) as ledger:
        governance = Governance(ledger, charter, lambda: 0.9, clock=lambda: moment[0])
        list(governance.followed(ledger.records()))
        freeze = sign_order(INES, governance.draft(Action.FREEZE, (), "ines", "drill"))
        proposal = sign_order(INES, governance.draft(Action.POLICY, tuple(range(13)), "ines", "drill"))
        assert governance.authorises(kernel_order(freeze, ()))
        assert not governance.hear(proposal)
        for _ in range(1100):
            governance.append({"event": "alert", "verdict": "raised"})
        assert governance.book.is_used(freeze.terms.nonce)
        assert len(governance.book.votes(proposal.terms.order_id)) == 1
        moment[0] += timedelta(seconds=61)
        for _ in range(1100):
            governance.append({"event": "alert", "verdict": "raised"})
        assert not governance.book.is_used(freeze.terms.nonce)
        assert governance.book.votes(proposal.terms.order_id) == ()
        assert not governance.authorises(kernel_order(freeze, ()))
        assert governance.objected[0].startswith("expired")


@pytest.mark.parametrize("psi", [float("nan"), True, "high"])
def test_a_figure_that_is_no_psi_is_unknown(tmp_path, signers, psi):
    with Ledger.open(tmp_path / "ledger", signers, sync=lambda _: None) as ledger:
        governance = Governance(ledger, attrs.evolve(TWO_OF_THREE, quorum=1), lambda: psi)
        list(governance.followed(ledger.records()))
        proposal = sign_order(INES, governance.draft(Action.POLICY, tuple(range(13)), "ines", "drill"))
        assert not governance.authorises(kernel_order(proposal, proposal.terms.subject))
        assert governance.objected == ("Ψ is unknown, must be at least 0.500000000",)
