"""The control socket of a running loop: what it tells, and where orders come in.

The socket grants nothing. It tells what the loop reports, judges an α by the pure rules without applying it,
and hands orders to the desk, where their signatures decide. The loop's own thread never waits for it: a
report is put into a bounded history, and the thread that serves the clients takes it from there.
"""

import errno
import os
import selectors
import socket
import stat
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import attrs

from attunement.control_protocol import (
    DEFAULT_WAIT_S,
    HISTORY_MAX,
    LINE_MAX_BYTES,
    PATH_MAX_BYTES,
    WAIT_MAX_S,
    ControlError,
    Request,
    RequestError,
    answer,
    number,
    parse_request,
)
from attunement.order import OrderError, SignedOrder
from attunement.order_desk import Answer, OrderDesk
from attunement.telemetry import CycleReport
from attunement.telemetry_body import cycle_body, decision_body, limits_body, utc, utc_now
from attunement.what_if import is_usable, judge
from kernel import Entry, MalformedQuantityError, Outcome, SafetyKernel, rules

CLIENTS_MAX: Final = 32
ORDERS_WAITING_MAX: Final = 16
QUEUE_MAX_BYTES: Final = 1 << 20
IDLE_S: Final = 10.0
STALLED_S: Final = 30.0

_SOCKET_MODE = 0o600
_BACKLOG = 8
_CHUNK_BYTES = 16 * 1024
_TICK_S = 0.5
# So often who watches is told of new cycles: waking for each would cost the loop more than the telling.
_WATCHED_TICK_S = 0.025
_BASIS_CYCLES = 20
_CREDENTIALS = struct.Struct("3i")


@attrs.frozen
class _Told:
    number: int
    time_s: float
    monotonic_s: float
    report: CycleReport


@attrs.define(eq=False)
class _Waiting:
    """An order that was handed to the desk; the desk's thread sets the answer."""

    order_id: str
    deadline_s: float
    answer: Answer | None = None


@attrs.define(eq=False)
class _Client:
    connection: socket.socket
    heard_s: float
    received: bytearray = attrs.field(factory=bytearray)
    sending: deque[bytes] = attrs.field(factory=deque)
    queued_bytes: int = 0
    sent_s: float = 0.0
    # Number of the newest cycle that was queued; None when the client does not watch.
    watched: int | None = None
    waiting: _Waiting | None = None
    is_ending: bool = False


class LoopTelemetry:
    """What a loop has told so far; a subscriber, and all that its thread ever does for the socket.

    Args:
        ledger: Folder of the ledger, as it is shown.
        is_verified: Whether the kernel that runs is the proved one.
        optimizer: Name of the optimizer that the configuration puts in charge.
    """

    def __init__(self, ledger: str, is_verified: bool, optimizer: str) -> None:
        self._lock = threading.Lock()  # guards all that follows; never held while anything waits
        self._history: deque[_Told] = deque(maxlen=HISTORY_MAX)
        self._decided: tuple[float, Entry] | None = None
        self._outcomes: Counter[Outcome] = Counter()
        self._broken: Counter[str] = Counter()
        self._run: dict[str, Any] = {
            "pid": os.getpid(),
            "started": utc_now(),
            "ledger": ledger,
            "is_kernel_verified": is_verified,
            "optimizer": optimizer,
        }

    def on_report(self, report: CycleReport) -> None:
        """Take in one cycle."""
        now_s = time.time()
        with self._lock:
            last = self._history[-1].number if self._history else 0
            self._history.append(_Told(last + 1, now_s, time.monotonic(), report))
            for entry in report.entries:
                self._count(now_s, entry)

    def since(self, number: int) -> list[_Told]:
        """Return what is still kept of the reports after one, oldest first."""
        with self._lock:
            newest = self._history[-1].number if self._history else 0
            count = min(newest - number, len(self._history))
            return [self._history[index] for index in range(-count, 0)]

    @property
    def newest(self) -> int:
        """Number of the newest report, 0 before the first."""
        with self._lock:
            return self._history[-1].number if self._history else 0

    def basis(self) -> CycleReport | None:
        """Return the report that an α can be judged on: the newest, or the newest taken at the α in force.

        What follows a probe was measured at the probe's α: the one before says more, if nothing else changed.
        """
        told = self.since(self.newest - _BASIS_CYCLES)
        if not told:
            return None
        newest = told[-1].report
        if newest.measurement is None:
            return newest
        for one in reversed(told):
            report = one.report
            if report.measurement is None or _settled(report) != _settled(newest):
                return newest
            if is_usable(report.state, report.measurement.alpha):
                return report
        return newest

    def status(self, kernel: SafetyKernel) -> dict[str, Any]:
        """Return the whole status, see `docs/dashboard.md` for its schema."""
        with self._lock:
            latest = self._history[-1] if self._history else None
            outcomes, broken, decided = dict(self._outcomes), dict(self._broken), self._decided
        last = None if decided is None else {"time": utc(decided[0]), **decision_body(decided[1])}
        return {
            "run": {**self._run, "now": utc_now()},
            "limits": limits_body(kernel.limits),
            "outcomes": {outcome.value: outcomes.get(outcome, 0) for outcome in Outcome},
            "broken": {name: broken[name] for name in sorted(broken)},
            "last_decision": last,
            "latest": None if latest is None else cycle_body(latest.report, utc(latest.time_s)),
            "age_s": None if latest is None else time.monotonic() - latest.monotonic_s,
        }

    def _count(self, now_s: float, entry: Entry) -> None:
        outcome = entry.verdict.outcome
        self._outcomes[outcome] += 1
        for check in entry.verdict.broken:
            self._broken[check[0]] += 1
        if outcome is not Outcome.HELD or entry.verdict.broken:
            self._decided = (now_s, entry)


def ring(alarm: socket.socket) -> None:
    """Wake whoever listens at the other end; a bell that rings already, or is gone, is left alone."""
    with suppress(OSError):
        alarm.send(b"!")


class ControlServer:
    """Serves one socket in a thread of its own.

    Args:
        path: Where; a stale socket is replaced, whatever else is there stays.
        telemetry: What the loop tells.
        kernel: Read for its limits and its state, and never asked to decide.
        desk: Takes the orders.

    Raises:
        ControlError: another loop serves there, something else lies there, or it cannot be made.
    """

    def __init__(self, path: Path, telemetry: LoopTelemetry, kernel: SafetyKernel, desk: OrderDesk) -> None:
        self._path = path
        self._telemetry = telemetry
        self._kernel = kernel
        self._desk = desk
        self._clients: dict[socket.socket, _Client] = {}
        self._stopping = False
        # Monotonic time in seconds until which nobody is let in; None while the door is open.
        self._shut_until_s: float | None = None
        self._listener, self._identity = _listen(path)
        self._bell, self._alarm = socket.socketpair()
        for one in (self._bell, self._alarm):
            one.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Tell every client that waits, close all, and remove the socket's file if it is still this one."""
        self._stopping = True
        ring(self._alarm)
        self._thread.join()
        for client in list(self._clients.values()):
            self._drop(client)
        for one in (self._listener, self._bell, self._alarm):
            one.close()
        self._selector.close()
        with suppress(FileNotFoundError):
            if _identity(self._path) == self._identity:
                self._path.unlink()

    def _serve(self) -> None:
        while not self._stopping:
            self._open_again()
            is_watched = any(client.watched is not None for client in self._clients.values())
            for key, events in self._selector.select(_WATCHED_TICK_S if is_watched else _TICK_S):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj is self._bell:
                    with suppress(BlockingIOError):
                        self._bell.recv(_CHUNK_BYTES)
                else:
                    self._attend(self._clients[key.data], events)
            self._publish()
            for client in list(self._clients.values()):
                self._tend(client)
        self._publish()
        for client in list(self._clients.values()):
            if client.waiting is not None:
                self._refuse(client, RequestError("ended", "the loop ended before the order was carried out"))
                self._flush(client)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                # Whoever knocks stays ready to be let in: to ask again at once would take a whole processor.
                self._selector.unregister(self._listener)
                self._shut_until_s = time.monotonic() + _TICK_S
            elif error.errno not in (errno.ECONNABORTED, errno.EAGAIN):
                raise
            return
        connection.setblocking(False)
        now_s = time.monotonic()
        client = _Client(connection, now_s, sent_s=now_s)
        self._clients[connection] = client
        self._selector.register(connection, selectors.EVENT_READ, connection)
        if not _is_own(connection):
            self._refuse(client, RequestError("forbidden", "the socket is its owner's alone"), is_last=True)
        elif len(self._clients) > CLIENTS_MAX:
            self._refuse(client, RequestError("busy", f"{CLIENTS_MAX} clients are served"), is_last=True)

    def _open_again(self) -> None:
        if self._shut_until_s is not None and time.monotonic() >= self._shut_until_s:
            self._shut_until_s = None
            self._selector.register(self._listener, selectors.EVENT_READ)

    def _attend(self, client: _Client, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._flush(client)
        if events & selectors.EVENT_READ and client.connection in self._clients:
            self._receive(client)

    def _receive(self, client: _Client) -> None:
        try:
            data = client.connection.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)
            return
        if not data:
            self._drop(client)
        elif client.watched is None and not client.is_ending:
            client.received += data
            self._read_lines(client)
            if not len(client.received) <= LINE_MAX_BYTES:
                self._refuse(client, _too_long(), is_last=True)

    def _read_lines(self, client: _Client) -> None:
        while client.waiting is None and client.watched is None and not client.is_ending:
            line, ended, rest = client.received.partition(b"\n")
            if not len(line) < LINE_MAX_BYTES:
                self._refuse(client, _too_long(), is_last=True)
                return
            if not ended:
                return
            client.received, client.heard_s = rest, time.monotonic()
            try:
                self._answer(client, parse_request(bytes(line)))
            except RequestError as error:
                self._refuse(client, error)

    def _answer(self, client: _Client, request: Request) -> None:
        members = request.members
        match request.do:
            case "status":
                told = self._telemetry.status(self._kernel)
                watchers = sum(one.watched is not None for one in self._clients.values())
                more = {"orders_waiting": self._desk.waiting, "watchers": watchers}
                self._send(client, answer("status", {**told, **more}))
            case "watch":
                history = int(number(members, "history", 0, HISTORY_MAX))
                client.watched = max(0, self._telemetry.newest - history)
            case "what_if":
                self._send(client, answer("what_if", self._judged(members)))
            case "order":
                self._submit(client, members)

    def _judged(self, members: dict[str, Any]) -> dict[str, Any]:
        by, report = members.get("by", "optimizer"), self._telemetry.basis()
        if by not in ("optimizer", "operator"):
            raise RequestError("malformed", f"by is {by!r:.40}, must be optimizer or operator")
        if report is None or report.measurement is None:
            raise RequestError("no_reading", "the newest cycle gave no usable reading, wait for the next one")
        try:
            reading = report.measurement.reading()
            return judge(self._kernel.limits, report.state, reading, members.get("alpha"), by).body()
        except MalformedQuantityError as error:
            raise RequestError("malformed", str(error)) from error

    def _submit(self, client: _Client, members: dict[str, Any]) -> None:
        wait_s, text = number(members, "wait_s", DEFAULT_WAIT_S, WAIT_MAX_S), members.get("order")
        if not isinstance(text, str):
            raise RequestError("malformed", "order must be a text")
        try:
            signed = SignedOrder.parse(text.removesuffix("\n"))
        except OrderError as error:
            raise RequestError("malformed", str(error)) from error
        if not self._desk.waiting < ORDERS_WAITING_MAX:
            raise RequestError("busy", f"{self._desk.waiting} orders wait, {ORDERS_WAITING_MAX} may")
        waiting = _Waiting(signed.terms.order_id, time.monotonic() + wait_s)
        client.waiting = waiting

        def on_answer(answered: Answer) -> None:
            waiting.answer = answered
            ring(self._alarm)

        self._desk.submit([signed], on_answer)

    def _publish(self) -> None:
        # Who is far behind is left alone until he has read on: the history keeps what he has not been told.
        ready = [
            client
            for client in self._clients.values()
            if client.watched is not None and client.queued_bytes <= QUEUE_MAX_BYTES // 2
        ]
        if not ready:
            return
        told = self._telemetry.since(min(client.watched or 0 for client in ready))
        lines = {one.number: answer("cycle", cycle_body(one.report, utc(one.time_s))) for one in told}
        for client in ready:
            for number_, line in lines.items():
                if number_ > (client.watched or 0) and not self._queue_cycle(client, number_, line):
                    break
            if client.sending:
                self._flush(client)

    def _queue_cycle(self, client: _Client, number_: int, line: bytes) -> bool:
        """Queue one cycle, and say whether there was room for it."""
        if client.sending and client.queued_bytes + len(line) > QUEUE_MAX_BYTES:
            return False
        lost = number_ - (client.watched or 0) - 1
        if lost:
            self._queue(client, answer("dropped", {"count": lost}))
        client.watched = number_
        self._queue(client, line)
        return True

    def _tend(self, client: _Client) -> None:
        now_s, waiting = time.monotonic(), client.waiting
        if waiting is not None and (waiting.answer is not None or now_s >= waiting.deadline_s):
            client.waiting, client.heard_s = None, now_s
            self._send(client, answer("order", _order_body(waiting)))
            self._read_lines(client)
        is_silent = client.watched is None and waiting is None and not now_s - client.heard_s < IDLE_S
        is_stalled = bool(client.sending) and not now_s - client.sent_s < STALLED_S
        if is_silent or is_stalled or (client.is_ending and not client.sending):
            self._drop(client)

    def _refuse(self, client: _Client, error: RequestError, *, is_last: bool = False) -> None:
        client.is_ending = is_last
        self._send(client, answer("error", {"code": error.code, "error": str(error)}))

    def _send(self, client: _Client, line: bytes) -> None:
        self._queue(client, line)
        self._flush(client)

    def _queue(self, client: _Client, line: bytes) -> None:
        if not client.sending:
            client.sent_s = time.monotonic()
        client.sending.append(line)
        client.queued_bytes += len(line)

    def _flush(self, client: _Client) -> None:
        while client.sending:
            line = client.sending[0]
            try:
                sent = client.connection.send(line)
            except BlockingIOError:
                break
            except OSError:
                self._drop(client)
                return
            client.sent_s = time.monotonic()
            client.queued_bytes -= sent
            if sent < len(line):
                client.sending[0] = line[sent:]
                break
            client.sending.popleft()
        if client.connection in self._clients:
            writing = selectors.EVENT_WRITE if client.sending else 0
            self._selector.modify(client.connection, selectors.EVENT_READ | writing, client.connection)

    def _drop(self, client: _Client) -> None:
        if self._clients.pop(client.connection, None) is None:
            return
        self._selector.unregister(client.connection)
        client.connection.close()


@contextmanager
def controlled(
    path: Path | None, telemetry: LoopTelemetry, kernel: SafetyKernel, desk: OrderDesk
) -> Iterator[None]:
    """Serve the socket while the block runs; without a path there is none.

    Raises:
        ControlError: as of `ControlServer`.
    """
    if path is None:
        yield
        return
    server = ControlServer(path, telemetry, kernel, desk)
    try:
        yield
    finally:
        server.close()


def _too_long() -> RequestError:
    return RequestError("too_long", f"what was sent is longer than {LINE_MAX_BYTES} bytes")


def _settled(report: CycleReport) -> tuple[int, int, int]:
    state, _ = rules.recover(report.state)
    return state.policy, state.mode, state.alpha


def _order_body(waiting: _Waiting) -> dict[str, Any]:
    answered = waiting.answer
    said: Sequence[str] = ("not carried out to its end yet",) if answered is None else answered.said
    state = "waiting" if answered is None else "refused" if answered.is_refused else "done"
    return {"order_id": waiting.order_id, "state": state, "said": list(said)}


def _listen(path: Path) -> tuple[socket.socket, tuple[int, int]]:
    if not len(os.fsencode(path)) <= PATH_MAX_BYTES:
        raise ControlError(
            f"control.socket {path} has {len(os.fsencode(path))} bytes, must have at most {PATH_MAX_BYTES}"
        )
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        # Before the bind: the file never has another mode, not for a moment.
        os.fchmod(listener.fileno(), _SOCKET_MODE)
        path.parent.mkdir(parents=True, exist_ok=True)
        listener.bind(os.fspath(path))
        listener.listen(_BACKLOG)
        return listener, _identity(path)
    except OSError as error:
        listener.close()
        raise ControlError(f"control.socket {path} cannot be served: {error.strerror}") from error


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise ControlError(f"control.socket {path} cannot be looked at: {error.strerror}") from error
    if not stat.S_ISSOCK(mode):
        raise ControlError(f"control.socket {path} is there and is no socket, it is left as it is")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
        except OSError as error:
            raise ControlError(
                f"control.socket {path} cannot be reached or replaced: {error.strerror}"
            ) from error
        else:
            raise ControlError(f"control.socket {path} is served by another loop that runs")


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino


def _is_own(connection: socket.socket) -> bool:
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(data)
    return user in (0, os.geteuid())
