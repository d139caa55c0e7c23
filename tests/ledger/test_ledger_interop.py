"""What tools that nobody here wrote say of a ledger: Go's sumdb code, and OpenSSL."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ledger import Cadence, Ledger
from ledger.keys import decode_base64
from ledger.note import Note

SOURCE = Path(__file__).with_name("go") / "audit.go"
GO_LIBRARY = Path("/usr/share/gocode")
RECORDS = 2100


@pytest.fixture(scope="module")
def audit(tmp_path_factory):
    """Return a function that runs the Go program."""
    if shutil.which("go") is None or not (GO_LIBRARY / "src/golang.org/x/mod/sumdb/tlog").is_dir():
        pytest.skip("Go or golang.org/x/mod is not installed")
    built = tmp_path_factory.mktemp("go")
    environment = {
        **os.environ,
        "GO111MODULE": "off",
        "GOPATH": str(GO_LIBRARY),
        "GOCACHE": str(built / "cache"),
        "GOFLAGS": "-p=1",
    }
    subprocess.run(["go", "build", "-o", str(built / "audit"), str(SOURCE)], env=environment, check=True)

    def run(folder, vkey, *older):
        return subprocess.run(
            [str(built / "audit"), str(folder), str(vkey), *map(str, older)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


def test_go_accepts_the_ledger_and_refuses_it_with_one_byte_changed(audit, folder, signers, tmp_path):
    vkey = signers.log.verifier
    with Ledger.open(folder, signers, cadence=Cadence(records=500)) as ledger:
        ledger.append_many([{"cycle": number, "reason": "λ rose"} for number in range(700)])
        shutil.copy(folder / "checkpoint", tmp_path / "older")
        for start in range(700, RECORDS, 100):
            ledger.append_many([{"cycle": number} for number in range(start, start + 100)])
    accepted = audit(folder, vkey, tmp_path / "older")
    assert (accepted.returncode, accepted.stderr) == (0, "")
    assert accepted.stdout.startswith(f"{RECORDS + 1} records, root ")
    for name in ("checkpoint", "tile/0/003", "tile/1/000.p/8", "tile/entries/000", "tile/entries/008.p/53"):
        path = folder / name
        data = path.read_bytes()
        place = len(data) // 2
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        refused = audit(folder, vkey)
        assert (refused.returncode, refused.stdout) == (1, ""), name
        path.write_bytes(data)
    assert audit(folder, vkey).returncode == 0
    assert audit(folder, str(vkey).replace("+", "+0", 1)).returncode == 1


def test_go_finds_a_ledger_that_was_written_anew(audit, write, folder, signers, tmp_path):
    write(300)
    shutil.copy(folder / "checkpoint", tmp_path / "older")
    shutil.rmtree(folder)
    write(400)
    assert audit(folder, signers.log.verifier).returncode == 0
    assert audit(folder, signers.log.verifier, tmp_path / "older").returncode == 1


def openssl_verifies(tmp_path, public, text, signature):
    (tmp_path / "key.der").write_bytes(bytes.fromhex("302a300506032b6570032100") + public)
    (tmp_path / "text").write_bytes(text)
    (tmp_path / "signature").write_bytes(signature)
    command = [
        "pkeyutl",
        "-verify",
        "-pubin",
        "-keyform",
        "DER",
        "-inkey",
        "key.der",
        "-rawin",
        "-in",
        "text",
        "-sigfile",
        "signature",
    ]
    done = subprocess.run(["openssl", *command], cwd=tmp_path, capture_output=True, check=False)
    return done.returncode == 0


def test_openssl_verifies_a_checkpoint_and_a_record(write, folder, signers, tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    write(3)
    note = Note.parse((folder / "checkpoint").read_bytes())
    log_key = decode_base64(str(signers.log.verifier).split("+", 2)[2])[1:]
    text, (line,) = note.text.encode(), note.signatures
    assert openssl_verifies(tmp_path, log_key, text, line.data)
    assert not openssl_verifies(tmp_path, log_key, text.replace(b"4", b"5"), line.data)
    bundle = (folder / "tile/entries/000.p/4").read_bytes()
    stored = bundle[2 : 2 + int.from_bytes(bundle[:2], "big")]
    before, _, rest = stored.partition(b'"signature":"')
    signature, _, after = rest.partition(b'",')
    message = b"lambda-attunement/ledger/record/v1\0" + before + after
    public = signers.records.verify_key.raw
    assert openssl_verifies(tmp_path, public, message, decode_base64(signature.decode()))
    assert not openssl_verifies(tmp_path, public, message[:-1] + b" ", decode_base64(signature.decode()))
