"""The page's server, until a signal ends it."""

import asyncio
from pathlib import Path
from types import FrameType
from typing import Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from attunement.dashboard.app import Site, Viewers, make_app
from attunement.dashboard.guard import Door
from attunement.dashboard.journal_index import JournalIndex

STOP_S: Final = 2
CONNECTIONS_MAX: Final = 500
REQUEST_S: Final = 10.0
"""Longest wait for a request to come whole, and for a reader who takes nothing of an answer."""


class BoundedConnection(H11Protocol):
    """One connection: it is cut when nothing comes or goes in time, and at once when there are too many.

    A stream of events stays open; how many of them there may be is the page's own limit.
    """

    _due: asyncio.TimerHandle | None = None
    _unsent = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection in, or cut it."""
        super().connection_made(transport)
        if len(self.connections) <= CONNECTIONS_MAX:
            self._watch()
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._unwatch()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Wait for the answer to be read, and for the next request."""
        super().on_response_complete()
        self._watch()

    def _watch(self) -> None:
        self._unwatch()
        self._unsent = self.transport.get_write_buffer_size()
        self._due = self.loop.call_later(REQUEST_S, self._look)

    def _unwatch(self) -> None:
        if self._due is not None:
            self._due.cancel()

    def _look(self) -> None:
        if self.cycle is not None and not (self.cycle.response_complete or self.cycle.more_body):
            return
        if 0 < self.transport.get_write_buffer_size() < self._unsent:
            self._watch()
        else:
            self.transport.abort()


class PageServer(uvicorn.Server):
    """Serves the page; its event streams end with it.

    Args:
        control: The loop's control socket.
        index: The ledger; closed by the caller.
        door: What a request must bring.
        config_path: The configuration file, as the page's commands name it; None for none.
    """

    def __init__(self, control: Path, index: JournalIndex, door: Door, config_path: str | None) -> None:
        self._viewers = Viewers()
        super().__init__(
            uvicorn.Config(
                make_app(Site(control, index, door, config_path), self._viewers),
                log_level="warning",
                server_header=False,
                timeout_graceful_shutdown=STOP_S,
                ws="none",
                http=BoundedConnection,
            )
        )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        """End after the answers that are underway, two seconds at most; `run` then returns."""
        self._viewers.end()
        self.should_exit = True
