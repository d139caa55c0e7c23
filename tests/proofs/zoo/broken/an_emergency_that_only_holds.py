"""emergency_retreat_is_a_full_step: an emergency that only holds."""

from kernel.rules import (
    EMERGENCY,
    HELD,
    TRIAL,
    Limits,
    Outcome,
    State,
    Transition,
    Verdict,
    _step_to_safe,
    _untried,
    hold,
)


def miss(limits: Limits, state: State) -> Transition:
    """Judge a cycle without a usable reading: an open trial ends, too many in a row latch the emergency."""
    missed = state.missed + 1
    checks = (("missed", 1, 0, missed, limits.missed_max - 1),)
    blind = not hold(checks)
    mode, alpha, outcome = state.mode, state.alpha, HELD
    if state.mode == TRIAL:
        mode, alpha, outcome = state.resume, state.good, Outcome.REVERTED
    elif blind:
        alpha, outcome = _step_to_safe(limits, state.alpha), Outcome.RETREATED
    if blind and state.mode != EMERGENCY:
        mode, outcome = EMERGENCY, Outcome.LATCHED
    return _untried(mode, alpha, state.cycle, state.reverts, missed, state.policy), Verdict(outcome, checks)
