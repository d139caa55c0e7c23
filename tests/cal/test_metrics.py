"""The Prometheus series, over real HTTP."""

import socket
from urllib.request import urlopen

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from attunement.metrics import Metrics, MetricsError, MetricsServer
from kernel import Mode
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
    "uhes_kernel_mode",
    "uhes_kernel_verified",
    "uhes_last_step_timestamp_seconds",
    "uhes_last_reading_timestamp_seconds",
}
COUNTERS = {
    "uhes_alpha_accept",
    "uhes_alpha_revert",
    "uhes_alpha_refused",
    "uhes_missed_cycles",
    "uhes_orders",
    "uhes_order_refusals",
    "uhes_votes",
    "uhes_escalations",
}


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


def test_every_series_is_there_from_the_start_and_at_zero():
    text = fetched(Metrics())
    samples = parsed(text)
    names = {family.name: family.type for family in text_string_to_metric_families(text)}
    assert names == {**dict.fromkeys(GAUGES, "gauge"), **dict.fromkeys(COUNTERS, "counter")}
    assert all(value == 0.0 for value in samples.values())
    assert {name for name, *_ in samples} == GAUGES | {f"{name}_total" for name in COUNTERS}
    assert {labels[0] for name, *labels in samples if name == "uhes_lambda_value"} == {
        "L_mu",
        "L_phi",
        "L_Phi",
    }


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
    assert samples["uhes_alpha_accept_total",] == 1.0
    assert samples["uhes_attunement_mode",] == 1.0
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
    assert samples["uhes_kernel_mode",] == 2.0


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
