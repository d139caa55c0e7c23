"""Recorded telemetry as a feature source: a folder of CSV files, one node a file."""

import csv
from array import array
from collections.abc import Iterator
from datetime import UTC, datetime
from math import exp, nan
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy import float64
from numpy.typing import NDArray

from attunement.engine_protocol import SCALES
from attunement.sources import FeatureBlock, SourceError, SourceExhaustedError

_HEADER = ["timestamp", "value"]
_DIMS = 4
_SCORE_MAX = 4.0
_VALUE_MAX = 1e100


class TraceError(SourceError):
    """A recorded trace cannot be used."""


class TraceSource:
    """Replays the ``*.csv`` files of a folder, sorted by name; each is a node.

    A file has the header ``timestamp,value`` and rows in strictly rising time; a timestamp without an offset
    is UTC. Files are joined by row number and not by time, since recordings of different periods are
    replayed side by side. All have the same number of rows.

    The features of a node are taken over its newest ``window`` values x, and measured against the mean μ and
    the standard deviation σ of all its values so far, so nothing of the future enters and no unit matters:

    - mean: logistic((mean(x) − μ)/σ)
    - standard deviation: logistic(ln(sd(x)/σ)) = sd(x)/(sd(x) + σ)
    - slope: logistic(slope(x)·window/σ), the least-squares slope
    - last: logistic((x[−1] − μ)/σ)

    Each is 0.5 for a node at its usual, and for one whose values never changed. The logistic's argument is
    clamped to ±4, so a feature lies in [0.018, 0.982] and no row is zero.

    Args:
        folder: Folder of the CSV files.
        window: Values that features are taken over, at least 2; the first sample comes after as many rows.
        psi: Ψ at every scale, in [0, 1].
        repeat: Start again at the end, μ and σ too; the sequence goes on.

    Raises:
        TraceError: The folder is missing or empty, or a file is unreadable, has another header, a value that
            is blank, missing, not finite or no number, an unsorted or repeated timestamp, fewer rows than
            ``window`` or another number of rows than the first file. The message names file, line and figure.
    """

    def __init__(self, folder: Path, window: int = 12, *, psi: float = 0.9, repeat: bool = False) -> None:
        if not window >= 2:
            raise TraceError(f"window is {window}, must be at least 2")
        self._values = _read_folder(folder)
        if not len(self._values) >= window:
            raise TraceError(
                f"{folder}: {len(self._values)} rows a file, must be at least the window of {window}"
            )
        self._window = window
        self._psi = np.full(len(SCALES), psi)
        self._repeat = repeat
        self._sequence = 0
        steps = np.arange(window) - (window - 1) / 2
        self._slope_weights = steps / (steps @ steps)
        self._rewind()

    @property
    def nodes(self) -> int:
        """Files."""
        return int(self._values.shape[1])

    @property
    def dims(self) -> int:
        """Mean, standard deviation, slope and last value."""
        return _DIMS

    def next(self) -> FeatureBlock:
        """Deliver the next row's features.

        Raises:
            SourceExhaustedError: The end is reached, and ``repeat`` is off.
        """
        if self._end == len(self._values):
            if not self._repeat:
                raise SourceExhaustedError(f"the trace ended after {self._sequence} samples")
            self._rewind()
        self._take(self._values[self._end])
        self._sequence += 1
        return FeatureBlock(self._features(), self._psi, self._sequence)

    def _rewind(self) -> None:
        self._end = 0
        self._mean = np.zeros(self.nodes)
        self._squares = np.zeros(self.nodes)
        for row in self._values[: self._window - 1]:
            self._take(row)

    def _take(self, row: NDArray[float64]) -> None:
        # Welford's update: a difference of two large sums would lose the spread of a nearly constant node.
        self._end += 1
        off = row - self._mean
        self._mean += off / self._end
        self._squares += off * (row - self._mean)

    def _features(self) -> NDArray[float64]:
        recent = self._values[self._end - self._window : self._end]
        usual = np.sqrt(self._squares / self._end)
        unit = np.where(usual > 0, usual, 1.0)
        spread = np.maximum(recent.std(axis=0), unit * exp(-_SCORE_MAX))
        scores = np.stack(
            [
                (recent.mean(axis=0) - self._mean) / unit,
                np.log(spread / unit),
                self._slope_weights @ recent * self._window / unit,
                (recent[-1] - self._mean) / unit,
            ],
            axis=1,
        )
        scores[usual == 0] = 0.0
        features: NDArray[float64] = 1 / (1 + np.exp(-np.clip(scores, -_SCORE_MAX, _SCORE_MAX)))
        return features


def _read_folder(folder: Path) -> NDArray[float64]:
    paths = sorted(folder.glob("*.csv"), key=lambda path: path.name)
    if not paths:
        raise TraceError(f"{folder}: is no folder or holds no .csv file, must hold one a node")
    columns = [_read_file(path) for path in paths]
    for path, column in zip(paths, columns, strict=True):
        if len(column) != len(columns[0]):
            raise TraceError(
                f"{path}: has {len(column)} rows, must have {len(columns[0])} as {paths[0].name} has"
            )
    return np.array(columns).T.copy()


def _read_file(path: Path) -> NDArray[float64]:
    values = array("d")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            values.extend(_rows(path, file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TraceError(f"{path}: cannot be read: {error}") from error
    return np.array(values)


def _rows(path: Path, file: TextIO) -> Iterator[float]:
    reader = csv.reader(file, strict=True)
    header = next(reader, [])
    if header != _HEADER:
        raise TraceError(f"{path}: line 1: header is {','.join(header)!r}, must be {','.join(_HEADER)!r}")
    newest = datetime.min.replace(tzinfo=UTC)
    for row in reader:
        where = f"{path}: line {reader.line_num}"
        if len(row) != len(_HEADER):
            raise TraceError(f"{where}: has {len(row)} fields, must have {len(_HEADER)}")
        time = _time(where, row[0])
        if not time > newest:
            raise TraceError(f"{where}: timestamp {row[0]} does not come after the one before it")
        newest = time
        yield _value(where, row[1])


def _time(where: str, text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise TraceError(f"{where}: timestamp is {text!r}, must be an ISO 8601 date and time") from None


def _value(where: str, text: str) -> float:
    # float() alone would also take 1_000 and the digits of other scripts.
    plain = text.isascii() and "_" not in text
    try:
        value = float(text) if plain else nan
    except ValueError:
        value = nan
    if not abs(value) <= _VALUE_MAX:
        raise TraceError(f"{where}: value is {text!r}, must be a number of size at most {_VALUE_MAX:g}")
    return value
