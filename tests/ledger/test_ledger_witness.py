"""The witness client against a witness on loopback that keeps the rules of C2SP tlog-witness."""

import contextlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import attrs
import pytest

from ledger import (
    Checkpoint,
    Ledger,
    LedgerReadError,
    NoteError,
    NoteKey,
    ProofError,
    SigningKey,
    Verdict,
    WitnessError,
    open_checkpoint,
    verify,
)
from ledger.checkpoint import parse_decimal
from ledger.evidence import Evidence
from ledger.keys import decode_base64
from ledger.merkle import EMPTY_ROOT, verify_consistency
from ledger.note import COSIGNATURE, cosign
from ledger.witness import StaleSizeError, Witness, request_body, submit
from ledger.witness import cosign as have_cosigned

NAME = "witness.example.com/w1"
MOMENT = 1_790_000_000

SIGSUM = "sigsum.org/v1/tree/4d6d8825a6bb689d459628312889dfbb0bcd41b5211d9e1ce768b0ff0309e562"
SIGSUM_KEY = f"{SIGSUM}+5202289b+Af/cLU2Y5BJNP+r3iMDC+av9eWCD0fBJVDfzAux5zxAP"
SIGSUM_ROOTS = {
    1: "KgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    3: "RcCI1Nk56ZcSmIEfIn0SleqtV7uvrlXNccFx595Iwl0=",
    5: "QrtXrQZCCvpIgsSmOsah7HdICzMLLyDfxToMql9WTjY=",
}
FROM_1_TO_3 = [
    "KgEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    "KgIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
]
FROM_3_TO_5 = [
    "KgIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    "KgMAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    "wgiIFdZfYNv6WU1OllBKsWnLYIS/DBMqt8Uh/S4OukE=",
    "KgQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
]
SIGSUM_3 = (
    f"{SIGSUM}\n3\n{SIGSUM_ROOTS[3]}\n\n— {SIGSUM} UgIom2VbtIcdFbwFAy1n7s6IkAxIY6J/GQOTuZF2ORV39d75cbAj2aQY"
    "wyJre36kezNobZs4SUUdrcawfAB8WVrx6go=\n"
).encode()


@attrs.define(eq=False)
class Peer:
    """A witness: the logs it knows, and the last checkpoint of each that it cosigned."""

    key: SigningKey
    logs: dict[str, NoteKey]
    seen: dict[str, Checkpoint] = attrs.field(factory=dict)
    lock: threading.Lock = attrs.field(factory=threading.Lock)

    def add_checkpoint(self, body: bytes) -> tuple[int, str]:
        head, _, note = body.partition(b"\n\n")
        first, *proof = head.decode("ascii").split("\n")
        old = parse_decimal(first.removeprefix("old "))
        log = self.logs.get(note.decode("utf-8").split("\n")[0])
        if old is None or not first.startswith("old "):
            return 400, "bad request\n"
        if log is None:
            return 404, "unknown log\n"
        try:
            offered = open_checkpoint(note, log).checkpoint
        except NoteError as error:
            return 403, f"{error}\n"
        with self.lock:
            last = self.seen.get(log.name, Checkpoint(log.name, 0, EMPTY_ROOT))
            if not old <= offered.size:
                return 400, "old size is larger\n"
            if old != last.size:
                return 409, f"{last.size}\n"
            hashes = [decode_base64(line) or b"" for line in proof]
            try:
                verify_consistency(old, offered.size, last.root, offered.root, hashes)
            except ProofError as error:
                return 422, f"{error}\n"
            self.seen[log.name] = offered
            return 200, cosign(NAME, self.key, offered.text, MOMENT)


@pytest.fixture
def peer(signers):
    log = signers.log.verifier
    return Peer(SigningKey(bytes(range(7, 39))), {log.name: log, SIGSUM: NoteKey.parse(SIGSUM_KEY)})


@pytest.fixture
def serve():
    """Return a function that serves answers to POST on loopback, and gives the URL."""
    servers = []

    def start(answer):
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, text = answer(body) if self.path == "/w/add-checkpoint" else (404, "no such page\n")
                data = text if isinstance(text, bytes) else text.encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_address[1]}/w/"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def witness(peer, serve):
    return Witness(serve(peer.add_checkpoint), NoteKey(NAME, peer.key.verify_key, COSIGNATURE), 5.0)


def test_a_witness_follows_a_ledger_as_it_grows(write, folder, signers, key, witness, peer):
    log = signers.log.verifier
    for entries in (1, 5, 300):
        write(entries)
        signed = have_cosigned(folder, log, witness)
        assert signed.cosignatures[witness.key].timestamp == MOMENT
        assert peer.seen[log.name] == signed.checkpoint
        assert (folder / "witnessed").read_bytes() == signed.note
    report = verify(folder, key.verify_key, witnesses=[witness.key])
    assert (report.verdict, report.anchored, report.witnesses) == (Verdict.VERIFIED, 307, (NAME,))
    assert verify(folder, key.verify_key).verdict is Verdict.NO_ANCHOR
    proof = Evidence(folder, log, [witness.key], is_witnessed=True).inclusion(300)
    evidence = Evidence(folder, log)
    assert list(proof.verify(evidence.record(300), log, [witness.key]).cosignatures) == [witness.key]


def test_an_idle_ledger_can_be_cosigned_for_ever(write, folder, signers, witness, peer, monkeypatch):
    log = signers.log.verifier
    other = NoteKey("other.example/w", SigningKey(bytes([9] * 32)).verify_key, COSIGNATURE)
    write(1)
    have_cosigned(folder, log, witness)
    kept = (folder / "witnessed").read_bytes()
    foreign = cosign(other.name, SigningKey(bytes([9] * 32)), kept.decode().split("\n\n")[0] + "\n", MOMENT)
    (folder / "witnessed").write_bytes(kept + foreign.encode())
    for later in range(1, 120):
        monkeypatch.setitem(globals(), "MOMENT", MOMENT + later)
        signed = have_cosigned(folder, log, witness)
    # The log's line, the other witness's, and the newest of this one.
    assert signed.note.count(b"\n\xe2\x80\x94 ") == 3
    assert open_checkpoint(signed.note, log, [other]).cosignatures[other].timestamp != MOMENT
    assert signed.cosignatures[witness.key].timestamp == MOMENT


@pytest.mark.parametrize(
    "url", ["http://localhost:1/é", "http://[::1", "http://.x/", f"http://{'a' * 64}.example/", "http://a b/"]
)
def test_a_url_that_is_none_is_told(write, folder, signers, peer, url):
    write(1)
    key = NoteKey(NAME, peer.key.verify_key, COSIGNATURE)
    with pytest.raises(WitnessError, match="cannot reach"):
        have_cosigned(folder, signers.log.verifier, Witness(url, key, 0.2))


def test_a_ledger_that_was_set_back_is_found_by_its_witness(write, folder, signers, key, witness):
    write(2)
    early = {name: (folder / name).read_bytes() for name in ("journal", "checkpoint")}
    write(3)
    have_cosigned(folder, signers.log.verifier, witness)
    for name, data in early.items():
        (folder / name).write_bytes(data)
    report = verify(folder, key.verify_key, witnesses=[witness.key])
    assert report.verdict is Verdict.TRUNCATED
    assert "file witnessed has 6 records, the journal 3" in report.finding.detail
    with pytest.raises(ProofError, match=r"old size is 6, must lie in \[0, 3\]"):
        have_cosigned(folder, signers.log.verifier, witness)


def test_a_forked_ledger_gets_no_cosignature(write, folder, signers, witness):
    write(2)
    have_cosigned(folder, signers.log.verifier, witness)
    (folder / "journal").unlink()
    (folder / "checkpoint").unlink()
    write(4)
    with pytest.raises(WitnessError, match="answered 422"):
        have_cosigned(folder, signers.log.verifier, witness)


def test_cosignatures_of_several_witnesses_stand_together(write, folder, signers, witness, peer, serve):
    write(2)
    have_cosigned(folder, signers.log.verifier, witness)
    other = SigningKey(bytes(range(8, 40)))
    second = Witness(
        serve(
            lambda body: (
                200,
                cosign(
                    "w2.example",
                    other,
                    body.decode().partition("\n\n")[2].partition("\n\n")[0] + "\n",
                    MOMENT,
                ),
            )
        ),
        NoteKey("w2.example", other.verify_key, COSIGNATURE),
    )
    assert len(have_cosigned(folder, signers.log.verifier, second).note.splitlines()) == 7
    again = have_cosigned(folder, signers.log.verifier, second)
    assert len(again.note.splitlines()) == 7
    signed = open_checkpoint(again.note, signers.log.verifier, [witness.key, second.key])
    assert set(signed.cosignatures) == {witness.key, second.key}


def test_lines_of_keys_that_nobody_named_are_left_out(write, folder, signers, peer, serve):
    write(1)
    log, successor = signers.log.verifier, SigningKey(bytes(range(9, 41)))

    def answer(body):
        text = body.decode().partition("\n\n")[2].partition("\n\n")[0] + "\n"
        return 200, "".join(cosign(NAME, one, text, MOMENT) for one in (successor, peer.key))

    witness = Witness(serve(answer), NoteKey(NAME, peer.key.verify_key, COSIGNATURE))
    signed = have_cosigned(folder, log, witness)
    assert len(signed.note.partition(b"\n\n")[2].splitlines()) == 2
    unnamed = NoteKey(NAME, successor.verify_key, COSIGNATURE)
    assert list(open_checkpoint(signed.note, log, [witness.key, unnamed]).cosignatures) == [witness.key]


def test_a_kept_note_that_is_damaged_is_not_blamed_on_the_witness(write, folder, signers, witness):
    write(1)
    have_cosigned(folder, signers.log.verifier, witness)
    kept = (folder / "witnessed").read_bytes()
    (folder / "witnessed").write_bytes(kept + b"not a line\n")
    with pytest.raises(WitnessError, match="the file witnessed does not hold"):
        have_cosigned(folder, signers.log.verifier, witness)


def test_recorded_requests_of_another_implementation(peer, serve):
    peer.seen[SIGSUM] = Checkpoint(SIGSUM, 1, decode_base64(SIGSUM_ROOTS[1]))
    witness = Witness(serve(peer.add_checkpoint), NoteKey(NAME, peer.key.verify_key, COSIGNATURE))
    proof = [decode_base64(line) for line in FROM_1_TO_3]
    expected = f"old 1\n{FROM_1_TO_3[0]}\n{FROM_1_TO_3[1]}\n\n".encode() + SIGSUM_3
    assert request_body(1, proof, SIGSUM_3) == expected
    for hashes in ([], proof[:1], proof[::-1]):
        with pytest.raises(WitnessError, match="answered 422"):
            submit(witness, 1, hashes, SIGSUM_3)
    with pytest.raises(WitnessError, match="answered 403"):
        submit(witness, 1, proof, SIGSUM_3.replace(b"\n3\n", b"\n4\n"))
    with pytest.raises(WitnessError, match="answered 404"):
        submit(witness, 1, proof, SIGSUM_3.replace(b"sigsum", b"nobody"))
    with pytest.raises(StaleSizeError) as caught:
        submit(witness, 0, [], SIGSUM_3)
    assert caught.value.size == 1
    assert submit(witness, 1, proof, SIGSUM_3).startswith("— ".encode())
    with pytest.raises(StaleSizeError) as caught:
        submit(witness, 1, proof, SIGSUM_3)
    assert caught.value.size == 3
    roots = {size: decode_base64(root) for size, root in SIGSUM_ROOTS.items()}
    verify_consistency(3, 5, roots[3], roots[5], [decode_base64(line) for line in FROM_3_TO_5])


@pytest.mark.parametrize(
    ("status", "answer", "message"),
    [
        (200, "", "is not signed by witness"),
        (200, "not a line\n", "does not hold"),
        (200, b"\xff\n", "does not hold"),
        (200, cosign("someone.example", SigningKey(bytes(32)), "x\n", 1), "is not signed by witness"),
        (409, "no number\n", "answered 409: 'no number'"),
        (500, "out of order\n", "answered 500: 'out of order'"),
    ],
)
def test_answers_that_are_no_cosignature(write, folder, signers, peer, serve, status, answer, message):
    write(1)
    witness = Witness(serve(lambda body: (status, answer)), NoteKey(NAME, peer.key.verify_key, COSIGNATURE))
    with pytest.raises(WitnessError, match=message):
        have_cosigned(folder, signers.log.verifier, witness)
    assert not (folder / "witnessed").exists()


def test_a_cosignature_of_something_else_does_not_hold(write, folder, signers, peer, serve):
    write(1)
    line = cosign(NAME, peer.key, "another text\n", MOMENT)
    witness = Witness(serve(lambda body: (200, line)), NoteKey(NAME, peer.key.verify_key, COSIGNATURE))
    with pytest.raises(WitnessError, match="does not hold"):
        have_cosigned(folder, signers.log.verifier, witness)


def test_a_witness_that_cannot_be_reached(write, folder, signers, peer, tmp_path):
    key = NoteKey(NAME, peer.key.verify_key, COSIGNATURE)
    with pytest.raises(WitnessError, match="has no checkpoint"):
        have_cosigned(tmp_path, signers.log.verifier, Witness("http://127.0.0.1:9", key))
    write(1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(WitnessError, match=r"gave no whole answer within 0\.2 s"):
            have_cosigned(folder, signers.log.verifier, Witness(f"http://127.0.0.1:{port}", key, 0.2))
    with pytest.raises(WitnessError, match="cannot reach"):
        have_cosigned(folder, signers.log.verifier, Witness(f"http://127.0.0.1:{port}", key, 0.2))
    with pytest.raises(WitnessError, match="must begin with http"):
        have_cosigned(folder, signers.log.verifier, Witness("file:///etc", key))


@pytest.fixture
def drip():
    """Return a function that serves a beginning of an answer, then drips, and gives the URL."""
    is_over, ends = threading.Event(), []

    def start(begun, drop):
        listener = socket.create_server(("127.0.0.1", 0))

        def serve():
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(begun)
                while drop and not is_over.wait(0.05):
                    connection.sendall(drop)
                # To close before the request was read would break off more than the answer.
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        ends.append((listener, thread))
        return f"http://127.0.0.1:{listener.getsockname()[1]}/w/"

    yield start
    is_over.set()
    for listener, thread in ends:
        thread.join()
        listener.close()


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "begun",
    [
        b"HTTP/1.1 200 OK\r\nX: ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n",
        b"HTTP/1.1 403 No\r\nContent-Length: 1000\r\n\r\n",
    ],
    ids=["its headers", "its answer", "its refusal"],
)
def test_a_witness_that_drips_is_waited_for_no_longer_than_one_that_is_silent(peer, drip, begun):
    key = NoteKey(NAME, peer.key.verify_key, COSIGNATURE)
    with pytest.raises(WitnessError, match=r"gave no whole answer within 0\.5 s"):
        submit(Witness(drip(begun, b"x"), key, 0.5), 0, [], SIGSUM_3)


def test_a_refusal_that_breaks_off_is_told(peer, drip):
    key = NoteKey(NAME, peer.key.verify_key, COSIGNATURE)
    with pytest.raises(WitnessError, match="cannot reach"):
        submit(
            Witness(drip(b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nno", b""), key, 5.0),
            0,
            [],
            SIGSUM_3,
        )


def test_a_cosignature_that_cannot_be_kept_is_said(write, folder, signers, witness):
    write(1)
    (folder / "witnessed.new").mkdir()
    with pytest.raises(WitnessError, match="cannot write witnessed: Is a directory"):
        have_cosigned(folder, signers.log.verifier, witness)


def test_a_damaged_tile_makes_no_proof(write, folder, signers, witness):
    write(1)
    have_cosigned(folder, signers.log.verifier, witness)
    write(3)
    tile = folder / "tile/0/000.p/5"
    tile.write_bytes(tile.read_bytes()[:32])
    with pytest.raises(ProofError, match="holds 32 bytes, too few"):
        have_cosigned(folder, signers.log.verifier, witness)
    tile.unlink()
    with pytest.raises(LedgerReadError, match="it is not there"):
        have_cosigned(folder, signers.log.verifier, witness)
    assert Ledger.open(folder, signers).close() is None
    have_cosigned(folder, signers.log.verifier, witness)
