"""What holds of every state the kernel can reach, clause by clause, each with its reason.

Proved inductive over every event (`invariant_is_inductive`), and used as the hypothesis of the other
theorems.
"""

import attrs

from kernel.limits import Limits
from kernel.state import Kind, Mode, State
from proofs.source import Kernel
from proofs.symbols import some, within


@attrs.frozen
class Clause:
    """One part of the invariant: a short name, the reason it is there, and the claim."""

    name: str
    reason: str
    holds: bool


def invariant(kernel: Kernel, limits: Limits, state: State) -> tuple[Clause, ...]:
    """Return the clauses of the invariant of a policy and a state under it."""
    return (*policy_invariant(kernel, limits), *state_invariant(limits, state))


def policy_invariant(kernel: Kernel, limits: Limits) -> tuple[Clause, ...]:
    """Return that a policy is well formed, by the kernel's own checks."""
    return tuple(
        Clause(f"policy.{name}", "the kernel adopts no other policy", within(least, figure, most))
        for name, _, least, figure, most in kernel.limits.limits_checks(limits)
    )


def state_invariant(limits: Limits, state: State) -> tuple[Clause, ...]:
    """Return what holds of a state under well formed limits."""
    trial = state.mode == Mode.TRIAL
    idle = state.mode != Mode.TRIAL
    return (
        Clause("mode", "there are four modes", within(Mode.READY, state.mode, Mode.TRIAL)),
        Clause("kind", "there are three kinds of trial", within(Kind.STEP, state.kind, Kind.RESTORE)),
        Clause(
            "alpha_in_bounds", "α in force was granted or retreated to, inside the bounds",
            within(limits.alpha_min, state.alpha, limits.alpha_max),
        ),
        Clause(
            "good_in_bounds", "the rollback target once was α in force",
            within(limits.alpha_min, state.good, limits.alpha_max),
        ),
        Clause(
            "way_back", "every way back is one step, so a rollback keeps the rate limit",
            within(-limits.step_max, state.alpha - state.good, limits.step_max),
        ),
        Clause(
            "target_is_alpha", "outside a trial there is nothing to roll back",
            trial | (state.good == state.alpha),
        ),
        Clause("no_kind", "a kind belongs to a trial", trial | (state.kind == Kind.STEP)),
        Clause("no_resume", "a mode to return to belongs to a trial", trial | (state.resume == Mode.READY)),
        Clause(
            "resume", "a trial is opened from READY or FROZEN only, and goes back there",
            idle | some(state.resume == Mode.READY, state.resume == Mode.FROZEN),
        ),
        Clause("cycle", "cycles are counted from 0", state.cycle >= 0),
        Clause("reverts", "a count", state.reverts >= 0),
        Clause("missed", "a count", state.missed >= 0),
        Clause("policy", "the first policy has number 1", state.policy >= 1),
    )  # fmt: skip
