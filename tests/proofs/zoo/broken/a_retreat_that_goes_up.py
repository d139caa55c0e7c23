"""retreat_from_above_raises_no_product: a retreat that goes up."""

from kernel.rules import Limits, Nano


def _step_to_safe(limits: Limits, alpha: Nano) -> Nano:
    return Nano(alpha + max(-limits.step_max, min(limits.step_max, alpha - limits.alpha_safe)))
