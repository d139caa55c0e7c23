"""Orders carried out at a reading: one after the other, step by step, and what became of them."""

import attrs
import pytest

from attunement.charter import Charter, Operator
from attunement.governance import kernel_order
from attunement.measurement import MeasurementError
from attunement.order import Action, OrderError, SignedOrder, sign_order
from attunement.order_desk import OrderDesk, PolicyMismatchError, Signatory
from kernel import LedgerUnavailableError, Mode
from ledger import SigningKey, read_records
from optimizers.protocol import Suggestion

INES, OMAR = (SigningKey(bytes([number] * 32)) for number in (21, 22))
ONE = Charter((Operator("ines", INES.verify_key),))
BOTH = Charter((Operator("ines", INES.verify_key), Operator("omar", OMAR.verify_key)), quorum=2)
DELTA = 20_000_000
GIVEN_UP = "given up: a step was taken back or α frozen"


def begun(attune, engine, wishes, *answers, charter=ONE, cycles=1, **settings):
    loop = attune(engine, wishes(*answers), charter=charter, **settings)
    loop.controller.start()
    loop.engine.run(cycles)
    return loop


def handed_in(loop, action, subject=(), key=INES, cycles=1, **changes):
    drafted = loop.governance.draft(action, subject, "ines", "storm is over")
    drafted = SignedOrder(attrs.evolve(drafted.terms, **changes))
    loop.desk.submit([sign_order(key, drafted)])
    loop.engine.run(cycles)
    return drafted.terms


def answers(loop):
    return [(answer.action.value, answer.is_refused, answer.said) for answer in loop.desk.answers]


def verdicts(loop):
    return [
        (body["event"], body["verdict"])
        for record in read_records(loop.path)
        if (body := record.body).get("event") is not None
    ]


def test_a_freeze_and_its_end(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes, *[Suggestion(1.01)] * 9)
    handed_in(loop, Action.FREEZE)
    assert loop.kernel.mode is Mode.FROZEN
    handed_in(loop, Action.UNFREEZE)
    assert loop.kernel.mode is Mode.READY
    assert answers(loop) == [("freeze", False, ("frozen",)), ("unfreeze", False, ("approved",))]
    assert verdicts(loop)[-4:] == [
        ("order", "authorised"),
        ("freeze", "frozen"),
        ("order", "authorised"),
        ("approve", "approved"),
    ]


def test_an_order_that_comes_while_a_probe_is_out_waits_for_a_reading_at_the_alpha_in_force(
    attune, scripted_engine, wishes
):
    loop = begun(attune, scripted_engine(), wishes, Suggestion(1.01, probe=True))
    assert loop.kernel.mode is Mode.TRIAL
    handed_in(loop, Action.OVERRIDE, (1_000_000_000 - DELTA,))
    assert (loop.kernel.alpha, answers(loop)) == (1.0, [])
    loop.engine.run(2)
    assert loop.kernel.alpha == 0.98
    assert not loop.desk.is_refused


def test_a_freeze_that_comes_while_a_probe_is_out_waits_for_its_end_alone(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes, Suggestion(1.01, probe=True))
    assert loop.kernel.mode is Mode.TRIAL
    handed_in(loop, Action.FREEZE)
    assert (loop.kernel.mode, loop.kernel.alpha) == (Mode.FROZEN, 1.0)
    assert answers(loop) == [("freeze", False, ("frozen",))]


def test_a_freeze_that_nobody_signed_is_recorded_and_not_carried_out(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes)
    handed_in(loop, Action.FREEZE, key=OMAR)
    assert loop.kernel.mode is Mode.READY
    assert answers(loop)[0][:2] == ("freeze", True)
    assert verdicts(loop)[-1] == ("order", "refused")
    assert loop.desk.is_refused


def test_an_emergency_ends_by_approval(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes)
    loop.engine.h_internal = 0.1
    loop.engine.run(1)
    loop.engine.h_internal = 1.0
    loop.engine.run(2)
    assert loop.kernel.mode is Mode.EMERGENCY
    handed_in(loop, Action.APPROVE)
    assert loop.kernel.mode is Mode.READY


def test_an_approval_on_an_unsafe_reading_says_which_limit(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes)
    loop.controller.freeze("ines", "maintenance")
    loop.engine.entropy_rate = 0.00390625
    handed_in(loop, Action.UNFREEZE)
    assert answers(loop) == [("unfreeze", True, ("entropy_rate is 0.00390625, must lie in [0, 0.002]",))]
    assert loop.kernel.mode is Mode.FROZEN


def test_an_override_goes_step_by_step_and_no_optimizer_comes_between(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes, *[Suggestion(0.99)] * 20)
    loop.engine.run(1)
    loop.optimizer.answers.clear()
    start = loop.kernel.state.alpha
    loop.optimizer.answers += [Suggestion(0.95)] * 20
    handed_in(loop, Action.OVERRIDE, (start + 5 * DELTA // 2,), cycles=3)
    assert loop.engine.applied[-3:] == [
        (start + DELTA) / 1e9,
        (start + 2 * DELTA) / 1e9,
        (start + 5 * DELTA // 2) / 1e9,
    ]
    assert loop.desk.waiting == 1
    loop.engine.run(1)
    assert loop.kernel.state.good == start + 5 * DELTA // 2
    assert answers(loop) == [("override", False, (f"α = {(start + 5 * DELTA // 2) / 1e9:.9f} is committed",))]
    orders = [one for one in verdicts(loop) if one[0] == "order"]
    assert orders == [("order", "authorised")]


def test_an_override_in_a_freeze_leaves_it_frozen(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes)
    loop.controller.freeze("ines", "maintenance")
    handed_in(loop, Action.OVERRIDE, (1_030_000_000,), cycles=3)
    assert (loop.kernel.mode, loop.kernel.alpha) == (Mode.FROZEN, 1.03)
    assert not loop.desk.is_refused


def test_an_override_that_breaks_a_limit_on_its_way_stops_before_it(attune, scripted_engine, wishes):
    engine = scripted_engine(entropy_rate=lambda alpha: 0.003 if alpha > 1.03 else 0.0)
    loop = begun(attune, engine, wishes)
    handed_in(loop, Action.OVERRIDE, (1_100_000_000,), cycles=4)
    assert loop.kernel.state.good == 1_020_000_000
    assert answers(loop) == [
        (
            "override",
            True,
            (GIVEN_UP, "α is 1.020000000: this order found it at 1.000000000 and made 2 trials"),
        )
    ]
    loop.engine.run(5)
    assert loop.kernel.state.good == 1_020_000_000


@pytest.mark.parametrize("target", [-5_000_000_000, 98_000_000, 799_999_999, 1_200_000_001, 2**62], ids=str)
def test_an_override_to_an_alpha_out_of_the_limits_moves_nothing(attune, scripted_engine, wishes, target):
    loop = begun(attune, scripted_engine(), wishes)
    applied = list(loop.engine.applied)
    handed_in(loop, Action.OVERRIDE, (target,), cycles=12)
    assert (loop.kernel.alpha, loop.engine.applied) == (1.0, applied)
    objected = f"α is {target / 1e9:.12g}, must lie in [0.8, 1.2]"
    ((action, is_refused, said),) = answers(loop)
    assert (action, is_refused, said[0]) == ("override", True, objected)
    assert verdicts(loop)[-2:] == [("order", "refused"), ("override", "refused")]


@pytest.mark.parametrize("target", [800_000_000, 1_200_000_000])
def test_an_override_to_the_end_of_the_range_gets_there(attune, scripted_engine, wishes, target):
    loop = begun(attune, scripted_engine(), wishes)
    handed_in(loop, Action.OVERRIDE, (target,), cycles=12)
    assert (loop.kernel.state.good, loop.desk.is_refused) == (target, False)


def test_an_override_that_expires_on_its_way_stays_where_it_is(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes)
    handed_in(loop, Action.OVERRIDE, (1_100_000_000,), cycles=2)
    loop.governance._now = lambda: "9999-01-01T00:00:00.000000Z"
    loop.engine.run(2)
    assert loop.kernel.state.good == 1_040_000_000
    ((_, is_refused, said),) = answers(loop)
    assert (is_refused, said[0].startswith("expired at")) == (True, True)
    assert said[-1] == "α is 1.040000000: this order found it at 1.000000000 and made 2 trials"


def test_a_walk_that_another_check_ends_says_where_alpha_is(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes)
    handed_in(loop, Action.OVERRIDE, (1_100_000_000,), cycles=1)
    loop.engine.drive = lambda alpha: 40.0 if alpha > 1.01 else 0.1
    loop.engine.run(1)
    ((_, is_refused, said),) = answers(loop)
    assert is_refused
    now = loop.kernel.alpha
    assert said[-1] == f"α is {now:.9f}: this order found it at 1.000000000 and made 1 trial"


def test_a_freeze_ends_an_override_on_its_way(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes)
    handed_in(loop, Action.OVERRIDE, (1_100_000_000,), cycles=2)
    loop.controller.freeze("omar", "stop that")
    loop.engine.run(3)
    assert loop.kernel.state.good == 1_020_000_000
    assert answers(loop)[0][:2] == ("override", True)


def committed(loop):
    return next(loop.governance.book.commits())


def test_a_rollback_goes_back_to_a_committed_alpha(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes, Suggestion(1.01), cycles=2)
    earlier = committed(loop)
    handed_in(loop, Action.OVERRIDE, (1_060_000_000,), cycles=4)
    handed_in(loop, Action.ROLLBACK, (earlier.sequence, earlier.alpha), cycles=4)
    assert loop.kernel.alpha == 1.01
    assert [one[:2] for one in answers(loop)] == [("override", False), ("rollback", False)]


@pytest.mark.parametrize("action", [Action.ROLLBACK, Action.PERSIST])
def test_what_was_never_committed_is_nothing_to_go_back_to(attune, scripted_engine, wishes, action):
    loop = begun(attune, scripted_engine(), wishes, Suggestion(1.01), cycles=2)
    sequence = committed(loop).sequence
    for subject in ((sequence, 1_011_000_000), (sequence - 1, 1_010_000_000)):
        handed_in(loop, action, subject)
        alpha = f"{subject[1] / 1e9:.9f}"
        assert answers(loop)[-1][2][0] == f"record {subject[0]} is none of the newest commits of α = {alpha}"
    assert loop.kernel.alpha == 1.01
    assert loop.governance.book.initial is None


def test_a_committed_alpha_is_persisted_by_its_order_alone(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes, Suggestion(1.01), cycles=2)
    handed_in(loop, Action.PERSIST, (committed(loop).sequence, 1_010_000_000))
    assert loop.governance.book.initial == committed(loop)
    assert answers(loop) == [("persist", False, ("recorded",))]
    assert verdicts(loop)[-1] == ("order", "authorised")


@pytest.mark.parametrize("action", [Action.ROLLBACK, Action.PERSIST])
def test_no_commit_outside_the_policy_is_gone_back_to_or_persisted(attune, scripted_engine, wishes, action):
    loop = begun(attune, scripted_engine(), wishes, Suggestion(1.01), Suggestion(1.0), cycles=4)
    high = next(one for one in loop.governance.book.commits() if one.alpha == 1_010_000_000)
    limits = loop.kernel.limits._replace(alpha_max=1_005_000_000)
    handed_in(loop, Action.POLICY, tuple(limits))
    handed_in(loop, action, (high.sequence, high.alpha), cycles=3)
    assert answers(loop)[-1][:2] == (action.value, True)
    assert answers(loop)[-1][2][0] == "α is 1.01, must lie in [0.8, 1.005]"
    assert loop.kernel.alpha == 1.0


def test_a_policy_waits_for_more_votes_and_is_adopted_by_the_last(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes, charter=BOTH)
    limits = loop.kernel.limits._replace(tolerance_max=1_000_000)
    drafted = loop.governance.draft(Action.POLICY, tuple(limits), "ines", "less noise")
    loop.desk.submit([sign_order(INES, drafted)])
    loop.engine.run(1)
    assert answers(loop) == [("policy", False, ("waits for more votes",))]
    assert loop.kernel.state.policy == 1
    loop.desk.submit([sign_order(OMAR, drafted)])
    loop.engine.run(1)
    assert answers(loop)[-1] == ("policy", False, ("adopted",))
    assert loop.kernel.limits == limits
    assert verdicts(loop)[-4:] == [
        ("vote", "counted"),
        ("vote", "counted"),
        ("order", "authorised"),
        ("set_limits", "adopted"),
    ]


def test_the_tolerance_of_a_new_policy_is_kept_at_once(attune, scripted_engine, wishes):
    engine = scripted_engine(coherence=lambda alpha: 1.0 - alpha / 2)
    loop = begun(attune, engine, wishes, tolerance=0.02)
    handed_in(loop, Action.POLICY, tuple(loop.kernel.limits._replace(tolerance_max=0)))
    loop.optimizer.answers += [Suggestion(1.01), Suggestion(0.99)]
    loop.engine.run(4)
    assert verdicts(loop)[-4:] == [
        ("propose", "accepted"),
        ("settle", "reverted"),
        ("propose", "accepted"),
        ("settle", "committed"),
    ]


def test_orders_wait_for_an_open_trial_and_come_before_the_next(attune, scripted_engine, wishes):
    loop = attune(scripted_engine(), wishes(*[Suggestion(1.01)] * 9), charter=ONE)
    lower, back = (
        sign_order(INES, loop.governance.draft(Action.OVERRIDE, (alpha,), "ines", "lower"))
        for alpha in (990_000_000, 1_000_000_000)
    )
    loop.desk.submit([lower, back])
    assert loop.desk.waiting == 2
    loop.controller.start()
    loop.engine.run(1)
    assert (loop.kernel.mode, loop.kernel.alpha, loop.desk.waiting) == (Mode.TRIAL, 0.99, 2)
    loop.engine.run(1)
    assert (loop.kernel.mode, loop.kernel.alpha, loop.desk.waiting) == (Mode.TRIAL, 1.0, 1)


def test_a_freeze_waits_for_no_order_that_came_before_it(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes)
    drafted = loop.governance.draft(Action.OVERRIDE, (1_100_000_000,), "ines", "higher")
    loop.desk.submit([sign_order(INES, drafted)])
    handed_in(loop, Action.FREEZE)
    assert (loop.kernel.mode, loop.kernel.alpha, loop.desk.waiting) == (Mode.FROZEN, 1.0, 0)
    (first, second) = answers(loop)
    assert first == ("freeze", False, ("frozen",))
    assert (second[:2], second[2][0].startswith("latch is none, must be record")) == (
        ("override", True),
        True,
    )


def test_a_freeze_stops_an_order_on_its_way(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes)
    handed_in(loop, Action.OVERRIDE, (1_100_000_000,), cycles=2)
    handed_in(loop, Action.FREEZE)
    assert (loop.kernel.mode, loop.kernel.alpha, loop.desk.waiting) == (Mode.FROZEN, 1.04, 0)
    assert answers(loop) == [
        ("freeze", False, ("frozen",)),
        (
            "override",
            True,
            (GIVEN_UP, "α is 1.040000000: this order found it at 1.000000000 and made 2 trials"),
        ),
    ]


def test_a_freeze_that_nobody_signed_stops_nothing(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes)
    handed_in(loop, Action.OVERRIDE, (1_060_000_000,))
    handed_in(loop, Action.FREEZE, key=OMAR, cycles=4)
    assert (loop.kernel.mode, loop.kernel.alpha) == (Mode.READY, 1.06)
    assert [one[:2] for one in answers(loop)] == [("freeze", True), ("override", False)]


def test_a_freeze_waits_for_no_trial_that_settles(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes, Suggestion(1.01), settle_delay_s=900.0, deadline_s=999.0)
    assert (loop.kernel.mode, loop.kernel.alpha) == (Mode.TRIAL, 1.01)
    handed_in(loop, Action.FREEZE)
    assert (loop.kernel.mode, loop.kernel.alpha, loop.engine.applied[-1]) == (Mode.FROZEN, 1.0, 1.0)
    assert [entry.event for entry in loop.reports[-1].entries] == ["freeze"]


def test_nobody_approves_on_what_was_measured_before_the_engine_could_not_be_seen(
    attune, scripted_engine, wishes
):
    loop = begun(attune, scripted_engine(), wishes)
    loop.engine.h_internal = float("nan")
    loop.engine.run(9)
    assert loop.kernel.mode is Mode.EMERGENCY
    drafted = loop.governance.draft(Action.APPROVE, (), "ines", "storm is over")
    order = kernel_order(sign_order(INES, drafted), ())
    for ask in (loop.controller.approve, lambda one: loop.controller.override(one, 1.0)):
        with pytest.raises(MeasurementError, match="no usable reading yet"):
            ask(order)
    assert loop.kernel.mode is Mode.EMERGENCY


def test_a_freeze_waits_for_no_reading(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes)
    loop.engine.h_internal = float("nan")
    handed_in(loop, Action.FREEZE)
    assert loop.kernel.mode is Mode.FROZEN
    assert answers(loop) == [("freeze", False, ("frozen",))]


def test_an_operator_who_is_present_signs_for_the_latch_that_was_there(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes)
    signatory = Signatory(INES, "ines", "maintenance is over")
    loop.controller.freeze("omar", "maintenance")
    loop.desk.have_signed(signatory, Action.UNFREEZE)
    loop.engine.h_internal = 0.1
    loop.engine.run(1)
    loop.engine.h_internal = 1.0
    loop.engine.run(2)
    assert loop.kernel.mode is Mode.EMERGENCY
    assert (answers(loop), loop.desk.waiting) == ([], 0)


def test_limits_that_are_required_and_not_adopted_end_the_run(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes)
    limits = loop.kernel.limits._replace(reverts_max=4)
    desk = OrderDesk(loop.kernel, loop.governance, limits)
    loop.engine.psi = 0.25
    desk.have_signed(Signatory(INES, "ines", "tighter"), Action.POLICY, tuple(limits))
    reading = loop.controller._newest()
    with pytest.raises(PolicyMismatchError, match=r"Ψ is 0\.250000000, must be at least 0\.500000000"):
        desk.attend(reading)
    loop.engine.psi = 0.9
    desk.have_signed(Signatory(INES, "ines", "tighter"), Action.POLICY, tuple(limits))
    assert [entry.verdict.outcome.value for entry in desk.attend(reading)] == ["adopted"]
    handed_in(loop, Action.POLICY, tuple(limits._replace(reverts_max=5)))
    assert desk.attend(reading) == ()


def test_who_signs_says_who_and_why():
    with pytest.raises(OrderError, match="reason must be"):
        Signatory(INES, "ines", " ")


def test_an_answer_reads_as_a_sentence(attune, scripted_engine, wishes):
    loop = begun(attune, scripted_engine(), wishes)
    terms = handed_in(loop, Action.FREEZE)
    assert str(loop.desk.answers[0]) == f"order {terms.order_id[:16]} (freeze): frozen"


def test_a_ledger_that_fails_under_an_order_ends_the_following(attune, scripted_engine, wishes, monkeypatch):
    from ledger import LedgerWriteError

    loop = begun(attune, scripted_engine(), wishes)
    order = sign_order(INES, loop.governance.draft(Action.UNFREEZE, (), "ines", "drill"))
    loop.desk.submit([order])
    loop.broken = True

    def full(body):
        raise LedgerWriteError("no space left")

    monkeypatch.setattr(loop.ledger, "append", full)
    with pytest.raises(LedgerUnavailableError, match="no space left"):
        loop.engine.run_cycle()
    monkeypatch.undo()


def test_orders_refusals_and_votes_are_counted(attune, scripted_engine, wishes):
    from attunement.metrics import Metrics

    metrics = Metrics()
    loop = begun(attune, scripted_engine(), wishes, watchers=(metrics,))
    handed_in(loop, Action.FREEZE)
    handed_in(loop, Action.FREEZE, key=OMAR)
    handed_in(loop, Action.POLICY, tuple(loop.kernel.limits), key=OMAR)
    handed_in(loop, Action.POLICY, tuple(loop.kernel.limits))
    metrics.on_record({"event": "alert", "verdict": "failed"})
    metrics.on_record({"event": "alert", "verdict": "raised"})
    figures = {
        name: metrics.registry.get_sample_value(f"uhes_{name}_total")
        for name in ("orders", "order_refusals", "votes", "escalations")
    }
    assert figures == {"orders": 2.0, "order_refusals": 3.0, "votes": 1.0, "escalations": 1.0}
