"""The process of an isolated optimizer: `python -m optimizers.isolated_child`, spoken to over its pipes."""

import argparse
import os
import queue
import resource
import sys
import threading
from collections.abc import Mapping
from typing import Any, BinaryIO, Final

from optimizers import registry, wire
from optimizers.protocol import Optimizer, Space

EXIT_PROTOCOL: Final = 3


class Host:
    """Owns the optimizer, and carries out one request after the other."""

    def __init__(self) -> None:
        self._optimizer: Optimizer | None = None

    def answer(self, request: Mapping[str, Any]) -> dict[str, object]:
        """Carry out one request; what the optimizer raises becomes a fault."""
        try:
            return self._answer(request)
        except BaseException as error:  # noqa: BLE001 - it may raise anything, SystemExit too
            return {"mode": "idle", "gradient": None, "fault": _said(error)}

    def _answer(self, request: Mapping[str, Any]) -> dict[str, object]:
        operation, told = request["op"], {}
        if operation == "start":
            self._optimizer = registry.create(request["name"], Space(*request["space"]), request["settings"])
        optimizer = self._optimizer
        if optimizer is None:
            raise wire.WireError(f"{wire.text(operation)} came before start")
        if operation == "tell":
            optimizer.tell(wire.outcome(request["outcome"]))
        elif operation == "ask":
            told = wire.wished(optimizer.ask())
        elif operation == "state":
            told = {"state": dict(optimizer.state())}
        elif operation == "restore":
            optimizer.restore(request["state"])
        return {"mode": wire.mode(optimizer.mode), "gradient": wire.figure(optimizer.gradient), **told}


def confine(memory_bytes: int, cpu_s: int) -> None:
    """Give this process its limits for good: address space, CPU time, no core file."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def follow(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until they end.

    They are read in a thread of their own: this process ends with whoever started it, even while the
    optimizer hangs.
    """
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        while line := requests.readline(wire.LINE_MAX + 1):
            lines.put(line)
        os._exit(0)

    threading.Thread(target=read, name="requests", daemon=True).start()
    host, number = Host(), 0
    while True:
        number += 1
        answers.write(_encoded(host.answer(wire.decode(lines.get(), number)), number))
        answers.flush()


def main() -> None:
    """Confine this process, keep its pipes to itself, and follow requests."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--memory-bytes", type=int, required=True)
    parser.add_argument("--cpu-s", type=int, required=True)
    options = parser.parse_args()
    # What the optimizer prints goes to stderr; the pipe of the answers has another number.
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    quiet = os.open(os.devnull, os.O_RDONLY)
    os.dup2(quiet, 0)
    os.dup2(2, 1)
    os.close(quiet)
    confine(options.memory_bytes, options.cpu_s)
    try:
        follow(requests, answers)
    except wire.WireError as error:
        sys.stderr.write(f"{error}\n")
        os._exit(EXIT_PROTOCOL)


def _encoded(answer: Mapping[str, object], number: int) -> bytes:
    try:
        return wire.encode(answer, number)
    except wire.WireError as error:
        return wire.encode({"mode": "idle", "gradient": None, "fault": str(error)}, number)


def _said(error: BaseException) -> str:
    try:
        return wire.text(f"{type(error).__name__}: {error}")
    except BaseException:  # noqa: BLE001 - an exception's own text may raise
        return wire.text(type(error).__name__)


if __name__ == "__main__":
    main()
