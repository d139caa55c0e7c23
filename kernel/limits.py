"""The policy that the kernel holds every change of α against."""

from typing import Final, NamedTuple

from kernel.quantity import NANO, Nano

Check = tuple[str, int, int, int, int]
"""(name of the limit, units in 1, least allowed, figure, most allowed): holds if least <= figure <= most."""

LOOP_GAIN_FOLD: Final = Nano(367_879_441)
"""Largest nano integer below 1/e, where y = c·exp(y) loses its fixed points and the recursion runs away."""

CYCLE_LAST: Final = 2**63 - 1
TOLERANCE_LAST: Final = 4 * NANO


class Limits(NamedTuple):
    """Bounds in nano units unless the name says otherwise; judged by `limits_checks`, not on construction.

    Attributes:
        alpha_min, alpha_max: Bounds of α.
        alpha_safe: Where a retreat goes.
        step_max: Largest |change| of α in one event.
        entropy_max, entropy_severe: Largest entropy rate that is safe, and that is only mildly unsafe.
        h_internal_min, h_internal_severe: Smallest H_internal that is safe, and that is only mildly unsafe.
        drive_max: K, the largest α·drive(L).
        loop_gain_max: c_max, the largest safe α·loop_gain(L).
        tolerance_max: Largest fall of coherence that a commit may be granted.
        reverts_max: Consecutive reverts (a count) that latch the emergency.
        missed_max: Consecutive cycles without a usable reading (a count) that latch the emergency.
    """

    alpha_min: Nano
    alpha_max: Nano
    alpha_safe: Nano
    step_max: Nano
    entropy_max: Nano
    entropy_severe: Nano
    h_internal_min: Nano
    h_internal_severe: Nano
    drive_max: Nano
    loop_gain_max: Nano
    tolerance_max: Nano
    reverts_max: int
    missed_max: int


def hold(checks: tuple[Check, ...]) -> bool:
    """Return whether every check holds.

    Joined by `&` and never cut short: each check is made, whatever became of the others.
    """
    verdict = True
    for _, _, least, figure, most in checks:
        verdict &= (least <= figure) & (figure <= most)
    return verdict


def limits_checks(limits: Limits) -> tuple[Check, ...]:
    """Return what makes a policy well formed."""
    return (
        ("alpha_min", NANO, 1, limits.alpha_min, limits.alpha_max - 1),
        ("alpha_safe", NANO, limits.alpha_min, limits.alpha_safe, limits.alpha_max),
        ("step_max", NANO, 1, limits.step_max, limits.alpha_max - limits.alpha_min),
        ("entropy_max", NANO, 0, limits.entropy_max, limits.entropy_severe),
        ("h_internal_severe", NANO, 0, limits.h_internal_severe, limits.h_internal_min),
        ("h_internal_min", NANO, 0, limits.h_internal_min, NANO),
        ("drive_max", NANO, 1, limits.drive_max, CYCLE_LAST),
        ("loop_gain_max", NANO, 1, limits.loop_gain_max, LOOP_GAIN_FOLD),
        ("tolerance_max", NANO, 0, limits.tolerance_max, TOLERANCE_LAST),
        ("reverts_max", 1, 1, limits.reverts_max, CYCLE_LAST),
        ("missed_max", 1, 1, limits.missed_max, CYCLE_LAST),
    )
