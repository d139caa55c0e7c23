"""The charter in the ledger: orders of any time are audited with the ledger and its first key alone."""

import threading

import pytest

from attunement.assembly import Attunement
from attunement.build import build_engine
from attunement.charter import NOBODY, Charter, Operator, charter_body, charter_of
from attunement.config_schema import Config, LoggingConfig, SourceConfig
from attunement.explain import Explainer
from attunement.order import Action, OrderError, sign_order
from attunement.order_audit import OrderAuditor
from attunement.replay import Replay
from attunement.running import run_cycles
from kernel import Mode
from ledger import SigningKey, read_records

INES, OMAR, EVA = KEYS = tuple(SigningKey(bytes([number] * 32)) for number in (21, 22, 23))
OPERATORS = tuple(
    Operator(name, key.verify_key) for name, key in zip(("ines", "omar", "eva"), KEYS, strict=True)
)
BOTH = Charter(OPERATORS[:2], quorum=2)
EVA_ALONE = Charter(OPERATORS[2:], order_ttl_s=60.5)


@pytest.fixture
def run(tmp_path, signers):
    """Return a function that runs three cycles on one ledger under a charter."""

    def begin(charter, *orders):
        config = Config(
            settle_delay=0.0,
            source=SourceConfig(nodes=12, seed=3),
            logging=LoggingConfig(audit_ledger_path=str(tmp_path / "ledger")),
        )
        engine = build_engine(config)
        with Attunement(config, engine, signers, charter, orders=orders) as attunement:
            attunement.controller.start()
            run_cycles(engine, 3, 0.0, threading.Event())
        return attunement

    return begin


@pytest.fixture
def records(tmp_path):
    return lambda: list(read_records(tmp_path / "ledger"))


def drafted(attunement, action, *keys):
    signed = attunement.governance.draft(action, (), "ines", "drill")
    for key in keys:
        signed = sign_order(key, signed)
    return signed


def audited(records, charter=None):
    return [str(found) for found in Replay(OrderAuditor(charter)).run(records)]


def charters(records):
    return [charter_of(one.body) for one in records if one.body.get("event") == "charter"]


def test_a_charter_is_recorded_when_it_is_adopted_and_when_it_changes(run, records):
    run(NOBODY)
    assert charters(records()) == []
    for charter in (BOTH, BOTH, EVA_ALONE, NOBODY, NOBODY):
        run(charter)
    assert charters(records()) == [BOTH, EVA_ALONE, NOBODY]
    assert audited(records()) == []
    lines, mismatches = Explainer().explain(next(one for one in records() if "quorum" in one.body))
    assert mismatches == ()
    assert "charter, by attunement_controller: adopted." in lines[0]


def test_orders_under_a_charter_of_before_are_judged_by_it(run, records):
    last = run(BOTH)
    last = run(BOTH, drafted(last, Action.FREEZE, OMAR))
    assert last.kernel.mode is Mode.FROZEN
    last = run(EVA_ALONE)
    last = run(EVA_ALONE, drafted(last, Action.UNFREEZE, EVA))
    assert last.kernel.mode is Mode.READY
    assert audited(records()) == audited(records(), EVA_ALONE) == []
    (found,) = audited(records(), BOTH)
    assert ": charter is 1 of (eva " in found
    assert "must be 2 of (ines " in found
    # With the charter of now alone, the orders of before would be nobody's.
    without = [one for one in records() if one.body.get("event") != "charter"]
    assert any("is no operator's" in line for line in audited(without, EVA_ALONE))


def test_what_the_key_of_the_ledger_makes_of_a_refusal_is_found_without_the_configuration(run, records):
    last = run(BOTH)
    last = run(BOTH, drafted(last, Action.FREEZE, EVA))
    assert last.kernel.mode is Mode.READY
    lied = [one for one in records() if one.body.get("event") == "order"]
    lied[0].body.update(verdict="authorised", objections=[])
    changed = [lied[0] if one.sequence == lied[0].sequence else one for one in records()]
    assert any("is no operator's" in line for line in audited(changed))


def test_an_order_for_one_charter_does_not_do_for_the_next(run):
    last = run(BOTH)
    freeze = drafted(last, Action.FREEZE, EVA, OMAR)
    last = run(Charter(OPERATORS, quorum=2), freeze)
    (answer,) = last.desk.answers
    assert answer.is_refused
    assert any("changed the latch, the policy or the charter" in line for line in answer.said)


@pytest.mark.parametrize("charter", [NOBODY, BOTH, EVA_ALONE])
def test_a_charter_comes_back_from_its_record(charter):
    assert charter_of(charter_body(charter)) == charter


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"operators": None}, "operators must be a list"),
        ({"operators": [1]}, "must have the members name, public_key"),
        ({"operators": [{"name": "ines", "public_key": "?"}]}, "must have a name, and a public key"),
        ({"operators": [{"name": 5, "public_key": ""}]}, "must have a name, and a public key"),
        ({"operators": [{"name": "ines", "public_key": ""}]}, "operator 'ines': public key has 0 bytes"),
        ({"quorum": 3}, "quorum is 3, must lie in"),
        ({"quorum": True}, "quorum must be a whole number"),
        ({"psi_min": -1}, "psi_min must be a whole number"),
        ({"order_ttl": "60"}, "order_ttl must be a whole number"),
    ],
)
def test_what_is_no_charter_is_named(changes, said):
    with pytest.raises(OrderError, match=said):
        charter_of({**charter_body(BOTH), **changes})
