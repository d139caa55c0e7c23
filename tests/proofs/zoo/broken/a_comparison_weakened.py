"""no_commit_without_safe_measurement: a comparison weakened by one unit."""

from kernel.limits import Check


def hold(checks: tuple[Check, ...]) -> bool:
    verdict = True
    for _, _, least, figure, most in checks:
        verdict &= (least - 1 <= figure) & (figure <= most)
    return verdict
