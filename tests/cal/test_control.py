"""The control socket: what it tells, what it takes, and whom it does not wait for."""

import errno
import json
import os
import socket
import stat
import threading
import time
from contextlib import suppress

import pytest

from attunement import control
from attunement.config import load
from attunement.config_schema import Config
from attunement.control import ControlServer, LoopTelemetry, controlled
from attunement.control_client import ControlClient, NoLoopError, RefusedRequestError
from attunement.control_protocol import LINE_MAX_BYTES, ControlError, socket_path
from attunement.order import Action, sign_order
from kernel import Mode
from optimizers.protocol import Suggestion


@pytest.fixture
def path(tmp_path):
    return tmp_path / "loop.sock"


@pytest.fixture
def served(attune, scripted_engine, wishes, path):
    """Return a function that makes a loop with its socket served; gives the loop and its telemetry."""
    servers = []

    def make(*answers, engine=None, **changes):
        telemetry = LoopTelemetry("ledger", True, "wishes")
        loop = attune(engine or scripted_engine(), wishes(*answers), subscribers=(telemetry,), **changes)
        loop.controller.start()
        servers.append(ControlServer(path, telemetry, loop.kernel, loop.desk))
        return loop, telemetry

    yield make
    for server in servers:
        server.close()
    assert not path.exists()


@pytest.fixture
def raw(path):
    """Return a function that sends bytes and gives the answers until the server hangs up or so many came."""

    def exchange(data, answers=1):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(path))
            # Who is turned away at the door is hung up on before it has spoken.
            with suppress(BrokenPipeError):
                connection.sendall(data)
            with connection.makefile("rb") as stream:
                return [json.loads(line) for _, line in zip(range(answers), stream, strict=False)]

    return exchange


def signed(loop, action, *subject):
    return sign_order(loop.operator, loop.governance.draft(action, subject, "ines", "drill"))


def in_background(work):
    box = []
    thread = threading.Thread(target=lambda: box.append(work()))
    thread.start()
    return thread, box


def test_status_tells_the_newest_cycle_and_what_was_decided(served, path):
    loop, _ = served(Suggestion(1.01), Suggestion(1.5))
    loop.engine.run(4)
    with ControlClient(path) as client:
        told = client.status()
        again = client.status()
    assert told["v"] == 1
    assert told["run"]["pid"] == os.getpid()
    assert told["run"]["is_kernel_verified"] is True
    assert (told["latest"]["cycle"], told["latest"]["alpha"], told["latest"]["mode"]) == (4, 1.01, "ready")
    assert 0 <= told["age_s"] < 20
    assert told["limits"]["alpha_max"] == 1.2
    assert told["limits"]["reverts_max"] == 8
    assert told["outcomes"]["committed"] == 1
    assert told["broken"] == {"alpha": 1, "alpha_delta": 1}
    last = told["last_decision"]
    assert (last["event"], last["verdict"], last["target"]) == ("propose", "refused", 1.5)
    broken = {check["name"]: check for check in last["broken"]}
    assert broken["alpha"]["margin"] == pytest.approx(-0.3)
    assert broken["alpha"]["holds"] is False
    assert again["latest"] == told["latest"]


def test_a_loop_that_measured_nothing_yet_says_so(served, path):
    served()
    with ControlClient(path) as client:
        told = client.status()
        assert (told["latest"], told["age_s"], told["last_decision"]) == (None, None, None)
        with pytest.raises(RefusedRequestError, match="no usable reading") as caught:
            client.what_if(1.0)
    assert caught.value.code == "no_reading"


def test_watching_gives_the_history_and_then_every_cycle(served, path):
    loop, _ = served(Suggestion(1.01))
    loop.engine.run(5)
    with ControlClient(path) as client:
        seen = client.watch(history=2)
        assert [next(seen)["cycle"] for _ in range(2)] == [4, 5]
        loop.engine.run(3)
        assert [next(seen)["cycle"] for _ in range(3)] == [6, 7, 8]


def test_a_watch_ends_with_the_loop(served, path):
    loop, telemetry = served()
    with controlled(path.with_name("other.sock"), telemetry, loop.kernel, loop.desk):
        client = ControlClient(path.with_name("other.sock"))
        seen = client.watch()
        thread, box = in_background(lambda: list(seen))
        loop.engine.run(1)
    thread.join()
    client.close()
    assert all(line["answer"] == "cycle" for line in box[0])


def lost_up_to(seen, newest):
    """Return how many cycles a watch says were lost until it tells this one; each in its place, from 2 on."""
    lost, due = 0, 2
    for line in seen:
        if line["answer"] == "dropped":
            lost, due = lost + line["count"], due + line["count"]
            continue
        assert line["cycle"] == due
        if due == newest:
            return lost
        due += 1
    return None


@pytest.mark.parametrize(("cycles", "is_complete"), [(control.HISTORY_MAX - 1, True), (3000, False)])
def test_a_reader_who_was_late_is_told_the_newest_and_what_was_lost_though_nothing_follows(
    served, path, monkeypatch, cycles, is_complete
):
    monkeypatch.setattr(control, "QUEUE_MAX_BYTES", 4096)
    loop, telemetry = served()
    with ControlClient(path) as client:
        seen = client.watch(history=1)
        loop.engine.run(1)
        assert next(seen)["cycle"] == 1
        loop.engine.run(cycles)
        newest = telemetry.newest
        thread, box = in_background(lambda: lost_up_to(seen, newest))
        thread.join(60)
    thread.join()
    assert box[0] is not None
    assert (box[0] == 0) is is_complete


def test_a_signed_order_is_carried_out_at_the_next_reading(served, path):
    loop, _ = served()
    loop.engine.run(1)
    freeze = signed(loop, Action.FREEZE)
    client = ControlClient(path)
    thread, box = in_background(lambda: client.send_order(freeze, 30.0))
    while not loop.desk.waiting:
        thread.join(0.01)
    loop.engine.run(1)
    thread.join()
    client.close()
    assert (box[0]["state"], box[0]["said"]) == ("done", ["frozen"])
    assert box[0]["order_id"] == freeze.terms.order_id
    assert loop.kernel.mode is Mode.FROZEN
    assert loop.desk.answers == []


def test_an_order_that_nobody_signed_moves_nothing(served, path):
    loop, _ = served()
    loop.engine.run(1)
    unsigned = loop.governance.draft(Action.OVERRIDE, (1_010_000_000,), "mallory", "because")
    client = ControlClient(path)
    thread, box = in_background(lambda: client.send_order(unsigned, 30.0))
    while not loop.desk.waiting:
        thread.join(0.01)
    loop.engine.run(2)
    thread.join()
    client.close()
    assert box[0]["state"] == "refused"
    assert "0 of 1 operators are for it, must be 1" in box[0]["said"]
    assert loop.kernel.alpha == 1.0
    assert not loop.desk.is_refused


def test_an_order_for_which_no_reading_comes_is_said_to_wait(served, path):
    loop, _ = served()
    with ControlClient(path) as client:
        waiting = client.send_order(signed(loop, Action.FREEZE), 0.1)
        assert waiting["state"] == "waiting"
        assert client.status()["orders_waiting"] == 1
        loop.engine.run(1)
    assert loop.kernel.mode is Mode.FROZEN


def test_an_order_that_walks_is_done_when_it_arrived(served, path):
    loop, _ = served()
    loop.engine.run(1)
    client = ControlClient(path)
    thread, box = in_background(lambda: client.send_order(signed(loop, Action.OVERRIDE, 950_000_000), 30.0))
    while not loop.desk.waiting:
        thread.join(0.01)
    loop.engine.run(6)
    thread.join()
    client.close()
    assert (box[0]["state"], box[0]["said"]) == ("done", ["α = 0.950000000 is committed"])


def test_what_if_gives_the_verdict_and_changes_nothing(served, path):
    loop, _ = served(Suggestion(1.01))
    loop.engine.run(3)
    before = loop.decisions()
    with ControlClient(path) as client:
        good = client.what_if(1.02)
        far = client.what_if(1.3)
        client.what_if(1.02, "operator")
        for alpha in (None, "1", True, float("1e400")):
            with pytest.raises(ValueError if alpha == float("inf") else RefusedRequestError):
                client.what_if(alpha)
        with pytest.raises(RefusedRequestError, match="must be optimizer or operator"):
            client.what_if(1.0, "anybody")
    assert (good["verdict"], good["is_accepted"], good["from_alpha"]) == ("accepted", True, 1.01)
    assert all(check["holds"] for check in good["checks"])
    delta = next(check for check in good["checks"] if check["name"] == "alpha_delta")
    assert (delta["figure"], delta["least"], delta["most"], delta["margin"]) == (0.01, -0.02, 0.02, 0.01)
    entropy = next(check for check in good["checks"] if check["name"] == "entropy_rate")
    assert (entropy["least"], entropy["most"]) == (None, 0.002)
    assert far["verdict"] == "refused"
    assert {check["name"] for check in far["checks"] if not check["holds"]} == {"alpha", "alpha_delta"}
    assert loop.decisions() == before
    assert loop.kernel.alpha == 1.01


def test_what_if_at_an_alpha_whose_drive_no_float_comes_near_to_is_refused(served, path):
    loop, _ = served()
    loop.engine.drive = 3.0
    loop.engine.run(2)
    with ControlClient(path) as client:
        for alpha in (1e308, -1e308, 1.7976931348623157e308):
            with pytest.raises(RefusedRequestError, match="beyond all floats"):
                client.what_if(alpha)
        assert client.what_if(1.0)["verdict"] == "accepted"


def test_what_if_in_a_trial_is_judged_as_if_it_were_taken_back(served, path):
    loop, _ = served(Suggestion(1.01))
    loop.engine.run(1)
    assert loop.kernel.mode is Mode.TRIAL
    with ControlClient(path) as client:
        told = client.what_if(1.005)
    assert (told["is_trial_open"], told["mode"], told["from_alpha"]) == (True, "ready", 1.0)
    assert told["is_accepted"]


def test_what_if_after_a_probe_is_judged_on_the_reading_before_it(served, path):
    loop, _ = served(Suggestion(1.01, probe=True))
    loop.engine.run(2)
    assert (loop.kernel.mode, loop.kernel.alpha) == (Mode.READY, 1.0)
    with ControlClient(path) as client:
        told = client.what_if(1.005)
    assert (told["cycle"], told["is_accepted"]) == (1, True)


def test_what_if_in_a_freeze_refuses_the_optimizer_and_not_the_operator(served, path):
    loop, _ = served()
    loop.engine.run(1)
    loop.controller.freeze("ines", "drill")
    loop.engine.run(1)
    with ControlClient(path) as client:
        optimizer, operator = client.what_if(1.01), client.what_if(1.01, "operator")
    assert [check["name"] for check in optimizer["checks"] if not check["holds"]] == ["mode"]
    assert operator["is_accepted"]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"what?\n", "malformed"),
        (b"[1]\n", "malformed"),
        (b"[" * 50_000 + b"\n", "malformed"),
        (b"\xff\n", "malformed"),
        (b'{"v":2,"do":"status"}\n', "version"),
        (b'{"v":true,"do":"status"}\n', "version"),
        (b'{"do":"status"}\n', "version"),
        (b'{"v":1,"do":"shutdown"}\n', "unknown"),
        (b'{"v":1,"do":[]}\n', "unknown"),
        (b'{"v":1,"do":"status","x":1}\n', "malformed"),
        (b'{"v":1,"do":"watch","history":-1}\n', "malformed"),
        (b'{"v":1,"do":"watch","history":NaN}\n', "malformed"),
        (b'{"v":1,"do":"order","order":7}\n', "malformed"),
        (b'{"v":1,"do":"order","order":"{}","wait_s":1}\n', "malformed"),
        (b'{"v":1,"do":"order","order":"{}","wait_s":true}\n', "malformed"),
        (b"x" * (LINE_MAX_BYTES + 1), "too_long"),
    ],
)
def test_what_is_no_request_is_refused_by_name(served, raw, line, code):
    served()
    assert [(told["answer"], told["code"]) for told in raw(line)] == [("error", code)]


def test_requests_are_answered_in_order_on_one_connection(served, raw):
    loop, _ = served()
    loop.engine.run(1)
    line = b'{"v":1,"do":"what_if","alpha":1.0}\n{"v":1,"do":"no"}\n{"v":1,"do":"status"}\n'
    assert [told["answer"] for told in raw(line, answers=3)] == ["what_if", "error", "status"]


def test_who_says_nothing_is_hung_up_on(served, raw, monkeypatch):
    monkeypatch.setattr(control, "IDLE_S", 0.1)
    served()
    assert raw(b"", answers=1) == []
    assert raw(b'{"v":1,', answers=1) == []


def test_who_never_reads_is_hung_up_on(served, path, monkeypatch, until):
    monkeypatch.setattr(control, "STALLED_S", 0.1)
    loop, _ = served()

    def watchers():
        # A new client each time: one that is silent for long is hung up on too.
        with ControlClient(path) as other:
            return other.status()["watchers"]

    with ControlClient(path) as client:
        client._send({"do": "watch"})
        until(lambda: watchers() == 1)
        loop.engine.run(2000)
        until(lambda: watchers() == 0)


def test_no_more_clients_are_served_than_there_is_room_for(served, path, raw, monkeypatch):
    monkeypatch.setattr(control, "CLIENTS_MAX", 1)
    served()
    with ControlClient(path) as client:
        client.status()
        assert raw(b"")[0]["code"] == "busy"
        with ControlClient(path) as other, pytest.raises(RefusedRequestError, match="1 clients are served"):
            other.status()


def test_no_more_orders_wait_than_there_is_room_for(served, path, monkeypatch):
    monkeypatch.setattr(control, "ORDERS_WAITING_MAX", 1)
    loop, _ = served()
    with ControlClient(path) as client:
        assert client.send_order(signed(loop, Action.FREEZE), 0.0)["state"] == "waiting"
        with pytest.raises(RefusedRequestError, match="1 orders wait, 1 may"):
            client.send_order(signed(loop, Action.FREEZE), 0.0)


def test_what_another_user_says_is_not_heard(served, raw, monkeypatch):
    served()
    monkeypatch.setattr(control, "_is_own", lambda connection: False)
    assert raw(b"")[0]["code"] == "forbidden"


def test_a_flood_behind_an_order_is_cut_off(served, path, raw):
    loop, _ = served()
    text = json.dumps({"v": 1, "do": "order", "order": signed(loop, Action.FREEZE).encode(), "wait_s": 60})
    told = raw(text.encode() + b"\n" + b"x" * (2 * LINE_MAX_BYTES))
    assert told[0]["code"] == "too_long"


def test_an_order_that_waits_is_told_when_the_loop_ends(attune, scripted_engine, wishes, path):
    telemetry = LoopTelemetry("ledger", True, "wishes")
    loop = attune(scripted_engine(), wishes(), subscribers=(telemetry,))
    with controlled(path, telemetry, loop.kernel, loop.desk):
        client = ControlClient(path)
        freeze = signed(loop, Action.FREEZE)

        def send():
            with pytest.raises(RefusedRequestError) as caught:
                client.send_order(freeze, 60.0)
            return caught

        thread, box = in_background(send)
        while not loop.desk.waiting:
            thread.join(0.01)
    thread.join()
    client.close()
    assert box[0].value.code == "ended"
    loop.controller.start()
    loop.engine.run(1)
    assert loop.kernel.mode is Mode.FROZEN


def test_the_file_is_its_owners_alone_and_goes_with_the_loop(attune, scripted_engine, wishes, path):
    telemetry = LoopTelemetry("ledger", True, "wishes")
    loop = attune(scripted_engine(), wishes(), subscribers=(telemetry,))
    before = os.umask(0)
    try:
        with controlled(path, telemetry, loop.kernel, loop.desk):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(before)
    assert not path.exists()
    with controlled(None, telemetry, loop.kernel, loop.desk):
        assert not path.exists()


def test_a_stale_socket_is_replaced_and_a_live_one_is_not(served, path):
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    loop, telemetry = served()
    with ControlClient(path) as client:
        assert client.status()["latest"] is None
    with pytest.raises(ControlError, match="is served by another loop"):
        ControlServer(path, telemetry, loop.kernel, loop.desk)
    with ControlClient(path) as client:
        assert client.status()["latest"] is None


def test_what_is_no_socket_is_left_alone(attune, scripted_engine, wishes, path):
    telemetry = LoopTelemetry("ledger", True, "wishes")
    loop = attune(scripted_engine(), wishes(), subscribers=(telemetry,))
    path.write_text("precious")
    with pytest.raises(ControlError, match="is no socket, it is left as it is"):
        ControlServer(path, telemetry, loop.kernel, loop.desk)
    assert path.read_text() == "precious"
    long = path.with_name("x" * 108)
    with pytest.raises(ControlError, match="must have at most 107"):
        ControlServer(long, telemetry, loop.kernel, loop.desk)
    with pytest.raises(ControlError, match="cannot be"):
        ControlServer(path / "under", telemetry, loop.kernel, loop.desk)


def test_the_file_of_a_successor_is_not_taken_away(attune, scripted_engine, wishes, path):
    telemetry = LoopTelemetry("ledger", True, "wishes")
    loop = attune(scripted_engine(), wishes(), subscribers=(telemetry,))
    with controlled(path, telemetry, loop.kernel, loop.desk):
        path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
    assert path.exists()


def test_nobody_home_is_told_from_other_trouble(path):
    with pytest.raises(NoLoopError, match="no loop serves"):
        ControlClient(path)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    with pytest.raises(NoLoopError, match="no loop serves"):
        ControlClient(path)
    with pytest.raises(ControlError, match="cannot be reached"):
        ControlClient(path.with_name("x" * 200))


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (b"", "went away"),
        (b"no json\n", "no JSON"),
        (b'{"v":2}\n', "another version"),
        (b"x" * 100, "longer than 64 bytes"),
        (None, "gave no answer in 0.2 s"),
    ],
)
def test_a_stranger_behind_the_socket_is_not_believed(path, answers, said, monkeypatch):
    monkeypatch.setattr("attunement.control_client.ANSWER_MAX_BYTES", 64)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        client = ControlClient(path, timeout_s=0.2)
        stranger, _ = listener.accept()
        with stranger:
            if answers is not None:
                stranger.sendall(answers)
                stranger.shutdown(socket.SHUT_WR)
            with pytest.raises(ControlError, match=said):
                client.status()
        client.close()


def test_an_answer_that_drips_has_no_longer_than_one_that_does_not_come(path):
    over = threading.Event()

    def drip(stranger):
        with stranger, suppress(OSError):
            while not over.wait(0.02):
                stranger.sendall(b"{")

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with ControlClient(path, timeout_s=0.3) as client:
            thread, begun_s = threading.Thread(target=drip, args=(listener.accept()[0],)), time.monotonic()
            thread.start()
            with pytest.raises(ControlError, match=r"gave no answer in 0\.3 s"):
                client.status()
            assert time.monotonic() - begun_s < 2.0
        over.set()
        thread.join()


def test_the_socket_lies_beside_the_ledger_unless_named(tmp_path):
    assert str(socket_path(Config())) == "var/ledger.sock"
    config = load(None, {"ATTUNEMENT__CONTROL__SOCKET": "/run/attunement.sock"})
    assert str(socket_path(config)) == "/run/attunement.sock"


def test_whoever_finds_no_descriptor_left_is_let_in_later_and_not_waited_for_by_turning(
    served, raw, monkeypatch
):
    accept, tried = socket.socket.accept, []

    def without_descriptors(listener):
        tried.append(time.monotonic())
        if not tried[-1] - tried[0] > 0.3:
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(listener)

    monkeypatch.setattr(socket.socket, "accept", without_descriptors)
    served()
    (answer,) = raw(b'{"v":1,"do":"status"}\n')
    assert answer["answer"] == "status"
    assert len(tried) <= 3
