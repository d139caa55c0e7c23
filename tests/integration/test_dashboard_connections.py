"""The page's port against clients that connect and do not do their part."""

import socket
import time
import urllib.request
from contextlib import suppress

import pytest
from client_bench import clients, is_cut_on_sending

from attunement.dashboard import app as dashboard
from attunement.dashboard import serving

ASKED = b"GET /api/overview HTTP/1.1\r\nHost: 127.0.0.1\r\n"
PLOTLY = b"GET /static/plotly.js HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n"
HALF_AN_ORDER = b"POST /api/order HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n%s\r\n{"
ADMITTED = "X-Attunement-Token: correct horse battery staple\r\nOrigin: http://127.0.0.1:%d\r\n"


@pytest.fixture
def connect():
    """Return a function that connects a client to a page; it has sent what it is given."""
    with clients() as connect:
        yield lambda served, sent=b"": connect(served.port, sent)


def read_to_the_end(client, pause_s=0.0):
    received = b""
    with suppress(ConnectionError):
        while data := client.recv(65536):
            received += data
            time.sleep(pause_s)
    head, _, body = received.partition(b"\r\n\r\n")
    return head.lower(), body


def length(head):
    return int(head.partition(b"content-length: ")[2].split()[0])


def is_cut(client):
    read_to_the_end(client)
    return True


@pytest.mark.parametrize("sent", [b"", b"GET", ASKED, ASKED + b"\r\n" + ASKED], ids=repr)
def test_who_does_not_ask_to_the_end_is_cut(beside_loop, connect, monkeypatch, sent):
    monkeypatch.setattr(serving, "REQUEST_S", 0.3)
    served = beside_loop()
    assert is_cut(connect(served, sent))
    assert served.ask("/api/overview")[0] == 200


def test_who_asks_byte_by_byte_is_cut(beside_loop, connect, monkeypatch, until):
    monkeypatch.setattr(serving, "REQUEST_S", 0.3)
    client = connect(beside_loop())
    until(lambda: is_cut_on_sending(client))


def test_who_hands_in_half_an_order_is_cut(beside_loop, connect, monkeypatch, caplog):
    monkeypatch.setattr(serving, "REQUEST_S", 0.3)
    served = beside_loop()
    admitted = (ADMITTED % served.port).encode()
    host = b"Host: 127.0.0.1:%d" % served.port
    half = (HALF_AN_ORDER % admitted).replace(b"Host: 127.0.0.1", host)
    assert is_cut(connect(served, half))
    assert served.ask("/api/overview")[0] == 200
    assert caplog.text == ""


def test_who_does_not_read_is_cut(beside_loop, monkeypatch):
    monkeypatch.setattr(serving, "REQUEST_S", 0.3)
    served = beside_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", served.port))
        client.sendall(PLOTLY)
        time.sleep(1.5)
        head, body = read_to_the_end(client)
    assert len(body) < length(head)


def test_who_reads_slowly_gets_all_of_it(beside_loop, connect, monkeypatch):
    monkeypatch.setattr(serving, "REQUEST_S", 0.3)
    head, body = read_to_the_end(connect(beside_loop(), PLOTLY), pause_s=0.01)
    assert len(body) == length(head)


def test_a_stream_of_events_stays_open(beside_loop, monkeypatch):
    monkeypatch.setattr(serving, "REQUEST_S", 0.1)
    monkeypatch.setattr(dashboard, "KEEPALIVE_S", 0.2)
    served = beside_loop()
    with urllib.request.urlopen(f"{served.url}/api/events", timeout=20) as events:
        assert [events.readline() for _ in range(12)].count(b": still here\n") >= 4


def test_one_connection_too_many_is_closed_at_once_and_the_others_stay(
    beside_loop, connect, monkeypatch, until
):
    monkeypatch.setattr(serving, "CONNECTIONS_MAX", 4)
    served = beside_loop()
    clients = [connect(served) for _ in range(4)]
    assert all(is_cut(connect(served)) for _ in range(3))
    clients.pop().sendall(ASKED + b"\r\n")
    clients.pop().close()

    def is_answered():
        try:
            return served.ask("/api/overview")[0] == 200
        except OSError:
            return False

    until(is_answered)
