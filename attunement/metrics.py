"""The Prometheus view of a run."""

import hashlib
import platform
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Final, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

from attunement.certified import shipped_certificate
from attunement.config_schema import Config
from attunement.forecast import FIGURES, Forecasts
from attunement.metrics_ledger import LedgerCollector
from attunement.order_book import ALERT, AUTHORISED, COUNTED, ORDER, RAISED, REFUSED, VOTE
from attunement.telemetry import CycleReport, adopted_limits, is_taken_back
from kernel import Entry, Limits, Mode, Outcome, SafetyKernel
from kernel.quantity import NANO, to_float
from kernel.state import SCALES
from ledger import JsonValue, Ledger
from optimizers import registry
from optimizers.protocol import Mode as OptimizerMode

disable_created_metrics()  # type: ignore[no-untyped-call]

LIMITS: Final = (
    "mode",
    "authorised",
    "cycle",
    "measured_alpha",
    "finite_alpha",
    "alpha",
    "alpha_delta",
    "entropy_rate",
    "h_internal",
    "drive",
    "loop_gain",
    "policy",
)
"""What a refusal is counted under: checks by name without their scale; any check of a policy is `policy`."""

MEASURED: Final = ("C_hat", "entropy_rate", "H_internal", "gradient", "lambda")
"""Figures that a cycle may lack."""

UNSAFE: Final = ("entropy_rate", "h_internal", "drive", "loop_gain")
"""Limits that a reading itself may break."""

_MODE_FIGURE: Final[dict[OptimizerMode, int]] = {"idle": 0, "gradient": 1, "pid": 2}
_EMERGENCY_FIGURE: Final = 3
_COUNTS: Final = ("reverts_max", "missed_max")
_TRIAL_BUCKETS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class _StateSet:
    """One series per value of a label, of which the present one is 1 and every other 0."""

    def __init__(
        self, name: str, text: str, label: str, values: Iterable[str], to: CollectorRegistry
    ) -> None:
        gauge = Gauge(name, text, [label], registry=to)
        self._series = {value: gauge.labels(value) for value in values}

    def show(self, present: str) -> None:
        """Make one value the present one."""
        for value, series in self._series.items():
            series.set(value == present)


class Metrics:
    """The series of a run, every one of them present from the start, and at zero.

    A cycle without a usable reading leaves the measured gauges as they were: `uhes_measured` is 0 for what
    the newest cycle lacked, and `uhes_last_reading_timestamp_seconds` tells how old the figures are. Counters
    begin at zero with the process, of which `process_start_time_seconds` is the mark.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._ledger = LedgerCollector(self.registry)
        self._alpha = self._gauge("uhes_alpha_value", "α in force, dimensionless.")
        self._lambda = self._gauges(
            "uhes_lambda_value", "λ(t, L) at the α in force, dimensionless.", "L", SCALES
        )
        self._c_hat = self._gauge("uhes_C_hat", "Coherence density proxy of the newest reading, 0 to 1.")
        self._gradient = self._gauge(
            "uhes_C_gradient", "Latest estimate of dJ/dα, Ĉ per unit of α; 0 at first."
        )
        self._delta = self._gauge("uhes_alpha_delta", "Latest change of α, dimensionless.")
        self._accept = self._counter("uhes_alpha_accept", "Trials committed.")
        self._revert = self._counter("uhes_alpha_revert", "Trials taken back; a probe that returns is none.")
        self._mode = self._gauge("uhes_attunement_mode", "0 idle, 1 gradient, 2 pid, 3 emergency.")
        self._init_measured()
        self._init_kernel()
        self._init_governance()
        self._init_forecast()
        self._started_trial_s: float | None = None

    def _init_measured(self) -> None:
        self._entropy_rate = self._gauge("uhes_entropy_rate", "Rise of entropy per cycle, newest reading.")
        self._h_internal = self._gauge("uhes_h_internal", "Order parameter of the newest reading, 0 to 1.")
        self._drive = self._gauges(
            "uhes_drive", "α·drive(L), the largest exponent of m_t, newest reading.", "L", SCALES
        )
        self._loop_gain = self._gauges(
            "uhes_loop_gain", "α·loop_gain(L), dimensionless, newest reading.", "L", SCALES
        )
        self._measured = self._gauges(
            "uhes_measured", "1 if the newest cycle gave this figure, else 0.", "figure", MEASURED
        )
        self._unsafe = self._counters(
            "uhes_unsafe_readings", "Readings that broke this limit; one may break several.", "limit", UNSAFE
        )
        self._missed = self._counter("uhes_missed_cycles", "Cycles without a usable reading.")
        self._missed_in_a_row = self._gauge(
            "uhes_consecutive_missed_cycles", "Cycles in a row without a usable reading."
        )
        self._stepped = self._gauge("uhes_last_step_timestamp_seconds", "Unix time of the latest cycle.")
        self._read = self._gauge("uhes_last_reading_timestamp_seconds", "Unix time of the latest reading.")
        self._settle_delay = self._gauge(
            "uhes_settle_delay_seconds",
            "Configured pause between cycles, and least age of a trial that a safe reading settles, seconds.",
        )

    def _init_kernel(self) -> None:
        self._kernel_mode = self._states(
            "uhes_kernel_mode", "1 for the mode the kernel is in, else 0.", "mode", map(_word, Mode)
        )
        self._limit = self._gauges(
            "uhes_limit",
            "Limit in force: entropy_* per cycle, reverts_max and missed_max counts, others dimensionless.",
            "limit",
            Limits._fields,
        )
        self._policy = self._gauge("uhes_policy_version", "Version of the limits in force, counted from 1.")
        self._refused = self._counter("uhes_alpha_refused", "Proposals refused.")
        self._refused_by = self._counters(
            "uhes_refusals", "Refusals that this limit stood against; one may name several.", "limit", LIMITS
        )
        self._decisions = self._counters(
            "uhes_decisions", "Decisions of the kernel.", "verdict", (one.value for one in Outcome)
        )
        self._trial = Histogram(
            "uhes_trial_duration_seconds",
            "Time from the cycle that granted a trial to the cycle that ended it, seconds.",
            registry=self.registry,
            buckets=_TRIAL_BUCKETS_S,
        )
        self._reverts_in_a_row = self._gauge(
            "uhes_consecutive_reverts", "Trials in a row that were taken back."
        )
        self._verified = self._gauge("uhes_kernel_verified", "1 if the kernel is the proved one, else 0.")
        self._build = Gauge(
            "uhes_build_info",
            "1, labelled with the version, the interpreter and the certificate's SHA-256.",
            ["version", "python", "certificate"],
            registry=self.registry,
        )
        self._build.labels(version("lambda-attunement"), platform.python_version(), _certificate_digest())
        self._configured = self._states(
            "uhes_optimizer_configured", "1 for the configured optimizer.", "optimizer", registry.NAMES
        )
        self._in_charge = self._states(
            "uhes_optimizer_in_charge",
            "1 for the method that proposes now; idle when none was asked.",
            "method",
            get_args(OptimizerMode),
        )

    def _init_governance(self) -> None:
        self._orders = self._counter("uhes_orders", "Orders authorised.")
        self._order_refusals = self._counter("uhes_order_refusals", "Orders and votes refused.")
        self._votes = self._counter("uhes_votes", "Votes on a policy counted.")
        self._escalations = self._counter("uhes_escalations", "Alerts raised for repeated reverts.")

    def _init_forecast(self) -> None:
        about, one = "figure", "of the figure's own unit"
        self._forecast = self._gauges(
            "uhes_forecast", f"Forecast for the next cycle, {one}; no part of any decision.", about, FIGURES
        )
        self._forecast_error = self._gauges(
            "uhes_forecast_error", f"Newest measured figure less its forecast, {one}.", about, FIGURES
        )
        self._forecast_rms = self._gauges(
            "uhes_forecast_rms_error", f"Root mean square of recent forecast errors, {one}.", about, FIGURES
        )
        self._naive_rms = self._gauges(
            "uhes_forecast_naive_rms_error", f"The same of 'as now' for a forecast, {one}.", about, FIGURES
        )
        self._forecast_ready = self._gauges(
            "uhes_forecast_ready", "1 if there is a forecast for the next cycle, else 0.", about, FIGURES
        )
        self._forecast_lost = self._counter(
            "uhes_forecast_reports_lost", "Cycles that the forecast fell behind, and left out."
        )

    def on_start(self, kernel_is_verified: bool) -> None:
        """Say whether the kernel that runs is the one that was proved, and which build this is."""
        self._verified.set(kernel_is_verified)
        self._build.labels(
            version("lambda-attunement"), platform.python_version(), _certificate_digest()
        ).set(1)

    def on_open(self, config: Config, kernel: SafetyKernel, ledger: Ledger) -> None:
        """Show what a run begins with: its policy, its state, its optimizer and its ledger."""
        self._settle_delay.set(config.settle_delay)
        self._configured.show(config.optimizer.name if config.enabled else "hold")
        self._in_charge.show("idle")
        self._ledger.watch(ledger, Path(config.logging.audit_ledger_path))
        self._show_limits(kernel.limits)
        self._alpha.set(kernel.alpha)
        self._kernel_mode.show(_word(kernel.mode))
        self._policy.set(kernel.state.policy)

    def on_report(self, report: CycleReport) -> None:
        """Take in one cycle."""
        now_s = time.time()
        self._stepped.set(now_s)
        for entry in report.entries:
            self._count(entry)
        self._show_measured(report, now_s)
        state = report.state
        self._alpha.set(to_float(state.alpha))
        self._kernel_mode.show(_word(state.mode))
        self._policy.set(state.policy)
        self._reverts_in_a_row.set(state.reverts)
        self._missed_in_a_row.set(state.missed)
        self._in_charge.show(report.optimizer_mode)
        emergency = state.mode is Mode.EMERGENCY
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

    def on_forecasts(self, forecasts: Forecasts) -> None:
        """Take in what is expected of the next cycle."""
        for name, forecast in forecasts.figures.items():
            self._forecast_ready[name].set(forecast.expected is not None)
            for gauges, figure in (
                (self._forecast, forecast.expected),
                (self._forecast_error, forecast.error),
                (self._forecast_rms, forecast.rms_error),
                (self._naive_rms, forecast.naive_rms_error),
            ):
                if figure is not None:
                    gauges[name].set(figure)

    def on_reports_lost(self, count: int) -> None:
        """Count cycles that the forecast did not get to see."""
        self._forecast_lost.inc(count)

    def _show_measured(self, report: CycleReport, now_s: float) -> None:
        measurement = report.measurement
        present = dict.fromkeys(MEASURED[:3], measurement is not None)
        present |= {"gradient": report.gradient is not None, "lambda": bool(report.lambdas)}
        for name, is_present in present.items():
            self._measured[name].set(is_present)
        for scale, figure in report.lambdas.items():
            self._lambda[scale].set(figure)
        if report.gradient is not None:
            self._gradient.set(report.gradient)
        if measurement is None:
            return
        self._read.set(now_s)
        self._c_hat.set(measurement.c_hat)
        self._entropy_rate.set(measurement.entropy_rate)
        self._h_internal.set(measurement.h_internal)
        for scale, drive, gain in zip(SCALES, measurement.drive, measurement.loop_gain, strict=True):
            self._drive[scale].set(measurement.alpha * drive)
            self._loop_gain[scale].set(measurement.alpha * gain)

    def _count(self, entry: Entry) -> None:
        change = entry.after.alpha - entry.before.alpha
        if change:
            self._delta.set(to_float(change))
        outcome = entry.verdict.outcome
        self._decisions[outcome.value].inc()
        if outcome is Outcome.COMMITTED:
            self._accept.inc()
        elif outcome is Outcome.REFUSED:
            self._refused.inc()
            for limit in {_limit_of(entry, name) for name, *_ in entry.verdict.broken}:
                self._refused_by[limit].inc()
        elif is_taken_back(entry):
            self._revert.inc()
        adopted = adopted_limits(entry)
        if adopted is not None:
            self._show_limits(adopted)
        if entry.event == "miss":
            self._missed.inc()
        if entry.event in ("observe", "settle"):
            for limit in {_without_scale(name) for name, *_ in entry.verdict.broken} & set(UNSAFE):
                self._unsafe[limit].inc()
        self._time_trial(entry)

    def _time_trial(self, entry: Entry) -> None:
        now_s = time.monotonic()
        if entry.before.mode is Mode.TRIAL and self._started_trial_s is not None:
            if entry.after.mode is not Mode.TRIAL:
                self._trial.observe(now_s - self._started_trial_s)
                self._started_trial_s = None
        elif entry.after.mode is Mode.TRIAL:
            self._started_trial_s = now_s

    def _show_limits(self, limits: Limits) -> None:
        for name, figure in zip(Limits._fields, limits, strict=True):
            self._limit[name].set(figure if name in _COUNTS else figure / NANO)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self.registry)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, registry=self.registry)

    def _gauges(self, name: str, text: str, label: str, values: Iterable[str]) -> dict[str, Gauge]:
        family = Gauge(name, text, [label], registry=self.registry)
        return {value: family.labels(value) for value in values}

    def _counters(self, name: str, text: str, label: str, values: Iterable[str]) -> dict[str, Counter]:
        family = Counter(name, text, [label], registry=self.registry)
        return {value: family.labels(value) for value in values}

    def _states(self, name: str, text: str, label: str, values: Iterable[str]) -> _StateSet:
        return _StateSet(name, text, label, values, self.registry)


def _word(mode: Mode) -> str:
    return mode.name.lower()


def _without_scale(name: str) -> str:
    return name.partition("[")[0]


def _limit_of(entry: Entry, name: str) -> str:
    plain = _without_scale(name)
    is_of_policy = entry.event == "set_limits" and plain not in ("mode", "authorised")
    return plain if plain in LIMITS and not is_of_policy else "policy"


def _certificate_digest() -> str:
    path = shipped_certificate()
    return "none" if path is None else hashlib.sha256(path.read_bytes()).hexdigest()[:16]
