"""A log's key signs its successor: what the old one signed stays good, and nobody else can do it."""

import attrs
import pytest
from ledger_bench import head_of, offsets, split

from ledger import (
    Cadence,
    Fault,
    Head,
    Kind,
    Ledger,
    LedgerKeyError,
    LedgerReadError,
    LedgerTamperedError,
    LedgerWriteError,
    NoteError,
    NoteSigner,
    Prefix,
    PrefixError,
    Signers,
    SigningKey,
    Verdict,
    open_checkpoint,
    read_records,
    verify,
)
from ledger import frame as frames
from ledger.chain import Chain, keys_in_force, log_keys, log_rotation_body, read_on
from ledger.checkpoint import signer
from ledger.evidence import Evidence
from ledger.keys import encode_base64
from ledger.record import encode_body, seal
from ledger.tree import Tree

SECOND = NoteSigner("example.com/attunement", SigningKey(bytes(range(3, 35))))
THIRD = NoteSigner("example.com/attunement", SigningKey(bytes(range(4, 36))))


def note(folder):
    return (folder / "checkpoint").read_bytes()


@pytest.fixture
def rotated(write, folder, signers):
    """A ledger whose log was rotated in the midst of it, and the note of the checkpoint before."""
    write(2)
    before = note(folder)
    with Ledger.open(folder, signers) as ledger:
        ledger.append({"n": 1})
        receipt = ledger.rotate_log(SECOND)
        assert ledger.append({"n": 2}).sequence == receipt.sequence + 1 == 5
    return before


def test_every_checkpoint_is_signed_by_the_key_in_force_at_its_size(rotated, folder, signers, key):
    record = list(read_records(folder))[4]
    assert (record.kind, record.body["log_key"]) == (Kind.LOG_ROTATION, str(SECOND.verifier))
    old = open_checkpoint(rotated, signers.log.verifier).checkpoint
    assert open_checkpoint(note(folder), SECOND.verifier).checkpoint.size == 6
    with pytest.raises(NoteError, match="not signed by"):
        open_checkpoint(note(folder), signers.log.verifier)
    report = verify(folder, key.verify_key, anchor=old)
    assert (report.verdict, report.anchored, report.published) == (Verdict.VERIFIED, 3, 6)
    with Ledger.open(folder, Signers(key, SECOND)) as ledger:
        ledger.rotate_log(THIRD)
        ledger.checkpoint()
    assert list(log_keys(read_records(folder))) == [one.verifier for one in (signers.log, SECOND, THIRD)]
    assert keys_in_force(read_records(folder)) == (key.verify_key, THIRD.verifier)
    assert signer(note(folder), log_keys(read_records(folder))) == THIRD.verifier
    assert signer(rotated, log_keys(read_records(folder))) == signers.log.verifier
    proof = Evidence(folder, THIRD.verifier).inclusion(1)
    proof.verify(list(read_records(folder))[1].stored, THIRD.verifier)
    assert verify(folder, key.verify_key, anchor=head_of(folder)).verdict is Verdict.VERIFIED


def test_a_draft_of_before_is_signed_by_the_key_of_before(folder, signers, key):
    with Ledger.open(folder, signers, cadence=Cadence(records=10**9, seconds=10**9)) as ledger:
        draft = ledger._publisher.draft()
        ledger.rotate_log(SECOND)
        assert ledger._publish(draft).checkpoint.size == 1
        report = verify(folder, key.verify_key)
        assert (report.verdict, report.published, report.records) == (Verdict.NO_ANCHOR, 1, 2)


def test_the_old_key_writes_no_more(rotated, folder, signers, key):
    with pytest.raises(LedgerKeyError, match="written by key example"):
        Ledger.open(folder, signers)
    # A checkpoint of now that the old key signed is not the log's.
    size, root = len(list(read_records(folder))), verify(folder, key.verify_key).root
    signed = signers.log.sign(f"{signers.log.name}\n{size}\n{encode_base64(root)}\n")
    (folder / "checkpoint").write_bytes(signed)
    report = verify(folder, key.verify_key)
    assert (report.verdict, report.finding.fault) == (Verdict.TAMPERED, Fault.CHECKPOINT)
    with pytest.raises(LedgerTamperedError, match="not signed by"):
        Ledger.open(folder, Signers(key, SECOND))


def test_an_old_checkpoint_put_back_is_no_harm(rotated, folder, signers, key):
    (folder / "checkpoint").write_bytes(rotated)
    assert verify(folder, key.verify_key).verdict is Verdict.NO_ANCHOR
    Ledger.open(folder, Signers(key, SECOND)).close()
    assert signer(note(folder), [SECOND.verifier]) == SECOND.verifier


def test_a_journal_cut_before_the_rotation_is_found(rotated, folder, key):
    journal = folder / "journal"
    journal.write_bytes(b"".join(split(journal.read_bytes())[:3]))
    report = verify(folder, key.verify_key)
    # What the newer checkpoint says cannot be judged: the key that signed it is in the part that is missing.
    assert (report.verdict, report.finding.fault) == (Verdict.TAMPERED, Fault.CHECKPOINT)


def test_the_name_of_the_log_stays(folder, signers):
    other = NoteSigner("example.org/other", SECOND.key)
    with Ledger.open(folder, signers) as ledger:
        with pytest.raises(NoteError, match=r"has the name example\.org/other, must keep example"):
            ledger.rotate_log(other)
        ledger.append({})
        ledger.close()
        with pytest.raises(LedgerWriteError, match="it is closed"):
            ledger.rotate_log(SECOND)


def forged(change, signers, before):
    body = log_rotation_body(signers.log, SECOND, before)
    change(body, signers, before)
    return body


def no_old_key(body, signers, before):
    body["predecessor_proof"] = log_rotation_body(THIRD, SECOND, before)["predecessor_proof"]


def no_new_key(body, signers, before):
    body["proof"] = body["predecessor_proof"]


def another_history(body, signers, before):
    body |= log_rotation_body(signers.log, SECOND, "0" * 64)


def no_text(body, signers, before):
    body["proof"] = 5


def more(body, signers, before):
    body["more"] = 1


def another_log(body, signers, before):
    body |= log_rotation_body(signers.log, NoteSigner("example.org/other", SECOND.key), before)


def no_vkey(body, signers, before):
    body["log_key"] = None


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (no_old_key, Fault.SIGNATURE),
        (no_new_key, Fault.SIGNATURE),
        (another_history, Fault.SIGNATURE),
        (no_text, Fault.SIGNATURE),
        (more, Fault.CANONICAL_FORM),
        (another_log, Fault.CANONICAL_FORM),
        (no_vkey, Fault.UNKNOWN_KEY),
    ],
)
def test_who_holds_the_key_of_records_alone_cannot_rotate_the_log(write, folder, signers, key, change, fault):
    write(1)
    with (folder / "journal").open("rb") as stream:
        chain = Chain(None)
        list(chain.walk(stream))
    body = encode_body(forged(change, signers, chain.tip.hash_hex))
    stored, _ = seal(chain.tip, Kind.LOG_ROTATION, body, "2026-03-01T13:00:00.000000Z", key)
    with (folder / "journal").open("ab") as stream:
        stream.write(frames.encode(stored))
    report = verify(folder, key.verify_key)
    assert (report.verdict, report.records, report.finding.fault) == (Verdict.TAMPERED, 2, fault)


def prefix_of(folder, key, log_key, records, **changes):
    stored = list(read_records(folder))[:records]
    tree = Tree()
    for record in stored:
        tree.add(record.stored, bytes.fromhex(record.hash_hex))
    begin = sum(len(record.stored) + frames.OVERHEAD for record in stored[:-1])
    head = Head(records - 1, stored[-1].hash_hex)
    return attrs.evolve(Prefix(head, begin, tree.root(), key, log_key), **changes)


def test_a_known_beginning_is_compared_and_what_follows_is_verified(rotated, folder, signers, key):
    for records, log_key in ((6, SECOND), (5, SECOND)):
        known = prefix_of(folder, key.verify_key, log_key.verifier, records)
        with Ledger.open(folder, Signers(key, SECOND), known=known) as ledger:
            ledger.append({"records": records})
    assert verify(folder, key.verify_key, anchor=head_of(folder)).verdict is Verdict.VERIFIED


def test_a_beginning_that_is_not_the_known_one_is_refused(rotated, folder, signers, key):
    (folder / "checkpoint").unlink()
    known = prefix_of(folder, key.verify_key, SECOND.verifier, 6)
    for changed, said in (
        (attrs.evolve(known, head=Head(9, "0" * 64)), "shorter than the known beginning"),
        (attrs.evolve(known, head=Head(5, "0" * 64)), "record 5 is not the head"),
        (attrs.evolve(known, root=bytes(32)), "root at size 6"),
    ):
        with pytest.raises(PrefixError, match=said):
            Ledger.open(folder, Signers(key, SECOND), known=changed)
    (folder / "journal").write_bytes((folder / "journal").read_bytes()[:-1])
    with pytest.raises(PrefixError, match="is damaged"):
        Ledger.open(folder, Signers(key, SECOND), known=known)


def test_torn_bytes_of_before_a_known_beginning_are_not_recorded_again(write, folder, journal, signers, key):
    write(2)
    journal.write_bytes(journal.read_bytes()[:-3])
    (folder / "checkpoint").unlink()
    Ledger.open(folder, signers).close()
    size = len(list(read_records(folder)))
    known = prefix_of(folder, key.verify_key, signers.log.verifier, size)
    Ledger.open(folder, signers, known=known).close()
    assert [record.kind for record in read_records(folder)].count(Kind.RECOVERY) == 1


def test_reading_on_needs_a_place_where_a_record_begins(write, folder, journal):
    data = write(3)
    places = offsets(data)
    assert [record.sequence for record in read_on(folder, places[2])] == [2, 3]
    with pytest.raises(LedgerReadError, match="from byte 1 on"):
        list(read_on(folder, 1))
    journal.write_bytes(data[:-1])
    assert [record.sequence for record in read_on(folder, places[2])] == [2]


def test_no_record_names_no_key():
    with pytest.raises(LedgerTamperedError, match="begins with a whole genesis record"):
        keys_in_force([])
    assert list(log_keys([])) == []


def test_a_note_of_another_log_has_no_signer(rotated):
    with pytest.raises(NoteError, match="not signed by a key of the log"):
        signer(rotated, [SECOND.verifier])
