"""The Prometheus view of a run."""

import errno
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics, start_http_server

from attunement.order_book import ALERT, AUTHORISED, COUNTED, ORDER, RAISED, REFUSED, VOTE
from attunement.telemetry import CycleReport, is_taken_back
from kernel import Entry, Mode, Outcome
from kernel.quantity import to_float
from kernel.state import SCALES
from ledger import JsonValue
from optimizers.protocol import Mode as OptimizerMode

disable_created_metrics()  # type: ignore[no-untyped-call]

_MODE_FIGURE: dict[OptimizerMode, int] = {"idle": 0, "gradient": 1, "pid": 2}
_EMERGENCY_FIGURE = 3


class MetricsError(Exception):
    """The metrics endpoint cannot be opened."""


class Metrics:
    """The series of a run, every one of them present from the start.

    A cycle without a usable reading leaves the measured gauges as they were and counts in
    `uhes_missed_cycles`; `uhes_last_reading_timestamp_seconds` tells how old they are.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._alpha = self._gauge("uhes_alpha_value", "α in force, dimensionless.")
        self._lambda = Gauge(
            "uhes_lambda_value", "λ(t, L) under the α in force, dimensionless.", ["L"], registry=self.registry
        )
        self._c_hat = self._gauge("uhes_C_hat", "Coherence density proxy of the newest reading, 0 to 1.")
        self._gradient = self._gauge("uhes_C_gradient", "Latest estimate of dJ/dα; 0 at first.")
        self._delta = self._gauge("uhes_alpha_delta", "Latest change of α, dimensionless.")
        self._accept = self._counter("uhes_alpha_accept", "Trials committed.")
        self._revert = self._counter("uhes_alpha_revert", "Trials taken back; a probe that returns is none.")
        self._mode = self._gauge("uhes_attunement_mode", "0 idle, 1 gradient, 2 pid, 3 emergency.")
        self._entropy_rate = self._gauge("uhes_entropy_rate", "Rise of entropy per cycle, newest reading.")
        self._h_internal = self._gauge("uhes_h_internal", "Order parameter of the newest reading, 0 to 1.")
        self._refused = self._counter("uhes_alpha_refused", "Proposals refused.")
        self._missed = self._counter("uhes_missed_cycles", "Cycles without a usable reading.")
        self._kernel_mode = self._gauge("uhes_kernel_mode", "0 ready, 1 frozen, 2 emergency, 3 trial.")
        self._verified = self._gauge("uhes_kernel_verified", "1 if the kernel is the proved one, else 0.")
        self._stepped = self._gauge("uhes_last_step_timestamp_seconds", "Unix time of the latest cycle.")
        self._read = self._gauge("uhes_last_reading_timestamp_seconds", "Unix time of the latest reading.")
        self._orders = self._counter("uhes_orders", "Orders authorised.")
        self._order_refusals = self._counter("uhes_order_refusals", "Orders and votes refused.")
        self._votes = self._counter("uhes_votes", "Votes on a policy counted.")
        self._escalations = self._counter("uhes_escalations", "Alerts raised.")
        for scale in SCALES:
            self._lambda.labels(L=scale)

    def on_start(self, kernel_is_verified: bool) -> None:
        """Say whether the kernel that runs is the one that was proved."""
        self._verified.set(kernel_is_verified)

    def on_report(self, report: CycleReport) -> None:
        """Take in one cycle."""
        now_s = time.time()
        self._stepped.set(now_s)
        for entry in report.entries:
            self._count(entry)
        measurement = report.measurement
        if measurement is not None:
            self._read.set(now_s)
            self._c_hat.set(measurement.c_hat)
            self._entropy_rate.set(measurement.entropy_rate)
            self._h_internal.set(measurement.h_internal)
        for scale, figure in report.lambdas.items():
            self._lambda.labels(L=scale).set(figure)
        if report.gradient is not None:
            self._gradient.set(report.gradient)
        self._alpha.set(to_float(report.state.alpha))
        self._kernel_mode.set(report.state.mode)
        emergency = report.state.mode is Mode.EMERGENCY
        self._mode.set(_EMERGENCY_FIGURE if emergency else _MODE_FIGURE[report.optimizer_mode])

    def on_record(self, body: Mapping[str, JsonValue]) -> None:
        """Take in one record of governance."""
        counted = {
            (ORDER, AUTHORISED): self._orders,
            (ORDER, REFUSED): self._order_refusals,
            (VOTE, COUNTED): self._votes,
            (VOTE, REFUSED): self._order_refusals,
            (ALERT, RAISED): self._escalations,
        }.get((str(body["event"]), str(body["verdict"])))
        if counted is not None:
            counted.inc()

    def _count(self, entry: Entry) -> None:
        change = entry.after.alpha - entry.before.alpha
        if change:
            self._delta.set(to_float(change))
        outcome = entry.verdict.outcome
        if outcome is Outcome.COMMITTED:
            self._accept.inc()
        elif outcome is Outcome.REFUSED:
            self._refused.inc()
        elif is_taken_back(entry):
            self._revert.inc()
        if entry.event == "miss":
            self._missed.inc()

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self.registry)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, registry=self.registry)


class MetricsServer:
    """Serves a registry over HTTP until closed.

    Args:
        metrics: What is served at /metrics.
        host: Address to listen at.
        port: Port to listen at, 0 for any free one.

    Raises:
        MetricsError: the address cannot be listened at.
    """

    def __init__(self, metrics: Metrics, host: str, port: int) -> None:
        try:
            self._server, self._thread = start_http_server(port, host, metrics.registry)
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            why = "is taken by another program" if taken else f"cannot be listened at: {error.strerror}"
            raise MetricsError(f"metrics.port {port} on {host} {why}") from error

    @property
    def port(self) -> int:
        """Port that is listened at."""
        return int(self._server.server_port)

    def close(self) -> None:
        """Stop listening and give the port back."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
