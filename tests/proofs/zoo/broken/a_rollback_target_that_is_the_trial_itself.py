"""no_commit_without_safe_measurement: a rollback target that is the trial itself."""

from kernel.rules import (
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
    _take_back,
    hold,
)


def _settle_safe(
    limits: Limits, state: State, reading: Reading, comparison: Comparison, checks: tuple[Check, ...]
) -> Transition:
    if state.kind == Kind.PROBE:
        return _take_back(limits, state, reading, checks)
    evidence = (
        ("tolerance", NANO, 0, comparison.tolerance, limits.tolerance_max),
        ("coherence", NANO, comparison.before - comparison.tolerance, comparison.after, NANO),
    )
    if state.kind == Kind.RESTORE or hold(evidence):
        return _read(state, state.resume, state.good, reading, 0), Verdict(Outcome.COMMITTED, checks)
    return _take_back(limits, state, reading, (*checks, *evidence))
