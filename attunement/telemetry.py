"""What the controller tells those who watch: one report a cycle, never part of a decision."""

from typing import Protocol

import attrs

from attunement.measurement import Measurement
from kernel import Entry, Limits, Mode, Outcome, State
from optimizers.protocol import Mode as OptimizerMode


@attrs.frozen
class CycleReport:
    """One cycle from the outside.

    Attributes:
        measurement: What was measured, None when the cycle gave no usable reading.
        entries: The kernel's decisions since the report before, in order.
        state: The kernel's state after them.
        optimizer_mode: What the optimizer says it is doing.
        gradient: The optimizer's latest estimate of dJ/dα, None when unknown.
        lambdas: λ(t, L) per scale name under the α now in force; empty when unknown.
    """

    measurement: Measurement | None
    entries: tuple[Entry, ...]
    state: State
    optimizer_mode: OptimizerMode
    gradient: float | None
    lambdas: dict[str, float]


def is_taken_back(entry: Entry) -> bool:
    """Say whether an entry took a trial back; a probe that returns was not taken back."""
    ended = entry.before.mode is Mode.TRIAL
    outcome = entry.verdict.outcome
    return ended and outcome is not Outcome.RETURNED and entry.after.alpha != entry.before.alpha


def adopted_limits(entry: Entry) -> Limits | None:
    """Return the limits that an entry put in force, None if it changed none."""
    return entry.limits if entry.verdict.outcome is Outcome.ADOPTED else None


class Subscriber(Protocol):
    """Receives every report, in the thread that ran the cycle."""

    def on_report(self, report: CycleReport) -> None:
        """Take in one cycle; what it raises reaches whoever runs the cycles."""
