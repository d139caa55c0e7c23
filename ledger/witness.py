"""Have a witness (C2SP tlog-witness) cosign the published checkpoint."""

import http.client
import os
import queue
import threading
import urllib.error
import urllib.request
from typing import Final

import attrs

from ledger import files
from ledger.checkpoint import SignedCheckpoint, open_checkpoint, parse_decimal
from ledger.errors import NoteError, WitnessError
from ledger.keys import encode_base64
from ledger.merkle import prove_consistency
from ledger.note import MAX_NOTE_BYTES, Note, NoteKey, Signature, signature_line
from ledger.publish import CHECKPOINT
from ledger.tiles import TileReader
from ledger.verify import WITNESSED, read_note

TIMEOUT_S: Final = 10.0

_MODE = 0o644
_CONFLICT = 409


@attrs.frozen
class Witness:
    """A witness: the URL prefix to which checkpoints are submitted, and its cosignature key.

    One submission takes `timeout_s` seconds at most, whatever the witness does.
    """

    url: str
    key: NoteKey
    timeout_s: float = TIMEOUT_S


class StaleSizeError(WitnessError):
    """The witness saw another size last than the one it was offered a proof from; `size` is that one."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the witness saw size {size} last")
        self.size = size


def request_body(old: int, proof: list[bytes], note: bytes) -> bytes:
    """Return the body of an add-checkpoint request."""
    lines = "".join(f"{encode_base64(value)}\n" for value in proof)
    return f"old {old}\n{lines}\n".encode("ascii") + note


def submit(witness: Witness, old: int, proof: list[bytes], note: bytes) -> bytes:
    """Offer a checkpoint with the consistency proof from the size that the witness saw last.

    Returns:
        The signature lines of the witness. They are not checked here.

    Raises:
        StaleSizeError: the witness saw another size last.
        WitnessError: it cannot be reached, refuses, or has not answered in time.
    """
    url = f"{witness.url.rstrip('/')}/add-checkpoint"
    if not url.startswith(("http://", "https://")):
        raise WitnessError(f"the witness's url is {witness.url!a}, must begin with http:// or https://")
    answers: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            # Twice the time, so that it is always the end of all waiting that is told first.
            answers.put(_answer(url, request_body(old, proof, note), 2.0 * witness.timeout_s))
        except Exception as error:  # noqa: BLE001 - raised to the caller
            answers.put(error)

    # A timeout of the socket is one of each wait: who drips an answer would be waited for without end.
    threading.Thread(target=ask, name="witness", daemon=True).start()
    try:
        answer = answers.get(timeout=witness.timeout_s)
    except queue.Empty as error:
        raise WitnessError(f"{url} gave no whole answer within {witness.timeout_s:g} s") from error
    if isinstance(answer, Exception):
        raise answer
    return answer


def _answer(url: str, body: bytes, timeout_s: float) -> bytes:
    try:
        # A url is taken apart here and there on the way: what makes none raises a ValueError of some kind.
        request = urllib.request.Request(url, body, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as response:
                return bytes(response.read(MAX_NOTE_BYTES))
        except urllib.error.HTTPError as refusal:
            with refusal:
                code, answer = refusal.code, refusal.read(1024).decode("utf-8", errors="replace")
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise WitnessError(f"cannot reach {url}: {error}") from error
    size = parse_decimal(answer.removesuffix("\n")) if code == _CONFLICT else None
    if size is not None:
        raise StaleSizeError(size)
    raise WitnessError(f"{url} answered {code}: {answer.strip()!a}")


def cosign(folder: str | os.PathLike[str], log_key: NoteKey, witness: Witness) -> SignedCheckpoint:
    """Have a witness cosign the folder's checkpoint, and keep the result in the file `witnessed`.

    Cosignatures of other witnesses on the same checkpoint are kept; this witness's newest stands for all that
    it gave before. Lines of other keys in its answer, which nobody asked for, are left out.

    Raises:
        LedgerReadError, ProofError: the published log cannot be read.
        NoteError: the checkpoint is not the log's.
        WitnessError: there is no checkpoint, the witness does not cosign it, its answer or what was kept
            before does not hold, or the result cannot be written.
    """
    note = read_note(folder, CHECKPOINT)
    if note is None:
        raise WitnessError(f"{os.fspath(folder)} has no checkpoint")
    checkpoint = open_checkpoint(note, log_key).checkpoint
    reader = TileReader(folder, checkpoint.size)
    try:
        lines = submit(witness, 0, [], note)
    except StaleSizeError as stale:
        # A size beyond ours makes no proof: the witness saw a history that this folder does not have.
        old = stale.size
        lines = submit(witness, old, prove_consistency(reader.node, old, checkpoint.size), note)
    kept = read_note(folder, WITNESSED)
    text = checkpoint.text.encode("utf-8")
    if kept is not None and kept.startswith(text + b"\n"):
        note = kept
    try:
        others = _without(note, witness.key)
    except NoteError as error:
        raise WitnessError(f"the file {WITNESSED} does not hold: {error}") from error
    try:
        signed = open_checkpoint(others + lines, log_key, [witness.key])
    except NoteError as error:
        raise WitnessError(f"the answer of {witness.url} does not hold: {error}") from error
    cosignature = signed.cosignatures.get(witness.key)
    if cosignature is None:
        raise WitnessError(f"the answer of {witness.url} is not signed by {witness.key}")
    signed = attrs.evolve(signed, note=others + _line(cosignature))
    try:
        files.replace(os.path.join(folder, WITNESSED), signed.note, _MODE)
        files.sync_directory(os.fspath(folder))
    except OSError as error:
        raise WitnessError(f"cannot write {WITNESSED}: {error.strerror}") from error
    return signed


def _without(note: bytes, key: NoteKey) -> bytes:
    # A log that is idle is cosigned over and over: each line kept would bring the note nearer to its limit.
    parsed = Note.parse(note)
    kept = [one for one in parsed.signatures if (one.name, one.key_hash) != (key.name, key.key_hash)]
    return f"{parsed.text}\n".encode() + b"".join(map(_line, kept))


def _line(signature: Signature) -> bytes:
    return signature_line(signature.name, signature.key_hash + signature.data).encode()
