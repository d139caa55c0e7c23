"""No finite figures, and no α that others set, make an optimizer raise, leave the bounds or stay lost."""

import json
import math
import random
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizers import HOLD, NAMES, Outcome, Space, Suggestion, Verdict, create
from optimizers.model_bank import MOST_SIGMA, ModelBank

SPACES = (
    Space(0.8, 1.2, 0.02),
    Space(0.8, 1.2, 0.4),
    Space(1.0, 1.000002, 1e-6),
    Space(1e-9, 10.0, 1.0),
    Space(0.1 + 0.2, 0.7, 0.05),
)
"""The usual one, one step wide, narrow, wide, and with a bound that is no multiple of a nano unit."""
TRUSTED = tuple(name for name in NAMES if not name.startswith("adversary:"))
LIMITS = ("loop_gain[L_phi]", "entropy_rate", "alpha_delta")

powers = st.builds(lambda sign, power: sign * 10.0**power, st.sampled_from([-1, 1]), st.floats(-12, 12))
edges = st.sampled_from([0.0, -0.0, 5e-324, -5e-324, 1e12, -1e12, 1e308, -1e308])
figures = st.one_of(st.floats(0, 1), powers, edges, st.floats(allow_nan=False, allow_infinity=False))


@st.composite
def stretches(draw):
    """J of some cycles in a row: one level with noise, two in turn, or anything."""
    length = draw(st.integers(1, 40))
    kind = draw(st.sampled_from(["level", "turns", "any"]))
    if kind == "any":
        return draw(st.lists(figures, min_size=1, max_size=length))
    first, second = draw(figures), draw(figures)
    if kind == "turns":
        return [second if cycle % 2 else first for cycle in range(length)]
    noise, dice = draw(st.sampled_from([0.0, 1e-6, 1e-3, 0.1])), random.Random(length)
    return [first + noise * max(-1.0, min(dice.gauss(0.0, 1.0), 1.0)) * first for _ in range(length)]


objectives = st.lists(stretches(), min_size=1, max_size=5).map(lambda parts: list(chain.from_iterable(parts)))


def judged(cycle, objective, answer, base, dice):
    """A kernel that judges at random what it was asked, and tells margins of any size."""
    told = objective if math.isfinite(objective) else 0.0
    margins = tuple((name, dice.choice((-1, 0, 1)) * 10.0 ** dice.uniform(-9, 12)) for name in ("one", "two"))
    if not (
        isinstance(answer, Suggestion) and isinstance(answer.alpha, float) and math.isfinite(answer.alpha)
    ):
        verdict = Verdict.STOPPED if dice.random() < 0.1 else Verdict.NONE
        return Outcome(cycle, base, told, verdict, base, (), margins)
    verdict = dice.choice((*Verdict, *[Verdict.COMMITTED, Verdict.REVERTED] * 2))
    broken = dice.choice(((), (dice.choice(LIMITS),))) if verdict is Verdict.REFUSED else ()
    moved = verdict in (Verdict.COMMITTED, Verdict.REVERTED, Verdict.RETREATED)
    committed = answer.alpha if verdict is Verdict.COMMITTED else base
    return Outcome(cycle, answer.alpha if moved else base, told, verdict, committed, broken, margins)


def run(optimizer, told, base, seed, elsewhere=None):
    """Yield every answer with the α in force; at times, others put α to one of `elsewhere`."""
    dice, answer = random.Random(seed), HOLD
    for cycle, objective in enumerate(told):
        if elsewhere and dice.random() < 0.2:
            base, answer = dice.choice(elsewhere), HOLD
        outcome = judged(cycle, objective, answer, base, dice)
        optimizer.tell(outcome)
        answer, base = optimizer.ask(), outcome.committed_alpha
        yield answer, base


def is_within(answer, space, base):
    if answer is HOLD:
        return True
    reach = space.delta_max + 1e-12
    return space.alpha_min <= answer.alpha <= space.alpha_max and abs(answer.alpha - base) <= reach


def middle(space):
    return (space.alpha_min + space.alpha_max) / 2


@pytest.mark.parametrize("name", NAMES)
@given(space=st.sampled_from(SPACES), told=objectives, seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_no_finite_figures_make_an_optimizer_raise(name, space, told, seed):
    optimizer = create(name, space, {"seed": seed})
    for answer, base in run(optimizer, told, middle(space), seed):
        assert name not in TRUSTED or is_within(answer, space, base)
        assert optimizer.gradient is None or math.isfinite(optimizer.gradient)


@pytest.mark.parametrize("name", NAMES)
@given(space=st.sampled_from(SPACES), told=objectives, seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_every_memory_is_taken_back(name, space, told, seed):
    optimizer = create(name, space, {"seed": seed})
    for cycle, _ in enumerate(run(optimizer, told, middle(space), seed)):
        if cycle % 10 == 0 or cycle == len(told) - 1:
            stored = json.loads(json.dumps(optimizer.state(), allow_nan=False))
            restored = create(name, space, {"seed": seed})
            restored.restore(stored)
            assert restored.state() == optimizer.state()


@pytest.mark.parametrize("name", TRUSTED)
@given(
    space=st.sampled_from(SPACES),
    elsewhere=st.lists(st.one_of(st.floats(0, 3), st.floats(-1e12, 1e12)), min_size=1, max_size=4),
    beside=st.lists(st.floats(-1, 1), max_size=4),
    told=objectives,
    seed=st.integers(0, 999),
)
@settings(max_examples=40, deadline=None)
def test_suggestions_keep_to_the_bounds_wherever_others_put_alpha(name, space, elsewhere, beside, told, seed):
    # From just outside the bounds a step leads back into them.
    near = [
        bound + share * space.delta_max for bound in (space.alpha_min, space.alpha_max) for share in beside
    ]
    optimizer = create(name, space, {"seed": seed})
    for answer, base in run(optimizer, told, middle(space), seed, elsewhere + near):
        assert is_within(answer, space, base)


@pytest.mark.parametrize("name", [name for name in TRUSTED if name != "hold"])
def test_a_wall_found_from_outside_the_bounds_does_not_lead_out_of_them(name):
    optimizer = create(name, SPACES[0], {})
    optimizer.tell(Outcome(1, 0.82, 0.5, Verdict.RETREATED, 0.785))
    optimizer.ask()
    for cycle in range(2, 20):
        optimizer.tell(Outcome(cycle, 0.8, 0.5, Verdict.NONE, 0.8))
        assert is_within(optimizer.ask(), SPACES[0], 0.8)


@pytest.mark.parametrize("name", ["gradient", "pid", "slsqp", "extremum_seeking", "kalman", "supervisor"])
@pytest.mark.parametrize(
    "absurd",
    [
        lambda _cycle: -1e6,
        lambda cycle: 1e12 * (-1) ** cycle,
        lambda cycle: 1e9 * (cycle % 2),
        lambda cycle: 1e4 * (-1) ** (cycle // 3),
    ],
)
def test_finds_the_peak_once_figures_are_ordinary_again(plant, space, parabola, name, absurd):
    ordinary = parabola(1.1)
    course = plant(
        space, lambda alpha, cycle: absurd(cycle) if cycle < 80 else ordinary(alpha, cycle), 0.003, 1
    )
    assert course.run(create(name, space, {"seed": 1}), 1700).mean_objective(1500) >= 0.9 - 0.005


def test_a_bank_begins_anew_when_its_figures_say_nothing_any_more(space):
    """Two levels eighteen orders apart leave variances below 0."""
    bank, dice = ModelBank(space), random.Random(0)
    for cycle in range(200):
        size = 1e12 if cycle % 20 < 10 else 1e-6
        bank.learn(1.0 + 0.02 * dice.random(), size * dice.gauss(0.0, 1.0))
        assert bank.sigma <= MOST_SIGMA
    assert bank.alarms > 0
    for _ in range(60):
        alpha = 1.0 + 0.02 * dice.random()
        bank.learn(alpha, 0.5 + dice.gauss(0.0, 0.003))
    assert bank.at(1.01) == pytest.approx(0.5, abs=0.01)


def is_taken_back(name, outcomes):
    optimizer, restored = (create(name, SPACES[0], {"patience": 1}) for _ in range(2))
    for outcome in outcomes:
        optimizer.tell(outcome)
    restored.restore(json.loads(json.dumps(optimizer.state())))
    return restored.state() == optimizer.state()


@pytest.mark.parametrize("name", TRUSTED)
@pytest.mark.parametrize("names", [[""], ["two\nlines"], [str(number) for number in range(1200)]])
def test_a_memory_of_margins_with_any_names_is_taken_back(name, names):
    margins = tuple((one, 0.1) for one in names)
    assert is_taken_back(name, [Outcome(1, 1.0, 0.5, Verdict.NONE, 1.0, (), margins)])


@pytest.mark.parametrize("cycle", [True, 10**5000], ids=["truth", "huge"])
def test_a_change_of_law_at_any_cycle_is_taken_back(cycle):
    alternating = [Outcome(cycle, 1.0, (-1.0) ** step, Verdict.NONE, 1.0) for step in range(40)]
    assert is_taken_back("supervisor", alternating)
