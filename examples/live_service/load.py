"""An open load: requests arrive at random whether or not the earlier ones are answered."""

import argparse
import asyncio
import contextlib
import json
import random
import sys
import time
from typing import Final

import attrs

CONNECTIONS_MAX: Final = 1000


@attrs.frozen
class Phase:
    """A stretch of load.

    Args:
        seconds: How long it lasts.
        rate: Requests a second, arriving as a Poisson process.
        items: Items each request reserves.
    """

    seconds: float
    rate: float
    items: int


@attrs.frozen
class Answered:
    """One request as its client saw it.

    Attributes:
        arrived_s: When it was due, seconds of the clock of `time.monotonic`.
        latency_s: Until the answer was there, seconds.
        status: HTTP status, 0 if the connection broke.
    """

    arrived_s: float
    latency_s: float
    status: int


class Client:
    """Connections to the service, opened as needed and kept."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._opened = 0

    async def ask(self, target: str) -> int:
        """Return the status of a GET, 0 if no connection could be had or it broke."""
        if not self._free and not self._opened < CONNECTIONS_MAX:
            return 0
        try:
            reader, writer = self._free.pop() if self._free else await self._open()
            writer.write(f"GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode("ascii"))
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
            await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError):
            return 0
        self._free.append((reader, writer))
        return int(head.split(b" ", 2)[1])

    async def close(self) -> None:
        """Close what is open."""
        for _, writer in self._free:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self._opened += 1
        return await asyncio.open_connection("127.0.0.1", self._port)


async def offer(port: int, phases: list[Phase], known_items: int, seed: int) -> list[Answered]:
    """Offer the load phase by phase, and return what became of each request."""
    dice, client, answered = random.Random(seed), Client(port), list[Answered]()
    pending: set[asyncio.Task[None]] = set()

    async def one(due_s: float, target: str) -> None:
        status = await client.ask(target)
        answered.append(Answered(due_s, time.monotonic() - due_s, status))

    due_s = start_s = time.monotonic()
    for phase in phases:
        start_s += phase.seconds
        while (due_s := due_s + dice.expovariate(phase.rate)) < start_s:
            await asyncio.sleep(max(due_s - time.monotonic(), 0.0))
            items = ",".join(map(str, dice.sample(range(known_items), phase.items)))
            task = asyncio.create_task(one(due_s, f"/reserve?items={items}"))
            pending.add(task)
            task.add_done_callback(pending.discard)
        due_s = start_s
    if pending:
        await asyncio.wait(pending)
    await client.close()
    return answered


def main() -> None:
    """Offer a load from a process of its own; what became of it goes to stdout, a JSON array a request."""
    parser = argparse.ArgumentParser(description="The load.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--phases", required=True, help="Phases as JSON.")
    parser.add_argument("--items", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    phases = [Phase(**phase) for phase in json.loads(options.phases)]
    for one in asyncio.run(offer(options.port, phases, options.items, options.seed)):
        sys.stdout.write(json.dumps(attrs.astuple(one)) + "\n")


if __name__ == "__main__":
    main()
