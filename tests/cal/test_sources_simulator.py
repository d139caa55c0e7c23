"""The simulator: determinism, and what each shock does to features, H_internal and entropy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attunement.config_schema import Shock
from attunement.engine import CalEngine
from attunement.simulator import SimulatedSource
from attunement.sources import SourceError

SHOCKS = st.builds(
    Shock,
    kind=st.sampled_from(["partition", "spectral", "psi", "drift"]),
    start=st.integers(1, 10),
    length=st.integers(1, 10),
    magnitude=st.floats(0, 1),
    share=st.floats(0.01, 1),
) | st.builds(
    Shock,
    kind=st.just("latency"),
    start=st.integers(1, 10),
    length=st.integers(1, 10),
    magnitude=st.integers(1, 6).map(float),
    share=st.floats(0.01, 1),
)


def blocks(count, **settings):
    source = SimulatedSource(**{"nodes": 12, "dims": 4, **settings})
    return [source.next() for _ in range(count)]


def features(count, **settings):
    return np.array([block.features for block in blocks(count, **settings)])


@given(st.lists(SHOCKS, max_size=4), st.integers(0, 2**32 - 1))
def test_the_same_seed_gives_the_same_blocks(shocks, seed):
    one = blocks(20, shocks=shocks, seed=seed)
    other = blocks(20, shocks=shocks, seed=seed)
    for left, right in zip(one, other, strict=True):
        np.testing.assert_array_equal(left.features, right.features)
        np.testing.assert_array_equal(left.psi, right.psi)
        assert left.sequence == right.sequence


@given(st.lists(SHOCKS, max_size=4))
def test_every_block_can_be_used_and_is_new(shocks):
    engine = CalEngine(SimulatedSource(12, 4, shocks=shocks))
    for number in range(1, 25):
        engine.run_cycle()
        assert engine.cycle == number


@given(SHOCKS)
def test_a_shock_strikes_only_its_share_and_its_time(shock):
    plain, struck = features(25), features(25, shocks=[shock])
    changed = (plain != struck).any(axis=2)
    times = np.arange(1, 26)
    assert not changed[(times < shock.start) | (times >= shock.start + shock.length)].any()
    assert changed.any(axis=0).sum() <= max(1, round(shock.share * 12))


def test_another_seed_gives_other_noise():
    assert not np.allclose(features(3, seed=1), features(3, seed=2))


def test_features_spread_around_the_common_direction_by_the_noise():
    sample = features(400, noise=0.05)
    assert sample.mean() == pytest.approx(0.5, abs=0.002)
    assert sample.std() == pytest.approx(0.05, rel=0.05)


def test_latency_repeats_what_the_struck_nodes_showed_before():
    shock = Shock(kind="latency", start=6, length=4, magnitude=3, share=0.5)
    plain, late = features(12), features(12, shocks=[shock])
    struck = (plain != late).any(axis=(0, 2))
    assert struck.sum() == 6
    np.testing.assert_array_equal(late[5:9, struck], plain[2:6, struck])


def test_latency_reaches_back_no_further_than_the_start():
    shock = Shock(kind="latency", start=2, length=2, magnitude=50)
    plain, late = features(3), features(3, shocks=[shock])
    np.testing.assert_array_equal(late, plain[[0, 0, 0]])


def test_latency_and_partition_together_show_the_turn_late():
    partition = Shock(kind="partition", start=5, length=9, magnitude=1)
    latency = Shock(kind="latency", start=1, length=20, magnitude=2)
    turned = features(10, noise=0.0, shocks=[partition])
    both = features(10, noise=0.0, shocks=[partition, latency])
    np.testing.assert_allclose(both[2:], turned[:-2])


@pytest.mark.parametrize("dims", [2, 3, 4, 9])
def test_a_full_partition_turns_the_struck_nodes_by_a_right_angle(dims):
    shock = Shock(kind="partition", start=1, length=1, magnitude=1, share=0.25)
    sample = features(1, dims=dims, noise=0.0, shocks=[shock])[0]
    cosines = sample @ np.full(dims, 1 / np.sqrt(dims))
    assert sorted(np.round(cosines, 12)) == [0] * 3 + [1] * 9
    np.testing.assert_allclose(np.linalg.norm(sample, axis=1), 1)


def run(shock, cycles):
    engine = CalEngine(SimulatedSource(64, 4, shocks=[shock]))
    readings = []
    for _ in range(cycles):
        engine.run_cycle()
        readings.append((engine.get_h_internal(), engine.get_entropy_rate()))
    return np.array(readings)


def test_a_partition_lowers_internal_coherence_which_comes_back():
    readings = run(Shock(kind="partition", start=50, length=30, magnitude=1, share=0.5), 150)
    assert readings[:49, 0].min() > 0.95
    assert readings[49:79, 0].max() < 0.8
    assert readings[100:, 0].min() > 0.95


def test_a_partition_s_end_raises_entropy():
    readings = run(Shock(kind="partition", start=50, length=30, magnitude=1, share=0.5), 150)
    assert readings[30:49, 1].max() < 1e-4
    assert readings[79:90, 1].max() > 0.002


def test_spectral_noise_lowers_internal_coherence_and_moves_entropy():
    readings = run(Shock(kind="spectral", start=50, length=30, magnitude=0.5), 150)
    assert readings[49:79, 0].max() < 0.8
    assert readings[49:79, 1].max() > 10 * readings[20:49, 1].max()
    assert readings[100:, 0].min() > 0.95


def test_psi_is_multiplied_and_never_exceeds_one():
    shocks = [
        Shock(kind="psi", start=2, length=2, magnitude=0.5),
        Shock(kind="psi", start=3, length=1, magnitude=0.5),
        Shock(kind="psi", start=4, length=1, magnitude=3),
    ]
    assert [block.psi[0] for block in blocks(5, psi=0.8, shocks=shocks)] == [0.8, 0.4, 0.2, 1.0, 0.8]


def test_psi_drifts_evenly_to_the_multiple_and_back():
    drift = [Shock(kind="drift", start=2, length=4, magnitude=1.5)]
    psi = [block.psi[0] for block in blocks(7, psi=0.5, shocks=drift)]
    assert psi == [0.5, 0.5, 0.625, 0.75, 0.625, 0.5, 0.5]


@pytest.mark.parametrize(
    ("shock", "message"),
    [
        (
            Shock(kind="latency", start=1, length=1, magnitude=1.5),
            r"shocks\[1\].magnitude is 1.5, must be a whole number of cycles",
        ),
        (Shock(kind="latency", start=1, length=1, magnitude=0), r"magnitude is 0, must be a whole number"),
        (Shock(kind="partition", start=1, length=1, magnitude=2), r"magnitude is 2, must lie in \[0, 1\]"),
    ],
)
def test_a_shock_that_does_not_fit_is_refused(shock, message):
    sound = Shock(kind="psi", start=1, length=1, magnitude=0.5)
    with pytest.raises(SourceError, match=message):
        SimulatedSource(4, 4, shocks=[sound, shock])


def test_a_partition_needs_a_direction_to_turn_to():
    with pytest.raises(SourceError, match=r"kind is partition, must be another kind when .*dims is 1"):
        SimulatedSource(4, 1, shocks=[Shock(kind="partition", start=1, length=1, magnitude=1)])
