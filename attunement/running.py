"""One run of an engine under attunement, until its cycles are done or somebody stops it."""

import os
import queue
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Protocol

import attrs

from attunement.printing import is_unread, lead_nowhere
from attunement.sources import SourceExhaustedError

_STANDARD = (0, 1, 2)


class SteppedEngine(Protocol):
    """An engine that advances when it is told to."""

    def run_cycle(self) -> None:
        """Run one cycle.

        Raises:
            SourceExhaustedError: the source has come to its end.
            SourceError: the source cannot deliver.
        """


class StopSignal(Protocol):
    """What a run asks between its cycles: a `Stop`, or a `threading.Event` that no signal handler sets."""

    def is_set(self) -> bool:
        """Say whether the run is to end."""

    def wait(self, timeout: float) -> bool:
        """Wait at most timeout seconds for the end that is wanted, and say whether it is."""


@attrs.frozen
class Ending:
    """Why a run ended."""

    cycles: int
    cause: str


def run_cycles(
    engine: SteppedEngine,
    cycles: int | None,
    pause_s: float,
    stop: StopSignal,
    after_cycle: Callable[[], object] = lambda: None,
) -> Ending:
    """Run the engine cycle by cycle.

    Args:
        engine: Calls whoever follows it at the end of each cycle.
        cycles: How many, None for no end.
        pause_s: Wait after each cycle, seconds; a stop ends the wait.
        stop: Set by whoever wants the run to end.
        after_cycle: Called after each cycle.

    Raises:
        SourceError: the source cannot deliver; coming to its end is an ending, not an error.
    """
    done = 0
    while not stop.is_set():
        if cycles is not None and not done < cycles:
            return Ending(done, "all cycles are done")
        try:
            engine.run_cycle()
        except SourceExhaustedError as error:
            return Ending(done, str(error))
        done += 1
        after_cycle()
        stop.wait(pause_s)
    return Ending(done, "stopped")


class Stop:
    """Set by whoever wants the run to end, a signal handler included.

    A handler runs between any two steps of the main thread, also while that holds the lock of an Event it
    waits for: to set the Event would then wait for itself, for ever. A `SimpleQueue` may always be put to.

    Attributes:
        cause: Why, in words.
        is_reload_wanted: Whether the configuration is to be read again, which a run does between cycles.
        is_hung_up: Whether the terminal is gone.
        signals: How many signals have asked for the end.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.cause = "stopped"
        self.is_reload_wanted = False
        self.is_hung_up = False
        self.signals = 0
        self._terminals = [descriptor for descriptor in _STANDARD if os.isatty(descriptor)]
        # One that was closed from the start may be anything by now.
        printed = ((1, sys.__stdout__), (2, sys.__stderr__))
        self._printed = [descriptor for descriptor, stream in printed if stream is not None]

    def is_set(self) -> bool:
        """Say whether the run is to end."""
        return self._is_set

    def set(self) -> None:
        """Have the run end, and end a wait."""
        self._is_set = True
        self._wake.put(None)

    def wait(self, timeout: float) -> bool:
        """Wait at most timeout seconds for the end that is wanted, and say whether it is."""
        if not self._is_set:
            with suppress(queue.Empty):
                self._wake.get(timeout=timeout)
        return self._is_set

    def hang_up(self) -> None:
        """End the run if the terminal it was started at is gone, else have the configuration read again."""
        if not (self.ends_without_terminal() or self.is_hung_up):
            self.is_reload_wanted = True

    def ends_without_terminal(self) -> bool:
        """Say whether the terminal it was started at is gone; then what is written there goes nowhere."""
        gone = [descriptor for descriptor in self._terminals if not os.isatty(descriptor)]
        lead_nowhere(gone)
        if gone:
            self._terminals = []
            self.is_hung_up = True
            self.cause = "the terminal was closed"
            self.set()
        return bool(gone)

    def ends_without_reader(self) -> bool:
        """Say whether nobody reads what is printed any more; then what is written there goes nowhere.

        The run ends when it is the figures that nobody reads; messages alone are no reason to.
        """
        unread = [descriptor for descriptor in self._printed if is_unread(descriptor)]
        lead_nowhere(unread)
        if 1 in unread:
            self.cause = "the output was closed"
            self.set()
        return bool(unread)


@contextmanager
def stopped_by_signals() -> Iterator[Stop]:
    """Turn SIGINT, SIGTERM and the end of the terminal into an event while the block runs.

    SIGHUP while the terminal is there, or where there never was one, asks for the configuration to be read
    again.
    """
    stop = Stop()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            stop.hang_up()
        else:
            stop.signals += 1
            stop.set()

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, on_signal) for number in signals}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
