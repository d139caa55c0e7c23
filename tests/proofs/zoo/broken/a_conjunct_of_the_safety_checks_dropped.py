"""no_commit_without_safe_measurement: a conjunct of the safety checks dropped."""

from kernel.rules import _DRIVE, _LOOP_GAIN, NANO, Check, Limits, Nano, Reading, _envelope


def safety_checks(limits: Limits, alpha: Nano, reading: Reading) -> tuple[Check, ...]:
    """Return the checks that make a reading safe at alpha."""
    return (
        ("h_internal", NANO, limits.h_internal_min, reading.h_internal, NANO),
        *_envelope(_DRIVE, alpha, reading.drive, limits.drive_max),
        *_envelope(_LOOP_GAIN, alpha, reading.loop_gain, limits.loop_gain_max),
    )
