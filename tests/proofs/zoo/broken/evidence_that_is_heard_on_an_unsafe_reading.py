"""evidence_has_no_say_on_an_unsafe_reading: evidence that is heard on an unsafe reading."""

from kernel.rules import (
    REFUSED,
    TRIAL,
    Comparison,
    Limits,
    Reading,
    State,
    Transition,
    Verdict,
    _keep,
    _measured,
    _mode,
    _settle_safe,
    _settle_unsafe,
    hold,
    safety_checks,
)


def settle(limits: Limits, state: State, reading: Reading, comparison: Comparison) -> Transition:
    """End the open trial by a reading taken under it."""
    fresh = (_mode(state, TRIAL, TRIAL), *_measured(state, reading, state.cycle + 1))
    if not hold(fresh):
        return state, Verdict(REFUSED, fresh)
    checks = safety_checks(limits, state.alpha, reading)
    if hold(checks):
        return _settle_safe(limits, state, reading, comparison, checks)
    return _settle_unsafe(limits, _keep(state, TRIAL, comparison.after), reading, checks)
