"""Saved states: checked against the ledger, never believed; an optimizer's memory that does no harm."""

import json
import math
import os
import shutil
import threading
from pathlib import Path

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_bench import split

from attunement.asking import BoundedOptimizer
from attunement.assembly import Attunement, build_optimizer
from attunement.build import build_engine
from attunement.cli import _exit_code
from attunement.config_schema import Config, LoggingConfig, OptimizerConfig, SourceConfig
from attunement.governance import follow
from attunement.journal import resume_point
from attunement.ledger_view import status
from attunement.optimizer_memory import (
    BYTES_MAX,
    OptimizerMemoryError,
    fingerprint,
    put,
    read_memory,
    recall,
    restore_memory,
    write_memory,
)
from attunement.order import Action, sign_order
from attunement.order_book import Commit, OrderBook
from attunement.running import run_cycles
from attunement.snapshot import DOMAIN, Snapshot, SnapshotError, Surveyor
from kernel import Mode, Order
from ledger import (
    Head,
    Kind,
    Ledger,
    LedgerTamperedError,
    SigningKey,
    VerifyKey,
    frame,
    load_private,
    read_records,
    verify,
)
from ledger import Verdict as LedgerVerdict
from ledger.canonical import encode, parse
from ledger.keys import encode_base64
from ledger.record import Tip, encode_body, seal
from optimizers.protocol import Outcome, Suggestion, Verdict


def configuration(folder, **optimizer):
    settings = {"name": "supervisor", "seed": 5, "ask_timeout": 60.0, **optimizer}
    return Config(
        settle_delay=0.0,
        optimizer=OptimizerConfig(**settings),
        source=SourceConfig(nodes=16, seed=3),
        logging=LoggingConfig(audit_ledger_path=str(folder / "ledger")),
    )


def attuned(config, signers, cycles=30):
    engine = build_engine(config)
    with Attunement(config, engine, signers) as attunement:
        attunement.controller.start()
        run_cycles(engine, cycles, 0.0, threading.Event(), lambda: None)
    return attunement


@pytest.fixture
def path(tmp_path, signers):
    attuned(configuration(tmp_path), signers)
    return tmp_path / "ledger"


def surveyed(path, until=None):
    surveyor = Surveyor()
    records = list(read_records(path))
    surveyor.follow(records, None if until is None else Head(until, records[until].hash_hex))
    return surveyor


# snapshots


def test_a_snapshot_says_what_the_ledger_says(path, signing_key):
    snapshot = surveyed(path).snapshot()
    records = list(read_records(path))
    assert (snapshot.state, snapshot.limits) == resume_point(records)
    assert snapshot.head == Head(records[-1].sequence, records[-1].hash_hex)
    read = Snapshot.parse(snapshot.sign(signing_key), signing_key.verify_key)
    assert read == snapshot
    assert read.status(path, signing_key.verify_key) == status(path)


def test_every_record_can_be_the_last_of_a_snapshot(path, signing_key):
    key = signing_key.verify_key
    whole = status(path)
    for record in list(read_records(path))[1:]:
        snapshot = surveyed(path, record.sequence).snapshot()
        assert [one.sequence for one in snapshot.tail(path, key)] == list(
            range(record.sequence + 1, whole.records)
        )
        assert snapshot.status(path, key) == whole
        surveyed(path, record.sequence).check(snapshot)


def test_a_snapshot_keeps_its_word_while_the_ledger_grows(path, tmp_path, signers, signing_key):
    before = surveyed(path).snapshot()
    attuned(configuration(tmp_path), signers, 10)
    assert before.status(path, signing_key.verify_key) == status(path)
    with pytest.raises(SnapshotError, match="its head is Head"):
        surveyed(path).check(before)
    surveyed(path, before.head.sequence).check(before)


def test_a_snapshot_knows_the_latch_and_the_alpha_to_begin_with(attune, scripted_engine, wishes, signing_key):
    loop = attune(scripted_engine(), wishes(Suggestion(1.01)))
    loop.controller.start()
    loop.engine.run(3)
    commit = next(loop.governance.book.commits())

    def order(action, *subject):
        loop.desk.submit([sign_order(loop.operator, loop.governance.draft(action, subject, "ines", "test"))])
        loop.engine.run(1)

    order(Action.PERSIST, commit.sequence, commit.alpha)
    loop.controller.freeze("ines", "lunch")
    order(Action.UNFREEZE)
    loop.controller.freeze("ines", "dinner")
    whole = status(loop.path)
    assert (whole.latch, whole.initial) == (loop.governance.book.head.sequence, commit)
    found = set()
    for record in list(read_records(loop.path))[1:]:
        snapshot = surveyed(loop.path, record.sequence).snapshot()
        found.add((snapshot.latch, snapshot.initial))
        read = Snapshot.parse(snapshot.sign(signing_key), signing_key.verify_key)
        assert read == snapshot
        assert read.status(loop.path, signing_key.verify_key) == whole
    assert len(found) == 4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"state": {"mode": Mode.FROZEN}}, "its state is State"),
        ({"state": {"alpha": 1}}, "its state is State"),
        ({"limits": {"alpha_max": 2 * 10**9}}, "its limits is Limits"),
        ({"begin": 5}, "its begin is 5, the ledger says"),
        ({"timestamp": "2026-03-01T00:00:00.000000Z"}, "its timestamp is"),
        ({"verdicts": {}}, "its verdicts is {}"),
        ({"latch": 3}, "its latch is 3, the ledger says None"),
        ({"initial": Commit(3, 10**9)}, "its initial is Commit"),
        ({"era": 7}, "its era is 7, the ledger says 1"),
        ({"root": "00" * 32}, "its root is 00"),
        ({"log_key": "a+b"}, "its log_key is a"),
        ({"window": 3}, "its window is 3"),
    ],
    ids=str,
)
def test_a_snapshot_that_lies_under_the_right_key_is_found(path, signing_key, change, said):
    true = surveyed(path).snapshot()
    changes = {
        name: getattr(true, name)._replace(**value) if name in ("state", "limits") else value
        for name, value in change.items()
    }
    lie = Snapshot.parse(attrs.evolve(true, **changes).sign(signing_key), signing_key.verify_key)
    with pytest.raises(SnapshotError, match=said):
        surveyed(path).check(lie)


def test_a_ledger_that_lacks_the_snapshots_record_is_found(path, tmp_path, signers, signing_key):
    snapshot = surveyed(path).snapshot()
    shutil.rmtree(path)
    attuned(configuration(tmp_path), signers, 29)
    for begin in (snapshot.begin, snapshot.begin + 3, 10**9, 0):
        with pytest.raises(
            SnapshotError, match=f"the ledger has no record {snapshot.head.sequence} with the hash"
        ):
            list(attrs.evolve(snapshot, begin=begin).tail(path, signing_key.verify_key))


def test_the_tail_is_verified(path, signing_key):
    snapshot = surveyed(path, 5).snapshot()
    journal = path / "journal"
    whole = journal.read_bytes()
    with pytest.raises(LedgerTamperedError, match="key is"):
        list(snapshot.tail(path, SigningKey(bytes(32)).verify_key))
    journal.write_bytes(
        whole[: snapshot.begin] + whole[snapshot.begin :].replace(b"trial measured", b"trial measures")
    )
    with pytest.raises((LedgerTamperedError, SnapshotError)):
        list(snapshot.tail(path, signing_key.verify_key))
    journal.write_bytes(whole[:-1])
    assert len(list(snapshot.tail(path, signing_key.verify_key))) == len(list(read_records(path))) - 6


def sealed(members, key):
    signature = encode_base64(key.sign(DOMAIN + encode(members)))
    return encode({**members, "signature": signature})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda members: {**members, "v": 1}, "its members are not those of version 2"),
        (lambda members: {**members, "extra": 1}, "its members are not those of version 2"),
        (lambda members: {**members, "format": "x"}, "it is not a snapshot, must have the format"),
        (lambda members: {**members, "seq": -1}, "a member is not what it should be"),
        (lambda members: {**members, "state": {}}, "a member is not what it should be"),
        (lambda members: {**members, "limits": None}, "a member is not what it should be"),
        (lambda members: {**members, "initial": 3}, "a member is not what it should be"),
        (lambda members: {**members, "charter": {}}, "a member is not what it should be"),
        (lambda members: {**members, "window": None}, "a member is not what it should be: window is None"),
    ],
)
def test_a_file_that_is_no_snapshot_is_refused(path, signing_key, change, said):
    members = parse(surveyed(path).snapshot().sign(signing_key).rstrip(b"\n"))
    del members["signature"]
    with pytest.raises(SnapshotError, match=said):
        Snapshot.parse(sealed(change(members), signing_key), signing_key.verify_key)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b'{"format":1}', b"\xff", b"{}\n\n"])
def test_bytes_that_are_no_snapshot_are_refused(data, signing_key):
    with pytest.raises(SnapshotError, match="it is not a snapshot"):
        Snapshot.parse(data, signing_key.verify_key)


def test_no_byte_of_a_snapshot_can_be_changed(path, signing_key):
    data = surveyed(path).snapshot().sign(signing_key)
    for place in range(len(data) - 1):
        with pytest.raises(SnapshotError):
            Snapshot.parse(
                data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :], signing_key.verify_key
            )
    for other in (b"", b"!", encode_base64(bytes(64)).encode()):
        members = {**parse(data.rstrip(b"\n")), "signature": other.decode()}
        with pytest.raises(SnapshotError, match="it is not signed by key"):
            Snapshot.parse(encode(members), signing_key.verify_key)
    with pytest.raises(SnapshotError, match="it is not signed by key"):
        Snapshot.parse(data, SigningKey(bytes(32)).verify_key)


def test_there_is_no_snapshot_of_nothing_or_of_a_lie(tmp_path, path, signers):
    for surveyor in (Surveyor(), surveyed(path, 0)):
        with pytest.raises(SnapshotError, match="the ledger holds no decision yet"):
            surveyor.snapshot()
    entries = [record for record in read_records(path) if record.kind is Kind.ENTRY]
    with Ledger.open(tmp_path / "forged", signers, sync=lambda descriptor: None) as ledger:
        for record in entries[:4]:
            ledger.append(record.body)
        ledger.append({**entries[4].body, "verdict": "held"})
    with pytest.raises(SnapshotError, match="a decision is not what the rules give: record 5: verdict is"):
        surveyed(tmp_path / "forged").snapshot()


def test_only_the_key_in_force_signs(path, signers):
    successor = SigningKey(bytes(range(7, 39)))
    surveyed(path).check_signer(signers.records.verify_key)
    with pytest.raises(SnapshotError, match="is not the one that signs the ledger's records now"):
        Surveyor().check_signer(signers.records.verify_key)
    with Ledger.open(path, signers) as ledger:
        ledger.rotate(successor)
    after = surveyed(path)
    after.check_signer(successor.verify_key)
    with pytest.raises(SnapshotError, match="is not the one that signs"):
        after.check_signer(signers.records.verify_key)
    assert after.snapshot().status(path, successor.verify_key) == status(path)


# a run that begins at a snapshot


BOOK = ("head", "timestamp", "alpha", "mode", "limits", "latch", "era", "initial", "charter", "underway")


def book_of(governance):
    book = governance.book
    return [getattr(book, name) for name in BOOK], list(book.commits())


@pytest.mark.parametrize("until", [5, 20, None])
def test_a_run_begins_at_a_snapshot_as_it_would_at_the_first_record(
    path, tmp_path, signers, monkeypatch, until
):
    snapshot = surveyed(path, until).snapshot()
    shutil.copytree(path, tmp_path / "copy" / "ledger")
    whole = attuned(configuration(tmp_path / "copy"), signers, 4)
    verified = []
    real = VerifyKey.verifies
    monkeypatch.setattr(VerifyKey, "verifies", lambda key, *args: verified.append(key) or real(key, *args))
    config, engine = configuration(tmp_path), build_engine(configuration(tmp_path))
    newer = len(list(read_records(path))) - snapshot.head.sequence - 1
    verified.clear()
    with Attunement(config, engine, signers, snapshot=snapshot) as attunement:
        # The records that are newer, and the checkpoint.
        assert len(verified) == newer + 1
        assert attunement.snapshot_refused == ""
        attunement.controller.start()
        run_cycles(engine, 4, 0.0, threading.Event())
    assert attunement.kernel.state == whole.kernel.state
    states, commits = book_of(attunement.governance)
    assert states[2:] == book_of(whole.governance)[0][2:]
    assert commits == book_of(whole.governance)[1]
    report = verify(path, signers.records.verify_key, anchor=attunement.ledger.head())
    assert report.verdict is LedgerVerdict.VERIFIED
    assert surveyed(path).mismatches == []


def test_the_book_is_the_same_from_the_window_on(path, signers, signing_key):
    records = list(read_records(path))
    whole = OrderBook(3600.0)
    for record in records:
        follow(whole, record)
    for record in records[1:]:
        snapshot = surveyed(path, record.sequence).snapshot()
        book = OrderBook(3600.0)
        last = records[-1].sequence
        assert snapshot.resume(path, last, book) == resume_point(records)
        assert [getattr(book, name) for name in BOOK] == [getattr(whole, name) for name in BOOK]
        assert list(book.commits()) == list(whole.commits())


def test_a_snapshot_of_another_ledger_is_left_aside(path, tmp_path, signers):
    snapshot = surveyed(path).snapshot()
    shutil.rmtree(path)
    attuned(configuration(tmp_path), signers, 40)
    config = configuration(tmp_path)
    with Attunement(config, build_engine(config), signers, snapshot=snapshot) as attunement:
        assert "root at size" in attunement.snapshot_refused
        assert attunement.ledger.head().sequence == attunement.governance.book.head.sequence


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"root": "00"}, "root at size"),
        ({"root": "zz"}, "a member is not what it should be"),
        ({"log_key": "x"}, "a member is not what it should be"),
        ({"head": Head(10**6, "0" * 64)}, "has 32 records, the known beginning more"),
        ({"head": Head(3, "0" * 64)}, "root at size 4"),
    ],
    ids=str,
)
def test_a_snapshot_that_lies_is_left_aside_and_the_ledger_is_verified(path, tmp_path, signers, change, said):
    snapshot = attrs.evolve(surveyed(path).snapshot(), **change)
    config = configuration(tmp_path)
    size = len(list(read_records(path)))
    with Attunement(config, build_engine(config), signers, snapshot=snapshot) as attunement:
        assert said.replace("32", str(size)) in attunement.snapshot_refused


def test_a_ledger_that_was_altered_before_the_snapshot_is_found(path, tmp_path, signers):
    snapshot = surveyed(path).snapshot()
    journal = path / "journal"
    whole = journal.read_bytes()
    for place in range(0, len(whole), 997):
        journal.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        config = configuration(tmp_path)
        with pytest.raises(LedgerTamperedError):
            Attunement(config, build_engine(config), signers, snapshot=snapshot)
    frames = split(whole)
    journal.write_bytes(b"".join(frames[:-2]))
    with pytest.raises(LedgerTamperedError, match="put back a whole journal"):
        Attunement(config, build_engine(config), signers, snapshot=snapshot)


def test_a_recovery_that_was_altered_before_the_snapshot_is_found(path, tmp_path, signers):
    journal, config = path / "journal", configuration(tmp_path)
    journal.write_bytes(journal.read_bytes() + b"\0\0\1")
    with Attunement(config, build_engine(config), signers):
        pass
    snapshot = surveyed(path).snapshot()
    frames = split(journal.read_bytes())
    (place,) = (number for number, one in enumerate(frames) if b'"kind":"recovery"' in one)
    altered = frames[place][8:-1].replace(b'"seq"', b'"sEq"')
    journal.write_bytes(b"".join([*frames[:place], frame.encode(altered), *frames[place + 1 :]]))
    with pytest.raises(LedgerTamperedError, match="the members are not those of a record"):
        Attunement(config, build_engine(config), signers, snapshot=snapshot)


def test_the_command_line_tells_of_a_snapshot_that_it_leaves_aside(site, capsys, tmp_path):
    config = ["--config", site.config()]
    file = tmp_path / "saved"
    assert _exit_code(["run", *config, "--plain"]) == 0
    assert _exit_code(["save", str(file), *config]) == 0
    capsys.readouterr()
    assert _exit_code(["run", *config, "--plain", "--snapshot", str(file)]) == 0
    assert "left aside" not in capsys.readouterr().err
    file.write_bytes(file.read_bytes().replace(b'"v":2', b'"v":3'))
    for name, why in ((file, "it is not signed by key"), (tmp_path / "none", "cannot read")):
        assert _exit_code(["run", *config, "--plain", "--snapshot", str(name)]) == 0
        told = capsys.readouterr().err
        assert f"snapshot {name} was left aside, the whole ledger is verified: " in told
        assert why in told


# the optimizer's memory


def taught(config, cycles=40):
    """An optimizer that has learnt from a parabola."""
    optimizer, alpha, verdict = build_optimizer(config), 1.0, Verdict.NONE
    for cycle in range(1, cycles):
        optimizer.tell(Outcome(cycle, alpha, 0.7 - (alpha - 1.05) ** 2, verdict, alpha))
        wish = optimizer.ask()
        verdict = Verdict.NONE
        if isinstance(wish, Suggestion):
            verdict = Verdict.COMMITTED
            alpha = wish.alpha
    return optimizer


@pytest.mark.parametrize("name", ["gradient", "pid", "slsqp", "supervisor", "hold"])
def test_memory_comes_back_as_it_was(tmp_path, name):
    config = configuration(tmp_path, name=name)
    teacher, pupil = taught(config), build_optimizer(config)
    write_memory(tmp_path / "deep" / "memory", config, teacher.state())
    assert recall(str(tmp_path / "deep" / "memory"), config, pupil) == (
        True,
        f"optimizer memory restored from {tmp_path / 'deep' / 'memory'}",
    )
    assert pupil.state() == teacher.state()
    assert os.stat(tmp_path / "deep" / "memory").st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "change",
    [
        {"alpha_max": 1.1},
        {"lr": 0.1},
        {"enabled": False},
        {"optimizer": OptimizerConfig(name="supervisor", seed=6)},
        {"optimizer": OptimizerConfig(name="gradient", seed=5)},
        {"optimizer": OptimizerConfig(name="supervisor", seed=5, settings={"kp": 2.0})},
    ],
    ids=str,
)
def test_memory_of_another_optimizer_does_not_fit(tmp_path, change):
    config = configuration(tmp_path)
    other = attrs.evolve(config, **change)
    assert fingerprint(config) != fingerprint(other)
    write_memory(tmp_path / "memory", config, taught(config).state())
    is_sound, said = recall(str(tmp_path / "memory"), other, build_optimizer(other))
    assert not is_sound
    assert said.endswith("was left aside: it is of an optimizer with other limits or settings")


def test_what_does_not_change_an_optimizer_does_not_change_what_fits(tmp_path):
    config = configuration(tmp_path)
    other = attrs.evolve(config, cycles=7, optimizer=attrs.evolve(config.optimizer, memory_path="x"))
    assert fingerprint(config) == fingerprint(other)


def test_no_memory_is_no_fault(tmp_path):
    config = configuration(tmp_path)
    assert recall(None, config, build_optimizer(config)) == (True, "")
    place = tmp_path / "none"
    assert recall(str(place), config, build_optimizer(config)) == (
        True,
        f"no optimizer memory in {place} yet",
    )


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it is not JSON"),
        (b"\xff\xfe", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b'{"v": NaN}', "NaN is no number"),
        (b"[]", "it is not the memory of an optimizer"),
        (b'{"v": 1}', "it is not the memory of an optimizer"),
        (b'{"fingerprint": "", "state": {}, "v": 2}', "its version is not 1"),
        (b'{"fingerprint": "", "state": {}, "v": true}', "its version is not 1"),
        (b'{"fingerprint": "", "state": {}, "v": 1}', "with other limits or settings"),
        (b" " * (BYTES_MAX + 1), "is larger than 1048576 bytes"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_a_file_that_is_no_memory_is_left_aside(tmp_path, data, said):
    config = configuration(tmp_path)
    place = tmp_path / "memory"
    place.write_bytes(data)
    is_sound, told = recall(str(place), config, build_optimizer(config))
    assert not is_sound
    assert told.startswith(f"optimizer memory {place} was left aside: ")
    assert said in told


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_hostile_memory_is_refused_or_harmless(tmp_path_factory, data):
    config = configuration(Path("unused"))
    stored = json.loads(json.dumps(TAUGHT))
    for key in data.draw(st.lists(st.sampled_from(sorted(stored)), min_size=1, max_size=3)):
        stored[key] = data.draw(JSON_VALUES)
    wrapped = {"fingerprint": fingerprint(config), "state": stored, "v": 1}
    optimizer = build_optimizer(config)
    try:
        restore_memory(json.dumps(wrapped).encode(), config, optimizer)
    except OptimizerMemoryError:
        return
    # It was taken: then what it wishes is a plain answer, and the kernel judges it like any other.
    bounded = BoundedOptimizer(optimizer, 60.0)
    answer = bounded.exchange(Outcome(50, 1.0, 0.5, Verdict.NONE, 1.0), True)
    bounded.close()
    assert answer.mode in ("idle", "gradient", "pid")


TAUGHT = taught(configuration(Path("unused"))).state()


@pytest.mark.parametrize(
    "state",
    [{"x": math.nan}, {"x": object()}, {"x": "y" * BYTES_MAX}, None],
    ids=["nan", "object", "too large", "none"],
)
def test_memory_that_cannot_be_stored_leaves_the_one_before(tmp_path, state):
    config = configuration(tmp_path)
    place = tmp_path / "memory"
    write_memory(place, config, {})
    before = place.read_bytes()
    with pytest.raises(
        OptimizerMemoryError, match=r"cannot be stored|must not exceed|did not tell its memory"
    ):
        write_memory(place, config, state)
    assert place.read_bytes() == before


def test_a_place_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OptimizerMemoryError, match=r"cannot write .*file/memory: "):
        put(tmp_path / "file" / "memory", b"")
    with pytest.raises(OptimizerMemoryError, match=r"cannot read .*: Is a directory"):
        read_memory(tmp_path)


def test_a_run_goes_on_with_what_was_learnt(tmp_path, signers):
    memory = tmp_path / "memory"
    config = configuration(tmp_path, name="gradient", memory_path=str(memory))
    first = attuned(config, signers)
    assert first.recalled == f"no optimizer memory in {memory} yet"
    state = first.optimizer_memory()
    write_memory(memory, config, state)
    second = attuned(config, signers, 1)
    assert second.recalled == f"optimizer memory restored from {memory}"
    assert second.optimizer_memory()["tick"] == state["tick"] + 1
    memory.write_text(memory.read_text().replace('"tick": ', '"tick": -'))
    third = attuned(config, signers, 1)
    assert "was left aside: OptimizerStateError: tick is -" in third.recalled
    assert third.optimizer_memory()["tick"] == 1


def test_an_optimizer_that_does_not_tell_is_not_waited_for(wishes):
    release = threading.Event()
    hung = BoundedOptimizer(wishes(release.wait), 0.05)
    hung.exchange(Outcome(1, 1.0, 0.5, Verdict.NONE, 1.0), True)
    hung.close()
    assert hung.memory() is None
    release.set()

    class Silent(wishes):
        def state(self):
            raise SystemExit

    silent = BoundedOptimizer(Silent(), 60.0)
    silent.close()
    assert silent.memory() is None


# the commands


class Deed:
    """A folder with keys and a configuration."""

    def __init__(self, folder):
        self.folder, self.file = folder, folder / "saved"
        self.ledger, self.memory = folder / "ledger", folder / "memory"
        self.config = folder / "attunement.yaml"
        self.write()

    def write(self, **optimizer):
        document = {
            "settle_delay": 0,
            "cycles": 30,
            "source": {"nodes": 16, "seed": 3},
            "metrics": {"enabled": False},
            "optimizer": {
                "name": "gradient",
                "ask_timeout": 60,
                "memory_path": str(self.memory),
                **optimizer,
            },
            "logging": {
                "audit_ledger_path": str(self.ledger),
                "key_path": str(self.folder / "key"),
                "log_key_path": str(self.folder / "log-key"),
            },
        }
        self.config.write_text(json.dumps({"attunement": document}), encoding="utf-8")


@pytest.fixture
def deed(tmp_path):
    made = Deed(tmp_path)
    for command in (["keys", "init"], ["run", "--plain"]):
        assert _exit_code([*command, "--config", str(made.config)]) == 0
    return made


@pytest.fixture
def told(capsys, deed):
    """Run a command line with the deed's configuration; return its exit code, stdout and stderr."""

    def run(*arguments):
        capsys.readouterr()
        code = _exit_code([*map(str, arguments), "--config", str(deed.config)])
        return code, *capsys.readouterr()

    return run


def test_save_and_load_on_a_run_that_goes_on(told, deed):
    then = json.loads(told("status", "--json")[1])
    code, out, err = told("save", deed.file)
    assert (code, err) == (0, f"saved {deed.file}.memory, the optimizer's memory\n")
    assert out.splitlines() == [
        f"saved {deed.file}: record {then['records'] - 1} of {then['last_timestamp']}, ready, "
        f"α = {then['alpha']:.9f}, policy version 1",
    ]
    assert json.loads(told("save", deed.folder / "other", "--json")[1])["seq"] == then["records"] - 1
    learnt = deed.memory.read_bytes()
    code, _, err = told("run", "--plain", "--cycles", 9)
    assert code == 0
    assert err.splitlines()[0] == f"optimizer memory restored from {deed.memory}"
    assert deed.memory.read_bytes() != learnt
    now = json.loads(told("status", "--json")[1])
    assert json.loads(told("status", "--json", "--snapshot", deed.file)[1]) == now
    code, out, err = told("load", deed.file)
    assert code == 0
    assert out.splitlines() == [
        f"{deed.file} holds: record {then['records'] - 1} of {then['last_timestamp']}, ready, "
        f"α = {then['alpha']:.9f}, policy version 1",
        f"{now['records'] - then['records']} records since; now {now['mode']}, α = {now['alpha']:.9f}",
    ]
    assert err == f"optimizer memory of {deed.file}.memory put back to {deed.memory}\n"
    assert deed.memory.read_bytes() == learnt
    in_json = json.loads(told("load", deed.file, "--json")[1])
    assert {**in_json["now"], "loop": None} == now
    assert (in_json["snapshot"]["seq"], in_json["newer_records"]) == (
        then["records"] - 1,
        now["records"] - then["records"],
    )


def test_without_memory_only_the_state_is_saved(told, deed):
    deed.memory.unlink()
    assert told("save", deed.file)[1].count("\n") == 1
    assert told("load", deed.file)[2] == ""
    assert not deed.memory.exists()
    deed.write(memory_path=None)
    code, _, err = told("run", "--plain")
    assert (code, "optimizer" in err) == (0, False)


def test_load_refuses_memory_that_does_not_fit(told, deed):
    told("save", deed.file)
    learnt = deed.memory.read_bytes()
    (deed.folder / "saved.memory").write_text('{"state": "evil"}')
    code, _, err = told("load", deed.file)
    assert code == 3
    assert (
        f"error: {deed.file}.memory was left aside, {deed.memory} is as it was: it is not the memory" in err
    )
    assert deed.memory.read_bytes() == learnt


def test_load_refuses_what_the_ledger_does_not_say(told, deed):
    told("save", deed.file)
    key = load_private(deed.folder / "key")
    true = Snapshot.parse(deed.file.read_bytes(), key.verify_key)
    deed.file.write_bytes(attrs.evolve(true, state=true.state._replace(alpha=1, good=1)).sign(key))
    code, out, err = told("load", deed.file)
    assert (code, out) == (3, "")
    assert f"error: {deed.file} does not hold: its state is State(" in err
    deed.file.write_bytes(true.sign(SigningKey(bytes(32))))
    for command in (("load", deed.file), ("status", "--snapshot", deed.file)):
        code, _, err = told(*command)
        assert code == 3
        assert f"error: {deed.file} does not hold: it is not signed by key {key.verify_key.key_id}" in err


def test_files_that_cannot_be_used_are_named(told, deed):
    told("save", deed.file)
    before = deed.file.read_bytes()
    code, _, err = told("save", deed.file)
    assert (code, f"{deed.file} exists, a snapshot is never overwritten" in err) == (2, True)
    assert deed.file.read_bytes() == before
    code, _, err = told("save", deed.file / "below")
    assert (code, f"error: cannot write {deed.file}/below: Not a directory" in err) == (1, True)
    code, _, err = told("load", deed.folder / "none")
    assert (code, f"error: cannot read {deed.folder}/none: No such file" in err) == (1, True)


def test_a_run_whose_memory_cannot_be_kept_is_still_a_good_run(told, deed):
    deed.memory.unlink()
    deed.memory.mkdir()
    code, _, err = told("run", "--plain", "--cycles", 2)
    assert code == 0
    lines = err.splitlines()
    assert (
        f"optimizer memory {deed.memory} was left aside: cannot read {deed.memory}: Is a directory" in lines
    )
    assert f"error: cannot write {deed.memory}: Is a directory" in lines


def test_only_the_ledgers_own_key_saves(told, deed):
    for name in ("key", "key.pub"):
        (deed.folder / name).unlink()
    assert told("keys", "init", "--path", deed.folder / "key")[0] == 0
    code, _, err = told("save", deed.file)
    assert code == 3
    assert f"error: ledger {deed.ledger}: unverifiable" in err
    assert not deed.file.exists()


def test_a_ledger_that_does_not_verify_is_neither_saved_nor_loaded(told, deed):
    # Whoever can write to the folder and has no key adds a record, and takes the checkpoint away.
    assert told("save", deed.file)[0] == 0
    *_, last = read_records(deed.ledger)
    end = (deed.ledger / "journal").stat().st_size
    tip = Tip(last.sequence, last.hash_hex, last.timestamp, end)
    forged, _ = seal(tip, last.kind, encode_body(last.body), last.timestamp, SigningKey(bytes(32)))
    with (deed.ledger / "journal").open("ab") as journal:
        journal.write(frame.encode(forged))
    (deed.ledger / "checkpoint").unlink()
    for command in (("save", deed.folder / "other"), ("load", deed.file)):
        code, out, err = told(*command)
        assert (code, out) == (3, "")
        assert f"error: ledger {deed.ledger}: tampered" in err
    assert not (deed.folder / "other").exists()


def test_a_record_that_was_not_ended_keeps_nothing_from_being_saved(told, deed):
    with (deed.ledger / "journal").open("ab") as journal:
        journal.write(bytes(3))
    assert [told("save", deed.file)[0], told("load", deed.file)[0]] == [0, 0]


def test_a_decision_that_nobody_ordered_is_not_saved(attune, scripted_engine, wishes):
    loop = attune(scripted_engine(), wishes())
    loop.controller.start()
    loop.engine.run(2)
    loop.controller.freeze("ines", "maintenance")
    assert surveyed(loop.path).snapshot().state.mode is Mode.FROZEN
    loop.governance.authorises = lambda order: True
    loop.controller.approve(Order("approve", (), "ines", "maintenance is over", ""))
    assert loop.kernel.mode is Mode.READY
    with pytest.raises(SnapshotError, match="no authorised order comes before it"):
        surveyed(loop.path).snapshot()
