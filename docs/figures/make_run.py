"""Draw docs/figures/run.svg: the screen of a real `make run`, from moment to moment.

    python docs/figures/make_run.py

The engine, its seed and the optimizer are those of `examples/simulator.yaml`.
"""

import io
import tempfile
from pathlib import Path
from threading import Event

import attrs
from rich.console import Console
from svg import picture

from attunement.assembly import Attunement
from attunement.build import build_engine
from attunement.config import load
from attunement.policy import kernel_limits
from attunement.running import run_cycles
from attunement.telemetry import CycleReport
from attunement.view import LiveView
from ledger import NoteSigner, Signers, SigningKey

HERE = Path(__file__).resolve().parent
CONFIG = HERE.parents[1] / "examples" / "simulator.yaml"
CYCLES = 400
MOMENTS = (4, 8, 15, 25, 40, 80, 160, 400)
SECONDS_EACH = 1.5
WIDTH = 118
TITLE = "lambda-attunement run --config examples/simulator.yaml"


class Camera:
    """Shows every report, and keeps the picture of some."""

    def __init__(self, view: LiveView, console: Console) -> None:
        self._view = view
        self._console = console
        self._seen = 0
        self.frames: list[str] = []

    def on_report(self, report: CycleReport) -> None:
        """Take in one cycle."""
        self._view.on_report(report)
        self._seen += 1
        if self._seen in MOMENTS:
            self.frames.append(picture(self._console, TITLE, f"f{self._seen}"))
        else:
            # What was drawn is let go.
            self._console.export_text()


def filmed() -> list[str]:
    """Run, and return the pictures."""
    config = load(CONFIG, {})
    console = Console(record=True, force_terminal=True, width=WIDTH, file=io.StringIO())
    view = LiveView(console, kernel_limits(config), CYCLES)
    camera = Camera(view, console)
    signers = Signers(SigningKey(bytes(32)), NoteSigner("localhost/film", SigningKey(bytes(31) + b"\1")))
    engine = build_engine(config)
    with tempfile.TemporaryDirectory() as folder:
        logging = attrs.evolve(config.logging, audit_ledger_path=str(Path(folder) / "ledger"))
        scratch = attrs.evolve(config, logging=logging, settle_delay=0.0)
        with Attunement(scratch, engine, signers, subscribers=(camera,)) as attunement:
            attunement.controller.start()
            run_cycles(engine, CYCLES, 0.0, Event())
    view.close()
    return camera.frames


def animated(frames: list[str]) -> str:
    """Return one picture that shows one frame after the other; the last alone where motion is not wanted."""
    opening, _ = frames[-1].split(">", maxsplit=1)
    total = SECONDS_EACH * len(frames)
    shown = 100 / len(frames)
    style = (
        f"<style>@keyframes turn {{ 0% {{ visibility: visible }} {shown:g}% {{ visibility: hidden }} }}"
        f" .frame {{ visibility: hidden; animation: turn {total:g}s step-end infinite }}"
        " @media (prefers-reduced-motion) { .frame { animation: none }"
        " .frame:last-child { visibility: visible } }</style>"
    )
    turns = [
        f'<g class="frame" style="animation-delay: {number * SECONDS_EACH:g}s">{frame}</g>'
        for number, frame in enumerate(frames)
    ]
    return "\n".join([f"{opening}>", style, *turns, "</svg>", ""])


def main() -> None:
    """Film and write."""
    (HERE / "run.svg").write_text(animated(filmed()), encoding="utf-8")


if __name__ == "__main__":
    main()
