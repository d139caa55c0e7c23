"""The engine that a configuration describes."""

import numpy as np
import pytest

from attunement.build import build_engine, build_source
from attunement.config_schema import Config, EngineConfig, SafetyConfig, Shock, SourceConfig
from attunement.engine import CalEngine
from attunement.host import HostSource
from attunement.simulator import SimulatedSource
from attunement.trace import TraceError, TraceSource


def snapshot(engine, cycles=20):
    for _ in range(cycles):
        engine.run_cycle()
    return engine.sample_omega_snapshot()


def test_the_default_is_the_simulated_engine():
    assert isinstance(build_source(Config()), SimulatedSource)
    assert snapshot(build_engine(Config())).shape == (64, 4)


def test_every_setting_of_simulator_and_engine_arrives():
    shock = Shock(kind="psi", start=5, length=50, magnitude=1.1)
    config = Config(
        alpha_initial=0.9,
        safety=SafetyConfig(k_max=0.95),
        engine=EngineConfig(window=3, W=1.4, dt=0.5, gain_sd=0.2, c_ref=2.0, seed=4),
        source=SourceConfig(nodes=9, dims=3, psi=0.7, noise=0.1, seed=8, shocks=(shock,)),
    )
    by_hand = CalEngine(
        SimulatedSource(9, 3, 0.7, 0.1, 8, (shock,)),
        EngineConfig(window=3, W=1.4, dt=0.5, gain_sd=0.2, c_ref=2.0, seed=4),
        k_max=0.95,
        alpha=0.9,
    )
    built = build_engine(config)
    assert built.get_alpha_multiplier() == 0.9
    assert built.normalize_C(2.0) == 0.5
    np.testing.assert_array_equal(snapshot(built), snapshot(by_hand))
    assert built.get_gains() == by_hand.get_gains()


def test_a_trace_is_replayed_with_its_settings(tmp_path):
    rows = "".join(f"2024-01-01 00:0{minute}:00,{minute}\n" for minute in range(5))
    (tmp_path / "a.csv").write_text("timestamp,value\n" + rows, encoding="utf-8")
    source = SourceConfig(kind="trace", folder=str(tmp_path), window=4, psi=0.3, repeat=True)
    built = build_source(Config(source=source))
    assert isinstance(built, TraceSource)
    blocks = [built.next() for _ in range(3)]
    assert [block.sequence for block in blocks] == [1, 2, 3]
    assert blocks[0].psi.tolist() == [0.3] * 3
    np.testing.assert_array_equal(blocks[0].features, blocks[2].features)


def test_a_trace_that_cannot_be_used_is_refused(tmp_path):
    source = SourceConfig(kind="trace", folder=str(tmp_path))
    with pytest.raises(TraceError, match=r"holds no .csv file"):
        build_engine(Config(source=source))


def test_the_host_s_counters_are_read():
    built = build_source(Config(source=SourceConfig(kind="host", psi=0.4)))
    assert isinstance(built, HostSource)
    assert built.next().psi.tolist() == [0.4] * 3


def test_a_folder_left_in_place_does_not_turn_a_simulator_into_a_trace(tmp_path):
    assert isinstance(build_source(Config(source=SourceConfig(folder=str(tmp_path)))), SimulatedSource)
