"""only_an_authorised_approval_unlatches: an approval that anyone may give."""

from kernel.rules import (
    EMERGENCY,
    FROZEN,
    READY,
    REFUSED,
    Limits,
    Outcome,
    Reading,
    State,
    Transition,
    Verdict,
    _measured,
    _mode,
    _read,
    hold,
    safety_checks,
)


def approve(limits: Limits, state: State, reading: Reading, authorised: bool) -> Transition:
    """Leave FROZEN or EMERGENCY: the only rule that does, on a safe reading and a valid signature."""
    checks = (
        _mode(state, FROZEN, EMERGENCY),
        *_measured(state, reading, state.cycle),
        *safety_checks(limits, state.alpha, reading),
    )
    if hold(checks):
        return _read(state, READY, state.alpha, reading, 0), Verdict(Outcome.APPROVED, checks)
    return state, Verdict(REFUSED, checks)
