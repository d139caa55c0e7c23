"""Sessions on file, and the same sessions under another policy."""

import builtins
import errno
import json
import os
from itertools import pairwise
from pathlib import Path

import attrs
import pytest

from attunement.config import load
from attunement.counterfactual import TOLERANCE, compare, reproduced
from attunement.recording import RecordingError, _NdjsonWriter, _ParquetWriter, read_recording

STORM = {"kind": "partition", "start": 12, "length": 4, "magnitude": 1, "share": 0.5}


@pytest.fixture
def recorded(cli, site):
    """Record a run of thirty cycles; return the file."""

    def record(name="session.ndjson", code=0, **changes):
        path = site.folder / name
        assert cli("run", "--config", site.config(**changes), "--plain", "--record", path)[0] == code
        return path

    return record


def test_both_forms_hold_the_same_session(cli, site, recorded):
    text = read_recording(recorded())
    (site.ledger / "journal").unlink()
    for path in sorted(site.ledger.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    site.ledger.rmdir()
    table = read_recording(recorded("session.parquet"))
    assert text.header == table.header
    assert [attrs.evolve(row, time="") for row in text.rows] == [
        attrs.evolve(row, time="") for row in table.rows
    ]
    assert len(table.rows) == 30
    assert (table.header.nodes, len(table.rows[0].features), len(table.rows[0].psi)) == (16, 64, 3)
    assert [row.sequence for row in table.rows] == list(range(1, 31))


def test_a_session_with_an_emergency_is_reproduced_exactly(cli, site, recorded):
    path = recorded(code=4, source={"shocks": [STORM]})
    assert reproduced(read_recording(path))[0] == 0.0
    code, out, _ = cli("dry-run", "--config", site.config(), "--trace", path, "--json")
    told = json.loads(out)
    assert (code, told["reproduced_within"]) == (0, 0.0)
    assert told["tracks"]["recorded"]["mode"][-1] == "emergency"
    assert told["tracks"]["held"]["alpha"][0] == 1.0
    assert told["tracks"]["recorded"]["cycles_beyond_limits"] > 0
    assert any("Not known" in line for line in told["said"])


def test_the_same_configuration_gives_the_recorded_course_again(cli, site, recorded):
    path = recorded()
    told = json.loads(cli("dry-run", "--config", site.config(), "--trace", path, "--json")[1])
    tracks = told["tracks"]
    assert tracks["other"]["alpha"] == tracks["recorded"]["alpha"]
    assert tracks["other"]["C_hat"] == tracks["recorded"]["C_hat"]
    assert tracks["other"]["decisions"] == tracks["recorded"]["decisions"]
    assert set(tracks["held"]["alpha"]) == {1.0}


def test_another_policy_is_kept_on_the_recorded_session(cli, site, recorded):
    path = recorded()
    narrow = ("--set", "alpha_max=1.01", "--set", "delta_alpha_max=0.005", "--set", "optimizer.name=pid")
    told = json.loads(cli("dry-run", "--config", site.config(), "--trace", path, *narrow, "--json")[1])
    alphas = told["tracks"]["other"]["alpha"]
    assert max(alphas) <= 1.01
    assert all(abs(one - other) <= 0.005 + 1e-12 for one, other in pairwise(alphas))
    code, _, err = cli("dry-run", "--trace", path, "--set", "alpha_min=1.05", "--set", "alpha_initial=1.1")
    assert (code, "begins at α = 1, must lie in [1.05, 1.2]" in err) == (2, True)


def test_a_session_is_drawn(cli, site, recorded):
    path, png, html = recorded("session.parquet"), site.folder / "a.png", site.folder / "a.html"
    draw = ("dry-run", "--config", site.config(), "--trace", path, "--cycles", 10)
    code, out, err = cli(*draw, "--png", png, "--html", html)
    assert (code, err) == (0, f"drawn: {png}\ndrawn: {html}\n")
    assert "mean coherence last quarter" in out
    assert "Not known: how the system behind the features" in out
    assert png.read_bytes().startswith(b"\x89PNG")
    page = html.read_text(encoding="utf-8")
    assert "<script src=" not in page
    assert "under this configuration" in page
    assert "exactly" in page
    nowhere = site.folder / "nowhere"
    for flag in ("--png", "--html"):
        code, _, err = cli(*draw, flag, nowhere / "a.file")
        assert (code, "cannot be written: No such file or directory" in err) == (1, True)


def test_drawing_needs_a_trace(cli):
    code, _, err = cli("dry-run", "--png", "a.png")
    assert (code, "draw a session that --trace names" in err) == (2, True)


def test_another_recursion_than_the_recorded_one_is_refused(cli, site, recorded):
    path = recorded()
    lines = path.read_text(encoding="utf-8").splitlines()
    header = json.loads(lines[0])
    header["engine"]["seed"] = 7
    path.write_text("\n".join([json.dumps(header), *lines[1:], ""]), encoding="utf-8")
    code, _, err = cli("dry-run", "--config", site.config(), "--trace", path)
    assert (code, "the engine's figures differ by up to" in err) == (3, True)


def test_a_row_that_was_cut_off_is_left_out(recorded):
    path = recorded()
    data = path.read_bytes()
    path.write_bytes(data[:-20])
    assert len(read_recording(path).rows) == 29


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "cannot be read as a recording"),
        ("{}\n", "does not begin as a recording of version 1"),
        ("[1]\n", "does not begin as a recording"),
        ('{"recording": 2}\n', "does not begin as a recording of version 1"),
        ('{"recording": 1, "nodes": 3}\n', "recording"),
    ],
)
def test_what_is_no_recording_is_named(tmp_path, content, said):
    path = tmp_path / "a.ndjson"
    path.write_text(content)
    with pytest.raises(RecordingError, match=said):
        read_recording(path)


def test_a_recording_of_other_sizes_or_without_rows_is_refused(recorded):
    path = recorded()
    header, first, *_ = path.read_text(encoding="utf-8").splitlines()
    path.write_text(f"{header}\n", encoding="utf-8")
    with pytest.raises(RecordingError, match="it has no rows"):
        read_recording(path)
    row = json.loads(first)
    row["features"].pop()
    path.write_text(f"{header}\n{json.dumps(row)}\n", encoding="utf-8")
    with pytest.raises(RecordingError, match="row 1 has 63 features, must have 64"):
        read_recording(path)
    path.write_text(f"{header}\n{{}}\n", encoding="utf-8")
    with pytest.raises(RecordingError):
        read_recording(path)


def _numbers(told, path=()):
    """Where the numbers of a header or a row stand."""
    for key, value in told.items() if isinstance(told, dict) else enumerate(told):
        if isinstance(value, dict | list):
            yield from _numbers(value, (*path, key))
        elif isinstance(value, float):
            yield (*path, key)


def _replaced(told, path, value):
    told = json.loads(json.dumps(told))
    place = told
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return told


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e400", '"nan"'])
def test_no_number_of_a_recording_may_be_none(recorded, cli, site, literal):
    path = recorded()
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for index in (0, 3):
        # Of each list the first one stands for all.
        places = {tuple(str(key) for key in place[:1]): place for place in _numbers(lines[index])}
        assert places
        for place in places.values():
            changed = json.dumps(_replaced(lines[index], place, "HERE")).replace('"HERE"', literal)
            text = [json.dumps(line) for line in lines]
            text[index] = changed
            path.write_text("\n".join([*text, ""]), encoding="utf-8")
            with pytest.raises(RecordingError, match=f"line {index + 1}: "):
                read_recording(path)
    code, out, err = cli("dry-run", "--config", site.config(), "--trace", path)
    assert (code, out, err.count("\n")) == (2, "", 1)


@pytest.mark.parametrize("figure", [float("nan"), float("inf")])
def test_no_number_of_a_table_may_be_none(recorded, figure):
    parquet = pytest.importorskip("pyarrow.parquet")
    path = recorded("session.parquet")
    table = parquet.read_table(path)
    rows = table.to_pylist()
    for name in ("features", "psi", "engine_alpha", "alpha", "c_hat", "entropy_rate", "h_internal"):
        was = rows[3][name]
        changed = [figure, *was[1:]] if isinstance(was, list) else figure
        altered = [*rows[:3], {**rows[3], name: changed}, *rows[4:]]
        parquet.write_table(table.from_pylist(altered, schema=table.schema), path)
        with pytest.raises(RecordingError, match=f"row 4: {name} is {figure}, must be finite"):
            read_recording(path)


@pytest.mark.parametrize("figure", [float("nan"), float("inf")])
def test_what_differs_by_no_number_is_not_reproduced(recorded, figure):
    recording = read_recording(recorded())
    rows = [attrs.evolve(recording.rows[0], c_hat=figure), *recording.rows[1:]]
    assert not reproduced(attrs.evolve(recording, rows=rows))[0] <= TOLERANCE


def test_a_line_that_is_no_row_is_named_by_its_number(recorded):
    path = recorded()
    lines = path.read_text(encoding="utf-8").splitlines()
    for line, said in (
        ("{", "line 4: not JSON: "),
        ("{}", "line 4: "),
        ("[]", "line 4: "),
        ("[" * 10**5, "line 4: "),
    ):
        path.write_text("\n".join([*lines[:3], line, *lines[4:], ""]), encoding="utf-8")
        with pytest.raises(RecordingError, match=said):
            read_recording(path)


def test_files_that_cannot_be_recorded_to_are_named_before_the_run(cli, site, recorded):
    path = recorded()
    run = ("run", "--config", site.config(), "--plain", "--record")
    records = (site.ledger / "journal").read_bytes()
    for name, said in (
        (path, "exists, a recording is never overwritten"),
        (site.folder / "a.csv", "must end in .parquet or .ndjson"),
        (site.folder / "nowhere" / "a.ndjson", "cannot be made: No such file"),
        (site.folder / "nowhere" / "a.parquet", "cannot be made: "),
    ):
        code, out, err = cli(*run, name)
        assert (code, out, said in err) == (2, "", True), name
    assert (site.ledger / "journal").read_bytes() == records
    code, _, err = cli("dry-run", "--trace", site.folder / "none.parquet")
    assert (code, "none.parquet cannot be read as a recording" in err) == (2, True)


def test_what_is_not_installed_is_named(cli, site, recorded, monkeypatch):
    path, found = recorded(), builtins.__import__

    def without(name, *arguments, **keywords):
        if name.partition(".")[0] in ("pyarrow", "matplotlib"):
            raise ImportError(name)
        return found(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    code, _, err = cli("run", "--config", site.config(), "--record", site.folder / "a.parquet")
    assert (code, "pip install 'lambda-attunement[record]'" in err) == (2, True)
    draw = ("dry-run", "--config", site.config(), "--trace", path, "--png", site.folder / "a.png")
    code, _, err = cli(*draw)
    assert (code, "pip install 'lambda-attunement[plot]'" in err) == (1, True)


@pytest.mark.parametrize("name", ["a.ndjson", "a.parquet"])
def test_a_full_disk_ends_the_recording_and_not_the_run(cli, site, monkeypatch, name):
    path, full = site.folder / name, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if name == "a.ndjson":
        write = _NdjsonWriter.write

        def until_full(writer, row):
            if row.get("sequence", 0) > 3:
                raise full
            write(writer, row)

        monkeypatch.setattr(_NdjsonWriter, "write", until_full)
    else:

        def at_once(writer):
            raise full

        monkeypatch.setattr(_ParquetWriter, "_write_group", at_once)
    code, out, err = cli("run", "--config", site.config(), "--plain", "--record", path)
    assert (code, len(out.splitlines())) == (1, 30)
    assert ": verified, " in err
    assert f"error: {path} is not recorded to its end: [Errno 28] No space left on device" in err
    if name == "a.ndjson":
        assert len(read_recording(path).rows) == 3


def test_fewer_cycles_can_be_asked_for(site, recorded, tmp_path):
    config = load(Path(site.config()), {})
    told = compare(read_recording(recorded()), config, 5, tmp_path)
    assert [len(track.alphas) for track in told.tracks] == [5, 5, 5]


def _written(path, lines):
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")


def test_a_recording_without_figures_is_not_said_to_be_reproduced(recorded, cli, site):
    path = recorded()
    header, *rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    dry_run = ("dry-run", "--config", site.config(), "--trace", path)
    assert json.loads(cli(*dry_run, "--json")[1])["rows_compared"] == 30
    bare = [{**row, "c_hat": None, "entropy_rate": None, "h_internal": None} for row in rows]
    _written(path, [header, *bare[:-1], rows[-1]])
    code, out, _ = cli(*dry_run)
    assert (code, "compared in 1 of 30 rows." in " ".join(out.split())) == (0, True)
    bare[3]["features"][0] += 1.0
    _written(path, [header, *bare])
    for flags in ((), ("--json",)):
        code, out, err = cli(*dry_run, *flags)
        assert (code, out) == (3, "")
        assert f"{path}: 0 of 30 rows have figures to compare, must be at least 1" in err


OTHER_HEADERS = [
    ("recording", [True, 1.0, "1", 2]),
    ("nodes", [True, "16", 16.0, 0, -1, 10**400, None]),
    ("dims", [True, 0]),
    ("k_max", [True, "10", 0, -1, 1e300]),
    ("optimizer", [1, {}, None, ""]),
    ("engine", [None, [], {"window": True}, {"seed": "1"}, {"bogus": 1}]),
    ("objective", [None, {"rho": True}]),
    ("bogus", [1]),
]
OTHER_ROWS = [
    ("time", [-1, None, "", "yesterday"]),
    ("sequence", [True, "1", 1.0, -1, 2**63, None]),
    ("features", [{}, "1", None, ["1"] * 64, [True] * 64, [[1.0]] * 64]),
    ("psi", [{}, [], [1.0], [True] * 3, ["1"] * 3, [None] * 3]),
    *((name, [True, "1", 1e300, 0, -1, 1e-300, 10**400, None, [1]]) for name in ("engine_alpha", "alpha")),
    *((name, [True, "0.5", None, {}]) for name in ("c_hat", "entropy_rate", "h_internal")),
    ("mode", [{}, 1, None, "", "asleep", "READY"]),
    ("decisions", [{}, "x", [1], [None], None]),
    ("bogus", [1]),
]


def test_a_line_of_other_types_or_ranges_is_refused_by_name(recorded):
    path = recorded()
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[:4]]
    for index, others in ((0, OTHER_HEADERS), (3, OTHER_ROWS)):
        for name, values in others:
            for value in values:
                _written(path, [*lines[:index], {**lines[index], name: value}, *lines[index + 1 :]])
                with pytest.raises(RecordingError, match=f"(line {index + 1}|row {index}).*({name}|begin)"):
                    read_recording(path)


def test_a_table_of_other_types_or_ranges_is_refused_by_name(recorded):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = recorded("session.parquet")
    table = parquet.read_table(path)
    rows = table.to_pylist()
    for name, values in OTHER_ROWS:
        for value in values:
            place = table.schema.get_field_index(name)
            try:
                column = pyarrow.array([value] * len(rows))
                added = (place, name, column)
                changed = table.append_column(name, column) if place < 0 else table.set_column(*added)
                parquet.write_table(changed, path)
            except (OverflowError, pyarrow.ArrowException):
                continue  # no table holds it
            with pytest.raises(RecordingError, match=f"row 1.*{name}"):
                read_recording(path)
