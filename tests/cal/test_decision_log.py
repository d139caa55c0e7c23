"""The log of decisions, reading the configuration again, and spans."""

import builtins
import json
import os
import re
import signal
import sys
from pathlib import Path

import attrs
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from attunement.assembly import Attunement
from attunement.build import build_engine
from attunement.config import load
from attunement.config_schema import LoggingConfig
from attunement.decision_log import DecisionLog
from attunement.reloading import reload
from attunement.run_side import GuardedScreen
from attunement.running import Stop, stopped_by_signals
from attunement.spans import Spans
from ledger import read_records

TIMESTAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"


def decisions(site):
    bodies = [record.body for record in read_records(site.ledger)]
    return [(body["event"], body["verdict"]) for body in bodies if "after" in body]


def test_every_decision_is_an_event(cli, site, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    file = site.folder / "log" / "a.ndjson"
    config = site.config(logging={"format": "json", "file": str(file), "level": "debug"})
    assert cli("run", "--config", config, "--plain")[0] == 0
    events = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert (events[0]["event"], events[-1]["event"]) == ("run started", "run ended")
    assert events[-1]["cause"] == "all cycles are done"
    assert all(re.fullmatch(TIMESTAMP, event["timestamp"]) for event in events)
    logged = [event for event in events if event["event"] == "decision"]
    # The start itself, and a stop that reverts an open trial, are decisions outside of any cycle.
    in_ledger = decisions(site)
    told = [(event["decision"], event["verdict"]) for event in logged if event["verdict"] != "held"]
    assert told == [one for one in in_ledger if one[0] not in ("start", "recover") and one[1] != "held"]
    first = next(event for event in logged if event["decision"] == "propose")
    assert (first["actor"], first["level"], first["mode"]) == ("attunement_controller", "info", "trial")
    assert first["target"] == first["new_alpha"]
    assert {event["level"] for event in logged if event["verdict"] == "held"} == {"debug"}


def test_the_console_form_goes_to_stderr_from_the_level_up(cli, site):
    storm = {"kind": "partition", "start": 8, "length": 4, "magnitude": 1, "share": 0.5}
    config = site.config(logging={"format": "console", "level": "error"}, source={"shocks": [storm]})
    code, out, err = cli("run", "--config", config, "--plain")
    assert code == 4
    assert "verdict=latched" in err
    assert "verdict=accepted" not in err
    assert "verdict=" not in out


def test_without_a_form_there_is_no_log(cli, site):
    file = site.folder / "a.log"
    assert cli("run", "--config", site.config(logging={"file": str(file)}), "--plain")[0] == 0
    assert not file.exists()


def test_a_log_that_cannot_be_opened_ends_the_run_before_it_begins(cli, site):
    (site.folder / "file").write_text("precious")
    config = site.config(logging={"format": "json", "file": str(site.folder / "file" / "a.log")})
    code, out, err = cli("run", "--config", config, "--plain")
    assert (code, out) == (1, "")
    assert err.startswith("error: logging.file ")
    assert not site.ledger.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_log_on_a_full_disk_ends_the_log_and_not_the_run(cli, site):
    config = site.config(logging={"format": "json", "file": "/dev/full"})
    code, out, err = cli("run", "--config", config, "--plain")
    assert (code, len(out.splitlines())) == (1, 30)
    assert "error: the log is not written any more: [Errno 28] No space left on device" in err
    assert ": verified, " in err


def test_a_figure_that_is_no_number_is_not_logged_as_one(tmp_path):
    log = DecisionLog(LoggingConfig(format="json", file=str(tmp_path / "a.log")))
    log.say("odd", figure=float("nan"))
    log.say("even")
    log.close()
    assert "not JSON compliant" in log.fault
    assert "NaN" not in (tmp_path / "a.log").read_text()


def test_a_failed_run_is_logged(cli, site):
    file = site.folder / "a.ndjson"
    config = site.config(logging={"format": "json", "file": str(file)})
    cli("run", "--config", config, "--plain")
    tight = site.config(logging={"format": "json", "file": str(file)}, safety={"entropy_max": 0.001})
    assert cli("run", "--config", tight, "--plain")[0] == 2
    last = json.loads(file.read_text().splitlines()[-1])
    assert (last["event"], last["level"]) == ("run failed", "error")
    assert "entropy_max" in last["error"]


@pytest.fixture
def reloaded(site):
    """Read a changed configuration again."""
    before = load(Path(site.config()), {})

    def read(*flags, **changes):
        return before, reload(Path(site.config(**changes)), {}, flags, before)

    return read


def test_what_is_not_policy_and_not_fixed_is_taken_in(reloaded):
    before, done = reloaded(
        logging={"level": "debug"}, governance={"escalation": {"reverts": 2, "command": "true"}}
    )
    assert done.refused == ()
    assert done.taken == (
        "attunement.logging.level: info → debug",
        "attunement.governance.escalation.reverts: 6 → 2",
        "attunement.governance.escalation.command: null → true",
    )
    escalation = attrs.evolve(before.governance.escalation, reverts=2, command="true")
    governance = attrs.evolve(before.governance, escalation=escalation)
    logging = attrs.evolve(before.logging, level="debug")
    assert done.config == attrs.evolve(before, logging=logging, governance=governance)


def test_policy_and_what_is_fixed_is_refused_by_name(reloaded):
    before, done = reloaded(safety={"entropy_max": 0.001}, momentum=0.5)
    assert (done.config, done.taken) == (before, ())
    assert done.refused == (
        "attunement.momentum: 0.85 → 0.5: it is taken in at the next start",
        "attunement.safety.entropy_max: 0.002 → 0.001: it is policy, which an operator's order changes: "
        "`policy propose`",
    )


def test_a_configuration_that_cannot_be_used_changes_nothing(reloaded):
    before, done = reloaded(logging={"level": "loud"}, momentun=0.5)
    assert (done.config, done.taken) == (before, ())
    assert len(done.refused) == 2
    assert any("momentun is not a key" in line for line in done.refused)


def test_flags_stay_above_what_is_read_again(reloaded):
    _, done = reloaded("logging.level=error", logging={"level": "debug"})
    assert done.taken == ("attunement.logging.level: info → error",)


def test_a_run_escalates_as_it_was_told_last(site):
    config = load(Path(site.config(cycles=3)), {})
    with Attunement(config, build_engine(config), site.signers) as attunement:
        first = attunement._escalation._hook
        changed = attrs.evolve(config.governance.escalation, command="true", reverts=1)
        governance = attrs.evolve(config.governance, escalation=changed)
        attunement.reconfigure(attrs.evolve(config, governance=governance))
        assert first is None
        assert attunement._escalation._hook is not None
        same = attunement._escalation._hook
        attunement.reconfigure(attrs.evolve(config, governance=governance))
        assert attunement._escalation._hook is same


def test_a_hangup_where_there_never_was_a_terminal_asks_for_reading_again(monkeypatch):
    monkeypatch.setattr("attunement.running._STANDARD", ())
    with stopped_by_signals() as stop:
        signal.raise_signal(signal.SIGHUP)
        assert (stop.is_set(), stop.is_reload_wanted) == (False, True)


def test_a_screen_that_fails_for_another_reason_ends_the_run():
    class Broken:
        def on_report(self, report):
            raise BrokenPipeError(32, "Broken pipe")

        close = None

    screen = Broken()
    screen.close = lambda: screen.on_report(None)
    guarded = GuardedScreen(screen, Stop())
    with pytest.raises(BrokenPipeError):
        guarded.on_report(None)
    with pytest.raises(BrokenPipeError):
        guarded.close()


def test_a_screen_whose_terminal_is_gone_is_let_go():
    ours, theirs = os.openpty()
    stop = Stop()
    stop._terminals = [theirs]
    os.close(ours)

    class OnTerminal:
        def on_report(self, report):
            os.write(theirs, b"x")

        def close(self):
            raise OSError(5, "Input/output error")

    screen = GuardedScreen(OnTerminal(), stop)
    screen.on_report(None)
    assert (stop.is_set(), stop.cause) == (True, "the terminal was closed")
    # What is written there from now on goes nowhere.
    assert os.write(theirs, b"x") == 1
    screen.close()
    stop.hang_up()
    assert not stop.is_reload_wanted
    os.close(theirs)


def test_a_trial_is_a_span_and_any_other_decision_too(site):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    spans = Spans(provider)
    config = load(Path(site.config()), {})
    engine = build_engine(config)
    with Attunement(config, engine, site.signers, subscribers=(spans,)) as attunement:
        attunement.controller.start()
        for _ in range(30):
            engine.run_cycle()
    spans.close()
    finished = exporter.get_finished_spans()
    trials = [span for span in finished if span.name == "alpha.trial"]
    assert len(trials) == sum(one == ("propose", "accepted") for one in decisions(site))
    whole = [span for span in trials if "attunement.end.verdict" in span.attributes]
    assert len(trials) - 1 <= len(whole) <= len(trials)
    assert all(span.end_time >= span.start_time for span in finished)
    assert {span.attributes["attunement.event"] for span in whole} == {"propose"}
    assert {span.attributes["attunement.end.event"] for span in whole} == {"settle"}
    refused = [span for span in finished if span.name == "alpha.decision"]
    assert len(refused) == sum(one == ("propose", "refused") for one in decisions(site))


def test_spans_without_their_library_are_named(cli, site, monkeypatch):
    found = builtins.__import__

    def without(name, *arguments, **keywords):
        if name.startswith("opentelemetry"):
            raise ImportError(name)
        return found(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    code, _, err = cli("run", "--config", site.config(logging={"spans": True}), "--plain")
    assert (code, "pip install 'lambda-attunement[tracing]'" in err) == (2, True)
    assert "opentelemetry" in sys.modules


def test_spans_reach_a_collector(cli, site, monkeypatch):
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    bodies = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            bodies.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        try:
            code = cli("run", "--config", site.config(logging={"spans": True}), "--plain")[0]
        finally:
            server.shutdown()
            thread.join()
    assert code == 0
    assert {path for path, _ in bodies} == {"/v1/traces"}
    assert b"alpha.trial" in b"".join(body for _, body in bodies)
