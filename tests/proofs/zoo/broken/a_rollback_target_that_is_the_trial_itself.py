"""no_commit_without_safe_measurement: a rollback target that is the trial itself."""

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
)


def _settle_safe(
    limits: Limits, state: State, reading: Reading, comparison: Comparison, checks: tuple[Check, ...]
) -> Transition:
    if state.kind == Kind.PROBE:
        returned = _read(state, state.resume, state.good, reading, state.reverts)
        return returned, Verdict(Outcome.RETURNED, checks)
    evidence = (
        ("tolerance", NANO, 0, comparison.tolerance, limits.tolerance_max),
        ("coherence", NANO, comparison.before - comparison.tolerance, comparison.after, NANO),
    )
    if state.kind == Kind.RESTORE or hold(evidence):
        return _read(state, state.resume, state.good, reading, 0), Verdict(Outcome.COMMITTED, checks)
    checks = (*checks, *evidence)
    reverts = state.reverts + 1
    if reverts < limits.reverts_max:
        return _read(state, state.resume, state.good, reading, reverts), Verdict(Outcome.REVERTED, checks)
    return _read(state, EMERGENCY, state.good, reading, reverts), Verdict(Outcome.LATCHED, checks)
