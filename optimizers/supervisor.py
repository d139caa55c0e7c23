"""Newton ascent while its model describes J, PID while it does not, hold while nothing answers."""

import json
import math
from collections import deque
from collections.abc import Mapping
from typing import Final, Literal

import attrs

from optimizers.errors import OptimizerSettingError, OptimizerStateError
from optimizers.figures import StateReader, measured
from optimizers.kalman import KalmanTuner
from optimizers.pid import PidAdjuster
from optimizers.protocol import HOLD, Hold, Mode, Outcome, State, Suggestion, Verdict
from optimizers.sweep import Sweep
from optimizers.tuner import LAST_TICK, Tuner, Wish

Law = Literal["gradient", "pid", "hold", "sweep"]

MISFIT: Final = 4.0
"""Mean squared innovation, in variances, from which the models are said not to describe J."""
FITS: Final = 1.5
SILENT: Final = 1.0
"""Significance of the fallback's gradient below which nothing answers."""
REST: Final = 4
"""Times the patience that silence must last, and that a hold lasts."""
RIPE: Final = 10
"""Samples since the last change that a peak must have stood before a walk away from it."""
KEPT: Final = 64
"""Number of switches remembered."""
LAWS: Final[tuple[Law, ...]] = ("gradient", "pid", "hold", "sweep")


@attrs.frozen
class Switch:
    """One change of the law in force, and why."""

    cycle: int
    source: str
    target: str
    reason: str


class Supervisor:
    """Picks a law by evidence, tells both tuners everything, and hands over without a bump.

    gradient: Newton ascent on the bank of models, while they describe J.
    pid: PI on the regression slope, while the innovations are larger than the models say.
    hold: while not even the slope can be told from noise; after a rest the bank begins anew.
    sweep: a walk to where the local parabola cannot hold, when that is worth more than it costs.

    Args:
        primary: tuner on the bank of models.
        fallback: PID.
        patience: cycles in a row that the evidence must last before a switch.

    Raises:
        OptimizerSettingError: patience is not positive.
    """

    name = "supervisor"

    def __init__(self, primary: KalmanTuner, fallback: PidAdjuster, patience: int = 12) -> None:
        if not 1 <= patience <= 100_000:
            raise OptimizerSettingError(f"patience is {patience}, must lie in [1, 100000]")
        self._primary = primary
        self._fallback = fallback
        # One guard, which only the active tuner teaches.
        self._fallback.guard = self._primary.guard
        self._patience = patience
        self._law: Law = "gradient"
        self._evidence = 0
        self._alarms = 0
        self._sweep = Sweep(primary.space)
        self._switches: deque[Switch] = deque(maxlen=KEPT)
        self._untold = ""
        self._is_told = False

    @property
    def active(self) -> Tuner:
        """The tuner that is asked, or that a walk and a hold go through."""
        return self._fallback if self._law == "pid" else self._primary

    @property
    def law(self) -> Law:
        """The law in force."""
        return self._law

    @property
    def mode(self) -> Mode:
        """Value for the mode metric; a walk reports "gradient"."""
        return "idle" if self._law == "hold" else self.active.mode

    @property
    def gradient(self) -> float | None:
        """Latest gradient estimate of the active tuner."""
        return self.active.gradient

    @property
    def switches(self) -> tuple[Switch, ...]:
        """The latest switches, oldest first."""
        return tuple(self._switches)

    @property
    def reason(self) -> str:
        """Why the law was changed, until a suggestion has gone out with it; empty otherwise."""
        return self._untold

    def tell(self, outcome: Outcome) -> None:
        """Take in one measured cycle. Never raises, whatever the figures are."""
        if self._is_told:
            self._untold, self._is_told = "", False
        cycle = outcome.cycle if type(outcome.cycle) is int and abs(outcome.cycle) <= LAST_TICK else -1
        passive = self._primary if self._law == "pid" else self._fallback
        walking = self._law == "sweep"
        # What is measured far from the peak would bend the local parabola.
        self.active.tell(attrs.evolve(outcome, objective=math.nan) if walking else outcome)
        passive.tell(_as_seen_by_the_passive(outcome))
        self._see(outcome)
        if walking:
            self._judge_sweep(cycle, outcome)
        elif self._law == "gradient":
            self._judge_gradient(cycle)
        elif self._law == "pid":
            self._judge_pid(cycle)
        else:
            self._judge_hold(cycle)

    def _see(self, outcome: Outcome) -> None:
        alpha = measured(outcome.alpha)
        if self._primary.bank.alarms != self._alarms:
            self._alarms = self._primary.bank.alarms
            self._sweep.forget()
        if alpha is not None and measured(outcome.objective) is not None:
            self._sweep.see(alpha)

    def _judge_gradient(self, cycle: int) -> None:
        bank = self._primary.bank
        self._evidence = self._evidence + 1 if bank.misfit > MISFIT else 0
        if self._evidence >= self._patience:
            reason = f"innovations are {bank.misfit:.1f} times their variance for {self._evidence} cycles"
            self._fallback.take_over(self._primary)
            self._switch(cycle, "pid", reason)
            return
        home = self._primary.peak
        if home is None or bank.since < RIPE or not bank.is_heard or not bank.misfit < 2.0 * FITS:
            return
        plan = self._sweep.propose(home, bank.at(home), bank.curvature, bank.sigma, self._primary.allowed())
        if plan is not None:
            self._sweep.begin(plan)
            self._switch(cycle, "sweep", plan.reason)

    def _judge_sweep(self, cycle: int, outcome: Outcome) -> None:
        alpha, objective = measured(outcome.alpha), measured(outcome.objective)
        base = measured(outcome.committed_alpha)
        if outcome.verdict is Verdict.STOPPED:
            self._sweep.why = "kernel stopped"
        elif alpha is None or objective is None or base is None:
            return
        else:
            self._sweep.learn(alpha, objective, base, outcome.verdict)
        if self._sweep.why:
            if self._sweep.found:
                self._primary.bank.restart()
            self._switch(cycle, "gradient", self._sweep.why)
            self._sweep.end()

    def _judge_pid(self, cycle: int) -> None:
        bank, ratio = self._primary.bank, self._fallback.signal_to_noise
        if bank.misfit < FITS:
            reason = f"innovations are {bank.misfit:.1f} times their variance again"
            self._primary.take_over(self._fallback)
            self._switch(cycle, "gradient", reason)
            return
        self._evidence = self._evidence + 1 if ratio is not None and ratio < SILENT else 0
        if self._evidence >= REST * self._patience and ratio is not None:
            reason = f"slope is {ratio:.2f} standard errors, below {SILENT:g} for {self._evidence} cycles"
            self._switch(cycle, "hold", reason)

    def _judge_hold(self, cycle: int) -> None:
        self._evidence += 1
        if self._evidence >= REST * self._patience:
            self._primary.take_over(self._fallback)
            self._switch(cycle, "gradient", f"held for {self._evidence} cycles")

    def _switch(self, cycle: int, target: Law, reason: str) -> None:
        self._switches.append(Switch(cycle, self._law, target, reason))
        self._untold = f"{self._law} to {target}: {reason}"
        self._law = target
        self._evidence = 0

    def ask(self) -> Suggestion | Hold:
        """Answer with what the law in force wants."""
        if self._law == "hold":
            return HOLD
        answer = self._walk() if self._law == "sweep" else self.active.ask()
        self._is_told = answer is not HOLD
        return answer

    def _walk(self) -> Suggestion | Hold:
        base = self._primary.base
        if base is None:
            return HOLD
        return self._primary.suggest(Wish(self._sweep.target(base, self._primary.allowed())))

    def state(self) -> State:
        """Give the memory of both tuners, the evidence, the walk and the switches in JSON's types."""
        stored: State = {
            "optimizer": self.name,
            "law": LAWS.index(self._law),
            "evidence": self._evidence,
            "alarms": self._alarms,
            "untold": self._untold,
            "switches": json.dumps([attrs.astuple(switch) for switch in self._switches]),
        }
        parts = {"sweep": self._sweep.state(), **{t.name: t.state() for t in (self._primary, self._fallback)}}
        for name, part in parts.items():
            stored |= {f"{name}.{key}": value for key, value in part.items()}
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
        law = LAWS[reader.integer("law", 0, len(LAWS) - 1)]
        evidence = reader.integer("evidence", 0, LAST_TICK)
        alarms = reader.integer("alarms", 0, LAST_TICK)
        untold, switches = reader.text("untold"), _parsed(reader.text("switches"))
        sweep, walked = Sweep(self._primary.space), StateReader(reader.part("sweep."))
        primary, fallback = reader.part(f"{self._primary.name}."), reader.part(f"{self._fallback.name}.")
        reader.finish()
        sweep.restore(walked)
        walked.finish()
        before = self._primary.state()
        self._primary.restore(primary)
        try:
            self._fallback.restore(fallback)
        except OptimizerStateError:
            self._primary.restore(before)
            self._fallback.guard = self._primary.guard
            raise
        self._fallback.guard = self._primary.guard
        self._law, self._evidence, self._alarms, self._untold = law, evidence, alarms, untold
        self._sweep, self._switches = sweep, switches


def _as_seen_by_the_passive(outcome: Outcome) -> Outcome:
    """Return the outcome without the fate of a suggestion that was not the passive tuner's."""
    if outcome.verdict is Verdict.REFUSED:
        return attrs.evolve(outcome, verdict=Verdict.NONE, broken=(), margins=())
    if outcome.verdict in (Verdict.COMMITTED, Verdict.REVERTED):
        return attrs.evolve(outcome, verdict=Verdict.NONE, margins=())
    return attrs.evolve(outcome, margins=())


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
