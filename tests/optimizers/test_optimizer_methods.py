"""What is particular to gradient, PID, SLSQP, supervisor, adversary and registry."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizers import (
    HOLD,
    NAMES,
    OptimizerSettingError,
    OptimizerStateError,
    Outcome,
    Space,
    Suggestion,
    UnknownOptimizerError,
    Verdict,
    create,
    slsqp,
)
from optimizers.adversary import STRATEGIES, Adversary
from optimizers.gradient import GradientAscent
from optimizers.kalman import KalmanTuner
from optimizers.pid import PidAdjuster
from optimizers.registry import SETTINGS
from optimizers.slsqp import SlsqpSurrogate, solve
from optimizers.supervisor import Supervisor


def told(optimizer, cycle, alpha, objective, verdict=Verdict.NONE, committed=None, broken=()):
    optimizer.tell(
        Outcome(cycle, alpha, objective, verdict, alpha if committed is None else committed, broken)
    )
    return optimizer.ask()


# gradient


def test_gradient_probes_both_sides_of_the_base(space):
    optimizer = GradientAscent(space, epsilon=0.01)
    first = told(optimizer, 0, 1.0, 0.5)
    assert told(optimizer, 1, first.alpha, 0.5 + first.alpha - 1, Verdict.REVERTED, 1.0) is HOLD
    second = told(optimizer, 2, 1.0, 0.5)
    assert first.probe
    assert second.probe
    assert {first.alpha, second.alpha} == {1.01, 0.99}
    told(optimizer, 3, second.alpha, 0.5 + second.alpha - 1, Verdict.REVERTED, 1.0)
    step = told(optimizer, 4, 1.0, 0.5)
    assert optimizer.gradient == pytest.approx(1.0)
    assert optimizer.signal_to_noise > 100
    assert step == Suggestion(1.02)


def test_gradient_with_a_numeric_lr_follows_the_momentum_formula(plant, space):
    optimizer = GradientAscent(space, lr=0.001, momentum=0.5, epsilon=0.005)
    run = plant(space, lambda alpha, _: 0.5 * alpha, 0.0, 0).run(optimizer, 9)
    steps = [
        answer.alpha for answer in run.suggestions if isinstance(answer, Suggestion) and not answer.probe
    ]
    velocities, expected, velocity = [], 1.0, 0.0
    for _ in steps:
        velocity = 0.5 * velocity + 0.001 * 0.5
        expected += velocity
        velocities.append(expected)
    assert len(steps) >= 3
    assert steps == pytest.approx(velocities, abs=1e-8)


def test_gradient_with_the_specification_settings_moves_up_when_there_is_no_noise(plant, space):
    optimizer = GradientAscent(space, lr=0.001, momentum=0.85, epsilon=1e-5)
    run = plant(space, lambda alpha, _: 0.5 * alpha, 0.0, 0).run(optimizer, 100)
    assert run.alphas[-1] > 1.05


def test_gradient_climbs_one_step_a_cycle_while_the_signal_is_good(plant, space):
    run = plant(space, lambda alpha, _: 0.5 * alpha, 0.0, 0).run(GradientAscent(space), 15)
    assert run.alphas[5:15] == pytest.approx([1.02, 1.04, 1.06, 1.08, 1.1, 1.12, 1.14, 1.16, 1.18, 1.2])


def test_gradient_uses_one_side_at_a_bound(plant, space):
    run = plant(space, lambda alpha, _: -0.5 * alpha, 0.0, 0, alpha=1.2).run(GradientAscent(space), 40)
    assert run.beyond_space == 0
    assert run.alphas[-1] == pytest.approx(0.8)


def test_gradient_stops_its_velocity_at_a_refusal():
    optimizer = GradientAscent(Space(0.8, 1.2, 0.02), epsilon=0.01)
    alpha = 1.0
    for cycle in range(3):
        told(optimizer, 2 * cycle, alpha, 0.5)
        told(optimizer, 2 * cycle + 1, alpha, 0.5, Verdict.REFUSED, broken=("loop_gain[L_mu]",))
    assert optimizer.state()["velocity"] == 0.0
    assert optimizer.state()["above"] or optimizer.state()["below"]


@pytest.mark.parametrize("method", ["gradient", "pid", "slsqp", "supervisor"])
def test_knocks_rarely_between_two_walls(space, method):
    optimizer = create(method, space, {})
    answers = [told(optimizer, 0, 1.0, 0.5)]
    for cycle in range(1, 200):
        refused = isinstance(answers[-1], Suggestion)
        verdict = Verdict.REFUSED if refused else Verdict.NONE
        answers.append(told(optimizer, cycle, 1.0, 0.5, verdict, broken=("drive[L_mu]",) if refused else ()))
    assert 2 <= sum(isinstance(answer, Suggestion) for answer in answers) <= 24
    assert sum(isinstance(answer, Suggestion) for answer in answers[100:]) <= 6


def test_a_refusal_for_a_reason_of_the_reading_raises_no_wall(space):
    optimizer = GradientAscent(space)
    told(optimizer, 0, 1.0, 0.5)
    told(optimizer, 1, 1.0, 0.5, Verdict.REFUSED, broken=("entropy_rate",))
    assert optimizer.state()["above"] == []
    assert optimizer.state()["below"] == []


def test_a_retreat_raises_a_wall_at_the_unsafe_alpha(space):
    optimizer = GradientAscent(space)
    told(optimizer, 0, 1.0, 0.5, Verdict.RETREATED, 0.98, ("h_internal",))
    assert optimizer.state()["above"][:2] == [1.0, 0.98]


@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("lr", {"lr": 0.0}),
        ("lr", {"lr": math.inf}),
        ("momentum", {"momentum": 1.0}),
        ("momentum", {"momentum": math.nan}),
        ("epsilon", {"epsilon": 0.03}),
        ("gradient_averaging_window", {"averaging_window": 0}),
    ],
)
def test_gradient_refuses_settings_out_of_range(space, key, settings):
    with pytest.raises(OptimizerSettingError, match=key):
        GradientAscent(space, **settings)


# PID


def sampled(optimizer, slope, cycles=12, first=0):
    """Let the optimizer see a line through 1.0, measured around a base that stays."""
    for cycle in range(first, first + cycles):
        alpha = 1.0 + (0.0, 0.005, 0.0, -0.005)[cycle % 4]
        told(optimizer, cycle, alpha, 0.5 + slope * (alpha - 1), committed=1.0)


def test_pid_integral_stays_within_the_bounds_whatever_the_error(space):
    optimizer = PidAdjuster(space, kp=1e6, ki=1e6, kd=1e6)
    base, answer = 1.0, HOLD
    for cycle in range(300):
        target = answer.alpha if isinstance(answer, Suggestion) else base
        base = target
        answer = told(optimizer, cycle, base, 1e6 * base, Verdict.COMMITTED)
        integral = optimizer.state()["integral"]
        assert not integral or math.isfinite(integral[0])
    assert base == pytest.approx(1.2, abs=0.045)


def test_pid_leaves_the_bound_at_once_when_the_gradient_turns(plant, space):
    # A wound-up integral would keep α at the bound for about as long as it had been there.
    def turning(alpha, cycle):
        return 0.5 + (0.5 if cycle < 300 else -0.5) * (alpha - 1)

    run = plant(space, turning, 0.002, 0).run(PidAdjuster(space), 400)
    assert np.mean(run.alphas[250:300]) > 1.17
    assert np.mean(run.alphas[360:400]) < 1.0


@pytest.mark.parametrize(("kp", "ki", "kd"), [(0.05, 0.0, 0.0), (0.0, 0.02, 0.0), (0.0, 0.02, 0.01)])
def test_pid_moves_up_the_slope(plant, space, kp, ki, kd):
    for sign in (1, -1):
        objective = lambda alpha, _, sign=sign: 0.5 + sign * 0.8 * (alpha - 1)  # noqa: E731
        run = plant(space, objective, 0.001, 0).run(PidAdjuster(space, kp=kp, ki=ki, kd=kd), 60)
        assert sign * (np.mean(run.alphas[40:]) - 1.0) > 0.01


def test_pid_takes_over_without_a_bump(plant, space, parabola):
    gradient, pid = GradientAscent(space), PidAdjuster(space)
    sampled(pid, 3.0)
    told(gradient, 0, 1.0, 0.5)
    told(gradient, 1, 1.0, 0.5, Verdict.REFUSED, broken=("drive[L_mu]",))
    pid.take_over(gradient)
    answer = told(pid, 12, 1.0, 0.5)
    assert isinstance(answer, Suggestion)
    for side in ("above", "below"):
        assert pid.state()[side] == gradient.state()[side]
    assert pid.state()["above"] or pid.state()["below"]
    fresh = PidAdjuster(space, kp=0.5)
    sampled(fresh, 0.01)
    fresh.take_over(GradientAscent(space))
    told(fresh, 12, 1.0, 0.5)
    assert fresh.state()["centre"] == pytest.approx([1.0], abs=0.001)


def test_pid_probes_after_a_step_measured_worse_and_steps_to_what_was_better(space):
    optimizer = PidAdjuster(space)
    answer = told(optimizer, 0, 1.0, 0.5)
    answer = told(optimizer, 1, 1.0, 0.5) if answer is HOLD else answer
    assert not answer.probe
    told(optimizer, 2, answer.alpha, 0.3, Verdict.REVERTED, 1.0)
    probe = told(optimizer, 3, 1.0, 0.5)
    assert probe.probe
    told(optimizer, 4, probe.alpha, 0.6, Verdict.REVERTED, 1.0)
    assert told(optimizer, 5, 1.0, 0.5) == Suggestion(probe.alpha)
    assert not told(optimizer, 6, probe.alpha, 0.6, Verdict.COMMITTED).probe


@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("kp", {"kp": -1.0}),
        ("ki", {"ki": math.nan}),
        ("kd", {"kd": math.inf}),
        ("pid_window", {"window": 2}),
        ("pid_forgetting", {"forgetting": 1.5}),
    ],
)
def test_pid_refuses_settings_out_of_range(space, key, settings):
    with pytest.raises(OptimizerSettingError, match=key):
        PidAdjuster(space, **settings)


# SLSQP


@given(
    slope=st.floats(-1e3, 1e3),
    curvature=st.floats(-1e4, 1e4),
    low=st.floats(-0.4, 0.0),
    high=st.floats(0.0, 0.4),
    rate=st.floats(1e-4, 0.1),
)
def test_slsqp_answer_keeps_bounds_and_rate_and_is_the_best_or_none(slope, curvature, low, high, rate):
    move = solve(slope, curvature, low, high, rate)
    if move is None:
        return
    lowest, highest = max(low, -rate), min(high, rate)
    assert lowest <= move <= highest
    gain = slope * move + curvature / 2 * move**2
    grid = np.linspace(lowest, highest, 201)
    best = float(np.max(slope * grid + curvature / 2 * grid**2))
    if curvature <= 0.0:
        assert gain >= best - 1e-4 * max(abs(slope) * rate, abs(curvature) * rate**2, 1e-9)
    else:
        assert gain >= -1e-6 * max(abs(slope) * rate, abs(curvature) * rate**2, 1e-9)


def test_slsqp_is_used_almost_always():
    rng = np.random.default_rng(0)
    moves = [solve(rng.normal(), -8 * rng.random(), -0.2, 0.2, 0.02) for _ in range(50)]
    assert sum(move is not None for move in moves) >= 48


@pytest.mark.parametrize("returned", [math.nan, math.inf, 1.5, -1.5, 0.9])
def test_slsqp_success_is_not_believed(monkeypatch, returned):
    lie = SimpleNamespace(x=np.array([returned]), success=True)
    monkeypatch.setattr(slsqp, "minimize", lambda *args, **kwargs: lie)
    # 0.9 keeps the limits, and is worse than staying: the slope points down.
    assert solve(-1.0, -8.0, -0.2, 0.2, 0.02) is None


def test_slsqp_goes_towards_the_best_sample_when_the_solver_fails(monkeypatch, plant, space, parabola):
    lie = SimpleNamespace(x=np.array([math.nan]), success=True)
    monkeypatch.setattr(slsqp, "minimize", lambda *args, **kwargs: lie)
    run = plant(space, parabola(1.1), 0.0, 0).run(SlsqpSurrogate(space), 200)
    assert run.beyond_space == 0
    assert run.mean_objective(150) >= 0.86


def test_slsqp_discards_what_it_knew_when_the_engine_changes(space):
    optimizer = SlsqpSurrogate(space)
    sampled(optimizer, 1.0, 20)
    assert len(optimizer.state()["samples"]) == 40
    told(optimizer, 20, 1.0, 0.9)
    assert len(optimizer.state()["samples"]) == 42
    told(optimizer, 21, 1.005, 0.9, committed=1.0)
    assert len(optimizer.state()["samples"]) == 4


def test_slsqp_excites_in_proportion_to_the_noise(plant, space):
    def travelled(sigma):
        run = plant(space, lambda alpha, _: 0.7, sigma, 0).run(SlsqpSurrogate(space), 200)
        return np.abs(np.diff(run.alphas[50:])).mean()

    assert travelled(0.0) < 0.5 * travelled(0.02)


@pytest.mark.parametrize(
    ("key", "settings"), [("slsqp_window", {"window": 3}), ("slsqp_forgetting", {"forgetting": 0})]
)
def test_slsqp_refuses_settings_out_of_range(space, key, settings):
    with pytest.raises(OptimizerSettingError, match=key):
        SlsqpSurrogate(space, **settings)


# supervisor


def swinging(_alpha, cycle):
    """A level that no model follows, and that is no noise."""
    return 0.5 + 0.2 * math.sin(2 * math.pi * cycle / 10)


def test_supervisor_falls_back_where_no_model_fits_and_says_why(plant, space):
    optimizer = create("supervisor", space, {"patience": 3})
    assert optimizer.mode == "gradient"
    plant(space, swinging, 0.002, 0).run(optimizer, 100)
    switch = optimizer.switches[0]
    assert (switch.source, switch.target) == ("gradient", "pid")
    assert "innovations" in switch.reason
    assert 0 < switch.cycle < 100


def test_supervisor_holds_while_nothing_answers_and_begins_anew(plant, space):
    optimizer = create("supervisor", space, {"patience": 3})
    plant(space, swinging, 0.002, 0).run(optimizer, 600)
    laws = [(switch.source, switch.target) for switch in optimizer.switches]
    assert ("pid", "hold") in laws
    assert ("hold", "gradient") in laws


class Watched:
    """Passes everything on to a supervisor, and calls back after every question."""

    def __init__(self, supervisor, watch):
        self.supervisor, self.watch = supervisor, watch

    def tell(self, outcome):
        self.supervisor.tell(outcome)

    def ask(self):
        answer = self.supervisor.ask()
        self.watch(self.supervisor, answer)
        return answer


def test_supervisor_is_idle_while_it_holds(plant, space):
    held = []

    def watch(supervisor, answer):
        if supervisor.law == "hold":
            held.append((supervisor.mode, answer))

    optimizer = create("supervisor", space, {"patience": 3})
    plant(space, swinging, 0.002, 0).run(Watched(optimizer, watch), 600)
    assert set(held) == {("idle", HOLD)}


def test_supervisor_keeps_the_gradient_without_noise(plant, space, parabola):
    optimizer = create("supervisor", space, {})
    plant(space, parabola(1.3), 0.0, 0).run(optimizer, 60)
    assert optimizer.mode == "gradient"
    assert optimizer.switches == ()


def test_supervisor_returns_when_the_model_fits_again(plant, space, parabola):
    optimizer = create("supervisor", space, {"patience": 3})
    plant(space, swinging, 0.002, 0).run(optimizer, 100)
    run = plant(space, parabola(1.1), 0.002, 1).run(optimizer, 300)
    assert optimizer.switches[-1].target == "gradient"
    assert abs(run.alphas[-1] - 1.1) < 0.03


def test_supervisor_walks_to_a_far_higher_peak_and_says_why(plant, space, two_peaks):
    for seed in range(4):
        optimizer = create("supervisor", space, {"seed": seed})
        run = plant(space, two_peaks, 0.005, seed).run(optimizer, 400)
        away, back = optimizer.switches[:2]
        assert (away.source, away.target, back.target) == ("gradient", "sweep", "gradient")
        assert "unknown" in away.reason
        assert "better" in back.reason
        assert run.mean_objective(300) > 0.8


def test_supervisor_does_not_walk_where_the_parabola_holds_everywhere(plant, space, parabola):
    for sigma in (0.0, 0.005, 0.02):
        optimizer = create("supervisor", space, {})
        plant(space, parabola(1.1), sigma, 0).run(optimizer, 400)
        assert optimizer.switches == ()


def test_supervisor_tells_a_reason_with_one_suggestion(plant, space, two_peaks):
    optimizer = create("supervisor", space, {})
    told = []
    watched = Watched(optimizer, lambda supervisor, answer: told.append((supervisor.reason, answer is HOLD)))
    plant(space, two_peaks, 0.005, 0).run(watched, 200)
    for switch in optimizer.switches:
        sent = [text for text, is_hold in told if text.endswith(switch.reason) and not is_hold]
        assert len(sent) == 1
        assert sent[0].startswith(f"{switch.source} to {switch.target}: ")


def test_supervisor_restores_a_walk_and_refuses_damaged_memory(plant, space, two_peaks):
    optimizer = create("supervisor", space, {})
    walks = []

    def watch(supervisor, _answer):
        walks.extend([supervisor.state()] if supervisor.law == "sweep" else [])

    plant(space, two_peaks, 0.005, 0).run(Watched(optimizer, watch), 120)
    optimizer = create("supervisor", space, {})
    optimizer.restore(walks[3])
    copy = create("supervisor", space, {})
    copy.restore(optimizer.state())
    assert copy.switches == optimizer.switches
    assert copy.law == "sweep"
    assert copy.state() == optimizer.state()
    for damaged in ("{", "3", "[[1, 2]]", '[["a", "gradient", "pid", "why"]]', "[[true, 1, 2, 3]]"):
        with pytest.raises(OptimizerStateError, match="switches"):
            copy.restore({**optimizer.state(), "switches": damaged})
    for key in ("sweep.seen", "kalman.bank.mean", "kalman.guard.cov", "pid.samples"):
        with pytest.raises(OptimizerStateError):
            copy.restore({**optimizer.state(), key: [1.0]})
    assert copy.state() == optimizer.state()


@pytest.mark.parametrize("patience", [0, -1])
def test_supervisor_refuses_patience_out_of_range(space, patience):
    with pytest.raises(OptimizerSettingError, match="patience"):
        Supervisor(KalmanTuner(space), PidAdjuster(space), patience)


# adversary


def answers_of(strategy, space, count=300, seed=0):
    adversary = Adversary(space, strategy, seed)
    for cycle in range(count):
        adversary.tell(Outcome(cycle, 1.0, 0.5, Verdict.NONE, 1.0))
        yield adversary.ask()


def test_adversary_random_goes_far_outside_and_inside(space):
    alphas = [answer.alpha for answer in answers_of("random", space)]
    assert any(0.98 <= alpha <= 1.02 for alpha in alphas)
    assert any(abs(alpha) > 1e100 for alpha in alphas)


def test_adversary_always_max(space):
    assert {answer.alpha for answer in answers_of("always_max", space)} == {1.2}


def test_adversary_one_ulp_stands_on_both_sides_of_every_limit(space):
    alphas = {answer.alpha for answer in answers_of("one_ulp", space)}
    for edge in (1.2, 0.8, 1.02, 0.98):
        assert {math.nextafter(edge, -math.inf), edge, math.nextafter(edge, math.inf)} <= alphas


def test_adversary_nan_breaks_types_of_answer_and_figure(space):
    answers = list(answers_of("nan", space))
    kinds = {type(answer) for answer in answers}
    figures = {type(answer.alpha) for answer in answers if isinstance(answer, Suggestion)}
    assert {float, str, bool, type(None), list} <= kinds
    assert {float, str, bool, type(None), dict, complex} <= figures


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_adversary_is_seeded_and_restored(space, strategy):
    if strategy != "nan":
        assert list(answers_of(strategy, space)) == list(answers_of(strategy, space))
    adversary, copy = Adversary(space, strategy), Adversary(space, strategy)
    adversary.tell(Outcome(0, 1.0, 0.5, Verdict.NONE, 1.0))
    adversary.tell(Outcome(1, 1.0, 0.5, Verdict.NONE, math.nan))
    adversary.ask()
    copy.restore(adversary.state())
    assert copy.state() == adversary.state()
    assert repr(copy.ask())[:20] == repr(adversary.ask())[:20]


def test_adversary_refuses_another_state_and_strategy(space):
    with pytest.raises(OptimizerStateError, match="optimizer"):
        Adversary(space, "nan").restore(Adversary(space, "random").state())
    with pytest.raises(OptimizerSettingError, match="always_max"):
        Adversary(space, "polite")


# registry


@pytest.mark.parametrize("name", NAMES)
def test_every_name_creates_an_optimizer_of_that_name(space, name):
    assert create(name, space, {}).name == name


def test_one_configuration_serves_all(space):
    settings = {"lr": 0.001, "momentum": 0.85, "epsilon": 1e-5, "gradient_averaging_window": 3, "seed": 1}
    settings |= {"kp": 0.01, "ki": 0.02, "kd": 0, "pid_window": 24, "pid_forgetting": 0.9}
    settings |= {"slsqp_window": 60, "slsqp_forgetting": 0.95, "patience": 12, "gp_beta": 2.0}
    settings |= {"gp_forgetting": 0.99, "seeking_gain": 0.02, "seeking_period": 8}
    assert set(settings) == set(SETTINGS)
    for name in NAMES:
        create(name, space, settings)


@pytest.mark.parametrize(
    ("asked", "nearest"), [("gradeint", "gradient"), ("slqsp", "slsqp"), ("supervisr", "supervisor")]
)
def test_unknown_name_names_the_known_ones_and_the_nearest(space, asked, nearest):
    with pytest.raises(UnknownOptimizerError) as caught:
        create(asked, space, {})
    assert str(caught.value).endswith(f"the nearest is {nearest}")
    assert all(name in str(caught.value) for name in NAMES)


def test_unknown_name_without_a_neighbour(space):
    with pytest.raises(UnknownOptimizerError, match="must be one of"):
        create("zzz", space, {})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("momentm", 0.9),
        ("lr", "fast"),
        ("lr", True),
        ("lr", None),
        ("epsilon", math.nan),
        ("momentum", "0.9"),
        ("momentum", False),
        ("gradient_averaging_window", 3.0),
        ("seed", True),
        ("seed", "1"),
        ("kp", [1]),
        ("slsqp_window", 1.5),
    ],
)
@pytest.mark.parametrize("name", ["gradient", "supervisor", "hold"])
def test_wrong_setting_names_its_key(space, name, key, value):
    with pytest.raises(OptimizerSettingError, match=key):
        create(name, space, {key: value})


@pytest.mark.parametrize("key", ["lr", "epsilon"])
@pytest.mark.parametrize("name", ["gradient", "kalman"])
def test_auto_is_taken_and_is_the_default(plant, space, parabola, name, key):
    def asked(settings):
        return plant(space, parabola(1.1), 0.005, 0).run(create(name, space, settings), 60).suggestions

    assert asked({key: "auto"}) == asked({})
    assert asked({key: 0.001}) != asked({})


# shape of the package


def test_package_imports_nothing_but_the_standard_library_attrs_numpy_and_scipy():
    import ast
    import sys
    from pathlib import Path

    folder = Path(slsqp.__file__).parent
    sources = sorted(folder.glob("*.py"))
    assert len(sources) >= 15
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                root = name.split(".")[0]
                assert root in {"optimizers", "attrs", "numpy", "scipy", *sys.stdlib_module_names}, (
                    source.name
                )
                assert root not in {"time", "datetime"}, source.name
