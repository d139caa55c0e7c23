"""The metrics port against clients that connect and do not do their part."""

import socket
import subprocess
import sys
import threading
from functools import partial
from urllib.request import urlopen

import pytest
from client_bench import clients, is_cut_on_sending

from attunement import metrics_server
from attunement.metrics import Metrics
from attunement.metrics_server import CONNECTIONS_MAX, MetricsServer

# Clients that say nothing, and a file that is opened then as the ledger opens its own.
CROWDED = """
import resource, socket
from attunement.metrics import Metrics
from attunement.metrics_server import MetricsServer

resource.setrlimit(resource.RLIMIT_NOFILE, (400, 400))
with MetricsServer(Metrics(), "127.0.0.1", 0) as server:
    clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(300)]
    with open("/dev/null", "rb"):
        print("opened")
"""

# A client that knocks while there is no descriptor left to let it in with.
WITHOUT_DESCRIPTORS = """
import os, resource, socket, time
from attunement.metrics import Metrics
from attunement.metrics_server import MetricsServer

resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
with MetricsServer(Metrics(), "127.0.0.1", 0) as server, socket.socket() as client:
    kept = []
    try:
        while True:
            kept.append(os.dup(0))
    except OSError:
        pass
    client.connect(("127.0.0.1", server.port))
    begun_s = time.process_time()
    time.sleep(1.0)
    turned_s = time.process_time() - begun_s
    for descriptor in kept:
        os.close(descriptor)
    client.sendall(b"GET /metrics HTTP/1.0\\r\\n\\r\\n")
    print(client.recv(12).decode(), turned_s < 0.3)
"""


@pytest.fixture
def server():
    with MetricsServer(Metrics(), "127.0.0.1", 0) as server:
        yield server


@pytest.fixture
def connect(server):
    """Return a function that connects a client, which has sent what it is given."""
    with clients() as connect:
        yield partial(connect, server.port)


def is_answered(server):
    with urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10) as response:
        return b"uhes_alpha_value" in response.read()


def threads():
    return sum("process_request_thread" in thread.name for thread in threading.enumerate())


def is_cut(client):
    try:
        return client.recv(1) == b""
    except ConnectionError:
        return True


@pytest.mark.parametrize("sent", [b"", b"GET", b"GET /metrics HTTP/1.1\r\nHost: a\r\n"], ids=repr)
def test_who_does_not_ask_is_cut(server, connect, until, monkeypatch, sent):
    monkeypatch.setattr(metrics_server, "CONNECTION_S", 0.3)
    client = connect(sent)
    until(lambda: is_cut(client))
    until(lambda: threads() == 0)
    assert is_answered(server)


def test_who_asks_byte_by_byte_is_cut(server, connect, until, monkeypatch):
    monkeypatch.setattr(metrics_server, "CONNECTION_S", 0.3)
    client = connect()
    until(lambda: is_cut_on_sending(client))
    until(lambda: threads() == 0)


def test_who_does_not_read_is_cut(server, connect, until, monkeypatch):
    monkeypatch.setattr(metrics_server, "CONNECTION_S", 0.3)
    client = connect()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
    until(lambda: threads() == 0)


def test_one_connection_too_many_is_closed_at_once_and_the_others_stay(server, connect, until, capfd):
    clients = [connect() for _ in range(CONNECTIONS_MAX)]
    until(lambda: threads() == CONNECTIONS_MAX)
    assert all(is_cut(connect()) for _ in range(3))
    clients.pop().close()
    until(lambda: threads() < CONNECTIONS_MAX)
    assert is_answered(server)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("program", "said"), [(CROWDED, "opened\n"), (WITHOUT_DESCRIPTORS, "HTTP/1.0 200 True\n")]
)
def test_a_crowd_leaves_the_process_its_descriptors_and_its_processor(program, said):
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")


def test_closing_cuts_who_is_connected(until):
    with MetricsServer(Metrics(), "127.0.0.1", 0) as server:
        client = socket.create_connection(("127.0.0.1", server.port))
        until(lambda: threads() == 1)
    with client:
        assert is_cut(client)


def answer_to(connect, *lines):
    client = connect("\r\n".join([*lines, "", ""]).encode("latin-1"))
    with client.makefile("rb") as stream:
        return stream.read()


VERSIONS = [
    "abc",
    "1.x",
    "1..0",
    "-",
    "٣".encode().decode("latin-1"),
    "9" * 5000,
    "1.0.0 ",
    "0x1",
    "1e3",
    "None",
]


@pytest.mark.parametrize("version", [*VERSIONS, "", "1", "1.0.0", "0.0.4"], ids=lambda text: text[:9])
@pytest.mark.parametrize("kind", ["application/openmetrics-text", "text/plain"])
def test_whatever_version_is_asked_for_is_answered_with_the_metrics(connect, capfd, kind, version):
    for accept in (f"{kind}; version={version}", f"{kind};version={version};escaping={version},*/*;q=0.1"):
        said = answer_to(connect, "GET /metrics HTTP/1.1", f"Accept: {accept}")
        assert said.startswith(b"HTTP/1.0 200 OK\r\n")
        assert b"uhes_alpha_value" in said
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "lines",
    [
        ["GET /metrics?name[]=%ff&name[]=& HTTP/1.1"],
        ["GET /%00%ff HTTP/1.1", "Accept-Encoding: gzip;q=x, \xff"],
        ["GET /metrics HTTP/1.1", "Content-Length: x"],
        ["GET /metrics HTTP/9.9"],
        ["GET"],
        ["\xff \xff HTTP/1.1"],
        ["OPTIONS * HTTP/1.1"],
        ["POST /metrics HTTP/1.1", "Content-Length: 0"],
        ["GET /metrics HTTP/1.1", *(f"A{index}: b" for index in range(200))],
    ],
    ids=range(9),
)
def test_a_strange_request_leaves_nothing_on_the_screen(server, connect, capfd, lines):
    assert b"Traceback" not in answer_to(connect, *lines)
    assert is_answered(server)
    assert capfd.readouterr() == ("", "")


def test_what_cannot_be_collected_is_told_to_who_asked_alone(capfd):
    class Broken:
        def collect(self):
            raise KeyError("zz")

    metrics = Metrics()
    with MetricsServer(metrics, "127.0.0.1", 0) as server, clients() as connect:
        metrics.registry._collector_to_names[Broken()] = []
        said = answer_to(partial(connect, server.port), "GET /metrics HTTP/1.1")
    assert said.startswith(b"HTTP/1.0 500 ")
    assert said.endswith(b"\r\n\r\nKeyError: 'zz'\n")
    assert capfd.readouterr() == ("", "")
