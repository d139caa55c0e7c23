"""Alerts: trials that are taken back again and again are recorded, and somebody is told."""

import json
import shlex
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress

import attrs

from attunement.config_schema import EscalationConfig
from attunement.controller import ACTOR
from attunement.foreign import described, printable
from attunement.order_book import ALERT, FAILED, RAISED, SCHEMA
from attunement.telemetry import CycleReport, is_taken_back
from kernel.quantity import to_float
from ledger import JsonValue, LedgerError, Receipt

BACKOFF_DOUBLINGS = 5

_SHOWN_MAX = 200


class EscalationError(Exception):
    """The command that tells of an alert failed."""


@attrs.frozen
class Alert:
    """What is told.

    Attributes:
        sequence: The alert's record in the ledger.
        taken_back: Trials taken back within the window.
        window: The window, in cycles.
        cycle: Number of the cycle.
        alpha: α in force.
        mode: What the kernel is in.
    """

    sequence: int
    taken_back: int
    window: int
    cycle: int
    alpha: float
    mode: str


Hook = Callable[[Alert], object]


class CommandHook:
    """Runs a command for each alert, without a shell; the alert is on its input, as one JSON object.

    Args:
        command: The command, its words split as a shell would.
        timeout_s: Time it may take, seconds; then it is killed.
    """

    def __init__(self, command: str, timeout_s: float) -> None:
        self._words = shlex.split(command)
        self._timeout_s = timeout_s

    def __call__(self, alert: Alert) -> None:
        """Run it, and wait for its end.

        Raises:
            EscalationError: it cannot be started, takes too long, or ends with another code than 0.
        """
        try:
            done = subprocess.run(
                self._words,
                input=json.dumps(attrs.asdict(alert), allow_nan=False).encode(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=self._timeout_s,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EscalationError(str(error)) from error
        if done.returncode != 0:
            said = done.stderr.decode("utf-8", errors="replace").strip()[:_SHOWN_MAX]
            raise EscalationError(f"command ended with {done.returncode}: {said}")


def command_hook(settings: EscalationConfig) -> Hook | None:
    """Return the hook that settings describe, None if they name no command."""
    return None if settings.command is None else CommandHook(settings.command, settings.command_timeout)


class Escalation:
    """Watches a controller's reports, and raises an alert when too many trials are taken back.

    After an alert it is silent for a while, twice as long after each (up to 2**5 times), and as long as at
    first again once a whole window passed without a trial taken back.

    Args:
        settings: How many, in which window, and the first silence.
        append: Records an alert, and returns once it is durable.
        hook: Is told each alert once it is recorded, in a thread of its own; what it raises is recorded.
    """

    def __init__(
        self,
        settings: EscalationConfig,
        append: Callable[[Mapping[str, JsonValue]], Receipt],
        hook: Hook | None = None,
    ) -> None:
        self._settings = settings
        self._append = append
        self._hook = hook
        self._threads: list[threading.Thread] = []
        # In cycles, counted from the first report: when trials were taken back, and when silence ends.
        self._now = 0
        self._taken_back: deque[int] = deque()
        self._silent_until = 0
        self._backoff = settings.backoff

    def on_report(self, report: CycleReport) -> None:
        """Take in one cycle.

        Raises:
            LedgerError: the alert could not be recorded.
        """
        self._now += 1
        self._taken_back.extend(self._now for entry in report.entries if is_taken_back(entry))
        while self._taken_back and not self._taken_back[0] > self._now - self._settings.window:
            self._taken_back.popleft()
        if not self._taken_back:
            self._backoff = self._settings.backoff
        if len(self._taken_back) >= self._settings.reverts and self._now >= self._silent_until:
            self._silent_until = self._now + self._backoff
            self._backoff = min(2 * self._backoff, self._settings.backoff << BACKOFF_DOUBLINGS)
            self._raise(report)

    def reconfigure(self, settings: EscalationConfig) -> None:
        """Go on with other settings; a silence that has begun lasts as long as it was to last."""
        if (settings.command, settings.command_timeout) != (
            self._settings.command,
            self._settings.command_timeout,
        ):
            self._hook = command_hook(settings)
        self._settings = settings
        self._backoff = settings.backoff

    def close(self) -> None:
        """Wait until every hook has ended."""
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _raise(self, report: CycleReport) -> None:
        state, count, window = report.state, len(self._taken_back), self._settings.window
        reason = f"{count} trials taken back in {window} cycles"
        receipt = self._append(_body(RAISED, reason, {"alpha": state.alpha, "cycle": state.cycle}))
        mode = state.mode.name.lower()
        alert = Alert(receipt.sequence, count, window, state.cycle, to_float(state.alpha), mode)
        if self._hook is not None:
            thread = threading.Thread(target=self._tell, args=(self._hook, alert), name="alert", daemon=True)
            self._threads = [one for one in self._threads if one.is_alive()] + [thread]
            thread.start()

    def _tell(self, hook: Hook, alert: Alert) -> None:
        try:
            hook(alert)
        except Exception as error:  # noqa: BLE001 - a foreign hook may raise anything
            reason = f"hook for alert {alert.sequence}: {described(error)}"
            # A ledger that takes no record is stopped, which the kernel's next decision meets.
            with suppress(LedgerError):
                self._append(_body(FAILED, reason, {"alert": alert.sequence}))


def _body(verdict: str, reason: str, figures: dict[str, JsonValue]) -> dict[str, JsonValue]:
    return {
        "actor": ACTOR,
        "event": ALERT,
        "reason": printable(reason),
        "schema": SCHEMA,
        "verdict": verdict,
        **figures,
    }
