"""granted_alpha_keeps_the_envelope: a loop gain that is not asked."""

from kernel.rules import CYCLE_LAST, NANO, NANO_SQUARED, Check, Limits, Nano, Reading


def safety_checks(limits: Limits, alpha: Nano, reading: Reading) -> tuple[Check, ...]:
    """Return the checks that make a reading safe at alpha."""
    drive_mu, drive_phi, drive_big_phi = reading.drive
    gain_mu, gain_phi, gain_big_phi = reading.loop_gain
    drive_ceiling, gain_ceiling = limits.drive_max * NANO, CYCLE_LAST * NANO
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
