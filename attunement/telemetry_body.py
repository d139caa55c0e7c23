"""Reports, decisions, checks and limits as JSON's types: the one shape in which anything outside sees them.

Figures are floats in their own units, as near as a float is to the kernel's integer; what was not measured is
null.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from attunement.broken import sentences
from attunement.foreign import described, printable
from attunement.journal import JournalError
from attunement.telemetry import CycleReport, adopted_limits
from kernel import Comparison, Entry, Limits
from kernel.limits import CYCLE_LAST, Check
from kernel.quantity import to_float
from ledger.record import format_utc

_COUNTS = frozenset({"reverts_max", "missed_max"})
# Their least is 0 and means something: a mode, or a yes.
_EXACT = frozenset({"mode", "authorised", "finite_alpha"})


def utc_now() -> str:
    """Return the present time in the ledger's form."""
    return format_utc(datetime.now(UTC))


def utc(unix_s: float) -> str:
    """Return a time since the epoch, seconds, in the ledger's form."""
    return format_utc(datetime.fromtimestamp(unix_s, UTC))


@contextmanager
def tellable(what: str) -> Iterator[None]:
    """Refuse in words what a ledger says and no float can tell: a record may hold any integer.

    Args:
        what: What is told, for the error.

    Raises:
        JournalError: it cannot be told.
    """
    try:
        yield
    except (ArithmeticError, ValueError) as error:
        raise JournalError(f"{what} cannot be shown: {described(error)}") from error


def recorded_limits_body(limits: Limits) -> dict[str, Any]:
    """Return the limits that a ledger says are in force.

    Raises:
        JournalError: no float can tell them.
    """
    with tellable("the ledger's limits in force"):
        return limits_body(limits)


def cycle_body(report: CycleReport, time: str | None = None) -> dict[str, Any]:
    """Return one cycle.

    Members: `time` UTC, `cycle`, `alpha` in force, `good` (rollback target), `lambda` by scale, `C_hat`,
    `objective`, `C_gradient`, `entropy_rate`, `h_internal`, `measured_alpha`, `drive` and `loop_gain` (the
    largest of the scales, times the measured α), `mode`, `resume` (to which a trial ends), `optimizer`,
    `reverts`, `missed`, `policy`, `decisions`.
    """
    state, figures = report.state, report.measurement
    lambdas: dict[str, Any] = {**report.lambdas}
    measured = None if figures is None else figures.alpha
    return {
        "time": utc_now() if time is None else time,
        "cycle": state.cycle,
        "alpha": to_float(state.alpha),
        "good": to_float(state.good),
        "lambda": lambdas,
        "C_hat": None if figures is None else figures.c_hat,
        "objective": None if figures is None else figures.objective,
        "C_gradient": report.gradient,
        "entropy_rate": None if figures is None else figures.entropy_rate,
        "h_internal": None if figures is None else figures.h_internal,
        "measured_alpha": measured,
        "drive": None if figures is None else figures.alpha * max(figures.drive),
        "loop_gain": None if figures is None else figures.alpha * max(figures.loop_gain),
        "mode": state.mode.name.lower(),
        "resume": state.resume.name.lower(),
        "optimizer": report.optimizer_mode,
        "reverts": state.reverts,
        "missed": state.missed,
        "policy": state.policy,
        "decisions": [decision_body(entry) for entry in report.entries],
    }


def decision_body(entry: Entry) -> dict[str, Any]:
    """Return one decision; `broken` holds every limit that stood against it, `said` a line for each.

    `limits` are those that it put in force, null if it changed none.
    """
    adopted = adopted_limits(entry)
    return {
        "event": entry.event,
        "verdict": entry.verdict.outcome.value,
        "kind": None if entry.kind is None else entry.kind.name.lower(),
        "cycle": entry.after.cycle,
        "old_alpha": to_float(entry.before.alpha),
        "new_alpha": to_float(entry.after.alpha),
        "target": None if entry.target is None else to_float(entry.target),
        "mode": entry.after.mode.name.lower(),
        "actor": printable(entry.actor),
        "reason": printable(entry.reason),
        "comparison": None if entry.comparison is None else comparison_body(entry.comparison),
        "broken": [check_body(check) for check in entry.verdict.broken],
        "said": list(sentences(entry.verdict)),
        "limits": None if adopted is None else limits_body(adopted),
    }


def comparison_body(comparison: Comparison) -> dict[str, Any]:
    """Return the evidence on coherence."""
    return {name: to_float(figure) for name, figure in comparison._asdict().items()}


def check_body(check: Check) -> dict[str, Any]:
    """Return one check with its figure, its limits and the margin to the nearer one, negative if broken.

    A side that is no limit, such as the 0 below a figure that is never negative, is null.
    """
    name, unit, least, figure, most = check
    has_least, has_most = _sides(name, least, most)
    margin = min([figure - least] * has_least + [most - figure] * has_most)
    return {
        "name": f"α·{name}" if name.startswith(("drive", "loop_gain")) else name,
        "least": _scaled(least, unit) if has_least else None,
        "figure": _scaled(figure, unit),
        "most": _scaled(most, unit) if has_most else None,
        "holds": least <= figure <= most,
        "margin": _scaled(margin, unit),
    }


def limits_body(limits: Limits) -> dict[str, Any]:
    """Return the policy; names are those of `Limits`, counts stay whole."""
    return {
        name: figure if name in _COUNTS else to_float(figure) for name, figure in limits._asdict().items()
    }


def _sides(name: str, least: int, most: int) -> tuple[bool, bool]:
    """Say which sides of a check are limits."""
    if name.startswith("h_internal"):
        return True, False
    if name in _EXACT:
        return True, True
    return (False, True) if least == 0 else (True, most != CYCLE_LAST)


def _scaled(figure: int, unit: int) -> float:
    return figure if unit == 1 else figure / unit
