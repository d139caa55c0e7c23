"""Coherence density, internal coherence and spectral entropy of a snapshot."""

from math import exp, isnan, log, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from attunement.coherence import (
    CoherenceDensityMeter,
    SnapshotError,
    agreement,
    as_snapshot,
    evenness,
    mean_square,
    saturating,
)
from attunement.engine_protocol import EngineProtocolError

FIGURES = st.floats(-1e3, 1e3).filter(lambda figure: abs(figure) > 1e-6)
SNAPSHOTS = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=FIGURES)


class MinimalEngine:
    """The required minimum, with whatever snapshot it is given."""

    def __init__(self, omega):
        self.omega = omega
        self.alpha = 1.0

    def sample_omega_snapshot(self):
        return self.omega

    def set_alpha_multiplier(self, alpha):
        self.alpha = alpha


class CyclingEngine(MinimalEngine):
    """Numbers its cycles and says which α each ran with."""

    cycle = 0

    def run(self, omega):
        self.omega = omega
        self.cycle += 1

    @property
    def cycle_alpha(self):
        return self.alpha

    def normalize_C(self, c):
        return c / 1000


def naive_mean_square(omega):
    return sum(sum(x * x for x in row) for row in omega) / len(omega)


def powers(omega):
    return np.array([row @ row for row in np.asarray(omega, dtype=float)])


def naive_agreement(omega):
    total = [sum(column) for column in zip(*omega, strict=True)]
    return sum(x * x for x in total) / (len(omega) * sum(x * x for row in omega for x in row))


def naive_entropy(omega):
    each = [sum(x * x for x in row) for row in omega]
    shares = [power / sum(each) for power in each]
    return -sum(p * log(p) for p in shares if p > 0) / log(len(omega)) if len(omega) > 1 else 0.0


@given(SNAPSHOTS)
def test_measures_agree_with_naive_loops(omega):
    rows = omega.tolist()
    assert mean_square(rows) == pytest.approx(naive_mean_square(rows), rel=1e-12)
    assert agreement(omega) == pytest.approx(naive_agreement(rows), rel=1e-9, abs=1e-12)
    assert evenness(powers(omega)) == pytest.approx(naive_entropy(rows), abs=1e-9)


@given(SNAPSHOTS)
def test_measures_lie_in_the_unit_interval(omega):
    assert 0 <= agreement(omega) <= 1
    assert 0 <= evenness(powers(omega)) <= 1


# m_t lies within exp(±k_max), and k_max is at most 100.
@given(SNAPSHOTS, st.floats(-100, 100).map(exp))
def test_size_of_omega_as_a_whole_does_not_matter(omega, factor):
    assert agreement(omega * factor) == pytest.approx(agreement(omega), rel=1e-9, abs=1e-12)
    assert evenness(powers(omega * factor)) == pytest.approx(evenness(powers(omega)), abs=1e-9)


@given(arrays(np.float64, 3, elements=FIGURES), st.integers(1, 20))
def test_nodes_in_full_agreement_have_internal_coherence_one(row, nodes):
    assert agreement(np.tile(row, (nodes, 1))) == pytest.approx(1, abs=1e-12)


def test_opposed_nodes_have_internal_coherence_zero():
    assert agreement(np.array([[1.0, 2.0], [-1.0, -2.0]])) == 0


def test_orthogonal_nodes_have_internal_coherence_of_one_over_n():
    assert agreement(np.eye(5)) == pytest.approx(0.2)


def test_power_in_one_node_leaves_no_entropy_and_no_coherence():
    omega = np.array([[1e8, 0.0], [1e-3, 0.0], [1e-3, 0.0], [1e-3, 0.0]])
    assert evenness(powers(omega)) < 1e-15
    assert agreement(omega) == pytest.approx(0.25)


def test_entropy_of_a_share_too_small_for_a_float_is_finite():
    assert evenness(np.array([1.0, 0.0])) == 0
    assert evenness(np.array([1.0, 5e-324])) == pytest.approx(0, abs=1e-300)
    assert evenness(np.array([1e300, 1e-300])) == 0


def test_a_single_node_has_no_entropy():
    assert evenness(np.array([25.0])) == 0


@pytest.mark.parametrize("measure", [mean_square, as_snapshot])
@pytest.mark.parametrize(
    ("omega", "message"),
    [
        ([[1.0, 2.0], [nan, 1.0]], r"row 1 is not finite"),
        ([[1.0, 2.0], [1.0, np.inf]], r"row 1 is not finite"),
        ([[1.0, 2.0], [3.0, 4.0], [0.0, -0.0]], r"row 2 is zero"),
        (np.empty((0, 3)), r"shape \(0, 3\), must be \[nodes, dims\]"),
        (np.empty((3, 0)), r"shape \(3, 0\)"),
        ([], r"shape \(0,\)"),
        ([1.0, 2.0], r"shape \(2,\)"),
        ([[1.0, 2.0], [3.0]], r"ragged"),
        ([["a", "b"]], r"holds <U1, must hold real numbers"),
        ([[True, False]], r"holds bool"),
        ([[1j, 2j]], r"holds complex128"),
        (None, r"holds object"),
    ],
)
def test_a_broken_snapshot_is_refused(measure, omega, message):
    with pytest.raises(SnapshotError, match=message):
        measure(omega)


@pytest.mark.parametrize("c", [nan, np.inf, -np.inf, -1.0])
def test_what_is_no_measurement_maps_to_nan(c):
    assert isnan(saturating(c, 1.0))


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(1e-3, 1e3))
def test_the_map_rises_strictly_within_the_unit_interval(one, other, c_ref):
    low, high = sorted((one, other))
    assert 0 <= saturating(low, c_ref) <= saturating(high, c_ref) <= 1
    if high - low > 1e-3 * (c_ref + high):
        assert saturating(low, c_ref) < saturating(high, c_ref)


def test_the_meter_takes_lists_from_an_engine_of_the_least_kind():
    assert CoherenceDensityMeter(MinimalEngine([[1.0, 1.0], [2.0, 0.0]])).compute_C_hat() == 3 / (3 + 1)


def test_the_meter_uses_the_engine_s_own_map():
    engine = CyclingEngine([[1.0], [3.0]])
    assert CoherenceDensityMeter(engine).compute_C_hat() == 0.005


def test_the_meter_averages_the_newest_snapshots():
    engine = CyclingEngine([[1.0]])
    meter = CoherenceDensityMeter(engine, window=2)
    readings = []
    for figure in (1.0, 3.0, 5.0):
        engine.run([[figure]])
        readings.append(meter.compute_C_hat() * 1000)
    assert readings == pytest.approx([1, 5, 17])


def test_a_cycle_sampled_twice_counts_once():
    engine = CyclingEngine([[1.0]])
    meter = CoherenceDensityMeter(engine, window=3)
    engine.run([[1.0]])
    meter.compute_C_hat()
    engine.run([[3.0]])
    assert [meter.compute_C_hat() * 1000 for _ in range(3)] == pytest.approx([5, 5, 5])


def test_without_cycle_numbers_every_sample_counts():
    engine = MinimalEngine([[1.0]])
    meter = CoherenceDensityMeter(engine, window=2)
    meter.compute_C_hat()
    engine.omega = [[3.0]]
    assert meter.compute_C_hat() == pytest.approx(5 / 6)
    assert meter.compute_C_hat() == pytest.approx(9 / 10)


def test_another_alpha_starts_the_average_anew():
    engine = CyclingEngine([[1.0]])
    meter = CoherenceDensityMeter(engine, window=9)
    engine.run([[1.0]])
    meter.compute_C_hat()
    engine.set_alpha_multiplier(1.1)
    engine.run([[3.0]])
    assert meter.compute_C_hat() * 1000 == pytest.approx(9)


def test_reset_forgets_earlier_snapshots():
    engine = CyclingEngine([[1.0]])
    meter = CoherenceDensityMeter(engine, window=9)
    engine.run([[1.0]])
    meter.compute_C_hat()
    meter.reset()
    engine.run([[3.0]])
    assert meter.compute_C_hat() * 1000 == pytest.approx(9)


def test_a_broken_snapshot_does_not_enter_the_average():
    engine = CyclingEngine([[1.0]])
    meter = CoherenceDensityMeter(engine, window=9)
    engine.run([[1.0]])
    meter.compute_C_hat()
    engine.run([[nan]])
    with pytest.raises(SnapshotError, match="row 0 is not finite"):
        meter.compute_C_hat()
    engine.run([[3.0]])
    assert meter.compute_C_hat() * 1000 == pytest.approx(5)


@pytest.mark.parametrize("window", [0, -1, nan])
def test_a_window_below_one_is_refused(window):
    with pytest.raises(ValueError, match=r"window is .*, must be at least 1"):
        CoherenceDensityMeter(MinimalEngine([[1.0]]), window)


def test_the_meter_refuses_what_is_no_engine():
    with pytest.raises(EngineProtocolError, match="object has no sample_omega_snapshot"):
        CoherenceDensityMeter(object())
