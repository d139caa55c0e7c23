"""Runs of the service at fixed settings and attuned, each under the same load with a step in it."""

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs

from attunement.assembly import Attunement
from attunement.calibrate import Baseline, calibrate
from attunement.config_schema import Config
from attunement.running import run_cycles
from attunement.telemetry import CycleReport
from examples.live_service.engine import LiveService
from examples.live_service.load import Answered, Phase
from examples.live_service.server import Settings
from kernel import Outcome
from ledger import NoteSigner, Signers, Verdict, generate, verify

ROOT: Final = Path(__file__).resolve().parents[2]
ALPHA_MIN, ALPHA_MAX, DELTA_MAX = 0.25, 1.6, 0.08
GRID: Final = (0.25, 0.4, 0.55, 0.75, 1.0, 1.3)
"""Fixed settings that the attuned run is held against; α = 1 is among them."""


@attrs.frozen
class Plan:
    """The load, and how long each kind of run bears it.

    Args:
        before, after: Rate [1/s] and items of a request before and after the load step.
        fixed_s: Length of each of the two phases at a fixed setting, seconds.
        warm_s: Time under the first load that attuning may take before it is measured, seconds.
        rise_s: Part of it that passes before attuning begins, seconds.
        attuned_s: Length of each of the two phases of the attuned run, seconds.
        calibration_cycles: Cycles at α = 1 that the limits are taken from.
        window_s: Length of a cycle, seconds.
        optimizer: Name of the optimizer.
    """

    before: tuple[float, int] = (250.0, 3)
    after: tuple[float, int] = (250.0, 4)
    fixed_s: float = 15.0
    warm_s: float = 90.0
    rise_s: float = 3.0
    attuned_s: float = 55.0
    calibration_cycles: int = 20
    window_s: float = 1.0
    optimizer: str = "supervisor"


@attrs.frozen
class Figures:
    """What clients saw.

    Attributes:
        goodput: Answers in time per second, the mean of both phases.
        goodputs: The same before and after the load step.
        p99_s: 99th percentile of the latency of requests that were admitted, seconds.
        p99s_s: The same before and after the load step.
        success: Share of the admitted requests that were answered in time.
    """

    goodput: float
    goodputs: tuple[float, float]
    p99_s: float
    p99s_s: tuple[float, float]
    success: float


@attrs.frozen
class Attuned:
    """One attuned run."""

    figures: Figures
    warm: tuple[float, float]
    trace: tuple[tuple[float, float, float], ...]
    verdict: str
    records: int
    outcomes: dict[str, int]
    baseline: Baseline


@attrs.frozen
class Round:
    """The grid of fixed settings and the attuned run, one after the other under the same seeds of load."""

    fixed: dict[float, Figures]
    attuned: Attuned

    @property
    def best(self) -> float:
        """The fixed α with the largest goodput over both phases."""
        return max(self.fixed, key=lambda alpha: self.fixed[alpha].goodput)


@contextmanager
def service(settings: Settings, seed: int) -> Iterator[int]:
    """Run the service in a process of its own, and give its port."""
    command = [sys.executable, "-m", "examples.live_service.server"]
    command += ["--settings", json.dumps(attrs.asdict(settings)), "--seed", str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()


@attrs.define
class Load:
    """The load in a process of its own; what its clients saw comes once it is over."""

    process: subprocess.Popen[str]

    @classmethod
    def start(cls, port: int, phases: Sequence[Phase], known_items: int, seed: int) -> "Load":
        """Begin to offer load."""
        command = [sys.executable, "-m", "examples.live_service.load", "--port", str(port)]
        command += ["--phases", json.dumps([attrs.asdict(phase) for phase in phases])]
        command += ["--items", str(known_items), "--seed", str(seed)]
        return cls(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT))

    def answered(self) -> list[Answered]:
        """Wait for the end, and return every request in the order it was answered."""
        out, _ = self.process.communicate()
        if self.process.returncode != 0:
            raise RuntimeError(f"the load ended with exit code {self.process.returncode}, must be 0")
        return [Answered(*json.loads(line)) for line in out.splitlines()]

    def __enter__(self) -> "Load":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


def run_fixed(alpha: float, plan: Plan, settings: Settings, seed: int) -> Figures:
    """Bear both phases at one α."""
    phases = [Phase(plan.fixed_s, *plan.before), Phase(plan.fixed_s, *plan.after)]
    with service(settings, seed) as port:
        LiveService(port, settings.base, settings.pool, 1.0).set_alpha_multiplier(alpha)
        with Load.start(port, phases, settings.items, seed) as load:
            return figures(load.answered(), 0.0, plan.fixed_s, settings.deadline_s)


def run_attuned(plan: Plan, settings: Settings, seed: int, folder: Path) -> Attuned:
    """Calibrate at α = 1, and attune from there: warm-up, first phase, load step, second phase."""
    steady = plan.warm_s + plan.attuned_s
    phases = [Phase(steady, *plan.before), Phase(plan.attuned_s, *plan.after)]
    with service(settings, seed) as port:
        # The load of the calibration is another than that of the run, and ends with it.
        with Load.start(port, [Phase(3600.0, *plan.before)], settings.items, seed + 1000):
            density, baseline = _calibrated(port, plan, settings)
        engine = LiveService(port, settings.base, settings.pool, density, plan.window_s)
        config = _config(plan, baseline, folder)
        with Load.start(port, phases, settings.items, seed) as load:
            watch = _Watch(engine)
            # Until the new load is there the service only ends what the calibration's load had begun.
            time.sleep(plan.rise_s)
            records, verdict = _attune(config, engine, watch, plan.warm_s + 2 * plan.attuned_s - plan.rise_s)
            answered = load.answered()
    start_s = min(one.arrived_s for one in answered)
    warm = [one for one in answered if one.arrived_s - start_s < plan.warm_s]
    return Attuned(
        figures=figures(answered, plan.warm_s, steady, settings.deadline_s),
        warm=(_goodput(warm, plan.warm_s, settings.deadline_s), _p99(warm)),
        trace=tuple((at_s - start_s, alpha, goodput) for at_s, alpha, goodput in watch.trace),
        verdict=verdict,
        records=records,
        outcomes=dict(sorted(watch.outcomes.items())),
        baseline=baseline,
    )


def figures(answered: Sequence[Answered], from_s: float, step_s: float, deadline_s: float) -> Figures:
    """Take the figures of both phases; two phases of the same length begin at from_s and at step_s."""
    start_s = min(one.arrived_s for one in answered)
    length_s = max(one.arrived_s for one in answered) - start_s - step_s
    seen = [(one.arrived_s - start_s, one) for one in answered]
    first = [one for at_s, one in seen if from_s <= at_s < step_s]
    second = [one for at_s, one in seen if step_s <= at_s]
    goodputs = (
        _goodput(first, step_s - from_s, deadline_s),
        _goodput(second, length_s, deadline_s),
    )
    both = [*first, *second]
    admitted = [one for one in both if one.status in (200, 504)]
    in_time = [one for one in admitted if _in_time(one, deadline_s)]
    return Figures(
        goodput=sum(goodputs) / 2,
        goodputs=goodputs,
        p99_s=_p99(both),
        p99s_s=(_p99(first), _p99(second)),
        success=len(in_time) / max(len(admitted), 1),
    )


def run_rounds(
    plan: Plan,
    settings: Settings,
    rounds: int,
    grid: Sequence[float] = GRID,
    on_progress: Callable[[str], object] = lambda _: None,
) -> list[Round]:
    """Run the grid and the attuned run again and again, each round with a load of its own."""
    done = []
    for number in range(rounds):
        fixed = {}
        for alpha in grid:
            on_progress(f"round {number + 1}: α = {alpha:g} fixed")
            fixed[alpha] = run_fixed(alpha, plan, settings, number)
        on_progress(f"round {number + 1}: attuned")
        with tempfile.TemporaryDirectory(prefix="live-service-") as folder:
            done.append(Round(fixed, run_attuned(plan, settings, number, Path(folder))))
    return done


class _Watch:
    """Notes α, goodput and every outcome of an attuned run."""

    def __init__(self, engine: LiveService) -> None:
        self._engine = engine
        self.trace: list[tuple[float, float, float]] = []
        self.outcomes: dict[str, int] = {}

    def on_report(self, report: CycleReport) -> None:
        for entry in report.entries:
            name = entry.verdict.outcome.value
            if entry.verdict.outcome is not Outcome.HELD:
                self.outcomes[name] = self.outcomes.get(name, 0) + 1
        if report.measurement is not None:
            self.trace.append((time.monotonic(), report.measurement.alpha, self._engine.newest.goodput))


def _calibrated(port: int, plan: Plan, settings: Settings) -> tuple[float, Baseline]:
    probe = LiveService(port, settings.base, settings.pool, 1.0, plan.window_s)
    densities: list[float] = []
    probe.on_cycle_end(lambda: densities.append(probe.newest.density) if probe.cycle else None)
    probe.set_alpha_multiplier(1.0)
    baseline = calibrate(probe, plan.calibration_cycles, 0.99, DELTA_MAX)
    return sum(densities) / len(densities), baseline


def _config(plan: Plan, baseline: Baseline, folder: Path) -> Config:
    base = Config()
    return attrs.evolve(
        base,
        alpha_min=ALPHA_MIN,
        alpha_max=ALPHA_MAX,
        delta_alpha_max=DELTA_MAX,
        settle_delay=0.0,
        safety=attrs.evolve(
            base.safety,
            entropy_max=baseline.entropy_max,
            entropy_severe=baseline.entropy_severe,
            h_internal_min=baseline.h_internal_min,
            h_internal_severe=baseline.h_internal_severe,
        ),
        optimizer=attrs.evolve(base.optimizer, name=plan.optimizer),
        logging=attrs.evolve(base.logging, audit_ledger_path=str(folder / "ledger")),
    )


def _attune(config: Config, engine: LiveService, watch: _Watch, seconds: float) -> tuple[int, str]:
    folder = Path(config.logging.audit_ledger_path)
    keys = [generate(folder.with_name(name), folder.with_name(f"{name}.pub")) for name in ("key", "log-key")]
    stop, origin = threading.Event(), config.logging.origin
    timer = threading.Timer(seconds, stop.set)
    with Attunement(
        config, engine, Signers(keys[0], NoteSigner(origin, keys[1])), subscribers=(watch,)
    ) as attunement:
        attunement.controller.start()
        timer.start()
        run_cycles(engine, None, 0.0, stop)
    head = attunement.ledger.head()
    report = verify(folder, keys[0].verify_key, anchor=head)
    if report.verdict is not Verdict.VERIFIED:
        return 0, f"{report.verdict.value}: {report.finding}"
    return (0 if head is None else head.sequence + 1), report.verdict.value


def _in_time(one: Answered, deadline_s: float) -> bool:
    return one.status == 200 and one.latency_s <= deadline_s


def _goodput(answered: Sequence[Answered], seconds: float, deadline_s: float) -> float:
    return sum(_in_time(one, deadline_s) for one in answered) / seconds


def _p99(answered: Sequence[Answered]) -> float:
    latencies = sorted(one.latency_s for one in answered if one.status in (200, 504))
    return latencies[min(int(0.99 * len(latencies)), len(latencies) - 1)] if latencies else 0.0


def as_json(rounds: Sequence[Round]) -> list[dict[str, Any]]:
    """Return every figure in JSON's types."""
    return [
        {
            "best_fixed": one.best,
            "fixed": [{"alpha": alpha, **attrs.asdict(figures)} for alpha, figures in one.fixed.items()],
            "attuned": {**attrs.asdict(one.attuned), "final_alpha": one.attuned.trace[-1][1]},
        }
        for one in rounds
    ]
