"""rate_limit_holds_on_every_event: a retreat in one leap."""

from kernel.rules import Limits, Nano


def _step_to_safe(limits: Limits, alpha: Nano) -> Nano:
    return Nano(alpha + limits.alpha_safe - alpha)
