"""The page's HTTP: what it shows, its events, and the one door through which a signed order goes in."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import cache, partial
from importlib.resources import files
from math import isfinite
from pathlib import Path
from typing import Any, Final

import attrs
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from attunement.control_client import ControlClient, NoLoopError
from attunement.control_protocol import ControlError
from attunement.dashboard.feed import CYCLES_KEPT, Feed
from attunement.dashboard.guard import Door, Guard, refused
from attunement.dashboard.journal_index import PAGE_MAX, JournalIndex, Query
from attunement.journal import JournalError
from attunement.ledger_view import RECORD_COLUMNS, record_row
from attunement.order import OrderError, SignedOrder
from ledger import LedgerError

BODY_MAX_BYTES: Final = 64 * 1024
BATCH_S: Final = 0.03
KEEPALIVE_S: Final = 15.0
QUEUE_MAX: Final = 64
ORDER_WAIT_S: Final = 10.0
VIEWERS_MAX: Final = 200

_KINDS: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_RESYNC: Final = b"event: resync\ndata: {}\n\n"


@attrs.frozen
class Site:
    """What a page is of.

    Attributes:
        socket: The loop's control socket.
        index: The ledger.
        door: What a request must bring.
        config_path: The configuration file, as it stands in the commands that the page shows; None for none.
    """

    socket: Path
    index: JournalIndex
    door: Door
    config_path: str | None


class Viewers:
    """Everybody who watches; one batch of cycles is encoded once for all of them."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[bytes]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: list[dict[str, Any]] = []
        self._is_changed = False
        self._due: asyncio.TimerHandle | None = None

        self.is_over = False

    def end(self) -> None:
        """Have every stream end, so that the server can; a signal's handler may call it."""
        self.is_over = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake_all)

    def open(self) -> None:
        """Take events from now on, in the running event loop."""
        self._loop = asyncio.get_running_loop()

    def tell(self, cycles: list[dict[str, Any]]) -> None:
        """Take new cycles, or none when the source has changed; from any thread."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._take, cycles)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[asyncio.Queue[bytes]]:
        """Give a queue of encoded events while the block runs."""
        queue: asyncio.Queue[bytes] = asyncio.Queue(QUEUE_MAX)
        self._queues.add(queue)
        try:
            yield queue
        finally:
            self._queues.discard(queue)

    @property
    def count(self) -> int:
        """How many watch."""
        return len(self._queues)

    def _wake_all(self) -> None:
        for queue in self._queues:
            if not queue.full():
                queue.put_nowait(_RESYNC)

    def _take(self, cycles: list[dict[str, Any]]) -> None:
        self._waiting += cycles
        self._is_changed |= not cycles
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(BATCH_S, self._flush)

    def _flush(self) -> None:
        self._due = None
        waiting, self._waiting = self._waiting, []
        is_changed, self._is_changed = self._is_changed, False
        if not self._queues:
            return
        event = _RESYNC if is_changed else b"event: cycles\ndata: " + _json(waiting) + b"\n\n"
        for queue in self._queues:
            if queue.full():
                # Who does not read is told to begin anew, and costs nobody else anything.
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(_RESYNC)
            else:
                queue.put_nowait(event)


def make_app(site: Site, viewers: Viewers) -> Starlette:
    """Return the application; its life is that of the feed that it starts and ends."""
    feed = Feed(site.socket, site.index, viewers.tell)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        viewers.open()
        feed.start()
        try:
            yield
        finally:
            await run_in_threadpool(feed.close)

    pages = _Pages(site, feed, viewers)
    return Starlette(
        routes=[
            Route("/", partial(_static, "page.html")),
            Route("/static/plotly.js", _plotly),
            *(
                Route(f"/static/{name}", partial(_static, name))
                for name in (
                    "page.css",
                    "plotly.css",
                    "page.js",
                    "dom.js",
                    "charts.js",
                    "ledger.js",
                    "actions.js",
                )
            ),
            Route("/api/overview", pages.overview),
            Route("/api/events", pages.events),
            Route("/api/ledger", pages.ledger),
            Route("/api/ledger/{sequence}", pages.explanation),
            Route("/api/what_if", pages.what_if),
            Route("/api/order", pages.order, methods=["POST"]),
        ],
        middleware=[Middleware(Guard, door=site.door)],
        lifespan=lifespan,
        exception_handlers={
            LedgerError: _unreadable,
            JournalError: _unreadable,
            NoLoopError: _no_loop,
            ControlError: _refused_by_loop,
        },
    )


class _Pages:
    def __init__(self, site: Site, feed: Feed, viewers: Viewers) -> None:
        self._site = site
        self._feed = feed
        self._viewers = viewers

    async def overview(self, request: Request) -> Response:
        told = await run_in_threadpool(self._feed.overview)
        count = min(_whole(request.query_params.get("cycles")) or 0, CYCLES_KEPT)
        return _answer(
            {
                **told,
                "cycles": told["cycles"][-count:] if count else [],
                "ledger": str(self._site.index.folder),
                "config": self._site.config_path,
                "is_read_only": self._site.door.token is None,
            }
        )

    async def events(self, _request: Request) -> Response:
        if not self._viewers.count < VIEWERS_MAX:
            return refused(503, "busy", f"{VIEWERS_MAX} pages are open")

        async def stream() -> AsyncIterator[bytes]:
            async with self._viewers.watching() as queue:
                yield b"retry: 1000\n\n"
                while not self._viewers.is_over:
                    try:
                        yield await asyncio.wait_for(queue.get(), KEEPALIVE_S)
                    except TimeoutError:
                        yield b": still here\n\n"

        return StreamingResponse(stream(), media_type="text/event-stream")

    async def ledger(self, request: Request) -> Response:
        asked = request.query_params
        before, count = _whole(asked.get("before")), _whole(asked.get("count")) or 50
        query = Query(*(asked.get(name, "")[:200] for name in ("text", "event", "verdict", "actor")))

        def read() -> dict[str, Any]:
            self._site.index.refresh()
            page = self._site.index.page(query, before, min(count, PAGE_MAX))
            rows = [record_row(record) for record in page.records]
            return {"columns": RECORD_COLUMNS, "rows": rows, "before": page.before, "total": page.total}

        return _answer(await run_in_threadpool(read))

    async def explanation(self, request: Request) -> Response:
        sequence = _whole(request.path_params["sequence"])
        if sequence is None or not sequence < len(self._site.index):
            return refused(404, "no_record", "there is no such record in the ledger")
        return _answer(await run_in_threadpool(self._site.index.explained, sequence))

    async def what_if(self, request: Request) -> Response:
        asked = request.query_params
        try:
            alpha = float(asked.get("alpha", ""))
        except ValueError:
            return refused(400, "malformed", "alpha is no number")
        if not isfinite(alpha):
            return refused(409, "malformed", f"alpha is {alpha}, must be a finite number")
        return _answer(await run_in_threadpool(self._feed.what_if, alpha, asked.get("by", "optimizer")))

    async def order(self, request: Request) -> Response:
        body = await _body(request)
        try:
            text = json.loads(body)["order"]
            signed = SignedOrder.parse(str(text).strip())
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            said = str(error) if isinstance(error, OrderError) else "the body is no object with an order"
            return refused(400, "malformed", said)

        def send() -> dict[str, Any]:
            with ControlClient(self._site.socket) as client:
                return client.send_order(signed, ORDER_WAIT_S)

        return _answer(await run_in_threadpool(send))


async def _body(request: Request) -> bytes:
    received = bytearray()
    # Half of a body is none, and nobody is there to be told.
    with suppress(ClientDisconnect):
        async for chunk in request.stream():
            received += chunk
            if len(received) > BODY_MAX_BYTES:
                return b""
        return bytes(received)
    return b""


@cache
def _asset(name: str) -> bytes:
    return (files("attunement.dashboard") / "static" / name).read_bytes()


@cache
def _plotly_script() -> bytes:
    return (files("plotly") / "package_data" / "plotly.min.js").read_bytes()


async def _static(name: str, _request: Request) -> Response:
    kind = _KINDS[Path(name).suffix]
    return Response(_asset(name), media_type=kind, headers={"Cache-Control": "no-cache"})


async def _plotly(_request: Request) -> Response:
    script = await run_in_threadpool(_plotly_script)
    return Response(script, media_type="text/javascript", headers={"Cache-Control": "max-age=86400"})


async def _unreadable(_request: Request, error: Exception) -> Response:
    return refused(500, "ledger", str(error))


async def _no_loop(_request: Request, error: Exception) -> Response:
    return refused(503, "no_loop", f"{error}: an order file is carried out by `run --order`")


async def _refused_by_loop(_request: Request, error: Exception) -> Response:
    return refused(409, getattr(error, "code", "control"), str(error))


def _answer(body: dict[str, Any]) -> Response:
    return Response(_json(body), media_type="application/json")


def _json(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() and len(text) <= 18 else None
