"""OpenTelemetry spans of a run, off by default: one for each trial, and one for each other decision."""

import time
from typing import Any, Final

from attunement.config_schema import Config
from attunement.foreign import printable
from attunement.journal import names_of_broken
from attunement.telemetry import CycleReport
from kernel import Entry, Mode, Outcome
from kernel.quantity import to_float

SERVICE: Final = "lambda-attunement"


class TracingError(Exception):
    """Spans are wanted, and cannot be made."""


class Spans:
    """Tells a tracer of decisions; a subscriber.

    A span `alpha.trial` lasts from the proposal that was accepted to the decision that ended it; whatever
    else was decided, and did not just hold, is a span `alpha.decision` without length. Attributes begin with
    `attunement.`: event, verdict, cycle, actor, mode, old_alpha, new_alpha, and broken.

    Args:
        provider: An OpenTelemetry tracer provider; `close` shuts it down.
    """

    def __init__(self, provider: Any) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer(SERVICE)
        self._trial: Any = None

    def on_report(self, report: CycleReport) -> None:
        """Take in one cycle."""
        now_ns = time.time_ns()
        for entry in report.entries:
            if entry.before.mode is Mode.TRIAL and entry.after.mode is not Mode.TRIAL:
                self._end(entry, now_ns)
            elif entry.verdict.outcome is Outcome.ACCEPTED:
                self._trial = self._begun("alpha.trial", entry, now_ns)
            elif entry.verdict.outcome is not Outcome.HELD or entry.verdict.broken:
                self._begun("alpha.decision", entry, now_ns).end(end_time=now_ns)

    def close(self) -> None:
        """End an open trial's span, and hand out what waits."""
        if self._trial is not None:
            self._trial.end()
        self._provider.shutdown()

    def _begun(self, name: str, entry: Entry, now_ns: int) -> Any:
        return self._tracer.start_span(name, start_time=now_ns, attributes=_attributes(entry))

    def _end(self, entry: Entry, now_ns: int) -> None:
        # A trial that was open at the start has no beginning here.
        span = self._trial or self._begun("alpha.trial", entry, now_ns)
        for name, value in _attributes(entry).items():
            span.set_attribute(name.replace("attunement.", "attunement.end."), value)
        span.end(end_time=now_ns)
        self._trial = None


def open_spans(config: Config) -> Spans | None:
    """Return spans that go to the OTLP endpoint of the environment, None when they are off.

    The endpoint is `OTEL_EXPORTER_OTLP_ENDPOINT`, http://localhost:4318 by default.

    Raises:
        TracingError: the extra `tracing` is not installed.
    """
    if not config.logging.spans:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise TracingError(
            "logging.spans is true and needs OpenTelemetry: pip install 'lambda-attunement[tracing]'"
        ) from error
    provider = TracerProvider(resource=Resource.create({"service.name": SERVICE}))
    # The batches are sent by a thread of their own: the loop does not wait for them.
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Spans(provider)


def _attributes(entry: Entry) -> dict[str, Any]:
    return {
        "attunement.event": entry.event,
        "attunement.verdict": entry.verdict.outcome.value,
        "attunement.cycle": entry.after.cycle,
        "attunement.actor": printable(entry.actor),
        "attunement.mode": entry.after.mode.name.lower(),
        "attunement.old_alpha": to_float(entry.before.alpha),
        "attunement.new_alpha": to_float(entry.after.alpha),
        "attunement.broken": list(names_of_broken(entry)),
    }
