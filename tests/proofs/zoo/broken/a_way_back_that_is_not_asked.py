"""safe_reading_leads_to_no_alpha_that_it_forbids: a revert past the gains that the trial measured."""

from kernel.rules import (
    EMERGENCY,
    Check,
    Kind,
    Limits,
    Outcome,
    Reading,
    State,
    Transition,
    Verdict,
    _read,
)


def _take_back(limits: Limits, state: State, reading: Reading, checks: tuple[Check, ...]) -> Transition:
    if state.kind == Kind.PROBE:
        returned = _read(state, state.resume, state.good, reading, state.reverts)
        return returned, Verdict(Outcome.RETURNED, checks)
    reverts = state.reverts + 1
    if reverts < limits.reverts_max:
        return _read(state, state.resume, state.good, reading, reverts), Verdict(Outcome.REVERTED, checks)
    return _read(state, EMERGENCY, state.good, reading, reverts), Verdict(Outcome.LATCHED, checks)
