"""What a text of the configuration must look like: the rule of whoever takes it in the end.

A text that its user would refuse is refused here, by its key, before anything has begun.
"""

import os
import re
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final

import attrs

from attunement.foreign import TEXT_MAX
from ledger.note import is_name

SOCKET_BYTES_MAX: Final = 107
ORIGIN_MAX: Final = 255

_HOST = re.compile(
    r"(?!.{254})[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?", re.I
)


@attrs.frozen
class Form:
    """A form of text.

    Attributes:
        words: What must be, for the message and the page of keys.
        fits: Whether a text has it.
    """

    words: str
    fits: Callable[[str], bool]


def _is_text(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return text.strip() != "" and "\0" not in text


def is_path(text: str) -> bool:
    """Say whether a file can have this path: the system's calls end a text at NUL."""
    try:
        # Bytes that are no UTF-8 come from the environment as surrogates, and go back as they were.
        return text.strip() != "" and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def is_host(text: str) -> bool:
    """Say whether a socket can be told to look for this host."""
    try:
        ip_address(text)
    except ValueError:
        try:
            return _HOST.fullmatch(text.encode("idna").decode("ascii")) is not None
        except UnicodeError:
            return False
    return True


def _is_socket(text: str) -> bool:
    return is_path(text) and len(os.fsencode(text)) <= SOCKET_BYTES_MAX


def _is_origin(text: str) -> bool:
    return is_name(text) and len(text) <= ORIGIN_MAX


def _is_words(text: str) -> bool:
    return text.strip() != "" and text.isprintable() and len(text) <= TEXT_MAX


TEXT: Final = Form("text that is not empty, without NUL", _is_text)
PATH: Final = Form("a path that is not empty, without NUL", is_path)
SOCKET: Final = Form(f"a path of 1 to {SOCKET_BYTES_MAX} bytes, without NUL", _is_socket)
HOST: Final = Form("a host name or an address", is_host)
HOSTS: Final = Form(
    "host names or addresses, separated by commas",
    lambda text: _is_text(text) and all(is_host(one.strip()) for one in text.split(",") if one.strip()),
)
ORIGIN: Final = Form(
    f"1 to {ORIGIN_MAX} printable characters without spaces and plus signs, as a signed note has them",
    _is_origin,
)
WORDS: Final = Form(f"1 to {TEXT_MAX} printable characters", _is_words)
USERNAME: Final = Form(
    f"1 to {TEXT_MAX} printable characters without a colon", lambda text: _is_words(text) and ":" not in text
)
