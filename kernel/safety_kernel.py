"""The shell around the rules: one lock, the ledger first, then the actuator.

Order of effects: record durable, then α applied, then the state others see. Whatever fails, α is where the
last record that is known to be durable says, or back at the rollback target which that record names; a record
that was still under way counts as not made.
"""

import threading
import time
from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple, Protocol

from kernel import rules
from kernel.limits import Limits
from kernel.quantity import MalformedQuantityError, Nano, name_of_type, round_nearest, to_float
from kernel.state import HELD, REFUSED, TRIAL, Comparison, Kind, Mode, Outcome, Reading, State, Verdict

_GRANTS = frozenset({Outcome.STARTED, Outcome.ACCEPTED})
_INTERRUPTED = "a decision was interrupted, kernel closed"
_NOT_A_NUMBER = Verdict(REFUSED, (("finite_alpha", 1, 1, 0, 1),))


class LedgerUnavailableError(Exception):
    """A decision could not be recorded: it was not applied and the kernel is closed."""


class ReentrantCallError(RuntimeError):
    """The ledger or the engine called the kernel in the middle of a decision; nothing more was decided."""


class ActuatorError(Exception):
    """The engine did not take the α that a history begins with."""


class PolicyError(ValueError):
    """Limits that are not well formed, or an initial α outside them."""


class Proposal(NamedTuple):
    """What an optimizer asks for: alpha is judged, whatever it is; actor and reason are only recorded."""

    alpha: object
    kind: Kind
    actor: str
    reason: str


class Order(NamedTuple):
    """What a person asks for; the signature is judged by the `Authority`.

    The subject is what the action is done to, in nano: nothing for `approve`, α for `override`, the limits in
    order for `set_limits`; an order signed for another action or subject authorises nothing.
    """

    action: str
    subject: tuple[int, ...]
    actor: str
    reason: str
    signature: str


class Entry(NamedTuple):
    """One decision with all that is needed to derive it again."""

    event: str
    actor: str
    reason: str
    before: State
    after: State
    verdict: Verdict
    target: Nano | None
    kind: Kind | None
    reading: Reading | None
    comparison: Comparison | None
    limits: Limits | None


new_entry = Entry.__new__


class Ledger(Protocol):
    """Where decisions are recorded. Called with the kernel's lock held: it must wait for no caller of it."""

    def append(self, entry: Entry) -> object:
        """Return once the entry is durable; raise anything if it is not, or may not be."""


class Actuator(Protocol):
    """What applies α. Called with the kernel's lock held: it must wait for no caller of the kernel.

    So an engine holds no lock of its own, which this takes, while it tells anyone that a cycle has ended.
    """

    def set_alpha_multiplier(self, alpha: float) -> None:
        """Apply α, a multiplier without a unit, or raise anything if it is not applied."""


class Authority(Protocol):
    """Who may sign orders."""

    def authorises(self, order: Order) -> bool:
        """Return True if the signature holds for the action and subject; to raise decides nothing."""


class SafetyKernel:
    """Owner of α. Every method is one event of the state machine and safe to call from any thread.

    Methods return the `Entry` of the decision. They raise `LedgerUnavailableError` when it could not be
    recorded; the kernel then stays closed, with an open trial put back to its rollback target: at every call
    until the engine takes it. They raise `ReentrantCallError` when the ledger or the engine calls them in the
    middle of a decision.
    """

    def __init__(
        self,
        limits: Limits,
        state: State,
        ledger: Ledger,
        actuator: Actuator,
        authority: Authority,
        trial_deadline_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Hold a state without applying it; call `recover` next, or use `start` for a new history."""
        self._lock = threading.RLock()  # guards all that follows and every effect
        self._limits = limits
        self._state = state
        self._opened_s = 0.0
        self._is_acting = False
        # Why nothing is decided any more, empty while all is well; and the recorded state whose α, or whose
        # way back from a trial, the engine is owed. Both are set before the effects that they must outlast.
        self._closed = ""
        self._owed: State | None = None
        self._ledger = ledger
        self._actuator = actuator
        self._authority = authority
        self._deadline_s = trial_deadline_s
        self._clock = clock

    @classmethod
    def start(
        cls,
        limits: Limits,
        alpha: object,
        ledger: Ledger,
        actuator: Actuator,
        authority: Authority,
        trial_deadline_s: float = 5.0,
        *,
        actor: str,
        reason: str,
    ) -> "SafetyKernel":
        """Begin a new history at alpha and apply it.

        Raises:
            MalformedQuantityError: alpha is no finite number.
            PolicyError: the limits are not well formed, or alpha lies outside them.
            ActuatorError: the engine did not take alpha; the ledger says so.
        """
        target = round_nearest("alpha", alpha)
        state, verdict = rules.start(limits, target)
        if verdict.outcome is not Outcome.STARTED:
            raise PolicyError("; ".join(describe(verdict)))
        kernel = cls(limits, state, ledger, actuator, authority, trial_deadline_s)
        entry = kernel._enact("start", actor, reason, (state, verdict), target, limits=limits, reapply=True)
        if entry.verdict.outcome is not Outcome.STARTED:
            raise ActuatorError(entry.reason)
        return kernel

    def recover(self, actor: str, reason: str) -> Entry:
        """Resume the state given on construction: an open trial is reverted, latches stay, α is applied."""
        with self._lock:
            transition = rules.recover(self._state)
            return self._enact("recover", actor, reason, transition, limits=self._limits, reapply=True)

    @property
    def alpha(self) -> float:
        """α in force."""
        return to_float(self._state.alpha)

    @property
    def mode(self) -> Mode:
        """What may move α now."""
        return self._state.mode

    @property
    def state(self) -> State:
        """The whole state."""
        return self._state

    @property
    def limits(self) -> Limits:
        """The policy in force."""
        return self._limits

    @property
    def trial_age_s(self) -> float | None:
        """Seconds since the open trial was granted, None outside a trial."""
        with self._lock:
            return self._clock() - self._opened_s if self._state.mode is TRIAL else None

    def propose(self, proposal: Proposal, reading: Reading) -> Entry:
        """Ask for a trial of proposal.alpha on the present reading."""
        kind, actor, reason = proposal.kind, proposal.actor, proposal.reason
        with self._lock:
            try:
                target = round_nearest("alpha", proposal.alpha)
            except MalformedQuantityError as error:
                refused = (self._state, _NOT_A_NUMBER)
                return self._enact("propose", actor, f"{reason}: {error}", refused, None, kind, reading)
            transition = rules.propose(self._limits, self._state, target, kind, reading)
            return self._enact("propose", actor, reason, transition, target, kind, reading)

    def settle(self, reading: Reading, comparison: Comparison, actor: str, reason: str) -> Entry:
        """End the open trial by a reading taken under it."""
        with self._lock:
            transition = rules.settle(self._limits, self._state, reading, comparison)
            return self._enact("settle", actor, reason, transition, reading=reading, comparison=comparison)

    def observe(self, reading: Reading, actor: str, reason: str) -> Entry:
        """Judge a reading that no trial waits for."""
        with self._lock:
            transition = rules.observe(self._limits, self._state, reading)
            return self._enact("observe", actor, reason, transition, reading=reading)

    def miss(self, actor: str, reason: str) -> Entry:
        """Judge a cycle that gave no usable reading; reason says what was wrong with it."""
        with self._lock:
            after, verdict = rules.miss(self._limits, self._state)
            # An engine that began anew, or did not take α back, is brought to α again, also where α is safe.
            return self._enact("miss", actor, reason, (after, verdict), reapply=after.mode is Mode.EMERGENCY)

    def expire_overdue_trial(self, actor: str) -> Entry | None:
        """Revert a trial that nobody settled within its deadline; None if there is none."""
        with self._lock:
            age_s = self.trial_age_s
            if age_s is None or 0 <= age_s <= self._deadline_s:
                return None
            return self.miss(actor, f"trial open for {age_s:.3f} s, deadline {self._deadline_s:.3f} s")

    def freeze(self, actor: str, reason: str) -> Entry:
        """Stop the optimizers. Needs no signature: a lost key must not keep anyone from stopping."""
        with self._lock:
            return self._enact("freeze", actor, reason, rules.freeze(self._state))

    def approve(self, order: Order, reading: Reading) -> Entry:
        """Leave FROZEN or EMERGENCY."""
        with self._lock:
            signed = self._is_signed(order, "approve", ())
            transition = rules.approve(self._limits, self._state, reading, signed)
            return self._enact("approve", order.actor, order.reason, transition, reading=reading)

    def override(self, order: Order, alpha: object, reading: Reading) -> Entry:
        """Ask for a trial of an operator's alpha: the same checks as a proposal, and a valid signature.

        Raises:
            MalformedQuantityError: alpha is no finite number.
        """
        target = round_nearest("alpha", alpha)
        with self._lock:
            signed = self._is_signed(order, "override", (target,))
            transition = rules.override(self._limits, self._state, target, reading, signed)
            return self._enact(
                "override", order.actor, order.reason, transition, target, Kind.RESTORE, reading
            )

    def set_limits(self, order: Order, limits: Limits) -> Entry:
        """Adopt another policy."""
        with self._lock:
            signed = self._is_signed(order, "set_limits", tuple(limits))
            transition = rules.set_limits(self._state, limits, signed)
            entry = self._enact("set_limits", order.actor, order.reason, transition, limits=limits)
            if entry.verdict.outcome is Outcome.ADOPTED:
                self._limits = limits
            return entry

    def _is_signed(self, order: Order, action: str, subject: tuple[int, ...]) -> bool:
        return order[:2] == (action, subject) and self._authority.authorises(order) is True

    def _enact(
        self,
        event: str,
        actor: str,
        reason: str,
        transition: rules.Transition,
        target: Nano | None = None,
        kind: Kind | None = None,
        reading: Reading | None = None,
        comparison: Comparison | None = None,
        limits: Limits | None = None,
        reapply: bool = False,
    ) -> Entry:
        if self._is_acting:
            raise ReentrantCallError(f"{event} called in the middle of another decision")
        if self._closed:
            raise LedgerUnavailableError(self._put_back())
        before, (after, verdict) = self._state, transition
        entry = new_entry(
            Entry, event, actor, reason, before, after, verdict, target, kind, reading, comparison, limits
        )
        try:
            self._is_acting, self._closed = True, _INTERRUPTED
            self._owed = before if before.mode is TRIAL else None
            if verdict.outcome is not HELD or verdict.broken:
                self._ledger.append(entry)
            self._owed = after
            if reapply or after.alpha != before.alpha:
                entry = self._apply(entry)
            if entry.after.mode is TRIAL and before.mode is not TRIAL:
                self._opened_s = self._clock()
            self._state, self._owed, self._closed = entry.after, None, ""
        except BaseException as error:
            # What the engine has by then is not known, nor whether a record under way is durable.
            self._closed = f"{event} not completed, kernel closed: {_said(error)}"
            told = self._put_back()
            if isinstance(error, Exception):
                raise LedgerUnavailableError(told) from error
            raise
        finally:
            self._is_acting = False
        return entry

    def _apply(self, entry: Entry) -> Entry:
        try:
            self._actuator.set_alpha_multiplier(to_float(entry.after.alpha))
        except Exception as error:  # noqa: BLE001 - a foreign engine may raise anything
            failed = self._give_up(entry, error)
            self._ledger.append(failed)
            return failed
        return entry

    def _give_up(self, entry: Entry, error: Exception) -> Entry:
        try:
            self._actuator.set_alpha_multiplier(to_float(entry.before.alpha))
            restored = True
        except Exception:  # noqa: BLE001 - the rule judges an α that could not be put back
            restored = False
        state, verdict = rules.actuator_failed(entry.before, entry.verdict.outcome in _GRANTS, restored)
        reason = f"engine did not take α: {_said(error)}"
        return entry._replace(event="actuator_failed", reason=reason, after=state, verdict=verdict)

    def _put_back(self) -> str:
        try:
            self._is_acting = True
            if self._owed is not None:
                self._state = self._owed
                # Every reader of the ledger takes a trial without an outcome for reverted: make it true.
                home, _ = rules.recover(self._owed)
                self._actuator.set_alpha_multiplier(to_float(home.alpha))
                self._state, self._owed = home, None
        except Exception as error:  # noqa: BLE001 - a foreign engine may raise anything
            return f"{self._closed}; α not put back: {_said(error)}"
        finally:
            self._is_acting = False
        return self._closed


def describe(verdict: Verdict) -> tuple[str, ...]:
    """Return one sentence per broken check, with the figure and the limits as decimals."""
    return tuple(
        f"{name} is {Decimal(figure) / unit:.9g}, "
        f"must lie in [{Decimal(least) / unit:.9g}, {Decimal(most) / unit:.9g}]"
        for name, unit, least, figure, most in verdict.broken
    )


def _said(error: BaseException) -> str:
    try:
        return f"{name_of_type(error)}: {error}"
    except Exception:  # noqa: BLE001 - a foreign exception may fail to describe itself
        return name_of_type(error)
