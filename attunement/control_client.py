"""Talks to a running loop through its control socket."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from attunement.control_protocol import DEFAULT_WAIT_S, VERSION, ControlError, encode
from attunement.order import SignedOrder

ANSWER_S: Final = 5.0
SILENCE_S: Final = 3600.0
ANSWER_MAX_BYTES: Final = 4 << 20

_CHUNK_BYTES = 64 * 1024


class NoLoopError(ControlError):
    """No loop serves the socket: it is missing, or nobody answers behind it."""


class RefusedRequestError(ControlError):
    """The loop did not carry the request out.

    Attributes:
        code: Which kind of refusal, one of the protocol's words.
    """

    def __init__(self, code: str, said: str) -> None:
        super().__init__(said)
        self.code = code


class ControlClient:
    """One connection.

    Args:
        path: The socket.
        timeout_s: Longest wait for an answer, seconds.

    Raises:
        NoLoopError: no loop serves it.
        ControlError: it cannot be reached for another reason.
    """

    def __init__(self, path: Path, timeout_s: float = ANSWER_S) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._received = bytearray()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(os.fspath(path))
        except (FileNotFoundError, ConnectionRefusedError) as error:
            self._socket.close()
            raise NoLoopError(f"no loop serves {path}") from error
        except OSError as error:
            self._socket.close()
            raise ControlError(f"{path} cannot be reached: {error.strerror or error}") from error

    def status(self) -> dict[str, Any]:
        """Return the loop's status.

        Raises:
            ControlError: the loop refused, fell silent, or went away.
        """
        return self._ask({"do": "status"}, self._timeout_s)

    def what_if(self, alpha: float, by: str = "optimizer") -> dict[str, Any]:
        """Return the kernel's verdict on an α, which is not applied.

        Raises:
            RefusedRequestError: α is no number, or there is no reading.
            ControlError: the loop fell silent, or went away.
        """
        return self._ask({"do": "what_if", "alpha": alpha, "by": by}, self._timeout_s)

    def send_order(self, signed: SignedOrder, wait_s: float = DEFAULT_WAIT_S) -> dict[str, Any]:
        """Hand an order to the loop's desk, and return what became of it within so many seconds.

        Raises:
            RefusedRequestError: too many orders wait, or the loop ended.
            ControlError: the loop fell silent, or went away.
        """
        request: dict[str, Any] = {"do": "order", "order": signed.encode(), "wait_s": wait_s}
        return self._ask(request, wait_s + self._timeout_s)

    def watch(self, history: int = 0) -> Iterator[dict[str, Any]]:
        """Yield one answer a cycle, `cycle` or `dropped`, until the loop ends.

        Raises:
            ControlError: the loop refused, or was silent for an hour.
        """
        self._send({"do": "watch", "history": history})
        while True:
            line = self._line(SILENCE_S)
            if line is None:
                return
            yield self._understood(line)

    def close(self) -> None:
        """Hang up; a `watch` in another thread ends."""
        # The loop may have hung up first.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        self._send(request)
        line = self._line(timeout_s)
        if line is None:
            raise ControlError(f"the loop behind {self._path} went away")
        return self._understood(line)

    def _send(self, request: dict[str, Any]) -> None:
        try:
            self._socket.sendall(encode({"v": VERSION, **request}))
        except OSError as error:
            # Whoever is turned away is told why before the loop hangs up.
            line = self._line(self._timeout_s)
            if line is not None:
                self._understood(line)
            raise ControlError(f"the loop behind {self._path} went away: {error}") from error

    def _line(self, timeout_s: float) -> bytes | None:
        end_s = time.monotonic() + timeout_s
        while b"\n" not in self._received:
            if not len(self._received) < ANSWER_MAX_BYTES:
                raise ControlError(f"the answer is longer than {ANSWER_MAX_BYTES} bytes")
            try:
                # A line that comes byte by byte has no longer than one that does not come.
                data = self._data(end_s - time.monotonic())
            except TimeoutError as error:
                raise ControlError(
                    f"the loop behind {self._path} gave no answer in {timeout_s:g} s"
                ) from error
            except OSError:
                return None
            if not data:
                return None
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return bytes(line)

    def _data(self, wait_s: float) -> bytes:
        if not wait_s > 0:
            raise TimeoutError
        self._socket.settimeout(wait_s)
        return self._socket.recv(_CHUNK_BYTES)

    def _understood(self, line: bytes) -> dict[str, Any]:
        try:
            members = json.loads(line)
        except ValueError as error:
            raise ControlError(f"the loop behind {self._path} answers what is no JSON: {error}") from error
        if not isinstance(members, dict) or members.get("v") != VERSION:
            raise ControlError(f"the loop behind {self._path} speaks another version than {VERSION}")
        if members.get("answer") == "error":
            raise RefusedRequestError(str(members.get("code")), str(members.get("error")))
        return members
