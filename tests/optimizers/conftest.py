"""A small model of the kernel's protocol, and J with a peak, noise and a hard limit."""

import math
from collections.abc import Callable

import attrs
import numpy as np
import pytest

from attunement.acceptance import AcceptanceTest
from kernel.quantity import Nano
from optimizers import HOLD, Hold, Optimizer, Outcome, Space, Suggestion, Verdict

NANO = 1e9
TOLERANCE_MAX = Nano(50_000_000)
Objective = Callable[[float, int], float]


@attrs.define
class Run:
    """What one run measured: α, the noiseless J at it, and how the suggestions fared."""

    alphas: list[float] = attrs.field(factory=list)
    objectives: list[float] = attrs.field(factory=list)
    suggestions: list[Suggestion | Hold] = attrs.field(factory=list)
    refused: int = 0
    beyond_space: int = 0
    longest_row_of_reverts: int = 0

    def mean_objective(self, first: int = 0) -> float:
        return float(np.mean(self.objectives[first:]))


@attrs.define
class Plant:
    """Answers an optimizer as kernel and controller do: one measurement a cycle settles the open trial.

    Whether a step is reverted is decided by the controller's own test.
    """

    space: Space
    objective: Objective
    sigma: float
    seed: int
    ceiling: float = 2.0
    alpha: float = 1.0

    def run(self, optimizer: Optimizer, cycles: int = 400) -> Run:
        rng = np.random.default_rng(self.seed)
        run = Run()
        alpha = base = self.alpha
        trial: Suggestion | None = None
        verdict, broken, reverts = Verdict.NONE, (), 0
        test = AcceptanceTest(None, TOLERANCE_MAX)
        for cycle in range(cycles):
            run.alphas.append(alpha)
            run.objectives.append(self.objective(alpha, cycle))
            measured = run.objectives[-1] + self.sigma * float(rng.standard_normal())
            at = alpha
            test.observe(at, measured)
            evidence = test.compare(measured)
            if trial is not None and trial.probe:
                verdict, alpha = Verdict.REVERTED, base
            elif trial is not None and evidence.after >= evidence.before - evidence.tolerance:
                verdict, base, reverts = Verdict.COMMITTED, alpha, 0
            elif trial is not None:
                verdict, alpha, reverts = Verdict.REVERTED, base, reverts + 1
                run.longest_row_of_reverts = max(run.longest_row_of_reverts, reverts)
            if at == base:
                test.stay(at, measured)
            optimizer.tell(Outcome(cycle, at, measured, verdict, alpha, broken))
            trial, verdict, broken = None, Verdict.NONE, ()
            if at != alpha:
                continue
            answer = optimizer.ask()
            run.suggestions.append(answer)
            if answer is HOLD:
                continue
            assert isinstance(answer, Suggestion)
            limits = self._broken(answer.alpha, alpha)
            if limits:
                run.refused += 1
                run.beyond_space += limits != ("loop_gain[L_phi]",)
                verdict, broken = Verdict.REFUSED, limits
            else:
                trial, alpha = answer, round(answer.alpha * NANO) / NANO
        return run

    def _broken(self, target: float, alpha: float) -> tuple[str, ...]:
        space, nano = self.space, round(target * NANO)
        if not round(space.alpha_min * NANO) <= nano <= round(space.alpha_max * NANO):
            return ("alpha",)
        if not abs(nano - round(alpha * NANO)) <= round(space.delta_max * NANO):
            return ("alpha_delta",)
        return () if target <= self.ceiling else ("loop_gain[L_phi]",)


@pytest.fixture(name="space")
def default_space() -> Space:
    return Space(0.8, 1.2, 0.02)


@pytest.fixture(name="plant")
def plant_class() -> type[Plant]:
    return Plant


@pytest.fixture
def parabola() -> Callable[[float], Objective]:
    return lambda peak: lambda alpha, _cycle: 0.9 - 4 * (alpha - peak) ** 2


@pytest.fixture
def two_peaks() -> Objective:
    """0.75 at α = 0.96, where a climb from 1 ends, and 0.88 at 1.13."""

    def objective(alpha: float, _cycle: int) -> float:
        high, low = (alpha - 1.13) / 0.05, (alpha - 0.96) / 0.06
        return 0.55 + 0.33 * math.exp(-high * high) + 0.2 * math.exp(-low * low)

    return objective
