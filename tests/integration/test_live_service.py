"""The live service: a real server and a real load, short; and the figures that the report is made of."""

import asyncio
import json
from http.client import HTTPConnection

import attrs
import pytest

from attunement.calibrate import Baseline
from examples.live_service.campaign import (
    Attuned,
    Figures,
    Load,
    Plan,
    Round,
    as_json,
    figures,
    run_attuned,
    service,
)
from examples.live_service.engine import LiveService, LiveServiceError
from examples.live_service.load import Answered, Phase
from examples.live_service.report import accepted, page, write
from examples.live_service.server import Service, Settings

SETTINGS = Settings(downstream_s=0.002, lock_wait_s=0.02, deadline_s=0.2, patience_s=0.3, queue_wait_s=0.05)
BASELINE = Baseline(10, 0.99, 0.001, 0.001, 0.9, 0.5, 1.0, 0.01, 0.1, 0.8, 0.6)


def asked(port, method, path, body=None):
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request(method, path, body)
    answer = connection.getresponse()
    content = json.loads(answer.read())
    connection.close()
    return answer.status, content


@pytest.fixture(scope="module")
def port():
    with service(SETTINGS, 0) as found:
        yield found


def test_the_service_reserves_tells_and_takes_alpha(port):
    before = asked(port, "GET", "/stats")[1]["in_time"]
    assert asked(port, "GET", "/reserve?items=1,2,3") == (200, {})
    assert asked(port, "PUT", "/limit", b'{"alpha": 0.5}') == (200, {})
    stats = asked(port, "GET", "/stats")[1]
    assert (stats["in_time"] - before, stats["alpha"], stats["limit"]) == (1, 0.5, 15)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nothing", None, 404),
        ("GET", "/reserve", None, 400),
        ("GET", "/reserve?items=1,1", None, 400),
        ("GET", "/reserve?items=60", None, 400),
        ("GET", "/reserve?items=-1", None, 400),
        ("GET", "/reserve?items=1,2,3,4,5,6,7,8,9", None, 400),
        ("PUT", "/limit", b'{"alpha": 0.001}', 400),
        ("PUT", "/limit", b'{"alpha": 2.1}', 400),
        ("PUT", "/limit", b'{"alpha": NaN}', 400),
        ("PUT", "/limit", b'{"alpha": true}', 400),
        ("PUT", "/limit", b"[1]", 400),
        ("PUT", "/limit", b"{", 400),
    ],
)
def test_what_it_cannot_do_is_refused(port, method, path, body, status):
    assert asked(port, method, path, body)[0] == status


def test_a_queue_sheds_those_who_waited_too_long_and_a_deadlock_ends_by_time():
    async def crowd():
        patient = {"patience_s": 30.0, "deadline_s": 30.0}
        made = Service(attrs.evolve(SETTINGS, base=1, queue_wait_s=0.001, downstream_s=0.02, **patient))
        shed = await asyncio.gather(*(made.reserve([1]) for _ in range(3)))
        made.set_alpha(2.0)
        crossed = await asyncio.gather(made.reserve([1, 2]), made.reserve([2, 1]))
        return shed, crossed, made.counters

    shed, crossed, counters = asyncio.run(crowd())
    assert sorted(shed) == [200, 503, 503]
    assert sorted(crossed) == [200, 200]
    assert counters.aborted >= 1
    assert (counters.shed, sum(counters.latencies)) == (2, 3)


def test_the_engine_reads_what_the_service_counted(port):
    engine = LiveService(port, SETTINGS.base, SETTINGS.pool, 100.0, window_s=0.4, settle_s=0.05)
    engine.set_alpha_multiplier(1.1)
    before = asked(port, "GET", "/stats")[1]
    with Load.start(port, [Phase(1.5, 200, 3)], SETTINGS.items, 7) as load:
        for _ in range(2):
            engine.run_cycle()
        answered = load.answered()
    assert len(answered) > 200
    stats = asked(port, "GET", "/stats")[1]
    served = [one for one in answered if one.status in (200, 504)]
    assert len(served) == sum(stats["latencies"]) - sum(before["latencies"])
    assert len(answered) - len(served) == stats["shed"] - before["shed"]
    assert (engine.get_alpha_multiplier(), engine.cycle_alpha) == (1.1, 1.1)
    assert engine.cycle >= 1
    assert 0.0 < engine.normalize_C(engine.sample_omega_snapshot()[0][0] ** 2) < 1.0
    assert 0.0 <= engine.get_h_internal() <= 1.0
    assert engine.get_entropy_rate() >= 0.0
    assert engine.get_gains()["L_mu"].drive == pytest.approx(5.0)


def test_an_engine_without_its_service_has_no_cycle():
    engine = LiveService(1, 30, 60, 100.0, window_s=0.0)
    engine.run_cycle()
    assert engine.cycle == 0
    with pytest.raises(LiveServiceError, match="no window has been measured yet"):
        engine.get_h_internal()
    with pytest.raises(LiveServiceError, match="PUT /limit"):
        engine.set_alpha_multiplier(1.0)


def test_a_short_run_goes_through_kernel_and_ledger(tmp_path, monkeypatch):
    monkeypatch.setattr("attunement.calibrate._SETTLING_CYCLES", 2)
    monkeypatch.setattr("attunement.calibrate._STEP_CYCLES", 1)
    monkeypatch.setattr("attunement.calibrate._STEP_PAIRS", 1)
    plan = Plan(
        before=(80.0, 2),
        after=(80.0, 3),
        warm_s=1.0,
        rise_s=0.5,
        attuned_s=1.5,
        calibration_cycles=3,
        window_s=0.15,
    )
    done = run_attuned(plan, SETTINGS, 3, tmp_path)
    assert done.verdict == "verified"
    assert done.records > 2
    assert 0.0 < done.figures.success <= 1.0
    assert all(0.2 <= alpha <= 1.6 for _, alpha, _ in done.trace)


def test_figures_are_taken_per_phase():
    answered = [Answered(0.1 * index, 0.1 if index % 2 else 0.5, 200) for index in range(41)]
    taken = figures(answered, 1.0, 2.0, 0.4)
    assert taken.goodputs == (5.0, 5.0)
    assert taken.success == pytest.approx(15 / 31)
    assert taken.p99_s == 0.5


def test_the_report_says_what_holds(tmp_path):
    good, poor = (
        Figures(goodput, (goodput, goodput), p99, (p99, p99), 0.9) for goodput, p99 in ((100, 0.3), (80, 0.5))
    )
    trace = ((0.0, 1.0, 80.0), (50.0, 0.5, 99.0))
    attuned = Attuned(
        attrs.evolve(good, goodput=94.0, p99_s=0.32), (90.0, 0.4), trace, "verified", 7, {}, BASELINE
    )
    one = Round({0.5: good, 1.0: poor}, attuned)
    assert one.best == 0.5
    assert accepted(one) == {"goodput": False, "p99": False, "ledger": True}
    assert accepted(attrs.evolve(one, attuned=attrs.evolve(attuned, figures=good))) == dict.fromkeys(
        ("goodput", "p99", "ledger"), True
    )
    write([one, one], Plan(), tmp_path)
    said = (tmp_path / "live_service_report.md").read_text(encoding="utf-8")
    assert said == page([one, one], Plan())
    assert "| α = 0.5 fixed, the best | 100.0 |" in said
    assert "| 2 | ×0.940 | **no** | **no**, ×1.067 | yes |" in said
    assert (tmp_path / "live_service.png").read_bytes().startswith(b"\x89PNG")
    assert as_json([one])[0]["attuned"]["final_alpha"] == 0.5
