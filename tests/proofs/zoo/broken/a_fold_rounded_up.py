"""every_event_is_exactly_as_specified: a fold rounded up, one nano above 1/e."""

from kernel.limits import CYCLE_LAST, NANO, TOLERANCE_LAST, Check, Limits


def limits_checks(limits: Limits) -> tuple[Check, ...]:
    return (
        ("alpha_min", NANO, 1, limits.alpha_min, limits.alpha_max - 1),
        ("alpha_safe", NANO, limits.alpha_min, limits.alpha_safe, limits.alpha_max),
        ("step_max", NANO, 1, limits.step_max, limits.alpha_max - limits.alpha_min),
        ("entropy_max", NANO, 0, limits.entropy_max, limits.entropy_severe),
        ("h_internal_severe", NANO, 0, limits.h_internal_severe, limits.h_internal_min),
        ("h_internal_min", NANO, 0, limits.h_internal_min, NANO),
        ("drive_max", NANO, 1, limits.drive_max, CYCLE_LAST),
        ("loop_gain_max", NANO, 1, limits.loop_gain_max, 367_879_442),
        ("tolerance_max", NANO, 0, limits.tolerance_max, TOLERANCE_LAST),
        ("reverts_max", 1, 1, limits.reverts_max, CYCLE_LAST),
        ("missed_max", 1, 1, limits.missed_max, CYCLE_LAST),
    )
