"""What stood against a decision, in words for a person."""

from kernel import Mode
from kernel.limits import Check
from kernel.safety_kernel import describe
from kernel.state import Verdict


def sentences(verdict: Verdict) -> tuple[str, ...]:
    """Return one sentence per broken check; a mode goes by its name."""
    told = zip(verdict.broken, describe(verdict), strict=True)
    return tuple(_mode(check) if check[0] == "mode" else line for check, line in told)


def _mode(check: Check) -> str:
    _, _, first, found, last = check
    wanted = " or ".join(mode.name for mode in Mode if first <= mode <= last)
    return f"mode is {Mode(found).name}, must be {wanted}"
