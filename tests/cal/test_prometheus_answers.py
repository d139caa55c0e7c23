"""What Prometheus, or what stands in its place, may answer: all but good answers are missing figures."""

import json
from math import isfinite
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attunement.config import loads
from attunement.measurement import MeasurementError, Sensors
from attunement.prometheus_engine import PrometheusEngine, PrometheusError

NOW_S = 1_700_000_000.123
SECTION = {
    "url": "http://127.0.0.1:1",
    "apply_url": "http://127.0.0.1:1",
    "clock": "clock",
    "coherence": {"promql": "coherence"},
    "entropy_rate": {"promql": "entropy_rate", "range": 2, "step": 1},
    "h_internal": {"promql": "h_internal"},
    "drive": {"promql": "drive"},
    "loop_gain": {"promql": "loop_gain"},
}
FIGURES = {"clock": f"{NOW_S:.3f}", "coherence": "5", "entropy_rate": "0.001", "h_internal": "0.99"}
READ = {
    "coherence": "sample_omega_snapshot",
    "entropy_rate": "get_entropy_rate",
    "h_internal": "get_h_internal",
}


def answer(url):
    """The good answer to a request."""
    asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    figure = FIGURES.get(asked["query"], "0.2")
    if "start" in asked:
        times = [float(asked["start"]) + step for step in range(3)]
        series = {"metric": {}, "values": [[at_s, figure] for at_s in times]}
        data = {"resultType": "matrix", "result": [series]}
    else:
        series = {"metric": {}, "value": [float(asked["time"]), figure]}
        data = {"resultType": "vector", "result": [series]}
    return asked["query"], {"status": "success", "data": data, "infos": ["a metric might be no counter"]}


@pytest.fixture
def engine(monkeypatch):
    """Return a function that makes an engine, of whose answers one is changed."""

    def make(name=None, change=lambda document: document):
        def exchange(_method, url, *_):
            query, document = answer(url)
            if query == name:
                document = change(document)
            return document if isinstance(document, bytes) else json.dumps(document).encode()

        monkeypatch.setattr("attunement.prometheus_engine.exchange", exchange)
        config = loads(json.dumps({"attunement": {"engine": {"kind": "prometheus"}, "prometheus": SECTION}}))
        seconds = iter([NOW_S, NOW_S, NOW_S] + [NOW_S + 60] * 9)
        return PrometheusEngine(config.prometheus, 1.0, 1.0, lambda: next(seconds), lambda _: False)

    return make


def with_value(value):
    """Return a change of the figure and its time, in an instant's answer or in the middle of a range."""

    def change(document):
        (series,) = document["data"]["result"]
        if "values" in series:
            series["values"][1] = value(series["values"][1][0])
        else:
            series["value"] = value(series["value"][0])
        return document

    return change


def test_good_answers_are_taken(engine):
    made = engine()
    made.run_cycle()
    measured = Sensors(made, 1, 0.0, 0).measure()
    assert (measured.entropy_rate, measured.h_internal) == (0.001, 0.99)
    assert (measured.drive, measured.loop_gain) == ((0.2, 0.2, 0.2), (0.2, 0.2, 0.2))


@pytest.mark.parametrize(
    "text", ["0", "-0", "+1.5", "1e-07", "1E+21", "0.1234567890123456789", "00.5"], ids=repr
)
def test_a_figure_in_the_form_of_prometheus_is_taken(engine, text):
    made = engine("h_internal", with_value(lambda at_s: [at_s, text]))
    made.run_cycle()
    assert made.get_h_internal() == float(text)


BAD_VALUES = {
    "a day ago": lambda at_s: [at_s - 86_400, "0.99"],
    "a day ahead": lambda at_s: [at_s + 86_400, "0.99"],
    "time nan": lambda _: [float("nan"), "0.99"],
    "time huge": lambda _: [10**400, "0.99"],
    "time text": lambda at_s: [str(at_s), "0.99"],
    "time true": lambda _: [True, "0.99"],
    "true": lambda at_s: [at_s, True],
    "false": lambda at_s: [at_s, False],
    "number": lambda at_s: [at_s, 0.99],
    "null": lambda at_s: [at_s, None],
    "underscores": lambda at_s: [at_s, " 0_0.9_9 "],
    "blank": lambda at_s: [at_s, "0.99 "],
    "empty": lambda at_s: [at_s, ""],
    "other digits": lambda at_s: [at_s, "٠.٩"],
    "infinity": lambda at_s: [at_s, "infinity"],
    "NaN": lambda at_s: [at_s, "NaN"],
    "+Inf": lambda at_s: [at_s, "+Inf"],
    "1e999": lambda at_s: [at_s, "1e999"],
    "three": lambda at_s: [at_s, "0.99", "0.99"],
    "one": lambda at_s: [at_s],
    "mapping": lambda at_s: {str(at_s): 1, "0.99": 2},
    "text": lambda _: "12",
}


@pytest.mark.parametrize("value", BAD_VALUES.values(), ids=BAD_VALUES)
@pytest.mark.parametrize("name", READ)
def test_a_sample_of_another_time_or_form_is_missing(engine, name, value):
    made = engine(name, with_value(value))
    made.run_cycle()
    with pytest.raises(MeasurementError, match=f"{name}: "):
        Sensors(made, 1, 0.0, 0).measure()
    with pytest.raises(PrometheusError, match=f"{name}: "):
        getattr(made, READ[name])()


@pytest.mark.parametrize("value", BAD_VALUES.values(), ids=BAD_VALUES)
def test_a_clock_of_another_time_or_form_is_a_missed_cycle(engine, value):
    made = engine("clock", with_value(value))
    made.run_cycle()
    with pytest.raises(MeasurementError, match="clock: "):
        Sensors(made, 1, 0.0, 0).newest_cycle()


BAD_DOCUMENTS = {
    "warnings": lambda told: {**told, "warnings": ["partial response: store 3 is gone"]},
    "warnings of another form": lambda told: {**told, "warnings": {"a": 1}},
    "error": lambda told: {**told, "error": "the query timed out"},
    "error type": lambda told: {**told, "errorType": "timeout"},
    "status": lambda told: {**told, "status": True},
    "list": lambda told: [told],
    "cut": lambda told: json.dumps(told).encode()[:-1],
    "no UTF-8": lambda told: json.dumps(told).encode() + b"\xff",
    "deep": lambda _: b"[" * 100_000,
    "no data": lambda told: {**told, "data": None},
    "string": lambda told: {**told, "data": {**told["data"], "resultType": "string"}},
    "other kind": lambda told: {
        **told,
        "data": {
            **told["data"],
            "resultType": {"vector": "matrix", "matrix": "vector"}[told["data"]["resultType"]],
        },
    },
    "empty": lambda told: {**told, "data": {**told["data"], "result": []}},
    "labels": lambda told: {
        **told,
        "data": {**told["data"], "result": [{"metric": 1, "value": 1, "values": 1}]},
    },
    "result": lambda told: {**told, "data": {**told["data"], "result": 3}},
}


@pytest.mark.parametrize("change", BAD_DOCUMENTS.values(), ids=BAD_DOCUMENTS)
@pytest.mark.parametrize("name", READ)
def test_an_answer_that_is_partial_or_malformed_is_missing(engine, name, change):
    made = engine(name, change)
    made.run_cycle()
    with pytest.raises(MeasurementError, match=f"{name}: "):
        Sensors(made, 1, 0.0, 0).measure()


@pytest.mark.parametrize("order", [[0, 0, 1], [0, 2, 1], [1, 2, 3], [0, 1], [0, 1, 2, 2]], ids=str)
def test_the_points_of_a_range_lie_in_it_one_after_the_other(engine, order):
    def change(document):
        (series,) = document["data"]["result"]
        start_s = series["values"][0][0]
        series["values"] = [[start_s + step, "0.001"] for step in order]
        return document

    made = engine("entropy_rate", change)
    made.run_cycle()
    with pytest.raises(PrometheusError, match="entropy_rate: "):
        made.get_entropy_rate()


@pytest.mark.parametrize(
    "labels",
    [["bogus"], ["L_mu"], [""], ["L_mu", "L_phi", "bogus"], [None, "bogus"], [None, "L_mu"], [3]],
    ids=str,
)
@pytest.mark.parametrize("name", ["drive", "loop_gain"])
def test_a_label_that_is_no_scale_stands_for_none(engine, name, labels):
    def change(document):
        (series,) = document["data"]["result"]
        metrics = [{} if label is None else {"L": label} for label in labels]
        document["data"]["result"] = [{**series, "metric": metric} for metric in metrics]
        return document

    made = engine(name, change)
    made.run_cycle()
    with pytest.raises(MeasurementError, match=f"{name} has the scales"):
        Sensors(made, 1, 0.0, 0).measure()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["0.5", NOW_S]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["metric", "value"]), inner),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["vector", "scalar", "matrix"]), JSON)
def test_whatever_is_answered_is_a_finite_figure_or_missing(engine, kind, result):
    told = {"status": "success", "data": {"resultType": kind, "result": result}}
    made = engine("h_internal", lambda _: told)
    made.run_cycle()
    try:
        assert isfinite(made.get_h_internal())
    except PrometheusError as error:
        assert str(error).startswith("h_internal: ")  # noqa: PT017 - most answers are refused
