"""What the page shows: the telemetry of the loop that runs, or the decisions of the ledger when none does."""

import threading
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from attunement.control_client import ControlClient
from attunement.control_protocol import HISTORY_MAX, ControlError
from attunement.dashboard.journal_index import JournalIndex
from attunement.journal import JournalError, entry_of
from attunement.telemetry_body import decision_body, recorded_limits_body, tellable
from attunement.what_if import judge
from kernel import Entry, MalformedQuantityError
from kernel.quantity import NANO_SQUARED, to_float
from ledger import LedgerError, Record

CYCLES_KEPT: Final = 1200
RETRY_S: Final = 0.5

OnCycles = Callable[[list[dict[str, Any]]], object]


class Feed:
    """Follows a loop through its control socket, and the ledger while there is no loop, in its own thread.

    Args:
        socket: The loop's control socket.
        index: The ledger.
        on_cycles: Told new cycles, in the feed's thread; an empty list when the source has changed.
    """

    def __init__(self, socket: Path, index: JournalIndex, on_cycles: OnCycles) -> None:
        self._socket = socket
        self._index = index
        self._on_cycles = on_cycles
        self._lock = threading.Lock()  # guards what follows
        self._cycles: deque[dict[str, Any]] = deque(maxlen=CYCLES_KEPT)
        self._client: ControlClient | None = None
        self._fault = ""
        # The newest record of the ledger that was told; None while the loop tells.
        self._told: tuple[int, bytes] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="feed", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def close(self) -> None:
        """Follow no more."""
        self._stopping.set()
        with self._lock:
            client = self._client
        if client is not None:
            client.close()
        self._thread.join()

    def overview(self) -> dict[str, Any]:
        """Return the source (`loop` or `ledger`), the status and the newest cycles.

        Raises:
            LedgerError, JournalError: the ledger cannot be read.
        """
        with self._lock:
            is_live, cycles, fault = self._client is not None, list(self._cycles), self._fault
        status: dict[str, Any] | None = None
        if is_live:
            try:
                with ControlClient(self._socket) as client:
                    status = client.status()
            except ControlError as error:
                fault = str(error)
        if status is None:
            status = self._ledger_status()
            cycles = cycles or self._ledger_cycles()
        return {
            "source": "loop" if status.get("answer") == "status" else "ledger",
            "status": status,
            "cycles": cycles,
            "records": self._index.refresh(),
            "fault": fault,
        }

    def what_if(self, alpha: float, by: str) -> dict[str, Any]:
        """Return the kernel's verdict on an α, by the loop or else on the ledger's newest reading.

        Raises:
            ControlError: the loop refused, or there is no reading to judge on.
            LedgerError, JournalError: the ledger cannot be read.
        """
        with self._lock:
            is_live = self._client is not None
        if is_live:
            with ControlClient(self._socket) as client:
                return client.what_if(alpha, by)
        for record in reversed(self._index.newest_decisions(HISTORY_MAX)):
            entry = entry_of(record.body)
            limits = self._index.limits_before(record.sequence + 1)
            if entry.reading is None or limits is None:
                continue
            try:
                return judge(limits, entry.after, entry.reading, alpha, _by(by)).body()
            except MalformedQuantityError as error:
                raise ControlError(str(error)) from error
        raise ControlError("the ledger's newest decisions hold no reading to judge on")

    def _follow(self) -> None:
        while not self._stopping.is_set():
            try:
                client = ControlClient(self._socket)
            except ControlError:
                self._poll_ledger()
                self._stopping.wait(RETRY_S)
                continue
            try:
                self._watch(client)
            except ControlError as error:
                self._set_fault(str(error))
            finally:
                client.close()
                self._turn_to(None)

    def _watch(self, client: ControlClient) -> None:
        self._turn_to(client)
        for told in client.watch(HISTORY_MAX):
            if self._stopping.is_set():
                return
            if told["answer"] == "cycle":
                self._take([told])

    def _poll_ledger(self) -> None:
        try:
            self._index.refresh()
            # Not their number: as many others may have taken the place of those that were cut off.
            newest = self._index.newest
            if newest == self._told:
                return
            self._told = newest
            cycles = self._ledger_cycles()
        except (LedgerError, JournalError) as error:
            self._set_fault(str(error))
            return
        with self._lock:
            self._cycles.clear()
            self._cycles.extend(cycles)
        self._on_cycles([])

    def _turn_to(self, client: ControlClient | None) -> None:
        with self._lock:
            self._client = client
            if client is not None:
                self._cycles.clear()
                self._fault = ""
        self._told = None
        self._on_cycles([])

    def _take(self, cycles: list[dict[str, Any]]) -> None:
        with self._lock:
            self._cycles.extend(cycles)
        self._on_cycles(cycles)

    def _set_fault(self, said: str) -> None:
        with self._lock:
            self._fault = said

    def _ledger_cycles(self) -> list[dict[str, Any]]:
        return [_cycle(record, entry_of(record.body)) for record in self._index.newest_decisions(HISTORY_MAX)]

    def _ledger_status(self) -> dict[str, Any]:
        self._index.refresh()
        newest = self._index.newest_decisions(HISTORY_MAX)
        entries = [entry_of(record.body) for record in newest]
        limits = self._index.limits_before(len(self._index))
        outcomes = Counter(entry.verdict.outcome.value for entry in entries)
        broken = Counter(check[0] for entry in entries for check in entry.verdict.broken)
        return {
            "answer": "ledger",
            "run": None,
            "limits": None if limits is None else recorded_limits_body(limits),
            "outcomes": dict(outcomes),
            "broken": dict(broken),
            "last_decision": (
                {
                    "time": newest[-1].timestamp,
                    "seq": newest[-1].sequence,
                    **_decision(newest[-1], entries[-1]),
                }
                if newest
                else None
            ),
            "latest": _cycle(newest[-1], entries[-1]) if newest else None,
            "age_s": None,
        }


def _by(by: str) -> Any:
    if by in ("optimizer", "operator"):
        return by
    raise ControlError(f"by is {by!r:.40}, must be optimizer or operator")


def _decision(record: Record, entry: Entry) -> dict[str, Any]:
    with tellable(f"record {record.sequence}"):
        return decision_body(entry)


def _cycle(record: Record, entry: Entry) -> dict[str, Any]:
    with tellable(f"record {record.sequence}"):
        return _cycle_body(record, entry)


def _cycle_body(record: Record, entry: Entry) -> dict[str, Any]:
    """Return a decision as one cycle: what the ledger does not hold is null, as λ(t, L) and Ĉ are."""
    state, reading = entry.after, entry.reading
    return {
        "time": record.timestamp,
        "cycle": state.cycle,
        "alpha": to_float(state.alpha),
        "good": to_float(state.good),
        "lambda": {},
        "C_hat": None,
        "objective": None if reading is None else to_float(reading.coherence),
        "C_gradient": None,
        "entropy_rate": None if reading is None else to_float(reading.entropy_rate),
        "h_internal": None if reading is None else to_float(reading.h_internal),
        "measured_alpha": None if reading is None else to_float(reading.alpha),
        "drive": None if reading is None else reading.alpha * max(reading.drive) / NANO_SQUARED,
        "loop_gain": None if reading is None else reading.alpha * max(reading.loop_gain) / NANO_SQUARED,
        "mode": state.mode.name.lower(),
        "resume": state.resume.name.lower(),
        "optimizer": "idle",
        "reverts": state.reverts,
        "missed": state.missed,
        "policy": state.policy,
        "decisions": [decision_body(entry)],
    }
