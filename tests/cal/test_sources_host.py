"""This host's counters as a source: shares of time, freshness, and counters that misbehave."""

import numpy as np
import psutil
import pytest

from attunement.engine import CalEngine
from attunement.host import HostSource, cpu_seconds
from attunement.sources import SourceError


class Counters:
    """Counters that a test moves."""

    def __init__(self, rows):
        self.rows = [list(row) for row in rows]

    def __call__(self):
        return [list(row) for row in self.rows]


def test_this_host_s_own_counters_make_the_engine_run():
    source = HostSource()
    assert (source.nodes, source.dims) == (psutil.cpu_count(), 4)
    engine = CalEngine(source)
    engine.run_cycle()
    assert engine.cycle == 1
    assert 0 < engine.get_h_internal() <= 1


def test_every_second_of_this_host_is_counted_once():
    before = psutil.cpu_times(percpu=True)
    counted = np.array(cpu_seconds()).sum(axis=1)
    after = psutil.cpu_times(percpu=True)
    guests = [(times.guest + times.guest_nice) for times in before]
    assert (counted >= np.array([sum(times) for times in before]) - guests - 1e-6).all()
    assert (counted <= np.array([sum(times) for times in after]) + 1e-6).all()


def test_the_first_sample_is_since_boot_and_the_next_since_the_one_before():
    counters = Counters([[1, 1, 2, 0], [0, 0, 0, 4]])
    source = HostSource(0.5, counters)
    first = source.next()
    counters.rows = [[4, 1, 3, 0], [0, 1, 0, 4]]
    second = source.next()
    np.testing.assert_allclose(first.features, [[0.25, 0.25, 0.5, 0], [0, 0, 0, 1]])
    np.testing.assert_allclose(second.features, [[0.75, 0, 0.25, 0], [0, 1, 0, 0]])
    assert (first.sequence, second.sequence) == (1, 2)
    assert second.psi.tolist() == [0.5] * 3


def test_counters_that_stand_still_give_no_new_sample():
    source = HostSource(0.9, Counters([[1, 1, 2, 0]]))
    blocks = [source.next() for _ in range(3)]
    assert [block.sequence for block in blocks] == [1, 1, 1]
    np.testing.assert_array_equal(blocks[0].features, blocks[2].features)


def test_a_cpu_that_stood_still_keeps_its_shares_and_loses_no_time():
    counters = Counters([[1, 0, 1, 0], [1, 0, 1, 0]])
    source = HostSource(0.9, counters)
    source.next()
    counters.rows = [[2, 0, 1, 0], [1, 0, 1, 0]]
    np.testing.assert_allclose(source.next().features, [[1, 0, 0, 0], [0.5, 0, 0.5, 0]])
    counters.rows = [[2, 0, 2, 0], [1, 0, 4, 0]]
    np.testing.assert_allclose(source.next().features, [[0, 0, 1, 0], [0, 0, 1, 0]])


def test_a_counter_that_goes_back_counts_as_no_time():
    counters = Counters([[1, 0, 1, 3]])
    source = HostSource(0.9, counters)
    source.next()
    counters.rows = [[2, 0, 2, 2]]
    block = source.next()
    np.testing.assert_allclose(block.features, [[0.5, 0, 0.5, 0]])
    assert block.sequence == 2


def test_another_number_of_cpus_is_refused():
    counters = Counters([[1, 0, 1, 0]])
    source = HostSource(0.9, counters)
    source.next()
    counters.rows = [[1, 0, 1, 0], [1, 0, 1, 0]]
    with pytest.raises(SourceError, match="the host shows 2 cpus, must show 1"):
        source.next()


def test_a_host_without_cpus_is_refused():
    with pytest.raises(SourceError, match="shows no cpu"):
        HostSource(0.9, list)


def test_a_cpu_that_counted_nothing_is_refused():
    with pytest.raises(SourceError, match=r"cpu 1 has counted 0.0 s since boot, must be above 0"):
        HostSource(0.9, Counters([[1, 0, 1, 0], [0, 0, 0, 0]]))
