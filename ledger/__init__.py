"""An append-only ledger: one file, one writer, every record chained and signed.

`Ledger.open` writes, `verify` judges with the public key alone, `read_records` reads.
"""

from ledger.canonical import JsonValue
from ledger.chain import read_records
from ledger.errors import (
    CanonicalError,
    Fault,
    Finding,
    KeyFileError,
    LedgerError,
    LedgerKeyError,
    LedgerLockedError,
    LedgerReadError,
    LedgerTamperedError,
    LedgerWriteError,
)
from ledger.keys import SigningKey, VerifyKey, generate, load_private, load_public
from ledger.log import Ledger, Receipt
from ledger.record import Head, Kind, Record
from ledger.verify import Report, Verdict, verify

__all__ = [
    "CanonicalError",
    "Fault",
    "Finding",
    "Head",
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
    "Receipt",
    "Record",
    "Report",
    "SigningKey",
    "Verdict",
    "VerifyKey",
    "generate",
    "load_private",
    "load_public",
    "read_records",
    "verify",
]
