"""Limits proposed from what an engine shows."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attunement import calibrate as module
from attunement.calibrate import Baseline, CalibrationError, calibrate
from attunement.coherence import CoherenceDensityMeter
from attunement.config import loads
from attunement.config_schema import Shock
from attunement.engine import CalEngine
from attunement.measurement import MeasurementError
from attunement.policy import kernel_limits
from attunement.simulator import SimulatedSource
from attunement.sources import FeatureBlock, SourceExhaustedError
from attunement.trace import TraceSource
from kernel import ActuatorError

RECORDED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "ec2_cpu"


class FrozenSource:
    nodes, dims = 2, 2

    def next(self):
        return FeatureBlock(np.ones((2, 2)), np.full(3, 0.9), 1)


class TwiceTellingSource(SimulatedSource):
    """Delivers every sample twice."""

    def __init__(self, nodes, dims):
        super().__init__(nodes, dims)
        self.told = []

    def next(self):
        if not self.told:
            self.told = [super().next()] * 2
        return self.told.pop()


def test_the_proposed_limits_hold_for_cycles_not_yet_seen():
    engine = CalEngine(SimulatedSource(64, 4))
    baseline = calibrate(engine, cycles=300)
    assert baseline.cycles == 300
    assert baseline.safe_share == 1
    for _ in range(300):
        engine.run_cycle()
        assert engine.get_entropy_rate() <= baseline.entropy_max
        assert engine.get_h_internal() >= baseline.h_internal_min


def test_quantiles_and_limits_are_those_of_the_held_cycles():
    twin = CalEngine(SimulatedSource(64, 4))
    meter = CoherenceDensityMeter(twin)
    for _ in range(32):
        twin.run_cycle()
    rates, coherences, densities = [], [], []
    for _ in range(100):
        twin.run_cycle()
        rates.append(twin.get_entropy_rate())
        coherences.append(twin.get_h_internal())
        densities.append(meter.compute_C_hat())
    baseline = calibrate(CalEngine(SimulatedSource(64, 4)), cycles=100, quantile=0.9)
    assert baseline.entropy_rate == pytest.approx(np.quantile(rates, 0.9))
    assert baseline.h_internal == pytest.approx(np.quantile(coherences, 0.1))
    assert baseline.coherence == pytest.approx(np.mean(densities))
    assert baseline.h_internal_min == pytest.approx(1 - 1.5 * (1 - baseline.h_internal))
    assert baseline.h_internal_severe == pytest.approx(1 - 3 * (1 - baseline.h_internal))
    assert baseline.entropy_max == pytest.approx(5 * baseline.step_entropy_rate)
    assert baseline.entropy_severe == pytest.approx(10 * baseline.entropy_max)


def test_a_retreat_from_above_one_stays_within_the_proposed_limits():
    engine = CalEngine(SimulatedSource(64, 4))
    baseline = calibrate(engine, cycles=200)
    for step in range(1, 5):
        engine.set_alpha_multiplier(1 + 0.02 * step)
        for _ in range(20):
            engine.run_cycle()
    engine.set_alpha_multiplier(1.06)
    for _ in range(20):
        engine.run_cycle()
        assert engine.get_entropy_rate() <= baseline.entropy_max
        assert engine.get_h_internal() >= baseline.h_internal_min


def test_alpha_is_given_back():
    engine = CalEngine(SimulatedSource(8, 4), alpha=0.85)
    calibrate(engine, cycles=5)
    assert engine.get_alpha_multiplier() == 0.85


def test_the_fragment_is_read_as_a_configuration():
    baseline = calibrate(CalEngine(SimulatedSource(64, 4)), cycles=50)
    safety = loads(baseline.to_yaml()).safety
    assert safety.entropy_max == pytest.approx(baseline.entropy_max, abs=1e-9)
    assert safety.h_internal_min == pytest.approx(baseline.h_internal_min, abs=1e-9)
    assert safety.entropy_severe == pytest.approx(baseline.entropy_severe, abs=1e-9)
    assert safety.h_internal_severe == pytest.approx(baseline.h_internal_severe, abs=1e-9)
    assert "# measured over 50 cycles at alpha = 1, quantile 0.99" in baseline.to_yaml()


def test_limits_stay_within_the_ranges_of_the_configuration():
    shocks = [Shock(kind="spectral", start=1, length=10_000, magnitude=5)]
    baseline = calibrate(CalEngine(SimulatedSource(4, 4, shocks=shocks)), cycles=200, quantile=1)
    assert isinstance(baseline, Baseline)
    assert loads(baseline.to_yaml()).safety.h_internal_severe == baseline.h_internal_severe == 0


def test_a_single_node_gets_the_least_entropy_limit():
    assert calibrate(CalEngine(SimulatedSource(1, 4)), cycles=5).entropy_max == 1e-6


def test_a_single_node_gets_limits_with_room():
    baseline = calibrate(CalEngine(SimulatedSource(1, 4)), cycles=50)
    assert baseline.h_internal == pytest.approx(1)
    assert baseline.h_internal_min == 0.999
    assert baseline.h_internal_severe == pytest.approx(0.998)
    assert kernel_limits(loads(baseline.to_yaml())).h_internal_min == 999_000_000


RATES = st.floats(0, 0.2) | st.sampled_from([0.0, 1e-12, 1e-6, 0.2])
SHARES = st.floats(0, 1) | st.sampled_from([0.0, 1e-3, 1 - 1e-12, 1.0])


@given(st.lists(st.tuples(RATES, SHARES, SHARES), min_size=1, max_size=9), RATES)
def test_what_limits_were_derived_from_has_room_within_them(readings, step_rate):
    baseline = module._baseline(np.array(readings), step_rate, 1.0)
    safety = loads(baseline.to_yaml()).safety
    kernel_limits(loads(baseline.to_yaml()))
    assert baseline.safe_share == 1
    assert max(step_rate, *(rate for rate, _, _ in readings)) < safety.entropy_max
    assert safety.entropy_max < safety.entropy_severe <= 1
    least = min(share for _, share, _ in readings)
    # Nothing lies below 0: there the limit needs no room, and none is left to what is severe.
    assert safety.h_internal_min < least or (safety.h_internal_min == 0 and least < 1e-9)
    assert safety.h_internal_severe < safety.h_internal_min or safety.h_internal_min == 0
    assert safety.h_internal_min <= 0.999


@pytest.mark.parametrize(("rate", "step_rate"), [(0.6, 0.0), (0.0, 0.6), (2.0, 2.0), (0.5, 0.1)])
def test_where_entropy_rises_too_fast_no_limit_is_proposed(rate, step_rate):
    with pytest.raises(CalibrationError, match=r"must be below 0\.5 for a limit to leave it room"):
        module._baseline(np.array([(rate, 0.9, 0.5)]), step_rate, 0.99)


def test_a_sample_delivered_twice_counts_once(monkeypatch):
    monkeypatch.setattr(module, "_STALE_PAUSE_S", 0.0)
    engine = CalEngine(TwiceTellingSource(8, 4))
    assert calibrate(engine, cycles=20) == calibrate(CalEngine(SimulatedSource(8, 4)), cycles=20)


def test_a_source_that_stands_still_is_refused(monkeypatch):
    monkeypatch.setattr(module, "_STALE_PAUSE_S", 0.0)
    engine = CalEngine(FrozenSource(), alpha=0.9)
    with pytest.raises(CalibrationError, match="the source stood still for 1000 reads after cycle 1"):
        calibrate(engine)
    assert engine.get_alpha_multiplier() == 0.9


def test_an_alpha_moved_by_somebody_else_is_refused():
    engine = CalEngine(SimulatedSource(8, 4))
    engine.on_cycle_end(lambda: engine.set_alpha_multiplier(0.99))
    with pytest.raises(CalibrationError, match=r"alpha is 0\.99 in cycle 2, must be 1"):
        calibrate(engine)


def test_an_engine_in_runaway_gets_no_limits():
    shocks = [Shock(kind="psi", start=40, length=500, magnitude=1.2)]
    engine = CalEngine(SimulatedSource(64, 4, psi=1.0, shocks=shocks, seed=1))
    engine.set_alpha_multiplier(1.2)
    while engine.cycle < 50 or not engine.in_runaway():
        engine.run_cycle()
    with pytest.raises(CalibrationError, match="the engine is in runaway at alpha = 1 in cycle"):
        calibrate(engine)


def test_the_end_of_the_data_comes_through(tmp_path):
    rows = "".join(f"2024-01-01 00:{minute:02}:00,{minute % 7}\n" for minute in range(60))
    (tmp_path / "a.csv").write_text("timestamp,value\n" + rows, encoding="utf-8")
    with pytest.raises(SourceExhaustedError, match="the trace ended after 49 samples"):
        calibrate(CalEngine(TraceSource(tmp_path, 12)))


class BrokenEngine(CalEngine):
    """Fails at one of its members once so many cycles are over."""

    def __init__(self, member, cycles, alpha=0.9):
        super().__init__(SimulatedSource(8, 4), alpha=alpha)
        self.member, self.cycles = member, cycles

    def __getattribute__(self, name):
        own = super().__getattribute__
        if name not in ("member", "cycles") and own("__dict__").get("member") == name:
            done = own("cycle")
            if done >= own("cycles"):
                raise RuntimeError(f"{name} is gone")
        return own(name)


ASKED = ("run_cycle", "cycle", "cycle_alpha", "in_runaway", "normalize_C", "sample_omega_snapshot")


@pytest.mark.parametrize("cycles", [0, 7, 50], ids=["settling", "begun", "stepping"])
@pytest.mark.parametrize("member", [*ASKED, "get_entropy_rate", "get_h_internal"])
def test_an_engine_that_raises_is_told_and_alpha_given_back(member, cycles):
    engine = BrokenEngine(member, cycles)
    with pytest.raises(MeasurementError, match=f"engine raised RuntimeError: {member} is gone"):
        calibrate(engine, cycles=10)
    assert engine.get_alpha_multiplier() == 0.9


def test_an_engine_that_does_not_tell_its_alpha_is_left_as_it_is():
    with pytest.raises(MeasurementError, match="engine raised RuntimeError: get_alpha_multiplier is gone"):
        calibrate(BrokenEngine("get_alpha_multiplier", 0))


def test_an_alpha_that_is_not_taken_is_told():
    with pytest.raises(ActuatorError, match=r"alpha = 1 was not taken: .*; alpha was not put back to 0\.9: "):
        calibrate(BrokenEngine("set_alpha_multiplier", 0))
    with pytest.raises(
        ActuatorError, match=r"^alpha = 1 was not taken: .*; alpha was not put back to 0\.9: "
    ):
        calibrate(BrokenEngine("set_alpha_multiplier", 20), cycles=10)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"get_entropy_rate": lambda: np.nan}, "entropy_rate is nan, must be finite"),
        ({"get_h_internal": lambda: np.inf}, "h_internal is inf, must be finite"),
        ({"normalize_C": lambda c: np.nan}, "C_hat is nan, must be finite"),
        ({"get_entropy_rate": lambda: "much"}, "could not convert string to float"),
        ({"sample_omega_snapshot": lambda: [[0.0], [1.0]]}, "row"),
    ],
    ids=["entropy", "h", "c", "text", "row"],
)
def test_what_is_no_figure_is_told(monkeypatch, changes, said):
    engine = CalEngine(SimulatedSource(8, 4))
    for name, answer in changes.items():
        monkeypatch.setattr(engine, name, answer, raising=False)
    with pytest.raises(MeasurementError, match=said):
        calibrate(engine)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cycles": 0}, "cycles is 0, must be at least 1"),
        ({"quantile": 0.4}, r"quantile is 0.4, must lie in \[0.5, 1\]"),
        ({"quantile": np.nan}, r"quantile is nan, must lie in \[0.5, 1\]"),
        ({"step": 0}, r"step is 0, must lie in \(0, 0.5\]"),
        ({"step": np.nan}, r"step is nan"),
    ],
)
def test_an_argument_out_of_range_is_refused(arguments, message):
    with pytest.raises(CalibrationError, match=message):
        calibrate(CalEngine(SimulatedSource(8, 4)), **arguments)


def test_recorded_cpu_figures_stay_within_limits_calibrated_on_their_first_quarter():
    if not RECORDED.is_dir():
        pytest.skip("the recorded trace is not here")
    engine = CalEngine(TraceSource(RECORDED, 12))
    baseline = calibrate(engine, cycles=800)
    safe = []
    while len(safe) < 1500:
        engine.run_cycle()
        safe.append(
            engine.get_entropy_rate() <= baseline.entropy_max
            and engine.get_h_internal() >= baseline.h_internal_min
        )
    assert np.mean(safe) > 0.99
