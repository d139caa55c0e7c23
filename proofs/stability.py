"""How firmly a goal is proved: its cost under other seeds and orders, and the hypotheses it never uses."""

import random
import statistics

import attrs
import z3

from proofs.solvers import RLIMIT, Discharge, Verdict

SEEDS = 10
VARIATION_MOST = 0.20
"""Largest coefficient of variation of rlimit: above it, a small change may make a goal unprovable."""

VARIATION_FLOOR = 2_000
"""Mean rlimit below which a goal is decided while it is read, and its cost says nothing."""


@attrs.frozen
class Spread:
    """Z3's resource units for one goal over all seeds: least, mean, most, deviation over mean in per
    mille."""

    least: int
    mean: int
    most: int
    variation_permille: int


def measure_spread(text: str) -> Discharge:
    """Discharge a text under every seed, its assertions shuffled each time; the answer carries every cost."""
    costs = []
    for seed in range(SEEDS):
        asserted = list(z3.parse_smt2_string(text, ctx=z3.Context()))
        random.Random(seed).shuffle(asserted)
        solver = z3.SimpleSolver(ctx=asserted[0].ctx)
        solver.set("random_seed", seed)
        solver.set("rlimit", RLIMIT)
        solver.add(*asserted)
        if solver.check() != z3.unsat:
            return Discharge(Verdict.UNKNOWN, reason=f"not proved under seed {seed}")
        costs.append(dict(iter(solver.statistics())).get("rlimit count", 0))
    return Discharge(Verdict.PROVED, costs=tuple(costs))


def spread_of(costs: tuple[int, ...]) -> Spread:
    """Return the spread of the costs of one goal."""
    mean = statistics.fmean(costs)
    return Spread(min(costs), round(mean), max(costs), round(1000 * statistics.pstdev(costs) / mean))


def find_core(text: str) -> Discharge:
    """Return the positions of the assertions, the last excepted, that a refutation of the text uses."""
    asserted = list(z3.parse_smt2_string(text, ctx=z3.Context()))
    solver = z3.SimpleSolver(ctx=asserted[0].ctx)
    solver.set("rlimit", RLIMIT)
    solver.add(asserted[-1])
    for position, formula in enumerate(asserted[:-1]):
        solver.assert_and_track(formula, str(position))
    if solver.check() != z3.unsat:
        return Discharge(Verdict.UNKNOWN, reason="not proved with its assertions tracked")
    return Discharge(Verdict.PROVED, core=tuple(sorted(int(str(name)) for name in solver.unsat_core())))
