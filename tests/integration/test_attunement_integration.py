"""The whole loop on the simulated CAL engine: shocks come, α keeps to its limits, the ledger tells why."""

import json
import re
import signal
import threading
from collections import Counter
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise

import attrs
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from attunement.assembly import Attunement
from attunement.build import build_engine, build_source
from attunement.charter import NOBODY
from attunement.config_schema import (
    Config,
    ConfigError,
    LoggingConfig,
    ObjectiveConfig,
    OptimizerConfig,
    SafetyConfig,
    Shock,
    SourceConfig,
)
from attunement.engine import CalEngine
from attunement.journal import comparison_of, reading_of
from attunement.measurement import EngineCapabilityError
from attunement.metrics import Metrics
from attunement.order import Action
from attunement.order_desk import PolicyMismatchError, Signatory
from attunement.running import Ending, run_cycles, stopped_by_signals
from kernel import Kind, Limits, Mode, State, rules
from kernel.limits import hold
from kernel.rules import safety_checks
from ledger import Ledger, Verdict, read_records, verify

OPTIMIZERS = ["gradient", "slsqp", "pid", "supervisor"]
SHOCKS = {
    "latency": Shock("latency", start=30, length=15, magnitude=3, share=0.3),
    "partition": Shock("partition", start=30, length=15, magnitude=0.25, share=0.2),
    "spectral": Shock("spectral", start=30, length=15, magnitude=0.12, share=0.5),
    # Ψ scales the loop gain at once, and α keeps that near its limit later on: then even this would latch.
    "psi": Shock("psi", start=5, length=15, magnitude=1.04),
}
HEAVY = {
    "partition": Shock("partition", start=30, length=10, magnitude=1.0, share=0.5),
    # It strikes once α leans on the loop gain's limit; lower down, Ψ may rise this far unharmed.
    "psi": Shock("psi", start=45, length=10, magnitude=1.3),
}


def configuration(tmp_path, optimizer="supervisor", *shocks, **changes):
    settings = {
        "settle_delay": 0.0,
        "optimizer": OptimizerConfig(name=optimizer, seed=5),
        "source": SourceConfig(nodes=48, shocks=shocks, seed=3),
        "logging": LoggingConfig(audit_ledger_path=str(tmp_path / "ledger")),
    }
    return Config(**{**settings, **changes})


class Reports(list):
    def on_report(self, report):
        self.append(report)


def attune_for(config, signers, cycles, *subscribers, charter=NOBODY, signatory=None):
    """Run, and return the reports and the policy."""
    engine, reports = build_engine(config), Reports()
    with Attunement(config, engine, signers, charter, signatory, (reports, *subscribers)) as attunement:
        attunement.controller.start()
        ending = run_cycles(engine, cycles, 0.0, threading.Event(), lambda: None)
    assert ending == Ending(cycles, "all cycles are done")
    return reports, attunement.kernel.limits


def state_of(body):
    names = {"mode": Mode, "resume": Mode, "kind": Kind}
    plain = {name: value for name, value in body.items() if name not in names}
    return State(**plain, **{name: kind[body[name].upper()] for name, kind in names.items()})


def derived(body, limits):
    """What the rules make of a record's integers."""
    before, reading, target = state_of(body["before"]), reading_of(body), body["target"]
    match body["event"]:
        case "start":
            return rules.start(limits, target)
        case "propose" if target is None:
            return before, None
        case "propose":
            return rules.propose(limits, before, target, Kind[body["kind"].upper()], reading)
        case "settle":
            return rules.settle(limits, before, reading, comparison_of(body))
        case "observe":
            return rules.observe(limits, before, reading)
        case "miss":
            return rules.miss(limits, before)
        case "recover":
            return rules.recover(before)
        case "freeze":
            return rules.freeze(before)
        case "approve":
            return rules.approve(limits, before, reading, body["verdict"] == "approved")
        case "set_limits":
            return rules.set_limits(before, Limits(**body["limits"]), body["verdict"] == "adopted")


def hold_the_ledger_to_its_word(history, limits):
    """Derive every decision again, and hold the guarantees against what the records say."""
    for body in history:
        if body["limits"] is not None and body["verdict"] != "refused":
            limits = Limits(**body["limits"])
        after, verdict = derived(body, limits)
        assert after == state_of(body["after"]), body["event"]
        if verdict is not None:
            assert verdict.outcome.value == body["verdict"], body["event"]
            assert [list(check) for check in verdict.broken] == body["broken"]
        assert limits.alpha_min <= body["new_alpha"] <= limits.alpha_max
        assert abs(body["new_alpha"] - body["old_alpha"]) <= limits.step_max
        if body["verdict"] == "committed":
            reading = reading_of(body)
            assert hold(safety_checks(limits, body["new_alpha"], reading))
            assert reading.alpha == body["new_alpha"]
            assert reading.cycle > body["before"]["cycle"]
    for earlier, later in pairwise(history):
        assert earlier["after"]["alpha"] == later["before"]["alpha"]
        assert earlier["after"]["mode"] == later["before"]["mode"]


@pytest.mark.parametrize("shock", SHOCKS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_after_a_shock_the_system_returns_and_every_record_keeps_the_limits(
    tmp_path, signers, bodies, optimizer, shock
):
    config = configuration(tmp_path, optimizer, SHOCKS[shock])
    metrics = Metrics()
    reports, limits = attune_for(config, signers, 100, metrics)
    measured = [report.measurement for report in reports]
    assert None not in measured
    assert min(one.h_internal for one in measured[60:]) >= 0.95
    assert max(one.entropy_rate for one in measured[60:]) <= 0.002
    assert all(0.8 <= one.alpha <= 1.2 for one in measured)
    assert reports[-1].state.mode in (Mode.READY, Mode.TRIAL)
    history = bodies(tmp_path / "ledger")
    hold_the_ledger_to_its_word(history, limits)
    verdicts = [body["verdict"] for body in history]
    taken_back = [
        body
        for body in history
        if body["before"]["mode"] == "trial"
        and body["verdict"] not in ("returned", "committed")
        and body["event"] != "recover"
        and body["new_alpha"] != body["old_alpha"]
    ]
    decided = [entry.verdict.outcome.value for report in reports for entry in report.entries]
    assert counters(metrics) == {
        "uhes_alpha_accept_total": verdicts.count("committed"),
        "uhes_alpha_revert_total": len(taken_back),
        "uhes_alpha_refused_total": verdicts.count("refused"),
        "uhes_missed_cycles_total": 0,
        "uhes_orders_total": 0,
        "uhes_order_refusals_total": 0,
        "uhes_votes_total": 0,
        "uhes_escalations_total": 0,
        "uhes_forecast_reports_lost_total": 0,
        **told("uhes_decisions_total", "verdict", decided),
        **told("uhes_refusals_total", "limit", named(history, "refused")),
        **told("uhes_unsafe_readings_total", "limit", named(history, "retreated", "latched")),
    }
    assert verdicts.count("accepted") >= 10


def told(counter, label, values):
    return {(counter, label, value): count for value, count in Counter(values).items()}


def named(history, *verdicts):
    return [limit for body in history if body["verdict"] in verdicts for limit, *_ in body["broken"]]


def counters(metrics):
    """Our counters, those with a label only where they count anything."""
    text = generate_latest(metrics.registry).decode("utf-8")
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    ours = [sample for sample in samples if re.fullmatch("uhes_.*_total", sample.name)]
    plain = {sample.name: sample.value for sample in ours if not sample.labels}
    labelled = {
        (sample.name, *label): sample.value
        for sample in ours
        for label in sample.labels.items()
        if sample.value
    }
    return {**plain, **labelled}


@pytest.mark.parametrize("shock", HEAVY)
def test_a_heavy_shock_latches_and_the_operator_brings_the_system_back(
    tmp_path, signers, operator_key, charter, bodies, shock
):
    config = configuration(tmp_path, "supervisor", HEAVY[shock])
    reports, _ = attune_for(config, signers, 60)
    assert reports[-1].state.mode is Mode.EMERGENCY
    latched = next(index for index, report in enumerate(reports) if report.state.mode is Mode.EMERGENCY)
    alphas = [report.state.alpha for report in reports[latched:]]
    assert alphas == sorted(alphas, reverse=True)
    assert reports[-1].measurement.h_internal >= 0.95
    calm = configuration(tmp_path)
    engine, signatory = build_engine(calm), Signatory(operator_key, "ines", "storm is over")
    with Attunement(calm, engine, signers, charter, signatory) as attunement:
        attunement.controller.start()
        run_cycles(engine, 40, 0.0, threading.Event())
        assert attunement.kernel.mode is not Mode.EMERGENCY
    assert [(answer.action, answer.is_refused) for answer in attunement.desk.answers] == [
        (Action.APPROVE, False)
    ]
    history = bodies(tmp_path / "ledger")
    hold_the_ledger_to_its_word(history, attunement.kernel.limits)
    assert [body["verdict"] for body in history].count("approved") == 1
    after = [body["verdict"] for body in history][-20:]
    assert "accepted" in after


def test_the_ledger_of_a_whole_life_can_be_derived_again(tmp_path, signers, operator_key, charter, bodies):
    signatory = Signatory(operator_key, "ines", "drill")
    config = configuration(tmp_path, "adversary:random", HEAVY["partition"])
    attune_for(config, signers, 50)
    for name in ("gradient", "adversary:nan", "adversary:one_ulp"):
        # No policy is adopted in an emergency: the first of these runs ends it, and changes none.
        entropy_max = 0.002 if name == "gradient" else 0.0015
        config = configuration(tmp_path, name, safety=SafetyConfig(entropy_max=entropy_max))
        engine = build_engine(config)
        with Attunement(config, engine, signers, charter, signatory) as attunement:
            attunement.controller.start()
            run_cycles(engine, 20, 0.0, threading.Event())
            attunement.controller.freeze("ines", "drill")
            run_cycles(engine, 5, 0.0, threading.Event())
            attunement.desk.have_signed(signatory, Action.UNFREEZE)
            run_cycles(engine, 15, 0.0, threading.Event())
    history = bodies(tmp_path / "ledger")
    events = {body["event"] for body in history}
    assert {"start", "propose", "settle", "observe", "recover", "freeze", "approve", "set_limits"} <= events
    hold_the_ledger_to_its_word(history, Limits(*[0] * 13))


def test_a_source_that_stands_still_is_missed_cycles_and_then_an_emergency(tmp_path, signers, bodies):
    config = configuration(tmp_path)

    class Standing:
        """Delivers ten samples, and then the last one for ever."""

        def __init__(self, source):
            self.nodes, self.dims = source.nodes, source.dims
            self._source, self._block, self._left = source, None, 10

        def next(self):
            if self._left:
                self._left -= 1
                self._block = self._source.next()
            return self._block

    engine = CalEngine(Standing(build_source(config)), config.engine)
    with Attunement(config, engine, signers) as attunement:
        attunement.controller.start()
        run_cycles(engine, 40, 0.0, threading.Event(), lambda: None)
        assert attunement.kernel.mode is Mode.EMERGENCY
        assert attunement.kernel.alpha == 0.8
    hold_the_ledger_to_its_word(bodies(tmp_path / "ledger"), attunement.kernel.limits)


def test_with_the_clock_given_the_same_run_writes_the_same_bytes(tmp_path, signers, monkeypatch):
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    opened = Ledger.open
    monkeypatch.setattr(Ledger, "open", partial(opened, clock=lambda: moment))
    written = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        attune_for(configuration(tmp_path / name, "supervisor", SHOCKS["spectral"]), signers, 50)
        written.append(
            {
                file.name: file.read_bytes()
                for file in (tmp_path / name / "ledger").rglob("*")
                if file.is_file()
            }
        )
    assert written[0] == written[1]


def test_the_regulariser_keeps_alpha_near_one(tmp_path, signers):
    free, _ = attune_for(configuration(tmp_path, "gradient"), signers, 80)
    (tmp_path / "held").mkdir()
    config = configuration(tmp_path / "held", "gradient", objective=ObjectiveConfig(rho=50.0))
    held, _ = attune_for(config, signers, 80)
    assert abs(held[-1].state.good - 10**9) < abs(free[-1].state.good - 10**9)
    assert held[-1].measurement.objective <= held[-1].measurement.c_hat


def test_attuning_raises_coherence_on_the_simulator(tmp_path, signers):
    means = {}
    for name in ("hold", "gradient", "slsqp"):
        (tmp_path / name).mkdir()
        reports, _ = attune_for(configuration(tmp_path / name, name), signers, 150)
        last = [report.measurement.c_hat for report in reports[-50:]]
        means[name] = sum(last) / len(last)
    assert means["gradient"] > means["hold"]
    assert means["slsqp"] > means["hold"]


def test_a_changed_policy_waits_for_an_operator(tmp_path, signers, operator_key, charter):
    attune_for(configuration(tmp_path), signers, 5)
    wider = configuration(tmp_path, safety=SafetyConfig(entropy_max=0.004))
    journal = tmp_path / "ledger" / "journal"
    size = journal.stat().st_size
    with pytest.raises(PolicyMismatchError, match="entropy_max = 4,000,000"):
        Attunement(wider, build_engine(wider), signers)
    assert journal.stat().st_size == size
    signatory = Signatory(operator_key, "ines", "wider")
    _, limits = attune_for(wider, signers, 5, charter=charter, signatory=signatory)
    assert limits.entropy_max == 4_000_000
    _, limits = attune_for(wider, signers, 5)
    assert limits.entropy_max == 4_000_000


def test_nobody_adopts_or_approves_without_being_the_operator(tmp_path, signers, signing_key, charter):
    attune_for(configuration(tmp_path), signers, 5)
    wider = configuration(tmp_path, safety=SafetyConfig(entropy_max=0.004))
    mallory = Signatory(signing_key, "mallory", "because")
    engine = build_engine(wider)
    with Attunement(wider, engine, signers, charter, mallory) as attunement:
        attunement.controller.start()
        with pytest.raises(PolicyMismatchError, match="authorised is 0"):
            engine.run_cycle()
    assert attunement.kernel.limits.entropy_max == 2_000_000


def test_what_cannot_be_attuned_leaves_no_ledger_and_moves_no_alpha(tmp_path, signers, scripted_engine):
    config = configuration(tmp_path)
    lacking = type("Lacking", (scripted_engine,), {"get_entropy_rate": None})()
    with pytest.raises(EngineCapabilityError, match="no get_entropy_rate"):
        Attunement(config, lacking, signers)
    with pytest.raises(ConfigError, match="step_max is 0"):
        Attunement(attrs.evolve(config, delta_alpha_max=1e-10), scripted_engine(), signers)
    assert lacking.applied == []
    assert not (tmp_path / "ledger").exists()


def test_an_attunement_that_fails_to_open_gives_the_ledger_back(tmp_path, signers, scripted_engine):
    config = configuration(tmp_path)
    refusing = scripted_engine()
    refusing.refuses = lambda alpha: True
    with pytest.raises(Exception, match="engine cannot take"):
        Attunement(config, refusing, signers)
    with Ledger.open(tmp_path / "ledger", signers) as ledger:
        assert ledger.head().sequence == 2
    reports, _ = attune_for(config, signers, 3)
    assert len(reports) == 3


def test_a_ledger_that_is_taken_away_stops_the_run_at_the_last_safe_alpha(tmp_path, signers):
    config = configuration(tmp_path, "gradient")
    engine = build_engine(config)
    attunement = Attunement(config, engine, signers)
    attunement.controller.start()
    run_cycles(engine, 10, 0.0, threading.Event(), lambda: None)
    (tmp_path / "ledger").rename(tmp_path / "away")
    with pytest.raises(Exception, match="kernel closed"):
        run_cycles(engine, 10, 0.0, threading.Event(), lambda: None)
    good = attunement.kernel.state.good
    assert engine.get_alpha_multiplier() == good / 1e9
    attunement.close()
    report = verify(tmp_path / "away", signers.records.verify_key, anchor=attunement.ledger.head())
    assert report.verdict is Verdict.VERIFIED


def test_an_approval_waits_for_a_reading_and_is_given_once(tmp_path, signers, operator_key, charter, bodies):
    config = configuration(tmp_path)
    signatory = Signatory(operator_key, "ines", "drill")
    engine = build_engine(config)
    with Attunement(config, engine, signers, charter, signatory) as attunement:
        attunement.controller.freeze("ines", "drill")
        attunement.desk.have_signed(signatory, Action.UNFREEZE)
        assert attunement.desk.waiting == 1
        attunement.controller.start()
        run_cycles(engine, 1, 0.0, threading.Event())
        assert [answer.said for answer in attunement.desk.answers] == [("approved",)]
        attunement.controller.freeze("ines", "drill again")
        run_cycles(engine, 2, 0.0, threading.Event())
        assert attunement.kernel.mode is Mode.FROZEN
    assert [body["verdict"] for body in bodies(tmp_path / "ledger")].count("approved") == 1


def test_a_run_ends_when_it_is_told_to(tmp_path, signers):
    engine = build_engine(configuration(tmp_path))
    stop = threading.Event()
    seen = []

    def after():
        seen.append(engine.cycle)
        if len(seen) == 3:
            stop.set()

    assert run_cycles(engine, None, 0.0, stop, after) == Ending(3, "stopped")
    assert run_cycles(engine, 5, 0.0, stop, after) == Ending(0, "stopped")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_run_and_is_itself_again_afterwards(tmp_path, number):
    before = signal.getsignal(number)
    engine = build_engine(configuration(tmp_path))
    with stopped_by_signals() as stop:
        ending = run_cycles(engine, None, 60.0, stop, lambda: signal.raise_signal(number))
    assert ending == Ending(1, "stopped")
    assert signal.getsignal(number) is before


def test_the_journal_is_what_the_ledger_shows(tmp_path, signers):
    config = configuration(tmp_path)
    attune_for(config, signers, 5)
    records = list(read_records(tmp_path / "ledger"))
    assert all(json.loads(json.dumps(record.body)) == record.body for record in records)
    assert {record.key_id for record in records} == {signers.records.verify_key.key_id}
