"""The port that Prometheus scrapes: whoever connects gets one answer, and a few seconds for it."""

import errno
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from socketserver import ThreadingMixIn
from types import TracebackType
from typing import Any, Final, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app
from prometheus_client.exposition import choose_encoder

from attunement.foreign import described
from attunement.metrics import Metrics

CONNECTIONS_MAX: Final = 32
CONNECTION_S: Final = 10.0
"""Longest life of a connection, request and answer; the wait that Prometheus allows a scrape by default."""

_TICK_S = 0.25

_App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class MetricsError(Exception):
    """The metrics endpoint cannot be opened."""


class MetricsServer:
    """Serves a registry over HTTP until closed.

    A connection that is not done after `CONNECTION_S` is cut, and one beyond `CONNECTIONS_MAX` is closed at
    once: each costs a thread and a descriptor, of which the ledger and α need theirs.

    Args:
        metrics: What is served at /metrics.
        host: Address to listen at.
        port: Port to listen at, 0 for any free one.

    Raises:
        MetricsError: the address cannot be listened at.
    """

    def __init__(self, metrics: Metrics, host: str, port: int) -> None:
        try:
            self._server = _listening(metrics, host, port)
        except OSError as error:
            why = f"cannot be listened at: {error.strerror}"
            if error.errno == errno.EADDRINUSE:
                why = "is taken by another program or run"
            raise MetricsError(f"metrics.port {port} on {host} {why}") from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_TICK_S,), name="metrics", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """Port that is listened at."""
        return int(self._server.server_port)

    def close(self) -> None:
        """Stop listening, cut who is connected, and give the port back."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *arguments: Any) -> None:
        self._lock = threading.Lock()  # guards _until_s
        # Monotonic time in seconds at which each connection is cut.
        self._until_s: dict[socket.socket, float] = {}
        super().__init__(*arguments)

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                # Whoever knocks stays ready to be let in: to ask again at once would take a whole processor.
                time.sleep(_TICK_S)
            raise

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002 - socketserver's own
        with self._lock:
            if not len(self._until_s) < CONNECTIONS_MAX:
                return False
            self._until_s[request] = time.monotonic() + CONNECTION_S
            return True

    def service_actions(self) -> None:
        self._cut(time.monotonic())

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._until_s.pop(request, None)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        self._cut(float("inf"))

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that went away, or was cut, is no news.
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def _cut(self, now_s: float) -> None:
        with self._lock:
            overdue = [request for request, until_s in self._until_s.items() if not now_s < until_s]
        for request in overdue:
            # Ends what its thread waits for, a read or a write; the thread then closes it.
            with suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """A scrape is no news."""


def _guarded(app: _App) -> _App:
    """Return an application that answers whatever is asked, and leaves no traceback on the run's screen."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            if not _can_be_chosen(environ.get("HTTP_ACCEPT", "")):
                del environ["HTTP_ACCEPT"]
            return app(environ, start_response)
        except Exception as error:  # noqa: BLE001 - who asked is told
            start_response("500 Internal Server Error", [("Content-Type", "text/plain; charset=utf-8")])
            return [f"{described(error)}\n".encode()]

    return answer


def _can_be_chosen(accept: str) -> bool:
    try:
        choose_encoder(accept)
    except (ValueError, TypeError):
        # The library takes what the client calls a version for a list of numbers.
        return False
    return True


def _listening(metrics: Metrics, host: str, port: int) -> WSGIServer:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, *_, address = found[0]
    kind = _Server6 if family == socket.AF_INET6 else _Server
    return make_server(str(address[0]), port, _guarded(make_wsgi_app(metrics.registry)), kind, _Handler)
