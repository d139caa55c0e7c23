import errno
import hashlib
import os
import select
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ledger import (
    Kind,
    Ledger,
    LedgerTamperedError,
    LedgerWriteError,
    SigningKey,
    Verdict,
    read_records,
    verify,
)

ROOT = Path(__file__).resolve().parents[2]


def expected_body(torn):
    return {"length": len(torn), "sha256": hashlib.sha256(torn).hexdigest()}


def test_a_torn_record_is_set_aside_and_recorded_at_every_length(write, path, key, clock):
    data = write(3)
    whole = data[: data.rindex(b"\n", 0, -1) + 1]
    for length in range(len(whole) + 1, len(data), 13):
        path.write_bytes(data[:length])
        torn = data[len(whole) : length]
        with Ledger.open(path, key, clock=clock) as ledger:
            assert ledger.head().sequence == 3
            assert ledger.append({"after": True}).sequence == 4
        *kept, recovery, entry = read_records(path)
        assert path.read_bytes().startswith(whole)
        assert len(kept) == 3
        assert (recovery.kind, recovery.body) == (Kind.RECOVERY, expected_body(torn))
        assert entry.body == {"after": True}
        aside = path.with_name("ledger.log.torn-3")
        assert aside.read_bytes() == torn
        assert verify(path, key.verify_key).verdict is Verdict.VERIFIED
        aside.unlink()


def test_damage_in_front_of_a_torn_record_is_still_tampering(write, path, key):
    data = bytearray(write(2)[:-5])
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(LedgerTamperedError, match="record 1 at byte"):
        Ledger.open(path, key)
    assert path.read_bytes() == data
    assert os.listdir(path.parent) == ["ledger.log"]


@pytest.mark.parametrize("step", ["set aside", "cut", "recovery begun"])
def test_a_recovery_that_was_interrupted_is_finished(write, path, key, clock, step):
    data = write(2)
    whole = data[: data.rindex(b"\n", 0, -1) + 1]
    torn = data[len(whole) : -9]
    aside = path.with_name("ledger.log.torn-2")
    aside.write_bytes(torn)
    path.write_bytes(whole + torn)
    if step == "cut":
        path.write_bytes(whole)
    elif step == "recovery begun":
        Ledger.open(path, key, clock=clock).close()
        path.write_bytes(path.read_bytes()[:-20])
    with Ledger.open(path, key, clock=clock) as ledger:
        assert ledger.head().sequence == 2
    *_, recovery = read_records(path)
    assert recovery.body == expected_body(torn)
    assert aside.read_bytes() == torn
    assert verify(path, key.verify_key).verdict is Verdict.VERIFIED


def test_set_aside_bytes_of_another_record_are_not_overwritten(write, path, key):
    data = write(2)[:-9]
    path.write_bytes(data)
    aside = path.with_name("ledger.log.torn-2")
    aside.write_bytes(b"precious")
    with pytest.raises(LedgerWriteError, match="torn-2 holds other bytes than the torn record"):
        Ledger.open(path, key)
    assert (path.read_bytes(), aside.read_bytes()) == (data, b"precious")


def test_a_recovery_that_cannot_be_written_leaves_the_torn_record_in_place(write, path, key):
    data = write(2)[:-9]
    path.write_bytes(data)
    path.with_name("ledger.log.torn-2").mkdir()
    with pytest.raises(LedgerWriteError, match=r"cannot open .*: Is a directory"):
        Ledger.open(path, key)
    assert path.read_bytes() == data
    path.with_name("ledger.log.torn-2").rmdir()
    Ledger.open(path, key).close()


def test_a_recovery_that_cannot_be_synced_does_not_open(write, path, key):
    path.write_bytes(write(2)[:-9])

    def sync(descriptor):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(LedgerWriteError, match="cannot sync"):
        Ledger.open(path, key, sync=sync)
    Ledger.open(path, key).close()
    assert verify(path, key.verify_key).verdict is Verdict.VERIFIED


APPENDING = """
import sys
from ledger import Ledger, SigningKey
with Ledger.open(sys.argv[1], SigningKey(bytes(range(32)))) as ledger:
    while True:
        receipt = ledger.append({"pad": "x" * 3000})
        print(receipt.sequence, receipt.hash_hex, flush=True)
"""


def test_nothing_acknowledged_is_lost_when_the_writer_is_killed(path, key):
    acknowledged = {}
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", APPENDING, str(path)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert child.stdout is not None
        lines = []
        while len(lines) < 40:
            assert select.select([child.stdout], [], [], 30)[0], "the writer is silent"
            lines.append(child.stdout.readline())
        child.kill()
        lines += child.stdout.readlines()
        child.stdout.close()
        child.wait()
        acknowledged |= dict(line.split() for line in lines if line.endswith("\n"))
        with Ledger.open(path, key) as ledger:
            stored = {str(record.sequence): record.hash_hex for record in ledger.records()}
            assert acknowledged.items() <= stored.items()
            ledger.append({"after": "kill"})
    assert verify(path, key.verify_key).verdict is Verdict.VERIFIED
    assert len(acknowledged) >= 120


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
BODIES = st.dictionaries(TEXT, st.integers() | st.none() | TEXT, max_size=3)


class LedgerMachine(RuleBasedStateMachine):
    """Appends, restarts and torn writes in any order: what was acknowledged is what is read."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name, "ledger.log")
        self.key = SigningKey(bytes(range(32)))
        self.ledger = Ledger.open(self.path, self.key)
        self.bodies = []
        self.tears = 0

    @rule(body=BODIES)
    def append(self, body):
        self.bodies.append((self.ledger.append(body).hash_hex, body))

    @rule()
    def restart(self):
        self.ledger.close()
        self.ledger = Ledger.open(self.path, self.key)

    @rule(torn=st.binary(min_size=1, max_size=300).filter(lambda torn: b"\n" not in torn))
    def tear(self, torn):
        self.ledger.close()
        with self.path.open("ab") as stream:
            stream.write(torn)
        assert verify(self.path, self.key.verify_key).verdict is Verdict.TORN_TAIL
        self.ledger = Ledger.open(self.path, self.key)
        self.tears += 1

    @invariant()
    def all_that_was_acknowledged_is_there(self):
        report = verify(self.path, self.key.verify_key, anchor=self.ledger.head())
        assert (report.verdict, report.head) == (Verdict.VERIFIED, self.ledger.head())
        records = list(self.ledger.records())
        assert [(r.hash_hex, r.body) for r in records if r.kind is Kind.ENTRY] == self.bodies
        assert sum(r.kind is Kind.RECOVERY for r in records) == self.tears

    def teardown(self):
        self.ledger.close()
        self.folder.cleanup()


LedgerMachine.TestCase.settings = settings(
    max_examples=20, stateful_step_count=12, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestLedgerMachine = LedgerMachine.TestCase
