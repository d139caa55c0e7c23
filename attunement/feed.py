"""Telemetry for those who may be slow or broken: each report, beside the loop and never in its way."""

import queue
import threading
from collections.abc import Callable
from typing import Final, Protocol

from attunement.foreign import described
from attunement.telemetry import CycleReport

CAPACITY: Final = 64
CLOSE_PATIENCE_S: Final = 2.0


class TelemetryConsumer(Protocol):
    """Receives each cycle's report in a thread of its own. What it makes of it reaches no decision."""

    def consume(self, report: CycleReport) -> None:
        """Take in one cycle's report, in the order of the cycles; an error ends the feed."""


class TelemetryFeed:
    """A subscriber that hands reports to one consumer and never waits for it.

    At most `capacity` reports wait; one that finds no room is lost, and counted. A consumer that raises is
    given no more, and somebody is told why, once.

    Args:
        consumer: Called from the feed's own thread alone.
        on_lost: Told, in the loop's thread, how many reports were lost just now.
        on_fault: Told, in the feed's thread, what the consumer raised.
        capacity: Most reports that wait.
    """

    def __init__(
        self,
        consumer: TelemetryConsumer,
        on_lost: Callable[[int], object],
        on_fault: Callable[[str], object],
        capacity: int = CAPACITY,
    ) -> None:
        self._consumer = consumer
        self._on_lost = on_lost
        self._on_fault = on_fault
        self._waiting: queue.Queue[CycleReport] = queue.Queue(capacity)
        self._closing = threading.Event()
        self._is_faulted = threading.Event()
        self._thread = threading.Thread(target=self._work, name="telemetry", daemon=True)
        self._thread.start()

    def on_report(self, report: CycleReport) -> None:
        """Pass a report on if there is room for it."""
        if self._is_faulted.is_set():
            return
        try:
            self._waiting.put_nowait(report)
        except queue.Full:
            self._on_lost(1)

    def close(self) -> None:
        """Hand out what waits and end; a consumer that hangs is left behind after two seconds."""
        self._closing.set()
        self._thread.join(CLOSE_PATIENCE_S)

    def _work(self) -> None:
        while True:
            try:
                report = self._waiting.get(timeout=0.05)
            except queue.Empty:
                if self._closing.is_set():
                    return
                continue
            try:
                self._consumer.consume(report)
            except Exception as error:  # noqa: BLE001 - a foreign consumer may raise anything
                self._is_faulted.set()
                self._on_fault(described(error))
                return
