"""What goes along with a run and is never part of a decision: its log, its recording, reading again."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console

from attunement.assembly import Attunement
from attunement.build import build_cal_engine, build_engine, build_source
from attunement.config_schema import Config
from attunement.decision_log import DecisionLog
from attunement.engine import CalEngine
from attunement.printing import tell
from attunement.prometheus_engine import PrometheusEngine
from attunement.recording import Recorder, RecordingError, Tapped
from attunement.reloading import reload
from attunement.running import Stop
from attunement.spans import Spans, open_spans
from attunement.telemetry import CycleReport, Subscriber


class Screen(Protocol):
    """What a person sees of a run."""

    def on_report(self, report: CycleReport) -> None:
        """Show one cycle, in the thread that ran it."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class RunSide:
    """The engine of a run, with its log and, if there is one, its recording.

    Args:
        config: What the run is made with.
        record: File of the recording, None for none.
        path: The configuration's file, which SIGHUP has read again.
        flags: The --set flags, which stay above it.
        wait: Waits for the engine, so many seconds, and says whether the run is to end.

    Attributes:
        engine: The engine.
        log: The log.

    Raises:
        LogError, RecordingError, TracingError: a file or a library is not as it has to be.
        SourceError: the source cannot be used.
    """

    def __init__(
        self,
        config: Config,
        record: Path | None,
        path: Path | None,
        flags: Sequence[str],
        wait: Callable[[float], object],
    ) -> None:
        self._recorder: Recorder | None = None
        if record is None:
            self.engine: CalEngine | PrometheusEngine = build_engine(config, wait)
        else:
            self.engine, self._recorder = _recorded(config, record)
        self.log = DecisionLog(config.logging)
        self._spans: Spans | None = open_spans(config)
        self._config = config
        self._path = path
        self._flags = tuple(flags)

    @property
    def subscribers(self) -> tuple[Subscriber, ...]:
        """Those who are told of each cycle."""
        return tuple(one for one in (self.log, self._recorder, self._spans) if one is not None)

    @property
    def faults(self) -> tuple[str, ...]:
        """What could not be written to its end."""
        told = (one.fault for one in (self.log, self._recorder) if one is not None)
        return tuple(fault for fault in told if fault is not None)

    def between_cycles(self, attunement: Attunement, stop: Stop) -> None:
        """Read the configuration again if that is wanted, and say what was taken in and what was not."""
        if not stop.is_reload_wanted:
            return
        stop.is_reload_wanted = False
        reloaded = reload(self._path, os.environ, self._flags, self._config)
        self._config = reloaded.config
        self.log.set_level(reloaded.config.logging.level)
        attunement.reconfigure(reloaded.config)
        said = [f"reloaded {line}" for line in reloaded.taken]
        said += [f"not reloaded: {line}" for line in reloaded.refused]
        for line in said or ["reloaded: nothing has changed"]:
            tell(line)
        self.log.say("reload", taken=list(reloaded.taken), refused=list(reloaded.refused))

    def __enter__(self) -> Self:
        self.log.say("run started", ledger=self._config.logging.audit_ledger_path, pid=os.getpid())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.log.say("run failed", "error", error=str(error))
        for one in (self._recorder, self._spans, self.log):
            if one is not None:
                one.close()


class RunConsole(Console):
    """One whose reader may go away without taking the process along, as Rich's own would have it."""

    def on_broken_pipe(self) -> None:
        """Have the error that is being handled come through to the screen."""
        raise


class GuardedScreen:
    """A screen that may go away with its terminal, or its reader: the run then ends in order.

    Args:
        screen: The screen.
        stop: Is set when the terminal or the reader is gone.
    """

    def __init__(self, screen: Screen, stop: Stop) -> None:
        self._screen = screen
        self._stop = stop

    def on_report(self, report: CycleReport) -> None:
        """Take in one cycle.

        Raises:
            OSError: what is written to takes nothing for another reason, as a full disk.
        """
        try:
            self._screen.on_report(report)
        except OSError:
            if not self._is_gone():
                raise

    def close(self) -> None:
        """Leave the last screen standing, if there is one."""
        try:
            self._screen.close()
        except OSError:
            if not self._is_gone():
                raise

    def _is_gone(self) -> bool:
        stop = self._stop
        return stop.ends_without_terminal() or stop.is_hung_up or stop.ends_without_reader()


def _recorded(config: Config, record: Path) -> tuple[CalEngine, Recorder]:
    # A foreign plant cannot be run again on what came in, so there is nothing to record it for.
    if config.engine.kind != "cal":
        raise RecordingError(f"engine.kind is {config.engine.kind}, must be cal for a session to be recorded")
    tapped = Tapped(build_source(config))
    engine = build_cal_engine(config, tapped)
    return engine, Recorder(record, config, tapped, engine)
