"""Optimizers that raise, hang or answer nonsense: each costs one refused cycle and nothing else."""

import io
import threading
from math import inf, nan

import numpy as np
import pytest
from rich.console import Console

from attunement.asking import BoundedOptimizer, Fault
from attunement.metrics import Metrics
from attunement.view import JsonView, PlainView
from kernel import Mode
from optimizers import HOLD, Outcome, Suggestion, Verdict

TOLD = Outcome(cycle=1, alpha=1.0, objective=0.5, verdict=Verdict.NONE, committed_alpha=1.0)


class SilentError(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class Undecided:
    def __bool__(self):
        raise ValueError("neither true nor false")


class LyingFloat:
    __class__ = float

    def __float__(self):
        return 1.01


class Boasting(int):
    """A huge number that says of itself that it lies between all others."""

    def __le__(self, other):
        return True

    __lt__ = __ge__ = __gt__ = __le__


class Trap(Suggestion):
    def __init__(self):
        pass

    @property
    def alpha(self):
        raise RuntimeError("sprung")


class LoudFloat(float):
    def __format__(self, spec):
        raise RuntimeError("not to be shown")

    def __pos__(self):
        return nan


FAULTS = {
    "raises": ValueError("boom"),
    "exits": SystemExit(3),
    "interrupts": KeyboardInterrupt(),
    "generator exit": GeneratorExit(),
    "text raises": SilentError(),
    "surrogates": ValueError("\udc80\ud800 λ \x1b[2J\r\n"),
    "a megabyte": ValueError("x" * 2**20),
    "none": None,
    "bare nan": nan,
    "bare number": 1.01,
    "string": "1.01",
    "tuple": (1.01, False),
    "hold's class": lambda: type(HOLD),
    "nan": Suggestion(nan),
    "inf": Suggestion(inf),
    "minus inf": Suggestion(-inf),
    "bool": Suggestion(True),
    "text": Suggestion("1.01"),
    "nothing": Suggestion(None),
    "minus zero": Suggestion(-0.0),
    "huge float": Suggestion(1.7e308),
    "huge": Suggestion(10**400),
    "huger": Suggestion(-(10**5000)),
    "boasting": Suggestion(Boasting(10**700)),
    "complex": Suggestion(1j),
    "array": Suggestion(np.array([1.0, 1.01])),
    "lying float": Suggestion(LyingFloat()),
    "probe is none": Suggestion(1.01, None),
    "probe is an array": Suggestion(1.01, np.array([True, False])),
    "probe is undecided": Suggestion(1.01, Undecided()),
    "trap": Trap(),
}


def watchers():
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2)]
    plain, json = (Console(file=stream, width=80) for stream in streams)
    return PlainView(plain), JsonView(json), Metrics()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_costs_one_refused_cycle(attune, scripted_engine, wishes, bodies, fault):
    optimizer = wishes(FAULTS[fault], Suggestion(1.01))
    loop = attune(scripted_engine(), optimizer, subscribers=watchers())
    loop.controller.start()
    loop.engine.run(3)
    assert loop.decisions()[1:] == [
        ("propose", "refused"),
        ("propose", "accepted"),
        ("settle", "committed"),
    ]
    assert loop.engine.applied == [1.0, 1.01]
    assert [told.verdict for told in optimizer.told] == [Verdict.NONE, Verdict.REFUSED, Verdict.COMMITTED]
    assert all(len(body["reason"]) <= 4000 and body["reason"].isprintable() for body in bodies(loop.path))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("raises", "optimizer raised ValueError: boom"),
        ("exits", "optimizer raised SystemExit: 3"),
        ("text raises", "optimizer raised SilentError"),
        ("none", "optimizer answered with a NoneType"),
        ("string", "optimizer answered with a str"),
        ("probe is none", "probe is of type NoneType, must be true or false"),
        ("nan", "alpha is nan, must be a finite number"),
        ("bool", "alpha is of type bool, must be a finite number"),
    ],
)
def test_the_ledger_says_what_the_optimizer_did(attune, scripted_engine, wishes, bodies, fault, said):
    loop = attune(scripted_engine(), wishes(FAULTS[fault]))
    loop.controller.start()
    loop.engine.run(1)
    assert said in bodies(loop.path)[-1]["reason"]


def test_an_optimizer_that_hangs_is_refused_once_and_passed_over_until_it_is_back(
    attune, scripted_engine, wishes, bodies, until
):
    release = threading.Event()

    def hang():
        release.wait(60)
        return Suggestion(1.015)

    optimizer = wishes(hang, *[Suggestion(1.01)] * 99)
    loop = attune(scripted_engine(), optimizer, timeout_s=0.05)
    loop.controller.start()
    loop.engine.run(4)
    assert loop.decisions()[1:] == [("propose", "refused")]
    assert "optimizer gave no answer within 0.05 s" in bodies(loop.path)[-1]["reason"]
    assert [told.cycle for told in optimizer.told] == [1]
    release.set()

    def back():
        loop.engine.run_cycle()
        return loop.kernel.mode is Mode.TRIAL

    until(back)
    # The late answer, 1.015, was thrown away.
    assert loop.engine.applied == [1.0, 1.01]


def test_an_optimizer_that_hangs_for_ever_does_not_keep_the_controller_from_stopping(
    attune, scripted_engine, wishes
):
    release = threading.Event()
    loop = attune(scripted_engine(), wishes(lambda: release.wait(60)), timeout_s=0.02)
    loop.controller.start()
    loop.engine.run(3)
    loop.controller.stop()
    assert loop.decisions() == [("start", "started"), ("propose", "refused")]
    release.set()


def test_telling_can_fail_as_well(attune, scripted_engine, wishes):
    class Deaf(wishes):
        def tell(self, outcome):
            if outcome.cycle == 1:
                raise OSError("deaf")
            super().tell(outcome)

    loop = attune(scripted_engine(), Deaf(Suggestion(1.01)))
    loop.controller.start()
    loop.engine.run(3)
    assert [verdict for _, verdict in loop.decisions()] == ["started", "refused", "accepted", "committed"]


def test_an_optimizer_that_is_not_asked_is_told(wishes):
    optimizer = wishes(Suggestion(1.01), mode="pid", gradient=0.25)
    bounded = BoundedOptimizer(optimizer, 5.0)
    answer = bounded.exchange(TOLD, ask=False)
    assert (answer.wish, answer.mode, answer.gradient) == (HOLD, "pid", 0.25)
    assert optimizer.told == [TOLD]
    assert bounded.exchange(TOLD, ask=True).wish == Suggestion(1.01)
    bounded.close()


@pytest.mark.parametrize(
    "mode",
    [None, 7, "wild", b"pid", np.array(["pid", "idle"]), Undecided()],
    ids=lambda mode: type(mode).__name__,
)
def test_a_mode_that_is_not_known_is_idle(wishes, mode):
    bounded = BoundedOptimizer(wishes(Suggestion(1.01), mode=mode), 5.0)
    answer = bounded.exchange(TOLD, ask=True)
    assert (answer.wish, answer.mode) == (Suggestion(1.01), "idle")
    bounded.close()


@pytest.mark.parametrize("gradient", [nan, inf, -inf, 1, True, "0.1", None, np.float32(1.0)], ids=repr)
def test_a_gradient_that_is_no_finite_float_is_unknown(wishes, gradient):
    bounded = BoundedOptimizer(wishes(gradient=gradient), 5.0)
    assert bounded.exchange(TOLD, ask=True).gradient is None
    bounded.close()


@pytest.mark.parametrize("gradient", [np.float64(0.5), LoudFloat(0.5)], ids=["numpy", "loud"])
def test_a_gradient_of_a_float_class_is_taken_as_the_float_it_is(wishes, gradient):
    bounded = BoundedOptimizer(wishes(gradient=gradient), 5.0)
    found = bounded.exchange(TOLD, ask=True).gradient
    assert type(found) is float
    assert found == 0.5
    bounded.close()


def test_properties_that_raise_are_faults(wishes):
    class Broken(wishes):
        @property
        def gradient(self):
            raise LookupError("no gradient")

        @gradient.setter
        def gradient(self, value):
            """Set by the base class only."""

    bounded = BoundedOptimizer(Broken(Suggestion(1.01)), 5.0)
    assert bounded.exchange(TOLD, ask=True).wish == Fault("optimizer raised LookupError: no gradient")
    bounded.close()


def test_closing_ends_the_worker(wishes, until):
    before = set(threading.enumerate())
    bounded = BoundedOptimizer(wishes(), 5.0)
    (worker,) = set(threading.enumerate()) - before
    bounded.close()
    until(lambda: not worker.is_alive())
