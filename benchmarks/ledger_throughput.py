"""Measure the ledger: durable records a second beside the bare disk, and verified records a second.

The bare loop and the appends take turns in one run, so that both meet the same disk. The median over the
turns counts; the quietest turn is what the machine gives while others that share it leave it alone.
"""

import sys
from pathlib import Path

# A script's own folder comes first on the path, where attunement.py would hide the package of its name.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import click
from rich.console import Console
from rich.table import Table

from attunement.journal import encode_entry
from kernel import Entry, Kind, Mode, Outcome, Reading, State
from kernel.state import Verdict as Decision
from ledger import Cadence, Canonical, Ledger, NoteSigner, Signers, SigningKey, Verdict, verify

SIGNERS = Signers(SigningKey(bytes(32)), NoteSigner("localhost/benchmark", SigningKey(bytes(31) + b"\1")))
GROUP = 64
TURNS = 30
PARTS = 50


def decision() -> Entry:
    """Return a decision that a running kernel records before α moves."""
    before = State(Mode.READY, 1_000_000_000, 1_000_000_000, 4711, 0, 0, 1, Kind.STEP, Mode.READY)
    after = before._replace(mode=Mode.TRIAL, alpha=1_019_806_531, cycle=4712)
    gains = (365_912_001, 365_912_002, 365_912_003)
    reading = Reading(4712, 1_000_000_000, 744_960_112, 1_234_567, 981_022_345, gains, gains)
    return Entry(
        event="propose",
        before=before,
        after=after,
        verdict=Decision(Outcome.ACCEPTED, ()),
        actor="attunement_controller",
        reason="gradient step",
        target=1_019_806_531,
        kind=Kind.STEP,
        limits=None,
        reading=reading,
        comparison=None,
    )


def seconds(action: Callable[[], object]) -> float:
    """Return how long an action takes."""
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def bare_loop(descriptor: int, data: bytes, count: int) -> None:
    """Append and sync, and do nothing else."""
    for _ in range(count):
        os.write(descriptor, data)
        os.fdatasync(descriptor)


def single_appends(folder: Path, entry: Entry, count: int) -> tuple[list[float], list[float], int]:
    """Return the seconds of each turn of the bare loop and of the ledger, and the bytes of a frame."""
    bare: list[float] = []
    ours: list[float] = []
    with Ledger.open(folder / "single", SIGNERS) as ledger:
        size = -ledger.health(1.0).size_bytes
        ledger.append(encode_entry(entry))
        size += ledger.health(1.0).size_bytes
        descriptor = os.open(folder / "bare", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        for _ in range(TURNS):
            bare.append(seconds(lambda: bare_loop(descriptor, bytes(size), count)))
            ours.append(seconds(lambda: [ledger.append(encode_entry(entry)) for _ in range(count)]))
        os.close(descriptor)
    return bare, ours, size


def group_appends(folder: Path, entry: Entry, groups: int, writers: int) -> list[float]:
    """Return the seconds of each turn, in which every writer appends so many groups.

    With several writers, as when several kernels share a ledger, a group is signed while the one before is
    made durable.
    """

    def write() -> None:
        for _ in range(groups):
            ledger.append_many([encode_entry(entry) for _ in range(GROUP)])

    def turn() -> None:
        with ThreadPoolExecutor(writers) as pool:
            for task in [pool.submit(write) for _ in range(writers)]:
                task.result()

    with Ledger.open(folder / f"group-{writers}", SIGNERS) as ledger:
        return [seconds(turn) for _ in range(TURNS)]


def write_long(folder: Path, body: Canonical, records: int) -> None:
    """Write a long ledger as fast as it goes: it is not the writing that is measured."""
    cadence = Cadence(records=1 << 16, seconds=3600.0)
    bodies = [body] * 1024
    with Ledger.open(folder, SIGNERS, cadence=cadence, sync=lambda _: None) as ledger:
        for _ in range(records // 1024):
            ledger.append_many(bodies)
        ledger.append_many(bodies[: max(0, records - 1 - ledger.head().sequence)])


def verify_long(folder: Path) -> None:
    """Verify in this process, and print its largest memory in MB and the seconds that each part took."""
    marks = [time.process_time()]

    def note(done: int, total: int) -> None:
        if done >= total * len(marks) / PARTS:
            marks.append(time.process_time())

    report = verify(folder, SIGNERS.records.verify_key, progress=note)
    assert report.verdict is Verdict.NO_ANCHOR, report.finding
    taken = (after - before for before, after in pairwise(marks))
    click.echo(" ".join(map(str, (largest_memory_mb(), *taken))))


def largest_memory_mb() -> float:
    """Return the most that this process ever had in memory since its program was started.

    getrusage(2) would count what the process before that program had, which is a copy of its parent.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


@click.command()
@click.option("--count", default=100, show_default=True, help="Appends in each turn.")
@click.option("--records", default=1_000_000, show_default=True, help="Length of the ledger to verify.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Where to write, instead of a scratch folder."
)
@click.option("--verify", "verified", type=click.Path(path_type=Path), hidden=True)
def main(count: int, records: int, folder: Path | None, verified: Path | None) -> None:
    """Print the figures and their targets."""
    if verified is not None:
        verify_long(verified)
        return
    entry = decision()
    groups = max(1, count // 4)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        place = Path(scratch)
        bare, ours, size = single_appends(place, entry, count)
        grouped = {writers: group_appends(place, entry, groups, writers) for writers in (1, 2)}
        write_long(place / "long", encode_entry(entry), records)
        # In a process of its own, so that its memory is that of verifying alone.
        told = subprocess.run(
            [sys.executable, __file__, "--verify", str(place / "long")],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()
    memory, *parts = map(float, told)
    table = Table("what", "records/s", "quietest turn", "target")

    def row(name: str, done: int, taken: list[float], target: str = "") -> None:
        table.add_row(name, f"{done / statistics.median(taken):,.0f}", f"{done / min(taken):,.0f}", target)

    share = statistics.median(bare) / statistics.median(ours)
    row(f"bare append + fdatasync, {size} bytes", count, bare)
    row("one durable record at a time", count, ours, "60 % of bare")
    table.add_row("  of bare", f"{share:.0%}", f"{min(bare) / min(ours):.0%}", "")
    for writers, turns in grouped.items():
        row(f"groups of {GROUP}, {writers} at a time", groups * GROUP * writers, turns, "20,000")
    row(f"verified of {records:,}, on one core", records // PARTS, parts, "8,000")
    console = Console(width=100)
    console.print(f"CPython {platform.python_version()}, {platform.python_compiler()}")
    console.print(table)
    console.print(f"largest memory of verifying {memory:,.0f} MB, target 200 MB")


if __name__ == "__main__":
    main()
