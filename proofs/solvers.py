"""Discharge of a goal's text by a solver: fresh context, fixed seed, resource limit, no clock."""

from collections.abc import Mapping
from enum import Enum

import attrs
import z3

RLIMIT = 5_000_000
"""Z3's resource units for one goal: a hundred times what the hardest goal needs."""


class Verdict(Enum):
    """What became of a goal.

    Only PROVED is a pass. UNFIT is no answer: the goal was not given to a solver that cannot speak of it.
    """

    PROVED = "proved"
    REFUTED = "refuted"
    UNKNOWN = "unknown"
    KILLED = "killed"
    UNFIT = "unfit"


@attrs.frozen
class Discharge:
    """A solver's answer.

    Attributes:
        verdict: What it came to.
        rlimit: Resource units used (Z3), 0 where the solver counts none.
        model: Values that break the claim, by symbol, if it was refuted.
        reason: Why the verdict is unknown, killed or unfit.
        trusted: Number of steps of the proof that were taken on trust, by rule.
        paths: Number of paths for which a witness was replayed.
        costs: Resource units under each seed (`proofs.stability`).
        core: Positions of the hypotheses that were used (`proofs.stability`).
        box: The k of the box [−2^k, 2^k) on which it was proved or refuted (bitwuzla); 0 if on no box.
    """

    verdict: Verdict
    rlimit: int = 0
    model: Mapping[str, int] = attrs.field(factory=dict)
    reason: str = ""
    trusted: Mapping[str, int] = attrs.field(factory=dict)
    paths: int = 0
    costs: tuple[int, ...] = ()
    core: tuple[int, ...] = ()
    box: int = 0


def discharge_z3(text: str, seed: int = 0, rlimit: int = RLIMIT) -> Discharge:
    """Discharge an SMT-LIB text by Z3 in a context of its own."""
    solver = z3.SimpleSolver(ctx=z3.Context())
    solver.set("random_seed", seed)
    solver.set("rlimit", rlimit)
    solver.from_string(text)
    answer = solver.check()
    spent = dict(iter(solver.statistics())).get("rlimit count", 0)
    if answer == z3.unsat:
        return Discharge(Verdict.PROVED, spent)
    if answer == z3.sat:
        return Discharge(Verdict.REFUTED, spent, integers(solver.model()))
    return Discharge(Verdict.UNKNOWN, spent, reason=solver.reason_unknown())


def integers(model: z3.ModelRef) -> dict[str, int]:
    """Return a model's values of integer symbols, by name."""
    values = {symbol.name(): model[symbol] for symbol in model if symbol.arity() == 0}
    return {name: value.as_long() for name, value in values.items() if z3.is_int_value(value)}
