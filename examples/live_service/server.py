"""A reservation service whose right concurrency nobody can write down.

A request reserves a few items: it locks them one after the other in the order it names them, as an
interactive transaction does, and makes a downstream call under each lock. Locks that are not free are
waited for; a wait that takes too long aborts the attempt, which lets its locks go and begins again. With few
requests at once the service idles; with many, most of them hold locks and wait for each other (the thrashing
of two-phase locking), and answers come too late to be of use.

At most limit = base·α requests are worked on at once. Those beyond wait in a queue, and are shed when they
waited too long. The downstream call is a timed wait; all else happens: sockets, queues, locks, deadlocks.

    GET /reserve?items=3,17,42    200 reserved, 504 given up, 503 shed
    GET /stats                    cumulative counters as JSON
    PUT /limit {"alpha": 1.02}    the limit from now on
"""

import argparse
import asyncio
import bisect
import json
import math
import random
from collections import deque
from typing import Final
from urllib.parse import parse_qs, urlsplit

import attrs

BUCKETS_S: Final = tuple(0.02 * 1.25**exponent for exponent in range(20))
"""Upper ends of the latency histogram, seconds; one more bucket holds the rest."""
BODY_MAX: Final = 1024
ITEMS_MAX: Final = 8
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 503: "Service Unavailable", 504: "Timeout"}


@attrs.frozen
class Settings:
    """How the service behaves.

    Args:
        base: Requests at once at α = 1.
        pool: Hard ceiling of requests at once.
        items: Items that can be reserved.
        downstream_s: Length of the downstream call under each lock, seconds.
        lock_wait_s: Longest wait for a lock, seconds.
        deadline_s: Time from arrival in which an answer is of use, seconds.
        patience_s: Time from arrival after which the service gives up, seconds.
        queue_wait_s: Longest wait for admission, seconds.
    """

    base: int = 30
    pool: int = 60
    items: int = 60
    downstream_s: float = 0.015
    lock_wait_s: float = 0.06
    deadline_s: float = 0.4
    patience_s: float = 0.6
    queue_wait_s: float = 0.08


class Admission:
    """Lets as many in as the limit says, first come first served."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def set_limit(self, limit: int) -> None:
        """Change the limit; whoever fits in now is let in."""
        self.limit = limit
        self._admit()

    async def enter(self, wait_s: float) -> bool:
        """Wait for admission, and say whether it came in time."""
        if self.in_flight < self.limit:
            self.in_flight += 1
            return True
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        done, _ = await asyncio.wait((turn,), timeout=wait_s)
        if done:
            return True
        turn.cancel()
        return False

    def leave(self) -> None:
        """Make room."""
        self.in_flight -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self.in_flight < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self.in_flight += 1


@attrs.define
class Counters:
    """What happened since the start."""

    in_time: int = 0
    late: int = 0
    shed: int = 0
    aborted: int = 0
    latencies: list[int] = attrs.field(factory=lambda: [0] * (len(BUCKETS_S) + 1))


class Service:
    """The service without its sockets."""

    def __init__(self, settings: Settings, seed: int = 0) -> None:
        self.settings = settings
        self.counters = Counters()
        self.alpha = 1.0
        self._admission = Admission(settings.base)
        self._locks = [asyncio.Lock() for _ in range(settings.items)]
        self._dice = random.Random(seed)

    def set_alpha(self, alpha: object) -> bool:
        """Apply α if it is a number that gives a limit of 1 up to the pool."""
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(alpha):
            return False
        limit = round(self.settings.base * alpha)
        if not 1 <= limit <= self.settings.pool:
            return False
        self.alpha = float(alpha)
        self._admission.set_limit(limit)
        return True

    def stats(self) -> dict[str, object]:
        """Return the counters, α and the limit."""
        return {**attrs.asdict(self.counters), "alpha": self.alpha, "limit": self._admission.limit}

    async def reserve(self, items: list[int]) -> int:
        """Reserve items, and return the HTTP status."""
        loop = asyncio.get_running_loop()
        arrived_s = loop.time()
        if not await self._admission.enter(self.settings.queue_wait_s):
            self.counters.shed += 1
            return 503
        try:
            async with asyncio.timeout_at(arrived_s + self.settings.patience_s):
                while not await self._attempt(items):
                    self.counters.aborted += 1
                    await asyncio.sleep(self._dice.uniform(0.0, 2 * self.settings.downstream_s))
        except TimeoutError:
            self._took(loop.time() - arrived_s)
            return 504
        finally:
            self._admission.leave()
        self._took(loop.time() - arrived_s)
        return 200

    async def _attempt(self, items: list[int]) -> bool:
        held: list[asyncio.Lock] = []
        try:
            for item in items:
                lock = self._locks[item]
                try:
                    async with asyncio.timeout(self.settings.lock_wait_s):
                        await lock.acquire()
                except TimeoutError:
                    return False
                held.append(lock)
                await asyncio.sleep(self.settings.downstream_s)
            return True
        finally:
            for lock in held:
                lock.release()

    def _took(self, latency_s: float) -> None:
        if latency_s <= self.settings.deadline_s:
            self.counters.in_time += 1
        else:
            self.counters.late += 1
        self.counters.latencies[bisect.bisect_left(BUCKETS_S, latency_s)] += 1


class Front:
    """HTTP/1.1 with connections that are kept."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection until it is closed."""
        try:
            while (request := await _request(reader)) is not None:
                status, body = await self._answer(*request)
                writer.write(_response(status, body))
                await writer.drain()
                if status == 400:
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client went away, or does not speak HTTP
        finally:
            writer.close()

    async def _answer(self, method: str, target: str, body: bytes) -> tuple[int, object]:
        url = urlsplit(target)
        if (method, url.path) == ("GET", "/reserve"):
            items = _items(url.query, self._service.settings.items)
            return (400, {}) if items is None else (await self._service.reserve(items), {})
        if (method, url.path) == ("GET", "/stats"):
            return 200, self._service.stats()
        if (method, url.path) == ("PUT", "/limit"):
            return (200 if self._service.set_alpha(_alpha(body)) else 400), {}
        return 404, {}


async def _request(reader: asyncio.StreamReader) -> tuple[str, str, bytes] | None:
    line = await reader.readline()
    if not line:
        return None
    method, target, _ = [*line.decode("latin-1").split(), "", "", ""][:3]
    length = 0
    while (header := (await reader.readline()).strip()) != b"":
        name, _, value = header.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            length = int(value)
    if not length <= BODY_MAX:
        return "", "", b""
    return method, target, await reader.readexactly(length)


def _response(status: int, body: object) -> bytes:
    content = json.dumps(body, allow_nan=False).encode("ascii")
    head = f"HTTP/1.1 {status} {_REASONS[status]}\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(content)}\r\n\r\n".encode("ascii") + content


def _items(query: str, known: int) -> list[int] | None:
    words = parse_qs(query).get("items", [""])[0].split(",")
    if not (1 <= len(words) <= ITEMS_MAX and all(word.isascii() and word.isdigit() for word in words)):
        return None
    items = [int(word) for word in words]
    return items if len(set(items)) == len(items) and max(items) < known else None


def _alpha(body: bytes) -> object:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document.get("alpha") if isinstance(document, dict) else None


async def serve(settings: Settings, seed: int) -> None:
    """Listen at a free port of this machine, say which on stdout, and serve until killed."""
    server = await asyncio.start_server(Front(Service(settings, seed)).serve, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


def main() -> None:
    """Run the service as a process of its own."""
    parser = argparse.ArgumentParser(description="The reservation service.")
    parser.add_argument("--settings", default="{}", help="Settings as JSON.")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    asyncio.run(serve(Settings(**json.loads(options.settings)), options.seed))


if __name__ == "__main__":
    main()
