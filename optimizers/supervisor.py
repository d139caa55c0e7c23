"""Gradient ascent while its gradient can be seen, PID control while it drowns in noise."""

import json
from collections import deque
from collections.abc import Mapping
from typing import Final

import attrs

from optimizers.errors import OptimizerSettingError, OptimizerStateError
from optimizers.figures import StateReader
from optimizers.gradient import GradientAscent
from optimizers.pid import PidAdjuster
from optimizers.protocol import Hold, Mode, Outcome, State, Suggestion, Verdict
from optimizers.tuner import LAST_TICK, Tuner

LOW: Final = 1.5
"""Signal to noise below which the finite-difference gradient is called noisy."""
HIGH: Final = 6.0
"""Signal to noise of the PID's regression above which the gradient is called clear again."""
KEPT: Final = 64
"""Number of switches remembered."""


@attrs.frozen
class Switch:
    """One change of the active tuner, and why."""

    cycle: int
    source: str
    target: str
    reason: str


class Supervisor:
    """Runs one of two tuners, tells both, and hands over without a bump.

    Args:
        gradient: the primary tuner.
        pid: the fallback.
        patience: cycles in a row that the evidence must last before a switch.

    Raises:
        OptimizerSettingError: patience is not positive.
    """

    name = "supervisor"

    def __init__(self, gradient: GradientAscent, pid: PidAdjuster, patience: int = 12) -> None:
        if not 1 <= patience <= 100_000:
            raise OptimizerSettingError(f"patience is {patience}, must lie in [1, 100000]")
        self._primary = gradient
        self._fallback = pid
        self._patience = patience
        self._on_fallback = False
        self._evidence = 0
        self._switches: deque[Switch] = deque(maxlen=KEPT)

    @property
    def active(self) -> Tuner:
        """The tuner that is asked."""
        return self._fallback if self._on_fallback else self._primary

    @property
    def mode(self) -> Mode:
        """Mode of the active tuner."""
        return self.active.mode

    @property
    def gradient(self) -> float | None:
        """Latest gradient estimate of the active tuner."""
        return self.active.gradient

    @property
    def switches(self) -> tuple[Switch, ...]:
        """The latest switches, oldest first."""
        return tuple(self._switches)

    def tell(self, outcome: Outcome) -> None:
        """Take in one measured cycle. Never raises, whatever the figures are."""
        passive = self._primary if self._on_fallback else self._fallback
        self.active.tell(outcome)
        passive.tell(_as_seen_by_the_passive(outcome))
        cycle = outcome.cycle if isinstance(outcome.cycle, int) else -1
        if self._on_fallback:
            self._judge_return(cycle)
        else:
            self._judge_fallback(cycle)

    def _judge_fallback(self, cycle: int) -> None:
        ratio = self._primary.signal_to_noise
        self._evidence = self._evidence + 1 if ratio is not None and ratio < LOW else 0
        if self._evidence >= self._patience and ratio is not None:
            reason = f"gradient signal to noise {ratio:.2f} stayed below {LOW} for {self._evidence} cycles"
            self._switch(cycle, self._primary, self._fallback, reason)
            self._fallback.take_over(self._primary)

    def _judge_return(self, cycle: int) -> None:
        ratio = self._fallback.signal_to_noise
        self._evidence = self._evidence + 1 if ratio is not None and ratio >= HIGH else 0
        if self._evidence >= self._patience and ratio is not None:
            reason = f"regression signal to noise {ratio:.2f} stayed above {HIGH} for {self._evidence} cycles"
            self._switch(cycle, self._fallback, self._primary, reason)
            self._primary.take_over(self._fallback)

    def _switch(self, cycle: int, source: Tuner, target: Tuner, reason: str) -> None:
        self._on_fallback = not self._on_fallback
        self._evidence = 0
        self._switches.append(Switch(cycle, source.name, target.name, reason))

    def ask(self) -> Suggestion | Hold:
        """Answer with what the active tuner wants."""
        return self.active.ask()

    def state(self) -> State:
        """Give the memory of both tuners, the evidence and the switches in JSON's types."""
        stored: State = {
            "optimizer": self.name,
            "on_fallback": int(self._on_fallback),
            "evidence": self._evidence,
            "switches": json.dumps([attrs.astuple(switch) for switch in self._switches]),
        }
        for tuner in (self._primary, self._fallback):
            stored |= {f"{tuner.name}.{key}": value for key, value in tuner.state().items()}
        return stored

    def restore(self, state: Mapping[str, object]) -> None:
        """Take the memory back.

        Raises:
            OptimizerStateError: content is missing, unknown, NaN, ill-typed or of another optimizer; the
                memory is unchanged.
        """
        reader = StateReader(state)
        if reader.text("optimizer") != self.name:
            raise OptimizerStateError(f"optimizer is {reader.text('optimizer')!r}, must be {self.name!r}")
        on_fallback = bool(reader.integer("on_fallback", 0, 1))
        evidence = reader.integer("evidence", 0, LAST_TICK)
        switches = _parsed(reader.text("switches"))
        primary, fallback = reader.part(f"{self._primary.name}."), reader.part(f"{self._fallback.name}.")
        reader.finish()
        before = self._primary.state()
        self._primary.restore(primary)
        try:
            self._fallback.restore(fallback)
        except OptimizerStateError:
            self._primary.restore(before)
            raise
        self._on_fallback, self._evidence, self._switches = on_fallback, evidence, switches


def _as_seen_by_the_passive(outcome: Outcome) -> Outcome:
    """Return the outcome without the fate of a suggestion that was not the passive tuner's."""
    if outcome.verdict is Verdict.REFUSED:
        return attrs.evolve(outcome, verdict=Verdict.NONE, broken=())
    if outcome.verdict in (Verdict.COMMITTED, Verdict.REVERTED):
        return attrs.evolve(outcome, verdict=Verdict.NONE)
    return outcome


def _parsed(text: str) -> deque[Switch]:
    try:
        rows = json.loads(text)
    except ValueError as error:
        raise OptimizerStateError("switches is not JSON") from error
    if not isinstance(rows, list) or not all(_is_switch(row) for row in rows):
        raise OptimizerStateError("switches must be a list of [cycle, source, target, reason]")
    return deque((Switch(*row) for row in rows), maxlen=KEPT)


def _is_switch(row: object) -> bool:
    return (
        isinstance(row, list)
        and len(row) == 4
        and type(row[0]) is int
        and all(isinstance(item, str) for item in row[1:])
    )
