"""Keys, a clock that tests can set, and a small ledger made of real parts."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ledger import Cadence, Ledger, NoteSigner, Signers, SigningKey

ORIGIN = "example.com/attunement"
DEFAULT = Cadence()


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
def signers(key: SigningKey) -> Signers:
    return Signers(key, NoteSigner(ORIGIN, SigningKey(bytes(range(2, 34)))))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


@pytest.fixture
def journal(folder: Path) -> Path:
    return folder / "journal"


@pytest.fixture
def write(folder: Path, signers: Signers, clock: Clock) -> Callable[..., bytes]:
    """Return a function that writes so many entries and returns the journal's bytes."""

    def write_entries(entries: int, cadence: Cadence = DEFAULT) -> bytes:
        with Ledger.open(folder, signers, clock=clock, cadence=cadence) as ledger:
            for number in range(entries):
                ledger.append({"cycle": number, "reason": "λ rose", "broken": [], "C_after": None})
        return (folder / "journal").read_bytes()

    return write_entries
