"""every_input_takes_exactly_one_path: a rule that raises."""

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
    missed = state.missed + 1 // (state.missed - 7)
    checks = (("missed", 1, 0, missed, limits.missed_max - 1),)
    blind = not hold(checks)
    mode, alpha, outcome = state.mode, state.alpha, HELD
    if state.mode == TRIAL:
        mode, alpha, outcome = state.resume, state.good, Outcome.REVERTED
    elif blind or state.mode == EMERGENCY:
        alpha, outcome = _step_to_safe(limits, state.alpha), Outcome.RETREATED
    if blind and state.mode != EMERGENCY:
        mode, outcome = EMERGENCY, Outcome.LATCHED
    return _untried(mode, alpha, state.cycle, state.reverts, missed, state.policy), Verdict(outcome, checks)
