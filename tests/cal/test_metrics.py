"""The Prometheus series, over real HTTP."""

import hashlib
import os
import shutil
import socket
import subprocess
import threading
import time
from math import isfinite
from urllib.request import urlopen

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from attunement.certified import shipped_certificate
from attunement.config_schema import Config, LoggingConfig
from attunement.measurement import MeasurementError
from attunement.metrics import MEASURED, Metrics
from attunement.metrics_server import MetricsError, MetricsServer
from attunement.order import Action, sign_order
from kernel import LedgerUnavailableError, Mode
from ledger import Ledger
from optimizers import HOLD, Suggestion

GAUGES = {
    "uhes_alpha_value",
    "uhes_lambda_value",
    "uhes_C_hat",
    "uhes_C_gradient",
    "uhes_alpha_delta",
    "uhes_attunement_mode",
    "uhes_entropy_rate",
    "uhes_h_internal",
    "uhes_drive",
    "uhes_loop_gain",
    "uhes_measured",
    "uhes_consecutive_missed_cycles",
    "uhes_consecutive_reverts",
    "uhes_kernel_mode",
    "uhes_kernel_verified",
    "uhes_limit",
    "uhes_policy_version",
    "uhes_optimizer_configured",
    "uhes_optimizer_in_charge",
    "uhes_build_info",
    "uhes_settle_delay_seconds",
    "uhes_last_step_timestamp_seconds",
    "uhes_last_reading_timestamp_seconds",
    "uhes_ledger_records",
    "uhes_ledger_size_bytes",
    "uhes_ledger_synced_timestamp_seconds",
    "uhes_ledger_writable",
    "uhes_ledger_free_bytes",
    "uhes_forecast",
    "uhes_forecast_error",
    "uhes_forecast_rms_error",
    "uhes_forecast_naive_rms_error",
    "uhes_forecast_ready",
}
COUNTERS = {
    "uhes_alpha_accept",
    "uhes_alpha_revert",
    "uhes_alpha_refused",
    "uhes_refusals",
    "uhes_unsafe_readings",
    "uhes_decisions",
    "uhes_missed_cycles",
    "uhes_orders",
    "uhes_order_refusals",
    "uhes_votes",
    "uhes_escalations",
    "uhes_forecast_reports_lost",
}
HISTOGRAMS = {"uhes_trial_duration_seconds"}


def fetched(metrics):
    """What a Prometheus server would get."""
    with (
        MetricsServer(metrics, "127.0.0.1", 0) as server,
        urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10) as response,
    ):
        assert response.status == 200
        return response.read().decode("utf-8")


def parsed(text):
    """Name and labels of every sample, and its value."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def exposed(metrics):
    """The samples, without the way over HTTP."""
    return parsed(generate_latest(metrics.registry).decode("utf-8"))


def attuned(attune, engine, optimizer, cycles, **settings):
    metrics = Metrics()
    loop = attune(engine, optimizer, subscribers=(metrics,), **settings)
    loop.controller.start()
    loop.engine.run(cycles)
    return loop, metrics


def ours(names):
    return {name for name in names if name.startswith("uhes_")}


def test_every_series_is_there_from_the_start_and_at_zero():
    text = fetched(Metrics())
    names = {family.name: family.type for family in text_string_to_metric_families(text)}
    assert {name: names[name] for name in ours(names)} == {
        **dict.fromkeys(GAUGES, "gauge"),
        **dict.fromkeys(COUNTERS, "counter"),
        **dict.fromkeys(HISTOGRAMS, "histogram"),
    }
    samples = {key: value for key, value in parsed(text).items() if key[0].startswith("uhes_")}
    assert all(value == 0.0 for value in samples.values())
    assert {labels[0] for name, *labels in samples if name == "uhes_lambda_value"} == {
        "L_mu",
        "L_phi",
        "L_Phi",
    }


def test_no_series_comes_or_goes_after_the_start(attune, scripted_engine, wishes):
    """Label sets are bounded: whatever happens, the series are those of the first scrape."""
    engine = scripted_engine(coherence=lambda alpha: alpha / 2)
    optimizer = wishes(
        Suggestion(1.01), Suggestion(1.5), None, RuntimeError("lost"), mode="wild", gradient=0.5
    )
    metrics = Metrics()
    metrics.on_start(kernel_is_verified=True)
    first = set(exposed(metrics))
    loop = attune(engine, optimizer, subscribers=(metrics,))
    metrics.on_open(Config(), loop.kernel, loop.ledger)
    loop.controller.start()
    loop.engine.run(6)
    loop.engine.coherence = float("nan")
    loop.engine.run(6)
    assert loop.kernel.mode is Mode.EMERGENCY
    with pytest.raises(MeasurementError):
        loop.controller.approve(loop.signed("approve"))
    loop.engine.coherence = 0.5
    loop.engine.run(1)
    loop.controller.approve(loop.signed("approve"))
    loop.controller.freeze("test", "stop")
    loop.engine.run(1)
    assert exposed(metrics)["uhes_decisions_total", "approved"] == 1.0
    assert set(exposed(metrics)) == first
    assert all(isfinite(value) for value in exposed(metrics).values())


def test_a_restart_leaves_a_mark():
    samples = exposed(Metrics())
    assert 1.7e9 < samples["process_start_time_seconds",] <= time.time()


def test_a_reading_is_published(attune, scripted_engine, wishes):
    engine = scripted_engine(coherence=0.4, entropy_rate=0.001, h_internal=0.97, lambda_value=0.56)
    optimizer = wishes(Suggestion(1.01), mode="gradient", gradient=0.25)
    _, metrics = attuned(attune, engine, optimizer, 2)
    samples = parsed(fetched(metrics))
    assert samples["uhes_alpha_value",] == 1.01
    assert samples["uhes_alpha_delta",] == pytest.approx(0.01)
    assert samples["uhes_lambda_value", "L_phi"] == 0.56
    assert samples["uhes_C_hat",] == pytest.approx(0.4)
    assert samples["uhes_C_gradient",] == 0.25
    assert samples["uhes_entropy_rate",] == 0.001
    assert samples["uhes_h_internal",] == 0.97
    assert samples["uhes_loop_gain", "L_mu"] == pytest.approx(1.01 * 0.2)
    assert samples["uhes_drive", "L_Phi"] == pytest.approx(1.01 * 0.1)
    assert all(samples["uhes_measured", figure] == 1.0 for figure in MEASURED)
    assert samples["uhes_alpha_accept_total",] == 1.0
    assert samples["uhes_attunement_mode",] == 1.0
    assert samples["uhes_optimizer_in_charge", "gradient"] == 1.0
    assert samples["uhes_optimizer_in_charge", "idle"] == 0.0
    assert samples["uhes_last_step_timestamp_seconds",] > 1.7e9
    assert samples["uhes_last_reading_timestamp_seconds",] == samples["uhes_last_step_timestamp_seconds",]


@pytest.mark.parametrize(("mode", "figure"), [("idle", 0), ("gradient", 1), ("pid", 2), ("wild", 0)])
def test_the_mode_is_the_optimizers(attune, scripted_engine, wishes, mode, figure):
    _, metrics = attuned(attune, scripted_engine(), wishes(mode=mode), 1)
    assert exposed(metrics)["uhes_attunement_mode",] == figure


def test_an_emergency_is_mode_three_whatever_the_optimizer_says(attune, scripted_engine, wishes):
    loop, metrics = attuned(attune, scripted_engine(h_internal=0.1), wishes(mode="pid"), 2)
    assert loop.kernel.mode is Mode.EMERGENCY
    samples = exposed(metrics)
    assert samples["uhes_attunement_mode",] == 3.0
    assert {
        mode: samples["uhes_kernel_mode", mode] for mode in ("ready", "frozen", "emergency", "trial")
    } == {
        "ready": 0.0,
        "frozen": 0.0,
        "emergency": 1.0,
        "trial": 0.0,
    }
    assert samples["uhes_unsafe_readings_total", "h_internal"] == 2.0
    assert samples["uhes_unsafe_readings_total", "entropy_rate"] == 0.0
    assert samples["uhes_decisions_total", "latched"] == 1.0


def test_each_kind_of_ending_is_counted_once(attune, scripted_engine, wishes):
    engine = scripted_engine(coherence=lambda alpha: alpha / 2)
    optimizer = wishes(
        Suggestion(1.01),  # committed
        Suggestion(1.0),  # reverted: coherence falls
        Suggestion(1.02, probe=True),  # returns
        Suggestion(1.5),  # refused
        None,  # refused
        HOLD,
    )
    loop, metrics = attuned(attune, engine, optimizer, 8)
    samples = exposed(metrics)
    assert samples["uhes_alpha_accept_total",] == 1.0
    assert samples["uhes_alpha_revert_total",] == 1.0
    assert samples["uhes_alpha_refused_total",] == 2.0
    assert samples["uhes_missed_cycles_total",] == 0.0
    assert samples["uhes_refusals_total", "alpha"] == 1.0
    assert samples["uhes_refusals_total", "alpha_delta"] == 1.0
    assert samples["uhes_refusals_total", "finite_alpha"] == 1.0
    assert samples["uhes_refusals_total", "loop_gain"] == 0.0
    assert samples["uhes_trial_duration_seconds_count",] == 3.0
    assert samples["uhes_trial_duration_seconds_sum",] > 0.0
    verdicts = [verdict for _, verdict in loop.decisions()]
    assert verdicts.count("committed") == 1
    assert verdicts.count("reverted") == 1
    assert verdicts.count("refused") == 2
    assert verdicts.count("returned") == 1


def test_a_trial_that_was_never_measured_counts_as_reverted(attune, scripted_engine, wishes, until):
    loop, metrics = attuned(attune, scripted_engine(), wishes(Suggestion(1.01)), 1, deadline_s=0.02)

    def missed():
        loop.engine.run(1)
        return exposed(metrics)["uhes_missed_cycles_total",] > 0

    until(lambda: loop.kernel.mode is Mode.READY)
    until(missed)
    samples = exposed(metrics)
    assert samples["uhes_alpha_revert_total",] == 1.0
    assert samples["uhes_missed_cycles_total",] == 1.0
    assert samples["uhes_alpha_delta",] == pytest.approx(-0.01)


def test_a_missed_cycle_leaves_the_figures_and_their_age(attune, scripted_engine, wishes):
    loop, metrics = attuned(attune, scripted_engine(coherence=0.4), wishes(gradient=0.5), 1)
    before = exposed(metrics)
    loop.engine.coherence = float("nan")
    loop.engine.run(3)
    after = exposed(metrics)
    for name in ("uhes_C_hat", "uhes_last_reading_timestamp_seconds", "uhes_C_gradient"):
        assert after[name,] == before[name,]
    assert after["uhes_last_step_timestamp_seconds",] > before["uhes_last_step_timestamp_seconds",]
    assert after["uhes_missed_cycles_total",] == 3.0
    assert after["uhes_consecutive_missed_cycles",] == 3.0
    assert not any(after["uhes_measured", figure] for figure in MEASURED)


def test_a_refusal_is_counted_under_each_limit_that_stood_against_it_once(attune, scripted_engine, wishes):
    engine = scripted_engine(loop_gain=0.3658)
    _, metrics = attuned(attune, engine, wishes(Suggestion(1.015)), 2)
    samples = exposed(metrics)
    assert samples["uhes_refusals_total", "loop_gain"] == 1.0  # three scales, one limit
    assert samples["uhes_alpha_refused_total",] == 1.0


def test_the_policy_in_force_is_shown_and_followed(attune, scripted_engine, wishes):
    metrics = Metrics()
    loop = attune(scripted_engine(), wishes(), subscribers=(metrics,))
    metrics.on_open(Config(), loop.kernel, loop.ledger)
    before = exposed(metrics)
    assert before["uhes_limit", "alpha_max"] == 1.2
    assert before["uhes_limit", "loop_gain_max"] == 0.365912693
    assert before["uhes_limit", "reverts_max"] == 8.0
    assert before["uhes_policy_version",] == 1.0
    assert before["uhes_settle_delay_seconds",] == 0.25
    assert before["uhes_optimizer_configured", "supervisor"] == 1.0
    assert before["uhes_kernel_mode", "ready"] == 1.0
    narrower = loop.kernel.limits._replace(alpha_max=1_100_000_000, reverts_max=3)
    loop.controller.start()
    loop.engine.run(1)
    loop.desk.submit(
        [sign_order(loop.operator, loop.governance.draft(Action.POLICY, tuple(narrower), "ines", "x"))]
    )
    loop.engine.run(1)
    after = exposed(metrics)
    assert after["uhes_limit", "alpha_max"] == 1.1
    assert after["uhes_limit", "reverts_max"] == 3.0
    assert after["uhes_policy_version",] == 2.0
    loop.desk.submit(
        [sign_order(loop.operator, loop.governance.draft(Action.POLICY, (0,) * len(narrower), "ines", "x"))]
    )
    loop.engine.run(1)
    refused = exposed(metrics)
    assert refused["uhes_limit", "alpha_max"] == 1.1
    assert refused["uhes_refusals_total", "policy"] == 1.0


def test_an_optimizer_that_is_not_asked_is_shown_as_hold(attune, scripted_engine, wishes):
    metrics = Metrics()
    loop = attune(scripted_engine(), wishes())
    metrics.on_open(Config(enabled=False), loop.kernel, loop.ledger)
    samples = exposed(metrics)
    assert samples["uhes_optimizer_configured", "hold"] == 1.0
    assert samples["uhes_optimizer_configured", "supervisor"] == 0.0


def test_the_build_names_the_certificate_that_ships():
    metrics = Metrics()
    metrics.on_start(kernel_is_verified=True)
    digest = hashlib.sha256(shipped_certificate().read_bytes()).hexdigest()[:16]
    assert [value for (name, *labels), value in exposed(metrics).items() if digest in labels] == [1.0]


def test_an_installation_without_a_certificate_says_so(monkeypatch):
    monkeypatch.setattr("attunement.metrics.shipped_certificate", lambda: None)
    metrics = Metrics()
    metrics.on_start(kernel_is_verified=False)
    samples = exposed(metrics)
    assert samples["uhes_kernel_verified",] == 0.0
    assert any(name == "uhes_build_info" and "none" in labels for name, *labels in samples)


def test_the_ledger_is_shown_as_it_stands_when_it_is_scraped(attune, scripted_engine, wishes, tmp_path):
    metrics = Metrics()
    loop = attune(scripted_engine(), wishes(Suggestion(1.01)))
    settings = Config(logging=LoggingConfig(audit_ledger_path=str(loop.path)))
    metrics.on_open(settings, loop.kernel, loop.ledger)
    loop.controller.start()
    loop.engine.run(2)
    samples = exposed(metrics)
    assert samples["uhes_ledger_records",] == loop.ledger.head().sequence + 1
    frames = (loop.path / "journal").read_bytes().rstrip(b"\0")
    assert samples["uhes_ledger_size_bytes",] == len(frames)
    assert abs(samples["uhes_ledger_synced_timestamp_seconds",] - time.time()) < 60
    assert samples["uhes_ledger_writable",] == 1.0
    assert samples["uhes_ledger_free_bytes",] > 0.0
    # Somebody cuts the journal: the next append finds out, and the ledger is stopped.
    loop.broken = True
    os.truncate(loop.path / "journal", 10)
    with pytest.raises(LedgerUnavailableError):
        loop.kernel.freeze("test", "stop")
    assert exposed(metrics)["uhes_ledger_writable",] == 0.0


def test_a_ledger_whose_disk_hangs_is_not_writable_and_the_scrape_does_not_hang(
    tmp_path, signers, monkeypatch
):
    monkeypatch.setattr("attunement.metrics_ledger.PATIENCE_S", 0.05)
    hang, hanging = threading.Event(), threading.Event()
    is_slow = threading.Event()

    def sync(_descriptor):
        if is_slow.is_set():
            hanging.set()
            hang.wait(20)

    metrics = Metrics()
    with Ledger.open(tmp_path / "ledger", signers, sync=sync) as ledger:
        metrics._ledger.watch(ledger, tmp_path / "ledger")
        assert exposed(metrics)["uhes_ledger_writable",] == 1.0
        is_slow.set()
        writer = threading.Thread(target=ledger.append, args=({"event": "x"},))
        writer.start()
        assert hanging.wait(20)
        assert exposed(metrics)["uhes_ledger_writable",] == 0.0
        assert "append takes longer than 0.05 s" in ledger.health(0.05).stopped
        hang.set()
        writer.join()
        assert exposed(metrics)["uhes_ledger_writable",] == 1.0
    assert ledger.health(0.05).stopped == "it is closed"


def test_a_ledger_whose_folder_is_gone_has_no_room(tmp_path, signers):
    metrics = Metrics()
    with Ledger.open(tmp_path / "ledger", signers) as ledger:
        metrics._ledger.watch(ledger, tmp_path / "nowhere")
        assert exposed(metrics)["uhes_ledger_free_bytes",] == 0.0


def test_the_names_follow_the_conventions_but_for_the_name_of_h_internal():
    """promtool takes the h of H_internal, the order parameter's own name, for an hour."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not here")
    found = subprocess.run(
        [promtool, "check", "metrics"],
        input=generate_latest(Metrics().registry),
        capture_output=True,
        check=False,
    )
    said = (found.stdout + found.stderr).decode()
    assert said.splitlines() == ["uhes_h_internal metric names should not contain abbreviated units"]


def test_a_taken_port_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(MetricsError, match=rf"metrics\.port {port} on 127\.0\.0\.1 is taken by another"):
            MetricsServer(Metrics(), "127.0.0.1", port)


def test_a_host_that_is_none_is_named():
    with pytest.raises(MetricsError, match=r"metrics\.port 0 on 192\.0\.2\.1 cannot be listened at"):
        MetricsServer(Metrics(), "192.0.2.1", 0)


def test_a_closed_server_gives_its_port_back():
    with MetricsServer(Metrics(), "127.0.0.1", 0) as server:
        port = server.port
    with MetricsServer(Metrics(), "127.0.0.1", port) as again:
        assert again.port == port


def test_two_runs_in_one_process_do_not_share_their_series(attune, scripted_engine, wishes):
    _, first = attuned(attune, scripted_engine(), wishes(Suggestion(1.01)), 2)
    _, second = attuned(attune, scripted_engine(), wishes(), 2)
    assert exposed(first)["uhes_alpha_accept_total",] == 1.0
    assert exposed(second)["uhes_alpha_accept_total",] == 0.0
