"""Carries orders out, one after the other: each at the first reading that finds no trial open."""

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

import attrs

from attunement.broken import sentences
from attunement.config_schema import ConfigError
from attunement.governance import Governance, kernel_order
from attunement.order import Action, SignedOrder, check_words, sign_order
from kernel import Entry, Limits, Mode, Outcome, Reading, SafetyKernel
from kernel.quantity import to_float
from kernel.state import REFUSED
from ledger import SigningKey

LEAVE: Final = {Mode.FROZEN: Action.UNFREEZE, Mode.EMERGENCY: Action.APPROVE}
"""The action that leaves a latched mode."""
_ON_A_READING: Final = {Action.UNFREEZE, Action.APPROVE, Action.OVERRIDE, Action.ROLLBACK}


class PolicyMismatchError(ConfigError):
    """The configuration's limits are not those in force according to the ledger."""


@attrs.frozen
class Signatory:
    """An operator present at the run, who signs its orders.

    Raises:
        OrderError: actor or reason cannot stand in an order.
    """

    key: SigningKey
    actor: str
    reason: str

    def __attrs_post_init__(self) -> None:
        check_words(self.actor, self.reason)


@attrs.frozen
class Answer:
    """What became of an order.

    Attributes:
        action: What was asked.
        order_id: Which order it was.
        is_refused: Whether the authority or the kernel refused it, or what it began was taken back.
        said: What happened, in words.
    """

    action: Action
    order_id: str
    is_refused: bool
    said: tuple[str, ...]

    def __str__(self) -> str:
        return f"order {self.order_id[:16]} ({self.action.value}): {'; '.join(self.said)}"


OnAnswer = Callable[[Answer], object]
"""Is told what became of an order, in the thread that carried it out."""


@attrs.frozen(eq=False)
class _Waiting:
    action: Action
    # Gives the order, None if it is to be dropped.
    sign: Callable[[], SignedOrder | None]
    tell: OnAnswer


@attrs.frozen
class _Walk:
    """An order that moves α, from the α it found, nano, in so many trials."""

    signed: SignedOrder
    begun_at: int
    trials: int


class OrderDesk:
    """Hands orders to the kernel, one after the other; a freeze before all others.

    An order that moves α further than the policy's Δ goes on step by step, each of them a trial, until α is
    there, a step is refused or taken back, or anything else is decided in between.

    Args:
        kernel: Carries orders out.
        governance: Its authority.
        required: The limits that must be in force once every order was attended to, None if any may be.

    Attributes:
        answers: What became of the orders that came without somebody to tell.
    """

    def __init__(self, kernel: SafetyKernel, governance: Governance, required: Limits | None = None) -> None:
        self._kernel = kernel
        self._governance = governance
        self._required = required
        # Added to by any thread, taken from by the one that attends.
        self._queue: deque[_Waiting] = deque()
        self._moving: _Walk | None = None
        self.answers: list[Answer] = []
        # Who is told of the order that is being carried out.
        self._tell: OnAnswer = self.answers.append

    @property
    def waiting(self) -> int:
        """How many orders no reading came for, or are not carried out to their end."""
        return len(self._queue) + (self._moving is not None)

    @property
    def is_refused(self) -> bool:
        """Whether any order was refused."""
        return any(answer.is_refused for answer in self.answers)

    def submit(self, orders: Iterable[SignedOrder], on_answer: OnAnswer | None = None) -> None:
        """Take orders that are signed already; safe to call from any thread.

        Args:
            orders: Carried out in this order.
            on_answer: Told what became of each; None keeps it in `answers`.
        """
        for signed in orders:
            tell = on_answer or self.answers.append
            self._queue.append(_Waiting(signed.terms.action, partial(_as_it_is, signed), tell))

    def have_signed(self, signatory: Signatory, action: Action, subject: tuple[int, ...] = ()) -> None:
        """Have a present operator sign an order at the reading; dropped if the latch is another by then."""
        latch = self._governance.book.latch

        def sign() -> SignedOrder | None:
            if self._governance.book.latch != latch and action is not Action.POLICY:
                return None
            drafted = self._governance.draft(action, subject, signatory.actor, signatory.reason)
            return sign_order(signatory.key, drafted)

        self._queue.append(_Waiting(action, sign, self.answers.append))

    def attend(self, reading: Reading) -> tuple[Entry, ...]:
        """Carry out what can be on this reading.

        Raises:
            LedgerError: a vote could not be recorded.
            LedgerUnavailableError: a decision could not be recorded; it was not applied.
            PolicyMismatchError: the limits that are required were not adopted.
        """
        entries = list(self.stop())
        if self._moving is not None:
            entries += self._go_on(self._moving, reading)
        while self._queue and self._moving is None and self._kernel.mode is not Mode.TRIAL:
            waiting = self._queue[0]
            signed = waiting.sign()
            if signed is not None and not self._is_timely(signed, reading):
                break
            self._queue.popleft()
            self._tell = waiting.tell
            if signed is not None:
                entries += self._carry_out(signed, reading)
        self._check_policy()
        return tuple(entries)

    def stop(self) -> tuple[Entry, ...]:
        """Carry out a freeze, where there is something to freeze: it waits for no reading, trial or order.

        Raises:
            LedgerUnavailableError: a decision could not be recorded; it was not applied.
        """
        entries: list[Entry] = []
        for waiting in [one for one in self._queue if one.action is Action.FREEZE]:
            state = self._kernel.state
            if (state.resume if state.mode is Mode.TRIAL else state.mode) is not Mode.READY:
                break
            self._queue.remove(waiting)
            signed = waiting.sign()
            # An order that moves α hears itself of being given up, at the reading that finds it so.
            told, self._tell = self._tell, waiting.tell
            if signed is not None:
                entries += self._freeze(signed)
            self._tell = told
        return tuple(entries)

    def _is_timely(self, signed: SignedOrder, reading: Reading) -> bool:
        # A reading whose judgement moved α was measured at another α than is in force: what is judged on a
        # reading would be refused, and used up, for no fault of its own. Nothing else waits.
        return reading.alpha == self._kernel.state.alpha or signed.terms.action not in _ON_A_READING

    def _carry_out(self, signed: SignedOrder, reading: Reading) -> tuple[Entry, ...]:
        terms = signed.terms
        match terms.action:
            case Action.FREEZE:
                return self._freeze(signed)
            case Action.UNFREEZE | Action.APPROVE:
                return self._answered(signed, (self._kernel.approve(kernel_order(signed, ()), reading),))
            case Action.OVERRIDE | Action.ROLLBACK:
                return self._step(_Walk(signed, self._kernel.state.alpha, 0), reading)
            case Action.PERSIST:
                is_authorised = self._governance.authorises(kernel_order(signed, terms.subject))
                return self._answered(signed, (), is_authorised)
        if self._governance.hear(signed):
            return self._answer(signed, False, ("waits for more votes",))
        entry = self._kernel.set_limits(kernel_order(signed, terms.subject), _limits(terms.subject))
        return self._answered(signed, (entry,))

    def _freeze(self, signed: SignedOrder) -> tuple[Entry, ...]:
        is_authorised = self._governance.authorises(kernel_order(signed, ()))
        entries = (self._kernel.freeze(signed.terms.actor, signed.terms.reason),) if is_authorised else ()
        return self._answered(signed, entries, is_authorised)

    def _go_on(self, walk: _Walk, reading: Reading) -> tuple[Entry, ...]:
        self._moving = None
        underway, signed = self._governance.book.underway, walk.signed
        if underway is not None and underway.order_id == signed.terms.order_id:
            return self._step(walk, reading)
        alpha = self._kernel.state.alpha
        if alpha == signed.terms.subject[-1]:
            return self._answer(signed, False, (f"α = {to_float(alpha):.9f} is committed",))
        return self._answer(
            signed, True, ("given up: a step was taken back or α frozen", *self._way_of(walk))
        )

    def _step(self, walk: _Walk, reading: Reading) -> tuple[Entry, ...]:
        signed, alpha, step_max = walk.signed, self._kernel.state.alpha, self._kernel.limits.step_max
        reached = alpha + max(-step_max, min(step_max, signed.terms.subject[-1] - alpha))
        entry = self._kernel.override(kernel_order(signed, (reached,)), to_float(reached), reading)
        if entry.verdict.outcome is Outcome.ACCEPTED:
            self._moving = attrs.evolve(walk, trials=walk.trials + 1)
            return (entry,)
        return self._answered(signed, (entry,), way=self._way_of(walk))

    def _way_of(self, walk: _Walk) -> tuple[str, ...]:
        if walk.trials == 0:
            return ()
        begun_at, alpha = to_float(walk.begun_at), to_float(self._kernel.state.alpha)
        trials = "1 trial" if walk.trials == 1 else f"{walk.trials} trials"
        return (f"α is {alpha:.9f}: this order found it at {begun_at:.9f} and made {trials}",)

    def _answered(
        self,
        signed: SignedOrder,
        entries: tuple[Entry, ...],
        is_authorised: bool = True,
        way: tuple[str, ...] = (),
    ) -> tuple[Entry, ...]:
        refused = [entry for entry in entries if entry.verdict.outcome is REFUSED]
        broken = [line for entry in refused for line in sentences(entry.verdict)]
        is_refused = bool(refused) or not is_authorised
        outcomes = [entry.verdict.outcome.value for entry in entries] or ["recorded"]
        said = (*self._governance.objected, *broken, *way) if is_refused else tuple(outcomes)
        return self._answer(signed, is_refused, said, entries)

    def _answer(
        self, signed: SignedOrder, is_refused: bool, said: tuple[str, ...], entries: tuple[Entry, ...] = ()
    ) -> tuple[Entry, ...]:
        self._tell(Answer(signed.terms.action, signed.terms.order_id, is_refused, said))
        return entries

    def _check_policy(self) -> None:
        if self._required is None or self.waiting:
            return
        if self._kernel.limits != self._required:
            said = [line for one in self.answers if one.action is Action.POLICY for line in one.said]
            raise PolicyMismatchError(*said)
        self._required = None


def _as_it_is(signed: SignedOrder) -> SignedOrder:
    return signed


def _limits(subject: tuple[int, ...]) -> Limits:
    figures: Any = subject
    return Limits(*figures)
