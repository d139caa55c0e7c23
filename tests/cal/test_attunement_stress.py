"""Many nodes near the fold, hostile optimizers, many threads, and what a cycle of attunement costs."""

import threading
from itertools import pairwise
from time import process_time

import numpy as np
import pytest
from ledger_bench import signers_of

from attunement.assembly import Attunement
from attunement.build import build_engine
from attunement.config_schema import Config, EngineConfig, LoggingConfig, OptimizerConfig, SourceConfig
from kernel import Mode, Outcome
from kernel.quantity import NANO
from optimizers import NAMES, Suggestion
from optimizers.adversary import STRATEGIES


def dense(tmp_path, optimizer, **changes):
    """1,000 nodes × 8 dims, coupled so strongly that the fold lies inside the bounds of α."""
    settings = {
        "settle_delay": 0.0,
        "optimizer": OptimizerConfig(name=optimizer, seed=11),
        "engine": EngineConfig(W=1.36, gain_sd=0.1, seed=1),
        "source": SourceConfig(nodes=1000, dims=8, seed=2),
        "logging": LoggingConfig(audit_ledger_path=str(tmp_path / "ledger.log")),
    }
    return Config(**{**settings, **changes})


class Timed:
    """Counts the CPU time of the controller's own share of a cycle."""

    def __init__(self, controller):
        self._controller = controller
        self.spent_s = 0.0

    def __call__(self):
        before = process_time()
        self._controller.on_cycle_end()
        self.spent_s += process_time() - before


@pytest.mark.parametrize("name", [name for name in NAMES if name != "hold"])
def test_near_the_fold_nobody_reaches_runaway(tmp_path, signing_key, bodies, name):
    config = dense(tmp_path, name)
    engine = build_engine(config)
    runaway = 0
    with Attunement(config, engine, signers_of(signing_key)) as attunement:
        attunement.controller.start()
        for _ in range(120):
            engine.run_cycle()
            runaway += engine.in_runaway()
            assert 0.8 <= engine.get_alpha_multiplier() <= 1.2
        limits = attunement.kernel.limits
    assert runaway == 0
    for body in bodies(tmp_path / "ledger.log"):
        if body["verdict"] == "committed":
            reading = body["reading"]
            assert all(
                body["new_alpha"] * gain <= limits.loop_gain_max * NANO
                for gain in reading["loop_gain"].values()
            )


def test_the_fold_lies_inside_the_bounds_of_this_engine(tmp_path):
    engine = build_engine(dense(tmp_path, "hold"))
    engine.run_cycle()
    gain = max(scale.loop_gain for scale in engine.get_gains().values())
    assert 0.8 * gain < 1 / np.e < 1.2 * gain
    engine.set_alpha_multiplier(1.2)
    for _ in range(120):
        engine.run_cycle()
    assert engine.in_runaway()


def test_what_a_cycle_costs_is_measured(tmp_path, signing_key, record_testsuite_property):
    config = dense(tmp_path, "supervisor")
    engine = build_engine(config)
    cycles = 100
    with Attunement(config, engine, signers_of(signing_key)) as attunement:
        timed = Timed(attunement.controller)
        engine.on_cycle_end(timed)
        before = process_time()
        for _ in range(cycles):
            engine.run_cycle()
        total_s = process_time() - before
    record_testsuite_property("engine_ms_per_cycle", round((total_s - timed.spent_s) / cycles * 1e3, 3))
    record_testsuite_property("attunement_ms_per_cycle", round(timed.spent_s / cycles * 1e3, 3))
    record_testsuite_property("attunement_share_of_cpu", round(timed.spent_s / total_s, 3))
    assert attunement.kernel.state.cycle == cycles
    assert attunement.kernel.mode is Mode.READY


def test_orders_from_many_threads_never_leave_the_policy(attune, scripted_engine, wishes, bodies, until):
    engine = scripted_engine(coherence=lambda alpha: alpha / 2)
    dice = np.random.default_rng(4)
    answers = [Suggestion(round(float(alpha), 9)) for alpha in dice.uniform(0.97, 1.03, 400)]
    loop = attune(engine, wishes(*answers))
    loop.controller.start()
    engine.run_cycle()
    done = threading.Event()
    raised = []

    def orders(number):
        try:
            while not done.is_set():
                if number == 0:
                    loop.controller.freeze("ines", "drill")
                elif number == 1:
                    loop.controller.approve(loop.signed("approve"))
                else:
                    alpha = 1.0 + 0.001 * number
                    loop.controller.override(loop.signed("override", round(alpha * 1e9)), alpha)
        except Exception as error:  # noqa: BLE001 - shown by the assertion
            raised.append(error)

    threads = [threading.Thread(target=orders, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()

    def all_came():
        engine.run(50)
        return {"frozen", "approved", "accepted"} <= {verdict for _, verdict in loop.decisions()}

    try:
        until(all_came)
    finally:
        done.set()
    for thread in threads:
        thread.join()
    assert raised == []
    history = bodies(loop.path)
    for earlier, later in pairwise(history):
        assert earlier["after"]["alpha"] == later["before"]["alpha"]
        assert abs(later["new_alpha"] - later["old_alpha"]) <= 20_000_000
        assert 800_000_000 <= later["new_alpha"] <= 1_200_000_000
    assert len(loop.reports) == engine.cycle


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_adversary_commits_nothing_that_was_not_measured_safe(attune, scripted_engine, strategy, bodies):
    from optimizers import Space, create

    engine = scripted_engine(
        coherence=lambda alpha: alpha / 2,
        entropy_rate=lambda alpha: 0.003 if alpha > 1.05 else 0.0,
        loop_gain=0.34,
    )
    loop = attune(engine, create(f"adversary:{strategy}", Space(0.8, 1.2, 0.02), {"seed": 9}))
    loop.controller.start()
    engine.run(300)
    for body in bodies(loop.path):
        if body["verdict"] == Outcome.COMMITTED.value:
            assert body["new_alpha"] <= 1_050_000_000
            assert body["reading"]["alpha"] == body["new_alpha"]
            assert body["reading"]["cycle"] > body["before"]["cycle"]
    assert len(loop.reports) == 300
