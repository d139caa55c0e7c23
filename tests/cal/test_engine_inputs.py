"""What the engine refuses, and what it keeps when it does; its callbacks and its α."""

from math import inf, isnan, nan

import numpy as np
import pytest

from attunement.engine import CalEngine, EngineInputError, EngineStateError
from attunement.simulator import SimulatedSource
from attunement.sources import FeatureBlock, SourceExhaustedError

SOUND = np.ones((3, 2))
PSI = np.full(3, 0.9)


class ScriptedSource:
    """Delivers the block it holds, under the sequence number it holds."""

    nodes, dims = 3, 2

    def __init__(self):
        self.features, self.psi, self.sequence = SOUND, PSI, 0

    def next(self):
        self.sequence += 1
        return FeatureBlock(self.features, self.psi, self.sequence)


class FrozenSource(ScriptedSource):
    """Delivers the same sample for ever."""

    def next(self):
        return FeatureBlock(self.features, self.psi, 7)


def with_row(row, figures):
    features = SOUND.copy()
    features[row] = figures
    return features


def observed(engine):
    return (
        engine.cycle,
        engine.sample_omega_snapshot().tolist(),
        engine.get_h_internal(),
        engine.get_entropy_rate(),
        engine.get_m_t_bounds(),
        dict(engine.get_gains()),
    )


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (with_row(1, [nan, 1.0]), r"features of node 1 are \[nan, 1.0\], must be finite"),
        (with_row(2, [1.0, -inf]), r"features of node 2 are \[1.0, -inf\], must be finite"),
        (with_row(0, [0.0, -0.0]), r"features of node 0 are all zero, must have a direction"),
        (np.empty((0, 2)), r"shape \(0, 2\), must have \(3, 2\)"),
        (np.ones((3, 3)), r"shape \(3, 3\), must have \(3, 2\)"),
        (np.ones((4, 2)), r"shape \(4, 2\)"),
        (np.ones(6), r"shape \(6,\)"),
        ([[1.0, 2.0], [3.0]], r"features cannot be an array"),
        ([["1", "2"]] * 3, r"features hold <U1, must hold real numbers"),
        (np.ones((3, 2), dtype=bool), r"features hold bool"),
        (np.ones((3, 2), dtype=complex), r"features hold complex128"),
    ],
)
def test_broken_features_are_refused_and_the_last_state_kept(features, message):
    source = ScriptedSource()
    engine = CalEngine(source)
    calls = []
    engine.run_cycle()
    before = observed(engine)
    engine.on_cycle_end(lambda: calls.append(1))
    source.features = features
    with pytest.raises(EngineInputError, match=message):
        engine.run_cycle()
    assert observed(engine) == before
    assert calls == []
    twin_source = ScriptedSource()
    twin = CalEngine(twin_source)
    twin.run_cycle()
    source.features = SOUND
    engine.run_cycle()
    twin.run_cycle()
    assert observed(engine) == observed(twin)


@pytest.mark.parametrize(
    ("psi", "message"),
    [
        ([0.9, nan, 0.9], "psi of L_phi is nan, must lie in \\[0, 1\\]"),
        ([-0.1, 0.9, 0.9], "psi of L_mu is -0.1"),
        ([0.9, 0.9, 1.1], "psi of L_Phi is 1.1"),
        ([0.9, 0.9], "psi has shape \\(2,\\), must have \\(3,\\)"),
        (["0.9"] * 3, "psi hold <U3"),
    ],
)
def test_a_broken_psi_is_refused(psi, message):
    source = ScriptedSource()
    source.psi = psi
    with pytest.raises(EngineInputError, match=message):
        CalEngine(source).run_cycle()


@pytest.mark.parametrize("sequence", [True, 1.0, None, nan])
def test_a_sequence_that_is_no_whole_number_is_refused(sequence):
    class Source(ScriptedSource):
        def next(self):
            return FeatureBlock(SOUND, PSI, sequence)

    with pytest.raises(EngineInputError, match="must be a whole number"):
        CalEngine(Source()).run_cycle()


def test_a_sequence_that_goes_back_is_refused():
    source = ScriptedSource()
    engine = CalEngine(source)
    engine.run_cycle()
    engine.run_cycle()
    source.sequence = 0
    with pytest.raises(EngineInputError, match="sequence is 1, must not go back from 2"):
        engine.run_cycle()
    assert engine.cycle == 2


def test_a_frozen_source_does_not_look_fresh():
    engine = CalEngine(FrozenSource())
    calls = []
    engine.on_cycle_end(lambda: calls.append(engine.cycle))
    engine.run_cycle()
    before = observed(engine)
    engine.run_cycle()
    engine.run_cycle()
    assert observed(engine) == before
    assert calls == [1, 1, 1]


@pytest.mark.parametrize("size", [1e-300, 1e300, 5e-324])
def test_only_the_direction_of_features_counts(size):
    source = ScriptedSource()
    source.features = SOUND * size
    engine, usual = CalEngine(source), CalEngine(ScriptedSource())
    engine.run_cycle()
    usual.run_cycle()
    np.testing.assert_allclose(engine.sample_omega_snapshot(), usual.sample_omega_snapshot(), rtol=1e-12)


def test_whole_number_features_are_numbers():
    source = ScriptedSource()
    source.features = np.ones((3, 2), dtype=int)
    engine = CalEngine(source)
    engine.run_cycle()
    assert engine.cycle == 1


def test_the_end_of_a_source_comes_through_and_leaves_the_state():
    class Source(ScriptedSource):
        def next(self):
            if self.sequence == 1:
                raise SourceExhaustedError("ended")
            return super().next()

    engine = CalEngine(Source())
    engine.run_cycle()
    with pytest.raises(SourceExhaustedError, match="ended"):
        engine.run_cycle()
    assert engine.cycle == 1


def test_callbacks_run_in_order_on_the_complete_state():
    engine = CalEngine(ScriptedSource())
    seen = []
    engine.on_cycle_end(lambda: seen.append(("first", engine.cycle, engine.get_h_internal())))
    engine.on_cycle_end(lambda: seen.append(("second", engine.cycle, engine.get_h_internal())))
    engine.run_cycle()
    assert [(name, cycle) for name, cycle, _ in seen] == [("first", 1), ("second", 1)]
    assert seen[0][2] == engine.get_h_internal()


def test_an_exception_of_a_callback_comes_through_with_the_state_complete():
    engine = CalEngine(ScriptedSource())

    def fail():
        raise ZeroDivisionError("callback")

    engine.on_cycle_end(fail)
    with pytest.raises(ZeroDivisionError, match="callback"):
        engine.run_cycle()
    assert engine.cycle == 1
    assert engine.sample_omega_snapshot().shape == (3, 2)


def test_alpha_set_by_a_callback_holds_from_the_next_cycle_on():
    engine = CalEngine(ScriptedSource())
    engine.on_cycle_end(lambda: engine.set_alpha_multiplier(1.1))
    engine.run_cycle()
    assert (engine.cycle_alpha, engine.get_alpha_multiplier()) == (1.0, 1.1)
    engine.run_cycle()
    assert engine.cycle_alpha == 1.1


@pytest.mark.parametrize("alpha", [nan, inf, -inf, 0, -0.0, -1, True, None, "1", 1j])
def test_an_alpha_that_is_no_positive_number_is_refused(alpha):
    engine = CalEngine(ScriptedSource(), alpha=0.9)
    with pytest.raises(EngineInputError, match=r"alpha is .*, must be a finite number above 0"):
        engine.set_alpha_multiplier(alpha)
    assert engine.get_alpha_multiplier() == 0.9


@pytest.mark.parametrize("k_max", [0, -1, nan, 101, inf])
def test_a_clamp_out_of_range_is_refused(k_max):
    with pytest.raises(EngineInputError, match=r"k_max is .*, must lie in \(0, 100\]"):
        CalEngine(ScriptedSource(), k_max=k_max)


def test_a_source_without_nodes_is_refused():
    class Source(ScriptedSource):
        nodes = 0

    with pytest.raises(EngineInputError, match="source has 0 nodes × 2 dims"):
        CalEngine(Source())


@pytest.mark.parametrize(
    "read",
    [
        lambda engine: engine.sample_omega_snapshot(),
        lambda engine: engine.get_lambda("L_mu"),
        lambda engine: engine.get_entropy_rate(),
        lambda engine: engine.get_h_internal(),
        lambda engine: engine.get_m_t_bounds(),
        lambda engine: engine.get_gains(),
        lambda engine: engine.in_runaway(),
        lambda engine: engine.cycle_alpha,
    ],
)
def test_reading_before_the_first_cycle_is_refused(read):
    with pytest.raises(EngineStateError, match="no cycle has run yet"):
        read(CalEngine(ScriptedSource()))
    assert CalEngine(ScriptedSource()).cycle == 0


def test_an_unknown_scale_is_refused():
    engine = CalEngine(ScriptedSource())
    engine.run_cycle()
    with pytest.raises(EngineInputError, match="scale is 'L_mi', must be one of L_mu, L_phi, L_Phi"):
        engine.get_lambda("L_mi")


def test_lambda_follows_the_alpha_applied_now():
    engine = CalEngine(ScriptedSource())
    engine.run_cycle()
    base = engine.get_lambda("L_phi")
    engine.set_alpha_multiplier(1.2)
    assert engine.get_lambda("L_phi") == pytest.approx(1.2 * base)


def test_a_snapshot_cannot_be_written_and_is_not_overwritten_by_the_next_cycle():
    engine = CalEngine(SimulatedSource(3, 2))
    engine.run_cycle()
    snapshot = engine.sample_omega_snapshot()
    kept = snapshot.copy()
    with pytest.raises(ValueError, match="read-only"):
        snapshot[0, 0] = 0
    engine.run_cycle()
    np.testing.assert_array_equal(snapshot, kept)
    assert not np.array_equal(engine.sample_omega_snapshot(), kept)


def test_normalised_density_is_half_at_its_reference_and_nan_for_nan():
    engine = CalEngine(ScriptedSource())
    assert engine.normalize_C(1.0) == 0.5
    assert isnan(engine.normalize_C(nan))


def test_the_working_range_does_not_saturate():
    engine = CalEngine(ScriptedSource())
    at_fold, below = np.e**2, np.e**2 - 1e-3
    assert engine.normalize_C(at_fold) - engine.normalize_C(below) > 1e-5
