"""Alerts: when trials are taken back again and again, with silence after each."""

import json
import shlex
import sys
import threading
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attunement.config_schema import EscalationConfig
from attunement.escalation import BACKOFF_DOUBLINGS, Alert, CommandHook, Escalation, EscalationError
from attunement.telemetry import CycleReport, is_taken_back
from kernel import Entry, Kind, Mode, Outcome, State
from kernel.state import Verdict
from ledger import LedgerWriteError, Receipt, read_records
from optimizers.protocol import Suggestion

READY = State(Mode.READY, 10**9, 10**9, 5, 0, 0, 1, Kind.STEP, Mode.READY)
TRIAL = READY._replace(mode=Mode.TRIAL, alpha=1_010_000_000)
ALERT = Alert(7, 3, 10, 5, 1.0, "ready")


def entry(outcome, before=TRIAL, after=READY):
    return Entry("settle", "test", "test", before, after, Verdict(outcome), None, None, None, None, None)


def report(taken_back):
    entries = (entry(Outcome.REVERTED),) * taken_back
    return CycleReport(None, entries, READY, "idle", None, {})


class Records(list):
    def __call__(self, body):
        self.append(body)
        return Receipt(len(self), "ab" * 32, "2026-03-01T00:00:00.000000Z")


@pytest.mark.parametrize(
    ("one", "counts"),
    [
        (entry(Outcome.REVERTED), True),
        (entry(Outcome.RETREATED), True),
        (entry(Outcome.LATCHED), True),
        (entry(Outcome.RETURNED), False),
        (entry(Outcome.COMMITTED, after=TRIAL._replace(mode=Mode.READY)), False),
        (entry(Outcome.RETREATED, before=READY, after=READY._replace(alpha=990_000_000)), False),
    ],
)
def test_what_counts_as_taken_back(one, counts):
    assert is_taken_back(one) is counts


def test_an_alert_comes_when_there_are_enough_within_the_window_and_then_silence():
    records = Records()
    watch = Escalation(EscalationConfig(reverts=3, window=10, backoff=5), records)
    raised = []
    for number in range(1, 60):
        watch.on_report(report(0 if 30 < number < 44 else 1))
        raised += [number] * (len(records) - len(raised))
    # Silence of 5, 10 and 20 cycles; then a whole window without any, after which it is short again.
    assert raised == [3, 8, 18, 46, 51]
    assert records[0] == {
        "actor": "attunement_controller",
        "alpha": 10**9,
        "cycle": 5,
        "event": "alert",
        "reason": "3 trials taken back in 10 cycles",
        "schema": 1,
        "verdict": "raised",
    }


def test_after_a_clear_window_the_silence_is_short_again():
    records = Records()
    watch = Escalation(EscalationConfig(reverts=1, window=2, backoff=3), records)
    pattern = [1, 0, 0, 1, 0, 0, 1]
    raised = []
    for number, taken in enumerate(pattern):
        watch.on_report(report(taken))
        raised += [number] * (len(records) - len(raised))
    assert raised == [0, 3, 6]


@given(st.lists(st.integers(0, 3), max_size=200), st.integers(1, 6), st.integers(1, 20), st.integers(1, 20))
def test_no_two_alerts_come_within_the_silence_and_each_has_its_reason(pattern, reverts, window, backoff):
    records, raised = Records(), []
    watch = Escalation(EscalationConfig(reverts=reverts, window=window, backoff=backoff), records)
    for number, taken in enumerate(pattern):
        watch.on_report(report(taken))
        raised += [number] * (len(records) - len(raised))
    for number in raised:
        assert sum(pattern[max(0, number - window + 1) : number + 1]) >= reverts
    assert all(later - earlier >= backoff for earlier, later in pairwise(raised))
    longest = backoff << BACKOFF_DOUBLINGS
    for number in range(len(pattern)):
        if sum(pattern[max(0, number - window + 1) : number + 1]) >= reverts:
            assert any(number - longest < one <= number for one in raised)


def test_a_hook_is_told_in_its_own_thread_and_waited_for():
    told, records = [], Records()

    def hook(alert):
        told.append((alert, threading.current_thread().name))

    watch = Escalation(EscalationConfig(reverts=1, window=10, backoff=1), records, hook)
    watch.on_report(report(1))
    watch.close()
    assert told == [(Alert(1, 1, 10, 5, 1.0, "ready"), "alert")]
    assert [body["verdict"] for body in records] == ["raised"]


def test_a_hook_that_fails_is_recorded():
    records = Records()

    def hook(alert):
        raise OSError("no line\nto the pager")

    watch = Escalation(EscalationConfig(reverts=1, window=10, backoff=1), records, hook)
    watch.on_report(report(1))
    watch.close()
    assert [(body["verdict"], body["reason"]) for body in records][1] == (
        "failed",
        r"hook for alert 1: OSError: no line\nto the pager",
    )


def test_a_hook_that_fails_on_a_stopped_ledger_ends_quietly():
    records = Records()

    def append(body):
        if records:
            raise LedgerWriteError("it is closed")
        return records(body)

    def hook(alert):
        raise OSError("no line")

    watch = Escalation(EscalationConfig(reverts=1, window=10, backoff=1), append, hook)
    watch.on_report(report(1))
    watch.close()
    assert len(records) == 1


def test_a_command_gets_the_alert_on_its_input(tmp_path):
    out = tmp_path / "told.json"
    program = f"import sys; open({str(out)!r}, 'w').write(sys.stdin.read())"
    CommandHook(shlex.join([sys.executable, "-c", program]), 30.0)(ALERT)
    assert json.loads(out.read_text()) == {
        "sequence": 7,
        "taken_back": 3,
        "window": 10,
        "cycle": 5,
        "alpha": 1.0,
        "mode": "ready",
    }


@pytest.mark.parametrize(
    ("command", "timeout_s", "said"),
    [
        (["/nowhere/page me"], 30.0, "No such file"),
        ([sys.executable, "-c", "import sys; sys.exit('busy')"], 30.0, "command ended with 1: busy"),
        ([sys.executable, "-c", "import time; time.sleep(60)"], 0.05, "timed out"),
    ],
)
def test_a_command_that_fails_is_named(command, timeout_s, said):
    with pytest.raises(EscalationError, match=said):
        CommandHook(shlex.join(command), timeout_s)(ALERT)


def test_a_loop_that_reverts_again_and_again_raises_an_alert_in_its_ledger(attune, scripted_engine, wishes):
    told = []
    engine = scripted_engine(coherence=lambda alpha: 0.5 if alpha == 1.0 else 0.1)
    loop = attune(engine, wishes(*[Suggestion(1.01)] * 5), tolerance=0.0)
    watch = Escalation(
        EscalationConfig(reverts=3, window=10, backoff=50), loop.governance.append, told.append
    )
    loop.controller._subscribers += (watch,)
    loop.controller.start()
    engine.run(8)
    watch.close()
    alerts = [record for record in read_records(loop.path) if record.body.get("event") == "alert"]
    assert [(one.body["verdict"], one.body["reason"]) for one in alerts] == [
        ("raised", "3 trials taken back in 10 cycles")
    ]
    assert [alert.sequence for alert in told] == [alerts[0].sequence]


def test_an_alert_that_cannot_be_recorded_is_an_error(attune, scripted_engine, wishes):
    def full(body):
        raise LedgerWriteError("no space left")

    watch = Escalation(EscalationConfig(reverts=1, window=10, backoff=1), full)
    with pytest.raises(LedgerWriteError, match="no space left"):
        watch.on_report(report(1))
