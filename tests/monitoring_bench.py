"""A real loop, a Prometheus that scrapes it, an Alertmanager, and who is told: all on 127.0.0.1."""

import http.server
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import attrs

ROOT = Path(__file__).resolve().parents[1]
MONITORING = ROOT / "docs" / "monitoring"
PROGRAMS = ("prometheus", "prometheus-alertmanager", "promtool", "amtool")
PATIENCE_S = 60.0
CYCLE_S = 0.1
STORM = {"kind": "partition", "start": 160, "length": 6, "magnitude": 1, "share": 0.5}


def missing() -> list[str]:
    """Programs that are not here."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """Return what a condition gives once it is true."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        try:
            found = condition()
        except OSError:
            found = None
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError(f"{what}: waited for {PATIENCE_S:g} s in vain")


def fetched(url: str) -> str:
    try:
        with urlopen(url, timeout=10) as response:
            return str(response.read().decode("utf-8"))
    except HTTPError as refusal:
        # It holds the connection.
        refusal.close()
        raise


@attrs.define
class Stack:
    """What runs.

    Attributes:
        folder: Holds everything that is written.
        loop_port, prometheus_port, alertmanager_port: Where they listen.
        told: (receiver, alert's name, status) in the order in which receivers were told.
    """

    folder: Path
    loop_port: int
    prometheus_port: int
    alertmanager_port: int
    told: list[tuple[str, str, str]] = attrs.field(factory=list)
    loop: subprocess.Popen[bytes] | None = None

    @property
    def prometheus(self) -> str:
        return f"http://127.0.0.1:{self.prometheus_port}"

    @property
    def config(self) -> Path:
        return self.folder / "attunement.yaml"

    def metrics(self) -> str:
        """The exposition of the loop as it is now."""
        return fetched(f"http://127.0.0.1:{self.loop_port}/metrics")

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Samples of an instant query."""
        return self._asked("query", query=expression)

    def query_range(self, expression: str, seconds: float, step_s: float = 1.0) -> list[dict[str, Any]]:
        """Series over the last so many seconds."""
        now_s = time.time()
        return self._asked("query_range", query=expression, start=now_s - seconds, end=now_s, step=step_s)

    def value(self, expression: str) -> float | None:
        """The first sample's value, None when there is none."""
        found = self.query(expression)
        return float(found[0]["value"][1]) if found else None

    def alerts(self) -> list[dict[str, Any]]:
        """What the Alertmanager holds."""
        found: list[dict[str, Any]] = json.loads(
            fetched(f"http://127.0.0.1:{self.alertmanager_port}/api/v2/alerts")
        )
        return found

    def start_loop(self) -> None:
        with (self.folder / "loop.log").open("ab") as log:
            self.loop = subprocess.Popen(
                [*cli("run", "--plain"), "--config", self.config], stdout=log, stderr=log, cwd=self.folder
            )
        wait_for(self.metrics, "metrics of the loop")

    def stop_loop(self) -> int:
        """End the loop as an operator does; return its exit code."""
        assert self.loop is not None
        self.loop.send_signal(signal.SIGTERM)
        return self.loop.wait(30)

    def _asked(self, endpoint: str, **arguments: Any) -> list[dict[str, Any]]:
        answer = json.loads(fetched(f"{self.prometheus}/api/v1/{endpoint}?{urlencode(arguments)}"))
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found


def cli(*arguments: str) -> list[str]:
    """The command line's words, run by this interpreter."""
    return [sys.executable, "-m", "attunement", *arguments]


def write_config(path: Path, port: int, shocks: list[dict[str, Any]], **changes: Any) -> None:
    """Write the configuration of a loop that runs until it is stopped."""
    document = {
        "settle_delay": CYCLE_S,
        "cycles": None,
        "source": {"nodes": 32, "shocks": shocks},
        "metrics": {"port": port},
        "logging": {"audit_ledger_path": "var/ledger", "key_path": "ledger.key", "log_key_path": "log.key"},
        **changes,
    }
    path.write_text(json.dumps({"attunement": document}), encoding="utf-8")


def copied_rules(stack: Stack, receiver_port: int) -> None:
    """Copy the files of docs/monitoring with this stack's ports, and with seconds where they have minutes."""
    replaced = {
        "127.0.0.1:9464": f"127.0.0.1:{stack.loop_port}",
        "127.0.0.1:9093": f"127.0.0.1:{stack.alertmanager_port}",
        "127.0.0.1:9095": f"127.0.0.1:{receiver_port}",
        "scrape_interval: 5s": "scrape_interval: 1s",
        "evaluation_interval: 5s": "evaluation_interval: 1s",
        "group_wait: 10s": "group_wait: 0s",
    }
    for name in ("prometheus.yml", "alertmanager.yml", "recording.yml", "alerts.yml"):
        text = (MONITORING / name).read_text(encoding="utf-8")
        for one, other in replaced.items():
            text = text.replace(one, other)
        (stack.folder / name).write_text(text, encoding="utf-8")


@contextmanager
def receivers(told: list[tuple[str, str, str]]) -> Iterator[int]:
    """Listen for what the Alertmanager tells; the receiver's name is the path."""

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            told.extend(
                (self.path.strip("/"), alert["labels"]["alertname"], alert["status"])
                for alert in body["alerts"]
            )
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """What was told is kept in the list."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield int(server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def running(words: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends."""
    with log.open("wb") as stream:
        process = subprocess.Popen(words, stdout=stream, stderr=stream, cwd=log.parent)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def monitored(folder: Path) -> Iterator[Stack]:
    """Start all of it, with a storm ahead; Prometheus has scraped the loop when the block begins."""
    stack = Stack(folder, free_port(), free_port(), free_port())
    write_config(stack.config, stack.loop_port, [STORM])
    subprocess.run(
        [*cli("keys", "init"), "--config", stack.config], cwd=folder, check=True, capture_output=True
    )
    with ExitStack() as open_now:
        copied_rules(stack, open_now.enter_context(receivers(stack.told)))
        open_now.enter_context(
            running(
                [
                    "prometheus-alertmanager",
                    f"--config.file={folder / 'alertmanager.yml'}",
                    f"--storage.path={folder / 'alertmanager'}",
                    f"--web.listen-address=127.0.0.1:{stack.alertmanager_port}",
                    "--cluster.listen-address=",
                ],
                folder / "alertmanager.log",
            )
        )
        open_now.enter_context(
            running(
                [
                    "prometheus",
                    f"--config.file={folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={folder / 'prometheus'}",
                    f"--web.listen-address=127.0.0.1:{stack.prometheus_port}",
                ],
                folder / "prometheus.log",
            )
        )
        wait_for(lambda: fetched(f"{stack.prometheus}/-/ready"), "Prometheus")
        stack.start_loop()
        try:
            wait_for(lambda: stack.value("up") == 1.0, "the first scrape")
            yield stack
        finally:
            if stack.loop is not None and stack.loop.poll() is None:
                stack.stop_loop()


def dashboard() -> dict[str, Any]:
    """The dashboard as it is stored."""
    found: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
    return found


def as_asked(expression: str) -> str:
    """A panel's expression with Grafana's variables filled in."""
    return expression.replace("$__rate_interval", "15s").replace("$instance", ".+")
