"""A system that is read by PromQL, and takes α by an HTTP call or from a file."""

import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from math import isfinite, sqrt
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import attrs

from attunement.coherence import saturating
from attunement.config_option import shown
from attunement.config_schema import PrometheusConfig, QueryConfig
from attunement.engine_protocol import SCALES, ScaleGain
from attunement.http_client import HttpError, exchange
from attunement.sources import SourceExhaustedError
from ledger import files

SKEW_MAX_S: Final = 2.0
"""How far a sample may lie in the future before the clocks are called apart."""
TIME_TOLERANCE_S: Final = 0.01
"""How far the time of an answer may be from the one asked for: Prometheus takes it in whole milliseconds."""
_FILE_MODE = 0o644
_LABEL = "L"
_FIGURE = re.compile(r"[+-]?([0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?|Inf)|NaN")
_FAULTS = ("error", "errorType", "warnings")


class PrometheusError(Exception):
    """Prometheus gave no fresh sample, or α could not be applied."""


@attrs.frozen
class Series:
    """One series of an answer: its labels, and its figure."""

    labels: Mapping[str, str]
    figure: float


@attrs.frozen
class _Sample:
    at_s: float
    series: Mapping[str, tuple[Series, ...] | PrometheusError]


class PrometheusEngine:
    """Reads one instant of the configured queries a cycle.

    The `clock` query tells when the newest sample was taken; all others are evaluated at that instant. It is
    a new cycle when it is younger than the one before, not older than `stale_after`, and so much younger than
    the last change of α that nothing the queries look back on (`lookback`) comes from before it. What a query
    does not give then is missing, and the cycle is refused.

    A capability without a query is not offered, so that the kernel's check of it is named and refused.

    Args:
        settings: Queries, credentials, and where α goes.
        c_ref: Mean power of the nodes that is mapped to Ĉ = 0.5.
        alpha: The α that is in force; it is not applied here.
        clock: Unix time, seconds; it has to agree with the clock of Prometheus.
        wait: Waits so many seconds; where it says yes, nobody wants a further cycle, and none is waited for.
    """

    get_psi: Callable[[], float]
    get_entropy_rate: Callable[[], float]
    get_h_internal: Callable[[], float]
    get_gains: Callable[[], Mapping[str, ScaleGain]]
    get_lambda: Callable[[str], float]

    def __init__(
        self,
        settings: PrometheusConfig,
        c_ref: float,
        alpha: float,
        clock: Callable[[], float] = time.time,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self._settings = settings
        self._c_ref = c_ref
        self._clock = clock
        self._wait = wait
        self._alpha = self._cycle_alpha = alpha
        self._applied_s = clock()
        self._cycle = 0
        self._sample: _Sample | None = None
        self._trouble: PrometheusError | None = None
        self._callbacks: list[Callable[[], None]] = []
        queries = {name: getattr(settings, name) for name in _CAPABILITIES}
        self._queries: dict[str, QueryConfig] = {
            name: query for name, query in queries.items() if query.promql is not None
        }
        self._offer()

    def run_cycle(self) -> None:
        """Wait for a new cycle, at most `stale_after`, and call every callback, whether or not one came.

        Raises:
            SourceExhaustedError: nobody wants a further cycle; no callback was called.
        """
        until_s = self._clock() + self._settings.stale_after
        while not self._has_advanced():
            if not self._clock() < until_s:
                break
            self._wait_unless_over(self._settings.poll)
        for callback in tuple(self._callbacks):
            callback()

    def on_cycle_end(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called at the end of every cycle, and of every wait for one that was in vain."""
        self._callbacks.append(callback)

    @property
    def cycle(self) -> int:
        """Number of the newest cycle.

        Raises:
            PrometheusError: the last wait for one was in vain; it says why.
        """
        if self._trouble is not None:
            raise self._trouble
        return self._cycle

    @property
    def cycle_alpha(self) -> float:
        """The α that the newest cycle ran with."""
        return self._cycle_alpha

    def get_alpha_multiplier(self) -> float:
        """Return the α applied now."""
        return self._alpha

    def set_alpha_multiplier(self, alpha: float) -> None:
        """Hand α to the system, as JSON by HTTP or as a line in a file that is replaced as a whole.

        Raises:
            PrometheusError: it was not taken, or nobody can tell.
        """
        if self._settings.apply == "http":
            self._send(alpha)
        else:
            self._write(alpha)
        self._alpha, self._applied_s = alpha, self._clock()

    def normalize_C(self, c: float) -> float:
        """Map a mean power onto [0, 1)."""
        return saturating(c, self._c_ref)

    def sample_omega_snapshot(self) -> list[list[float]]:
        """Return a node a series, [nodes, 1]; its power is the series' figure.

        Raises:
            PrometheusError: the figures are missing, or one is negative.
        """
        powers = self._figures("coherence")
        if not min(powers) >= 0:
            raise PrometheusError(f"coherence is {min(powers)}, must be at least 0")
        return [[sqrt(power)] for power in powers]

    def _wait_unless_over(self, wait_s: float) -> None:
        if self._wait(wait_s):
            raise SourceExhaustedError("the wait for a cycle was ended")

    def _offer(self) -> None:
        offered = self._queries.keys()
        if "psi" in offered:
            self.get_psi = lambda: min(self._figures("psi"))
        if "entropy_rate" in offered:
            self.get_entropy_rate = lambda: max(self._figures("entropy_rate"))
        if "h_internal" in offered:
            self.get_h_internal = lambda: min(self._figures("h_internal"))
        if offered >= {"drive", "loop_gain"}:
            self.get_gains = self._gains
        if "lambda_base" in offered:
            self.get_lambda = lambda scale: self._per_scale("lambda_base")[scale] * self._alpha

    def _gains(self) -> Mapping[str, ScaleGain]:
        drives, loop_gains = self._per_scale("drive"), self._per_scale("loop_gain")
        return {scale: ScaleGain(drives[scale], loop_gains[scale]) for scale in SCALES}

    def _per_scale(self, name: str) -> dict[str, float]:
        series = self._series(name)
        labels = [one.labels.get(_LABEL) for one in series]
        if sorted(map(str, labels)) == sorted(SCALES):
            return {str(label): one.figure for label, one in zip(labels, series, strict=True)}
        if any(label is not None for label in labels):
            raise PrometheusError(
                f"{name} has the scales {labels}, must have each of {', '.join(SCALES)} once"
            )
        return dict.fromkeys(SCALES, max(one.figure for one in series))

    def _figures(self, name: str) -> list[float]:
        return [one.figure for one in self._series(name)]

    def _series(self, name: str) -> tuple[Series, ...]:
        if self._sample is None:
            raise PrometheusError("no sample has been read yet")
        found = self._sample.series[name]
        if isinstance(found, PrometheusError):
            raise found
        return found

    def _has_advanced(self) -> bool:
        try:
            at_s = self._newest_s()
        except PrometheusError as error:
            self._trouble = error
            return False
        before_s = float("-inf") if self._sample is None else self._sample.at_s
        if not at_s > before_s:
            self._trouble = PrometheusError(f"no sample after the one of {before_s:.3f}")
            return False
        if not at_s >= self._applied_s + self._settings.lookback:
            self._trouble = PrometheusError(
                f"the sample of {at_s:.3f} looks back on {self._settings.lookback:g} s, α was applied at "
                f"{self._applied_s:.3f}"
            )
            return False
        alpha = self._alpha
        self._sample = _Sample(at_s, {name: self._read(name, at_s) for name in self._queries})
        self._trouble = None
        self._cycle, self._cycle_alpha = self._cycle + 1, alpha
        return True

    def _newest_s(self) -> float:
        settings, now_s = self._settings, self._clock()
        series = self._instant("clock", settings.clock, now_s)
        at_s = max(one.figure for one in series)
        if not now_s - at_s <= settings.stale_after:
            raise PrometheusError(
                f"the newest sample is {now_s - at_s:.3f} s old, must be at most {settings.stale_after:g} s"
            )
        if not at_s - now_s <= SKEW_MAX_S:
            raise PrometheusError(
                f"the newest sample lies {at_s - now_s:.3f} s in the future, clocks are apart"
            )
        return at_s

    def _read(self, name: str, at_s: float) -> tuple[Series, ...] | PrometheusError:
        query = self._queries[name]
        try:
            self._require_fresh(name, query, at_s)
            if query.range == 0:
                return self._instant(name, query.promql, at_s)
            steps = int(query.range / query.step)
            start_s = at_s - steps * query.step
            asked = {
                "query": query.promql,
                "start": f"{start_s:.3f}",
                "end": f"{at_s:.3f}",
                "step": f"{query.step:g}",
            }
            found = _found(name, self._ask("query_range", name, asked), ("matrix",), "values")
            return tuple(
                Series(labels, _REDUCTIONS[query.reduce](_course(name, values, steps + 1, start_s, at_s)))
                for labels, values in found
            )
        except PrometheusError as error:
            return error

    def _require_fresh(self, name: str, query: QueryConfig, at_s: float) -> None:
        if query.clock is None:
            return
        oldest_s = min(one.figure for one in self._instant(f"{name}.clock", query.clock, at_s))
        if not at_s - oldest_s <= self._settings.stale_after:
            raise PrometheusError(
                f"{name}: the sample is {at_s - oldest_s:.3f} s old, must be at most "
                f"{self._settings.stale_after:g} s"
            )

    def _instant(self, name: str, promql: str | None, at_s: float) -> tuple[Series, ...]:
        data = self._ask("query", name, {"query": promql, "time": f"{at_s:.3f}"})
        found = _found(name, data, ("vector", "scalar"), "value")
        return tuple(Series(labels, _course(name, [value], 1, at_s, at_s)[0]) for labels, value in found)

    def _ask(self, kind: str, name: str, asked: Mapping[str, Any]) -> Any:
        # One cycle asks many times, and each may take the whole timeout.
        self._wait_unless_over(0.0)
        settings = self._settings
        url = f"{str(settings.url).rstrip('/')}/api/v1/{kind}?{urlencode(asked)}"
        try:
            document = json.loads(exchange("GET", url, None, settings.auth, settings.timeout))
        except (HttpError, ValueError, RecursionError) as error:
            raise PrometheusError(f"{name}: {error}") from error
        if not (isinstance(document, dict) and document.get("status") == "success"):
            raise PrometheusError(f"{name}: Prometheus did not answer with success")
        for fault in _FAULTS:
            # A warning says that the answer may be a part of what there is.
            if document.get(fault) not in (None, "", []):
                raise PrometheusError(f"{name}: Prometheus answered with {fault}: {document[fault]}")
        return document.get("data")

    def _send(self, alpha: float) -> None:
        settings = self._settings
        body = json.dumps({"alpha": alpha}, allow_nan=False).encode("ascii")
        try:
            exchange(
                settings.apply_method, str(settings.apply_url), body, settings.apply_auth, settings.timeout
            )
        except HttpError as error:
            raise PrometheusError(f"α was not taken: {error}") from error

    def _write(self, alpha: float) -> None:
        path = Path(str(self._settings.apply_path))
        try:
            files.replace(str(path), f"{alpha!r}\n".encode("ascii"), _FILE_MODE)
            files.sync_directory(os.fspath(path.parent))
        except OSError as error:
            raise PrometheusError(f"α was not written to {path}: {error.strerror}") from error


_CAPABILITIES: Final = ("coherence", "entropy_rate", "h_internal", "drive", "loop_gain", "psi", "lambda_base")


def _found(name: str, data: Any, kinds: Sequence[str], key: str) -> list[tuple[dict[str, str], Any]]:
    """Return the labels of each series of an answer, and what stands under its key."""
    try:
        kind, result = data["resultType"], data["result"]
        if kind not in kinds:
            raise PrometheusError(f"{name}: the answer is a {kind}, must be a {' or a '.join(kinds)}")
        found = [({}, result)] if kind == "scalar" else [(dict(one["metric"]), one[key]) for one in result]
    except (TypeError, KeyError, ValueError, IndexError) as error:
        raise PrometheusError(f"{name}: the answer cannot be read: {type(error).__name__}") from error
    if not found:
        raise PrometheusError(f"{name}: the query gave no sample")
    return found


def _course(name: str, values: Any, points: int, start_s: float, end_s: float) -> list[float]:
    """Return the figures of samples, which have to be so many, one after the other from start to end."""
    if not isinstance(values, list):
        raise PrometheusError(f"{name}: the answer cannot be read: its samples are no list")
    samples = [_sample(name, value) for value in values]
    if len(samples) != points:
        raise PrometheusError(f"{name}: the range has {len(samples)} points, must have {points}")
    times_s = [at_s for at_s, _ in samples]
    for at_s in times_s:
        if not start_s - TIME_TOLERANCE_S <= at_s <= end_s + TIME_TOLERANCE_S:
            raise PrometheusError(
                f"{name}: the answer is of {shown(at_s)}, must be of {start_s:.3f} to {end_s:.3f}"
            )
    if not all(before_s < after_s for before_s, after_s in pairwise(times_s)):
        raise PrometheusError(f"{name}: the points of the range do not follow each other")
    return [figure for _, figure in samples]


def _sample(name: str, value: Any) -> tuple[float, float]:
    match value:
        case [int() | float() as at_s, str() as text] if type(at_s) is not bool and _FIGURE.fullmatch(text):
            figure = float(text)
        case _:
            raise PrometheusError(f"{name}: a sample must be a time and a figure as text, is another")
    if isfinite(figure):
        return at_s, figure
    raise PrometheusError(f"{name}: the figure is {text}, must be finite")


def _rise(figures: Sequence[float]) -> float:
    return max((figures[-1] - figures[0]) / max(len(figures) - 1, 1), 0.0)


_REDUCTIONS: Final[dict[str, Callable[[Sequence[float]], float]]] = {
    "last": lambda figures: figures[-1],
    "mean": lambda figures: sum(figures) / len(figures),
    "min": min,
    "max": max,
    "rise": _rise,
}
