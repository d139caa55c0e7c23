"""One run of an engine under attunement, until its cycles are done or somebody stops it."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol

import attrs

from attunement.sources import SourceExhaustedError


class SteppedEngine(Protocol):
    """An engine that advances when it is told to."""

    def run_cycle(self) -> None: ...


@attrs.frozen
class Ending:
    """Why a run ended."""

    cycles: int
    cause: str


def run_cycles(
    engine: SteppedEngine,
    cycles: int | None,
    pause_s: float,
    stop: threading.Event,
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


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """Turn SIGINT and SIGTERM into an event while the block runs."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
