"""observe, miss: the step towards α_safe, written by cases."""

from kernel.rules import Limits, Nano


def _step_to_safe(limits: Limits, alpha: Nano) -> Nano:
    gap = limits.alpha_safe - alpha
    if gap > limits.step_max:
        return Nano(alpha + limits.step_max)
    if gap < -limits.step_max:
        return Nano(alpha - limits.step_max)
    return limits.alpha_safe
