"""The page's HTTP: what it tells, what it takes, and from whom."""

import asyncio
import http.client
import json
import os
import shutil
import signal
import socket
import threading
import urllib.request

import pytest

from attunement.cli import _exit_code
from attunement.config_schema import Config, ConfigError
from attunement.control import LoopTelemetry, controlled
from attunement.control_protocol import HISTORY_MAX
from attunement.dashboard import app as dashboard
from attunement.dashboard import journal_index
from attunement.dashboard.feed import Feed
from attunement.dashboard.guard import hosts_of, read_token
from attunement.dashboard.journal_index import JournalIndex, Query
from attunement.explain import RECENT
from attunement.journal import Journal, figures_body
from attunement.order import Action, sign_order
from attunement.policy import kernel_limits
from kernel import Mode, SafetyKernel
from ledger import Ledger, LedgerReadError, read_records
from ledger.chain import journal_path
from optimizers.protocol import Suggestion


def signed(loop, action, *subject):
    return sign_order(loop.operator, loop.governance.draft(action, subject, "ines", "drill"))


def live(served, until):
    until(lambda: served.ask("/api/overview?cycles=999")[1]["source"] == "loop")
    return served.ask("/api/overview?cycles=999")[1]


def next_event(events):
    """Return the kind and the data of the next event of a stream."""
    kind = next(line for line in events if line.startswith(b"event: "))
    data = events.readline()
    return kind.removeprefix(b"event: ").strip(), json.loads(data.removeprefix(b"data: "))


def running(loop):
    """Run the loop's engine in the background until the event that is returned is set."""
    stop = threading.Event()

    def run():
        while not stop.is_set():
            loop.engine.run(1)
            stop.wait(0.01)

    thread = threading.Thread(target=run)
    thread.start()
    return lambda: (stop.set(), thread.join())


def test_the_overview_beside_a_loop_is_the_loops_own(beside_loop, until):
    served = beside_loop(Suggestion(1.01))
    served.loop.engine.run(3)
    told = live(served, until)
    assert (told["status"]["latest"]["cycle"], told["status"]["latest"]["alpha"]) == (3, 1.01)
    until(lambda: len(served.ask("/api/overview?cycles=999")[1]["cycles"]) == 3)
    assert told["is_read_only"] is False
    assert told["config"] == "site.yaml"
    assert told["records"] == 4


def test_the_overview_of_a_finished_ledger_is_its_decisions(attune, scripted_engine, wishes, serve_page):
    loop = attune(scripted_engine(), wishes(Suggestion(1.01), Suggestion(1.5)))
    loop.controller.start()
    loop.engine.run(4)
    served = serve_page(loop.path, loop.path.with_name("nobody.sock"), token=None)
    told = served.ask("/api/overview?cycles=999")[1]
    assert (told["source"], told["is_read_only"]) == ("ledger", True)
    assert told["status"]["limits"]["alpha_max"] == 1.2
    assert told["status"]["latest"]["alpha"] == 1.01
    assert told["status"]["outcomes"] == {"started": 1, "accepted": 1, "committed": 1, "refused": 1}
    assert told["status"]["last_decision"]["seq"] == 4
    assert [one["cycle"] for one in told["cycles"]] == [0, 1, 2, 2]
    judged = served.ask("/api/what_if?alpha=1.02")[1]
    assert judged["is_accepted"]
    assert served.ask("/api/what_if?alpha=1e400")[0] == 409
    assert served.ask("/api/what_if?alpha=1&by=anybody")[0] == 409
    status, said, _ = served.ask("/api/order", {"order": "x"}, {"Origin": served.url})
    assert (status, said["code"]) == (403, "read_only")


def test_a_ledger_without_a_reading_has_nothing_to_judge_on(attune, scripted_engine, wishes, serve_page):
    loop = attune(scripted_engine(), wishes())
    served = serve_page(loop.path, loop.path.with_name("nobody.sock"))
    status, said, _ = served.ask("/api/what_if?alpha=1")
    assert (status, "no reading to judge on" in said["error"]) == (409, True)
    status, said, _ = served.ask("/api/what_if?alpha=much")
    assert (status, said["error"]) == (400, "alpha is no number")
    status, said = served.hand_in(signed(loop, Action.FREEZE))
    assert (status, said["code"]) == (503, "no_loop")
    assert "`run --order`" in said["error"]


def test_the_page_turns_to_the_ledger_when_the_loop_ends_and_back(
    attune, scripted_engine, wishes, serve_page, until, tmp_path
):
    telemetry, path = LoopTelemetry("ledger", True, "wishes"), tmp_path / "loop.sock"
    loop = attune(scripted_engine(), wishes(Suggestion(1.01)), subscribers=(telemetry,))
    loop.controller.start()
    served = serve_page(loop.path, path)
    with controlled(path, telemetry, loop.kernel, loop.desk):
        loop.engine.run(3)
        live(served, until)
    until(lambda: served.ask("/api/overview?cycles=999")[1]["source"] == "ledger")
    told = served.ask("/api/overview?cycles=999")[1]
    assert [one["cycle"] for one in told["cycles"]] == [0, 1, 2]
    assert told["status"]["age_s"] is None
    with controlled(path, telemetry, loop.kernel, loop.desk):
        assert live(served, until)["status"]["latest"]["cycle"] == 3


def test_new_cycles_come_as_events(beside_loop, until):
    served = beside_loop(Suggestion(1.01))
    served.loop.engine.run(2)
    live(served, until)
    with urllib.request.urlopen(f"{served.url}/api/events", timeout=20) as events:
        assert events.readline() == b"retry: 1000\n"
        seen, cycle = [], 2
        while len(seen) < 3:
            cycle += 1
            served.loop.engine.run(1)
            kind, data = next_event(events)
            if kind == b"cycles":
                seen += [one["cycle"] for one in data]
            else:
                # That the loop is now the source. The cycles of that moment are in the overview alone, for
                # which the page asks now.
                until(lambda: live(served, until)["cycles"][-1]["cycle"] == cycle)  # noqa: B023
        assert seen == sorted(set(seen))
    for alpha in ("nan", "1e400"):
        status, told, _ = served.ask(f"/api/what_if?alpha={alpha}")
        assert (status, "must be a finite number" in str(told)) == (409, True)
    status, told, _ = served.ask("/api/what_if?alpha=1.02&by=operator")
    assert (status, told["is_accepted"]) == (200, True)


def test_the_ledger_is_paged_searched_and_explained(beside_loop):
    served = beside_loop(Suggestion(1.01), Suggestion(1.5), Suggestion(1.02, probe=True))
    served.loop.engine.run(8)
    served.loop.controller.freeze("Ærøskøbing", 'a "quoted" reason, with a comma')
    first = served.ask("/api/ledger?count=3")[1]
    assert [int(row[0]) for row in first["rows"]] == [7, 6, 5]
    second = served.ask(f"/api/ledger?count=3&before={first['before']}")[1]
    assert [int(row[0]) for row in second["rows"]] == [4, 3, 2]
    rest = served.ask(f"/api/ledger?before={second['before']}&count=x")[1]
    assert ([int(row[0]) for row in rest["rows"]], rest["before"]) == ([1, 0], None)
    for wanted, found in (
        ("verdict=refused", [4]),
        ("event=freeze", [7]),
        ("event=propose&verdict=accepted", [5, 2]),
        ("actor=%C3%86r%C3%B8sk%C3%B8bing", [7]),
        ("text=%C3%A6R%C3%98", [7]),
        ("text=%22QUOTED%22", [7]),
        ("text=reason,%20with", [7]),
        ("text=ALPHA_DELTA", [4]),
        ("text=1.02000", [6, 5]),
        ("text=nothing+like+it", []),
    ):
        assert [int(row[0]) for row in served.ask(f"/api/ledger?{wanted}")[1]["rows"]] == found, wanted
    told = served.ask("/api/ledger/4")[1]
    assert told["mismatches"] == []
    assert any("alpha_delta" in line for line in told["lines"])
    broken = [check for check in told["checks"] if not check["holds"]]
    assert {check["name"] for check in broken} == {"alpha", "alpha_delta"}
    assert told["record"]["body"]["verdict"] == "refused"
    assert served.ask("/api/ledger/0")[1]["checks"] == []
    assert served.ask("/api/ledger/99")[0] == 404
    assert served.ask("/api/ledger/x")[0] == 404


@pytest.mark.parametrize(
    "number", ["9" * 18, "9" * 19, "9" * 5000, "-1", "1.0", "%C2%B2", "%D9%A3" * 9], ids=range(7)
)
def test_a_number_that_counts_nothing_is_no_fault_of_the_page(beside_loop, capfd, number):
    served = beside_loop(Suggestion(1.01))
    served.loop.engine.run(3)
    assert served.ask(f"/api/ledger/{number}")[0] == 404
    for query in ("ledger?before=", "ledger?count=", "overview?cycles="):
        assert served.ask(f"/api/{query}{number}")[0] == 200
    assert served.ask(f"/api/what_if?alpha={number}")[0] in (200, 400, 409)
    assert "Traceback" not in "".join(capfd.readouterr())


def test_an_order_is_handed_in_and_its_signatures_decide(beside_loop, until):
    served = beside_loop()
    loop = served.loop
    loop.engine.run(1)
    live(served, until)
    end = running(loop)
    try:
        nobody = loop.governance.draft(Action.FREEZE, (), "mallory", "because")
        status, told = served.hand_in(nobody)
        assert (status, told["state"]) == (200, "refused")
        status, told = served.hand_in(signed(loop, Action.FREEZE))
        assert (status, told["state"], told["said"]) == (200, "done", ["frozen"])
        assert loop.kernel.mode is Mode.FROZEN
        assert served.hand_in(signed(loop, Action.UNFREEZE))[1]["state"] == "done"
    finally:
        end()
    for text in ("", "{}", "x" * 70_000):
        status, told = served.hand_in(text)
        assert (status, told["code"]) == (400, "malformed")
    for body in (b"", b"[]", b"[" * 5000, b"\xff", b'"x"'):
        headers = {"X-Attunement-Token": "correct horse battery staple", "Origin": served.url}
        assert served.ask("/api/order", body, headers)[0] == 400


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Origin": "http://evil.example"}, 403, "origin"),
        ({"Origin": "null"}, 403, "origin"),
        ({"Origin": ""}, 403, "origin"),
        ({"X-Attunement-Token": ""}, 401, "token"),
        ({"X-Attunement-Token": "correct horse battery stapl"}, 401, "token"),
        ({"X-Attunement-Token": "correct horse battery staple2"}, 401, "token"),
        ({"Host": "evil.example"}, 421, "host"),
        ({"Host": "127.0.0.1.evil.example"}, 421, "host"),
    ],
)
def test_who_is_not_the_page_hands_nothing_in(beside_loop, headers, status, code):
    served = beside_loop()
    served.loop.engine.run(1)
    found, told = served.hand_in(signed(served.loop, Action.FREEZE), **headers)
    assert (found, told["code"]) == (status, code)
    assert served.loop.desk.waiting == 0


def test_a_name_that_was_rebound_sees_nothing_at_all(beside_loop):
    served = beside_loop()
    for host in ("attacker.example", f"attacker.example:{served.port}", "", "[::1]", "localhost:x"):
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
        connection.putrequest("GET", "/api/overview", skip_host=True)
        connection.putheader("Host", host)
        connection.endheaders()
        assert connection.getresponse().status == 421, host
        connection.close()
    assert served.ask("/", headers={"Host": "LOCALHOST:1234"})[0] == 200


def test_every_answer_has_the_headers_and_no_script_is_inline(beside_loop):
    served = beside_loop()
    for path in ("/", "/static/page.css", "/api/overview", "/nowhere", "/api/ledger/9"):
        headers = served.ask(path)[2]
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "server" not in headers
    page = served.ask("/")[1]
    assert "<script>" not in page
    assert "style=" not in page
    assert " on" not in page.replace(" one", "").split("<body>")[0]
    assert served.ask("/static/plotly.js")[2]["cache-control"] == "max-age=86400"
    assert served.ask("/static/../app.py")[0] == 404


def test_a_viewer_too_many_is_turned_away(beside_loop, monkeypatch):
    monkeypatch.setattr(dashboard, "VIEWERS_MAX", 0)
    assert beside_loop().ask("/api/events")[0] == 503


def test_a_stream_without_news_says_that_it_lives(beside_loop, monkeypatch):
    monkeypatch.setattr(dashboard, "KEEPALIVE_S", 0.05)
    served = beside_loop()
    with urllib.request.urlopen(f"{served.url}/api/events", timeout=20) as events:
        lines = {events.readline() for _ in range(12)}
    assert b": still here\n" in lines


def test_a_viewer_who_does_not_read_is_told_to_begin_anew(monkeypatch):
    monkeypatch.setattr(dashboard, "QUEUE_MAX", 2)
    monkeypatch.setattr(dashboard, "BATCH_S", 0.0)

    async def watch():
        viewers = dashboard.Viewers()
        viewers.tell([{"cycle": 0}])
        viewers.open()
        async with viewers.watching() as lazy, viewers.watching() as keen:
            seen = []
            for cycle in range(1, 5):
                viewers.tell([{"cycle": cycle}])
                seen.append(await asyncio.wait_for(keen.get(), 10))
            viewers.end()
            return seen, [lazy.get_nowait() for _ in range(lazy.qsize())]

    seen, left = asyncio.run(watch())
    assert [json.loads(event.split(b"data: ")[1])[0]["cycle"] for event in seen] == [1, 2, 3, 4]
    assert left[0].startswith(b"event: resync")
    assert len(left) == 2


def test_an_index_follows_a_writer(tmp_path, signers, monkeypatch):
    monkeypatch.setattr(journal_index, "_BLOCK_BYTES", 4096)
    folder = tmp_path / "ledger"
    with Ledger.open(folder, signers, sync=lambda descriptor: None) as ledger:
        index = JournalIndex(folder)
        assert len(index) == 1
        for number in range(40):
            ledger.append({"event": "note", "actor": "ines", "reason": f"number {number} " + "x" * 300})
        assert index.refresh() == 41
        assert len(index) == 41
        page = index.page(Query(text="number 7 "), None, 10)
        assert [record.body["reason"][:9] for record in page.records] == ["number 7 "]
        page = index.page(Query(), 0, 10)
        assert page.records == ()
        assert index.page(Query(text="x"), None, 10, budget_s=-1.0).before == 41
        assert Query().is_empty
        assert index.limits_before(41) is None
        for wrong in (-1, 41):
            with pytest.raises(LedgerReadError, match="is not in"):
                index.record(wrong)
    with open(journal_path(folder), "r+b") as journal:
        journal.seek(-20, os.SEEK_END)
        journal.write(b"?")
    with pytest.raises(LedgerReadError, match="record 40 of"):
        index.record(40)
    index.close()
    with pytest.raises(LedgerReadError, match="cannot read"):
        index.record(1)
    with pytest.raises(LedgerReadError, match="no ledger in"):
        JournalIndex(tmp_path / "nowhere")


def test_an_index_waits_for_no_pipe(tmp_path):
    os.mkfifo(tmp_path / "journal")
    with pytest.raises(LedgerReadError, match="is not a regular file"):
        JournalIndex(tmp_path)


@pytest.mark.parametrize("grown", ["shorter", "as many", "longer"])
def test_an_index_forgets_frames_that_were_cut_off_again(tmp_path, signers, grown):
    """As a writer leaves it whose disk is full: the frames are seen, cut off, and others take their place."""
    folder = tmp_path / "ledger"
    lost, kept = {"shorter": (2, 1), "as many": (1, 1), "longer": (1, 3)}[grown]
    with Ledger.open(folder, signers) as ledger:
        ledger.append({"limits": None, "pad": "x" * 100})
        index, size = JournalIndex(folder), ledger.health(1.0).size_bytes
        ledger.append_many([{"lost": number, "limits": {}} for number in range(lost)])
        assert index.refresh() == 2 + lost
    os.truncate(journal_path(folder), size)
    shutil.rmtree(folder / "tile")
    (folder / "checkpoint").unlink()
    with Ledger.open(folder, signers) as ledger:
        ledger.append_many([{"kept": number, "limits": {}, "pad": "y" * 50} for number in range(kept)])
        assert index.refresh() == 2 + kept
        found = index.page(Query(), None, 10).records
        assert [record.hash_hex for record in found[::-1]] == [one.hash_hex for one in ledger.records()]
        assert list(index._policies) == [2 + number for number in range(kept)]
    index.close()


def test_a_decision_that_took_the_place_of_another_is_shown(tmp_path, signers, until, scripted_engine):
    folder, told = tmp_path / "ledger", []
    with Ledger.open(folder, signers) as ledger:
        size = ledger.health(1.0).size_bytes
        begun_at(1.01, ledger, scripted_engine())
    index = JournalIndex(folder)
    feed = Feed(tmp_path / "no.sock", index, told.append)
    feed.start()
    until(lambda: bool(told))
    assert [cycle["alpha"] for cycle in feed.overview()["cycles"]] == [1.01]
    os.truncate(journal_path(folder), size)
    shutil.rmtree(folder / "tile")
    (folder / "checkpoint").unlink()
    with Ledger.open(folder, signers) as ledger:
        begun_at(1.02, ledger, scripted_engine())
    assert len(index) == 2
    until(lambda: [cycle["alpha"] for cycle in feed.overview()["cycles"]] == [1.02])
    feed.close()
    index.close()


def begun_at(alpha, ledger, engine):
    SafetyKernel.start(
        kernel_limits(Config()), alpha, Journal(ledger), engine, None, actor="test", reason="start"
    )


def test_a_ledger_that_cannot_be_read_is_said_to_be_so(beside_loop, until):
    served = beside_loop()
    served.loop.engine.run(1)
    live(served, until)
    served.loop.broken = True
    os.truncate(journal_path(served.folder), 100)
    status, told, _ = served.ask("/api/ledger")
    assert (status, told["code"]) == (500, "ledger")
    assert "has no whole record" in told["error"]


HUGE = 10**400


@pytest.mark.parametrize(
    "change",
    [
        {"after": {"alpha": HUGE}},
        {"after": {"good": HUGE}},
        {"before": {"alpha": HUGE}},
        {"target": HUGE},
        {"limits": {"alpha_max": HUGE}},
        {"reading": {"coherence": HUGE}},
        {"reading": {"drive": {"L_mu": HUGE}}},
        {"comparison": {"before": HUGE, "after": 0, "tolerance": 0}},
        {"broken": [["alpha", 10**9, 0, HUGE, 1]]},
        {"broken": [["alpha", 0, 0, 2, 1]]},
        {"broken": [["mode", 1, 0, 9, 1]]},
    ],
    ids=lambda change: json.dumps(change)[:30],
)
def test_a_record_that_cannot_be_shown_is_named_and_ends_nothing(
    attune, scripted_engine, wishes, serve_page, signers, tmp_path, change
):
    loop = attune(scripted_engine(), wishes(Suggestion(1.01)))
    loop.controller.start()
    loop.engine.run(2)
    body = {**list(read_records(loop.path))[-1].body, "limits": figures_body(loop.kernel.limits)}
    with Ledger.open(tmp_path / "forged", signers) as ledger:
        ledger.append(json.loads(json.dumps(body)))
        served = serve_page(tmp_path / "forged", tmp_path / "nobody.sock", token=None)
        ledger.append(_merged(body, change))
        for path in ("/api/overview", "/api/ledger/2"):
            status, said, _ = served.ask(path)
            assert status in (200, 500)
            assert status == 200 or " cannot be shown: " in said["error"], said
        assert served.ask("/api/overview")[0] == 500
        assert served.ask("/api/what_if?alpha=1")[0] in (200, 409)
        assert served.ask("/api/ledger")[0] == 200
        for _ in range(HISTORY_MAX):
            ledger.append(json.loads(json.dumps(body)))
        assert served.ask("/api/overview")[0] == 200


def test_a_policy_that_is_none_is_named(attune, scripted_engine, wishes, serve_page, signers, tmp_path):
    loop = attune(scripted_engine(), wishes())
    body = list(read_records(loop.path))[-1].body
    with Ledger.open(tmp_path / "forged", signers) as ledger:
        served = serve_page(tmp_path / "forged", tmp_path / "nobody.sock", token=None)
        ledger.append({**body, "limits": {"\x1b": 1}})
        ledger.append({**body, "limits": {**body["limits"], "\x1b[2J": 1}})
        for path in ("/api/overview", "/api/ledger/1"):
            status, said, _ = served.ask(path)
            assert (status, said["error"].isprintable()) == (500, True)
        for _ in range(RECENT + 2):
            ledger.append({**body, "limits": None})
        assert served.ask("/api/ledger")[0] == 200
        status, said, _ = served.ask(f"/api/ledger/{RECENT + 4}")
        assert (status, said["error"].partition(":")[0]) == (500, "record 2 holds no limits")
        assert r"\x1b[2J" in said["error"]


def _merged(body, change):
    return {
        name: _merged(body[name], change[name])
        if isinstance(change.get(name), dict) and isinstance(body[name], dict)
        else change.get(name, body[name])
        for name in body
    }


def test_a_token_is_its_owners_alone_and_long_enough(tmp_path):
    file = tmp_path / "token"
    with pytest.raises(ConfigError, match="cannot read"):
        read_token(str(file))
    file.write_text("correct horse battery\n")
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="has mode 644, must be its owner's alone"):
        read_token(str(file))
    file.chmod(0o600)
    assert read_token(str(file)) == "correct horse battery"
    for weak in ("short", "ü" * 20):
        file.write_text(weak)
        with pytest.raises(ConfigError, match="must have at least 16"):
            read_token(str(file))
    assert read_token(None) is None


def test_a_page_for_everybody_needs_a_name():
    assert hosts_of("127.0.0.1", "localhost, Lab.Example") == {"127.0.0.1", "localhost", "lab.example"}
    assert hosts_of("0.0.0.0", "lab.example") == {"lab.example"}
    with pytest.raises(ConfigError, match=r"serve\.names"):
        hosts_of("::", "localhost")


def test_serve_refuses_what_it_cannot_serve(site, capsys):
    config = site.config()
    assert _exit_code(["serve", "--config", config]) == 1
    assert "no ledger in" in capsys.readouterr().err
    assert _exit_code(["run", "--config", config, "--plain"]) == 0
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code = _exit_code(["serve", "--config", config, "--port", str(taken.getsockname()[1])])
    assert (code, "cannot listen at 127.0.0.1" in capsys.readouterr().err) == (1, True)
    assert _exit_code(["serve", "--config", config, "--host", "0.0.0.0"]) == 2
    assert "serve.names" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "host"), [(signal.SIGTERM, "127.0.0.1"), (signal.SIGINT, "::1")])
def test_serve_ends_on_a_signal_with_a_page_open(site, capsys, until, number, host):
    config = site.config()
    assert _exit_code(["run", "--config", config, "--plain"]) == 0
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as free:
        try:
            free.bind((host, 0))
        except OSError:
            pytest.skip(f"{host} cannot be listened at here")
        port = free.getsockname()[1]
    seen = []

    def is_up():
        try:
            connection.connect()
        except OSError:
            return False
        return True

    def watch_and_end():
        until(is_up)
        connection.request("GET", "/api/events")
        events = connection.getresponse()
        seen.append(events.readline())
        os.kill(os.getpid(), number)
        seen.append(events.read())
        connection.close()

    connection = http.client.HTTPConnection(host, port, timeout=20)
    watcher = threading.Thread(target=watch_and_end)
    watcher.start()
    assert _exit_code(["serve", "--config", config, "--host", host, "--port", str(port)]) == 0
    watcher.join()
    assert seen[0] == b"retry: 1000\n"
    out, err = capsys.readouterr()
    assert f"http://{'[::1]' if ':' in host else host}:{port}/" in out
    assert "Traceback" not in err
