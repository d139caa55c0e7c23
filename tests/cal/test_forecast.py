"""Forecasts are shown with their error, and whoever makes them cannot hold up or sway the loop."""

import io
import threading

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from attunement.build import build_engine
from attunement.config_schema import Config, SourceConfig
from attunement.feed import TelemetryFeed
from attunement.forecast import LEAST_STEPS, Forecaster, Forecasts, Predictor
from attunement.metrics import Metrics
from attunement.policy import kernel_limits
from attunement.view import LiveView
from optimizers import HOLD, Suggestion


def predicted(figures, alphas):
    """The forecast made after each figure, under a schedule of α."""
    predictor, errors, expected = Predictor(), [], []
    for index, figure in enumerate(figures):
        if index:
            errors.append(predictor.learn(figure))
        moved = figure - figures[index - 1] if index else 0.0
        expected.append(predictor.forecast(figure, moved, alphas[index + 1] - alphas[index]))
    return expected, errors, predictor


def test_nothing_is_foretold_before_enough_is_known():
    expected, errors, predictor = predicted([0.5] * (LEAST_STEPS + 2), [1.0] * (LEAST_STEPS + 3))
    assert expected == [None] * LEAST_STEPS + [0.5, 0.5]
    assert errors == [None] * LEAST_STEPS + [0.0]
    told = predictor.told(0.5, 0.0)
    assert (told.rms_error, told.naive_rms_error) == (0.0, 0.0)


def test_the_response_to_alpha_is_learnt():
    """A figure that follows α at once, by 0.7 of each step, is foretold though it never repeats itself."""
    alphas = [1.0 + 0.02 * ((index * index) % 7 - 3) for index in range(60)]
    figures = [0.5 + 0.7 * (alpha - 1.0) for alpha in alphas[:-1]]
    expected, errors, predictor = predicted(figures, alphas)
    told = predictor.told(expected[-1], errors[-1])
    assert told.rms_error < told.naive_rms_error / 5


def test_a_return_to_the_mean_is_learnt():
    figures = [0.5 + (0.1 if index % 2 else -0.1) for index in range(60)]
    expected, errors, _ = predicted(figures, [1.0] * 61)
    assert expected[-1] == pytest.approx(0.4, abs=0.01)
    assert abs(errors[-1]) < 0.01


@given(
    st.lists(st.floats(0.0, 1.0), min_size=12, max_size=40),
    st.lists(st.floats(0.8, 1.2), min_size=41, max_size=41),
)
def test_a_forecast_is_a_figure_in_range_whatever_was_measured(figures, alphas):
    expected, errors, predictor = predicted(figures, alphas)
    assert all(one is None or 0.0 <= one <= 1.0 for one in expected)
    assert expected[-1] is not None
    told = predictor.told(expected[-1], errors[-1])
    assert 0.0 <= told.rms_error <= 1.0
    assert abs(errors[-1]) <= 1.0


class Consumed:
    """Has a forecaster consume reports in the loop's own thread, so that a test need not wait for it."""

    def __init__(self, forecaster):
        self.on_report = forecaster.consume


def forecast_of(attune, engine, optimizer, cycles):
    told, metrics = [], Metrics()
    forecaster = Forecaster((told.append, metrics.on_forecasts))
    loop = attune(engine, optimizer, subscribers=(Consumed(forecaster),))
    loop.controller.start()
    loop.engine.run(cycles)
    return loop, told, metrics


def sample(metrics, name, figure):
    return metrics.registry.get_sample_value(name, {"figure": figure})


def test_a_missed_cycle_ends_the_forecast_and_is_no_error(attune, scripted_engine, wishes):
    loop, told, metrics = forecast_of(attune, scripted_engine(coherence=0.4), wishes(), LEAST_STEPS + 3)
    assert told[-1].cycle == LEAST_STEPS + 4
    assert told[-1].figures["C_hat"].expected == pytest.approx(0.4)
    assert sample(metrics, "uhes_forecast", "C_hat") == pytest.approx(0.4)
    assert sample(metrics, "uhes_forecast_ready", "C_hat") == 1.0
    loop.engine.coherence = float("nan")
    loop.engine.run(1)
    assert told[-1].cycle is None
    assert told[-1].figures["C_hat"].expected is None
    assert sample(metrics, "uhes_forecast_ready", "C_hat") == 0.0
    loop.engine.coherence = 0.9
    loop.engine.run(1)
    assert told[-1].figures["C_hat"].error is None
    assert told[-1].figures["C_hat"].rms_error == pytest.approx(0.0)


def test_a_cycle_at_another_alpha_than_foreseen_is_no_error(attune, scripted_engine, wishes):
    engine = scripted_engine(coherence=lambda alpha: alpha / 2)
    loop, told, _ = forecast_of(attune, engine, wishes(), 12)
    loop.controller.stop()
    forecaster = Forecaster()
    for report in loop.reports[:-1]:
        forecaster.consume(report)
    moved = attrs.evolve(loop.reports[-1].measurement, alpha=1.1)
    forecaster.consume(attrs.evolve(loop.reports[-1], measurement=moved))
    assert told[-1].figures["C_hat"].error is not None
    assert forecaster.latest.figures["C_hat"].error is None


def test_a_simulated_engine_is_foretold_better_than_by_as_now(attune, wishes):
    """While the recursion settles after each step of α, a movement carries on; 'as now' cannot know that."""
    config = Config(source=SourceConfig(nodes=64, noise=0.05, seed=3))
    steps = [HOLD] * 40 + [Suggestion(1.01), HOLD, HOLD, Suggestion(1.02)] + [HOLD] * 40

    told = []
    forecaster = Forecaster((told.append,))
    loop = attune(build_engine(config), wishes(*steps), subscribers=(Consumed(forecaster),))
    loop.controller.start()
    for _ in range(120):
        loop.engine.run_cycle()
    figure = told[60].figures["C_hat"]
    assert figure.rms_error < figure.naive_rms_error


def report_of(attune, scripted_engine, wishes):
    loop = attune(scripted_engine(), wishes())
    loop.controller.start()
    loop.engine.run(1)
    return loop.reports[0]


def test_a_consumer_that_hangs_holds_nobody_up_and_what_it_misses_is_counted(
    attune, scripted_engine, wishes, until
):
    go_on, seen, metrics = threading.Event(), [], Metrics()

    class Slow:
        def consume(self, report):
            go_on.wait(20)
            seen.append(report)

    feed = TelemetryFeed(Slow(), metrics.on_reports_lost, pytest.fail, capacity=2)
    loop = attune(scripted_engine(), wishes(), subscribers=(feed,))
    loop.controller.start()
    loop.engine.run(20)
    assert len(loop.reports) == 20
    lost = metrics.registry.get_sample_value("uhes_forecast_reports_lost_total")
    assert 17 <= lost <= 18
    go_on.set()
    feed.close()
    assert len(seen) == 20 - lost
    assert seen[0] is loop.reports[0]


def test_a_consumer_that_raises_is_left_out_and_somebody_is_told_once(attune, scripted_engine, wishes, until):
    said, lost = [], []

    class Broken:
        def consume(self, report):
            raise ValueError("no idea")

    feed = TelemetryFeed(Broken(), lost.append, said.append, capacity=2)
    loop = attune(scripted_engine(), wishes(), subscribers=(feed,))
    loop.controller.start()
    loop.engine.run(1)
    until(lambda: said == ["ValueError: no idea"])
    loop.engine.run(9)
    feed.close()
    assert len(loop.reports) == 10
    assert (said, lost) == (["ValueError: no idea"], [])


def test_closing_leaves_a_consumer_that_hangs_behind(attune, scripted_engine, wishes, monkeypatch):
    monkeypatch.setattr("attunement.feed.CLOSE_PATIENCE_S", 0.05)
    go_on = threading.Event()

    class Hanging:
        def consume(self, report):
            go_on.wait(20)

    feed = TelemetryFeed(Hanging(), pytest.fail, pytest.fail)
    feed.on_report(report_of(attune, scripted_engine, wishes))
    feed.close()
    assert feed._thread.is_alive()
    go_on.set()
    feed._thread.join(20)
    assert not feed._thread.is_alive()


def test_the_live_view_shows_what_is_expected_and_how_far_off_it_was(attune, scripted_engine, wishes):
    loop, told, _ = forecast_of(attune, scripted_engine(coherence=0.4), wishes(), LEAST_STEPS + 4)
    forecaster = Forecaster()
    shown = []
    for stage in (Forecasts(), told[-1]):
        forecaster.latest = stage
        console = Console(width=120, force_terminal=True, record=True, file=io.StringIO())
        view = LiveView(console, kernel_limits(Config()), None, forecaster)
        view.on_report(loop.reports[-1])
        view.close()
        shown.append(console.export_text())
    assert "next Ĉ" in shown[0]
    assert "unknown" in shown[0].split("next Ĉ")[1]
    assert "0.400000" in shown[1].split("next Ĉ")[1]
    assert "± 0.000000 (unchanged: ± 0.000000)" in shown[1]
