"""How long a decision takes, beside what it cannot be faster than.

Rows: a proposal without a ledger; the same with a signed record and no fsync, beside the signature alone;
the same made durable, beside a bare append and fdatasync of as many bytes; the controller's own work in a
cycle at 1,000 nodes × 8 dims, beside the engine's cycle. Medians and 95th percentiles.

    python benchmarks/latency.py
"""

import sys
from pathlib import Path

# A script's own folder comes first on the path, where attunement.py would hide the package of its name.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable
from statistics import median, quantiles

import attrs
from rich.console import Console
from rich.table import Table

from attunement.acceptance import AcceptanceTest
from attunement.asking import BoundedOptimizer
from attunement.assembly import build_optimizer
from attunement.build import build_engine
from attunement.config_schema import Config
from attunement.controller import LambdaAttunementController
from attunement.journal import Journal
from attunement.measurement import Sensors
from attunement.policy import kernel_limits
from kernel import Entry, Kind, Order, Proposal, Reading, SafetyKernel
from kernel.quantity import NANO, Nano
from ledger import Ledger, NoteSigner, Signers, SigningKey

_PROPOSAL = Proposal(1.01, Kind.STEP, "attunement_controller", "gradient step")
_GAINS = (Nano(300_000_000),) * 3
_READING = Reading(1, Nano(NANO), Nano(NANO // 2), Nano(1000), Nano(990_000_000), _GAINS, _GAINS)


class NoLedger:
    """Records nothing, so that the decision alone is timed."""

    def append(self, entry: Entry) -> None:
        """Forget the entry."""


class Nobody:
    """Authorises nothing."""

    def authorises(self, _order: Order) -> bool:
        """Say no."""
        return False


class NoEngine:
    """Applies nothing."""

    def set_alpha_multiplier(self, alpha: float) -> None:
        """Forget α."""


def timed(call: Callable[[], object], times: int, before: Callable[[], object] = lambda: None) -> list[float]:
    """Return the microseconds that each call took."""
    taken = []
    for _ in range(times):
        before()
        begun = time.perf_counter_ns()
        call()
        taken.append((time.perf_counter_ns() - begun) / 1000)
    return taken


def proposing(ledger: NoLedger | Journal, times: int) -> list[float]:
    """Time `propose` on the same state, over and over."""
    authority = Nobody()
    engine = NoEngine()
    limits = kernel_limits(Config())
    begun = SafetyKernel.start(limits, 1.0, ledger, engine, authority, actor="benchmark", reason="benchmark")
    state = begun.state
    taken = []
    for _ in range(times):
        kernel = SafetyKernel(limits, state, ledger, engine, authority)
        taken += timed(lambda: kernel.propose(_PROPOSAL, _READING), 1)  # noqa: B023 - called at once
    return taken


def bare_append(path: Path, size: int, times: int) -> list[float]:
    """Time an append of size bytes and its fdatasync."""
    line = bytes(size)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        return timed(lambda: (os.write(descriptor, line), os.fdatasync(descriptor)), times)
    finally:
        os.close(descriptor)


def cycles(nodes: int, dims: int, times: int) -> tuple[list[float], list[float]]:
    """Time the engine's cycle and the controller's own work in it, without ledger and settle delay."""
    base = Config()
    config = attrs.evolve(base, source=attrs.evolve(base.source, nodes=nodes, dims=dims))
    engine = build_engine(config)
    limits = kernel_limits(config)
    authority = Nobody()
    kernel = SafetyKernel.start(limits, 1.0, NoLedger(), engine, authority, actor="benchmark", reason="b")
    controller = LambdaAttunementController(
        engine,
        Sensors(engine, coherence_window=1, rho=0.0, first_cycle=0),
        kernel,
        BoundedOptimizer(build_optimizer(config), timeout_s=0.5),
        AcceptanceTest(None, limits.tolerance_max),
        settle_delay_s=0.0,
        trial_deadline_s=5.0,
    )
    engine_us, controller_us = [], []
    for _ in range(times):
        engine_us += timed(engine.run_cycle, 1)
        controller_us += timed(controller.update, 1)
    controller.stop()
    return engine_us, controller_us


def main() -> None:
    """Measure and print the table."""
    argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0]).parse_args()
    table = Table("what", "median µs", "p95 µs", "target")

    def row(name: str, taken: list[float], target: str = "") -> None:
        table.add_row(name, f"{median(taken):.1f}", f"{quantiles(taken, n=20)[-1]:.1f}", target)

    row("propose, no ledger", proposing(NoLedger(), 20_000), "≤ 5")
    key = SigningKey(bytes(32))
    signers = Signers(key, NoteSigner("benchmark.example/log", SigningKey(bytes([1] * 32))))
    with tempfile.TemporaryDirectory() as folder:
        with Ledger.open(Path(folder) / "unsynced", signers, sync=lambda _: None) as ledger:
            row("propose, signed record, no fsync", proposing(Journal(ledger), 5_000), "≤ 100")
            size = (Path(folder) / "unsynced" / "journal").stat().st_size // ledger.head().sequence
        message = bytes(size)
        row(f"  the signature alone, {size} bytes", timed(lambda: key.sign(message), 5_000))
        with Ledger.open(Path(folder) / "synced", signers) as ledger:
            row("propose, durable record", proposing(Journal(ledger), 1_000))
        row(f"  bare append + fdatasync, {size} bytes", bare_append(Path(folder) / "bare", size, 1_000))
    engine_us, controller_us = cycles(1000, 8, 1_000)
    row("controller's own work, 1,000 × 8", controller_us, "≤ 1000")
    row("  the engine's cycle", engine_us)
    console = Console(width=100)
    console.print(f"CPython {platform.python_version()}, {platform.python_compiler()}")
    console.print(table)


if __name__ == "__main__":
    main()
