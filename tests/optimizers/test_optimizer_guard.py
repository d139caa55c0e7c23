"""The guard foresees limits, retreats from those that move in, and remembers those that jumped."""

import random

import pytest

from optimizers import HOLD, OptimizerStateError, Outcome, Verdict, create
from optimizers.figures import StateReader
from optimizers.guard import Guard


def taught(space, margin, alphas, noise=1e-5, seed=0):
    guard, dice = Guard(space), random.Random(seed)
    for cycle, alpha in enumerate(alphas):
        guard.learn(alpha, (("entropy_rate", margin(alpha, cycle) + dice.gauss(0.0, noise)),))
    return guard


def climb(first, last, step=0.005):
    return [first + step * i for i in range(round((last - first) / step) + 1)]


def test_knows_nothing_at_first(space):
    assert Guard(space).range(1.0) == (-float("inf"), float("inf"))


def test_stays_inside_a_limit_it_has_only_approached(space):
    guard = taught(space, lambda alpha, _: 0.006 * (1.12 - alpha), [*climb(1.0, 1.1), 1.095, 1.1, 1.1])
    low, high = guard.range(1.1)
    assert low == -float("inf")
    assert 1.1 <= high <= 1.12


@pytest.mark.parametrize("away", [1, -1])
def test_leads_away_from_where_a_limit_should_break(space, away):
    guard = taught(space, lambda alpha, _: away * 0.006 * (1.1 - alpha), [1.1 - away * 0.03] * 3 + [1.1] * 9)
    low, high = guard.range(1.1)
    assert low == high
    assert away * (1.1 - low) > 0


def test_retreats_before_a_moving_limit_arrives(space):
    cycles = 60
    guard = taught(
        space,
        lambda alpha, cycle: 0.15 * (1.15 - 0.0024 * max(cycle - 30, 0) - alpha),
        [1.0 + 0.1 * (cycle % 2) for cycle in range(30)] + [1.1] * (cycles - 45),
        noise=5e-4,
    )
    # At cycle 45 the limit stands at 1.114 and moves in by 0.0024 a cycle.
    _, high = guard.range(1.1)
    assert high <= 1.114


def test_does_not_flee_from_a_limit_that_has_stopped(space):
    moved, stopped = 50, 40

    def margin(alpha, cycle):
        return 0.15 * (1.15 - 0.0024 * min(max(cycle - 30, 0), moved) - alpha)

    near = [1.0 + 0.1 * (cycle % 2) for cycle in range(30)]
    away = [1.1 - 0.0024 * cycle for cycle in range(moved)]
    alphas = [*near, *away, *[away[-1]] * stopped]
    # The limit stands at 1.03; three standard errors of one measurement are 0.01 of α.
    _, high = taught(space, margin, alphas, noise=5e-4).range(1.01)
    assert 1.01 < high <= 1.03


def test_a_jump_is_a_surprise_and_bends_no_line(space):
    guard = taught(space, lambda _alpha, _: 0.001, climb(1.0, 1.12))
    before = guard.state()["mean"]
    assert guard.learn(1.13, (("entropy_rate", -0.002),))
    assert guard.state()["mean"] == pytest.approx(before, abs=1e-5)
    assert not guard.learn(1.12, (("entropy_rate", 0.001),))


@pytest.mark.parametrize(
    "margins", [None, "x", [("a", 1.0)], ((1, 2.0),), (("a",),), (("a", float("nan")),), (("a", True),)]
)
def test_malformed_margins_teach_nothing(space, margins):
    guard = Guard(space)
    assert not guard.learn(1.0, margins)
    assert guard.range(1.0) == (-float("inf"), float("inf"))


def test_other_names_begin_anew(space):
    guard = taught(space, lambda alpha, _: 0.006 * (1.05 - alpha), climb(1.0, 1.04))
    guard.learn(1.04, (("h_internal", 0.5),))
    assert guard.range(1.04) == (-float("inf"), float("inf"))


def test_remembers(space):
    guard = taught(space, lambda alpha, _: 0.006 * (1.12 - alpha), climb(1.0, 1.1))
    copy = Guard(space)
    copy.restore(StateReader(guard.state()))
    assert copy.range(1.1) == guard.range(1.1)
    assert copy.state() == guard.state()


@pytest.mark.parametrize("key", ["mean", "variance", "least", "cov"])
def test_refuses_damaged_memory(space, key):
    guard = taught(space, lambda alpha, _: 0.006 * (1.12 - alpha), climb(1.0, 1.1))
    with pytest.raises(OptimizerStateError, match=key):
        Guard(space).restore(StateReader({**guard.state(), key: [1.0, 2.0]}))
    with pytest.raises(OptimizerStateError, match="variance"):
        Guard(space).restore(StateReader({**guard.state(), "variance": [0.0]}))


def test_the_tuner_retreats_though_it_wishes_to_climb(space):
    optimizer = create("kalman", space, {})
    alpha, answer, dice = 1.1, HOLD, random.Random(0)
    for cycle in range(60):
        margin = 0.15 * (1.15 - 0.0024 * max(cycle - 30, 0) - alpha)
        told = (("h_internal", margin + dice.gauss(0.0, 5e-4)),)
        optimizer.tell(Outcome(cycle, alpha, 2.0 * alpha - 1.5, Verdict.COMMITTED, alpha, (), told))
        assert margin > -0.0005
        answer = optimizer.ask()
        alpha = alpha if answer is HOLD else answer.alpha
    assert alpha < 1.1
