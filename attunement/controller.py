"""The loop between an engine, an optimizer and the kernel."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from attunement.acceptance import AcceptanceTest
from attunement.asking import Answer, BoundedOptimizer, Fault
from attunement.journal import names_of_broken
from attunement.measurement import Measurement, MeasurementError, Sensors
from attunement.telemetry import CycleReport, Subscriber
from kernel import (
    Entry,
    Kind,
    MalformedQuantityError,
    Mode,
    Order,
    Outcome,
    Proposal,
    Reading,
    SafetyKernel,
)
from kernel.limits import CYCLE_LAST, hold
from kernel.quantity import to_float
from kernel.rules import safety_checks
from kernel.safety_kernel import ReentrantCallError
from optimizers.protocol import Hold, Suggestion, Verdict
from optimizers.protocol import Outcome as Told

ACTOR = "attunement_controller"
SHORTEST_POLL_S = 0.01

_TOLD = {
    Outcome.COMMITTED: Verdict.COMMITTED,
    Outcome.RETURNED: Verdict.REVERTED,
    Outcome.REVERTED: Verdict.REVERTED,
    Outcome.RETREATED: Verdict.RETREATED,
}


class Orders(Protocol):
    """What gives orders at a reading, before an optimizer may propose on it; to stop, in any cycle."""

    def attend(self, reading: Reading) -> tuple[Entry, ...]: ...

    def stop(self) -> tuple[Entry, ...]: ...


class LambdaAttunementController:
    """Measures each cycle, has the kernel judge it, and passes the optimizer's wishes on.

    Args:
        engine: What is attuned; one that offers `on_cycle_end` drives the controller, any other is polled.
        sensors: Reads that engine.
        kernel: Owner of α.
        optimizer: Source of proposals; the controller closes it.
        acceptance: The test of coherence that settles trials.
        settle_delay_s: Least age, seconds, of a trial that a safe reading settles; an unsafe one always does.
        trial_deadline_s: Age, seconds, at which a trial is reverted; for a polled engine also the longest
            silence that is not a missed cycle.
        subscribers: Told every report.
        orders: Attended to at each reading that finds no trial open; None when nobody orders.
    """

    def __init__(
        self,
        engine: Any,
        sensors: Sensors,
        kernel: SafetyKernel,
        optimizer: BoundedOptimizer,
        acceptance: AcceptanceTest,
        settle_delay_s: float,
        trial_deadline_s: float,
        subscribers: Sequence[Subscriber] = (),
        orders: Orders | None = None,
    ) -> None:
        self._lock = threading.RLock()  # one cycle at a time; guards what follows it
        self._engine = engine
        self._sensors = sensors
        self._kernel = kernel
        self._optimizer = optimizer
        self._acceptance = acceptance
        self._settle_delay_s = settle_delay_s
        self._trial_deadline_s = trial_deadline_s
        self._subscribers = tuple(subscribers)
        self._orders = orders
        self._last_cycle = kernel.state.cycle
        self._reading: Reading | None = None
        self._pending: tuple[Verdict, tuple[str, ...]] = (Verdict.NONE, ())
        # Decisions taken outside a cycle, by any thread; told with the next report.
        self._aside: deque[Entry] = deque()
        self._failure: Exception | None = None
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Follow the engine's cycles, and revert trials that nobody settles within their deadline.

        Raises:
            RuntimeError: it was started before; stopping closes the optimizer, so there is no second start.
        """
        if self._threads or self._stopping.is_set():
            raise RuntimeError("the controller was started before, it starts once")
        self._spawn(self._expire_trials, "trial-deadline")
        on_cycle_end = getattr(self._engine, "on_cycle_end", None)
        if on_cycle_end is None:
            self._spawn(self._poll, "attunement")
        else:
            on_cycle_end(self.on_cycle_end)

    def stop(self) -> None:
        """Revert an open trial and follow no more; the kernel's latches stay.

        Raises:
            LedgerUnavailableError: the end of the trial could not be recorded.
            Exception: whatever had ended the following before this call.
        """
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        self._optimizer.close()
        with self._lock:
            if self._kernel.mode is Mode.TRIAL:
                self._kernel.recover(ACTOR, "controller stopped: open trial reverted")
        if self._failure is not None:
            raise self._failure

    def freeze(self, actor: str, reason: str) -> Entry:
        """Stop the optimizers now; an open trial is reverted."""
        return self._decided_aside(self._kernel.freeze(actor, reason))

    def approve(self, order: Order) -> Entry:
        """Leave FROZEN or EMERGENCY by a signed order, judged on the newest reading.

        Raises:
            MeasurementError: there is no reading yet.
        """
        with self._lock:
            return self._decided_aside(self._kernel.approve(order, self._newest()))

    def override(self, order: Order, alpha: object) -> Entry:
        """Try an operator's α by a signed order: the checks of any proposal, on the newest reading.

        Raises:
            MeasurementError: there is no reading yet.
            MalformedQuantityError: alpha is no finite number.
        """
        with self._lock:
            return self._decided_aside(self._kernel.override(order, alpha, self._newest()))

    def on_cycle_end(self) -> None:
        """Follow one cycle; nothing once the controller is stopped, nor from within `set_alpha_multiplier`.

        Raises:
            Exception: whatever has ended the following, here or in a thread of the controller.
        """
        if self._failure is not None:
            raise self._failure
        if not self._stopping.is_set():
            # A cycle that ends while the engine is given α ran under two of them: the next one counts.
            with suppress(ReentrantCallError):
                self.update()

    def update(self) -> CycleReport:
        """Measure the newest cycle, settle or observe it, and pass on what the optimizer wishes.

        Raises:
            LedgerUnavailableError: a decision could not be recorded; it was not applied.
        """
        with self._lock:
            try:
                measurement = self._sensors.measure()
                reading = measurement.reading()
            except (MeasurementError, MalformedQuantityError) as error:
                return self._unseen(str(error))
            if not reading.cycle > self._last_cycle:
                return self._unseen(f"no new sample since cycle {self._last_cycle}")
            if not reading.cycle <= CYCLE_LAST:
                return self._unseen(f"cycle is {reading.cycle}, must not exceed {CYCLE_LAST}")
            self._last_cycle, self._reading = reading.cycle, reading
            if reading.alpha != self._kernel.state.alpha:
                return self._missed(f"measured at α = {measurement.alpha}, in force is {self._kernel.alpha}")
            self._acceptance.observe(measurement.alpha, measurement.objective)
            if self._is_settling(reading):
                return self._report(measurement, self._stopped(), None)
            return self._decided(measurement, reading)

    def _newest(self) -> Reading:
        if self._reading is None:
            raise MeasurementError("no usable reading yet, wait for the next cycle")
        return self._reading

    def _decided_aside(self, entry: Entry) -> Entry:
        self._aside.append(entry)
        return entry

    def _decided(self, measurement: Measurement, reading: Reading) -> CycleReport:
        judged = self._judge(measurement, reading)
        ordered = self._ordered(reading)
        is_untouched = not ordered and judged.after.alpha == reading.alpha
        may_propose = is_untouched and self._kernel.mode is Mode.READY
        answer = self._optimizer.exchange(self._told(measurement, judged), may_propose)
        proposed = self._propose(answer, reading)
        return self._report(measurement, (judged, *ordered, *proposed), answer)

    def _ordered(self, reading: Reading) -> tuple[Entry, ...]:
        if self._orders is None or self._kernel.mode is Mode.TRIAL:
            return ()
        return self._orders.attend(reading)

    def _stopped(self) -> tuple[Entry, ...]:
        return () if self._orders is None else self._orders.stop()

    def _is_settling(self, reading: Reading) -> bool:
        age_s = self._kernel.trial_age_s
        if age_s is None or not 0 <= age_s < self._settle_delay_s:
            return False
        return hold(safety_checks(self._kernel.limits, reading.alpha, reading))

    def _judge(self, measurement: Measurement, reading: Reading) -> Entry:
        alpha, objective = measurement.alpha, measurement.objective
        if self._kernel.mode is not Mode.TRIAL:
            self._acceptance.stay(alpha, objective)
            return self._kernel.observe(reading, ACTOR, "cycle observed")
        self._acceptance.ceiling = self._kernel.limits.tolerance_max
        comparison = self._acceptance.compare(objective)
        entry = self._kernel.settle(reading, comparison, ACTOR, "trial measured")
        if entry.after.alpha == reading.alpha:
            # Committed, or kept because the way back is the worse one: the next trial is compared with this.
            self._acceptance.stay(alpha, objective)
        return entry

    def _told(self, measurement: Measurement, judged: Entry) -> Told:
        verdict, broken = self._pending
        if judged.verdict.outcome in _TOLD:
            verdict, broken = _TOLD[judged.verdict.outcome], names_of_broken(judged)
        if judged.after.mode in (Mode.FROZEN, Mode.EMERGENCY):
            verdict, broken = Verdict.STOPPED, names_of_broken(judged)
        self._pending = (Verdict.NONE, ())
        return Told(
            cycle=measurement.cycle,
            alpha=measurement.alpha,
            objective=measurement.objective,
            verdict=verdict,
            committed_alpha=to_float(judged.after.alpha),
            broken=broken,
            margins=measurement.margins(self._kernel.limits),
        )

    def _propose(self, answer: Answer, reading: Reading) -> tuple[Entry, ...]:
        match answer.wish:
            case Hold():
                return ()
            case Fault(reason=reason):
                proposal = Proposal(None, Kind.STEP, ACTOR, reason)
            case Suggestion(alpha=value, probe=probe):
                kind = Kind.PROBE if probe else Kind.STEP
                why = f"; {answer.reason}" if answer.reason else ""
                proposal = Proposal(value, kind, ACTOR, f"{answer.mode} {kind.name.lower()}{why}")
        entry = self._kernel.propose(proposal, reading)
        # A granted trial that ends without a reading was reverted; a reading that settles it says otherwise.
        granted = entry.verdict.outcome is Outcome.ACCEPTED
        self._pending = (Verdict.REVERTED, ()) if granted else (Verdict.REFUSED, names_of_broken(entry))
        return (entry,)

    def _unseen(self, reason: str) -> CycleReport:
        # Nobody may approve, or move α, on what was measured before the engine could not be seen.
        self._reading = None
        return self._missed(reason)

    def _missed(self, reason: str) -> CycleReport:
        return self._report(None, (self._kernel.miss(ACTOR, reason), *self._stopped()), None)

    def _report(
        self, measurement: Measurement | None, entries: tuple[Entry, ...], answer: Answer | None
    ) -> CycleReport:
        aside = [self._aside.popleft() for _ in range(len(self._aside))]
        report = CycleReport(
            measurement=measurement,
            entries=(*aside, *entries),
            state=self._kernel.state,
            optimizer_mode="idle" if answer is None else answer.mode,
            gradient=None if answer is None else answer.gradient,
            lambdas={} if measurement is None else self._sensors.lambdas(),
        )
        for subscriber in self._subscribers:
            subscriber.on_report(report)
        return report

    def _spawn(self, work: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=self._kept, args=(work,), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _kept(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - raised to the caller of on_cycle_end and stop
            self._failure = self._failure or error

    def _expire_trials(self) -> None:
        while not self._stopping.wait(self._trial_deadline_s / 4):
            expired = self._kernel.expire_overdue_trial(ACTOR)
            if expired is not None:
                self._decided_aside(expired)

    def _poll(self) -> None:
        heard_s = time.monotonic()
        while not self._stopping.wait(max(self._settle_delay_s, SHORTEST_POLL_S)):
            now_s = time.monotonic()
            is_silent = not now_s - heard_s < self._trial_deadline_s
            if is_silent or self._is_new_cycle():
                heard_s = now_s
                self.on_cycle_end()

    def _is_new_cycle(self) -> bool:
        try:
            return self._sensors.newest_cycle() > self._last_cycle
        except MeasurementError:
            # Silence: after the trial's deadline it counts as a missed cycle, which tells why.
            return False
