"""Requests to a real server on this machine: credentials, certificates, deadlines and bounds."""

import http.server
import os
import socket
import ssl
import threading
import time
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from attunement.config_schema import HttpAuthConfig
from attunement.http_client import ANSWER_MAX, HttpError, exchange

NOBODY = HttpAuthConfig()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.heard.append(self.headers.get("authorization"))
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("location", "http://127.0.0.1:1/")
            self.end_headers()
            return
        self.send_response(404 if self.path == "/lost" else 200)
        self.end_headers()
        if self.path == "/large":
            chunk = b" " * (1 << 20)
            for _ in range(ANSWER_MAX // len(chunk) + 1):
                self.wfile.write(chunk)
        elif self.path == "/slow":
            for _ in range(40):
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(0.05)
        elif self.path == "/silent":
            time.sleep(0.5)
        else:
            self.wfile.write(self.path.encode("ascii"))

    def do_POST(self):
        self.send_response(200)
        self.send_header("content-length", self.path.removeprefix("/"))
        self.end_headers()
        self.wfile.write(b"{}")

    def do_PUT(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body + self.headers["content-type"].encode("ascii"))

    def log_message(self, *_):
        """Tests are quiet."""


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    heard: list  # what stood in the Authorization headers

    def handle_error(self, request, client_address):
        """A client that went away is what some tests want."""


@pytest.fixture
def serve():
    made = []

    def start(certificate=None):
        server = Server(("127.0.0.1", 0), Handler)
        server.heard = []
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        made.append((server, thread))
        return server, f"http{'' if certificate is None else 's'}://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in made:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def certificate(tmp_path):
    """A key and a certificate that it signed itself, for this machine."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "example")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return str(path)


def test_what_is_asked_is_answered(serve):
    _, url = serve()
    assert exchange("GET", f"{url}/a/b?c=d%20e", None, NOBODY, 5.0) == b"/a/b?c=d%20e"
    assert exchange("GET", url, None, NOBODY, 5.0) == b"/"
    assert exchange("PUT", f"{url}/alpha", b'{"alpha": 1}', NOBODY, 5.0) == b'{"alpha": 1}application/json'


def test_a_token_is_read_for_every_request(serve, tmp_path):
    server, url = serve()
    token = tmp_path / "token"
    for secret in ("first", "second"):
        token.write_text(f"{secret}\n", encoding="utf-8")
        exchange("GET", url, None, HttpAuthConfig(token_path=str(token)), 5.0)
    assert server.heard == ["Bearer first", "Bearer second"]


def test_a_name_and_a_password_are_sent_as_basic(serve, tmp_path):
    server, url = serve()
    password = tmp_path / "password"
    password.write_text("Ωmega: two", encoding="utf-8")
    exchange("GET", url, None, HttpAuthConfig(username="ines", password_path=str(password)), 5.0)
    assert server.heard == ["Basic aW5lczrOqW1lZ2E6IHR3bw=="]


@pytest.mark.parametrize("secret", ["", " \n", "a\nb", "a\x00b"], ids=repr)
def test_a_secret_that_is_no_line_of_text_is_not_sent(serve, tmp_path, secret):
    server, url = serve()
    token = tmp_path / "token"
    token.write_text(secret, encoding="utf-8")
    with pytest.raises(HttpError, match="must hold one line of text that prints"):
        exchange("GET", url, None, HttpAuthConfig(token_path=str(token)), 5.0)
    assert server.heard == []


def test_a_secret_that_is_not_there_is_told_without_the_query(serve, tmp_path):
    _, url = serve()
    with pytest.raises(HttpError, match=r"GET http://127.0.0.1:\d+/x: FileNotFoundError"):
        exchange("GET", f"{url}/x?secret=1", None, HttpAuthConfig(token_path=str(tmp_path / "no")), 5.0)


def test_certificates_are_checked_unless_that_is_turned_off(serve, certificate):
    _, url = serve(certificate)
    with pytest.raises(HttpError, match="certificate verify failed"):
        exchange("GET", url, None, NOBODY, 5.0)
    assert exchange("GET", url, None, HttpAuthConfig(ca_path=certificate), 5.0) == b"/"
    assert exchange("GET", url, None, HttpAuthConfig(verify_tls=False), 5.0) == b"/"
    with pytest.raises(HttpError, match="certificate verify failed"):
        exchange("GET", url.replace("127.0.0.1", "localhost"), None, HttpAuthConfig(ca_path=certificate), 5.0)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/moved", "was answered with 302, must be 2xx"),
        ("/lost", "was answered with 404, must be 2xx"),
        ("/large", f"the answer is larger than {ANSWER_MAX} bytes"),
        ("/slow", "the answer was not complete within 0.2 s"),
        ("/silent", "the answer was not complete within 0.2 s"),
    ],
)
def test_what_is_no_answer_is_an_error(serve, path, said):
    _, url = serve()
    timeout_s = 5.0 if path == "/large" else 0.2
    with pytest.raises(HttpError, match=said):
        exchange("GET", url + path, None, NOBODY, timeout_s)


def test_an_answer_that_is_cut_off_is_an_error(serve):
    _, url = serve()
    assert exchange("POST", f"{url}/2", None, NOBODY, 5.0) == b"{}"
    with pytest.raises(HttpError, match=r"the answer has 2 bytes, must have 3 \(Content-Length\)"):
        exchange("POST", f"{url}/3", None, NOBODY, 5.0)


@pytest.fixture
def drip():
    """Return a function that starts a server which says a beginning at once, and then a byte every 0.02 s."""
    over, threads = threading.Event(), []

    def talk(listener, begun, dripped):
        with listener, listener.accept()[0] as connection, suppress(OSError):
            connection.sendall(begun)
            for byte in dripped * 1000:
                if over.wait(0.02):
                    break
                connection.sendall(bytes([byte]))

    def start(begun, dripped):
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        threads.append(threading.Thread(target=talk, args=(listener, begun, dripped)))
        threads[-1].start()
        return f"127.0.0.1:{port}"

    yield start
    over.set()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize(
    ("begun", "dripped"),
    [
        (b"", b"HTTP/1.1 200 O"),
        (b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
        (b"HTTP/1.1 200 OK\r\nX-A: ", b"x"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b" "),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X-A: b\r\n"),
    ],
    ids=["status", "headers", "header", "continue", "body", "chunks", "trailer"],
)
def test_an_answer_that_drips_has_no_longer_than_one_that_does_not_come(drip, begun, dripped):
    place, begun_s = drip(begun, dripped), time.monotonic()
    with pytest.raises(
        HttpError, match=r"GET http://127.0.0.1:\d+/: the answer was not complete within 0.3 s"
    ):
        exchange("GET", f"http://{place}/", None, NOBODY, 0.3)
    assert time.monotonic() - begun_s < 1.5


def test_a_handshake_that_drips_has_no_longer(drip):
    place, begun_s = drip(b"\x16\x03\x03\x10\x00\x02\x00\x0f\xfc\x03\x03", b"x"), time.monotonic()
    with pytest.raises(HttpError, match=r"the answer was not complete within 0\.3 s"):
        exchange("GET", f"https://{place}/", None, HttpAuthConfig(verify_tls=False), 0.3)
    assert time.monotonic() - begun_s < 1.5


def test_a_connection_that_does_not_come_about_has_no_longer():
    # A listener whose queue is full answers no more.
    with socket.socket() as listener, ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        begun_s = time.monotonic()
        with pytest.raises(HttpError, match=r"the answer was not complete within 0\.3 s"):
            exchange("GET", f"http://127.0.0.1:{listener.getsockname()[1]}/", None, NOBODY, 0.3)
        assert time.monotonic() - begun_s < 1.5


def test_no_request_leaves_a_descriptor_behind(serve, certificate, until):
    _, plain = serve()
    _, secured = serve(certificate)
    asked = (f"{plain}/a", f"{plain}/lost", f"{secured}/", "http://127.0.0.1:1/", "https://127.0.0.1:1/")
    before = len(os.listdir("/proc/self/fd"))
    for url in (*asked, f"https://{plain.partition('//')[2]}/"):
        with suppress(HttpError):
            exchange("GET", url, None, NOBODY, 5.0)
    until(lambda: len(os.listdir("/proc/self/fd")) <= before)


def test_a_port_where_nobody_listens_is_an_error():
    with pytest.raises(HttpError, match="ConnectionRefusedError"):
        exchange("GET", "http://127.0.0.1:1/", None, NOBODY, 1.0)
