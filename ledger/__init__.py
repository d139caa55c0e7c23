"""An append-only ledger: one folder, one writer, a transparency log of signed records.

`Ledger.open` writes, `verify` judges with a public key and the folder alone, `read_records` reads, and
`evidence` makes proofs that tools of others check.
"""

from ledger.cadence import Cadence
from ledger.canonical import Canonical, JsonValue
from ledger.chain import read_records
from ledger.checkpoint import Checkpoint, SignedCheckpoint, open_checkpoint
from ledger.errors import (
    CanonicalError,
    Fault,
    Finding,
    HeadStoreError,
    KeyFileError,
    LedgerError,
    LedgerKeyError,
    LedgerLockedError,
    LedgerReadError,
    LedgerTamperedError,
    LedgerWriteError,
    NoteError,
    OwnershipLostError,
    PrefixError,
    ProofError,
    WitnessError,
)
from ledger.head_store import HeadRow, HeadStore, postgres_head_store, sqlite_head_store
from ledger.keys import SigningKey, VerifyKey, generate, load_private, load_public
from ledger.log import Health, Ledger, Receipt
from ledger.note import NoteKey, NoteSigner
from ledger.opening import Prefix, Signers
from ledger.record import Head, Kind, Record
from ledger.verify import Report, Verdict, verify

__all__ = [
    "Cadence",
    "Canonical",
    "CanonicalError",
    "Checkpoint",
    "Fault",
    "Finding",
    "Head",
    "HeadRow",
    "HeadStore",
    "HeadStoreError",
    "Health",
    "JsonValue",
    "KeyFileError",
    "Kind",
    "Ledger",
    "LedgerError",
    "LedgerKeyError",
    "LedgerLockedError",
    "LedgerReadError",
    "LedgerTamperedError",
    "LedgerWriteError",
    "NoteError",
    "NoteKey",
    "NoteSigner",
    "OwnershipLostError",
    "Prefix",
    "PrefixError",
    "ProofError",
    "Receipt",
    "Record",
    "Report",
    "SignedCheckpoint",
    "Signers",
    "SigningKey",
    "Verdict",
    "VerifyKey",
    "WitnessError",
    "generate",
    "load_private",
    "load_public",
    "open_checkpoint",
    "postgres_head_store",
    "read_records",
    "sqlite_head_store",
    "verify",
]
