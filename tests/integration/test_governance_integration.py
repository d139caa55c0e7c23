"""Orders on the simulated engine, over restarts, kills and votes; the ledger alone says who allowed what."""

import os
import signal
import subprocess
import threading

import attrs
import pytest
from cli_bench import PROGRAM

from attunement.assembly import Attunement
from attunement.build import build_engine
from attunement.charter import Charter, Operator
from attunement.cli import _exit_code
from attunement.config_schema import (
    Config,
    EscalationConfig,
    GovernanceConfig,
    LoggingConfig,
    OptimizerConfig,
    SafetyConfig,
    Shock,
    SourceConfig,
)
from attunement.order import Action, SignedOrder, sign_order
from attunement.order_audit import OrderAuditor
from attunement.order_desk import PolicyMismatchError
from attunement.policy import kernel_limits
from attunement.replay import Replay
from attunement.running import run_cycles
from kernel import Mode
from ledger import Ledger, SigningKey, read_records

INES, OMAR = (SigningKey(bytes([number] * 32)) for number in (31, 32))
CHARTER = Charter((Operator("ines", INES.verify_key), Operator("omar", OMAR.verify_key)), quorum=2)
STORM = Shock("partition", start=10, length=5, magnitude=1.0, share=0.5)


@pytest.fixture
def run(tmp_path, signers):
    """Return a function that runs so many cycles on one ledger, and gives the attunement back, closed."""

    def begin(cycles, *orders, shocks=(), charter=CHARTER, hook=None, **changes):
        config = Config(
            settle_delay=0.0,
            source=SourceConfig(nodes=24, shocks=shocks, seed=3),
            logging=LoggingConfig(audit_ledger_path=str(tmp_path / "ledger")),
            **changes,
        )
        engine = build_engine(config)
        with Attunement(config, engine, signers, charter, orders=orders, hook=hook) as attunement:
            attunement.controller.start()
            run_cycles(engine, cycles, 0.0, threading.Event())
        return attunement

    return begin


def drafted(attunement, action, subject=(), *keys):
    signed = attunement.governance.draft(action, subject, "ines", "drill")
    for key in keys:
        signed = sign_order(key, signed)
    return signed


def mismatches(folder, charter=CHARTER):
    return [str(one) for one in Replay(OrderAuditor(charter)).run(read_records(folder))]


def test_a_life_under_orders_is_derived_again_from_the_ledger_alone(run, tmp_path):
    last = run(20, shocks=(STORM,))
    assert last.kernel.mode is Mode.EMERGENCY
    last = run(20, drafted(last, Action.APPROVE, (), INES, OMAR))
    assert not last.desk.is_refused
    last = run(10, drafted(last, Action.FREEZE, (), OMAR))
    assert last.kernel.mode is Mode.FROZEN
    earlier = next(last.governance.book.commits())
    last = run(30, drafted(last, Action.OVERRIDE, (900_000_000,), INES, OMAR))
    assert last.kernel.alpha == 0.9
    last = run(
        30,
        drafted(last, Action.ROLLBACK, (earlier.sequence, earlier.alpha), INES, OMAR),
        drafted(last, Action.PERSIST, (earlier.sequence, earlier.alpha), INES, OMAR),
    )
    assert last.kernel.state.alpha == earlier.alpha
    limits = tuple(last.kernel.limits._replace(entropy_max=1_500_000, entropy_severe=15_000_000))
    policy = drafted(last, Action.POLICY, limits)
    last = run(3, sign_order(INES, policy))
    last = run(3, sign_order(OMAR, policy), drafted(last, Action.UNFREEZE, (), INES, OMAR))
    assert tuple(last.kernel.limits) == limits
    # The other order was given under the policy before.
    assert [answer.is_refused for answer in last.desk.answers] == [False, True]
    assert mismatches(tmp_path / "ledger") == []
    alone = Charter(CHARTER.operators[:1])
    (found,) = mismatches(tmp_path / "ledger", alone)
    assert ": charter is 2 of (ines " in found
    assert f"must be 1 of (ines {INES.verify_key.key_id}), psi_min" in found


def test_an_approval_that_no_order_authorises_is_found_though_it_is_signed(run, tmp_path, signers):
    last = run(20, shocks=(STORM,))
    run(5, drafted(last, Action.APPROVE, (), INES, OMAR))
    forged = tmp_path / "forged"
    with Ledger.open(forged, signers, sync=lambda _: None) as ledger:
        for record in read_records(tmp_path / "ledger"):
            if record.kind.value == "entry" and record.body["event"] != "order":
                ledger.append(record.body)
    (found,) = mismatches(forged)
    assert "authorised is 1, must be 0: no authorised order comes before it" in found


def test_a_policy_order_is_the_adoption_that_a_changed_configuration_needs(run, signers):
    last = run(5)
    wider = SafetyConfig(entropy_max=0.004)
    config = attrs.evolve(Config(), safety=wider)
    limits = tuple(kernel_limits(config))
    with pytest.raises(PolicyMismatchError, match="an operator must adopt"):
        run(5, drafted(last, Action.FREEZE, (), INES), safety=wider)
    last = run(5, drafted(last, Action.POLICY, limits, INES, OMAR), safety=wider)
    assert tuple(last.kernel.limits) == limits
    with pytest.raises(PolicyMismatchError, match="entropy_max = 2,000,000"):
        run(5)


def test_repeated_reverts_are_told_to_a_hook(run, tmp_path):
    told = []
    escalation = EscalationConfig(reverts=1, window=40, backoff=40)
    changes = {
        "optimizer": OptimizerConfig(name="pid"),
        "safety": SafetyConfig(tolerance=0.0),
        "governance": GovernanceConfig(escalation=escalation),
    }
    run(40, hook=told.append, **changes)
    assert [(alert.taken_back, alert.window) for alert in told] == [(1, 40)]
    record = list(read_records(tmp_path / "ledger"))[told[0].sequence]
    assert (record.body["event"], record.body["verdict"]) == ("alert", "raised")
    assert mismatches(tmp_path / "ledger") == []


def test_an_order_that_was_used_when_the_run_was_killed_stays_used(site, capsys, monkeypatch):
    for name in [name for name in os.environ if name.startswith("ATTUNEMENT__")]:
        monkeypatch.delenv(name)
    config, file = site.config(enabled=False), site.folder / "override.json"
    assert _exit_code(["run", "--config", config, "--plain", "--cycles", "2"]) == 0
    words = ["--actor", "ines", "--reason", "drill"]
    made = ["order", "make", "override", "--alpha", "1.1", "--config", config, *words, "--out", str(file)]
    assert _exit_code(made) == 0
    assert _exit_code(["order", "sign", str(file), "--key", str(site.operator)]) == 0
    slow = site.config(enabled=False, cycles=None, settle_delay=0.05)
    process = subprocess.Popen(
        [*PROGRAM, "run", "--config", slow, "--plain", "--order", str(file)],
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    for line in process.stdout:
        if "settle committed" in line:
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    capsys.readouterr()
    config = site.config(enabled=False)
    assert _exit_code(["run", "--config", config, "--plain", "--cycles", "2", "--order", str(file)]) == 3
    nonce = SignedOrder.parse(file.read_text().rstrip("\n")).terms.nonce
    assert f"nonce {nonce} was used" in capsys.readouterr().err
    charter = Charter((Operator("ines", SigningKey(bytes(32)).verify_key),))
    assert any(": charter is 1 of (ines " in line for line in mismatches(site.ledger, charter))
