"""The log: one event for each decision, as JSON or for a console, in UTC."""

import json
import sys
from collections.abc import Mapping, MutableMapping
from functools import partial
from pathlib import Path
from typing import Any, Final, TextIO

import structlog
from structlog.typing import WrappedLogger

from attunement.config_schema import LoggingConfig
from attunement.foreign import printable
from attunement.journal import names_of_broken
from attunement.telemetry import CycleReport
from attunement.telemetry_body import utc_now
from kernel import Entry, Outcome
from kernel.quantity import to_float

LEVELS: Final = ("debug", "info", "warning", "error")

_LEVEL_OF: Final = {
    Outcome.REFUSED: "warning",
    Outcome.REVERTED: "warning",
    Outcome.RETREATED: "error",
    Outcome.LATCHED: "error",
}


class LogError(Exception):
    """The log cannot be opened."""


class DecisionLog:
    """Writes what a run does; a subscriber.

    Members of each event: `timestamp` UTC, `level`, `event`. A `decision` has besides `decision` (what was
    decided on, as propose or settle), `verdict`, `cycle`, `actor`, `reason`, `kind`, `old_alpha`,
    `new_alpha`, `target`, `mode` and `broken`, the names of the limits that stood against it.

    A log that cannot be written any more is given up, for the ledger holds every decision; `fault` says why.

    Args:
        settings: Form, file and least level; without a form nothing is written.

    Raises:
        LogError: the file cannot be opened.
    """

    def __init__(self, settings: LoggingConfig) -> None:
        self.fault: str | None = None
        self._stream: TextIO = sys.stderr
        self._is_own = settings.format is not None and settings.file is not None
        if settings.file is not None and settings.format is not None:
            self._stream = _opened(Path(settings.file))
        self._logger: Any = None if settings.format is None else _logger(self._stream, settings.format)
        self.set_level(settings.level)

    def set_level(self, level: str) -> None:
        """Log from this level up."""
        self._least = LEVELS.index(level)

    def on_report(self, report: CycleReport) -> None:
        """Take in one cycle."""
        for entry in report.entries:
            self._decision(entry)

    def say(self, event: str, level: str = "info", **members: object) -> None:
        """Log another event."""
        if self._logger is None or self.fault is not None or LEVELS.index(level) < self._least:
            return
        try:
            getattr(self._logger, level)(event, **members)
        except (OSError, ValueError) as error:
            self.fault = f"the log is not written any more: {error}"

    def close(self) -> None:
        """Close the file, if there is one."""
        if not self._is_own:
            return
        try:
            self._stream.close()
        except OSError as error:
            self.fault = self.fault or f"the log is not written any more: {error}"

    def _decision(self, entry: Entry) -> None:
        outcome = entry.verdict.outcome
        is_quiet = outcome is Outcome.HELD and not entry.verdict.broken
        self.say(
            "decision",
            "debug" if is_quiet else _LEVEL_OF.get(outcome, "info"),
            decision=entry.event,
            verdict=outcome.value,
            cycle=entry.after.cycle,
            actor=printable(entry.actor),
            reason=printable(entry.reason),
            kind=None if entry.kind is None else entry.kind.name.lower(),
            old_alpha=to_float(entry.before.alpha),
            new_alpha=to_float(entry.after.alpha),
            target=None if entry.target is None else to_float(entry.target),
            mode=entry.after.mode.name.lower(),
            broken=list(names_of_broken(entry)),
        )


def _opened(path: Path) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A line at a time: what follows the log reads whole events.
        return path.open("a", encoding="utf-8", buffering=1)
    except OSError as error:
        raise LogError(f"logging.file {path} cannot be opened: {error.strerror}") from error


def _logger(stream: TextIO, form: str) -> Any:
    write_json = partial(json.dumps, ensure_ascii=False, allow_nan=False)
    renderer: Any = (
        structlog.processors.JSONRenderer(serializer=write_json)
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=stream.isatty(), sort_keys=False)
    )
    return structlog.wrap_logger(
        structlog.WriteLogger(stream),
        processors=[_stamped, renderer],
        wrapper_class=structlog.BoundLogger,
        context_class=dict,
        cache_logger_on_first_use=True,
    )


def _stamped(_logger: WrappedLogger, level: str, members: MutableMapping[str, Any]) -> Mapping[str, Any]:
    return {"timestamp": utc_now(), "level": level, **members}
