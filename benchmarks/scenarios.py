"""Objectives with known best α, driven through the real controller and kernel, one measurement a cycle.

Ĉ is a formula of α and the cycle, read with noise and perhaps late; entropy rate and H_internal are
formulas as well. Regret is the best J that a safe α gives at a cycle, less the J of the α that was applied,
both without noise. A cycle whose α breaks a limit has regret 0 and counts as unsafe.
"""

import math
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from attunement.acceptance import AcceptanceTest
from attunement.asking import Answer, consult
from attunement.config_schema import Config
from attunement.controller import LambdaAttunementController
from attunement.measurement import Measurement
from attunement.policy import kernel_limits
from benchmarks.foreign import created
from kernel import Outcome, SafetyKernel
from kernel.quantity import to_float
from optimizers import Optimizer, Space
from optimizers.protocol import Outcome as Told

CYCLES = 500
LOW, HIGH, STEP, START = 0.8, 1.2, 0.02, 1.0
ENTROPY_MAX, H_MIN = 0.002, 0.95
ENTROPY_NOISE, H_NOISE = 2e-5, 5e-4
"""Standard deviations of the limited figures: each is 0.003 in units of α at the limit it has to keep."""
GRID = tuple(LOW + 0.0005 * i for i in range(801))

Formula = Callable[[float, int], float]


def _entropy_quiet(_alpha: float, _cycle: int) -> float:
    return 0.001


def _h_quiet(_alpha: float, _cycle: int) -> float:
    return 0.97


@attrs.frozen
class Scenario:
    """One row of the table.

    Args:
        name: what is shown.
        objective: J of (α, cycle), without noise.
        sigma: standard deviation of one measurement of J.
        bold: mean regret ×1000 to be reached, None where nothing is demanded.
        lag: time constant of the first-order lag of J, cycles; 0 for none.
        entropy, h_internal: the limited figures of (α, cycle), without noise.
        unsafe_most: unsafe cycles that a run may have.
        event: cycle at which the objective changes at once, for the settling time after it.
    """

    name: str
    objective: Formula
    sigma: float = 0.005
    bold: float | None = None
    lag: float = 0.0
    entropy: Formula = _entropy_quiet
    h_internal: Formula = _h_quiet
    unsafe_most: int | None = None
    event: int = 0

    def is_safe(self, alpha: float, cycle: int) -> bool:
        """Whether α keeps both limits at a cycle, without noise."""
        within = self.entropy(alpha, cycle) <= ENTROPY_MAX + 1e-12
        return within and self.h_internal(alpha, cycle) >= H_MIN - 1e-12

    def best(self, cycle: int) -> float:
        """Return the largest J of a safe α, on a grid of 0.0005."""
        return max(self.objective(alpha, cycle) for alpha in GRID if self.is_safe(alpha, cycle))


def parabola(peak: float, curvature: float = 4.0) -> Formula:
    """Return Ĉ = 0.9 − curvature·(α − peak)²."""
    return lambda alpha, _cycle: 0.9 - curvature * (alpha - peak) ** 2


def _drifting(alpha: float, cycle: int) -> float:
    return 0.9 - 4 * (alpha - 1 - 0.1 * math.sin(2 * math.pi * cycle / 250)) ** 2


def _stepping(alpha: float, cycle: int) -> float:
    return 0.9 - 4 * (alpha - (1.1 if cycle < 250 else 0.92)) ** 2


def _two_peaks(alpha: float, _cycle: int) -> float:
    high, low = (alpha - 1.13) / 0.05, (alpha - 0.96) / 0.06
    return 0.55 + 0.33 * math.exp(-high * high) + 0.2 * math.exp(-low * low)


def _ramp(alpha: float, _cycle: int) -> float:
    return 0.001 + 0.001 * ((alpha - 0.8) / 0.32) ** 2


def _jump(alpha: float, _cycle: int) -> float:
    return 0.001 if alpha <= 1.12 else 0.004


def _moving(alpha: float, cycle: int) -> float:
    limit = 1.15 - 0.12 * min(max((cycle - 250) / 50, 0.0), 1.0)
    return 0.95 + 0.15 * (limit - alpha)


def _flat(_alpha: float, _cycle: int) -> float:
    return 0.9


SCENARIOS = (
    Scenario("peak 1.1, σ 0", parabola(1.1), 0.0, 0.71),
    Scenario("peak 1.1, σ 0.005", parabola(1.1), 0.005, 1.0),
    Scenario("peak 1.1, σ 0.02", parabola(1.1), 0.02, 2.65),
    Scenario("peak 1.3, outside", parabola(1.3), 0.005, 4.1),
    Scenario("drifting peak, σ 0.005", _drifting, 0.005, 2.3),
    Scenario("drifting peak, σ 0.02", _drifting, 0.02, 8.2),
    Scenario("step of the peak, σ 0.005", _stepping, 0.005, 2.3, event=250),
    Scenario("step of the peak, σ 0.02", _stepping, 0.02, 4.9, event=250),
    Scenario("entropy ramp", parabola(1.18), 0.005, 9.0, entropy=_ramp, unsafe_most=0),
    Scenario("entropy jump", parabola(1.18), 0.005, 4.5, entropy=_jump, unsafe_most=1),
    Scenario("moving H limit", parabola(1.18), 0.005, 11.0, h_internal=_moving, unsafe_most=5),
    Scenario("lag 5, σ 0.005", parabola(1.1), 0.005, 3.1, lag=5.0),
    Scenario("lag 5, σ 0.02", parabola(1.1), 0.02, 4.7, lag=5.0),
    Scenario("two peaks", _two_peaks, 0.005, 30.0),
    Scenario("curvature 1, σ 0.005", parabola(1.1, 1.0), 0.005),
    Scenario("curvature 1, σ 0.02", parabola(1.1, 1.0), 0.02),
    Scenario("curvature 16, σ 0.005", parabola(1.1, 16.0), 0.005),
    Scenario("curvature 16, σ 0.02", parabola(1.1, 16.0), 0.02),
    Scenario("flat, σ 0.005", _flat, 0.005),
    Scenario("flat, σ 0.02", _flat, 0.02),
)


class Plant:
    """A scenario as engine and sensors at once."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self._scenario = scenario
        self._dice = random.Random(f"{scenario.name}:{seed}")
        self._alpha = START
        self._late: float | None = None
        self.cycle = 0
        self.true = 0.0

    def set_alpha_multiplier(self, alpha: float) -> None:
        """Take α."""
        self._alpha = alpha

    def measure(self) -> Measurement:
        """Run one cycle and read it."""
        self.cycle += 1
        row, alpha, at = self._scenario, self._alpha, self.cycle - 1
        self.true = row.objective(alpha, at)
        if self._late is None or row.lag == 0.0:
            self._late = self.true
        else:
            self._late += (self.true - self._late) * -math.expm1(-1.0 / row.lag)
        gauss = self._dice.gauss
        objective = self._late + gauss(0.0, row.sigma)
        entropy = row.entropy(alpha, at) + gauss(0.0, ENTROPY_NOISE)
        h_internal = row.h_internal(alpha, at) + gauss(0.0, H_NOISE)
        quiet = (0.1, 0.1, 0.1)
        return Measurement(
            self.cycle, alpha, objective, objective, max(entropy, 0.0), min(h_internal, 1.0), quiet, quiet
        )

    def lambdas(self) -> dict[str, float]:
        """Return no λ: there is no recursion here."""
        return {}


class Direct:
    """Asks an optimizer in the calling thread, and counts its own CPU time."""

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self.seconds = 0.0

    def exchange(self, outcome: Told, ask: bool) -> Answer:
        """Tell, and ask if it may answer."""
        start = time.process_time()
        answer = consult(self._optimizer, outcome, ask)
        self.seconds += time.process_time() - start
        return answer

    def close(self) -> None:
        """Nothing is to be ended."""


class Nothing:
    """A ledger that keeps nothing, and an authority that grants nothing."""

    def append(self, _entry: object) -> None:
        """Forget the entry."""

    def authorises(self, _order: object) -> bool:
        """Refuse."""
        return False


@attrs.define
class Run:
    """One optimizer on one scenario and seed; regret is per cycle."""

    method: str
    scenario: str
    seed: int
    alphas: list[float] = attrs.field(factory=list)
    regrets: list[float] = attrs.field(factory=list)
    unsafe: int = 0
    measured_unsafe: int = 0
    committed_unsafe: int = 0
    reverts: int = 0
    refused: int = 0
    latched: int = 0
    seconds: float = 0.0
    reasons: list[str] = attrs.field(factory=list)

    @property
    def regret(self) -> float:
        """Mean regret."""
        return math.fsum(self.regrets) / len(self.regrets)

    @property
    def variation(self) -> float:
        """Mean |change of α| per cycle."""
        moves = [abs(after - before) for before, after in zip(self.alphas, self.alphas[1:], strict=False)]
        return math.fsum(moves) / len(moves)

    def settled(self, best: Callable[[int], float], start: int, share: float = 0.01) -> int:
        """Return the cycles from start until J is within a share of the best and stays on average.

        The first cycle of the first ten in a row whose mean loss is at most the share of the best.
        """
        for first in range(start, len(self.regrets) - 10):
            window = self.regrets[first : first + 10]
            if math.fsum(window) / 10 <= share * best(first) and window[0] <= share * best(first):
                return first - start
        return len(self.regrets) - start


def simulate(
    method: str, scenario: Scenario, seed: int, cycles: int = CYCLES, settings: Mapping[str, object] = {}
) -> Run:
    """Run one optimizer through controller and kernel."""
    config = Config()
    space = Space(config.alpha_min, config.alpha_max, config.delta_alpha_max)
    optimizer = created(method, space, {"seed": seed, **settings})
    plant, direct, nothing = Plant(scenario, seed), Direct(optimizer), Nothing()
    limits = kernel_limits(config)
    kernel = SafetyKernel.start(limits, START, nothing, plant, nothing, actor="benchmark", reason="start")
    parts: Any = (plant, plant, kernel, direct)
    controller = LambdaAttunementController(*parts, AcceptanceTest(None, limits.tolerance_max), 0.0, 5.0)
    run = Run(method, scenario.name, seed)
    moves = scenario.best(0) != scenario.best(int(0.23 * cycles)) or scenario.best(0) != scenario.best(
        cycles - 1
    )
    best = scenario.best(0)
    for cycle in range(cycles):
        alpha = kernel.alpha
        report = controller.update()
        safe = scenario.is_safe(alpha, cycle)
        best = scenario.best(cycle) if moves else best
        run.alphas.append(alpha)
        run.regrets.append(best - plant.true if safe else 0.0)
        run.unsafe += not safe
        for entry in report.entries:
            outcome = entry.verdict.outcome
            run.reverts += outcome is Outcome.REVERTED
            run.refused += outcome is Outcome.REFUSED
            run.latched += outcome is Outcome.LATCHED
            run.measured_unsafe += outcome is Outcome.RETREATED or outcome is Outcome.LATCHED
            run.committed_unsafe += outcome is Outcome.COMMITTED and not safe
    run.seconds = direct.seconds
    switches = getattr(optimizer, "switches", ())
    run.reasons = [f"{s.cycle}: {s.source} → {s.target}: {s.reason}" for s in switches]
    assert to_float(kernel.state.alpha) == kernel.alpha
    return run
