"""The commands for orders: make one, sign it anywhere, look at it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

import ledger
from attunement.charter import Charter, load_charter
from attunement.cli_common import (
    EXIT_ERROR,
    EXIT_REFUSED,
    F,
    FilePath,
    FiniteRange,
    complain,
    config_option,
    configuration,
    json_option,
)
from attunement.config_schema import Config
from attunement.control_client import ControlClient, NoLoopError
from attunement.control_protocol import DEFAULT_WAIT_S, WAIT_MAX_S, socket_path
from attunement.governance import draft, follow
from attunement.objections import objections, vote_objections
from attunement.order import Action, Choice, OrderError, OrderTerms, SignedOrder, Vote, sign_order
from attunement.order_book import Commit, OrderBook
from attunement.policy import kernel_limits
from attunement.printing import naming
from kernel import Limits, MalformedQuantityError
from kernel.quantity import NANO, Nano, round_nearest, to_float
from ledger import files
from ledger.record import format_utc

wait_option: Callable[[F], F] = click.option(
    "--wait",
    "wait_s",
    type=FiniteRange(0, WAIT_MAX_S),
    default=DEFAULT_WAIT_S,
    show_default=True,
    help="How long to wait for what becomes of it, seconds.",
)

_FILE_MODE = 0o644
_MAX_FILE_BYTES = 64 * 1024


@click.group("order")
def order_group() -> None:
    """Prepare orders: make, sign and show them; `order send` or `run --order` has them carried out."""


@order_group.command("make")
@click.argument("action", type=click.Choice([action.value for action in Action]))
@config_option
@click.option("--alpha", type=float, help="α of an override, or of a commit to go back to or to persist.")
@click.option("--record", type=click.IntRange(min=0), help="Sequence of that commit's record.")
@click.option("--actor", required=True, help="Who asks, for the record.")
@click.option("--reason", required=True, help="Why, for the record.")
@click.option("--ttl", type=float, help="Life in seconds, instead of the configuration's longest.")
@click.option("--out", required=True, type=FilePath(), help="File to write; never overwritten.")
@json_option
def make(
    action: str,
    config_path: Path | None,
    alpha: float | None,
    record: int | None,
    actor: str,
    reason: str,
    ttl: float | None,
    out: Path,
    as_json: bool,
) -> None:
    """Write an unsigned order that answers to the ledger as it stands.

    A policy order carries the limits of the configuration.

    Example: lambda-attunement order make approve --actor ines --reason "feed 3 is back" --out approve.json
    """
    made = make_order(configuration(config_path), Action(action), actor, reason, alpha, record, ttl)
    write_order(out, made, is_new=True)
    if as_json:
        click.echo(json.dumps({"order_id": made.terms.order_id, "file": str(out)}, ensure_ascii=False))
    else:
        click.echo(f"order {made.terms.order_id}: {out}")


@order_group.command("sign")
@click.argument("path", type=FilePath())
@click.option("--key", required=True, type=FilePath(), help="The operator's private key.")
@click.option("--against", is_flag=True, help="Vote against it instead; counts for a policy.")
@click.option("--out", type=FilePath(), help="File to write, instead of the order's own.")
@json_option
def sign(path: Path, key: Path, against: bool, out: Path | None, as_json: bool) -> None:
    """Add an operator's signature to an order; needs neither the ledger nor the configuration.

    Example: lambda-attunement order sign approve.json --key ines.key
    """
    choice = Choice.AGAINST if against else Choice.FOR
    signed = sign_order(ledger.load_private(key), read_order(path), choice)
    file = path if out is None else out
    write_order(file, signed, is_new=out is not None)
    if as_json:
        told = {"order_id": signed.terms.order_id, "file": str(file), "signed": len(signed.votes)}
        click.echo(json.dumps(told, ensure_ascii=False))
    else:
        click.echo(f"order {signed.terms.order_id}: {len(signed.votes)} signed")


@order_group.command(
    "send", epilog="Exit codes: 0 done, or waiting for a reading; 3 refused; 1 no loop runs; 2 usage."
)
@click.argument("path", type=FilePath())
@config_option
@wait_option
@json_option
def send(path: Path, config_path: Path | None, wait_s: float, as_json: bool) -> int:
    """Hand a signed order to the loop that runs, and tell what became of it within --wait seconds.

    Where no loop runs, `run --order` carries it out at the next start.

    Example: lambda-attunement order send approve.json
    """
    signed, config = read_order(path), configuration(config_path)
    return hand_over(
        config, signed, wait_s, as_json, f"`run --order {path}` carries it out at the next start"
    )


@order_group.command("show")
@click.argument("path", type=FilePath())
@config_option
@json_option
def show(path: Path, config_path: Path | None, as_json: bool) -> None:
    """Say what an order asks, who signed it, and what would be objected to it now.

    Example: lambda-attunement order show approve.json
    """
    config = configuration(config_path)
    signed, charter = read_order(path), load_charter(config)
    book = read_book(config)
    now = max(format_utc(datetime.now(UTC)), book.timestamp)
    for vote in signed.votes:
        if not any(vote_objections(charter, signed.terms, vote)):
            book.count(signed.terms, vote)
    # Ψ is known to a run alone: it is not objected to here.
    found = objections(charter, book, signed, now, Nano(NANO))
    if as_json:
        shown = {
            "order_id": signed.terms.order_id,
            "order": signed.terms.body(),
            "signatures": [_signer_as_json(charter, signed.terms, vote) for vote in signed.votes],
            "objections": list(found),
        }
        click.echo(json.dumps(shown, ensure_ascii=False, allow_nan=False))
        return
    table = Table(show_header=False)
    for name, text in _rows(charter, signed, found):
        table.add_row(name, Text(text))
    Console().print(table)


def hand_over(config: Config, signed: SignedOrder, wait_s: float, as_json: bool, otherwise: str) -> int:
    """Hand an order to the loop that runs, print what became of it, and return the exit code.

    Args:
        otherwise: What is said to do where no loop runs.

    Raises:
        ControlError: the loop refused the request, fell silent, or went away.
    """
    try:
        with ControlClient(socket_path(config)) as client:
            told = client.send_order(signed, wait_s)
    except NoLoopError as error:
        return complain(f"{error}: {otherwise}", EXIT_ERROR)
    if as_json:
        click.echo(json.dumps(told, ensure_ascii=False))
    else:
        click.echo(f"order {told['order_id']}: {told['state']}: {'; '.join(told['said'])}")
    return EXIT_REFUSED if told["state"] == "refused" else 0


def make_order(
    config: Config,
    action: Action,
    actor: str,
    reason: str,
    alpha: float | None = None,
    record: int | None = None,
    ttl: float | None = None,
) -> SignedOrder:
    """Return an unsigned order that answers to the configured ledger as it stands.

    Raises:
        UsageError: the life is out of range, or alpha and record do not fit the action.
        OrderError: actor or reason do not fit, or the ledger is empty.
        LedgerReadError, LedgerTamperedError: the ledger cannot be read.
    """
    life_s = config.governance.order_ttl if ttl is None else ttl
    if not 0 < life_s <= config.governance.order_ttl:
        raise click.UsageError(f"--ttl is {life_s:g}, must lie in (0, {config.governance.order_ttl:g}]")
    book = read_book(config)
    subject = _subject(action, book, config, alpha, record)
    now = max(format_utc(datetime.now(UTC)), book.timestamp)
    return draft(book, now, life_s, action, subject, actor, reason)


def read_order(path: Path) -> SignedOrder:
    """Read an order's file: its canonical text and a newline.

    Raises:
        OrderError: the file cannot be read, or holds no order.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_FILE_BYTES)
        return SignedOrder.parse(data.decode("utf-8").removesuffix("\n"))
    except OSError as error:
        raise OrderError(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, OrderError) as error:
        raise OrderError(f"{path}: {error}") from error


def read_book(config: Config) -> OrderBook:
    """Return the book of the configured ledger.

    Raises:
        LedgerReadError, LedgerTamperedError: it cannot be read.
        JournalError: a record says that it holds an order, and does not.
    """
    book = OrderBook(config.governance.order_ttl)
    for record in ledger.read_records(config.logging.audit_ledger_path):
        follow(book, record)
    return book


def _subject(
    action: Action, book: OrderBook, config: Config, alpha: float | None, record: int | None
) -> tuple[int, ...]:
    figure = None if alpha is None else _rounded(alpha)
    needs_commit = action in (Action.ROLLBACK, Action.PERSIST)
    if record is not None and not needs_commit:
        raise click.UsageError(f"{action.value} takes no --record")
    if needs_commit:
        commit = _commit(book, figure, record)
        return (commit.sequence, commit.alpha)
    if action is Action.OVERRIDE:
        if figure is None:
            raise click.UsageError("override needs --alpha")
        return (figure,)
    if figure is not None:
        raise click.UsageError(f"{action.value} takes no --alpha")
    return tuple(kernel_limits(config)) if action is Action.POLICY else ()


def _rounded(alpha: float) -> Nano:
    try:
        return round_nearest("--alpha", alpha)
    except MalformedQuantityError as error:
        raise click.UsageError(str(error)) from error


def _commit(book: OrderBook, alpha: int | None, record: int | None) -> Commit:
    if alpha is None and record is None:
        raise click.UsageError("name the commit by --alpha or --record: see `ledger show`")
    for commit in book.commits():
        if alpha in (None, commit.alpha) and record in (None, commit.sequence):
            return commit
    raise click.UsageError("no commit like that is among the newest of the ledger: see `ledger show`")


def write_order(path: Path, signed: SignedOrder, *, is_new: bool) -> None:
    """Write an order's file, over another one only if it is not to be new.

    Raises:
        UsageError: it is to be new, and a file is there.
        OSError: it cannot be written; the error names it.
    """
    data = f"{signed.encode()}\n".encode()
    try:
        with naming(str(path)):
            (files.publish if is_new else files.replace)(str(path), data, _FILE_MODE)
    except FileExistsError as error:
        raise click.UsageError(f"{path} exists, an order is never overwritten") from error


def _rows(charter: Charter, signed: SignedOrder, found: tuple[str, ...]) -> list[tuple[str, str]]:
    terms = signed.terms
    rows = [
        ("order", terms.order_id),
        ("action", terms.action.value),
        *_subject_rows(terms),
        ("actor", terms.actor),
        ("reason", terms.reason),
        ("head", f"{terms.head.sequence}:{terms.head.hash_hex}"),
        ("latch", "none" if terms.latch is None else f"record {terms.latch}"),
        ("expires", terms.expires),
    ]
    for vote in signed.votes:
        signer = _signer_as_json(charter, terms, vote)
        rows.append((vote.choice.value, f"{signer['operator'] or vote.key_id}: {signer['verdict']}"))
    rows += [("objection", line) for line in found] or [
        ("objection", "none, as far as is known before a run")
    ]
    return rows


def _subject_rows(terms: OrderTerms) -> list[tuple[str, str]]:
    if terms.action is Action.POLICY:
        return [(name, f"{figure:,}") for name, figure in zip(Limits._fields, terms.subject, strict=True)]
    rows = [("α", f"{to_float(terms.subject[-1]):.9f}")] if terms.subject else []
    return [*rows, ("committed by", f"record {terms.subject[0]}")] if len(terms.subject) == 2 else rows


def _signer_as_json(charter: Charter, terms: OrderTerms, vote: Vote) -> dict[str, str | None]:
    operator, found = charter.operator(vote.key_id), list(vote_objections(charter, terms, vote))
    return {
        "key": vote.key_id,
        "choice": vote.choice.value,
        "operator": None if operator is None else operator.name,
        "verdict": "; ".join(found) or "good",
    }
