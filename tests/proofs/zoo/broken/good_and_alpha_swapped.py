"""granted_alpha_keeps_the_envelope: good and alpha swapped."""

from kernel.rules import (
    ACCEPTED,
    NANO,
    REFUSED,
    TRIAL,
    Check,
    Kind,
    Limits,
    Nano,
    Reading,
    State,
    Transition,
    Verdict,
    _measured,
    hold,
    new_state,
    new_verdict,
    safety_checks,
)


def _grant(
    limits: Limits, state: State, target: Nano, kind: Kind, reading: Reading, admission: tuple[Check, ...]
) -> Transition:
    # The reading that settled the last trial may carry the next proposal: state.cycle, not the one after it.
    checks = (
        *admission,
        *_measured(state, reading, state.cycle),
        ("alpha", NANO, limits.alpha_min, target, limits.alpha_max),
        ("alpha_delta", NANO, -limits.step_max, target - state.alpha, limits.step_max),
        *safety_checks(limits, target, reading),
    )
    if not hold(checks):
        return state, Verdict(REFUSED, checks)
    # INVARIANT: |alpha - good| <= step_max, so that every way back is one step.
    trial = new_state(
        State, TRIAL, state.alpha, target, reading.cycle, state.reverts, 0, state.policy, kind, state.mode
    )
    return trial, new_verdict(Verdict, ACCEPTED, checks)
