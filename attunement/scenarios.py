"""Landscapes with a known best α, to hold optimizers against under the real controller, kernel and ledger."""

import os
import tempfile
import time
from collections.abc import Callable, Mapping
from math import exp, pi, sin, sqrt
from pathlib import Path
from threading import Event
from typing import Final

import attrs
import numpy as np

from attunement.assembly import Attunement
from attunement.config_schema import Config
from attunement.engine_protocol import SCALES, ScaleGain
from attunement.running import run_cycles
from attunement.telemetry import CycleReport
from kernel import Outcome
from kernel.quantity import to_float
from ledger import NoteSigner, Signers, SigningKey

_GRID: Final = 401
_LEAST_COHERENCE: Final = 1e-9
_SIGNERS: Final = Signers(
    SigningKey(bytes(range(32))), NoteSigner("localhost/scenarios", SigningKey(bytes(range(1, 33))))
)
_SCRATCH: Final = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Where memory is a disk: a score is not to depend on the disk."""
_GAINS: Final = dict.fromkeys(SCALES, ScaleGain(drive=0.1, loop_gain=0.1))


@attrs.frozen
class Scenario:
    """A landscape of Ĉ over α and time.

    Args:
        name: Short name.
        coherence: Ĉ without noise, of α and the share of the run that is over, in [0, 1).
        sigma: Standard deviation of the noise of Ĉ.
        entropy_rate: Entropy rate [1/cycle] of α.
        lag: Time constant with which α takes effect, cycles; 0 for at once.
    """

    name: str
    coherence: Callable[[float, float], float]
    sigma: float
    entropy_rate: Callable[[float], float] = lambda _: 0.001
    lag: float = 0.0


def _parabola(peak: Callable[[float], float]) -> Callable[[float, float], float]:
    return lambda alpha, share: 0.9 - 4 * (alpha - peak(share)) ** 2


def _two_peaks(alpha: float, _share: float) -> float:
    high, low = exp(-(((alpha - 1.13) / 0.05) ** 2)), exp(-(((alpha - 0.96) / 0.06) ** 2))
    return 0.55 + 0.33 * high + 0.2 * low


SCENARIOS: Final = (
    Scenario("quadratic", _parabola(lambda _: 1.1), 0.005),
    Scenario("noisy", _parabola(lambda _: 1.1), 0.02),
    Scenario("drift", _parabola(lambda share: 1 + 0.1 * sin(4 * pi * share)), 0.005),
    Scenario("step", _parabola(lambda share: 1.1 if share < 0.5 else 0.92), 0.005),
    Scenario(
        "ramp",
        _parabola(lambda _: 1.18),
        0.005,
        lambda alpha: 0.001 + 0.001 * (max(alpha - 0.8, 0.0) / 0.32) ** 2,
    ),
    Scenario("cliff", _parabola(lambda _: 1.18), 0.005, lambda alpha: 0.001 if alpha <= 1.12 else 0.004),
    Scenario("lag", _parabola(lambda _: 1.1), 0.005, lag=5.0),
    Scenario("two-peaks", _two_peaks, 0.005),
)


class ScenarioEngine:
    """An engine whose figures are the scenario's.

    Args:
        scenario: The landscape.
        cycles: Length of the run.
        seed: Seed of the noise.
    """

    def __init__(self, scenario: Scenario, cycles: int, seed: int) -> None:
        self._scenario = scenario
        self._cycles = cycles
        self._dice = np.random.default_rng(seed)
        self._alpha = 1.0
        self._effective: float | None = None
        self._coherence = 0.0
        self._callbacks: list[Callable[[], None]] = []
        self.cycle = 0
        self.cycle_alpha = 1.0
        self.share = 0.0

    @property
    def effective_alpha(self) -> float:
        """The α that has taken effect."""
        return self._alpha if self._effective is None else self._effective

    def run_cycle(self) -> None:
        """Advance by one cycle."""
        scenario, before = self._scenario, self.effective_alpha
        speed = 1.0 if scenario.lag == 0 else 1 - exp(-1 / scenario.lag)
        self._effective = before + speed * (self._alpha - before)
        self.share = self.cycle / self._cycles
        noise = float(self._dice.normal(0.0, scenario.sigma))
        true = scenario.coherence(self._effective, self.share)
        self._coherence = min(max(true + noise, _LEAST_COHERENCE), 1.0)
        self.cycle, self.cycle_alpha = self.cycle + 1, self._alpha
        for callback in tuple(self._callbacks):
            callback()

    def on_cycle_end(self, callback: Callable[[], None]) -> None:
        """Have callback called after every cycle."""
        self._callbacks.append(callback)

    def set_alpha_multiplier(self, alpha: float) -> None:
        """Apply α; the first one is in effect at once."""
        self._alpha = alpha

    def sample_omega_snapshot(self) -> list[list[float]]:
        """Return one node whose power is Ĉ."""
        return [[sqrt(self._coherence)]]

    def normalize_C(self, c: float) -> float:
        """Return Ĉ, which the power is already; the square of a root may pass 1 by rounding."""
        return min(c, 1.0)

    def get_entropy_rate(self) -> float:
        """Return the entropy rate [1/cycle]."""
        return self._scenario.entropy_rate(self.effective_alpha)

    def get_h_internal(self) -> float:
        """Return 1: the nodes agree, for there is one."""
        return 1.0

    def get_gains(self) -> Mapping[str, ScaleGain]:
        """Return gains far from any limit."""
        return _GAINS


@attrs.frozen
class Score:
    """One optimizer on one scenario and seed.

    Attributes:
        regret: Mean over the cycles of Ĉ at the best safe α less Ĉ at the α in effect, without noise, ×1000;
            an unsafe cycle counts 0 here and 1 in `unsafe`.
        unsafe: Cycles with an entropy rate above the limit.
        unsafe_commits: Commits of an α with an entropy rate above the limit.
        refused: Proposals that were refused.
        cycle_ms: Median time of a cycle, the optimizer, the kernel and the ledger together, milliseconds.
        final_alpha: α at the end.
    """

    scenario: str
    optimizer: str
    seed: int
    regret: float
    unsafe: int
    unsafe_commits: int
    refused: int
    cycle_ms: float
    final_alpha: float


def score(scenario: Scenario, optimizer: str, seed: int, cycles: int, config: Config | None = None) -> Score:
    """Run one optimizer on one scenario, with a ledger in a scratch folder.

    Args:
        scenario: The landscape.
        optimizer: Its name.
        seed: Seed of the noise and of the optimizer.
        cycles: Length of the run.
        config: Limits and settings, the defaults if None.

    Raises:
        Exception: as of `Attunement`.
    """
    base = Config() if config is None else config
    engine = ScenarioEngine(scenario, cycles, seed)
    judge = _Judge(engine, scenario, base)
    with tempfile.TemporaryDirectory(prefix="lambda-attunement-", dir=_SCRATCH) as folder:
        scratch = attrs.evolve(
            base,
            settle_delay=0.0,
            optimizer=attrs.evolve(base.optimizer, name=optimizer, seed=seed, memory_path=None),
            logging=attrs.evolve(base.logging, audit_ledger_path=str(Path(folder) / "ledger")),
            governance=attrs.evolve(
                base.governance,
                predecessor=None,
                escalation=attrs.evolve(base.governance.escalation, command=None),
            ),
        )
        with Attunement(scratch, engine, _SIGNERS, subscribers=(judge,)) as attunement:
            attunement.controller.start()
            run_cycles(engine, cycles, 0.0, Event(), judge.on_cycle_done)
    return Score(
        scenario=scenario.name,
        optimizer=optimizer,
        seed=seed,
        regret=1000 * sum(judge.regrets) / cycles,
        unsafe=judge.unsafe,
        unsafe_commits=judge.unsafe_commits,
        refused=judge.refused,
        cycle_ms=1000 * float(np.median(judge.seconds)),
        final_alpha=to_float(attunement.kernel.state.alpha),
    )


class _Judge:
    """Holds every cycle against what was possible, from the scenario's formulas and not from measurements."""

    def __init__(self, engine: ScenarioEngine, scenario: Scenario, config: Config) -> None:
        self._engine = engine
        self._scenario = scenario
        self._entropy_max = config.safety.entropy_max
        grid = np.linspace(config.alpha_min, config.alpha_max, _GRID).tolist()
        self._safe = [alpha for alpha in grid if self._is_safe(alpha)]
        self._before_s = time.perf_counter()
        self.regrets: list[float] = []
        self.seconds: list[float] = []
        self.unsafe = self.unsafe_commits = self.refused = 0

    def on_report(self, report: CycleReport) -> None:
        """Take in one cycle."""
        alpha, share = self._engine.effective_alpha, self._engine.share
        if self._is_safe(alpha):
            best = max(self._scenario.coherence(safe, share) for safe in self._safe)
            self.regrets.append(max(best - self._scenario.coherence(alpha, share), 0.0))
        else:
            self.unsafe += 1
        for entry in report.entries:
            self.refused += entry.verdict.outcome is Outcome.REFUSED
            if entry.verdict.outcome is Outcome.COMMITTED:
                self.unsafe_commits += not self._is_safe(to_float(entry.after.alpha))

    def on_cycle_done(self) -> None:
        """Note how long the cycle took."""
        now_s = time.perf_counter()
        self.seconds.append(now_s - self._before_s)
        self._before_s = now_s

    def _is_safe(self, alpha: float) -> bool:
        return self._scenario.entropy_rate(alpha) <= self._entropy_max
