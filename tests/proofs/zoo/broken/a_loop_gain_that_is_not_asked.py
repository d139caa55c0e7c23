"""granted_alpha_keeps_the_envelope: a loop gain that is not asked."""

from kernel.rules import _DRIVE, _LOOP_GAIN, CYCLE_LAST, NANO, Check, Limits, Nano, Reading, _envelope


def safety_checks(limits: Limits, alpha: Nano, reading: Reading) -> tuple[Check, ...]:
    """Return the checks that make a reading safe at alpha."""
    return (
        ("entropy_rate", NANO, 0, reading.entropy_rate, limits.entropy_max),
        ("h_internal", NANO, limits.h_internal_min, reading.h_internal, NANO),
        *_envelope(_DRIVE, alpha, reading.drive, limits.drive_max),
        *_envelope(_LOOP_GAIN, alpha, reading.loop_gain, CYCLE_LAST),
    )
