"""Draw docs/figures/terminal.svg: what somebody on call types in an emergency, and what it answers.

    python docs/figures/make_terminal.py

A real loop is struck by a partition, and the commands run beside it. Figures differ from run to run by their
times, hashes and process numbers alone.
"""

import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from make_screenshots import CONFIG, PROGRAM, STORM, running, wait_for_cycle
from rich.console import Console
from rich.text import Text
from svg import picture

from ledger import generate

HERE: Final = Path(__file__).resolve().parent
WIDTH: Final = 112
SEEN_FROM: Final = 200
COMMANDS: Final = (
    "status --config c.yaml",
    "ledger show --config c.yaml --verdict latched",
    'approve --config c.yaml --key ines.key --actor ines --reason "the partition is healed"',
    "status --config c.yaml",
    "ledger verify --config c.yaml",
)


def answer(folder: Path, command: str) -> Text:
    """Run one command; return what a terminal would show of it."""
    screen = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(WIDTH), "TERM": "xterm-256color"}
    done = subprocess.run(
        [*PROGRAM, *shlex.split(command)],
        cwd=folder,
        env=screen,
        text=True,
        stdout=subprocess.PIPE,
        # There is only the bar of progress, drawn over and over: it does not stand still on a picture.
        stderr=subprocess.DEVNULL,
        check=False,
    )
    said = Text.assemble(("$ ", "bold green"), (f"lambda-attunement {command}\n", "bold"))
    said.append_text(Text.from_ansi(done.stdout.rstrip()))
    if done.returncode:
        said.append(f"\n(exit {done.returncode})", "dim")
    return said.append("\n")


def main() -> None:
    """Run the session and draw it."""
    with tempfile.TemporaryDirectory(prefix="attunement-") as name, open(os.devnull, "w") as nowhere:
        folder, console = Path(name), Console(record=True, width=WIDTH, file=nowhere)
        (folder / "c.yaml").write_text(CONFIG.format(shock=STORM), encoding="utf-8")
        for key in ("ledger.key", "log.key", "ines.key"):
            generate(folder / key, folder / f"{key}.pub")
        with running(folder, "run", "--config", "c.yaml", stdout=nowhere, stderr=nowhere):
            wait_for_cycle(folder, SEEN_FROM)
            for command in COMMANDS:
                console.print(answer(folder, command), soft_wrap=False)
        (HERE / "terminal.svg").write_text(picture(console, "on call", "terminal"), encoding="utf-8")


if __name__ == "__main__":
    main()
