"""The page's server, until a signal ends it."""

from pathlib import Path
from types import FrameType
from typing import Final

import uvicorn

from attunement.dashboard.app import Site, Viewers, make_app
from attunement.dashboard.guard import Door
from attunement.dashboard.journal_index import JournalIndex

STOP_S: Final = 2
CONNECTIONS_MAX: Final = 1000


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
                limit_concurrency=CONNECTIONS_MAX,
            )
        )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        """End after the answers that are underway, two seconds at most; `run` then returns."""
        self._viewers.end()
        self.should_exit = True
