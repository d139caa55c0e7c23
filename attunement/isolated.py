"""An optimizer in a process of its own, with limits on its time and memory.

A process that hangs, ends, or sends what is no answer is killed, which costs one refused cycle; then it is
started anew, after a pause that doubles with every failure, and passed over until it is ready. A new process
begins with the memory that was restored at the start, not with what the old one had learnt.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import attrs

from optimizers import wire
from optimizers.errors import OptimizerError, OptimizerSettingError, OptimizerStateError
from optimizers.protocol import HOLD, Hold, Mode, Outcome, Space, State, Suggestion

FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 60.0
GOOD_ANSWERS: Final = 100
"""Answers in a row after which a process counts as sound: the next failure waits the first pause again."""
_CHUNK = 1 << 16
_Told = TypeVar("_Told")
_Read = TypeVar("_Read")


class IsolationError(OptimizerError):
    """The process of an optimizer failed, or told that the optimizer did."""


@attrs.frozen
class Confinement:
    """What one process may use.

    Args:
        memory_bytes: Address space.
        cpu_s: CPU time of one process, from its start to its end, seconds.
        answer_s: Longest wait for an answer, seconds.
        start_s: Longest wait for a new process to be ready, seconds.
    """

    memory_bytes: int
    cpu_s: int
    answer_s: float
    start_s: float = 30.0


class IsolatedOptimizer:
    """Passes every call on to a process of its own.

    Args:
        name: Name of the optimizer, also one of another package.
        space: Limits of α.
        settings: As for `registry.create`.
        confinement: What the process may use.
        clock: Seconds that rise.

    Raises:
        OptimizerSettingError: the first process could not be made ready.
    """

    def __init__(
        self,
        name: str,
        space: Space,
        settings: Mapping[str, object],
        confinement: Confinement,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.mode: Mode = "idle"
        self.gradient: float | None = None
        self._start = {"op": "start", "name": name, "space": attrs.astuple(space), "settings": dict(settings)}
        self._confinement = confinement
        self._clock = clock
        self._memory: dict[str, Any] | None = None
        self._failures = 0
        self._good = 0
        self._retry_s = 0.0
        self._starting: float | None = None
        self._child: _Child | None = self._spawned()
        try:
            self._hear(self._child, self._child.number, confinement.start_s)
        except IsolationError as error:
            self.close()
            raise OptimizerSettingError(f"optimizer {name} cannot be made: {error}") from error

    @property
    def pid(self) -> int | None:
        """Number of the present process, None while there is none."""
        return None if self._child is None else self._child.pid

    def tell(self, outcome: Outcome) -> None:
        """Pass one outcome on; nothing while no process is ready.

        Raises:
            IsolationError: the process failed, or the optimizer raised.
        """
        if self._is_ready():
            self._exchange({"op": "tell", "outcome": wire.told(outcome)})

    def ask(self) -> Suggestion | Hold:
        """Ask for a wish; HOLD while no process is ready.

        Raises:
            IsolationError: the process failed, the optimizer raised, or what it wishes is no wish.
        """
        if not self._is_ready():
            return HOLD
        return self._understood(wire.wish, self._exchange({"op": "ask"}))

    def state(self) -> State:
        """Ask for the memory.

        Raises:
            IsolationError: no process is ready, it failed, or the optimizer raised.
        """
        if not self._is_ready():
            raise IsolationError("optimizer process is not ready, its memory is unknown")
        stored = self._exchange({"op": "state"}).get("state")
        if not isinstance(stored, dict):
            raise IsolationError("optimizer process told no memory")
        return stored

    def restore(self, state: Mapping[str, object]) -> None:
        """Give the memory back; a process that has to be started anew gets it as well.

        Raises:
            OptimizerStateError: the optimizer did not take it.
        """
        memory = dict(state)
        try:
            self._exchange({"op": "restore", "state": memory})
        except (IsolationError, wire.WireError) as error:
            raise OptimizerStateError(str(error)) from error
        self._memory = memory

    def close(self) -> None:
        """Kill the process, and start no other."""
        self._retry_s = float("inf")
        self._drop()

    def _is_ready(self) -> bool:
        now_s = self._clock()
        if self._child is None and now_s >= self._retry_s:
            self._child, self._starting = self._spawned(), now_s
        if self._child is None or self._starting is None:
            return self._child is not None
        return self._has_started(self._child, now_s - self._starting)

    def _has_started(self, child: "_Child", waited_s: float) -> bool:
        try:
            self._hear(child, 1, 0.0)
        except _SilenceError:
            if not waited_s < self._confinement.start_s:
                self._fail()
            return False
        except IsolationError:
            self._fail()
            return False
        self._starting = None
        if self._memory is None:
            return True
        try:
            self._exchange({"op": "restore", "state": self._memory})
        except IsolationError:
            return False
        return True

    def _exchange(self, request: Mapping[str, object]) -> dict[str, Any]:
        child = self._child
        if child is None:
            raise IsolationError("optimizer process is not running")
        try:
            answer = self._hear(child, child.send(request), self._confinement.answer_s)
        except _FaultError:
            raise
        except IsolationError:
            self._fail()
            raise
        self._good += 1
        if self._good >= GOOD_ANSWERS:
            self._failures = 0
        return answer

    def _hear(self, child: "_Child", number: int, wait_s: float) -> dict[str, Any]:
        answer = self._understood(lambda line: wire.decode(line, number), child.line(wait_s))
        self.mode, self.gradient = wire.mode(answer.get("mode")), wire.figure(answer.get("gradient"))
        if "fault" in answer:
            raise _FaultError(wire.text(answer["fault"]))
        return answer

    def _understood(self, read: Callable[[_Told], _Read], told: _Told) -> _Read:
        try:
            return read(told)
        except wire.WireError as error:
            self._fail()
            raise IsolationError(f"optimizer process was killed: {error}") from error

    def _fail(self) -> None:
        if self._child is None:
            return
        self._drop()
        pause_s = min(FIRST_PAUSE_S * 2.0**self._failures, LONGEST_PAUSE_S)
        self._retry_s = max(self._clock() + pause_s, self._retry_s)
        self._failures, self._good = min(self._failures + 1, 30), 0

    def _drop(self) -> None:
        child, self._child, self._starting = self._child, None, None
        self.mode, self.gradient = "idle", None
        if child is not None:
            child.kill()

    def _spawned(self) -> "_Child":
        child = _Child(self._confinement)
        child.send(self._start)
        return child


class _SilenceError(IsolationError):
    """Nothing came in time."""


class _FaultError(IsolationError):
    """The optimizer raised; its process is sound."""


class _Child:
    """One process, and the lines to and from it."""

    def __init__(self, confinement: Confinement) -> None:
        command = [sys.executable, "-P", "-m", "optimizers.isolated_child"]
        command += ["--memory-bytes", str(confinement.memory_bytes), "--cpu-s", str(confinement.cpu_s)]
        self._send_s = confinement.answer_s
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            start_new_session=True,
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._input, False)
        os.set_blocking(self._output, False)
        self._read = b""
        self.number = 0

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, request: Mapping[str, object]) -> int:
        """Write a request, and return its number."""
        self.number += 1
        left, end_s = wire.encode(request, self.number), time.monotonic() + self._send_s
        while left:
            if not self._can(self._input, selectors.EVENT_WRITE, end_s):
                raise _SilenceError(f"optimizer process took no request within {self._send_s:g} s")
            try:
                left = left[os.write(self._input, left) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise IsolationError(f"optimizer process {self._end()}") from error
        return self.number

    def line(self, wait_s: float) -> bytes:
        """Return the one line that is awaited."""
        end_s = time.monotonic() + wait_s
        while b"\n" not in self._read:
            if not self._can(self._output, selectors.EVENT_READ, end_s):
                raise _SilenceError(f"optimizer process gave no answer within {wait_s:g} s and was killed")
            try:
                chunk = os.read(self._output, _CHUNK)
            except BlockingIOError:
                continue
            self._read += chunk
            if not chunk or not len(self._read) <= wire.LINE_MAX:
                said = self._end() if not chunk else f"sent more than {wire.LINE_MAX} bytes and was killed"
                raise IsolationError(f"optimizer process {said}")
        line, _, rest = self._read.partition(b"\n")
        if rest:
            raise IsolationError("optimizer process sent more than one answer and was killed")
        self._read = b""
        return line

    def kill(self) -> None:
        """Kill the process with all that it has started, and give its pipes back."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def _can(self, descriptor: int, event: int, end_s: float) -> bool:
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, event)
            return bool(selector.select(max(end_s - time.monotonic(), 0.0)))

    def _end(self) -> str:
        try:
            code = self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            return "closed its pipe and was killed"
        return f"ended with exit code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"


def _environment() -> dict[str, str]:
    # Nothing of the parent's environment but what finds programs and packages: it may hold secrets.
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
