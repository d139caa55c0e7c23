"""One HTTP request: a deadline, a bounded answer, credentials from files, certificates that are checked."""

import base64
import io
import socket
import ssl
import time
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from attunement.config_schema import HttpAuthConfig

ANSWER_MAX: Final = 4 << 20
_CHUNK = 1 << 16
_ACCEPTED = range(200, 300)


class HttpError(Exception):
    """A request was not answered in time, or not with what was asked for."""


def exchange(method: str, url: str, body: bytes | None, auth: HttpAuthConfig, timeout_s: float) -> bytes:
    """Make one request on a connection of its own, and return the body of the answer.

    A redirect is an error: it would carry the credentials elsewhere.

    Args:
        method: HTTP method.
        url: http or https, with its query.
        body: JSON to send, or None.
        auth: Credentials and certificates.
        timeout_s: Longest time for all of it, seconds; the resolver of names has its own.

    Raises:
        HttpError: it could not be made, or was not answered with 2xx.
    """
    place = f"{method} {urlsplit(url)._replace(query='').geturl()}"
    try:
        return _exchanged(method, url, body, auth, _Deadline(timeout_s))
    except TimeoutError as error:
        raise HttpError(f"{place}: the answer was not complete within {timeout_s:g} s") from error
    except (OSError, HTTPException, ValueError) as error:
        raise HttpError(f"{place}: {type(error).__name__}: {error}") from error
    except HttpError as error:
        raise HttpError(f"{place}: {error}") from error


class _Deadline:
    """The end of all waiting of one request, however many waits it takes."""

    def __init__(self, timeout_s: float) -> None:
        self._end_s = time.monotonic() + timeout_s

    def bind(self, stream: socket.socket) -> None:
        """Let the next wait of a socket take what is left, and no more.

        Raises:
            TimeoutError: nothing is left.
        """
        left_s = self._end_s - time.monotonic()
        if not left_s > 0:
            raise TimeoutError
        stream.settimeout(left_s)


class _Received(io.RawIOBase):
    """What a socket receives: a server that drips is waited for no longer than one that says nothing."""

    def __init__(self, stream: socket.socket, deadline: _Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._deadline.bind(self._stream)
        return self._stream.recv_into(buffer)


class _Response(HTTPResponse):
    def __init__(self, stream: socket.socket, method: str, deadline: _Deadline) -> None:
        super().__init__(stream, method=method)
        self.fp.close()
        self.fp = io.BufferedReader(_Received(stream, deadline))


def _exchanged(method: str, url: str, body: bytes | None, auth: HttpAuthConfig, deadline: _Deadline) -> bytes:
    parts = urlsplit(url)
    target = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
    headers = {"Accept": "application/json", **_credentials(auth)}
    if body is not None:
        headers["Content-Type"] = "application/json"
    connection = _connection(parts, auth, deadline)
    try:
        deadline.bind(connection.sock)
        connection.request(method, target, body, headers)
        with _Response(connection.sock, method, deadline) as response:
            response.begin()
            content = _content(response)
    finally:
        connection.close()
    if response.status not in _ACCEPTED:
        raise HttpError(f"was answered with {response.status}, must be 2xx")
    return content


def _content(response: HTTPResponse) -> bytes:
    content, length = b"", response.length
    while chunk := response.read1(_CHUNK):
        content += chunk
        if not len(content) <= ANSWER_MAX:
            raise HttpError(f"the answer is larger than {ANSWER_MAX} bytes")
    if length is not None and len(content) != length:
        raise HttpError(f"the answer has {len(content)} bytes, must have {length} (Content-Length)")
    return content


def _connection(parts: SplitResult, auth: HttpAuthConfig, deadline: _Deadline) -> HTTPConnection:
    host = parts.hostname or ""
    if parts.scheme == "http":
        connection = HTTPConnection(host, parts.port)
        connection.sock = _connected(host, connection.port, deadline)
        return connection
    context = ssl.create_default_context(cafile=auth.ca_path)
    if not auth.verify_tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    secured = HTTPSConnection(host, parts.port, context=context)
    with _connected(host, secured.port, deadline) as stream:
        deadline.bind(stream)
        # The handshake is one wait; the socket is taken over, so that nothing is left here to close.
        secured.sock = context.wrap_socket(stream, server_hostname=host)
    return secured


def _connected(host: str, port: int, deadline: _Deadline) -> socket.socket:
    failed: OSError = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        stream = socket.socket(family, kind, protocol)
        try:
            deadline.bind(stream)
            stream.connect(address)
            # The body is not to wait for the headers' acknowledgement.
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            stream.close()
            failed = error
        else:
            return stream
    raise failed


def _credentials(auth: HttpAuthConfig) -> dict[str, str]:
    # Read anew for every request: secrets are exchanged while a run goes on.
    if auth.token_path is not None:
        return {"Authorization": f"Bearer {_secret(auth.token_path)}"}
    if auth.username is not None and auth.password_path is not None:
        pair = f"{auth.username}:{_secret(auth.password_path)}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode('ascii')}"}
    return {}


def _secret(path: str) -> str:
    secret = Path(path).read_text(encoding="utf-8").strip()
    if not (secret and secret.isprintable()):
        raise HttpError(f"{path} must hold one line of text that prints")
    return secret
