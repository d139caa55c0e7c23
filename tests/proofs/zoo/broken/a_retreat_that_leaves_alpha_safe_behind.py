"""unsafe_reading_never_leads_away_from_alpha_safe: a retreat that leaves α_safe behind."""

from kernel.rules import (
    EMERGENCY,
    Check,
    Limits,
    Outcome,
    Reading,
    State,
    Transition,
    Verdict,
    _read,
    hold,
    severe_checks,
)


def _settle_unsafe(limits: Limits, state: State, reading: Reading, checks: tuple[Check, ...]) -> Transition:
    alpha, reverts = state.good, state.reverts + 1
    if abs(state.alpha - limits.alpha_safe) > abs(state.good - limits.alpha_safe):
        alpha, reverts = state.alpha, state.reverts
    mild = (
        *severe_checks(limits, state.alpha, reading),
        ("reverts", 1, 0, reverts, limits.reverts_max - 1),
    )
    if hold(mild):
        return _read(state, state.resume, alpha, reading, reverts), Verdict(Outcome.RETREATED, checks)
    return _read(state, EMERGENCY, alpha, reading, reverts), Verdict(Outcome.LATCHED, (*checks, *mild))
