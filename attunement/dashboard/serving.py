"""The page's server, until a signal ends it."""

import socket
from pathlib import Path
from typing import Final

import uvicorn

from attunement.dashboard.app import Site, make_app
from attunement.dashboard.guard import Door
from attunement.dashboard.journal_index import JournalIndex

STOP_S: Final = 2
CONNECTIONS_MAX: Final = 1000


def serve(
    listener: socket.socket, control: Path, index: JournalIndex, door: Door, config_path: str | None
) -> None:
    """Serve at a bound socket until SIGINT or SIGTERM; connections that are open then get two seconds.

    Args:
        listener: Bound, and closed by the caller.
        control: The loop's control socket.
        index: The ledger.
        door: What a request must bring.
        config_path: The configuration file, as the page's commands name it.
    """
    server = uvicorn.Server(
        uvicorn.Config(
            make_app(Site(control, index, door, config_path)),
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=STOP_S,
            ws="none",
            limit_concurrency=CONNECTIONS_MAX,
        )
    )
    server.run(sockets=[listener])
