"""What the page costs: its first paint, the way of a cycle to the screen, a large ledger, many viewers.

Rows, each beside what it cannot be faster than:
- first paint and numbers shown, beside an empty page of the same server in the same browser;
- from a cycle's report in the loop to the page's number, and to the drawn chart;
- pages, searches and an explanation over a ledger of 100,000 records;
- CPU time of the loop's process per cycle with 0, 1 and 50 viewers of one server beside it.

    python benchmarks/dashboard.py [--records N] [--viewers N]

Needs a Chromium at /usr/bin/chromium.
"""

import sys
from pathlib import Path

# A script's own folder comes first on the path, where attunement.py would hide the package of its name.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

import argparse
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing
from statistics import median, quantiles
from typing import Any

import psutil
from playwright.sync_api import Browser, sync_playwright
from rich.console import Console
from rich.table import Table

from attunement.assembly import Attunement
from attunement.build import build_engine
from attunement.config_schema import Config, LoggingConfig, SourceConfig
from attunement.control import LoopTelemetry, controlled
from attunement.control_client import ControlClient
from attunement.dashboard.journal_index import JournalIndex, Query
from ledger import Ledger, NoteSigner, Signers, SigningKey, read_records

CHROMIUM = "/usr/bin/chromium"
CYCLE_PAUSE_S = 0.05


def signers() -> Signers:
    """Return keys for a ledger that is thrown away."""
    return Signers(SigningKey(bytes([1] * 32)), NoteSigner("benchmark/log", SigningKey(bytes([2] * 32))))


class Loop:
    """An attunement with its control socket, in this process, one cycle each `CYCLE_PAUSE_S`."""

    def __init__(self, folder: Path, pause_s: float = CYCLE_PAUSE_S) -> None:
        config = Config(
            settle_delay=0.0,
            source=SourceConfig(nodes=64),
            logging=LoggingConfig(audit_ledger_path=str(folder / "journal")),
        )
        self.socket = folder / "journal.sock"
        self.telemetry = LoopTelemetry("journal", True, "supervisor")
        self.engine = build_engine(config)
        self.reported: dict[int, float] = {}
        self.attunement = Attunement(config, self.engine, signers(), subscribers=(self, self.telemetry))
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def on_report(self, report: Any) -> None:
        """Note when a cycle was reported."""
        self.reported[report.state.cycle] = time.time()

    def __enter__(self) -> "Loop":
        self.attunement.controller.start()
        self._control = controlled(self.socket, self.telemetry, self.attunement.kernel, self.attunement.desk)
        self._control.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()
        self._control.__exit__(None, None, None)
        self.attunement.close()

    @property
    def thread_id(self) -> int:
        """Of the thread that runs the cycles, once it runs."""
        return self._thread.native_id or 0

    def _run(self) -> None:
        while not self._stop.wait(self._pause_s):
            self.engine.run_cycle()


SERVER = """
import socket, sys
from pathlib import Path
from attunement.dashboard.guard import Door
from attunement.dashboard.journal_index import JournalIndex
from attunement.dashboard.serving import PageServer
listener = socket.socket(); listener.bind(("127.0.0.1", 0)); listener.listen(128)
print(listener.getsockname()[1], flush=True)
index = JournalIndex(Path(sys.argv[1]))
PageServer(Path(sys.argv[2]), index, Door(frozenset({"127.0.0.1"}), None), None).run(sockets=[listener])
"""


class Server:
    """The page's server in a process of its own, as `serve` runs it."""

    def __init__(self, folder: Path, control: Path) -> None:
        command = [sys.executable, "-c", SERVER, str(folder), str(control)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.terminate()
        self.process.communicate(timeout=30)


def paints(browser: Browser, url: str, is_page: bool) -> tuple[float, float]:
    """Return milliseconds from navigation to the first paint, and to the numbers (0 on another page)."""
    page = browser.new_page()
    page.goto(url)
    if is_page:
        page.wait_for_selector("#mode[data-ready]")
    script = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"
    for _ in range(100):
        painted = float(page.evaluate(script))
        if painted:
            break
        time.sleep(0.02)
    numbers = (
        float(page.evaluate("performance.getEntriesByName('numbers-shown')[0].startTime")) if is_page else 0
    )
    page.close()
    return painted, numbers


WATCH = """(selector) => {
  window.seen = [];
  const found = document.querySelector(selector);
  new MutationObserver(() => {
    const cycle = found.dataset.cycle;
    requestAnimationFrame(() => window.seen.push([cycle, performance.timeOrigin + performance.now()]));
  })
    .observe(found, { attributes: true, attributeFilter: ["data-cycle"] });
}"""


def delays(browser: Browser, loop: Loop, url: str, selector: str, wait_s: float) -> list[float]:
    """Return milliseconds from the report of a cycle to the frame that shows it, in one element."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(url)
    page.wait_for_selector("#chart-alpha .main-svg")
    page.evaluate(WATCH, selector)
    time.sleep(wait_s)
    seen = page.evaluate("window.seen")
    page.close()
    return [shown - 1000 * loop.reported[int(cycle)] for cycle, shown in seen if int(cycle) in loop.reported]


def first_paint(browser: Browser, table: Table, loop: Loop, server: Server) -> None:
    """Add the rows of the first paint and of the delays."""
    # A file of two rules is the emptiest page that the same server gives.
    empty = [paints(browser, f"{server.url}/static/plotly.css", False)[0] for _ in range(7)]
    page = [paints(browser, server.url, True) for _ in range(7)]
    table.add_row("first paint, empty page", _ms(empty), "")
    table.add_row("first paint, the page", _ms([one[0] for one in page]), "≤ 1000 ms")
    table.add_row("numbers shown, the page", _ms([one[1] for one in page]), "≤ 1000 ms")
    table.add_row("cycle to number", _ms(delays(browser, loop, server.url, "#alpha", 8)), "≤ 100 ms")
    table.add_row("cycle to chart of α", _ms(delays(browser, loop, server.url, "#chart-alpha", 8)), "")


def large_ledger(folder: Path, records: int, bodies: list[dict[str, Any]]) -> None:
    """Write a ledger of so many records, in groups that are synced as one."""
    with Ledger.open(folder, signers(), sync=lambda _descriptor: None) as ledger:
        for start in range(0, records, 500):
            ledger.append_many([bodies[at % len(bodies)] for at in range(start, min(records, start + 500))])


def ledger_rows(table: Table, folder: Path, records: int) -> None:
    """Add the rows of a large ledger."""
    began = time.perf_counter()
    with closing(JournalIndex(folder)) as index:
        table.add_row(f"index of {records:,} records", f"{1000 * (time.perf_counter() - began):.0f} ms", "")
        asked: list[tuple[str, Callable[[], object]]] = [
            ("page of 25, newest", lambda: index.page(Query(), None, 25)),
            ("page of 25, in the middle", lambda: index.page(Query(), records // 2, 25)),
            ("search that finds nothing", lambda: index.page(Query(text="nothing like it"), None, 25)),
            ("search by verdict", lambda: index.page(Query(verdict="latched"), None, 25)),
            ("explanation of the last", lambda: index.explained(records - 1)),
        ]
        for name, ask in asked:
            took = []
            for _ in range(5):
                began = time.perf_counter()
                ask()
                took.append(1000 * (time.perf_counter() - began))
            table.add_row(name, _ms(took), "no freeze")


def viewer_rows(table: Table, viewers: int) -> None:
    """Add the rows of the loop's CPU time: of its own thread, and of all else in its process."""
    alone = 0.0
    for count in (None, 0, 1, viewers):
        with tempfile.TemporaryDirectory() as name:
            costs = [loop_cost(Path(name) / str(number), count) for number in range(3)]
        own, beside, wall = (min(figures) for figures in zip(*costs, strict=True))
        alone = own if count is None else alone
        label = "no server" if count is None else f"a server, {count} viewers"
        share = "" if count is None else f"{100 * (own / alone - 1):+.1f} % (< 5 %)"
        told = f"{1000 * own:.2f} ms own, {1000 * beside:.2f} ms beside, of {1000 * wall:.0f} ms"
        table.add_row(f"a cycle, {label}", told, share)


LOOP = """
import sys, threading, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from benchmarks import dashboard
with dashboard.Loop(Path(sys.argv[1]), 0.02) as loop:
    print(loop.thread_id, flush=True)
    sys.stdin.readline()
"""


def loop_cost(folder: Path, viewers: int | None) -> tuple[float, float, float]:
    """Return seconds per cycle of a loop in a process of its own, watched by so many.

    CPU time of the loop's thread, CPU time of the threads beside it, and wall time.
    """
    folder.mkdir(parents=True)
    loop = subprocess.Popen(
        [sys.executable, "-c", LOOP, str(folder), sys.path[0]], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert loop.stdout is not None
    thread_id = int(loop.stdout.readline())
    try:
        if viewers is None:
            return _measured(folder, loop.pid, thread_id)
        with Server(folder / "journal", folder / "journal.sock") as server:
            readers = [_Reader(server.url) for _ in range(viewers)]
            time.sleep(1.0)
            cost = _measured(folder, loop.pid, thread_id)
            for reader in readers:
                reader.close()
            return cost
    finally:
        loop.communicate(b"\n", timeout=30)


class _Reader:
    """One who watches the page's events."""

    def __init__(self, url: str) -> None:
        self._answer = urllib.request.urlopen(f"{url}/api/events", timeout=30)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            while self._answer.read1(65_536):
                pass
        except (OSError, ValueError, AttributeError):
            # Closed by the one who measures.
            return

    def close(self) -> None:
        """Watch no more."""
        self._answer.close()


def _measured(folder: Path, pid: int, thread_id: int, wait_s: float = 6.0) -> tuple[float, float, float]:
    def cycle() -> int:
        with ControlClient(folder / "journal.sock") as client:
            return int(client.status()["latest"]["cycle"])

    def spent() -> tuple[float, float]:
        times = {one.id: one.user_time + one.system_time for one in psutil.Process(pid).threads()}
        return times[thread_id], sum(times.values()) - times[thread_id]

    time.sleep(0.5)
    first, before, began_s = cycle(), spent(), time.monotonic()
    time.sleep(wait_s)
    after, ended_s, last = spent(), time.monotonic(), cycle()
    cycles = last - first
    return (after[0] - before[0]) / cycles, (after[1] - before[1]) / cycles, (ended_s - began_s) / cycles


def _ms(figures: list[float]) -> str:
    if len(figures) < 2:
        return "not seen"
    return f"median {median(figures):.0f} ms, 95 % {quantiles(figures, n=20)[-1]:.0f} ms, n {len(figures)}"


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--viewers", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        with Loop(folder) as loop, Server(folder / "journal", loop.socket) as server:
            time.sleep(5)
            show("The page", lambda table: first_paint(browser, table, loop, server))
        browser.close()
        bodies = [one.body for one in read_records(folder / "journal") if "after" in one.body]
        large_ledger(folder / "large", options.records, bodies)
        show("A large ledger", lambda table: ledger_rows(table, folder / "large", options.records))
        show("Viewers", lambda table: viewer_rows(table, options.viewers))


def show(title: str, fill: Callable[[Table], object]) -> None:
    """Measure and print one table."""
    table = Table("what", "figure", "target", title=title)
    fill(table)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
