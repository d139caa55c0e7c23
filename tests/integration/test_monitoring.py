"""Rules, alerts and dashboard, held against the real tools and a real run."""

import importlib.util
import json
import re
import subprocess

import pytest
from monitoring_bench import (
    MONITORING,
    ROOT,
    as_asked,
    dashboard,
    fetched,
    missing,
    monitored,
    wait_for,
)
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from attunement.metrics import Metrics

PAGES = ROOT / "runbooks" / "alerts"
PANEL_IDS = {
    1: "Mode",
    2: "α",
    3: "Ĉ",
    4: "Kernel proved",
    5: "Ledger writable",
    6: "Age of the reading",
    10: "α(t)",
    11: "λ(t, L)",
    12: "Ĉ(t) and its forecast",
    13: "Accepted, reverted, refused, retreated",
    14: "Gradient dJ/dα",
    15: "Mode of the kernel",
    16: "Entropy rate",
    17: "H_internal",
    18: "Loop gain",
    19: "Refusals by limit",
    20: "Optimizer in charge",
    21: "Duration of trials",
    22: "In a row",
    23: "Ledger",
}
# Counts, times, settings and ones or zeros of the exporter's own; and forecasts, which no alert speaks of.
NEVER_MEASURED = {
    *("uhes_attunement_mode", "uhes_kernel_mode", "uhes_optimizer_configured", "uhes_optimizer_in_charge"),
    *("uhes_measured", "uhes_kernel_verified", "uhes_build_info", "uhes_limit", "uhes_policy_version"),
    *("uhes_consecutive_missed_cycles", "uhes_consecutive_reverts", "uhes_settle_delay_seconds"),
    *("uhes_last_step_timestamp_seconds", "uhes_last_reading_timestamp_seconds"),
    *("uhes_forecast", "uhes_forecast_error", "uhes_forecast_rms_error", "uhes_forecast_naive_rms_error"),
    *("uhes_ledger_records", "uhes_ledger_size_bytes", "uhes_ledger_free_bytes", "uhes_ledger_writable"),
    *("uhes_ledger_synced_timestamp_seconds", "uhes_forecast_ready"),
}
needs_tools = pytest.mark.skipif(bool(missing()), reason=f"not here: {', '.join(missing())}")


def rules(name):
    document = YAML(typ="safe").load((MONITORING / name).read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def alert_names():
    return [rule["alert"] for rule in rules("alerts.yml")]


def tool(*words):
    done = subprocess.run(words, cwd=MONITORING, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def asked(panel):
    return [target["expr"] for target in panel["targets"]]


@needs_tools
def test_the_tools_accept_every_file():
    assert "18 rules found" in tool("promtool", "check", "config", "prometheus.yml") + tool(
        "promtool", "check", "rules", "--lint=all", "--lint-fatal", "alerts.yml", "recording.yml"
    )
    tool("amtool", "check-config", "alertmanager.yml")


@needs_tools
def test_every_alert_fires_when_it_should_and_not_when_it_should_not():
    assert "SUCCESS" in tool("promtool", "test", "rules", "alerts_test.yml")


def test_every_alert_has_a_case_that_fires_and_one_that_does_not():
    cases = YAML(typ="safe").load((MONITORING / "alerts_test.yml").read_text(encoding="utf-8"))["tests"]
    found = [
        (check["alertname"], bool(check["exp_alerts"])) for case in cases for check in case["alert_rule_test"]
    ]
    assert {name for name, fires in found if fires} == set(alert_names())
    assert {name for name, fires in found if not fires} == set(alert_names())


def test_a_gauge_that_is_no_number_is_noticed_whichever_it_is():
    (rule,) = (rule for rule in rules("alerts.yml") if rule["alert"] == "AttunementFigureNotANumber")
    asked_for = set(re.findall(r"(\w+) != \1", rule["expr"]))
    gauges = {family.name for family in Metrics().registry.collect() if family.type == "gauge"}
    assert {name for name in gauges if name.startswith("uhes_")} - NEVER_MEASURED == asked_for


def test_every_alert_has_its_page_and_every_page_its_alert():
    assert {page.stem for page in PAGES.glob("*.md")} == set(alert_names())
    for rule in rules("alerts.yml"):
        address = rule["annotations"]["runbook_url"]
        assert address == f"{{{{ $externalLabels.runbooks }}}}/runbooks/alerts/{rule['alert']}.md"
        assert rule["labels"]["severity"] in ("critical", "warning")
        page = (PAGES / f"{rule['alert']}.md").read_text(encoding="utf-8")
        headings = re.findall(r"^## (.+)$", page, re.MULTILINE)
        assert headings == ["Symptom", "Look", "Act", "Verify", "Undo"], rule["alert"]
        assert page.startswith(f"# {rule['alert']}\n")


def test_the_dashboard_is_what_its_program_writes():
    pytest.importorskip("grafana_foundation_sdk")
    spec = importlib.util.spec_from_file_location("make_dashboard", MONITORING / "make_dashboard.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.build() == (MONITORING / "dashboard.json").read_text(encoding="utf-8"), (
        "docs/monitoring/dashboard.json is stale: make dashboard"
    )


def test_panels_keep_their_ids_and_take_their_data_source_from_the_variable():
    panels = dashboard()["panels"]
    assert [(panel["id"], panel["title"]) for panel in panels] == list(PANEL_IDS.items())
    for panel in panels:
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert [target["refId"] for target in panel["targets"]] == ["A", "B", "C", "D"][
            : len(panel["targets"])
        ]
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
    variables = {one["name"]: one["type"] for one in dashboard()["templating"]["list"]}
    assert variables == {"datasource": "datasource", "instance": "query"}


def test_panels_do_not_overlap():
    taken = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_the_limits_are_drawn_beside_what_they_limit():
    drawn = {
        panel["id"]: [target["legendFormat"] for target in panel["targets"]]
        for panel in dashboard()["panels"]
    }
    assert "entropy_max limit" in drawn[16]
    assert "h_internal_min limit" in drawn[17]
    assert "loop_gain_max limit" in drawn[18]


@pytest.fixture(scope="module")
def storm(tmp_path_factory):
    """A run that was scraped through a storm which latched the emergency."""
    if missing():
        pytest.skip(f"not here: {', '.join(missing())}")
    with monitored(tmp_path_factory.mktemp("monitored")) as stack:
        wait_for(lambda: stack.value('uhes_kernel_mode{mode="emergency"}') == 1.0, "the storm")
        wait_for(lambda: stack.value('increase(uhes_decisions_total{verdict="latched"}[15s])'), "its record")
        yield stack


def test_the_alert_that_should_fire_is_in_the_alertmanagers_api(storm):
    def found():
        return [one for one in storm.alerts() if one["labels"]["alertname"] == "AttunementEmergency"]

    (alert,) = wait_for(found, "AttunementEmergency")
    assert alert["labels"]["severity"] == "critical"
    assert alert["labels"]["escalate"] == "ecc"
    assert alert["status"]["state"] == "active"
    assert alert["annotations"]["runbook_url"] == (
        "https://git.example.com/lambda-attunement/blob/main/runbooks/alerts/AttunementEmergency.md"
    )
    wait_for(lambda: {name for name, *_ in storm.told} >= {"pager", "ecc"}, "both receivers")
    assert ("ecc", "AttunementEmergency", "firing") in storm.told
    assert ("pager", "AttunementEmergency", "firing") in storm.told


def test_a_calm_alert_is_not_there(storm):
    names = {alert["labels"]["alertname"] for alert in storm.alerts()}
    assert not names & {"AttunementDown", "AttunementKernelUnverified", "AttunementLedgerNotWritable"}


def test_every_query_of_every_panel_returns_data(storm):
    empty = [
        (panel["title"], expression)
        for panel in dashboard()["panels"]
        for expression in asked(panel)
        if not storm.query_range(as_asked(expression), 60)
    ]
    assert empty == []


def test_every_annotation_marks_what_happened(storm):
    annotations = {one["name"]: one["expr"] for one in dashboard()["annotations"]["list"]}
    assert storm.query_range(as_asked(annotations["α changed"]), 60)
    assert storm.query_range(as_asked(annotations["latched"]), 60)


def test_the_bare_names_of_the_specification_are_recorded(storm):
    """Once latched nothing is accepted or reverted, so each rule catches up with the counter it names."""
    for name in ("uhes_alpha_accept", "uhes_alpha_revert"):
        wait_for(lambda name=name: storm.query(f"{name} == on () {name}_total"), f"{name} as counted")


def test_every_expression_of_every_rule_is_evaluated_without_an_error(storm):
    for name in ("alerts.yml", "recording.yml"):
        for rule in rules(name):
            assert isinstance(storm.query(rule["expr"]), list)
    groups = json.loads(fetched(f"{storm.prometheus}/api/v1/rules"))["data"]["groups"]
    health = {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}
    assert set(health.values()) == {"ok"}


def test_whatever_is_asked_for_is_exported(storm):
    """A name that nobody exports would make an alert that never fires and a panel that is always empty."""
    families = list(text_string_to_metric_families(storm.metrics()))
    exported = {sample.name for family in families for sample in family.samples}
    recorded = {rule["record"] for rule in rules("recording.yml")}
    expressions = [rule["expr"] for name in ("alerts.yml", "recording.yml") for rule in rules(name)]
    expressions += [expression for panel in dashboard()["panels"] for expression in asked(panel)]
    expressions += [one["expr"] for one in dashboard()["annotations"]["list"]]
    used = {name for one in expressions for name in re.findall(r"\b(?:uhes|process)[_:][\w:]+", one)}
    assert used <= exported | recorded
    values = {
        (label, value)
        for family in families
        for sample in family.samples
        for label, value in sample.labels.items()
    }
    picked = {
        pair for one in expressions for pair in re.findall(r'\b(mode|limit|figure|verdict|L)="(\w+)"', one)
    }
    assert picked <= values


def test_promtool_finds_nothing_but_the_name_that_is_argued(storm):
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=storm.metrics(), capture_output=True, text=True, check=False
    )
    assert (done.stdout + done.stderr).splitlines() == [
        "uhes_h_internal metric names should not contain abbreviated units"
    ]


def test_a_restart_is_marked_and_the_counters_begin_again(storm):
    """Last in this file: it ends the run that the others look at."""
    started = storm.value("process_start_time_seconds")
    assert storm.value("uhes_decisions_total{verdict='latched'}") == 1.0
    assert storm.stop_loop() == 0
    storm.start_loop()
    wait_for(lambda: (storm.value("process_start_time_seconds") or 0.0) > started, "the new process")
    assert storm.value("uhes_decisions_total{verdict='latched'}") == 0.0
    wait_for(lambda: storm.value('uhes_kernel_mode{mode="emergency"}') == 1.0, "the latch that was kept")
    annotations = {one["name"]: one["expr"] for one in dashboard()["annotations"]["list"]}
    assert wait_for(lambda: storm.query_range(as_asked(annotations["restarted"]), 60), "the mark")


def test_the_documented_panels_are_those_of_the_dashboard():
    text = (ROOT / "docs" / "dashboards.md").read_text(encoding="utf-8")
    shown = [json.loads(one) for one in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]
    stored = {panel["id"]: panel for panel in dashboard()["panels"]}
    assert [panel["id"] for panel in shown] == [11, 12, 14]
    assert all(panel == stored[panel["id"]] for panel in shown)
    pictures = re.findall(r"!\[.*?\]\((.+?)\)", text)
    assert len(pictures) >= 3
    assert all((ROOT / "docs" / picture).is_file() for picture in pictures)
