"""Draw docs/figures/dashboard-*.png: the page in calm, shock, emergency and approve, on a real run each.

    python docs/figures/make_screenshots.py [SCENE ...]

Needs a Chromium at /usr/bin/chromium. Figures differ from run to run by their times alone.
"""

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
from playwright.sync_api import Page, sync_playwright

from attunement.control_client import ControlClient
from attunement.control_protocol import ControlError
from ledger import generate

PHONE_WIDTH = 390
HERE = Path(__file__).resolve().parent
PROGRAM = [str(Path(sys.executable).with_name("lambda-attunement"))]
STORM = "{kind: partition, start: 150, length: 8, magnitude: 1, share: 0.5}"
GUST = "{kind: partition, start: 150, length: 3, magnitude: 0.45, share: 0.5}"
CONFIG = """\
attunement:
  cycles: null
  settle_delay: 0.1
  source: {{nodes: 64, psi: 0.9, shocks: [{shock}]}}
  metrics: {{enabled: false}}
  logging: {{audit_ledger_path: ledger, key_path: ledger.key, log_key_path: log.key}}
  serve: {{port: 0, token_path: token}}
  governance: {{operators: [{{name: ines, key_path: ines.key.pub}}]}}
"""


DRAWN = """cycle => [...document.querySelectorAll("[id^=chart-].plot")]
  .filter(box => box.getBoundingClientRect().top < innerHeight)
  .every(box => Number(box.dataset.cycle) >= cycle)"""


@attrs.frozen
class Scene:
    """What is seen: the shock, how long to wait, and how the window looks."""

    name: str
    shock: str
    cycles: int
    width: int = 1440
    height: int = 1500
    scheme: str = "light"
    is_approved: bool = False


SCENES = (
    Scene("calm", "", 260),
    Scene("shock", GUST, 170, scheme="dark"),
    Scene("emergency", STORM, 230),
    Scene("approve", STORM, 230, height=2050, is_approved=True),
    Scene("phone", GUST, 170, width=PHONE_WIDTH, height=1700),
)


@contextmanager
def running(folder: Path, *arguments: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run the command line in a folder until the block ends."""
    process = subprocess.Popen([*PROGRAM, *arguments], cwd=folder, text=True, **options)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def wait_for_cycle(folder: Path, cycle: int) -> None:
    """Wait until the loop has come to a cycle."""
    for _ in range(600):
        time.sleep(0.1)
        try:
            with ControlClient(folder / "ledger.sock") as client:
                latest = client.status()["latest"]
        except ControlError:
            continue
        if latest is not None and latest["cycle"] >= cycle:
            return
    raise TimeoutError(f"the loop has not come to cycle {cycle}")


def command(folder: Path, *arguments: str) -> None:
    """Run one command in a folder."""
    subprocess.run([*PROGRAM, *arguments], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def approve(folder: Path, page: Page) -> None:
    """Make and sign an approval where the key is, and hand it in on the page."""
    words = ("--actor", "ines", "--reason", "partition healed")
    command(folder, "order", "make", "approve", "--config", "c.yaml", *words, "--out", "approve.json")
    command(folder, "order", "sign", "approve.json", "--key", "ines.key")
    page.fill("#order", (folder / "approve.json").read_text(encoding="utf-8"))
    page.fill("#token", (folder / "token").read_text(encoding="utf-8"))
    page.click("#hand-in")
    page.wait_for_selector("#order-answer.ok")


def draw(scene: Scene, folder: Path, page: Page) -> None:
    """Run the scene and take its picture."""
    (folder / "c.yaml").write_text(CONFIG.format(shock=scene.shock), encoding="utf-8")
    (folder / "token").write_text("correct horse battery", encoding="utf-8")
    (folder / "token").chmod(0o600)
    for name in ("ledger.key", "log.key", "ines.key"):
        generate(folder / name, folder / f"{name}.pub")
    with (
        running(folder, "run", "--config", "c.yaml", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL),
    ):
        wait_for_cycle(folder, 5)
        with running(folder, "serve", "--config", "c.yaml", stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            page.goto(server.stdout.readline().strip())
            wait_for_cycle(folder, scene.cycles)
            if scene.is_approved:
                approve(folder, page)
                time.sleep(4)
            page.evaluate("scrollTo(0, 0)")
            # Every chart in sight has come as far as the scene.
            page.wait_for_function(DRAWN, arg=scene.cycles, timeout=120_000)
            page.screenshot(path=HERE / f"dashboard-{scene.name}.png")


def main(wanted: list[str]) -> None:
    """Draw the scenes that are wanted, all when none is named."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for scene in SCENES:
            if wanted and scene.name not in wanted:
                continue
            page = browser.new_page(
                viewport={"width": scene.width, "height": scene.height}, color_scheme=scene.scheme
            )
            with tempfile.TemporaryDirectory(prefix="attunement-") as folder:
                draw(scene, Path(folder), page)
            page.close()
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
