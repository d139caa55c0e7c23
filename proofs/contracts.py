"""Contracts of the kernel's functions for CrossHair, an engine that shares no code with the explorer.

Each function calls one shipped function on every value of its types that satisfies `pre`; `post` is what
CrossHair must confirm over all paths. `python -m proofs.confirm` demands it of every line. Named tuples are
given whole: CrossHair makes every field a symbol, the modes and kinds included.

Not tried here, and left to the theorems: the full decision tables (`exactness.py`), the induction over
events (`retreat_ends_within_range_over_step`), and everything about the recursion.
"""

from kernel import rules
from kernel.limits import LOOP_GAIN_FOLD, Limits, hold, limits_checks  # noqa: F401 - conditions name them
from kernel.quantity import NANO, Nano, ceil_ratio, floor_ratio, nearest_ratio
from kernel.rules import Transition
from kernel.state import Comparison, Kind, Mode, Outcome, PerScale, Reading, State, Verdict  # noqa: F401


def _below(alpha: int, per_alpha: PerScale, most: int) -> bool:
    """Return whether α times each scale's figure lies in [0, most]; a part of conditions, no contract."""
    return all(0 <= alpha * figure <= most * NANO for figure in per_alpha)


def floor_ratio_is_the_greatest_below(numerator: int, denominator: int) -> int:
    """H_internal is never rounded up.

    pre: denominator > 0
    post: __return__ * denominator <= numerator * NANO < (__return__ + 1) * denominator
    """
    return floor_ratio(numerator, denominator)


def ceil_ratio_is_the_least_above(numerator: int, denominator: int) -> int:
    """Entropy rate and gains are never rounded down.

    pre: denominator > 0
    post: (__return__ - 1) * denominator < numerator * NANO <= __return__ * denominator
    """
    return ceil_ratio(numerator, denominator)


def nearest_ratio_is_within_half_a_unit(numerator: int, denominator: int) -> int:
    """A proposed α is rounded by half a unit at most, and a tie goes up.

    pre: denominator > 0
    post: -denominator < 2 * (__return__ * denominator - numerator * NANO) <= denominator
    """
    return nearest_ratio(numerator, denominator)


def hold_is_every_comparison(low: int, figure: int, high: int, other: int) -> bool:
    """No check hides another.

    post: __return__ == (low <= figure <= high and 0 <= other <= high)
    """
    return hold((("one", 1, low, figure, high), ("other", 1, 0, other, high)))


def well_formed_limits_are_in_order(limits: Limits) -> bool:
    """A policy that passes its checks has a step, a retreat inside its bounds, and a limit below the fold.

    post: not __return__ or 1 <= limits.alpha_min <= limits.alpha_safe <= limits.alpha_max
    post: not __return__ or 1 <= limits.step_max <= limits.alpha_max - limits.alpha_min
    post: not __return__ or 1 <= limits.loop_gain_max <= LOOP_GAIN_FOLD
    post: not __return__ or 0 <= limits.entropy_max <= limits.entropy_severe
    post: not __return__ or 0 <= limits.h_internal_severe <= limits.h_internal_min <= NANO
    """
    return hold(limits_checks(limits))


def start_is_at_the_alpha_asked_for(limits: Limits, alpha: Nano) -> Transition:
    """A history that begins, begins READY, inside the bounds.

    post: __return__[0].alpha == __return__[0].good == alpha and __return__[0].mode == Mode.READY
    post: __return__[1].outcome != Outcome.STARTED or limits.alpha_min <= alpha <= limits.alpha_max
    """
    return rules.start(limits, alpha)


def propose_keeps_rate_bounds_and_envelope(
    limits: Limits, state: State, target: Nano, reading: Reading
) -> Transition:
    """A grant comes from READY, keeps bounds, rate and envelope; a refusal changes nothing.

    post: __return__[1].outcome in (Outcome.ACCEPTED, Outcome.REFUSED)
    post: __return__[1].outcome == Outcome.ACCEPTED or __return__[0] == state
    post: __return__[1].outcome == Outcome.REFUSED or abs(target - state.alpha) <= limits.step_max
    post: __return__[1].outcome == Outcome.REFUSED or limits.alpha_min <= target <= limits.alpha_max
    post: __return__[1].outcome == Outcome.REFUSED or state.mode == Mode.READY
    post: __return__[1].outcome == Outcome.REFUSED or _below(target, reading.drive, limits.drive_max)
    post: __return__[1].outcome == Outcome.REFUSED or _below(target, reading.loop_gain, limits.loop_gain_max)
    """
    return rules.propose(limits, state, target, Kind.STEP, reading)


def coherence_is_never_read(
    limits: Limits, state: State, target: Nano, reading: Reading, coherence: Nano
) -> tuple[Transition, Transition]:
    """What is optimized takes no part in the decision on a proposal.

    post: __return__[0] == __return__[1]
    """
    told = reading._replace(coherence=coherence)
    return (
        rules.propose(limits, state, target, Kind.STEP, reading),
        rules.propose(limits, state, target, Kind.STEP, told),
    )


def override_needs_authority(
    limits: Limits, state: State, target: Nano, reading: Reading, authorised: bool
) -> Transition:
    """Nobody without authority opens a trial.

    post: authorised or (__return__[0] == state and __return__[1].outcome == Outcome.REFUSED)
    """
    return rules.override(limits, state, target, reading, authorised)


def settle_ends_at_the_trial_or_at_good(
    limits: Limits, state: State, reading: Reading, comparison: Comparison
) -> Transition:
    """A trial ends where it is or where it came from, whatever is said about coherence.

    post: __return__[0].alpha == state.alpha or __return__[0].alpha == state.good
    post: __return__[1].outcome != Outcome.COMMITTED or __return__[0].alpha == reading.alpha
    post: __return__[1].outcome != Outcome.COMMITTED or _below(state.alpha, reading.drive, limits.drive_max)
    """
    return rules.settle(limits, state, reading, comparison)


def observe_keeps_the_rate_and_the_latch(limits: Limits, state: State, reading: Reading) -> Transition:
    """A reading moves α by one step at most, never away from α_safe, and ends no emergency.

    pre: limits.step_max > 0
    post: abs(__return__[0].alpha - state.alpha) <= limits.step_max
    post: abs(__return__[0].alpha - limits.alpha_safe) <= abs(state.alpha - limits.alpha_safe)
    post: state.mode != Mode.EMERGENCY or __return__[0].mode == Mode.EMERGENCY
    post: state.mode != Mode.FROZEN or __return__[0].mode in (Mode.FROZEN, Mode.EMERGENCY)
    """
    return rules.observe(limits, state, reading)


def miss_keeps_the_rate_and_the_latch(limits: Limits, state: State) -> Transition:
    """A missing reading moves α by one step at most, and ends no emergency.

    pre: limits.step_max > 0
    pre: abs(state.alpha - state.good) <= limits.step_max
    post: abs(__return__[0].alpha - state.alpha) <= limits.step_max
    post: state.mode != Mode.EMERGENCY or __return__[0].mode == Mode.EMERGENCY
    """
    return rules.miss(limits, state)


def freeze_stops_all_but_an_emergency(state: State) -> Transition:
    """After a freeze no optimizer may move α.

    post: __return__[0].mode == (Mode.EMERGENCY if state.mode == Mode.EMERGENCY else Mode.FROZEN)
    """
    return rules.freeze(state)


def approve_needs_authority(limits: Limits, state: State, reading: Reading, authorised: bool) -> Transition:
    """Only one who may, on a reading taken at the present α, ends a latch; α stays.

    post: __return__[0].alpha == state.alpha
    post: authorised or __return__[0] == state
    post: __return__[1].outcome == Outcome.REFUSED or reading.alpha == state.alpha
    """
    return rules.approve(limits, state, reading, authorised)


def set_limits_moves_nothing(state: State, limits: Limits, authorised: bool) -> Transition:
    """A new policy moves neither α nor mode, and is not adopted without authority.

    post: __return__[0].alpha == state.alpha and __return__[0].mode == state.mode
    post: authorised or __return__[0] == state
    """
    return rules.set_limits(state, limits, authorised)


def recover_unlatches_nothing(state: State) -> Transition:
    """A restart keeps every mode but a trial, and takes a trial back to good.

    post: state.mode == Mode.TRIAL or __return__[0].mode == state.mode
    post: __return__[0].alpha == (state.good if state.mode == Mode.TRIAL else state.alpha)
    """
    return rules.recover(state)


def actuator_failure_moves_nothing(state: State, granted: bool, restored: bool) -> Transition:
    """α that the engine did not take is given up; what is not undone latches.

    post: __return__[0].alpha == state.alpha
    post: (granted and restored) or __return__[0].mode == Mode.EMERGENCY
    """
    return rules.actuator_failed(state, granted, restored)


def broken_is_what_does_not_hold(low: int, figure: int, high: int) -> Verdict:
    """A verdict names a check as broken exactly if it does not hold.

    post: (len(__return__.broken) == 0) == hold(__return__.checks)
    """
    return Verdict(Outcome.REFUSED, (("one", 1, low, figure, high), ("other", 1, 0, figure, high)))
