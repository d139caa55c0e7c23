"""A session on file: what came in from outside, cycle by cycle, and what was measured and decided on it.

Parquet (extra `record`) or NDJSON, by the name of the file. Features and Ψ do not depend on α, so the
engine's recursion can be run again on them under another policy: see `attunement.counterfactual`.

NDJSON has one object a line: first the header `{"recording": 1, …}`, then a row a cycle. A Parquet file has
the header as JSON in its metadata, under the key `lambda-attunement`. It can be read once it was closed; an
NDJSON file up to the last whole line at any time.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from math import isfinite
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol, TextIO, TypeVar, get_args, get_origin

import attrs
import numpy as np
from cattrs import BaseValidationError, Converter
from numpy import float64
from numpy.typing import NDArray

from attunement.config import extended, plain
from attunement.config_option import Interval, checked, shown
from attunement.config_schema import Config, EngineConfig, ObjectiveConfig
from attunement.engine_protocol import SCALES
from attunement.sources import FeatureBlock, FeatureSource, SourceExhaustedError
from attunement.telemetry import CycleReport
from attunement.telemetry_body import utc_now
from kernel import Mode
from kernel.quantity import to_float

VERSION: Final = 1
PARQUET: Final = ".parquet"
NDJSON: Final = ".ndjson"

_KEY = b"lambda-attunement"
_ROWS_A_GROUP = 512
# Of α what a configuration takes, down to the kernel's unit.
_ALPHA: Final = Interval(1e-9, 10)
_RANGES: Final = {
    "nodes": Interval(1, 10**6),
    "dims": Interval(1, 10**6),
    "k_max": Interval(0, 100, low_open=True),
    "sequence": Interval(0, 2**63 - 1),
    "engine_alpha": _ALPHA,
    "alpha": _ALPHA,
}
_MODES: Final = tuple(mode.name.lower() for mode in Mode)
_Told = TypeVar("_Told")


class RecordingError(Exception):
    """A recording cannot be written or read."""


@attrs.frozen
class Header:
    """What a recording was made with.

    Attributes:
        nodes: Nodes of the source.
        dims: Dimensions of the source.
        k_max: K of the engine's clamp.
        engine: Settings of the engine.
        objective: What was maximised.
        optimizer: Who proposed.
    """

    nodes: int
    dims: int
    k_max: float
    engine: EngineConfig
    objective: ObjectiveConfig
    optimizer: str

    def as_json(self) -> dict[str, Any]:
        """The same as JSON's types."""
        return {"recording": VERSION, **plain(self)}


@attrs.frozen
class Row:
    """One cycle.

    Attributes:
        time: UTC.
        sequence: Number of the source's sample; it stands still where there was no new one.
        features: Of all nodes, row by row.
        psi: Ψ at each scale.
        engine_alpha: The α that the engine's newest cycle ran with.
        alpha: α in force after the decisions.
        c_hat: Ĉ; this and the next two are None where the cycle gave no usable reading.
        entropy_rate: Rise of entropy [1/cycle].
        h_internal: Internal coherence.
        mode: What the kernel was in.
        decisions: Each decision as its event and verdict.
    """

    time: str
    sequence: int
    features: list[float]
    psi: list[float]
    engine_alpha: float
    alpha: float
    c_hat: float | None
    entropy_rate: float | None
    h_internal: float | None
    mode: str
    decisions: list[str]


class Tapped:
    """A source whose newest block can be looked at.

    Args:
        source: Where the blocks come from.
    """

    def __init__(self, source: FeatureSource) -> None:
        self._source = source
        self.newest: FeatureBlock | None = None

    @property
    def nodes(self) -> int:
        """Rows of every block."""
        return self._source.nodes

    @property
    def dims(self) -> int:
        """Columns of every block."""
        return self._source.dims

    def next(self) -> FeatureBlock:
        """Deliver the next block.

        Raises:
            SourceError: as of the source.
        """
        self.newest = self._source.next()
        return self.newest


class _Writer(Protocol):
    def write(self, row: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


class _LoopEngine(Protocol):
    @property
    def cycle_alpha(self) -> float: ...


class Recorder:
    """Writes a row a cycle; a subscriber.

    A recording that cannot be written any more is given up, and the run goes on: `fault` says why.

    Args:
        path: The new file.
        config: What the run is made with.
        tapped: The source of the run's engine.
        engine: The engine.

    Raises:
        RecordingError: the file is there, cannot be made, or its form is not known or not installed.
    """

    def __init__(self, path: Path, config: Config, tapped: Tapped, engine: _LoopEngine) -> None:
        header = Header(
            tapped.nodes,
            tapped.dims,
            config.safety.k_max,
            config.engine,
            config.objective,
            config.optimizer.name if config.enabled else "hold",
        )
        self.fault: str | None = None
        self.rows = 0
        self._path = path
        self._tapped = tapped
        self._engine = engine
        self._writer: _Writer = _writer(path, header)

    def on_report(self, report: CycleReport) -> None:
        """Take in one cycle."""
        block, figures = self._tapped.newest, report.measurement
        if self.fault is not None or block is None:
            return
        row = Row(
            time=utc_now(),
            sequence=block.sequence,
            features=np.asarray(block.features, dtype=float64).ravel().tolist(),
            psi=np.asarray(block.psi, dtype=float64).tolist(),
            engine_alpha=self._engine.cycle_alpha,
            alpha=to_float(report.state.alpha),
            c_hat=None if figures is None else figures.c_hat,
            entropy_rate=None if figures is None else figures.entropy_rate,
            h_internal=None if figures is None else figures.h_internal,
            mode=report.state.mode.name.lower(),
            decisions=[f"{entry.event} {entry.verdict.outcome.value}" for entry in report.entries],
        )
        try:
            self._writer.write(attrs.asdict(row))
            self.rows += 1
        except (OSError, ValueError) as error:
            self._give_up(error)

    def close(self) -> None:
        """Write what is left, and close the file."""
        try:
            self._writer.close()
        except (OSError, ValueError) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self.fault = self.fault or f"{self._path} is not recorded to its end: {error}"


class RecordedSource:
    """Delivers the features and the Ψ of a recording again, and ends with it."""

    def __init__(self, header: Header, rows: list[Row]) -> None:
        self._header = header
        self._rows = iter(rows)
        self._count = len(rows)

    @property
    def nodes(self) -> int:
        """Rows of every block."""
        return self._header.nodes

    @property
    def dims(self) -> int:
        """Columns of every block."""
        return self._header.dims

    def next(self) -> FeatureBlock:
        """Deliver the next row's features.

        Raises:
            SourceExhaustedError: the recording is at its end.
        """
        row = next(self._rows, None)
        if row is None:
            raise SourceExhaustedError(f"the recording ended after {self._count} cycles")
        shape = (self._header.nodes, self._header.dims)
        features: NDArray[float64] = np.array(row.features, dtype=float64).reshape(shape)
        return FeatureBlock(features, np.array(row.psi, dtype=float64), row.sequence)


@attrs.frozen
class Recording:
    """A session that was read from a file."""

    path: Path
    header: Header
    rows: list[Row]

    def source(self) -> RecordedSource:
        """Return its features from the beginning."""
        return RecordedSource(self.header, self.rows)


def read_recording(path: Path) -> Recording:
    """Read a recording.

    Raises:
        RecordingError: it cannot be read, or is none.
    """
    try:
        header, rows = _read_parquet(path) if path.suffix == PARQUET else _read_ndjson(path)
        return _checked(Recording(path, header, rows))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordingError(f"{path} cannot be read as a recording: {_said(error)}") from error
    except Exception as error:
        # cattrs tells what does not fit by groups of exceptions of its own.
        raise RecordingError(f"{path} is no recording: {_said(error)}") from error


def _checked(recording: Recording) -> Recording:
    size = recording.header.nodes * recording.header.dims
    for number, row in enumerate(recording.rows, 1):
        if len(row.features) != size:
            raise ValueError(f"row {number} has {len(row.features)} features, must have {size}")
        if len(row.psi) != len(SCALES):
            raise ValueError(f"row {number} has {len(row.psi)} figures of psi, must have {len(SCALES)}")
    if not recording.rows:
        raise ValueError("it has no rows")
    return recording


def _require_finite(told: Header | Row) -> None:
    # NaN differs from nothing by more than a tolerance: what holds it would count as reproduced.
    for field in attrs.fields(type(told)):
        value = getattr(told, field.name)
        for figure in value if isinstance(value, list) else [value]:
            if isinstance(figure, float) and not isfinite(figure):
                raise ValueError(f"{field.name} is {figure}, must be finite")


def _require_in_range(told: Header | Row) -> None:
    for name, within in _RANGES.items():
        value = getattr(told, name, None)
        if value is not None and not within.holds(value):
            raise ValueError(f"{name} is {shown(value)}, must lie in {within}")


def _require_time(text: str) -> None:
    try:
        datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"time is {shown(text)}, must be a time of ISO 8601") from error


def _said(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error).split("\n", maxsplit=1)[0]


def _writer(path: Path, header: Header) -> _Writer:
    if path.suffix not in (PARQUET, NDJSON):
        raise RecordingError(f"{path} must end in {PARQUET} or {NDJSON}")
    if path.exists():
        raise RecordingError(f"{path} exists, a recording is never overwritten")
    try:
        return _ParquetWriter(path, header) if path.suffix == PARQUET else _NdjsonWriter(path, header)
    except OSError as error:
        raise RecordingError(f"{path} cannot be made: {error.strerror or error}") from error


class _NdjsonWriter:
    def __init__(self, path: Path, header: Header) -> None:
        self._stream: TextIO = path.open("x", encoding="utf-8", buffering=1)
        self.write(header.as_json())

    def write(self, row: dict[str, Any]) -> None:
        self._stream.write(f"{json.dumps(row, ensure_ascii=False, allow_nan=False)}\n")

    def close(self) -> None:
        self._stream.close()


class _ParquetWriter:
    def __init__(self, path: Path, header: Header) -> None:
        arrow, parquet = _pyarrow(path)
        number, text = arrow.float64(), arrow.string()
        schema = arrow.schema(
            [
                ("time", text),
                ("sequence", arrow.int64()),
                ("features", arrow.list_(number)),
                ("psi", arrow.list_(number)),
                ("engine_alpha", number),
                ("alpha", number),
                ("c_hat", number),
                ("entropy_rate", number),
                ("h_internal", number),
                ("mode", text),
                ("decisions", arrow.list_(text)),
            ],
            metadata={_KEY: json.dumps(header.as_json(), allow_nan=False).encode()},
        )
        self._arrow = arrow
        self._schema = schema
        self._waiting: list[dict[str, Any]] = []
        self._file: Any = parquet.ParquetWriter(os.fspath(path), schema)

    def write(self, row: dict[str, Any]) -> None:
        self._waiting.append(row)
        if len(self._waiting) >= _ROWS_A_GROUP:
            self._write_group()

    def close(self) -> None:
        try:
            if self._waiting:
                self._write_group()
        finally:
            self._file.close()

    def _write_group(self) -> None:
        rows, self._waiting = self._waiting, []
        self._file.write_table(self._arrow.Table.from_pylist(rows, schema=self._schema))


def _pyarrow(path: Path) -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise RecordingError(
            f"{path}: Parquet needs pyarrow: pip install 'lambda-attunement[record]', or name a file {NDJSON}"
        ) from error
    return pyarrow, pyarrow.parquet


def _read_ndjson(path: Path) -> tuple[Header, list[Row]]:
    with path.open(encoding="utf-8") as stream:
        with _at("line 1"):
            header = _header(_parsed(stream.readline()))
        return header, list(_rows(stream))


def _rows(stream: TextIO) -> Iterator[Row]:
    for number, line in enumerate(stream, 2):
        # A run that was killed leaves its last line unfinished.
        if line.endswith("\n"):
            with _at(f"line {number}"):
                yield _row(_parsed(line))


def _read_parquet(path: Path) -> tuple[Header, list[Row]]:
    _, parquet = _pyarrow(path)
    table = parquet.read_table(os.fspath(path))
    header = _header(_parsed((table.schema.metadata or {})[_KEY]))
    rows: list[Row] = []
    for number, told in enumerate(table.to_pylist(), 1):
        with _at(f"row {number}"):
            rows.append(_row(told))
    return header, rows


@contextmanager
def _at(place: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # cattrs tells what does not fit by exceptions of its own.
        raise ValueError(f"{place}: {_said(error)}") from error


def _parsed(text: str | bytes) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        # Its own text counts the lines of what is one line of the file.
        raise ValueError(f"not JSON: {error.msg} at character {error.pos + 1}") from error


def _refuse(literal: str) -> NoReturn:
    raise ValueError(f"{literal} is no number of JSON")


def _header(told: Any) -> Header:
    version = told.pop("recording", None) if isinstance(told, dict) else None
    if type(version) is not int or version != VERSION:
        raise ValueError(f"it does not begin as a recording of version {VERSION}")
    header = _structured(told, Header)
    _require_finite(header)
    _require_in_range(header)
    return header


def _row(told: Any) -> Row:
    row = _structured(told, Row)
    _require_finite(row)
    _require_in_range(row)
    _require_time(row.time)
    if row.mode not in _MODES:
        raise ValueError(f"mode is {shown(row.mode)}, must be {' or '.join(_MODES)}")
    if sum(figure is None for figure in (row.c_hat, row.entropy_rate, row.h_internal)) not in (0, 3):
        raise ValueError("c_hat, entropy_rate and h_internal must all be numbers or all null")
    return row


def _structured(told: Any, kind: type[_Told]) -> _Told:
    try:
        return _CONVERTER.structure(told, kind)
    except BaseValidationError as group:
        key = ""
        error: Exception = group
        while isinstance(error, BaseValidationError):
            error = error.exceptions[0]
            key = extended(key, error)
        said = "is missing" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{key} {said}".lstrip(". ")) from group


def _is_list(kind: Any) -> bool:
    return get_origin(kind) is list


def _list(value: Any, kind: Any) -> Any:
    if not isinstance(value, list):
        raise TypeError(f"is {shown(value)}, must be a list")
    (member,) = get_args(kind)
    return [checked(one, member, None) for one in value]


# Types are held to as in a configuration: cattrs by itself would take true for 1, and text for a number.
_CONVERTER = Converter(forbid_extra_keys=True)
for _kind in (bool, int, float, str):
    _CONVERTER.register_structure_hook(_kind, lambda value, kind: checked(value, kind, None))
_CONVERTER.register_structure_hook_func(_is_list, _list)
