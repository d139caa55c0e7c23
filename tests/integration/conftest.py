"""A page's server beside a loop that a test drives cycle by cycle."""

import json
import signal
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from attunement.control import ControlServer, LoopTelemetry
from attunement.dashboard.guard import Door
from attunement.dashboard.journal_index import JournalIndex
from attunement.dashboard.serving import PageServer

TOKEN = "correct horse battery staple"


@attrs.define
class Served:
    """A page's address, its ledger and, while it runs, its loop."""

    port: int
    folder: Path
    socket: Path
    loop: Any = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """Return status, JSON (or text) and headers of an answer."""
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers or {})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, _content(answer.read()), dict(answer.headers)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _content(error.read()), dict(error.headers)

    def hand_in(self, order: Any, **headers: str) -> tuple[int, Any]:
        """Hand an order in as the page does, with headers changed."""
        given = {"X-Attunement-Token": TOKEN, "Origin": self.url, **headers}
        text = order if isinstance(order, str) else order.encode()
        status, told, _ = self.ask("/api/order", {"order": text}, {k: v for k, v in given.items() if v})
        return status, told


def _content(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data.decode()


@pytest.fixture
def serve_page() -> Iterator[Callable[..., Served]]:
    """Return a function that serves a page of a ledger's folder and a control socket."""
    ends: list[Callable[[], None]] = []

    def make(
        folder: Path, control: Path, *, token: str | None = TOKEN, config: str | None = "site.yaml"
    ) -> Served:
        index = JournalIndex(folder)
        server = PageServer(control, index, Door(frozenset({"127.0.0.1", "localhost"}), token), config)
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()

        def end() -> None:
            server.handle_exit(signal.SIGTERM, None)
            thread.join()
            listener.close()
            index.close()

        ends.append(end)
        return Served(listener.getsockname()[1], folder, control)

    yield make
    for end in reversed(ends):
        end()


@pytest.fixture
def beside_loop(
    attune: Any, scripted_engine: Any, wishes: Any, tmp_path: Path, serve_page: Callable[..., Served]
) -> Iterator[Callable[..., Served]]:
    """Return a function that serves a page beside a loop, whose engine the test runs."""
    servers: list[ControlServer] = []

    def make(*answers: Any, token: str | None = TOKEN, **changes: Any) -> Served:
        telemetry, path = LoopTelemetry("ledger", True, "wishes"), tmp_path / "loop.sock"
        loop = attune(scripted_engine(), wishes(*answers), subscribers=(telemetry,), **changes)
        loop.controller.start()
        servers.append(ControlServer(path, telemetry, loop.kernel, loop.desk))
        served = serve_page(loop.path, path, token=token)
        served.loop = loop
        return served

    yield make
    for server in servers:
        server.close()
