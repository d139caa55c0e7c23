"""Who may ask the page for what: host name, origin, token, and the headers of every answer."""

import hmac
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from attunement.config_schema import ROOT, ConfigError

TOKEN_HEADER: Final = "X-Attunement-Token"
TOKEN_MIN_CHARACTERS: Final = 16

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)

_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def read_token(path: str | None) -> str | None:
    """Return the token in a file, None where none is configured.

    Raises:
        ConfigError: the file cannot be read, others may read it, or the token is too short.
    """
    if path is None:
        return None
    key = f"{ROOT}.serve.token_path"
    try:
        mode = os.stat(path).st_mode
        token = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{key}: cannot read {path}: {error}") from error
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError(f"{key}: {path} has mode {stat.S_IMODE(mode):o}, must be its owner's alone (600)")
    if not (len(token) >= TOKEN_MIN_CHARACTERS and token.isascii() and token.isprintable()):
        raise ConfigError(
            f"{key}: the token in {path} has {len(token)} characters, must have at least "
            f"{TOKEN_MIN_CHARACTERS}, printable ASCII alone"
        )
    return token


@attrs.frozen
class Door:
    """What a request must bring.

    Attributes:
        hosts: Names that the Host header may give, without port, in lower case.
        token: What handing an order in demands; None lets nobody.
    """

    hosts: frozenset[str]
    token: str | None = attrs.field(repr=False)

    def admits_host(self, host: str) -> bool:
        """Say whether the page may be asked for under this Host header.

        A name that an attacker's DNS points here (rebinding) is none of them.
        """
        return _name(host) in self.hosts

    def admits_origin(self, headers: Headers) -> bool:
        """Say whether a request that changes something comes from the page itself."""
        origin = headers.get("origin", "")
        scheme, _, rest = origin.partition("://")
        return scheme in ("http", "https") and rest == headers.get("host", "")

    def admits_token(self, given: str | None) -> bool:
        """Say whether the token is the right one, in a time that tells nothing of it."""
        if self.token is None or given is None:
            return False
        return hmac.compare_digest(given.encode(), self.token.encode())


class Guard:
    """Holds every request against the door, and puts the headers on every answer.

    Args:
        app: What is guarded.
        door: What a request must bring.
    """

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = self._refusal(scope)
        answering = self._app if refusal is None else refusal
        await answering(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = Headers(scope=scope)
        if not self._door.admits_host(headers.get("host", "")):
            return refused(421, "host", "this host name is not one of serve.names")
        if scope["method"] in ("GET", "HEAD"):
            return None
        if not self._door.admits_origin(headers):
            return refused(403, "origin", "the request does not come from this page")
        if self._door.token is None:
            return refused(403, "read_only", "the page is read-only: serve.token_path names no token")
        if not self._door.admits_token(headers.get(TOKEN_HEADER)):
            return refused(401, "token", "the token is not the right one")
        return None


def refused(status: int, code: str, said: str) -> JSONResponse:
    """Return an answer that says no, and why."""
    return JSONResponse({"code": code, "error": said}, status)


def hosts_of(host: str, names: str) -> frozenset[str]:
    """Return the names under which the page may be asked for.

    Raises:
        ConfigError: the page listens at every address, and no name of its own is configured.
    """
    given = {name.strip().lower() for name in names.split(",") if name.strip()}
    if host in ("0.0.0.0", "::", ""):
        if given <= {"localhost"}:
            raise ConfigError(
                f"{ROOT}.serve.names is {names}, must give the name under which browsers ask for the page "
                f"when {ROOT}.serve.host is {host}"
            )
        return frozenset(given)
    return frozenset({host.lower(), *given})


def _name(host: str) -> str:
    name, _, port = host.lower().rpartition(":")
    return (name if name and port.isdigit() else host.lower()).strip("[]")
