"""settle: the end of a safe trial, with the evidence asked for steps alone and the reverts counted first."""

from kernel.rules import (
    EMERGENCY,
    NANO,
    Check,
    Comparison,
    Kind,
    Limits,
    Outcome,
    Reading,
    State,
    Transition,
    Verdict,
    _read,
    hold,
    safety_checks,
)


def _settle_safe(
    limits: Limits, state: State, reading: Reading, comparison: Comparison, checks: tuple[Check, ...]
) -> Transition:
    _, _, *gains = safety_checks(limits, state.good, reading)
    way_back = (*gains,)
    kept = _read(state, state.resume, state.alpha, reading, state.reverts)
    if state.kind == Kind.PROBE:
        if hold(way_back):
            returned = _read(state, state.resume, state.good, reading, state.reverts)
            return returned, Verdict(Outcome.RETURNED, checks)
        return kept, Verdict(Outcome.RETREATED, checks + way_back)
    if state.kind == Kind.RESTORE:
        return _read(state, state.resume, state.alpha, reading, 0), Verdict(Outcome.COMMITTED, checks)
    lowest = comparison.before - comparison.tolerance
    evidence = (
        ("tolerance", NANO, 0, comparison.tolerance, limits.tolerance_max),
        ("coherence", NANO, lowest, comparison.after, NANO),
    )
    if hold(evidence):
        return _read(state, state.resume, state.alpha, reading, 0), Verdict(Outcome.COMMITTED, checks)
    if not hold(way_back):
        return kept, Verdict(Outcome.RETREATED, checks + evidence + way_back)
    if state.reverts + 1 >= limits.reverts_max:
        latched = _read(state, EMERGENCY, state.good, reading, state.reverts + 1)
        return latched, Verdict(Outcome.LATCHED, checks + evidence)
    reverted = _read(state, state.resume, state.good, reading, state.reverts + 1)
    return reverted, Verdict(Outcome.REVERTED, checks + evidence)
