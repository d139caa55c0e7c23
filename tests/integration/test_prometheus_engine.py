"""A system that a real Prometheus scrapes: new samples only, none too old, none from before a change of α."""

import http.server
import json
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
from itertools import pairwise
from pathlib import Path

import attrs
import pytest
from cli_bench import PROGRAM
from monitoring_bench import fetched

from attunement.assembly import Attunement
from attunement.build import build_engine
from attunement.calibrate import calibrate
from attunement.cli import _exit_code
from attunement.config import loads
from attunement.config_schema import ConfigError
from attunement.dry_run import compare_with_hold
from attunement.measurement import EngineCapabilityError, MeasurementError, Sensors
from attunement.prometheus_engine import PrometheusEngine, PrometheusError
from attunement.running import Stop, run_cycles
from kernel import Mode
from ledger import read_records

PROMETHEUS = shutil.which("prometheus")
pytestmark = pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is not installed")
INTERVAL_S = 0.2


class Target:
    """A system with metrics, and a limit that α scales: its goodput is best at α = 1.1."""

    def __init__(self):
        self.reset()
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self.reply(200, owner.metrics().encode("ascii"))

            def do_PUT(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                owner.taken.append((body, self.headers.get("authorization")))
                if owner.answer_with == 200:
                    owner.alpha = body["alpha"]
                self.reply(owner.answer_with, b"{}")

            def reply(self, status, content):
                self.send_response(status)
                self.send_header("content-type", "text/plain; version=0.0.4")
                self.send_header("content-length", str(len(content)))
                if status == 302:
                    self.send_header("location", "http://127.0.0.1:1/")
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                """Tests are quiet."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def reset(self):
        self.alpha = 1.0
        self.taken = []
        self.answer_with = 200
        self.silent = set()
        self.entropy = 0.0005
        self.pushed_ms = int(1000 * time.time())

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    def metrics(self):
        goodput = 100 - 400 * (self.alpha - 1.1) ** 2
        figures = {
            'goodput{node="a"}': goodput,
            'goodput{node="b"}': goodput + 1,
            "entropy": self.entropy,
            "success": 0.99,
            "psi": 0.9,
            "pushed": f"0.9 {self.pushed_ms}",
            **{f'drive{{L="{scale}"}}': drive for scale, drive in (("L_mu", 1), ("L_phi", 2), ("L_Phi", 3))},
        }
        return "".join(
            f"{name} {figure}\n" for name, figure in figures.items() if name.split("{")[0] not in self.silent
        )

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A target, and a real server in a folder of its own on a free port, ended by its own number."""
    target, folder = Target(), tmp_path_factory.mktemp("prometheus")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    scraped = target.url.removeprefix("http://")
    (folder / "prometheus.yml").write_text(
        f"global: {{scrape_interval: {INTERVAL_S * 1000:g}ms}}\n"
        "scrape_configs:\n"
        f"  - {{job_name: target, scrape_timeout: 150ms, static_configs: [{{targets: ['{scraped}']}}]}}\n",
        encoding="utf-8",
    )
    command = [PROMETHEUS, f"--config.file={folder / 'prometheus.yml'}", "--log.level=error"]
    command += [f"--storage.tsdb.path={folder / 'tsdb'}", f"--web.listen-address=127.0.0.1:{port}"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for(lambda: asked(url, "goodput") != [], process)
            yield target, url, process
        finally:
            process.kill()
            target.close()


@pytest.fixture
def target(served):
    """The target as it is at first, and seen so by the server."""
    made, url, process = served
    made.reset()
    since_s = time.time()

    def is_seen():
        times = asked(url, "timestamp(goodput)%20and%20on()%20(success%20==%200.99)%20and%20on()%20entropy")
        return times != [] and float(times[0]["value"][1]) > since_s

    wait_for(is_seen, process)
    return made


@pytest.fixture
def prometheus(served):
    """Where the server is."""
    return served[1]


def wait_for(holds, process):
    for _ in range(400):
        if holds():
            return
        assert process.poll() is None, f"prometheus ended with {process.returncode}"
        time.sleep(0.05)
    raise AssertionError("waited for twenty seconds in vain")


def asked(url, query):
    try:
        return json.loads(fetched(f"{url}/api/v1/query?query={query}"))["data"]["result"]
    except (urllib.error.URLError, ConnectionError):
        return []


@pytest.fixture
def config(document):
    return lambda **changes: loads(document(**changes))


@pytest.fixture
def config_file(document, tmp_path):
    def made(**changes):
        path = tmp_path / "attunement.yaml"
        path.write_text(document(**changes), encoding="utf-8")
        return str(path)

    return made


@pytest.fixture
def document(prometheus, target, tmp_path):
    def made(**changes):
        section = {
            "url": prometheus,
            "timeout": 2.0,
            "poll": 0.02,
            "stale_after": 2.0,
            "clock": "timestamp(goodput)",
            "coherence": {"promql": "goodput"},
            "entropy_rate": {"promql": "max(entropy)"},
            "h_internal": {"promql": "success"},
            "drive": {"promql": "drive"},
            "loop_gain": {"promql": "vector(0.2)"},
            "psi": {"promql": "psi"},
            "lambda_base": {"promql": "scalar(psi) / 1.618"},
            "apply_url": f"{target.url}/alpha",
            **changes,
        }
        document = {
            "settle_delay": 0,
            "engine": {"kind": "prometheus", "c_ref": 100},
            "prometheus": {name: value for name, value in section.items() if value is not ...},
            "safety": {"missed_max": 3},
            "logging": {"audit_ledger_path": str(tmp_path / "ledger")},
        }
        return json.dumps({"attunement": document})

    return made


def test_a_scraped_system_is_attuned_through_controller_kernel_and_ledger(config, target, signers):
    settings = config()
    engine = build_engine(settings)
    with Attunement(settings, engine, signers) as attunement:
        attunement.controller.start()
        run_cycles(engine, 25, 0.0, threading.Event())
        assert attunement.kernel.mode in (Mode.READY, Mode.TRIAL)
    assert target.taken[0] == ({"alpha": 1.0}, None)
    applied = [body["alpha"] for body, _ in target.taken]
    assert len(applied) > 5
    assert max(abs(b - a) for a, b in pairwise(applied)) <= 0.02 + 1e-12
    assert target.alpha > 1.0


def test_every_figure_is_read_as_the_queries_say(config, target):
    engine = build_engine(config())
    engine.set_alpha_multiplier(1.0)
    engine.run_cycle()
    measured = Sensors(engine, 1, 0.0, 0).measure()
    assert (measured.cycle, measured.alpha) == (1, 1.0)
    assert measured.c_hat == pytest.approx(96.5 / 196.5)
    assert (measured.entropy_rate, measured.h_internal) == (0.0005, 0.99)
    assert (measured.drive, measured.loop_gain) == ((1, 2, 3), (0.2, 0.2, 0.2))
    assert engine.get_psi() == 0.9
    assert engine.get_lambda("L_mu") == pytest.approx(0.9 / 1.618)
    assert engine.get_alpha_multiplier() == 1.0


def test_a_range_is_reduced(config):
    reductions = {
        "coherence": {"promql": "goodput", "range": 0.4, "step": 0.2, "reduce": "mean"},
        "entropy_rate": {"promql": "time()", "range": 0.4, "step": 0.2, "reduce": "rise"},
        "h_internal": {"promql": "min(success)", "range": 0.4, "step": 0.2, "reduce": "min"},
        "psi": {"promql": "psi", "range": 0.4, "step": 0.2, "reduce": "max"},
        "drive": {"promql": "drive", "range": 0.4, "step": 0.2},
    }
    time.sleep(0.5)
    engine = build_engine(config(**reductions))
    engine.run_cycle()
    measured = Sensors(engine, 1, 0.0, 0).measure()
    assert measured.c_hat == pytest.approx(96.5 / 196.5)
    assert measured.entropy_rate == pytest.approx(0.2)
    assert (measured.h_internal, engine.get_psi(), measured.drive) == (0.99, 0.9, (1, 2, 3))


def test_a_range_that_is_not_complete_is_missing(config):
    engine = build_engine(
        config(entropy_rate={"promql": "entropy", "range": 3600, "step": 1, "reduce": "rise"})
    )
    engine.run_cycle()
    with pytest.raises(PrometheusError, match=r"entropy_rate: the range has \d+ points, must have 3601"):
        engine.get_entropy_rate()


def test_a_sample_from_before_the_change_of_alpha_is_no_reading_of_it(config):
    engine = build_engine(config(lookback=0.5))
    engine.run_cycle()
    applied_s = time.time()
    engine.set_alpha_multiplier(1.02)
    engine.run_cycle()
    assert engine.cycle_alpha == 1.02
    assert engine._sample.at_s >= applied_s + 0.5


def test_a_system_that_falls_silent_is_a_missed_cycle_and_then_an_emergency(config, target, signers, bodies):
    settings = config(stale_after=0.5)
    engine = build_engine(settings)
    with Attunement(settings, engine, signers) as attunement:
        attunement.controller.start()
        run_cycles(engine, 2, 0.0, threading.Event())
        target.silent = {"goodput"}
        time.sleep(0.6)
        run_cycles(engine, 4, 0.0, threading.Event())
        assert attunement.kernel.mode is Mode.EMERGENCY
    said = [body["reason"] for body in bodies(Path(settings.logging.audit_ledger_path))]
    assert any("clock: the query gave no sample" in reason for reason in said)


def test_a_pushed_sample_that_the_server_still_hands_out_is_too_old(config, prometheus, target):
    target.pushed_ms = int(1000 * (time.time() - 1.0))
    time.sleep(3 * INTERVAL_S)
    assert asked(prometheus, "pushed") != []
    believed = build_engine(config(psi={"promql": "pushed"}, stale_after=0.8))
    believed.run_cycle()
    assert believed.get_psi() == 0.9
    checked = build_engine(config(psi={"promql": "pushed", "clock": "timestamp(pushed)"}, stale_after=0.8))
    checked.run_cycle()
    with pytest.raises(PrometheusError, match=r"psi: the sample is .* s old, must be at most 0.8 s"):
        checked.get_psi()
    target.pushed_ms = int(1000 * time.time())
    time.sleep(2 * INTERVAL_S)
    checked.run_cycle()
    assert checked.get_psi() == 0.9


def test_one_figure_that_is_missing_refuses_the_cycle(config, target):
    engine = build_engine(config(stale_after=0.5))
    target.silent = {"entropy"}
    time.sleep(0.6)
    engine.run_cycle()
    with pytest.raises(MeasurementError, match="entropy_rate: the query gave no sample"):
        Sensors(engine, 1, 0.0, 0).measure()


def test_what_has_no_query_is_named_and_refused(config, signers, target):
    settings = config(entropy_rate=..., loop_gain=...)
    with pytest.raises(EngineCapabilityError) as refused:
        Attunement(settings, build_engine(settings), signers)
    assert "no get_entropy_rate, so nothing can check entropy_rate" in str(refused.value)
    assert "no get_gains, so nothing can check drive and loop_gain" in str(refused.value)
    assert target.taken == []


@pytest.mark.parametrize("status", [500, 302, 404])
def test_an_alpha_that_is_not_taken_raises_and_the_kernel_puts_it_back(config, target, signers, status):
    settings = config()
    engine = build_engine(settings)
    with Attunement(settings, engine, signers) as attunement:
        target.answer_with = status
        with pytest.raises(PrometheusError, match=f"α was not taken: PUT .*: was answered with {status}"):
            engine.set_alpha_multiplier(1.01)
        assert engine.get_alpha_multiplier() == 1.0
        target.answer_with = 200
        attunement.controller.start()


def test_a_file_gets_alpha_whole_or_not_at_all(config, tmp_path):
    path = tmp_path / "alpha"
    engine = build_engine(config(apply="file", apply_path=str(path), apply_url=...))
    engine.set_alpha_multiplier(1.02)
    assert path.read_text(encoding="ascii") == "1.02\n"
    lost = build_engine(config(apply="file", apply_path=str(tmp_path / "no" / "alpha"), apply_url=...))
    with pytest.raises(PrometheusError, match=r"α was not written to .*: No such file"):
        lost.set_alpha_multiplier(1.02)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"clock": "goodput{"}, "clock: GET .*: was answered with 400"),
        ({"clock": "nothing_of_that_name"}, "clock: the query gave no sample"),
        ({"clock": "goodput[5s]"}, "clock: the answer is a matrix, must be a vector or a scalar"),
        ({"clock": "0 / vector(0)"}, "clock: the figure is NaN, must be finite"),
        ({"clock": "time() - 60"}, "s old, must be at most 0.3 s"),
        ({"clock": "time() + 60"}, "s in the future, clocks are apart"),
        ({"url": "http://127.0.0.1:1"}, "clock: GET .*ConnectionRefusedError"),
    ],
    ids=range(7),
)
def test_without_a_fresh_sample_there_is_no_cycle_and_it_is_said_why(config, changes, said):
    engine = build_engine(config(stale_after=0.3, **changes))
    heard = []
    engine.on_cycle_end(lambda: heard.append(True))
    engine.run_cycle()
    assert heard == [True]
    with pytest.raises(MeasurementError, match=said):
        Sensors(engine, 1, 0.0, 0).newest_cycle()
    with pytest.raises(PrometheusError, match="no sample has been read yet"):
        engine.sample_omega_snapshot()


@pytest.mark.parametrize(
    ("changes", "read", "said"),
    [
        (
            {"coherence": {"promql": "-goodput"}},
            "sample_omega_snapshot",
            "coherence is -9.*, must be at least 0",
        ),
        (
            {"drive": {"promql": 'drive{L!="L_mu"}'}},
            "get_gains",
            "drive has the scales .*, must have each of",
        ),
        ({"psi": {"promql": "psi[1s]"}}, "get_psi", "psi: the answer is a matrix"),
    ],
    ids=["negative", "scales", "matrix"],
)
def test_a_figure_that_cannot_be_used_is_missing(config, changes, read, said):
    engine = build_engine(config(**changes))
    engine.run_cycle()
    with pytest.raises(PrometheusError, match=said):
        getattr(engine, read)()


def test_limits_can_be_calibrated_on_it(config, monkeypatch):
    monkeypatch.setattr("attunement.calibrate._SETTLING_CYCLES", 1)
    monkeypatch.setattr("attunement.calibrate._STEP_CYCLES", 2)
    monkeypatch.setattr("attunement.calibrate._STEP_PAIRS", 1)
    baseline = calibrate(build_engine(config()), cycles=5)
    assert baseline.h_internal == pytest.approx(0.99)
    assert baseline.entropy_max >= 2 * 0.0005


@pytest.mark.parametrize("trial", [False, True], ids=["from the start", "in a trial"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_wait_for_a_cycle_at_once(config_file, target, tmp_path, monkeypatch, number, trial):
    monkeypatch.chdir(tmp_path)
    log = tmp_path / "log.ndjson"
    flags = ["logging.format=json", f"logging.file={log}", "metrics.enabled=false"]
    site = ["--config", config_file(stale_after=60.0), *(word for flag in flags for word in ("--set", flag))]
    assert _exit_code(["keys", "init", *site]) == 0
    if not trial:
        target.silent = {"goodput"}
    with subprocess.Popen([*PROGRAM, "run", "--plain", *site], stderr=subprocess.PIPE, text=True) as process:
        if trial:
            # The trial's own α is what makes the target fall silent: nobody settles it.
            wait_for(lambda: len(target.taken) >= 2, process)
            target.silent = {"goodput"}
        wait_for(lambda: log.exists() and "run started" in log.read_text(encoding="utf-8"), process)
        time.sleep(1.0)
        process.send_signal(number)
        sent_s = time.monotonic()
        said = process.communicate(timeout=50)[1]
    assert process.returncode == 0, said
    assert time.monotonic() - sent_s < 20
    assert "cycles run: stopped" in said
    assert ("0 cycles run" in said) is not trial
    if trial:
        newest = list(read_records(tmp_path / "ledger"))[-1].body
        assert (newest["event"], newest["new_alpha"]) == ("recover", 1_000_000_000)
        assert target.alpha == 1.0


def test_a_stop_is_heard_between_two_requests_of_a_cycle(config):
    stop, heard = Stop(), []

    class Slow(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            heard.append(self.path)
            stop.set()
            self.send_response(200)
            self.end_headers()
            told = {"resultType": "scalar", "result": [0, str(time.time())]}
            self.wfile.write(json.dumps({"status": "success", "data": told}).encode("ascii"))

        def log_message(self, *_):
            """Tests are quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        engine = build_engine(config(url=f"http://127.0.0.1:{server.server_port}"), stop.wait)
        told = []
        engine.on_cycle_end(lambda: told.append("cycle"))
        ending = run_cycles(engine, None, 0.0, stop)
        server.shutdown()
        thread.join()
    assert (ending.cycles, told, len(heard)) == (0, [], 1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"url": "http://127.0.0.1:1"}, "clock: GET http://127.0.0.1:1/api/v1/query: ConnectionRefusedError"),
        ({"clock": "no_such_series"}, "clock: the query gave no sample"),
        ({"entropy_rate": {"promql": "no_such_series"}}, "entropy_rate: the query gave no sample"),
        ({"coherence": {"promql": "goodput * 0"}}, "row"),
        ({"apply_url": "http://127.0.0.1:1/"}, "α was not taken: PUT http://127.0.0.1:1/"),
    ],
    ids=["url", "clock", "figure", "zero", "apply"],
)
def test_what_keeps_limits_from_being_calibrated_is_told(config_file, capsys, changes, said):
    code = _exit_code(["config", "calibrate", "--config", config_file(stale_after=0.5, **changes)])
    printed = capsys.readouterr()
    assert (code, printed.out) == (1, "")
    assert said in printed.err
    assert "Traceback" not in printed.err


def test_a_dry_run_does_not_move_a_live_system(config, target, tmp_path):
    with pytest.raises(ConfigError, match="a dry run would move a live system"):
        compare_with_hold(config(), 5, tmp_path)
    assert target.taken == []


def test_the_engine_is_the_one_of_the_configuration(config):
    settings = config()
    assert isinstance(build_engine(settings), PrometheusEngine)
    other = attrs.evolve(settings, engine=attrs.evolve(settings.engine, kind="cal"))
    assert not isinstance(build_engine(other), PrometheusEngine)
