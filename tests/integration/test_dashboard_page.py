"""The page in a real browser: calm, shock, emergency, approve; hostile text, keyboard, phone."""

import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from attunement.control import LoopTelemetry, controlled
from attunement.dashboard import app as dashboard
from attunement.dashboard.feed import Feed
from attunement.order import Action, sign_order
from kernel import Mode
from optimizers.protocol import Suggestion

CHROMIUM = Path("/usr/bin/chromium")
TOKEN = "correct horse battery staple"
HISTORY = "**/api/overview?cycles=1200"
EVENTS = "**/api/events"

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's chromium")


@pytest.fixture(scope="module")
def browser():
    sync_api.expect.set_options(timeout=20_000)
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def visit(browser):
    """Return a function that opens a page; at the end its console must have been silent."""
    said, contexts = [], []

    def make(served, width=1280, height=900, *, has_charts=False, routes=None, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        if not has_charts:
            # Its script takes longer to run than all the rest together.
            script = "text/javascript"
            page.route("**/static/plotly.js", lambda route: route.fulfill(body="", content_type=script))
        for path, handler in (routes or {}).items():
            page.route(path, handler)
        page.goto(served.url)
        page.wait_for_selector("#mode[data-ready]")
        return page

    yield make
    for context in contexts:
        context.close()
    # The browser itself logs an answer that says no; everything else would be the page's own.
    assert [line for line in said if "401 (Unauthorized)" not in line] == []


@contextmanager
def running(loop):
    stop = threading.Event()

    def run():
        while not stop.is_set():
            loop.engine.run(1)
            stop.wait(0.02)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def comes(page, is_so):
    for _ in range(200):
        if is_so():
            return
        page.wait_for_timeout(50)
    raise AssertionError("it did not come in time")


def shows(page, selector, text):
    sync_api.expect(page.locator(selector)).to_contain_text(text, timeout=20_000)


def told_by_now(served):
    """Return the source of what the page's server tells, and the newest cycle that its events told."""
    told = served.ask("/api/overview?cycles=1")[1]
    return told["source"], told["cycles"][-1]["cycle"] if told["cycles"] else None


def broken_limits(page, cycle):
    """Return the numbers and the names in the chart of broken limits, once it has this cycle."""
    page.locator("#chart-refusals").scroll_into_view_if_needed()
    page.wait_for_selector(f"#chart-refusals[data-cycle='{cycle}'] .bartext")
    return page.locator("#chart-refusals").locator(".bartext, .ytick text").all_text_contents()


def test_calm_shows_what_alpha_does_and_why(beside_loop, visit):
    served = beside_loop(Suggestion(1.01), Suggestion(1.02, probe=True))
    served.loop.engine.run(6)
    page = visit(served, has_charts=True)
    shows(page, "#mode", "READY")
    shows(page, "#source", "live, cycle 6")
    shows(page, "#alpha", "1.010000")
    shows(page, "#why", "Committed")
    shows(page, "#tiles", "≤ 0.002 per cycle")
    for chart in ("alpha", "coherence", "lambda", "modes", "timeline", "entropy", "agreement"):
        page.locator(f"#chart-{chart}").scroll_into_view_if_needed()
        page.wait_for_selector(f"#chart-{chart} .main-svg")
        assert page.locator(f"#chart-{chart}").get_attribute("aria-label")
    shows(page, "#chart-gradient", "No estimate of the gradient yet")
    shows(page, "#chart-refusals", "No limit was broken")
    served.loop.engine.run(1)
    page.wait_for_selector("#alpha[data-cycle='7']")
    shows(page, "#source", "live, cycle 7")
    page.wait_for_selector("#chart-agreement[data-cycle='7']")
    assert page.title() == "READY α 1.0100"


def test_a_shock_names_the_limit_and_an_emergency_the_way_out(beside_loop, visit):
    served = beside_loop()
    engine = served.loop.engine
    engine.run(3)
    page = visit(served)
    engine.h_internal = 0.9
    engine.run(1)
    shows(page, "#why", "Retreated")
    shows(page, "#why-broken", "h_internal is 0.9, must lie in [0.95, 1]")
    assert "broken" in page.locator("#tiles div", has_text="H_internal").get_attribute("class")
    engine.h_internal = 0.5
    engine.run(1)
    shows(page, "#mode", "EMERGENCY")
    shows(page, "#next-step", "Only a signed approval")
    shows(page, "#why-broken", "h_internal_severe is 0.5")
    assert page.locator("input[value=approve]").is_checked()
    shows(page, "#commands", "order make approve")


def test_an_answer_that_is_older_than_the_events_takes_nothing_back(beside_loop, visit):
    served = beside_loop()
    engine = served.loop.engine
    engine.run(3)
    held = []
    page = visit(served, has_charts=True, routes={HISTORY: lambda route: held.append(route)})
    comes(page, lambda: held)
    route, answer = held[0], held[0].fetch()
    engine.h_internal = 0.9
    engine.run(1)
    shows(page, "#why-broken", "h_internal is 0.9")
    with page.expect_response(HISTORY):
        route.fulfill(response=answer)
    page.locator("#chart-alpha").scroll_into_view_if_needed()
    page.wait_for_selector("#chart-alpha[data-cycle='4']")
    shows(page, "#source", "live, cycle 4")
    shows(page, "#why-broken", "h_internal is 0.9")
    assert broken_limits(page, 4) == ["1", "h_internal"]


def test_a_cycle_that_the_status_told_before_the_events_is_counted_once(
    beside_loop, visit, until, monkeypatch
):
    is_let_through, take = threading.Event(), Feed._take

    def take_late(feed, cycles):
        assert cycles[0]["cycle"] != 3 or is_let_through.wait(20)
        take(feed, cycles)

    monkeypatch.setattr(Feed, "_take", take_late)
    served = beside_loop()
    engine = served.loop.engine
    engine.run(2)
    until(lambda: told_by_now(served) == ("loop", 2))
    engine.h_internal = 0.9
    engine.run(1)
    page = visit(served, has_charts=True)
    shows(page, "#source", "live, cycle 3")
    shows(page, "#chart-grid", "Limits that were broken")
    is_let_through.set()
    assert broken_limits(page, 3) == ["1", "h_internal"]
    engine.run(1)
    assert broken_limits(page, 4) == ["2", "h_internal"]


def test_a_cycle_that_the_history_told_before_the_events_is_shown(beside_loop, visit, until, monkeypatch):
    served = beside_loop()
    engine = served.loop.engine
    engine.run(2)
    until(lambda: told_by_now(served) == ("loop", 2))
    held = []
    page = visit(served, routes={HISTORY: lambda route: held.append(route)})
    shows(page, "#source", "live, cycle 2")
    comes(page, lambda: held)
    monkeypatch.setattr(dashboard, "BATCH_S", 1.0)
    engine.h_internal = 0.9
    engine.run(1)
    until(lambda: told_by_now(served) == ("loop", 3))
    held[0].continue_()
    shows(page, "#source", "live, cycle 3")
    shows(page, "#why-broken", "h_internal is 0.9")
    assert "BROKEN" in page.locator("#tiles div", has_text="H_internal").inner_text()


def test_no_answer_takes_back_what_a_newer_one_told(
    attune, scripted_engine, wishes, serve_page, visit, until, tmp_path
):
    telemetry, path = LoopTelemetry("ledger", True, "wishes"), tmp_path / "loop.sock"
    loop = attune(scripted_engine(), wishes(), subscribers=(telemetry,))
    loop.controller.start()
    served = serve_page(loop.path, path)
    held = []
    with controlled(path, telemetry, loop.kernel, loop.desk):
        loop.engine.run(3)
        until(lambda: told_by_now(served) == ("loop", 3))
        page = visit(served, routes={HISTORY: lambda route: held.append(route)})
        shows(page, "#source", "live, cycle 3")
        comes(page, lambda: held)
        answer = held[0].fetch()
    until(lambda: told_by_now(served)[0] == "ledger")
    # Time enough for the page to hear of it, and to ask.
    page.wait_for_timeout(500)
    held[0].fulfill(response=answer)
    shows(page, "#source", "no loop runs")
    page.wait_for_timeout(500)
    shows(page, "#source", "no loop runs")


def test_events_that_are_away_are_said_to_be_and_what_they_missed_is_shown(beside_loop, visit, until):
    served = beside_loop()
    served.loop.engine.run(2)
    until(lambda: told_by_now(served) == ("loop", 2))
    streams = []

    def end_the_first(route):
        streams.append(route)
        if len(streams) == 1:
            route.fulfill(body="retry: 100\n\n", content_type="text/event-stream")

    page = visit(served, routes={EVENTS: end_the_first})
    page.wait_for_selector("#chart-alpha", state="attached")
    comes(page, lambda: len(streams) == 2)
    served.loop.engine.run(1)
    until(lambda: told_by_now(served) == ("loop", 3))
    shows(page, "#source", "the page's server is away")
    # By then those who listened have been told, and the page has shown itself anew.
    page.wait_for_timeout(1_500)
    shows(page, "#source", "the page's server is away")
    streams[1].continue_()
    shows(page, "#source", "live, cycle 3")


def test_limits_that_are_adopted_are_the_ones_shown(beside_loop, visit):
    served = beside_loop()
    loop = served.loop
    loop.engine.run(2)
    page = visit(served)
    shows(page, "#tiles", "≤ 0.002 per cycle")
    shows(page, "#alpha-max", "1.2 max")
    narrower = loop.kernel.limits._replace(alpha_max=1_100_000_000, entropy_max=1_000_000)
    drafted = loop.governance.draft(Action.POLICY, tuple(narrower), "ines", "night")
    loop.desk.submit([sign_order(loop.operator, drafted)])
    loop.engine.run(1)
    shows(page, "#source", "live, cycle 3")
    shows(page, "#tiles", "≤ 0.001 per cycle")
    shows(page, "#alpha-max", "1.1 max")


def test_an_emergency_is_left_by_a_signed_order_pasted(beside_loop, visit):
    served = beside_loop()
    loop = served.loop
    loop.engine.run(1)
    loop.engine.h_internal = 0.5
    loop.engine.run(1)
    loop.engine.h_internal = 1.0
    loop.engine.run(1)
    page = visit(served)
    shows(page, "#mode", "EMERGENCY")
    page.fill("[name=actor]", "ines")
    page.fill("[name=reason]", "it's healed; $(reboot)")
    shows(page, "#commands", "--actor 'ines' --reason 'it'\\''s healed; $(reboot)' --out approve.json")
    drafted = loop.governance.draft(Action.APPROVE, (), "ines", "healed")
    with running(loop):
        page.fill("#order", drafted.encode())
        page.fill("#token", "not the token, of course")
        page.click("#hand-in")
        shows(page, "#order-answer", "the token is not the right one")
        page.fill("#token", TOKEN)
        page.click("#hand-in")
        shows(page, "#order-answer", "0 of 1 operators are for it")
        page.fill("#order", sign_order(loop.operator, drafted).encode() + "\n")
        page.click("#hand-in")
        shows(page, "#order-answer", "done: approved")
        shows(page, "#mode", "READY")
        freeze = sign_order(loop.operator, loop.governance.draft(Action.FREEZE, (), "ines", "drill"))
        page.fill("#order", freeze.encode())
        page.click("#hand-in")
        shows(page, "#mode", "FROZEN")
    assert loop.kernel.mode is Mode.FROZEN


def test_without_a_token_the_page_hands_nothing_in(beside_loop, visit):
    served = beside_loop(token=None)
    served.loop.engine.run(1)
    page = visit(served)
    assert page.locator("#hand-in").is_disabled()
    shows(page, "#actions-hint", "read-only")


def test_what_if_is_judged_and_nothing_happens(beside_loop, visit):
    served = beside_loop()
    served.loop.engine.run(2)
    page = visit(served)
    sync_api.expect(page.locator("#what-if-alpha")).to_have_value("1.0100")
    served.loop.engine.h_internal = 0.9
    served.loop.engine.run(1)
    served.loop.engine.h_internal = 1.0
    served.loop.engine.run(1)
    sync_api.expect(page.locator("#what-if-alpha")).to_have_value("0.9900")
    page.focus("#what-if-alpha")
    page.click("#what-if-form button")
    shows(page, "#what-if-verdict", "Would be accepted")
    page.fill("#what-if-alpha", "1.5")
    page.keyboard.press("Enter")
    shows(page, "#what-if-verdict", "Would be refused")
    first = page.locator("#what-if-checks tbody tr").first
    sync_api.expect(first).to_contain_text("BROKEN")
    assert served.loop.kernel.alpha == 0.98


def test_hostile_words_are_words(beside_loop, visit):
    served = beside_loop()
    served.loop.engine.run(1)
    actor = "<img src=x onerror=alert(1)>"
    served.loop.controller.freeze(actor, '"></td><script>alert(2)</script><style>*{display:none}</style>')
    served.loop.engine.run(1)
    page = visit(served)
    shows(page, "#why", actor)
    shows(page, "#records", "</td><script>alert(2)")
    page.click("#records button >> nth=0")
    shows(page, "#explanation-lines", actor)
    page.keyboard.press("Escape")
    page.fill("[name=reason]", actor)
    shows(page, "#commands", actor)
    assert page.locator("img, td script, style").count() == 0


def test_the_ledger_is_searched_paged_and_explained_by_keyboard(beside_loop, visit):
    served = beside_loop(*[Suggestion(1.5)] * 40)
    served.loop.engine.run(42)
    page = visit(served)
    shows(page, "#ledger-count", "42 records")
    assert page.locator("#records tbody tr").count() == 25
    page.focus("#older")
    page.keyboard.press("Enter")
    sync_api.expect(page.locator("#records tbody tr")).to_have_count(17)
    page.click("#newer")
    sync_api.expect(page.locator("#records tbody tr")).to_have_count(25)
    page.select_option("#ledger-form [name=event]", "start")
    sync_api.expect(page.locator("#records tbody tr")).to_have_count(1)
    page.select_option("#ledger-form [name=event]", "")
    page.fill("#ledger-form [name=before]", "9")
    sync_api.expect(page.locator("#records tbody tr")).to_have_count(10)
    page.focus("#records button >> nth=0")
    page.keyboard.press("Enter")
    shows(page, "#explanation-title", "Record 9")
    shows(page, "#explanation-lines", "alpha is 1.500000000, must lie in [0.800000000, 1.200000000]")
    shows(page, "#explanation-checks", "BROKEN")
    page.keyboard.press("Escape")
    assert not page.locator("#explanation").is_visible()
    assert page.evaluate("document.activeElement.textContent") == "9"


def test_answers_that_come_in_another_order_are_not_taken_for_each_other(beside_loop, visit):
    served = beside_loop(*[Suggestion(1.5)] * 60)
    served.loop.engine.run(62)
    held = []
    page = visit(served, routes={"**/api/ledger/9": lambda route: held.append(route)})
    shows(page, "#ledger-count", "62 records")
    page.fill("#ledger-form [name=before]", "9")
    sync_api.expect(page.locator("#records tbody tr")).to_have_count(10)
    page.click("[aria-label='Explain record 9']")
    page.click("[aria-label='Explain record 8']")
    shows(page, "#explanation-record", '"seq": 8')
    answer = held[0].fetch()
    with page.expect_response("**/api/ledger/9"):
        held[0].fulfill(response=answer)
    page.wait_for_timeout(300)
    shows(page, "#explanation-title", "Record 8")
    shows(page, "#explanation-record", '"seq": 8')
    page.keyboard.press("Escape")
    page.fill("#ledger-form [name=before]", "")
    shows(page, "#ledger-note", "25 shown")
    shows(page, "#records tbody tr >> nth=0", "61")
    pages = []
    page.route("**/api/ledger?*before=37*", lambda route: pages.append(route))
    page.dblclick("#older")
    comes(page, lambda: pages)
    page.unroute("**/api/ledger?*before=37*")
    pages[0].continue_()
    shows(page, "#records tbody tr >> nth=0", "36")
    page.click("#newer")
    shows(page, "#records tbody tr >> nth=0", "61")


def test_a_record_that_cannot_be_explained_shows_nothing_of_another(beside_loop, visit):
    served = beside_loop(Suggestion(1.5))
    served.loop.engine.run(2)
    page = visit(served, routes={"**/api/ledger/1": lambda route: route.fulfill(body="no answer")})
    page.click("[aria-label='Explain record 2']")
    shows(page, "#explanation-checks", "BROKEN")
    page.keyboard.press("Escape")
    page.click("[aria-label='Explain record 1']")
    shows(page, "#explanation-title", "Record 1")
    shows(page, "#explanation-lines", "not valid JSON")
    assert not page.locator("#explanation-checks").is_visible()
    assert page.locator("#explanation-record").text_content() == ""


def test_everything_has_a_name_that_can_be_read_out(beside_loop, visit):
    served = beside_loop()
    served.loop.engine.run(2)
    page = visit(served)
    page.wait_for_selector("#records tbody tr")
    for kind in ("button", "textbox", "combobox", "spinbutton", "radio", "searchbox"):
        for found in page.get_by_role(kind).all():
            name = found.evaluate(
                "one => one.getAttribute('aria-label') || one.textContent || one.labels?.[0]?.textContent"
            )
            assert (name or "").strip(), found.evaluate("one => one.outerHTML")
    assert page.locator("#why").get_attribute("aria-live") == "polite"
    assert page.locator("h1").count() == 1
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the ledger"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_without_scrolling_sideways(beside_loop, visit, scheme):
    served = beside_loop(Suggestion(1.01))
    served.loop.engine.run(4)
    page = visit(served, 390, 844, has_charts=scheme == "dark", color_scheme=scheme)
    page.wait_for_selector("#records tbody tr")
    assert page.locator("#doing").bounding_box()["y"] < 844
    if scheme == "dark":
        page.locator("#chart-alpha").scroll_into_view_if_needed()
        page.wait_for_selector("#chart-alpha .main-svg")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(246, 247, 249)") == (scheme == "light")


def test_a_finished_ledger_is_shown_as_one(attune, scripted_engine, wishes, serve_page, visit):
    loop = attune(scripted_engine(), wishes(Suggestion(1.01), Suggestion(1.5)))
    loop.controller.start()
    loop.engine.run(4)
    served = serve_page(loop.path, loop.path.with_name("nobody.sock"), token=None)
    page = visit(served)
    shows(page, "#source", "no loop runs")
    shows(page, "#alpha", "1.010000")
    shows(page, "#why", "Refused")
    shows(page, "#tiles", "objective J")


def test_a_silent_loop_is_said_to_be_silent(beside_loop, visit):
    served = beside_loop()
    served.loop.engine.run(2)
    page = visit(served)
    shows(page, "#mode", "READY")
    page.clock.install()
    page.clock.fast_forward(20_000)
    page.reload()
    page.wait_for_selector("#mode[data-ready]")
    page.clock.fast_forward(60_000)
    shows(page, "#mode", "SILENT")
    shows(page, "#next-step", "The loop is silent")
