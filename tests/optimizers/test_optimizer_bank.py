"""The bank finds lag, drift, curvature and noise, and knows when J has changed."""

import math
import random

import pytest

from optimizers import (
    HOLD,
    OptimizerSettingError,
    OptimizerStateError,
    Outcome,
    Suggestion,
    Verdict,
    create,
)
from optimizers.figures import StateReader
from optimizers.fit import Line
from optimizers.kalman import KalmanTuner
from optimizers.model_bank import ModelBank
from optimizers.sweep import Sweep


def fed(space, objective, sigma, cycles, lag=0.0, seed=0):
    """Swing around 1.05 with a period of 16 cycles."""
    bank, dice, late = ModelBank(space), random.Random(seed), None
    for cycle in range(cycles):
        alpha = 1.05 + 0.03 * math.sin(2 * math.pi * cycle / 16)
        true = objective(alpha, cycle)
        late = true if late is None or not lag else late + (true - late) * -math.expm1(-1 / lag)
        bank.learn(alpha, late + dice.gauss(0.0, sigma))
    return bank


@pytest.mark.parametrize(("curvature", "tolerance"), [(2.0, 3.0), (8.0, 2.5), (32.0, 8.0), (200.0, 40.0)])
def test_finds_peak_and_curvature(space, curvature, tolerance):
    bank = fed(space, lambda alpha, _: 0.9 - curvature / 2 * (alpha - 1.06) ** 2, 0.002, 120)
    assert bank.curvature.slope == pytest.approx(-curvature, abs=tolerance)
    assert bank.slope(1.06).slope == pytest.approx(0.0, abs=0.15)
    assert bank.at(1.06) == pytest.approx(0.9, abs=0.003)


@pytest.mark.parametrize("sigma", [0.0005, 0.002, 0.005, 0.02, 0.05])
def test_measures_the_noise(space, sigma):
    bank = fed(space, lambda alpha, _: 0.9 - 4 * (alpha - 1.06) ** 2, sigma, 200)
    assert bank.sigma == pytest.approx(sigma, rel=0.35)


@pytest.mark.parametrize("lag", [0.0, 5.0, 10.0])
def test_finds_the_lag(space, lag):
    bank = fed(space, lambda alpha, _: 0.9 - 4 * (alpha - 1.1) ** 2, 0.001, 250, lag)
    assert bank.lag == lag


def test_knows_a_moving_peak_from_a_still_one(space):
    moving = fed(space, lambda alpha, c: 0.9 - 4 * (alpha - 1 - 0.001 * c) ** 2, 0.002, 100)
    still = fed(space, lambda alpha, _: 0.9 - 4 * (alpha - 1.05) ** 2, 0.002, 100)
    assert moving.is_moving
    assert moving.velocity == pytest.approx(0.001, abs=0.001)
    assert not still.is_moving
    assert still.velocity == 0.0


def test_is_alarmed_by_a_step_and_by_nothing_else(space):
    quiet = fed(space, lambda alpha, _: 0.9 - 4 * (alpha - 1.05) ** 2, 0.005, 400)
    step = fed(space, lambda alpha, c: 0.9 - 4 * (alpha - (1.1 if c < 100 else 0.95)) ** 2, 0.005, 110)
    assert quiet.alarms == 0
    assert step.alarms >= 1
    assert step.since < 12


@pytest.mark.parametrize("objective", [1e12, -1e12, 0.0])
def test_no_figure_breaks_it(space, objective):
    bank = fed(space, lambda alpha, _: 0.5 * alpha, 0.005, 30)
    for size in (objective, 0.5, objective, -objective):
        bank.learn(1.0, size)
        assert math.isfinite(bank.slope(1.0).slope)
        assert math.isfinite(bank.sigma)
        assert math.isfinite(bank.misfit)


def test_remembers(space):
    bank = fed(space, lambda alpha, _: 0.9 - 4 * (alpha - 1.06) ** 2, 0.005, 30)
    copy = ModelBank(space)
    copy.restore(StateReader(bank.state()))
    for one in (bank, copy):
        for alpha in (1.0, 1.02, 1.04):
            one.learn(alpha, 0.8)
    assert copy.state() == bank.state()
    for key in ("mean", "cov", "lag_fit"):
        with pytest.raises(OptimizerStateError, match=key):
            ModelBank(space).restore(StateReader({**bank.state(), key: []}))


@pytest.mark.parametrize(("key", "figure"), [("lr", 0.0), ("epsilon", 0.5), ("epsilon", 0.0)])
def test_refuses_settings_out_of_range(space, key, figure):
    with pytest.raises(OptimizerSettingError, match=key):
        KalmanTuner(space, **{key: figure})


@pytest.mark.parametrize("settings", [{"lr": 0.05}, {"epsilon": 0.01}, {"lr": 0.05, "epsilon": 0.005}])
def test_keeps_to_numbers_that_are_set(plant, space, parabola, settings):
    optimizer = create("kalman", space, settings)
    run = plant(space, parabola(1.1), 0.003, 0).run(optimizer, 400)
    assert run.mean_objective(300) >= 0.9 - 0.003


@pytest.mark.parametrize(("key", "small", "large"), [("lr", 1e-4, 0.05), ("epsilon", 1e-4, 0.02)])
def test_a_number_that_is_set_sizes_the_steps(plant, space, parabola, key, small, large):
    def asked(figure):
        run = plant(space, parabola(1.1), 0.003, 0).run(create("kalman", space, {key: figure}), 60)
        return [answer.alpha for answer in run.suggestions if isinstance(answer, Suggestion)]

    assert asked(small) != asked(large)


# sweep


def test_plans_nothing_where_the_parabola_can_hold_everywhere(space):
    assert Sweep(space).propose(1.1, 0.9, Line(-8.0, 0.5), 0.005, (0.8, 1.2)) is None
    assert Sweep(space).propose(1.1, 0.9, Line(8.0, 0.5), 0.005, (0.8, 1.2)) is None


def planned(space, **changed):
    arguments = {"home": 0.96, "level": 0.75, "curvature": Line(-110.0, 5.0), "sigma": 0.005}
    sweep = Sweep(space)
    plan = sweep.propose(**{**arguments, **changed}, bounds=(0.8, 1.2))
    assert plan is not None
    sweep.begin(plan)
    return sweep, plan


def test_plans_a_walk_to_what_is_unknown_and_none_to_what_was_seen(space):
    sweep, plan = planned(space)
    assert plan.direction == 1
    assert "unknown" in plan.reason
    for cell in range(81):
        sweep.see(0.8 + 0.005 * cell)
    assert sweep.propose(0.96, 0.75, Line(-110.0, 5.0), 0.005, (0.8, 1.2)) is None
    sweep.forget()
    assert sweep.propose(0.96, 0.75, Line(-110.0, 5.0), 0.005, (0.8, 1.2)) is not None


def test_plans_no_walk_beyond_what_limits_allow(space):
    assert Sweep(space).propose(0.96, 0.75, Line(-110.0, 5.0), 0.005, (0.9, 1.02)) is None


def walked(sweep, objective, reverts=lambda _alpha: False, most=400):
    base, path = sweep.plan.home, []
    for _ in range(most):
        target = sweep.target(base, (0.8, 1.2))
        verdict = Verdict.REVERTED if reverts(target) else Verdict.COMMITTED
        base = base if verdict is Verdict.REVERTED else target
        path.append(target)
        if sweep.learn(target, objective(target), base, verdict):
            return path
        # Before the next step, a cycle in which there is none.
        if verdict is Verdict.REVERTED and sweep.learn(base, objective(base), base, Verdict.NONE):
            return path
    raise AssertionError("the walk did not end")


def test_ends_at_a_better_place(space):
    sweep, _ = planned(space)
    path = walked(sweep, lambda alpha: 0.6 if alpha < 1.1 else 0.85)
    assert sweep.found
    assert path[-1] >= 1.1
    assert "better" in sweep.why


def test_goes_home_from_the_end_of_the_range(space):
    sweep, _ = planned(space)
    path = walked(sweep, lambda _alpha: 0.74)
    assert not sweep.found
    assert max(path) > 1.19
    assert path[-1] < 0.98
    sweep.end()
    assert sweep.propose(0.96, 0.75, Line(-110.0, 5.0), 0.005, (0.8, 1.2)) is None


def test_turns_where_the_parabola_holds(space):
    sweep, _ = planned(space)
    path = walked(sweep, lambda alpha: max(0.75 - 55 * (alpha - 0.96) ** 2, 0.0))
    assert max(path) < 1.05


def test_turns_when_reverted_and_gives_up_when_it_cannot_go_home(space):
    sweep, _ = planned(space)
    path = walked(sweep, lambda _alpha: 0.74, reverts=lambda _alpha: True)
    assert len(path) < 12
    assert not sweep.found


def test_stops_paying(space):
    sweep, _ = planned(space, curvature=Line(-60.0, 1.0))
    path = walked(sweep, lambda alpha: 0.75 if alpha < 0.97 else -30.0)
    assert max(path) < 1.05


def test_without_a_plan_nothing_is_walked(space):
    sweep = Sweep(space)
    assert sweep.target(1.0, (0.8, 1.2)) == 1.0
    assert sweep.learn(1.0, 0.5, 1.0, Verdict.NONE)
    sweep.end()
    assert sweep.state()["plan"] == []


# extremum seeking and the safe Gaussian process


@pytest.mark.parametrize("method", ["extremum_seeking", "safe_gp"])
@pytest.mark.parametrize(
    ("peak", "sigma", "loss"), [(1.1, 0.0, 0.003), (1.1, 0.005, 0.005), (0.95, 0.005, 0.005)]
)
def test_finds_the_peak(plant, space, parabola, method, peak, sigma, loss):
    for seed in range(2):
        run = plant(space, parabola(peak), sigma, seed).run(create(method, space, {"seed": seed}), 350)
        assert run.mean_objective(250) >= 0.9 - loss
        assert run.beyond_space == 0
        assert run.longest_row_of_reverts <= 4


@pytest.mark.parametrize("method", ["extremum_seeking", "safe_gp", "kalman"])
def test_same_memory_same_suggestions(plant, space, parabola, method):
    original, copy = create(method, space, {}), create(method, space, {})
    plant(space, parabola(1.1), 0.005, 0).run(original, 80)
    copy.restore(original.state())
    runs = [plant(space, parabola(1.05), 0.005, 1).run(one, 40).suggestions for one in (original, copy)]
    assert runs[0] == runs[1]
    assert original.signal_to_noise == copy.signal_to_noise


def test_safe_gp_keeps_to_the_margins_it_has_seen(space):
    optimizer, dice = create("safe_gp", space, {}), random.Random(0)
    alpha = 1.0
    for cycle in range(120):
        margin = 0.006 * (1.1 - alpha) + dice.gauss(0.0, 1e-5)
        told = (("entropy_rate", margin),)
        optimizer.tell(Outcome(cycle, alpha, 2.0 * alpha - 1.5, Verdict.COMMITTED, alpha, (), told))
        answer = optimizer.ask()
        alpha = alpha if answer is HOLD else answer.alpha
        assert alpha <= 1.1
    assert alpha > 1.05


@pytest.mark.parametrize(
    ("method", "settings", "key"),
    [
        ("extremum_seeking", {"seeking_gain": 0.0}, "seeking_gain"),
        ("extremum_seeking", {"seeking_period": 3}, "seeking_period"),
        ("safe_gp", {"gp_beta": -1.0}, "gp_beta"),
        ("safe_gp", {"gp_forgetting": 0.0}, "gp_forgetting"),
    ],
)
def test_settings_out_of_range_are_refused(space, method, settings, key):
    with pytest.raises(OptimizerSettingError, match=key):
        create(method, space, settings)


def test_safe_gp_refuses_damaged_memory(plant, space, parabola):
    optimizer = create("safe_gp", space, {})
    plant(space, parabola(1.1), 0.005, 0).run(optimizer, 30)
    with pytest.raises(OptimizerStateError, match="sums"):
        optimizer.restore({**optimizer.state(), "sums": [1.0, 2.0, 3.0]})
