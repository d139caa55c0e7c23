"""The recursion against a plain reference, its bound (theorem T11), and runaway beyond the fold."""

from itertools import pairwise
from math import exp, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attunement.config_schema import EngineConfig, Shock
from attunement.engine import PHI, CalEngine
from attunement.engine_protocol import SCALES
from attunement.simulator import SimulatedSource
from attunement.sources import FeatureBlock


class ListedSource:
    """Delivers given blocks in turn."""

    def __init__(self, blocks):
        self.blocks = list(blocks)
        self.nodes, self.dims = self.blocks[0].features.shape

    def next(self):
        return self.blocks.pop(0)


def random_blocks(count, nodes, dims, seed):
    generator = np.random.default_rng(seed)
    return [
        FeatureBlock(generator.normal(0.6, 0.5, (nodes, dims)), generator.uniform(0, 1, 3), number)
        for number in range(1, count + 1)
    ]


class Reference:
    """The recursion as written down, one node and one scale at a time."""

    def __init__(self, engine, config, k_max):
        self.gains = engine._node_gains
        weights = [exp(-k * config.dt / 2) for k in range(1, config.window + 1)]
        self.weights = [config.W / config.dt * w / sum(weights) for w in weights]
        self.dt, self.k_max = config.dt, k_max
        self.history = None

    def integral(self, node, scale):
        past = [omega[scale][node] for omega in self.history]
        return sum(w * omega * self.dt for w, omega in zip(self.weights, past, strict=True))

    def advance(self, block, alpha):
        f = [row / np.linalg.norm(row) for row in block.features]
        if self.history is None:
            self.history = [[f] * 3] * len(self.weights)
        omega = []
        for scale in range(3):
            exponents = [
                block.psi[scale] / PHI * alpha * gain * np.mean(self.integral(node, scale))
                for node, gain in enumerate(self.gains)
            ]
            omega.append(
                [row * exp(np.clip(e, -self.k_max, self.k_max)) for row, e in zip(f, exponents, strict=True)]
            )
        self.history = [omega, *self.history[:-1]]
        return np.array(omega)


@pytest.mark.parametrize(
    ("config", "k_max"),
    [
        (EngineConfig(), 10.0),
        (EngineConfig(window=1, W=2.5, gain_sd=0.5, seed=3), 0.8),
        (EngineConfig(window=5, dt=0.25, gain_sd=1.0, seed=9), 10.0),
    ],
)
def test_every_measure_agrees_with_the_recursion_as_written_down(config, k_max):
    blocks = random_blocks(25, 7, 3, seed=5)
    engine = CalEngine(ListedSource(blocks), config, k_max=k_max)
    reference = Reference(engine, config, k_max)
    entropies = [[1.0] * 3]
    for number, block in enumerate(blocks):
        alpha = 0.9 + 0.02 * number
        engine.set_alpha_multiplier(alpha)
        engine.run_cycle()
        omega = reference.advance(block, alpha)
        sizes = np.linalg.norm(omega, axis=2)
        share = sizes**2 / (sizes**2).sum(axis=1, keepdims=True)
        entropies.append(-(share * np.log(share)).sum(axis=1) / np.log(len(omega[0])))
        totals = np.linalg.norm(omega.sum(axis=1), axis=1)
        recent = entropies[-5:]
        rate = max((new - old) / (len(recent) - 1) for old, new in zip(recent[0], recent[-1], strict=True))
        np.testing.assert_allclose(engine.sample_omega_snapshot(), omega.mean(axis=0), rtol=1e-11)
        assert engine.get_h_internal() == pytest.approx(
            (totals**2 / (sizes**2).mean(axis=1)).min() / len(omega[0]) ** 2, rel=1e-10
        )
        assert engine.get_entropy_rate() == pytest.approx(max(rate, 0), abs=1e-12)
        assert engine.get_m_t_bounds() == pytest.approx((sizes.min(), sizes.max()), rel=1e-11)
        for index, scale in enumerate(SCALES):
            base = block.psi[index] / PHI
            drive = max(
                abs(g * base * reference.integral(i, index).mean()) for i, g in enumerate(reference.gains)
            )
            gain = engine.get_gains()[scale]
            assert gain.drive == pytest.approx(drive, rel=1e-10)
            assert gain.loop_gain == pytest.approx(base / sqrt(3) * config.W * max(reference.gains))
            assert engine.get_lambda(scale) == pytest.approx(base * alpha)


def test_the_drive_foretells_the_largest_exponent_of_the_coming_cycle():
    engine = CalEngine(SimulatedSource(20, 4))
    for _ in range(30):
        engine.run_cycle()
    drive = max(gain.drive for gain in engine.get_gains().values())
    engine.set_alpha_multiplier(1.1)
    engine.run_cycle()
    assert np.log(engine.get_m_t_bounds()[1]) == pytest.approx(1.1 * drive, rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    kappa=st.floats(0.05, 1.0),
    psis=st.lists(st.floats(0.1, 1.0), min_size=30, max_size=30),
    fractions=st.lists(st.floats(0.01, 1.0), min_size=30, max_size=30),
    weight=st.floats(0.1, 8.0),
    window=st.integers(1, 12),
    seed=st.integers(0, 2**32 - 1),
)
def test_t11_exponent_stays_within_kappa_whatever_the_schedule_of_alpha(
    kappa, psis, fractions, weight, window, seed
):
    generator = np.random.default_rng(seed)
    blocks = [
        FeatureBlock(np.abs(generator.normal(1, 0.3, (6, 4))) + 1e-3, np.full(3, psi), number)
        for number, psi in enumerate(psis)
    ]
    engine = CalEngine(ListedSource(blocks), EngineConfig(window=window, W=weight, seed=seed))
    largest_gain = engine._node_gains.max()
    for psi, fraction in zip(psis, fractions, strict=True):
        loop_gain = psi / PHI * 0.5 * weight * largest_gain
        engine.set_alpha_multiplier(fraction * kappa * exp(-kappa) / loop_gain)
        engine.run_cycle()
        assert np.log(engine.get_m_t_bounds()[1]) <= kappa * (1 + 1e-12)
        assert engine.get_gains()["L_mu"].loop_gain == pytest.approx(loop_gain)


def run_at(alpha, cycles=600, seed=0):
    engine = CalEngine(SimulatedSource(64, 4, 0.9, 0.05, seed), EngineConfig(seed=seed), alpha=alpha)
    for _ in range(cycles):
        engine.run_cycle()
    return engine


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_engine_settles_at_alpha_one(seed):
    engine = run_at(1.0, seed=seed)
    assert not engine.in_runaway()
    assert engine.get_h_internal() > 0.95
    assert engine.get_entropy_rate() < 0.002
    assert engine.get_m_t_bounds()[1] < np.e


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_engine_runs_away_to_the_clamp_beyond_the_fold_and_stays(seed):
    engine = run_at(1.2, seed=seed)
    assert engine.in_runaway()
    assert engine.get_m_t_bounds()[1] == pytest.approx(exp(10))
    assert engine.get_h_internal() < 0.5
    engine.set_alpha_multiplier(0.8)
    for _ in range(100):
        engine.run_cycle()
    assert engine.in_runaway()


def test_runaway_is_told_before_the_clamp():
    engine = CalEngine(SimulatedSource(64, 4), alpha=1.2)
    engine.run_cycle()
    while not engine.in_runaway():
        engine.run_cycle()
    assert engine.get_m_t_bounds()[1] < exp(5)


def test_coherence_rises_with_alpha_below_the_fold():
    densities = [np.mean(run_at(alpha, 200).sample_omega_snapshot() ** 2) for alpha in (0.8, 0.9, 1.0, 1.1)]
    assert all(low < high for low, high in pairwise(densities))


def test_zero_psi_leaves_m_at_one():
    engine = CalEngine(SimulatedSource(5, 3, psi=0.0))
    engine.run_cycle()
    assert engine.get_m_t_bounds() == (1, 1)
    assert engine.get_lambda("L_phi") == 0


def test_one_node_in_one_dimension_runs():
    engine = CalEngine(SimulatedSource(1, 1))
    engine.run_cycle()
    assert engine.get_entropy_rate() == 0
    assert engine.get_h_internal() == 1


def test_the_same_seeds_give_the_same_run_and_others_another():
    shocks = (Shock(kind="spectral", start=5, length=9, magnitude=0.2, share=0.5),)

    def omega(gain_seed, noise_seed):
        engine = CalEngine(
            SimulatedSource(9, 4, seed=noise_seed, shocks=shocks), EngineConfig(seed=gain_seed)
        )
        for _ in range(40):
            engine.run_cycle()
        return engine.sample_omega_snapshot()

    np.testing.assert_array_equal(omega(1, 2), omega(1, 2))
    assert not np.allclose(omega(1, 2), omega(3, 2))
    assert not np.allclose(omega(1, 2), omega(1, 3))


@given(st.integers(0, 2**32 - 1))
def test_node_gains_are_positive_even_when_half_of_a_normal_s_tail_is_not(seed):
    engine = CalEngine(SimulatedSource(50, 2), EngineConfig(gain_sd=1.0, seed=seed))
    assert (engine._node_gains > 0).all()
