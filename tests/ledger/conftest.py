"""A key, a clock that tests can set, and a small ledger made of real parts."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ledger import Ledger, SigningKey


class Clock:
    """Each reading is a second after the last, from a start that can be set back."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def key() -> SigningKey:
    return SigningKey(bytes(range(32)))


@pytest.fixture
def other_key() -> SigningKey:
    return SigningKey(bytes(range(1, 33)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.log"


@pytest.fixture
def write(path: Path, key: SigningKey, clock: Clock) -> Callable[[int], bytes]:
    """Return a function that writes so many entries and returns the file's bytes."""

    def write_entries(entries: int) -> bytes:
        with Ledger.open(path, key, clock=clock) as ledger:
            for number in range(entries):
                ledger.append({"cycle": number, "reason": "λ rose", "broken": [], "C_after": None})
        return path.read_bytes()

    return write_entries
