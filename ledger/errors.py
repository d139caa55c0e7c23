"""What can go wrong with a ledger, and the finding that names a bad record."""

import enum

import attrs


class Fault(enum.Enum):
    """What is wrong with a record, as a verdict says it."""

    FRAME = "frame"
    CANONICAL_FORM = "canonical form"
    UNKNOWN_KEY = "unknown key"
    SIGNATURE = "signature"
    SEQUENCE = "sequence"
    CHAIN = "chain"
    TIMESTAMP = "timestamp"
    TRUNCATED = "truncated"
    CHECKPOINT = "checkpoint"
    TREE = "tree"
    TILE = "tile"


@attrs.frozen
class Finding:
    """The first bad record: its place, the byte of the journal where it begins, and why it is bad."""

    sequence: int
    offset: int
    fault: Fault
    detail: str

    def __str__(self) -> str:
        return f"record {self.sequence} at byte {self.offset}: {self.fault.value}: {self.detail}"


class LedgerError(Exception):
    """Any refusal of this package."""


class CanonicalError(LedgerError):
    """A value has no canonical bytes, or bytes are not canonical."""


class KeyFileError(LedgerError):
    """A key, or the file that should hold it, cannot be used."""


class LedgerReadError(LedgerError):
    """A file of the ledger cannot be read."""


class PrefixError(LedgerError):
    """The beginning of a ledger is not the one that was verified before."""


class LedgerWriteError(LedgerError):
    """Nothing was acknowledged: the file cannot be written, or the ledger was closed or stopped."""


class LedgerLockedError(LedgerError):
    """Another writer holds the ledger."""


class NoteError(LedgerError):
    """A signed note, a checkpoint or a vkey is malformed, or a signature on it does not hold."""


class ProofError(LedgerError):
    """A proof does not show what it should, or cannot be made."""


class HeadStoreError(LedgerError):
    """The store of heads cannot be asked, or its answer is of no use."""


class OwnershipLostError(LedgerError):
    """The row of this ledger's head is another writer's: nothing may be appended here any more."""


class WitnessError(LedgerError):
    """A witness did not cosign."""


class LedgerKeyError(LedgerError):
    """The ledger is whole at its beginning, but was written by another key.

    Args:
        written_by: the key found in the ledger, as its id or vkey.
        held: the key of this process.
    """

    def __init__(self, written_by: str, held: str) -> None:
        super().__init__(f"ledger was written by key {written_by}, this process holds key {held}")
        self.written_by = written_by
        self.held = held


class LedgerTamperedError(LedgerError):
    """The ledger is not what was written; `finding` names the first bad record."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(str(finding))
        self.finding = finding
