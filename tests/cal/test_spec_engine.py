"""Engines of the specification's words alone: refused by name, or attuned on what is vouched for."""

import json
import threading
from itertools import pairwise
from math import inf, nan

import attrs
import pytest

from attunement.assembly import Attunement
from attunement.config_schema import Config
from attunement.engine_protocol import SCALES, EngineProtocolError, capabilities
from attunement.measurement import EngineCapabilityError, Sensors
from attunement.spec_engine import Assumptions, CountedSpecEngine, SpecEngineError, adapted
from kernel import Mode
from ledger import Verdict, verify

VOUCHED = Assumptions(cycle_s=0.5, loop_gain=0.2)


class Spoken:
    """The specification's methods and no other: lists, a pair, a lambda without a scale, nobody is called."""

    def __init__(self):
        self.applied = []
        self.bounds = (-1.0, 1.0)
        self.entropy_rate = 0.001

    def sample_omega_snapshot(self):
        alpha = self.applied[-1] if self.applied else 1.0
        return [[1.0, 0.5, 0.2 * alpha], [0.8, 0.6, 0.3 * alpha], [0.9, 0.4, 0.1]]

    def normalize_C(self, C):
        return min(1.0, max(0.0, C / 10.0))

    def set_alpha_multiplier(self, alpha):
        self.applied.append(alpha)

    def get_lambda(self):
        return 0.5

    def get_entropy_rate(self):
        return self.entropy_rate

    def get_h_internal(self):
        return 0.98

    def get_m_t_bounds(self):
        return self.bounds


class Calling(Spoken):
    """One that calls back at the end of each of its cycles, and whose lambda knows a scale and follows α."""

    def __init__(self):
        super().__init__()
        self.callbacks = []

    def on_cycle_end(self, callback):
        self.callbacks.append(callback)

    def get_lambda(self, scale):
        return {"L_mu": 0.5, "L_phi": 0.6, "L_Phi": 0.7}[scale] * self.applied[-1]

    def run_cycle(self):
        for callback in self.callbacks:
            callback()


class Hooked(Spoken):
    """One whose on_cycle_end is a hook that its own loop calls: nothing can be registered there."""

    def on_cycle_end(self):
        raise AssertionError("the hook is the engine's own")


class Poor:
    """The least: no lambda, no entropy, no bounds."""

    def sample_omega_snapshot(self):
        return [[1.0]]

    def set_alpha_multiplier(self, alpha):
        """Nothing is applied."""


class Clock:
    now_s = 100.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def config(tmp_path):
    logging = attrs.evolve(Config().logging, audit_ledger_path=str(tmp_path / "ledger"))
    return attrs.evolve(Config(), settle_delay=0.0, logging=logging)


LACKING = {
    Spoken: ("cycle", "cycle_alpha", "get_gains"),
    Hooked: ("cycle", "cycle_alpha", "get_gains"),
    Calling: ("get_gains",),
    Poor: ("cycle", "cycle_alpha", "get_entropy_rate", "get_h_internal", "get_gains"),
}
CHECKS = {
    "cycle": "whether a reading is new",
    "cycle_alpha": "whether a reading was taken at the present α",
    "get_entropy_rate": "entropy_rate",
    "get_h_internal": "h_internal",
    "get_gains": "drive and loop_gain",
}


@pytest.mark.parametrize("kind", LACKING, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("wrap", [lambda engine: engine, adapted], ids=["bare", "adapted"])
def test_an_engine_is_refused_by_default_with_every_check_that_cannot_be_made(
    config, signers, kind, wrap, tmp_path
):
    lacking = LACKING[kind]
    if kind is Calling and wrap is not adapted:
        lacking = ("cycle", "cycle_alpha", "get_gains")
    engine = kind()
    with pytest.raises(EngineCapabilityError) as refused:
        Attunement(config, wrap(engine), signers)
    said = str(refused.value)
    assert all(
        (f"no {name}, so nothing can check {CHECKS[name]}" in said) is (name in lacking) for name in CHECKS
    )
    assert getattr(engine, "applied", []) == []
    assert not (tmp_path / "ledger").exists()


def test_what_is_vouched_for_is_offered_and_nothing_else():
    spoken = {"normalize_C", "get_lambda", "get_entropy_rate", "get_h_internal", "get_m_t_bounds"}
    assert capabilities(adapted(Spoken())) == spoken
    assert capabilities(adapted(Spoken(), Assumptions(loop_gain=0.2))) == spoken | {"get_gains"}
    assert capabilities(adapted(Spoken(), VOUCHED)) == spoken | {"get_gains", "cycle", "cycle_alpha"}
    assert capabilities(adapted(Calling())) == spoken | {"cycle", "cycle_alpha", "on_cycle_end"}
    assert capabilities(adapted(Poor(), VOUCHED)) == {"cycle", "cycle_alpha"}


def test_an_engine_that_is_none_is_refused():
    with pytest.raises(EngineProtocolError, match="int has no sample_omega_snapshot"):
        adapted(3)


def test_an_engine_that_calls_back_runs_unchanged_and_its_ledger_verifies(config, signers, tmp_path):
    engine = Calling()
    with Attunement(config, adapted(engine, Assumptions(loop_gain=0.2)), signers) as attunement:
        attunement.controller.start()
        for _ in range(150):
            engine.run_cycle()
    # Ĉ grows with α here.
    assert engine.applied[-1] > 1.05
    assert max(abs(b - a) for a, b in zip(engine.applied, engine.applied[1:], strict=False)) <= 0.02 + 1e-12
    report = verify(tmp_path / "ledger", signers.records.verify_key, anchor=attunement.ledger.head())
    assert report.verdict is Verdict.VERIFIED


class Prompt(Calling):
    """One that runs a cycle within the call that applies α."""

    def set_alpha_multiplier(self, alpha):
        super().set_alpha_multiplier(alpha)
        self.run_cycle()


class Handing(Calling):
    """One whose own thread applies α, at the end of a cycle that the call waits for."""

    def set_alpha_multiplier(self, alpha):
        super().set_alpha_multiplier(alpha)
        thread = threading.Thread(target=self.run_cycle)
        thread.start()
        thread.join()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", [Prompt, Handing])
@pytest.mark.parametrize("cycle_s", [None, 0.01])
def test_an_engine_may_end_a_cycle_while_it_applies_alpha(config, signers, tmp_path, bodies, kind, cycle_s):
    engine = kind()
    with Attunement(config, adapted(engine, Assumptions(cycle_s, loop_gain=0.2)), signers) as attunement:
        attunement.controller.start()
        for _ in range(30):
            engine.run_cycle()
    assert engine.applied[-1] > 1.02
    moves = [(body["old_alpha"], body["new_alpha"]) for body in bodies(tmp_path / "ledger")]
    assert all(new == old for (_, new), (old, _) in pairwise(moves))


def test_a_cycle_that_ends_while_alpha_is_applied_speaks_of_neither():
    engine = Prompt()
    wrapped, told = adapted(engine), []
    wrapped.on_cycle_end(lambda: told.append(wrapped.cycle_alpha))
    wrapped.set_alpha_multiplier(1.0)
    assert (wrapped.cycle, wrapped.cycle_alpha, told) == (0, None, [])
    engine.run_cycle()
    wrapped.set_alpha_multiplier(1.02)
    assert (wrapped.cycle, wrapped.cycle_alpha, told) == (1, 1.0, [1.0])
    engine.run_cycle()
    assert (wrapped.cycle, wrapped.cycle_alpha, told) == (2, 1.02, [1.0, 1.02])


def test_an_engine_that_calls_nobody_is_polled(config, signers, until):
    engine = Spoken()
    wrapped = adapted(engine, Assumptions(cycle_s=0.01, loop_gain=0.2))
    with Attunement(config, wrapped, signers) as attunement:
        attunement.controller.start()
        until(lambda: len(engine.applied) > 6)
        assert attunement.kernel.mode in (Mode.READY, Mode.TRIAL)


@pytest.mark.parametrize(
    ("change", "broken"), [({"bounds": (-11.0, 1.0)}, "drive"), ({"entropy_rate": 0.05}, "entropy_severe")]
)
def test_the_limits_hold_for_it_too(config, signers, bodies, tmp_path, change, broken):
    engine = Calling()
    with Attunement(config, adapted(engine, Assumptions(loop_gain=0.2)), signers) as attunement:
        attunement.controller.start()
        engine.run_cycle()
        for name, figure in change.items():
            setattr(engine, name, figure)
        engine.run_cycle()
        assert attunement.kernel.mode is Mode.EMERGENCY
    assert broken in json.dumps(bodies(tmp_path / "ledger")[-1])


def test_a_stretch_never_speaks_of_two_alphas():
    clock = Clock()
    engine = adapted(Spoken(), VOUCHED, clock)
    assert (engine.cycle, engine.cycle_alpha) == (0, None)
    engine.set_alpha_multiplier(1.0)
    clock.now_s += 1.1
    assert (engine.cycle, engine.cycle_alpha) == (2, 1.0)
    engine.set_alpha_multiplier(1.02)
    clock.now_s += 0.45
    assert (engine.cycle, engine.cycle_alpha) == (2, 1.0)
    clock.now_s += 0.06
    assert (engine.cycle, engine.cycle_alpha) == (3, 1.02)


def test_an_alpha_that_the_engine_refuses_is_not_counted_as_applied():
    class Refusing(Spoken):
        def set_alpha_multiplier(self, alpha):
            raise OSError("stuck")

    clock = Clock()
    engine = adapted(Refusing(), VOUCHED, clock)
    with pytest.raises(OSError, match="stuck"):
        engine.set_alpha_multiplier(1.0)
    clock.now_s += 1.0
    assert engine.cycle_alpha is None


def test_figures_reach_the_sensors_as_the_engine_gives_them():
    clock = Clock()
    engine = adapted(Spoken(), VOUCHED, clock)
    engine.set_alpha_multiplier(1.1)
    clock.now_s += 0.5
    sensors = Sensors(engine, 1, 0.0, 0)
    measured = sensors.measure()
    assert (measured.cycle, measured.alpha, measured.entropy_rate, measured.h_internal) == (
        1,
        1.1,
        0.001,
        0.98,
    )
    assert measured.drive == pytest.approx((1 / 1.1,) * 3)
    assert measured.loop_gain == (0.2,) * 3
    assert sensors.lambdas() == dict.fromkeys(SCALES, 0.5)
    assert engine.get_m_t_bounds() == (-1.0, 1.0)


def test_a_lambda_that_knows_its_scale_is_asked_for_it():
    inner = Calling()
    engine = adapted(inner)
    engine.set_alpha_multiplier(1.0)
    assert [engine.get_lambda(scale) for scale in SCALES] == [0.5, 0.6, 0.7]


@pytest.mark.parametrize("bounds", [(1.0, -1.0), (nan, 1.0), (0.0, nan)], ids=str)
def test_bounds_out_of_order_are_no_gains(bounds):
    clock, inner = Clock(), Spoken()
    engine = adapted(inner, VOUCHED, clock)
    engine.set_alpha_multiplier(1.0)
    clock.now_s += 0.5
    inner.bounds = bounds
    with pytest.raises(SpecEngineError, match="must be in order"):
        engine.get_gains()


def test_gains_before_the_first_cycle_are_none():
    with pytest.raises(SpecEngineError, match="at α = None"):
        adapted(Spoken(), VOUCHED, Clock()).get_gains()


@pytest.mark.parametrize("figure", [nan, inf, -0.1, True, "1"], ids=repr)
@pytest.mark.parametrize("name", ["cycle_s", "loop_gain"])
def test_an_assumption_that_is_no_figure_is_refused(name, figure):
    with pytest.raises(SpecEngineError, match=f"{name} is "):
        Assumptions(**{name: figure})
    assert Assumptions(loop_gain=0.0).loop_gain == 0.0


def test_a_method_without_a_signature_is_given_its_argument():
    class Built(Spoken):
        get_lambda = staticmethod(float.fromhex)

    assert isinstance(adapted(Built(), VOUCHED), CountedSpecEngine)
    assert adapted(Built()).get_lambda("0x1") == 1.0
