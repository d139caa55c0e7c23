"""Asking an optimizer that may raise, hang or answer nonsense."""

import queue
import threading
from math import isfinite
from typing import Any, get_args

import attrs

from attunement.foreign import described
from attunement.isolated import IsolatedOptimizer
from kernel.quantity import name_of_type
from optimizers.protocol import HOLD, Hold, Mode, Optimizer, Outcome, Suggestion

REASON_MOST = 200


@attrs.frozen
class Fault:
    """What an optimizer did instead of answering."""

    reason: str


@attrs.frozen
class Answer:
    """One exchange with an optimizer.

    Attributes:
        wish: What it wants.
        mode, gradient: What it says of itself, for the metrics.
        reason: Why it does something else than before, if it says so, at most REASON_MOST characters.
    """

    wish: Suggestion | Hold | Fault
    mode: Mode
    gradient: float | None
    reason: str = ""


_SILENT = Answer(HOLD, "idle", None)
_MODES: tuple[Mode, ...] = get_args(Mode)


class BoundedOptimizer:
    """Runs an optimizer in a thread of its own and waits for it only so long.

    An optimizer that does not answer in time is faulted once and then passed over until it has come back; its
    late answer is thrown away. A thread cannot be ended from outside, so one that hangs for ever is left
    behind as a daemon.

    Args:
        optimizer: Owned by the worker thread from here on.
        timeout_s: Longest wait for an answer, seconds.
    """

    def __init__(self, optimizer: Optimizer, timeout_s: float) -> None:
        self._optimizer = optimizer
        self._timeout_s = timeout_s
        self._requests: queue.SimpleQueue[tuple[Outcome, bool] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._memories: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._awaited = False
        threading.Thread(target=self._work, name="optimizer", daemon=True).start()

    def exchange(self, outcome: Outcome, ask: bool) -> Answer:
        """Tell the optimizer one outcome and, if asked, return its wish; HOLD if it was not."""
        if self._awaited:
            try:
                self._answers.get_nowait()
            except queue.Empty:
                return _SILENT
        self._requests.put((outcome, ask))
        self._awaited = True
        try:
            answer = self._answers.get(timeout=self._timeout_s)
        except queue.Empty:
            return Answer(Fault(f"optimizer gave no answer within {self._timeout_s:g} s"), "idle", None)
        self._awaited = False
        return answer

    def close(self) -> None:
        """Let the worker thread end once the optimizer has come back."""
        self._requests.put(None)

    def memory(self) -> dict[str, Any] | None:
        """Return, once after closing, what the optimizer remembers.

        None if it did not tell in time, or is passed over because it has not come back.
        """
        try:
            return self._memories.get(timeout=self._timeout_s)
        except queue.Empty:
            return None

    def _work(self) -> None:
        while (request := self._requests.get()) is not None:
            self._answers.put(consult(self._optimizer, *request))
        self._memories.put(_remembered(self._optimizer))
        release(self._optimizer)


def release(optimizer: Optimizer) -> None:
    """End the process of an optimizer that has one of its own."""
    if isinstance(optimizer, IsolatedOptimizer):
        optimizer.close()


def consult(optimizer: Optimizer, outcome: Outcome, ask: bool) -> Answer:
    """Tell the optimizer one outcome and, if asked, return its wish; what it raises becomes a Fault."""
    try:
        optimizer.tell(outcome)
        wish = _plain(optimizer.ask()) if ask else HOLD
        reason = _text(getattr(optimizer, "reason", ""))
        return Answer(wish, _known(optimizer.mode), _figure(optimizer.gradient), reason)
    except BaseException as error:  # noqa: BLE001 - a foreign optimizer may raise anything, SystemExit too
        return Answer(Fault(f"optimizer raised {described(error)}"), "idle", None)


def _remembered(optimizer: Optimizer) -> dict[str, Any] | None:
    try:
        return dict(optimizer.state())
    except BaseException:  # noqa: BLE001 - as above; what it remembers is of use, and not needed
        return None


# What leaves the worker thread is plain: reading it runs no code of the optimizer's.


def _plain(wish: object) -> Suggestion | Hold | Fault:
    if wish is HOLD:
        return HOLD
    if not isinstance(wish, Suggestion):
        return Fault(f"optimizer answered with a {name_of_type(wish)}, must be a Suggestion or HOLD")
    alpha, probe = wish.alpha, wish.probe
    if type(probe) is not bool:
        return Fault(f"probe is of type {name_of_type(probe)}, must be true or false")
    return Suggestion(alpha, probe)


def _known(mode: object) -> Mode:
    return next((name for name in _MODES if type(mode) is str and name == mode), "idle")


def _figure(gradient: object) -> float | None:
    if not isinstance(gradient, float):
        return None
    figure = float.__pos__(gradient)
    return figure if isfinite(figure) else None


def _text(reason: object) -> str:
    if not isinstance(reason, str):
        return ""
    text = str.__str__(reason)[:REASON_MOST]
    return text if text.isprintable() else ""
