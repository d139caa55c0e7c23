"""One HTTP request: a deadline, a bounded answer, credentials from files, certificates that are checked."""

import base64
import ssl
import time
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

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
        timeout_s: Longest time for all of it, seconds.

    Raises:
        HttpError: it could not be made, or was not answered with 2xx.
    """
    place = f"{method} {urlsplit(url)._replace(query='').geturl()}"
    try:
        return _exchanged(method, url, body, auth, timeout_s)
    except (OSError, HTTPException, ValueError) as error:
        raise HttpError(f"{place}: {type(error).__name__}: {error}") from error
    except HttpError as error:
        raise HttpError(f"{place}: {error}") from error


def _exchanged(method: str, url: str, body: bytes | None, auth: HttpAuthConfig, timeout_s: float) -> bytes:
    end_s = time.monotonic() + timeout_s
    parts = urlsplit(url)
    target = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
    headers = {"Accept": "application/json", **_credentials(auth)}
    if body is not None:
        headers["Content-Type"] = "application/json"
    connection = _connection(parts.scheme, parts.hostname or "", parts.port, auth, timeout_s)
    try:
        connection.request(method, target, body, headers)
        response = connection.getresponse()
        content = b""
        while chunk := response.read1(_CHUNK):
            content += chunk
            if not len(content) <= ANSWER_MAX:
                raise HttpError(f"the answer is larger than {ANSWER_MAX} bytes")
            if not time.monotonic() <= end_s:
                raise HttpError(f"the answer was not complete within {timeout_s:g} s")
    finally:
        connection.close()
    if response.status not in _ACCEPTED:
        raise HttpError(f"was answered with {response.status}, must be 2xx")
    return content


def _connection(
    scheme: str, host: str, port: int | None, auth: HttpAuthConfig, timeout_s: float
) -> HTTPConnection:
    if scheme == "http":
        return HTTPConnection(host, port, timeout=timeout_s)
    context = ssl.create_default_context(cafile=auth.ca_path)
    if not auth.verify_tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return HTTPSConnection(host, port, timeout=timeout_s, context=context)


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
