"""The control socket's language: newline-delimited JSON, one request a line, one answer a line, version 1.

Requests:

    {"v": 1, "do": "status"}
    {"v": 1, "do": "watch", "history": N}                  N newest cycles first, 0 to 600
    {"v": 1, "do": "order", "order": TEXT, "wait_s": S}    TEXT as in an order's file, 0 ≤ S ≤ 60
    {"v": 1, "do": "what_if", "alpha": A, "by": "optimizer" | "operator"}

Answers have "v": 1 and "answer": `status`, `cycle` (while watching), `dropped` (with "count": so many cycles
were not sent, the reader was too slow), `order` ("order_id", "state": done | refused | waiting, "said"),
`what_if`, or `error` ("code", "error"). Members may be added within a version; none is taken away or changes
its meaning.
"""

import json
import os
from pathlib import Path
from typing import Any, Final

import attrs

from attunement.config_forms import SOCKET_BYTES_MAX
from attunement.config_schema import ROOT, Config, ConfigError

VERSION: Final = 1
LINE_MAX_BYTES: Final = 64 * 1024
HISTORY_MAX: Final = 600
WAIT_MAX_S: Final = 60.0
DEFAULT_WAIT_S: Final = 10.0
PATH_MAX_BYTES: Final = SOCKET_BYTES_MAX


class ControlError(Exception):
    """The control socket cannot be served, reached or understood."""


class RequestError(Exception):
    """A line is no request, or one that cannot be carried out."""

    def __init__(self, code: str, said: str) -> None:
        super().__init__(said)
        self.code = code


@attrs.frozen
class Request:
    """One line that was understood."""

    do: str
    members: dict[str, Any]


_MEMBERS: Final[dict[str, frozenset[str]]] = {
    "status": frozenset(),
    "watch": frozenset({"history"}),
    "order": frozenset({"order", "wait_s"}),
    "what_if": frozenset({"alpha", "by"}),
}


def socket_path(config: Config) -> Path:
    """Return where the socket is: the configuration's place, or beside the ledger's folder."""
    if config.control.socket is not None:
        return Path(config.control.socket)
    folder = Path(config.logging.audit_ledger_path)
    return folder.with_name(f"{folder.name}.sock")


def served_socket(config: Config) -> Path | None:
    """Return where a run serves the socket, None if it is to serve none.

    Raises:
        ConfigError: a socket cannot have so long a name.
    """
    if not config.control.enabled:
        return None
    path = socket_path(config)
    if len(os.fsencode(path)) <= PATH_MAX_BYTES:
        return path
    raise ConfigError(
        f"{ROOT}.control.socket is {path} with {len(os.fsencode(path))} bytes, must have at most "
        f"{PATH_MAX_BYTES}: set a shorter one"
    )


def encode(body: dict[str, Any]) -> bytes:
    """Return one line."""
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def answer(kind: str, body: dict[str, Any]) -> bytes:
    """Return the line of an answer."""
    return encode({"v": VERSION, "answer": kind, **body})


def parse_request(line: bytes) -> Request:
    """Read a request.

    Raises:
        RequestError: it is none.
    """
    try:
        members = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RequestError("malformed", f"the line is no JSON: {error}") from error
    if not isinstance(members, dict):
        raise RequestError("malformed", "the line is no object")
    version, do = members.pop("v", None), members.pop("do", None)
    if not (type(version) is int and version == VERSION):
        raise RequestError("version", f"v is {version!r:.40}, must be {VERSION}")
    if not (isinstance(do, str) and do in _MEMBERS):
        raise RequestError("unknown", f"do is {do!r:.40}, must be one of {', '.join(_MEMBERS)}")
    foreign = sorted(members.keys() - _MEMBERS[do])
    if foreign:
        raise RequestError("malformed", f"{do} has no member {foreign[0]!r:.40}")
    return Request(do, members)


def number(members: dict[str, Any], name: str, default: float, most: float) -> float:
    """Return a member that is a number in [0, most].

    Raises:
        RequestError: it is another.
    """
    value = members.get(name, default)
    if type(value) in (int, float) and 0 <= value <= most:
        return float(value)
    raise RequestError("malformed", f"{name} is {value!r:.40}, must be a number in [0, {most:g}]")
