"""A signed snapshot of where a ledger stands, so that not all of it need be read to know.

The state is what the ledger says; a snapshot only says it sooner. It is canonical JSON, signed by the key
that signs the ledger's records, which could have said the same in a record: a snapshot adds nobody to trust.
"""

import itertools
from array import array
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self

import attrs

from attunement.charter import Charter, charter_body, charter_of
from attunement.governance import follow
from attunement.journal import entry_of, figures_body, limits_of, resume_point, state_body, state_of
from attunement.ledger_view import Status
from attunement.order import OrderError
from attunement.order_audit import OrderAuditor
from attunement.order_book import Commit, OrderBook
from attunement.replay import Mismatch, Replay, is_decision
from kernel import Limits, Mode, State
from kernel.state import REFUSED
from ledger import CanonicalError, Head, JsonValue, NoteError, NoteKey, Prefix, Record, SigningKey, VerifyKey
from ledger.canonical import encode, parse
from ledger.chain import Chain, KeyTrail, open_journal, read_on
from ledger.frame import OVERHEAD, TornFrame
from ledger.frame import read as read_frame
from ledger.keys import decode_base64, encode_base64
from ledger.record import RecordError
from ledger.record import parse as parse_record
from ledger.tree import Tree

FORMAT: Final = "lambda-attunement-snapshot"
VERSION: Final = 2
DOMAIN: Final = b"lambda-attunement/snapshot/v2\0"


_PLACES = ("begin", "era", "seq", "window")
_MEMBERS = frozenset(
    {"charter", "format", "hash", "initial", "latch", "limits", "log_key", "root", "state", "timestamp", "v"}
    | {"verdicts", *_PLACES}
)


class SnapshotError(Exception):
    """A snapshot does not hold: it is malformed, of another key, or not what the ledger says."""


@attrs.frozen
class Snapshot:
    """Where a ledger stands after one record.

    Attributes:
        head: That record.
        begin: Byte of the journal at which its frame begins.
        timestamp: Its UTC time.
        state: The kernel's state after it.
        limits: The policy in force after it.
        verdicts: How often each verdict was given, up to it.
        latch: Sequence of the record that latched FROZEN or EMERGENCY; None outside of them.
        initial: The commit that an order made the α to begin with; None if none did.
        era: Sequence of the last record that changed the latch, the policy or the charter.
        charter: Who governs, as the ledger named it last; None if it never did.
        root: Merkle root over all records up to it, in hex.
        log_key: The vkey of the log's key in force after it.
        window: Byte of the journal at which the oldest record begins that an order can still refer to.
    """

    head: Head
    begin: int
    timestamp: str
    state: State
    limits: Limits
    verdicts: Mapping[str, int]
    latch: int | None
    initial: Commit | None
    era: int
    charter: Charter | None
    root: str
    log_key: str
    window: int

    def sign(self, key: SigningKey) -> bytes:
        """Return the snapshot as a file holds it."""
        members: dict[str, JsonValue] = {
            "begin": self.begin,
            "charter": None if self.charter is None else charter_body(self.charter),
            "era": self.era,
            "format": FORMAT,
            "hash": self.head.hash_hex,
            "initial": None if self.initial is None else [self.initial.sequence, self.initial.alpha],
            "latch": self.latch,
            "limits": figures_body(self.limits),
            "log_key": self.log_key,
            "root": self.root,
            "seq": self.head.sequence,
            "state": state_body(self.state),
            "timestamp": self.timestamp,
            "v": VERSION,
            "verdicts": dict(self.verdicts),
            "window": self.window,
        }
        signature = encode_base64(key.sign(DOMAIN + encode(members)))
        return encode({**members, "signature": signature}) + b"\n"

    @classmethod
    def parse(cls, data: bytes, key: VerifyKey) -> Self:
        """Read a snapshot that this key must have signed.

        Raises:
            SnapshotError: it is malformed, or its signature does not hold.
        """
        try:
            members = parse(data.removesuffix(b"\n"))
        except CanonicalError as error:
            raise SnapshotError(f"it is not a snapshot: {error}") from error
        if not (isinstance(members, dict) and members.get("format") == FORMAT):
            raise SnapshotError(f"it is not a snapshot, must have the format {FORMAT}")
        text = members.pop("signature", None)
        signature = decode_base64(text) if isinstance(text, str) else None
        if signature is None or not key.verifies(signature, DOMAIN + encode(members)):
            raise SnapshotError(f"it is not signed by key {key.key_id}")
        return cls._of(members)

    @classmethod
    def _of(cls, members: dict[str, Any]) -> Self:
        if not (members.keys() == _MEMBERS and members["v"] == VERSION):
            raise SnapshotError(f"its members are not those of version {VERSION}")
        for name in _PLACES:
            if not (type(members[name]) is int and members[name] >= 0):
                raise SnapshotError(f"a member is not what it should be: {name} is {members[name]!a}")
        try:
            return cls(
                head=Head(members["seq"], members["hash"]),
                begin=members["begin"],
                timestamp=members["timestamp"],
                state=state_of(members["state"]),
                limits=limits_of(members["limits"]),
                verdicts=members["verdicts"],
                latch=members["latch"],
                initial=None if members["initial"] is None else Commit(*members["initial"]),
                era=members["era"],
                charter=None if members["charter"] is None else charter_of(members["charter"]),
                root=members["root"],
                log_key=members["log_key"],
                window=members["window"],
            )
        except (KeyError, TypeError, ValueError, OrderError) as error:
            raise SnapshotError(f"a member is not what it should be: {error}") from error

    def prefix(self, key: VerifyKey) -> Prefix:
        """Return the beginning of the ledger as it was verified before; the key is the one that signed it.

        Raises:
            SnapshotError: a member cannot be read.
        """
        try:
            root, log_key = bytes.fromhex(self.root), NoteKey.parse(self.log_key)
        except (NoteError, TypeError, ValueError) as error:
            raise SnapshotError(f"a member is not what it should be: {error}") from error
        return Prefix(self.head, self.begin, root, key, log_key)

    def resume(self, folder: Path, last: int, book: OrderBook) -> tuple[State, Limits] | None:
        """Bring a book to record `last` of a ledger that begins as `prefix` says, and return what is resumed.

        Raises:
            LedgerReadError: the ledger cannot be read.
            JournalError: a record holds something else than it says.
        """
        records = itertools.takewhile(lambda one: one.sequence <= last, read_on(folder, self.window))
        for record in records:
            follow(book, record)
            if record.sequence == self.head.sequence:
                break
        self._seat(book)

        def followed() -> Iterator[Record]:
            for record in records:
                yield record
                follow(book, record)

        return resume_point(followed(), (self.state, self.limits))

    def tail(self, folder: Path, key: VerifyKey) -> Iterator[Record]:
        """Yield the records after the snapshot's, verified, without reading those before it.

        Args:
            folder: The ledger.
            key: The key that signed the snapshot, and that is in force after its record.

        Raises:
            SnapshotError: the ledger does not have the snapshot's record in its place.
            LedgerReadError, LedgerTamperedError: the ledger cannot be read, or a record is bad.
        """
        with open_journal(folder) as stream:
            stream.seek(self.begin)
            try:
                stored = read_frame(stream)
                head = None if stored is None else parse_record(stored)
            except (RecordError, TornFrame):
                head = None
            if head is None or Head(head.sequence, head.hash_hex) != self.head:
                place = f"record {self.head.sequence} with the hash {self.head.hash_hex}"
                raise SnapshotError(f"the ledger has no {place} at byte {self.begin}")
            chain = Chain(None)
            chain.go_on_after(head, self.begin + len(head.stored) + OVERHEAD, key, self.prefix(key).log_key)
            yield from chain.walk(stream)

    def status(self, folder: Path, key: VerifyKey) -> Status:
        """Return where the ledger stands now, reading only what follows the snapshot; arguments as of `tail`.

        Raises:
            SnapshotError, LedgerReadError, LedgerTamperedError: as of `tail`.
            JournalError: a decision cannot be read.
        """
        state, limits, verdicts = self.state, self.limits, dict(self.verdicts)
        sequence, timestamp, book = self.head.sequence, self.timestamp, self._book()
        for record in self.tail(folder, key):
            sequence, timestamp = record.sequence, record.timestamp
            follow(book, record)
            if not is_decision(record):
                continue
            entry = entry_of(record.body)
            state = entry.after
            if entry.limits is not None and entry.verdict.outcome is not REFUSED:
                limits = entry.limits
            word = entry.verdict.outcome.value
            verdicts[word] = verdicts.get(word, 0) + 1
        records, latch, initial = sequence + 1, book.latch, book.initial
        return Status(folder, records, timestamp, state, limits, verdicts, latch, initial)

    def _book(self) -> OrderBook:
        # No order is judged by it, so that none of the heads, nonces and votes before it is missed.
        book = OrderBook(order_ttl_s=0.0)
        self._seat(book)
        return book

    def _seat(self, book: OrderBook) -> None:
        book.head, book.timestamp = self.head, self.timestamp
        book.alpha, book.limits, book.latch = self.state.alpha, self.limits, self.latch
        book.mode = self.state.resume if self.state.mode is Mode.TRIAL else self.state.mode
        book.initial, book.era, book.charter = self.initial, self.era, self.charter


class Surveyor:
    """Follows a ledger from its first record, derives its decisions again, and makes or checks snapshots.

    Attributes:
        mismatches: Every mismatch that the replay found; a ledger with one has no snapshot.
    """

    def __init__(self) -> None:
        self.mismatches: list[Mismatch] = []
        self._replay = Replay(OrderAuditor(None))
        self._book = OrderBook(order_ttl_s=0.0)
        self._verdicts: dict[str, int] = {}
        self._head: Record | None = None
        self._tree = Tree()
        self._keys = KeyTrail()
        # Where each record's frame begins, and where the last one ends.
        self._places = array("Q", [0])

    def follow(self, records: Iterable[Record], until: Head | None = None) -> None:
        """Take in records, up to and with the one at `until` if it is given.

        Raises:
            LedgerReadError, LedgerTamperedError: as of what yields them.
            JournalError: a record says that it holds an order or a vote, and does not.
            SnapshotError: another record than `until` is at its place, or none.
        """
        for record in records:
            self.mismatches += self._replay.follow(record)
            follow(self._book, record)
            self._head = record
            self._tree.add(record.stored, bytes.fromhex(record.hash_hex))
            self._keys.follow(record)
            self._places.append(self._places[-1] + len(record.stored) + OVERHEAD)
            if is_decision(record):
                word = str(record.body.get("verdict"))
                self._verdicts[word] = self._verdicts.get(word, 0) + 1
            if until is not None and record.sequence == until.sequence:
                break
        last = self._head
        if until is not None and (last is None or Head(last.sequence, last.hash_hex) != until):
            raise SnapshotError(f"the ledger has no record {until.sequence} with the hash {until.hash_hex}")

    def snapshot(self) -> Snapshot:
        """Return a snapshot of where the ledger stands after the records so far.

        Raises:
            SnapshotError: it holds no decision, or one that the rules do not give.
        """
        if self.mismatches:
            raise SnapshotError(f"a decision is not what the rules give: {self.mismatches[0]}")
        head, state, limits = self._head, self._replay.state, self._replay.limits
        if head is None or state is None or limits is None:
            raise SnapshotError("the ledger holds no decision yet")
        place = Head(head.sequence, head.hash_hex)
        return Snapshot(
            place,
            self._places[-2],
            head.timestamp,
            state,
            limits,
            dict(self._verdicts),
            self._book.latch,
            self._book.initial,
            self._book.era,
            self._book.charter,
            self._tree.root().hex(),
            str(self._keys.log_key),
            self._places[self._book.oldest_needed()],
        )

    def check_signer(self, key: VerifyKey) -> None:
        """Check that a key is the one in force after the records so far.

        Raises:
            SnapshotError: it is another.
        """
        if key != self._keys.key:
            raise SnapshotError(f"key {key.key_id} is not the one that signs the ledger's records now")

    def check(self, snapshot: Snapshot) -> None:
        """Check that a snapshot is what the ledger says after the records so far.

        Raises:
            SnapshotError: it is not, or there can be none.
        """
        found = self.snapshot()
        for name in attrs.fields_dict(Snapshot):
            said, is_so = getattr(snapshot, name), getattr(found, name)
            if said != is_so:
                raise SnapshotError(f"its {name} is {said}, the ledger says {is_so}")
