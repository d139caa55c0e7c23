"""How long a decision takes, beside what it cannot be faster than.

Rows: a proposal without a ledger; the same with a signed record and no fsync, beside the signature alone;
the same made durable, beside a bare append and fdatasync of as many bytes; the controller's own work in a
cycle at 1,000 nodes × 8 dims, beside what its optimizer takes on top and the engine's cycle. All rows take
turns, so that they meet the same moods of the machine. Medians count: over all turns, and of the quietest
one, which is what the machine gives while others that share it leave it alone.

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
from contextlib import ExitStack
from functools import partial
from itertools import chain
from statistics import median, quantiles
from typing import Any, TypeVar, cast

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
from optimizers.protocol import Hold, Optimizer, Outcome, Suggestion

_PROPOSAL = Proposal(1.01, Kind.STEP, "attunement_controller", "gradient step")
_GAINS = (Nano(300_000_000),) * 3
TURNS = 40
T = TypeVar("T")
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


def timed(call: Callable[[], object], times: int) -> list[float]:
    """Return the microseconds that each call took."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter_ns()
        call()
        taken.append((time.perf_counter_ns() - begun) / 1000)
    return taken


class Proposing:
    """Proposals on the same state, over and over."""

    def __init__(self, ledger: NoLedger | Journal) -> None:
        self._ledger = ledger
        self._limits = kernel_limits(Config())
        begun = SafetyKernel.start(
            self._limits, 1.0, ledger, NoEngine(), Nobody(), actor="benchmark", reason="benchmark"
        )
        self._state = begun.state

    def __call__(self, times: int) -> list[float]:
        """Time `propose`."""
        taken = []
        for _ in range(times):
            kernel = SafetyKernel(self._limits, self._state, self._ledger, NoEngine(), Nobody())
            taken += timed(lambda: kernel.propose(_PROPOSAL, _READING), 1)  # noqa: B023 - called at once
        return taken


class Thinking:
    """An optimizer, and how long it took since it was last asked how long."""

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._taken_us = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._optimizer, name)

    def tell(self, outcome: Outcome) -> None:
        """Pass it on."""
        self._spend(partial(self._optimizer.tell, outcome))

    def ask(self) -> Suggestion | Hold:
        """Pass it on."""
        return self._spend(self._optimizer.ask)

    def taken_us(self) -> float:
        """Return the microseconds it took, and count anew."""
        taken, self._taken_us = self._taken_us, 0.0
        return taken

    def _spend(self, call: Callable[[], T]) -> T:
        begun = time.perf_counter_ns()
        answer = call()
        self._taken_us += (time.perf_counter_ns() - begun) / 1000
        return answer


class Attuning:
    """An engine and its controller, without ledger and settle delay."""

    def __init__(self, nodes: int, dims: int) -> None:
        base = Config()
        config = attrs.evolve(base, source=attrs.evolve(base.source, nodes=nodes, dims=dims))
        self._engine = build_engine(config)
        limits = kernel_limits(config)
        kernel = SafetyKernel.start(
            limits, 1.0, NoLedger(), self._engine, Nobody(), actor="benchmark", reason="benchmark"
        )
        self._thinking = Thinking(build_optimizer(config))
        self.controller = LambdaAttunementController(
            self._engine,
            Sensors(self._engine, coherence_window=1, rho=0.0, first_cycle=0),
            kernel,
            BoundedOptimizer(cast(Optimizer, self._thinking), timeout_s=0.5),
            AcceptanceTest(None, limits.tolerance_max),
            settle_delay_s=0.0,
            trial_deadline_s=5.0,
        )
        self._cycles_us: list[float] = []
        self._thought_us: list[float] = []
        self._work_us: list[float] = []

    def __call__(self, times: int) -> list[float]:
        """Time the controller's work in a cycle, its optimizer's left out."""
        self._cycles_us, self._thought_us, self._work_us = [], [], []
        for _ in range(times):
            self._cycles_us += timed(self._engine.run_cycle, 1)
            self._work_us += timed(self.controller.update, 1)
            self._thought_us.append(self._thinking.taken_us())
        return [work - thought for work, thought in zip(self._work_us, self._thought_us, strict=True)]

    def with_optimizer(self, _times: int) -> list[float]:
        """Return what the same took with the optimizer's work."""
        return self._work_us

    def optimizer(self, _times: int) -> list[float]:
        """Return what the optimizer took of it."""
        return self._thought_us

    def cycles(self, _times: int) -> list[float]:
        """Return the times of the engine's cycles between which the controller was timed last."""
        return self._cycles_us


def bare_append(descriptor: int, size: int) -> Callable[[int], list[float]]:
    """Return what times an append of size bytes and its fdatasync."""
    line = bytes(size)
    return partial(timed, lambda: (os.write(descriptor, line), os.fdatasync(descriptor)))


def main() -> None:
    """Measure and print the table."""
    argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0]).parse_args()
    key = SigningKey(bytes(32))
    signers = Signers(key, NoteSigner("benchmark.example/log", SigningKey(bytes([1] * 32))))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        unsynced = stack.enter_context(Ledger.open(folder / "unsynced", signers, sync=lambda _: None))
        synced = stack.enter_context(Ledger.open(folder / "synced", signers))
        signed = Proposing(Journal(unsynced))
        begun = unsynced.health(0.0).size_bytes
        signed(1)
        size = unsynced.health(0.0).size_bytes - begun
        bare = os.open(folder / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        stack.callback(os.close, bare)
        attuning = Attuning(1000, 8)
        stack.callback(attuning.controller.stop)
        rows: tuple[tuple[str, Callable[[int], list[float]], int, str], ...] = (
            ("propose, no ledger", Proposing(NoLedger()), 1_000, "≤ 5"),
            ("propose, signed record, no fsync", signed, 250, "≤ 100"),
            (f"  the signature alone, {size} bytes", partial(timed, lambda: key.sign(bytes(size))), 250, ""),
            ("propose, durable record", Proposing(Journal(synced)), 50, ""),
            (f"  bare append + fdatasync, {size} bytes", bare_append(bare, size), 50, ""),
            ("controller's own work, 1,000 × 8", attuning, 50, "≤ 1000"),
            ("  its optimizer's, the supervisor", attuning.optimizer, 50, ""),
            ("  both", attuning.with_optimizer, 50, ""),
            ("  the engine's cycle", attuning.cycles, 50, ""),
        )
        turns = [[measure(times) for _, measure, times, _ in rows] for _ in range(TURNS)]
    table = Table("what", "median µs", "quietest", "p95", "target")
    for (name, _, _, target), taken in zip(rows, zip(*turns, strict=True), strict=True):
        every = list(chain.from_iterable(taken))
        figures = (median(every), min(map(median, taken)), quantiles(every, n=20)[-1])
        table.add_row(name, *(f"{figure:.1f}" for figure in figures), target)
    console = Console(width=100)
    console.print(f"CPython {platform.python_version()}, {platform.python_compiler()}")
    console.print(table)


if __name__ == "__main__":
    main()
