"""The safety argument: every way in which α can change, as pure functions over integers.

Each rule takes the limits, the state and an input, and returns the next state and a verdict. Nothing here
reads a clock, touches a device or sees a float. `proofs/` runs these very functions on symbolic integers.
"""

from kernel.limits import CYCLE_LAST, LOOP_GAIN_FOLD, Check, Limits, hold, limits_checks
from kernel.quantity import NANO, NANO_SQUARED, Nano
from kernel.state import (
    ACCEPTED,
    EMERGENCY,
    FROZEN,
    HELD,
    READY,
    REFUSED,
    TRIAL,
    Comparison,
    Kind,
    Mode,
    Outcome,
    Reading,
    State,
    Verdict,
    new_state,
    new_verdict,
)

Transition = tuple[State, Verdict]


def start(limits: Limits, alpha: Nano) -> Transition:
    """Begin a new history at alpha, if the policy is well formed and admits it."""
    checks = (*limits_checks(limits), ("alpha", NANO, limits.alpha_min, alpha, limits.alpha_max))
    outcome = Outcome.STARTED if hold(checks) else REFUSED
    return _untried(READY, alpha, 0, 0, 0, 1), Verdict(outcome, checks)


def propose(limits: Limits, state: State, target: Nano, kind: Kind, reading: Reading) -> Transition:
    """Open a trial of an optimizer's target, if every check passes on the present reading."""
    return _grant(limits, state, target, kind, reading, (_mode(state, READY, READY),))


def override(limits: Limits, state: State, target: Nano, reading: Reading, authorised: bool) -> Transition:
    """Open a trial of an operator's target: the same checks, and it may be asked of a frozen kernel."""
    admission = (_mode(state, READY, FROZEN), _authority(authorised))
    return _grant(limits, state, target, Kind.RESTORE, reading, admission)


def settle(limits: Limits, state: State, reading: Reading, comparison: Comparison) -> Transition:
    """End the open trial by a reading taken under it."""
    fresh = (_mode(state, TRIAL, TRIAL), *_measured(state, reading, state.cycle + 1))
    if not hold(fresh):
        return state, Verdict(REFUSED, fresh)
    checks = safety_checks(limits, state.alpha, reading)
    if hold(checks):
        return _settle_safe(limits, state, reading, comparison, checks)
    return _settle_unsafe(limits, state, reading, checks)


def observe(limits: Limits, state: State, reading: Reading) -> Transition:
    """Judge a reading that no trial waits for; retreat or latch when it is unsafe."""
    fresh = (_mode(state, READY, EMERGENCY), *_measured(state, reading, state.cycle + 1))
    if not hold(fresh):
        return state, Verdict(REFUSED, fresh)
    checks = safety_checks(limits, state.alpha, reading)
    mode, alpha, outcome = state.mode, state.alpha, HELD
    if not hold(checks):
        severe = severe_checks(limits, state.alpha, reading)
        if not hold(severe) and state.mode != EMERGENCY:
            mode, outcome, checks = EMERGENCY, Outcome.LATCHED, (*checks, *severe)
        elif state.mode != FROZEN:
            outcome = Outcome.RETREATED
        if mode != FROZEN:
            alpha = _step_to_safe(limits, state.alpha)
    return _read(state, mode, alpha, reading, state.reverts), Verdict(outcome, checks)


def miss(limits: Limits, state: State) -> Transition:
    """Judge a cycle without a usable reading: an open trial ends, too many in a row latch the emergency."""
    missed = state.missed + 1
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


def freeze(state: State) -> Transition:
    """Stop the optimizers; an open trial is first reverted."""
    if state.mode == READY or state.mode == TRIAL:
        return _keep(state, FROZEN, state.good), Verdict(Outcome.FROZEN)
    return state, Verdict(REFUSED, (_mode(state, READY, READY),))


def approve(limits: Limits, state: State, reading: Reading, authorised: bool) -> Transition:
    """Leave FROZEN or EMERGENCY: the only rule that does, on a safe reading and a valid signature."""
    checks = (
        _mode(state, FROZEN, EMERGENCY),
        _authority(authorised),
        *_measured(state, reading, state.cycle + min(state.missed, 1)),
        *safety_checks(limits, state.alpha, reading),
    )
    if hold(checks):
        return _read(state, READY, state.alpha, reading, 0), Verdict(Outcome.APPROVED, checks)
    return state, Verdict(REFUSED, checks)


def set_limits(state: State, limits: Limits, authorised: bool) -> Transition:
    """Adopt another policy, if it is well formed and α lies inside it."""
    checks = (
        _mode(state, READY, FROZEN),
        _authority(authorised),
        *limits_checks(limits),
        ("alpha", NANO, limits.alpha_min, state.alpha, limits.alpha_max),
    )
    if not hold(checks):
        return state, Verdict(REFUSED, checks)
    adopted = _untried(state.mode, state.alpha, state.cycle, state.reverts, state.missed, state.policy + 1)
    return adopted, Verdict(Outcome.ADOPTED, checks)


def recover(state: State) -> Transition:
    """Resume after a restart: an open trial is reverted, every latch is kept."""
    if state.mode == TRIAL:
        return _keep(state, state.resume, state.good), Verdict(Outcome.RECOVERED)
    return _keep(state, state.mode, state.alpha), Verdict(Outcome.RECOVERED)


def actuator_failed(state: State, granted: bool, restored: bool) -> Transition:
    """Give up a change that the engine did not take, from the state before it.

    A granted move that was undone leaves all as it was. A protective move that failed, or an α that could not
    be put back, is an emergency.
    """
    if granted and restored:
        return state, Verdict(Outcome.ABORTED)
    return _keep(state, EMERGENCY, state.alpha), Verdict(Outcome.LATCHED)


def safety_checks(limits: Limits, alpha: Nano, reading: Reading) -> tuple[Check, ...]:
    """Return the checks that make a reading safe at alpha."""
    drive_mu, drive_phi, drive_big_phi = reading.drive
    gain_mu, gain_phi, gain_big_phi = reading.loop_gain
    drive_ceiling, gain_ceiling = limits.drive_max * NANO, limits.loop_gain_max * NANO
    return (
        ("entropy_rate", NANO, 0, reading.entropy_rate, limits.entropy_max),
        ("h_internal", NANO, limits.h_internal_min, reading.h_internal, NANO),
        ("drive[L_mu]", NANO_SQUARED, 0, alpha * drive_mu, drive_ceiling),
        ("drive[L_phi]", NANO_SQUARED, 0, alpha * drive_phi, drive_ceiling),
        ("drive[L_Phi]", NANO_SQUARED, 0, alpha * drive_big_phi, drive_ceiling),
        ("loop_gain[L_mu]", NANO_SQUARED, 0, alpha * gain_mu, gain_ceiling),
        ("loop_gain[L_phi]", NANO_SQUARED, 0, alpha * gain_phi, gain_ceiling),
        ("loop_gain[L_Phi]", NANO_SQUARED, 0, alpha * gain_big_phi, gain_ceiling),
    )


def severe_checks(limits: Limits, alpha: Nano, reading: Reading) -> tuple[Check, ...]:
    """Return the checks that keep an unsafe reading from being severely unsafe."""
    drive_mu, drive_phi, drive_big_phi = reading.drive
    gain_mu, gain_phi, gain_big_phi = reading.loop_gain
    drive_ceiling, fold = limits.drive_max * NANO, LOOP_GAIN_FOLD * NANO
    return (
        ("entropy_severe", NANO, 0, reading.entropy_rate, limits.entropy_severe),
        ("h_internal_severe", NANO, limits.h_internal_severe, reading.h_internal, NANO),
        ("drive[L_mu]", NANO_SQUARED, 0, alpha * drive_mu, drive_ceiling),
        ("drive[L_phi]", NANO_SQUARED, 0, alpha * drive_phi, drive_ceiling),
        ("drive[L_Phi]", NANO_SQUARED, 0, alpha * drive_big_phi, drive_ceiling),
        ("loop_gain_fold[L_mu]", NANO_SQUARED, 0, alpha * gain_mu, fold),
        ("loop_gain_fold[L_phi]", NANO_SQUARED, 0, alpha * gain_phi, fold),
        ("loop_gain_fold[L_Phi]", NANO_SQUARED, 0, alpha * gain_big_phi, fold),
    )


def _grant(
    limits: Limits, state: State, target: Nano, kind: Kind, reading: Reading, admission: tuple[Check, ...]
) -> Transition:
    # The reading that settled the last trial may carry the next proposal, until a cycle is missed.
    checks = (
        *admission,
        *_measured(state, reading, state.cycle + min(state.missed, 1)),
        ("alpha", NANO, limits.alpha_min, target, limits.alpha_max),
        ("alpha_delta", NANO, -limits.step_max, target - state.alpha, limits.step_max),
        *safety_checks(limits, target, reading),
    )
    if not hold(checks):
        return state, Verdict(REFUSED, checks)
    # INVARIANT: |alpha - good| <= step_max, so that every way back is one step.
    trial = new_state(
        State, TRIAL, target, state.alpha, reading.cycle, state.reverts, 0, state.policy, kind, state.mode
    )
    return trial, new_verdict(Verdict, ACCEPTED, checks)


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
        return _read(state, state.resume, state.alpha, reading, 0), Verdict(Outcome.COMMITTED, checks)
    return _take_back(limits, state, reading, (*checks, *evidence))


def _take_back(limits: Limits, state: State, reading: Reading, checks: tuple[Check, ...]) -> Transition:
    # Entropy and H_internal were measured under the trial alone; the gains, per unit of α, count at good too.
    _, _, *gains = safety_checks(limits, state.good, reading)
    if not hold((*gains,)):
        # INVARIANT: no trial ends at an α at which the gains just measured break their limits.
        kept = _read(state, state.resume, state.alpha, reading, state.reverts)
        return kept, Verdict(Outcome.RETREATED, (*checks, *gains))
    if state.kind == Kind.PROBE:
        returned = _read(state, state.resume, state.good, reading, state.reverts)
        return returned, Verdict(Outcome.RETURNED, checks)
    reverts = state.reverts + 1
    if reverts < limits.reverts_max:
        return _read(state, state.resume, state.good, reading, reverts), Verdict(Outcome.REVERTED, checks)
    return _read(state, EMERGENCY, state.good, reading, reverts), Verdict(Outcome.LATCHED, checks)


def _settle_unsafe(limits: Limits, state: State, reading: Reading, checks: tuple[Check, ...]) -> Transition:
    alpha, reverts = state.good, state.reverts + 1
    if abs(state.alpha - limits.alpha_safe) < abs(state.good - limits.alpha_safe):
        alpha, reverts = state.alpha, state.reverts
    mild = (*severe_checks(limits, state.alpha, reading), ("reverts", 1, 0, reverts, limits.reverts_max - 1))
    if hold(mild):
        return _read(state, state.resume, alpha, reading, reverts), Verdict(Outcome.RETREATED, checks)
    return _read(state, EMERGENCY, alpha, reading, reverts), Verdict(Outcome.LATCHED, (*checks, *mild))


def _step_to_safe(limits: Limits, alpha: Nano) -> Nano:
    return Nano(alpha + max(-limits.step_max, min(limits.step_max, limits.alpha_safe - alpha)))


def _mode(state: State, first: Mode, last: Mode) -> Check:
    return ("mode", 1, first, state.mode, last)


def _authority(authorised: bool) -> Check:
    return ("authorised", 1, 1, int(authorised), 1)


def _measured(state: State, reading: Reading, first_cycle: int) -> tuple[Check, ...]:
    return (
        ("cycle", 1, first_cycle, reading.cycle, CYCLE_LAST),
        ("measured_alpha", NANO, state.alpha, reading.alpha, state.alpha),
    )


def _read(state: State, mode: Mode, alpha: Nano, reading: Reading, reverts: int) -> State:
    return _untried(mode, alpha, reading.cycle, reverts, 0, state.policy)


def _keep(state: State, mode: Mode, alpha: Nano) -> State:
    return _untried(mode, alpha, state.cycle, state.reverts, state.missed, state.policy)


def _untried(mode: Mode, alpha: Nano, cycle: int, reverts: int, missed: int, policy: int) -> State:
    # INVARIANT: outside a trial the rollback target is α itself.
    return new_state(State, mode, alpha, alpha, cycle, reverts, missed, policy, Kind.STEP, READY)
