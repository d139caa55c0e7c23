"""What happens when an engine turns unsafe: before a trial, under one, and with nobody proposing."""

from math import nextafter

import pytest
from ledger_bench import signers_of

from attunement.assembly import Attunement
from attunement.config import loads
from kernel import Kind, Mode, Outcome
from kernel.state import SCALES
from optimizers import HOLD, Suggestion

UP, DOWN = Suggestion(1.01), Suggestion(0.99)

MILD = {
    "entropy_rate": 0.0021,
    "h_internal": 0.949,
    "loop_gain": 0.3636,
}
SEVERE = {
    "entropy_rate": 0.021,
    "h_internal": 0.79,
    "drive": 9.99,
    "loop_gain": 0.3669,
}


def above(threshold, unsafe, safe):
    """A figure that turns unsafe when α rises past a threshold."""
    return lambda alpha: unsafe if alpha > threshold else safe


def begun(attune, engine, optimizer, cycles, **settings):
    loop = attune(engine, optimizer, **settings)
    loop.controller.start()
    engine.run(cycles)
    return loop


@pytest.mark.parametrize("figure", MILD)
def test_a_trial_that_turns_the_engine_mildly_unsafe_is_taken_back(attune, scripted_engine, wishes, figure):
    engine = scripted_engine()
    setattr(engine, figure, above(1.005, MILD[figure], getattr(engine, figure)))
    loop = begun(attune, engine, wishes(UP), 4)
    assert loop.decisions()[1:] == [("propose", "accepted"), ("settle", "retreated")]
    assert engine.applied == [1.0, 1.01, 1.0]
    assert loop.kernel.mode is Mode.READY
    assert loop.kernel.state.reverts == 1


@pytest.mark.parametrize("figure", SEVERE)
def test_a_severe_spike_after_a_change_latches_an_emergency_that_stays(
    attune, scripted_engine, wishes, figure
):
    engine = scripted_engine()
    setattr(engine, figure, above(1.005, SEVERE[figure], getattr(engine, figure)))
    loop = begun(attune, engine, wishes(*[UP] * 40), 30)
    assert loop.decisions()[1:] == [("propose", "accepted"), ("settle", "latched")]
    assert engine.applied == [1.0, 1.01, 1.0]
    assert loop.kernel.mode is Mode.EMERGENCY
    assert len(loop.optimizer.answers) == 39


def test_an_emergency_under_lasting_danger_retreats_step_by_step_and_never_further(
    attune, scripted_engine, wishes
):
    loop = begun(attune, scripted_engine(entropy_rate=0.5), wishes(), 20)
    assert loop.decisions()[1:3] == [("observe", "latched"), ("observe", "retreated")]
    assert loop.engine.applied[:4] == [1.0, 0.98, 0.96, 0.94]
    assert loop.engine.applied[-1] == 0.8
    assert loop.kernel.alpha == 0.8


def test_a_shock_that_nobody_proposed_latches_and_ends_only_by_approval(
    attune, scripted_engine, wishes, signing_key
):
    loop = begun(attune, scripted_engine(), wishes(HOLD, HOLD, HOLD, *[DOWN] * 5), 2)
    loop.engine.h_internal = 0.1
    loop.engine.run(2)
    loop.engine.h_internal = 1.0
    loop.engine.run(5)
    assert loop.kernel.mode is Mode.EMERGENCY
    assert loop.kernel.alpha == 0.96
    assert loop.controller.approve(loop.signed("approve", key=signing_key)).verdict.outcome is Outcome.REFUSED
    assert loop.controller.approve(loop.signed("override", 1_010_000_000)).verdict.outcome is Outcome.REFUSED
    assert loop.kernel.mode is Mode.EMERGENCY
    assert loop.controller.approve(loop.signed("approve")).verdict.outcome is Outcome.APPROVED
    assert loop.kernel.mode is Mode.READY


def test_no_approval_on_an_unsafe_reading(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(h_internal=0.1), wishes(), 2)
    refused = loop.controller.approve(loop.signed("approve"))
    assert refused.verdict.outcome is Outcome.REFUSED
    assert "h_internal" in [check[0] for check in refused.verdict.broken]


def test_a_mild_shock_is_a_step_towards_safety_in_every_cycle(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(entropy_rate=0.003), wishes(*[UP] * 9), 3)
    assert loop.engine.applied == [1.0, 0.98, 0.96, 0.94]
    assert loop.kernel.mode is Mode.READY
    assert loop.outcomes() == [Outcome.RETREATED] * 3


def test_a_trial_that_moved_towards_safety_is_kept_under_an_unsafe_reading(attune, scripted_engine, wishes):
    engine = scripted_engine()
    loop = begun(attune, engine, wishes(DOWN), 1)
    engine.entropy_rate = 0.003
    engine.run(1)
    assert loop.decisions()[-1] == ("settle", "retreated")
    assert loop.kernel.alpha == 0.99
    assert loop.kernel.state.reverts == 0


def test_what_follows_a_kept_trial_is_compared_with_what_it_measured(attune, scripted_engine, wishes, bodies):
    measured = {1.0: 0.9, 0.99: 0.5, 0.98: 0.5}
    engine = scripted_engine(coherence=measured.__getitem__)
    loop = begun(attune, engine, wishes(DOWN, Suggestion(0.98)), 1)
    # Above κ·exp(−κ) at 0.99, below it at 0.98.
    engine.loop_gain = 0.3705
    engine.run(1)
    engine.loop_gain = 0.2
    engine.run(1)
    assert loop.decisions()[2:] == [
        ("settle", "retreated"),
        ("propose", "accepted"),
        ("settle", "committed"),
    ]
    assert bodies(loop.path)[-1]["comparison"]["before"] == 500_000_000


def test_a_worse_trial_is_kept_where_the_way_back_is_past_the_gains_that_it_measured(
    attune, scripted_engine, wishes
):
    engine = scripted_engine(coherence=lambda alpha: alpha / 2)
    loop = begun(attune, engine, wishes(DOWN), 1)
    # Below κ·exp(−κ) / 0.99, above it at 1.
    engine.loop_gain = 0.368
    engine.run(1)
    assert loop.decisions()[-1] == ("settle", "retreated")
    assert engine.applied == [1.0, 0.99]
    assert loop.optimizer.told[-1].broken == ("coherence", *(f"loop_gain[{scale}]" for scale in SCALES))
    engine.run(1)
    assert (loop.kernel.mode, loop.kernel.alpha) == (Mode.READY, 0.99)


def test_reverts_in_a_row_latch_the_emergency(attune, scripted_engine, wishes):
    engine = scripted_engine(coherence=lambda alpha: 1.0 - alpha / 2)
    loop = begun(attune, engine, wishes(*[UP] * 20), 30)
    assert loop.outcomes().count(Outcome.REVERTED) == 7
    assert loop.decisions()[-1] == ("settle", "latched")
    assert loop.kernel.mode is Mode.EMERGENCY
    assert loop.kernel.alpha == 1.0


def test_a_commit_in_between_starts_the_count_of_reverts_anew(attune, scripted_engine, wishes):
    engine = scripted_engine(coherence=lambda alpha: 1.0 - alpha / 2)
    loop = begun(attune, engine, wishes(*([*[UP] * 6, DOWN, *[Suggestion(1.0)] * 6])), 40)
    assert loop.outcomes().count(Outcome.REVERTED) == 12
    assert loop.kernel.mode is Mode.READY


@pytest.mark.parametrize(
    ("figure", "edge", "outside"),
    [
        # 0.002 and 0.95 are no floats: the nearest ones lie on the dangerous side, and count as unsafe.
        ("entropy_rate", nextafter(0.002, 0.0), 0.002),
        ("entropy_rate", 0.0, -1e-9),
        ("h_internal", nextafter(0.95, 1.0), 0.95),
        ("h_internal", 1.0, 1.0000000011),
        ("drive", 10.0, nextafter(10.0, 11.0)),
        ("loop_gain", 0.3659126929, 0.3659126931),
    ],
)
def test_each_limit_holds_to_the_last_digit(attune, scripted_engine, wishes, figure, edge, outside):
    engine = scripted_engine()
    setattr(engine, figure, above(2.0, 0.0, edge))
    loop = begun(attune, engine, wishes(Suggestion(1.0)), 2)
    assert loop.decisions()[-1] == ("settle", "committed")
    setattr(engine, figure, outside)
    engine.run(1)
    verdict = loop.reports[-1].entries[0].verdict
    assert verdict.outcome in (Outcome.RETREATED, Outcome.LATCHED)
    assert all(check[0].startswith(figure.partition("_")[0]) for check in verdict.broken)


@pytest.mark.parametrize(
    ("start", "target", "outcome"),
    [
        (1.18, 1.2, Outcome.ACCEPTED),
        (1.18, 1.200000001, Outcome.REFUSED),
        (1.18, nextafter(1.2, 2.0), Outcome.ACCEPTED),  # rounds to 1.2, and 1.2 is what is applied
        (0.82, 0.8, Outcome.ACCEPTED),
        (0.82, 0.799999999, Outcome.REFUSED),
        (1.0, 1.02, Outcome.ACCEPTED),
        (1.0, 1.020000001, Outcome.REFUSED),
        (1.0, 0.98, Outcome.ACCEPTED),
        (1.0, 0.979999999, Outcome.REFUSED),
        (1.0, -0.0, Outcome.REFUSED),
    ],
)
def test_bounds_and_rate_hold_to_the_last_unit(attune, scripted_engine, wishes, start, target, outcome):
    way = [Suggestion(round(1.0 + (start - 1.0) * step / 9, 9)) for step in range(1, 10)]
    loop = begun(attune, scripted_engine(), wishes(*(way if start != 1.0 else []), Suggestion(target)), 14)
    proposals = [entry for report in loop.reports for entry in report.entries if entry.event == "propose"]
    assert proposals[-1].verdict.outcome is outcome
    if outcome is Outcome.ACCEPTED:
        assert loop.engine.applied[-1] == pytest.approx(target, abs=1e-15)
        assert loop.engine.applied[-1] == round(target, 9)
    else:
        assert loop.engine.applied[-1] == start


def test_the_envelope_is_checked_at_the_target(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(loop_gain=0.365), wishes(UP, Suggestion(1.002)), 3)
    assert loop.decisions()[1:] == [
        ("propose", "refused"),
        ("propose", "accepted"),
        ("settle", "committed"),
    ]
    assert loop.optimizer.told[1].broken == ("loop_gain[L_mu]", "loop_gain[L_phi]", "loop_gain[L_Phi]")


def test_nan_is_no_improvement(attune, scripted_engine, wishes):
    engine = scripted_engine(coherence=above(1.005, float("nan"), 0.5))
    loop = begun(attune, engine, wishes(UP), 3)
    assert loop.decisions()[1:3] == [("propose", "accepted"), ("miss", "reverted")]
    assert Outcome.COMMITTED not in loop.outcomes()


def test_without_revert_on_failure_a_worse_step_is_committed_but_never_an_unsafe_one(
    tmp_path, scripted_engine, signing_key
):
    config = loads(
        "attunement:\n"
        "  settle_delay: 0\n"
        "  optimizer: {name: 'adversary:one_ulp'}\n"
        f"  logging: {{audit_ledger_path: {tmp_path / 'ledger.log'}}}\n"
        "  safety: {revert_on_failure: false}\n"
    )
    engine = scripted_engine(coherence=lambda alpha: 1.0 - alpha / 2, entropy_rate=above(1.03, 0.003, 0.0))
    entries = []

    class Watch:
        def on_report(self, report):
            entries.extend(report.entries)

    with Attunement(config, engine, signers_of(signing_key), subscribers=(Watch(),)) as attunement:
        attunement.controller.start()
        engine.run(200)
    settled = [entry for entry in entries if entry.event == "settle" and entry.before.kind is Kind.STEP]
    committed = [entry for entry in settled if entry.verdict.outcome is Outcome.COMMITTED]
    assert Outcome.REVERTED not in {entry.verdict.outcome for entry in settled}
    assert any(entry.comparison.after < entry.comparison.before for entry in committed)
    assert all(entry.after.alpha <= 1_030_000_000 for entry in committed)
