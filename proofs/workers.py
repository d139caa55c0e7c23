"""Worker processes under a watchdog: what hangs is killed, and the kill is an answer."""

import multiprocessing
import multiprocessing.connection
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

import attrs

A = TypeVar("A")
R = TypeVar("R")

WORKERS = 2
DEADLINE_S = 120.0
STARTED = "started"
START_S = 120.0
"""Time a fresh process has to import what it needs; it counts towards no task's deadline."""


class WorkerError(RuntimeError):
    """A worker process does not start, or is asked for what it was not given."""


@attrs.frozen
class Answer(Generic[R]):
    """What became of one task: its value, or why there is none."""

    index: int
    value: R | None
    failure: str = ""


def run_all(
    function: Callable[[A], R], tasks: Sequence[A], workers: int = WORKERS, deadline_s: float = DEADLINE_S
) -> Iterator[Answer[R]]:
    """Apply a module's function to every task in worker processes; answers come as they are ready.

    A task that takes longer than the deadline, or whose process dies, or that raises, is answered with the
    reason; the process is replaced, and the other tasks go on.

    Raises:
        WorkerError: a process does not start.
    """
    waiting = list(enumerate(tasks))[::-1]
    staff = [_Worker(function) for _ in range(min(workers, len(waiting)))]
    try:
        for worker in staff:
            worker.give(*waiting.pop())
        while busy := [worker for worker in staff if worker.index is not None]:
            for worker in _ready(busy, deadline_s):
                yield worker.take(deadline_s)
                if waiting:
                    worker.give(*waiting.pop())
    finally:
        for worker in staff:
            worker.dismiss()


class _Worker:
    """One process and its pipe; owned by the loop in `run_all`, used from its thread only."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function
        self._context = multiprocessing.get_context("spawn")
        self.index: int | None = None
        self.started = False
        self.since_s = 0.0
        self.process: BaseProcess
        self.pipe: Connection
        self._engage()

    def give(self, index: int, task: object) -> None:
        if not self.started:
            self._await_start()
        self.index, self.since_s = index, time.monotonic()
        self.pipe.send(task)

    def take(self, deadline_s: float) -> Answer[Any]:
        index, self.index = self.index, None
        if index is None:
            raise WorkerError("an idle worker has no answer")
        failure = f"no answer within {deadline_s:g} s"
        if self.pipe.poll():
            try:
                value, failure = self.pipe.recv()
            except EOFError:
                failure = "the worker process died"
            else:
                return Answer(index, value, failure)
        self.dismiss()
        self._engage()
        return Answer(index, None, failure)

    def dismiss(self) -> None:
        self.pipe.close()
        self.process.kill()
        self.process.join()
        self.process.close()

    def _await_start(self) -> None:
        if not self.pipe.poll(START_S):
            raise WorkerError(f"a worker process did not start within {START_S:g} s")
        try:
            self.started = self.pipe.recv() == STARTED
        except EOFError as error:
            raise WorkerError("a worker process died before it started") from error

    def _engage(self) -> None:
        self.pipe, theirs = self._context.Pipe()
        self.process = self._context.Process(target=_serve, args=(self._function, theirs), daemon=True)
        self.process.start()
        self.started = False
        theirs.close()


def _ready(busy: Sequence[_Worker], deadline_s: float) -> list[_Worker]:
    now_s = time.monotonic()
    patience_s = min(worker.since_s + deadline_s - now_s for worker in busy)
    answered = multiprocessing.connection.wait([worker.pipe for worker in busy], max(0.0, patience_s))
    now_s = time.monotonic()
    return [worker for worker in busy if worker.pipe in answered or now_s - worker.since_s >= deadline_s]


def _serve(function: Callable[[Any], Any], pipe: Connection) -> None:
    pipe.send(STARTED)
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        try:
            reply = (function(task), "")
        except Exception as error:  # noqa: BLE001 - the reason travels to the process that asked
            reply = (None, f"{type(error).__name__}: {error}")
        pipe.send(reply)
