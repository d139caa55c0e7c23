"""An optimizer takes up its work again after a shock, and once an operator let an emergency be left."""

import attrs
import pytest

from attunement.build import build_engine
from attunement.config_schema import Config, Shock, SourceConfig
from kernel import Mode, Outcome
from optimizers import Space, create

STORM = Shock("partition", 150, 8, 1, 0.5)
GUST = Shock("partition", 150, 3, 0.45, 0.5)
WIND = Shock("partition", 150, 20, 0.5, 0.3)
STRUCK, AFTER = 250, 300
METHODS = ("gradient", "slsqp", "kalman", "supervisor")
ALL = (*METHODS, "pid", "extremum_seeking", "safe_gp")


def begun(attune, method, shock, seed=1):
    config = Config()
    engine = build_engine(attrs.evolve(config, source=SourceConfig(shocks=(shock,))))
    space = Space(config.alpha_min, config.alpha_max, config.delta_alpha_max)
    loop = attune(engine, create(method, space, {"seed": seed}))
    loop.controller.start()
    for _ in range(STRUCK):
        engine.run_cycle()
    return loop


def climbed(loop):
    """Run on; return the smallest α of the last cycles. The best certified α of this engine is 1.1."""
    for _ in range(AFTER):
        loop.engine.run_cycle()
    return min(report.measurement.alpha for report in loop.reports[-50:])


@pytest.mark.parametrize("method", METHODS)
def test_climbs_again_after_an_approval(attune, method):
    loop = begun(attune, method, STORM)
    assert loop.kernel.mode is Mode.EMERGENCY
    assert loop.kernel.alpha < 0.85
    approved = loop.controller.approve(loop.signed("approve"))
    assert approved.verdict.outcome is Outcome.APPROVED
    assert climbed(loop) > 1.08


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("method", METHODS)
def test_climbs_again_after_a_shock_that_passed(attune, method, seed):
    loop = begun(attune, method, GUST, seed)
    assert Outcome.RETREATED in loop.outcomes()
    assert loop.kernel.mode in (Mode.READY, Mode.TRIAL)
    assert climbed(loop) > 1.08


@pytest.mark.parametrize("late", [0, 1, 2, 3])
@pytest.mark.parametrize("method", ALL)
def test_a_shock_that_strikes_an_open_trial_puts_no_wall_up(attune, method, late):
    loop = begun(attune, method, attrs.evolve(WIND, start=WIND.start + late))
    assert Outcome.RETREATED in loop.outcomes()
    assert loop.kernel.mode in (Mode.READY, Mode.TRIAL)
    assert climbed(loop) > 1.0
