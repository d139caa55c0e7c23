"""When checkpoints are due, and the thread that sees to it, whether records come or not."""

import threading
import time
from collections.abc import Callable
from typing import Final

import attrs


@attrs.frozen
class Cadence:
    """A checkpoint is due after so many records, or so many seconds after the first that none covers."""

    records: int = attrs.field(default=1024, validator=attrs.validators.ge(1))
    seconds: float = attrs.field(default=10.0, validator=attrs.validators.gt(0.0))


DEFAULT: Final = Cadence()


class Reminder:
    """Calls, in a thread of its own, whenever a checkpoint is due.

    Args:
        cadence: when it is due.
        call: what is called; it must not raise.
    """

    def __init__(self, cadence: Cadence, call: Callable[[], object]) -> None:
        self._cadence: Final = cadence
        self._call: Final = call
        # Guards what follows it.
        self._changed: Final = threading.Condition()
        # Monotonic time in seconds of the next call; None while no record waits for one.
        self._due: float | None = None
        self._is_stopped = False
        self._thread: Final = threading.Thread(target=self._run, name="ledger-checkpoints", daemon=True)

    def start(self) -> None:
        """Begin to call."""
        self._thread.start()

    def note(self, uncovered: int) -> None:
        """Take in how many records no checkpoint covers, and none that is being written; at least one."""
        if uncovered < self._cadence.records and self._due is not None:
            return
        with self._changed:
            now = time.monotonic()
            if uncovered >= self._cadence.records:
                self._due = now
            elif self._due is None:
                self._due = now + self._cadence.seconds
            self._changed.notify()

    def stop(self) -> None:
        """Call no more, and wait for a call that is under way."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while self._wait():
            self._call()

    def _wait(self) -> bool:
        with self._changed:
            while not self._is_stopped:
                now = time.monotonic()
                if self._due is None:
                    self._changed.wait()
                elif now < self._due:
                    self._changed.wait(min(self._due - now, threading.TIMEOUT_MAX))
                else:
                    self._due = None
                    return True
            return False
