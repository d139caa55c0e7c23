"""Recorded traces: features against a plain reference, the end of data, and files broken in every way."""

import os
import time
from math import exp, log, sqrt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attunement.engine import CalEngine
from attunement.sources import SourceExhaustedError
from attunement.trace import TraceError, TraceSource

RECORDED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "ec2_cpu"


def write(folder, name, rows, header="timestamp,value"):
    path = folder / name
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def rows_of(values):
    return [
        f"2024-01-01 00:{minute // 60:02}:{minute % 60:02},{value!r}" for minute, value in enumerate(values)
    ]


def endless(source):
    while True:
        yield source.next()


def all_blocks(source):
    blocks = []
    with pytest.raises(SourceExhaustedError):
        blocks.extend(endless(source))
    return blocks


def logistic(score):
    return 1 / (1 + exp(-min(max(score, -4), 4)))


def naive_features(values, window):
    recent, n = values[-window:], len(values)
    mu = sum(values) / n
    sigma = sqrt(sum((value - mu) ** 2 for value in values) / n)
    if min(values) == max(values):
        return [0.5] * 4
    mean = sum(recent) / window
    sd = sqrt(sum((value - mean) ** 2 for value in recent) / window)
    centre = (window - 1) / 2
    slope = sum((k - centre) * value for k, value in enumerate(recent)) / sum(
        (k - centre) ** 2 for k in range(window)
    )
    return [
        logistic((mean - mu) / sigma),
        logistic(log(sd / sigma) if sd > 0 else -4),
        logistic(slope * window / sigma),
        logistic((recent[-1] - mu) / sigma),
    ]


def test_features_agree_with_a_plain_reference(tmp_path):
    generator = np.random.default_rng(1)
    columns = [generator.gamma(2, 30, 40).tolist(), [5.0] * 20 + [5.5] * 20, [0.1] * 40]
    for name, column in zip("abc", columns, strict=True):
        write(tmp_path, f"{name}.csv", rows_of(column))
    blocks = all_blocks(TraceSource(tmp_path, window=6, psi=0.7))
    assert [block.sequence for block in blocks] == list(range(1, 36))
    for index, block in enumerate(blocks):
        expected = [naive_features(column[: index + 6], 6) for column in columns]
        np.testing.assert_allclose(block.features, expected, rtol=1e-9)
        assert block.psi.tolist() == [0.7] * 3


@given(
    values=st.lists(st.floats(-1e100, 1e100), min_size=5, max_size=30),
    window=st.integers(2, 5),
)
def test_every_row_can_be_used_whatever_the_values(tmp_path_factory, values, window):
    folder = tmp_path_factory.mktemp("trace")
    write(folder, "a.csv", rows_of(values))
    for block in all_blocks(TraceSource(folder, window)):
        assert (block.features >= 0.0179).all()
        assert (block.features <= 0.9821).all()


def test_the_unit_of_the_values_does_not_matter(tmp_path):
    values = np.random.default_rng(2).normal(50, 9, 30)
    for name, factor in (("percent", 1.0), ("share", 0.01)):
        (tmp_path / name).mkdir()
        write(tmp_path / name, "a.csv", rows_of((values * factor).tolist()))
    percent, share = (all_blocks(TraceSource(tmp_path / name, 5)) for name in ("percent", "share"))
    for one, other in zip(percent, share, strict=True):
        np.testing.assert_allclose(one.features, other.features, rtol=1e-9)


def test_nothing_of_the_future_enters(tmp_path):
    for name, tail in (("one", [1.0, 2.0]), ("other", [900.0, -70.0])):
        (tmp_path / name).mkdir()
        write(tmp_path / name, "a.csv", rows_of([3.0, 1.0, 4.0, 1.0, 5.0, *tail]))
    one, other = (all_blocks(TraceSource(tmp_path / name, 3)) for name in ("one", "other"))
    for left, right in zip(one[:3], other[:3], strict=True):
        np.testing.assert_array_equal(left.features, right.features)


def test_nodes_are_the_files_in_order_of_name(tmp_path):
    write(tmp_path, "b.csv", rows_of([1.0, 2.0, 3.0]))
    write(tmp_path, "a.csv", rows_of([3.0, 2.0, 1.0]))
    write(tmp_path, "notes.txt", ["not a node"])
    source = TraceSource(tmp_path, 3)
    assert (source.nodes, source.dims) == (2, 4)
    falling, rising = source.next().features
    assert falling[2] < 0.5 < rising[2]


def test_the_end_is_an_end_and_stays_one(tmp_path):
    write(tmp_path, "a.csv", rows_of([1.0, 2.0, 3.0]))
    source = TraceSource(tmp_path, 2)
    assert len(all_blocks(source)) == 2
    with pytest.raises(SourceExhaustedError, match="the trace ended after 2 samples"):
        source.next()


def test_a_repeated_trace_starts_again_under_new_numbers(tmp_path):
    write(tmp_path, "a.csv", rows_of([1.0, 2.0, 0.0]))
    source = TraceSource(tmp_path, 2, repeat=True)
    blocks = [source.next() for _ in range(5)]
    assert [block.sequence for block in blocks] == [1, 2, 3, 4, 5]
    np.testing.assert_array_equal(blocks[0].features, blocks[2].features)
    np.testing.assert_array_equal(blocks[1].features, blocks[3].features)
    assert not np.array_equal(blocks[0].features, blocks[1].features)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["2024-01-01,1", "2024-01-02,"], r"a.csv: line 3: value is '', must be a number"),
        (["2024-01-01,1", "2024-01-02, "], r"line 3: value is ' '"),
        (["2024-01-01,1", "2024-01-02"], r"line 3: has 1 fields, must have 2"),
        (["2024-01-01,1", "", "2024-01-02,1"], r"line 3: has 0 fields"),
        (["2024-01-01,1,2"], r"line 2: has 3 fields"),
        (["2024-01-01,abc"], r"line 2: value is 'abc'"),
        (["2024-01-01,nan"], r"line 2: value is 'nan'"),
        (["2024-01-01,inf"], r"line 2: value is 'inf'"),
        (["2024-01-01,-1e101"], r"line 2: value is '-1e101', must be a number of size at most 1e\+100"),
        (["2024-01-01,1_0"], r"line 2: value is '1_0'"),
        (["2024-01-01,١"], r"line 2: value is '١'"),
        (["2024-01-01,1", "2024-01-01,2"], r"line 3: timestamp 2024-01-01 does not come after"),
        (["2024-01-02,1", "2024-01-01,2"], r"line 3: timestamp 2024-01-01 does not come after"),
        (
            ["2024-01-01T02:00:00+02:00,1", "2024-01-01T00:00:00,2"],
            r"line 3: timestamp .* does not come after",
        ),
        (["soon,1"], r"line 2: timestamp is 'soon', must be an ISO 8601 date"),
        (["0001-01-01T00:00:00+05:00,1"], r"line 2: timestamp is '0001-01-01T00:00:00\+05:00'"),
        (['"2024-01-01,1'], r"a.csv: cannot be read"),
        (["2024-01-01,1"], r"1 rows a file, must be at least the window of 2"),
        ([], r"0 rows a file"),
    ],
)
def test_a_broken_file_is_refused_by_name_line_and_figure(tmp_path, rows, message):
    write(tmp_path, "a.csv", rows)
    with pytest.raises(TraceError, match=message):
        TraceSource(tmp_path, 2)


@pytest.mark.parametrize("header", ["time,value", "value,timestamp", "timestamp", ""])
def test_another_header_is_refused(tmp_path, header):
    write(tmp_path, "a.csv", ["2024-01-01,1"], header=header)
    with pytest.raises(TraceError, match=r"a.csv: line 1: header is .*, must be 'timestamp,value'"):
        TraceSource(tmp_path, 2)


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"")
    with pytest.raises(TraceError, match="line 1: header is ''"):
        TraceSource(tmp_path, 2)


def test_a_byte_order_mark_is_no_part_of_the_header(tmp_path):
    write(tmp_path, "a.csv", rows_of([1.0, 2.0]), header="\ufefftimestamp,value")
    assert TraceSource(tmp_path, 2).next().sequence == 1


def test_files_of_unequal_length_are_refused(tmp_path):
    write(tmp_path, "a.csv", rows_of([1.0, 2.0, 3.0]))
    write(tmp_path, "b.csv", rows_of([1.0, 2.0]))
    with pytest.raises(TraceError, match=r"b.csv: has 2 rows, must have 3 as a.csv has"):
        TraceSource(tmp_path, 2)


@pytest.mark.parametrize("name", [".", "missing"])
def test_a_folder_without_files_is_refused(tmp_path, name):
    with pytest.raises(TraceError, match=r"is no folder or holds no .csv file"):
        TraceSource(tmp_path / name, 2)


def test_a_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"timestamp,value\n\xff\xfe\n")
    with pytest.raises(TraceError, match=r"a\.csv: cannot be read"):
        TraceSource(tmp_path, 2)


def test_a_folder_named_like_a_file_is_refused(tmp_path):
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(TraceError, match=r"a\.csv: cannot be read"):
        TraceSource(tmp_path, 2)


@pytest.mark.parametrize("window", [1, 0, -3])
def test_a_window_below_two_is_refused(tmp_path, window):
    write(tmp_path, "a.csv", rows_of([1.0, 2.0]))
    with pytest.raises(TraceError, match=f"window is {window}, must be at least 2"):
        TraceSource(tmp_path, window)


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Europe/Berlin"])
def test_the_time_zone_of_the_host_does_not_matter(tmp_path, monkeypatch, zone):
    # Read as New York time, the rows without an offset would come after those that follow them.
    write(
        tmp_path,
        "a.csv",
        [
            "2024-03-10 02:30:00,1",
            "2024-03-10T02:45:00Z,2",
            "2024-11-03 01:30:00,3",
            "2024-11-03 01:30:01+00:00,4",
        ],
    )
    monkeypatch.setitem(os.environ, "TZ", zone)
    time.tzset()
    try:
        blocks = all_blocks(TraceSource(tmp_path, 2))
    finally:
        monkeypatch.undo()
        time.tzset()
    expected = [naive_features([1.0, 2.0, 3.0, 4.0][: count + 2], 2) for count in range(3)]
    np.testing.assert_allclose([block.features[0] for block in blocks], expected)


def test_the_engine_runs_on_recorded_cpu_figures():
    if not RECORDED.is_dir():
        pytest.skip("the recorded trace is not here")
    engine = CalEngine(TraceSource(RECORDED, 12))
    assert engine.get_alpha_multiplier() == 1
    for _ in range(400):
        engine.run_cycle()
        assert not engine.in_runaway()
        assert engine.get_h_internal() > 0.75
        assert engine.get_entropy_rate() < 0.002
