"""Every command of the runbooks, in the order of the page, against a live loop in a folder of its own.

A comment `<!-- site: NAME -->` in a page says what is found there: a calm loop, one in emergency, … All that
follows it, up to the next such comment, happens at that one site. Pages that only look share a calm one.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
from monitoring_bench import CYCLE_S, ROOT, cli, fetched, free_port, wait_for

from ledger import read_records

PAGES = [ROOT / "runbooks" / "ATTUNEMENT_OPS.md", *sorted((ROOT / "runbooks" / "alerts").glob("*.md"))]
STORM = "shocks: [{kind: partition, start: 12, length: 6, magnitude: 1, share: 0.5}]"
PORT = "9464"


@attrs.frozen
class Command:
    """A line of a page: what is typed, the exit code that it says, and what must be in the output."""

    text: str
    code: int
    said: tuple[str, ...]


@attrs.frozen
class Scene:
    """What happens at one site, in order."""

    page: str
    number: int
    site: str
    commands: tuple[Command, ...]

    @property
    def is_shared(self) -> bool:
        return self.site.endswith(", shared")


def commands(block: str) -> Iterator[Command]:
    """Split a console block: `$ ` begins a command, any other line must be found in its output."""
    found: list[tuple[str, list[str]]] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    for text, said in found:
        plain, _, code = text.partition("  # exit ")
        yield Command(plain, int(code or 0), tuple(said))


def scenes(path: Path) -> Iterator[Scene]:
    text = path.read_text(encoding="utf-8")
    parts = re.split(r"<!-- site: (.+?) -->", text)
    assert "```console" not in parts[0], f"{path.name} has commands before it says where"
    for number, (site, body) in enumerate(zip(parts[1::2], parts[2::2], strict=True)):
        blocks = re.findall(r"```console\n(.*?)```", body, re.DOTALL)
        yield Scene(path.stem, number, site, tuple(one for block in blocks for one in commands(block)))


SCENES = [scene for path in PAGES for scene in scenes(path)]


@attrs.frozen
class Place:
    """A folder with keys, a configuration and, mostly, a loop that runs."""

    folder: Path
    port: int

    def run(self, text: str) -> subprocess.CompletedProcess[str]:
        """Type a line as an operator would."""
        here = {name: value for name, value in os.environ.items() if not name.startswith("ATTUNEMENT__")}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return subprocess.run(
            ["timeout", "60", "bash", "-c", text.replace(f":{PORT}", f":{self.port}")],
            cwd=self.folder,
            env={**here, "PATH": path, "COLUMNS": "200"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def done(self, text: str) -> None:
        finished = self.run(text)
        assert finished.returncode == 0, finished.stdout + finished.stderr

    def start(self) -> None:
        self.done(
            "lambda-attunement run --config attunement.yaml --plain >>run.log 2>&1 & echo $! >attunement.pid"
        )
        wait_for(lambda: "uhes_last_step_timestamp_seconds 1" in self.metrics(), "the first cycle")

    def metrics(self) -> str:
        return fetched(f"http://127.0.0.1:{self.port}/metrics")

    def configure(self, source: str = "", settle_delay_s: float = CYCLE_S / 2, more: str = "") -> None:
        (self.folder / "attunement.yaml").write_text(
            f"""\
attunement:
  settle_delay: {settle_delay_s}
  {more}
  cycles: null
  source: {{nodes: 16, {source}}}
  metrics: {{port: {self.port}}}
  logging: {{audit_ledger_path: ledger, key_path: ledger.key, log_key_path: log.key}}
  governance:
    operators: [{{name: ines, key_path: ines.key.pub}}]
""",
            encoding="utf-8",
        )

    def process(self) -> int | None:
        """The loop's process, None if it is gone."""
        try:
            number = int((self.folder / "attunement.pid").read_text())
            os.kill(number, 0)
        except (OSError, ValueError):
            return None
        return number

    def end(self) -> None:
        """Stop whatever still runs."""
        number = self.process()
        if number is not None:
            os.kill(number, signal.SIGTERM)
            wait_for(lambda: self.process() is None, "the end of the loop")


@contextmanager
def placed(folder: Path, site: str) -> Iterator[Place]:
    """Prepare a site."""
    folder.mkdir()
    place = Place(folder, free_port())
    place.configure(STORM if site == "emergency" else "")
    for words in (("keys", "init"), ("keys", "init", "--path", "ines.key")):
        subprocess.run(
            [*cli(*words), "--config", "attunement.yaml"], cwd=folder, check=True, capture_output=True
        )
    try:
        with mounted(folder / "ledger") if site == "fulldisk" else nothing():
            try:
                _prepare(place, site)
                yield place
            finally:
                place.end()
    finally:
        place.end()


@contextmanager
def nothing() -> Iterator[None]:
    yield


@contextmanager
def mounted(folder: Path) -> Iterator[None]:
    """A disk of four megabytes, which fills up."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], check=False, capture_output=True
    )
    if done.returncode != 0:
        pytest.skip("a file system cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True, capture_output=True)


def _prepare(place: Place, site: str) -> None:
    place.start()
    if site == "emergency":
        wait_for(lambda: 'uhes_kernel_mode{mode="emergency"} 1.0' in place.metrics(), "the storm")
        # The cause is mended: the next start finds a source without the storm.
        place.configure()
    elif site == "frozen":
        place.done(
            "lambda-attunement order make freeze --config attunement.yaml --actor ines --reason maintenance "
            "--out first.json && lambda-attunement order sign first.json --key ines.key"
        )
        place.end()
        place.done(
            "lambda-attunement run --config attunement.yaml --plain --order first.json >>run.log 2>&1 & "
            "echo $! >attunement.pid"
        )
        wait_for(lambda: 'uhes_kernel_mode{mode="frozen"} 1.0' in place.metrics(), "the freeze")
    elif site == "stopped":
        place.end()
    elif site == "forked":
        place.end()
        place.done("mkdir elsewhere && cp -a ledger elsewhere/")
        place.done("lambda-attunement run --config attunement.yaml --plain --cycles 5")
        place.done(
            "ATTUNEMENT__LOGGING__AUDIT_LEDGER_PATH=elsewhere/ledger "
            "lambda-attunement run --config attunement.yaml --plain --cycles 4"
        )
        # Long enough that it is no prefix, whatever the other's length.
        place.done("lambda-attunement run --config attunement.yaml --plain --cycles 20")
    elif site == "fulldisk":
        place.run("cat /dev/zero >ledger/filler")
        wait_for(lambda: place.process() is None, "the end of a loop that cannot record")


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with placed(tmp_path_factory.mktemp("shared") / "site", "calm") as place:
        yield place


def play(place: Place, scene: Scene) -> None:
    for command in scene.commands:
        done = place.run(command.text)
        output = done.stdout + done.stderr
        assert done.returncode == command.code, f"{command.text}\n{output}\n{log(place)}"
        for said in command.said:
            assert said in output, f"{command.text}\n{output}"


def log(place: Place) -> str:
    path = place.folder / "run.log"
    return path.read_text(encoding="utf-8")[-1000:] if path.exists() else ""


def name(scene: Scene) -> str:
    return f"{scene.page}-{scene.number}-{scene.site}"


pytestmark = pytest.mark.skipif(
    shutil.which("curl") is None or shutil.which("bash") is None, reason="curl or bash is not here"
)


@pytest.mark.parametrize("scene", [one for one in SCENES if one.is_shared], ids=name)
def test_looking(calm: Place, scene: Scene) -> None:
    play(calm, scene)


@pytest.mark.parametrize("scene", [one for one in SCENES if not one.is_shared], ids=name)
def test_acting(tmp_path: Path, scene: Scene) -> None:
    with placed(tmp_path / "site", scene.site) as place:
        play(place, scene)


def scene_with(words: str) -> Scene:
    """The one scene of the procedures that has a command with these words."""
    (found,) = (
        one for one in SCENES if one.page == PAGES[0].stem and any(words in cmd.text for cmd in one.commands)
    )
    return found


def bodies(folder: Path) -> list[dict[str, Any]]:
    """The decisions in a ledger, oldest first."""
    return [record.body for record in read_records(folder) if "after" in record.body]


def test_a_new_ledger_begins_at_what_was_committed_and_no_optimizer_steps_unapproved(tmp_path: Path) -> None:
    with placed(tmp_path / "site", "calm") as place:
        place.end()
        # The keys that a procedure sets may be there already; and a trial is open nearly all the time.
        place.configure(settle_delay_s=4.0, more="alpha_initial: 1.1")
        place.start()

        def is_trying() -> bool:
            told = json.loads(place.run("lambda-attunement status --config attunement.yaml --json").stdout)
            return bool(told["mode"] == "trial" and told["alpha"] != told["good"])

        wait_for(is_trying, "a trial")
        play(place, scene_with("last.json"))
        before, after = bodies(place.folder / "ledger.closed"), bodies(place.folder / "ledger")
    assert after[0]["after"]["alpha"] == before[-1]["after"]["good"]
    events = [body["event"] for body in after]
    assert "propose" not in events[: events.index("approve")]


def test_the_limits_are_changed_where_the_configuration_names_them_already(tmp_path: Path) -> None:
    with placed(tmp_path / "site", "calm") as place:
        place.configure(more="delta_alpha_max: 0.02")
        play(place, scene_with("policy.json"))
