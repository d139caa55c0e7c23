import errno
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ledger import Ledger, LedgerReadError, LedgerWriteError, NoteError, NoteKey, ProofError, open_checkpoint
from ledger.evidence import Evidence, TlogProof
from ledger.keys import encode_base64


@pytest.fixture
def evidence(write, folder, signers):
    write(600)
    return Evidence(folder, signers.log.verifier)


def test_every_record_is_proved_to_be_in_the_log(evidence, signers):
    for index in (0, 1, 255, 256, 511, 512, 600):
        proof = TlogProof.parse(evidence.inclusion(index).encode())
        signed = proof.verify(evidence.record(index), signers.log.verifier)
        assert signed.checkpoint.size == 601
    for index in (-1, 601):
        with pytest.raises(ProofError, match=f"index is {index}"):
            evidence.inclusion(index)
        with pytest.raises(ProofError, match=f"index is {index}"):
            evidence.record(index)


def test_earlier_sizes_are_proved_to_be_the_beginning(evidence):
    for old, new in [(1, 601), (255, 256), (256, 257), (300, 599), (601, 601)]:
        proof = evidence.consistency(old, new)
        proof.verify()
        assert (len(proof.old_root), proof.old, proof.new) == (32, old, new)
    for old, new in [(0, 5), (5, 4), (1, 602), (-1, 3)]:
        with pytest.raises(ProofError, match="must be in order"):
            evidence.consistency(old, new)


def test_damaged_tiles_prove_nothing(evidence, folder):
    tile = folder / "tile/0/001"
    data = bytearray(tile.read_bytes())
    data[70] ^= 1
    tile.write_bytes(data)
    with pytest.raises(ProofError, match="is not in the tree"):
        evidence.inclusion(257)
    with pytest.raises(ProofError):
        evidence.consistency(256, 300)
    bundle = folder / "tile/entries/000"
    bundle.write_bytes(b"\0\1a")
    with pytest.raises(ProofError, match="holds 1 entries"):
        evidence.record(9)
    bundle.unlink()
    bundle.mkdir()
    with pytest.raises(LedgerReadError, match="is not a regular file"):
        evidence.record(9)


@pytest.fixture
def outpaced(folder, signers):
    """Evidence at a checkpoint whose partial tiles the writer, still at work, has dropped."""
    with Ledger.open(folder, signers) as ledger:
        ledger.append_many([{"number": number} for number in range(5)])
        (folder / "witnessed").write_bytes(ledger.checkpoint().note)
        for number in range(3):
            ledger.append({"later": number})
            ledger.checkpoint()
        assert sorted(path.name for path in (folder / "tile/0/000.p").iterdir()) == ["8", "9"]
        yield Evidence(folder, signers.log.verifier, is_witnessed=True)


def check_outpaced(evidence, signers):
    for index in range(6):
        signed = evidence.inclusion(index).verify(evidence.record(index), signers.log.verifier)
        assert signed.checkpoint.size == 6
    evidence.consistency(2, 5)


def test_a_reader_that_is_outpaced_takes_longer_partial_tiles(outpaced, folder, signers):
    (folder / "tile/0/000.p/99.new").write_bytes(b"a draft")
    check_outpaced(outpaced, signers)


def test_a_longer_partial_tile_may_vanish_before_it_is_opened(outpaced, folder, signers, monkeypatch):
    def list_and_drop(path):
        names = sorted(listdir(path))
        longest = Path(path, names[-1])
        longest.rename(longest.with_name(str(int(names[-1]) + 1)))
        return names

    listdir, looks = os.listdir, iter([list_and_drop] * 4)
    monkeypatch.setattr(os, "listdir", lambda path: next(looks, listdir)(path))
    check_outpaced(outpaced, signers)
    assert next(looks, None) is None


def test_a_tile_that_is_nowhere_is_said(outpaced, folder):
    shutil.rmtree(folder / "tile/0/000.p")
    with pytest.raises(LedgerReadError, match=r"cannot read tile/0/000\.p/6: it is not there"):
        outpaced.inclusion(3)


def test_a_folder_of_partial_tiles_that_cannot_be_listed_is_said(outpaced, monkeypatch):
    def failing(path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "listdir", failing)
    with pytest.raises(LedgerReadError, match=r"cannot read tile/0/000\.p: Input/output error"):
        outpaced.inclusion(3)


def test_what_is_no_published_log(folder, write, signers, other_key):
    folder.mkdir()
    with pytest.raises(LedgerReadError, match="has no checkpoint"):
        Evidence(folder, signers.log.verifier)
    write(1)
    with pytest.raises(LedgerReadError, match="has no witnessed"):
        Evidence(folder, signers.log.verifier, is_witnessed=True)
    with pytest.raises(NoteError, match="not signed by"):
        Evidence(folder, NoteKey("example.com/attunement", other_key.verify_key))


def test_a_bundle_of_evidence_can_be_checked_without_us(evidence, tmp_path, signers):
    out = tmp_path / "evidence"
    digest = evidence.export(out, [0, 300])
    manifest = (out / "MANIFEST").read_bytes()
    assert digest == "h1:" + encode_base64(hashlib.sha256(manifest).digest())
    subprocess.run(["sha256sum", "--check", "--strict", "MANIFEST"], cwd=out, check=True, capture_output=True)
    names = {path.name for path in out.iterdir()} - {"MANIFEST"}
    assert names == {"checkpoint", "log.vkey", "0.json", "0.tlog-proof", "300.json", "300.tlog-proof"}
    key = NoteKey.parse((out / "log.vkey").read_text().strip())
    assert key == signers.log.verifier
    assert open_checkpoint((out / "checkpoint").read_bytes(), key) == evidence.signed
    for index in (0, 300):
        proof = TlogProof.parse((out / f"{index}.tlog-proof").read_bytes())
        assert proof.verify((out / f"{index}.json").read_bytes(), key) == evidence.signed
    with pytest.raises(LedgerWriteError, match="File exists"):
        evidence.export(out, [0])
