"""One screen of a terminal, which shows what was told last, and how long ago once that is long."""

import time
from typing import Final

import attrs
from rich.console import Console, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

SILENT_S: Final = 15.0
"""After so many seconds without a cycle what is shown no longer passes for the present; as on the page."""

_MODE_STYLE: Final = {
    "READY": "bold green",
    "TRIAL": "bold cyan",
    "FROZEN": "bold yellow",
    "EMERGENCY": "bold white on red",
}


class Screen:
    """Redrawn whenever something is shown, and every second beside that.

    Args:
        console: A terminal.
    """

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=1)

    def start(self) -> None:
        """Take the terminal's lower part."""
        self._live.start()

    def show(self, mode: str, about: str, content: RenderableType, age_s: float = 0.0) -> None:
        """Show what was told so many seconds ago.

        Args:
            mode: The kernel's, in capitals; one that is not known has no colour.
            about: What follows it in the first line.
            content: What stands below.
            age_s: Seconds.
        """
        self._live.update(_Told(mode, about, content, time.monotonic() - age_s), refresh=True)

    def close(self) -> None:
        """Leave the last screen standing."""
        self._live.stop()


@attrs.frozen
class _Told:
    mode: str
    about: str
    content: RenderableType
    # Monotonic time in seconds.
    told_s: float

    def __rich__(self) -> Panel:
        age_s = time.monotonic() - self.told_s
        # Before all that a narrow terminal cuts off.
        silence = Text() if age_s < SILENT_S else Text(f" SILENT for {age_s:.0f} s ", "bold white on red")
        mode = (f" {self.mode} ", _MODE_STYLE.get(self.mode, "bold"))
        title = Text.assemble("λ-attunement  ", silence, mode, "  ", self.about)
        return Panel(self.content, title=title, title_align="left")
