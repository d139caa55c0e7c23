"""What a person sees: the live screen, a line a cycle, JSON a cycle."""

import io
import json
import re
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from math import inf

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from attunement import screen as screens
from attunement.cli_watch import WatchScreen
from attunement.config_schema import Config
from attunement.order import Action, sign_order
from attunement.policy import kernel_limits
from attunement.telemetry_body import cycle_body, limits_body
from attunement.view import JsonView, LiveView, PlainView, sentence, sparkline
from kernel import Mode
from ledger.record import format_utc
from optimizers import Suggestion

BLOCKS = "▁▂▃▄▅▆▇█"
LIMITS = kernel_limits(Config())
FIGURES = st.floats(allow_nan=False, allow_infinity=False, width=32)


def terminal(width):
    return Console(
        file=io.StringIO(), record=True, force_terminal=True, width=width, height=50, color_system="truecolor"
    )


def last_screen(console):
    """What stands when all is drawn, without the earlier screens that it was drawn over."""
    return "╭─ λ" + console.export_text().rpartition("╭─ λ")[2]


def paper(width=80):
    return Console(file=io.StringIO(), width=width)


def watched(report, age_s):
    """Return the screen of somebody who is told a cycle of so many seconds ago."""
    status, console = {"run": {"pid": 1}, "limits": limits_body(LIMITS)}, terminal(60)
    told_at = format_utc(datetime.now(UTC) - timedelta(seconds=age_s))
    with WatchScreen(console, status, lambda decision: decision["verdict"]) as watching:
        watching.tell({"answer": "cycle", **cycle_body(report, told_at)})
    return last_screen(console)


def some_reports(attune, engine, optimizer, cycles, **settings):
    loop = attune(engine, optimizer, **settings)
    loop.controller.start()
    loop.engine.run(cycles)
    return loop.reports


@pytest.fixture
def reports(attune, scripted_engine, wishes):
    """A run in which everything happens: commits, probes, reverts, refusals, a miss and an emergency."""
    engine = scripted_engine(coherence=lambda alpha: alpha / 2)
    loop = attune(
        engine,
        wishes(Suggestion(1.01), Suggestion(1.0), Suggestion(1.02, probe=True), Suggestion(1.5), None),
    )
    loop.controller.start()
    engine.run(7)
    engine.entropy_rate = RuntimeError("sensor lost [bold]\n\x1b[2J \ud800 " + "x" * 2000)
    engine.run(2)
    engine.entropy_rate = 0.003
    engine.run(1)
    engine.entropy_rate = 0.5
    engine.run(2)
    assert loop.kernel.mode is Mode.EMERGENCY
    return loop.reports


@given(st.lists(FIGURES, max_size=80), FIGURES, FIGURES)
def test_a_sparkline_has_a_block_a_figure(figures, low, high):
    drawn = sparkline(figures, low, high)
    assert len(drawn) == len(figures)
    assert set(drawn) <= set(BLOCKS)


@given(st.lists(FIGURES, min_size=2, max_size=40))
def test_a_sparkline_rises_with_its_figures(figures):
    figures.sort()
    drawn = sparkline(figures, figures[0], figures[-1])
    assert list(drawn) == sorted(drawn)
    if figures[0] < figures[-1]:
        assert (drawn[0], drawn[-1]) == (BLOCKS[0], BLOCKS[-1])


def test_what_lies_outside_is_drawn_at_the_edge():
    assert sparkline([-5.0, 0.0, 0.5, 1.0, 9.0], 0.0, 1.0) == "▁▁▅██"
    assert sparkline([1.0, 1.0], 1.0, 1.0) == "▁▁"
    assert sparkline([], 0.0, 1.0) == ""


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_the_live_screen_keeps_to_the_terminal(reports, width):
    console = terminal(width)
    view = LiveView(console, LIMITS, 40)
    for report in reports:
        view.on_report(report)
    view.close()
    screen = last_screen(console)
    assert all(len(line) <= width for line in screen.splitlines())
    assert screen.count("╰") == 1


def test_the_live_screen_shows_the_figures_and_their_limits(reports):
    console = terminal(120)
    view = LiveView(console, LIMITS, 40)
    for report in reports[:7]:
        view.on_report(report)
    view.close()
    text = console.export_text()
    for shown in (
        "READY",
        "cycle 7 of 40",
        "optimizer gradient",
        "1.010000",
        "[0.8, 1.2]",
        "L_phi 0.50000",
        "0.505000",
        "≤ 0.002 a cycle",
        "≥ 0.95",
        "≤ 0.365913",
        "≤ 10",
        "committed 1  returned 1  reverted 1  refused 2",
        "settle committed (trial measured)",
        "propose refused",
        "█",
    ):
        assert shown in text, shown


def test_a_screen_that_is_told_nothing_says_so_by_itself(until, monkeypatch):
    console = terminal(40)
    screen = screens.Screen(console)
    screen.start()
    try:
        screen.show("READY", "cycle 7 of 40  optimizer gradient", Text("figures"))
        assert "SILENT" not in console.file.getvalue()
        with monkeypatch.context() as patched:
            patched.setattr(screens, "SILENT_S", 1.5)
            until(lambda: "SILENT for" in console.file.getvalue())
        screen.show("READY", "cycle 8 of 40  optimizer gradient", Text("figures"))
        assert "SILENT" not in last_screen(console)
    finally:
        screen.close()


def test_the_page_and_the_screens_call_the_same_loop_silent():
    page = (files("attunement.dashboard") / "static" / "page.js").read_text(encoding="utf-8")
    assert re.findall(r"^const SILENT_S = (\d+);$", page, re.MULTILINE) == [f"{screens.SILENT_S:.0f}"]


@pytest.mark.parametrize("age_s", [20, 90])
def test_what_a_loop_told_long_ago_is_not_shown_as_news(reports, age_s):
    screen = watched(reports[0], age_s)
    said = re.search(r"SILENT for (\d+) s  TRIAL ", screen)
    assert said is not None, screen
    assert age_s <= int(said[1]) < age_s + 15


@pytest.mark.parametrize("age_s", [0, -3600])
def test_what_a_loop_tells_now_is_news_whatever_the_clock_does(reports, age_s):
    assert "SILENT" not in watched(reports[0], age_s)


def test_the_screens_show_the_limits_that_were_adopted(attune, scripted_engine, wishes):
    loop = attune(scripted_engine(), wishes())
    loop.controller.start()
    loop.engine.run(1)
    narrower = loop.kernel.limits._replace(alpha_max=1_100_000_000, entropy_max=1_000_000)
    drafted = loop.governance.draft(Action.POLICY, tuple(narrower), "ines", "night")
    status = {"run": {"pid": 1}, "limits": limits_body(loop.kernel.limits)}
    loop.desk.submit([sign_order(loop.operator, drafted)])
    loop.engine.run(1)
    screens = terminal(120), terminal(120)
    view = LiveView(screens[0], LIMITS, None)
    with WatchScreen(screens[1], status, lambda decision: decision["verdict"]) as watching:
        for report in loop.reports:
            view.on_report(report)
            watching.tell({"answer": "cycle", **cycle_body(report)})
    view.close()
    for screen in map(last_screen, screens):
        assert "[0.8, 1.1]" in screen
        assert "≤ 0.001 a cycle" in screen


def test_the_live_screen_shows_a_missed_cycle_and_an_emergency(reports):
    console = terminal(120)
    view = LiveView(console, LIMITS, None)
    for report in reports:
        view.on_report(report)
    view.close()
    text = console.export_text()
    assert "no reading" in text
    assert "EMERGENCY" in text
    assert f"cycle {len(reports)}  optimizer" in text


def test_the_sparkline_of_a_narrow_terminal_shows_the_newest(attune, scripted_engine, wishes):
    way = [Suggestion(round(1.0 + step / 100, 9)) for step in range(1, 21)]
    engine = scripted_engine(coherence=lambda alpha: alpha / 2)
    reports = some_reports(attune, engine, wishes(*way), 40)
    console = terminal(60)
    view = LiveView(console, LIMITS, None)
    for report in reports:
        view.on_report(report)
    view.close()
    line = next(line for line in reversed(console.export_text().splitlines()) if line.startswith("│ α"))
    assert "██" in line
    assert "▅" not in line
    assert "…" not in line


def test_an_unknown_lambda_and_gradient_are_called_unknown(attune, scripted_engine, wishes):
    console = terminal(80)
    view = LiveView(console, LIMITS, None)
    for report in some_reports(attune, scripted_engine(lambda_value=inf), wishes(), 1):
        view.on_report(report)
    view.close()
    assert last_screen(console).count("unknown") == 2


def test_plain_is_a_line_a_cycle_whatever_was_said(reports):
    console = paper()
    view = PlainView(console)
    for report in reports:
        view.on_report(report)
    view.close()
    lines = console.file.getvalue().splitlines()
    assert len(lines) == len(reports)
    assert all(line.isprintable() for line in lines)
    assert lines[0] == (
        "cycle 1 alpha 1.000000000 C 0.500000 entropy 0.000000 H 1.000000 trial "
        "propose accepted α 1.000000 → 1.010000 (gradient step)"
    )
    assert "settle committed (trial measured)" in lines[1]
    assert " no reading ready" in lines[7]
    assert "entropy_rate is 0.5, must lie in [0, 0.002]" in lines[-2]


def test_plain_says_nothing_of_a_calm_cycle(attune, scripted_engine, wishes):
    console = paper()
    for report in some_reports(attune, scripted_engine(), wishes(), 1):
        PlainView(console).on_report(report)
    assert console.file.getvalue() == (
        "cycle 1 alpha 1.000000000 C 0.500000 entropy 0.000000 H 1.000000 ready\n"
    )


def test_json_is_an_object_a_line(reports):
    console = paper(width=40)
    view = JsonView(console)
    for report in reports:
        view.on_report(report)
    view.close()
    lines = [json.loads(line) for line in console.file.getvalue().splitlines()]
    assert len(lines) == len(reports)
    decisions = lines[0].pop("decisions")
    assert lines[0].pop("time").endswith("Z")
    assert lines[0] == {
        "cycle": 1,
        "alpha": 1.01,
        "good": 1.0,
        "lambda": {"L_mu": 0.5, "L_phi": 0.5, "L_Phi": 0.5},
        "C_hat": pytest.approx(0.5),
        "objective": pytest.approx(0.5),
        "entropy_rate": 0.0,
        "h_internal": 1.0,
        "measured_alpha": 1.0,
        "drive": 0.1,
        "loop_gain": 0.2,
        "C_gradient": None,
        "mode": "trial",
        "resume": "ready",
        "optimizer": "gradient",
        "reverts": 0,
        "missed": 0,
        "policy": 1,
    }
    assert [(one["event"], one["verdict"], one["reason"], one["broken"]) for one in decisions] == [
        ("observe", "held", "cycle observed", []),
        ("propose", "accepted", "gradient step", []),
    ]
    assert lines[7]["C_hat"] is None
    assert lines[7]["lambda"] == {}
    assert lines[-1]["mode"] == "emergency"


def test_a_sentence_tells_the_move_and_all_that_is_broken(reports):
    entries = [entry for report in reports for entry in report.entries]
    accepted = next(entry for entry in entries if entry.verdict.outcome.value == "accepted")
    assert sentence(accepted) == "propose accepted α 1.000000 → 1.010000 (gradient step)"
    refused = next(entry for entry in entries if entry.verdict.outcome.value == "refused")
    assert sentence(refused) == (
        "propose refused (gradient step): alpha is 1.5, must lie in [0.8, 1.2]; "
        "alpha_delta is 0.49, must lie in [-0.02, 0.02]"
    )


def test_a_report_is_a_value(reports):
    assert attrs.evolve(reports[0]) == reports[0]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        reports[0].optimizer_mode = "pid"
