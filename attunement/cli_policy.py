"""The commands about the kernel's policy: what is in force, proposals, and votes on them."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

import ledger
from attunement.charter import Charter, load_charter
from attunement.cli_common import FilePath, config_option, configuration, json_option
from attunement.cli_order_now import human_options, signed_by, written
from attunement.cli_orders import hand_over, make_order, read_order, wait_option, write_order
from attunement.config_schema import Config
from attunement.governance import follow
from attunement.objections import standing_objections
from attunement.order import Action, Choice, OrderTerms, terms_of
from attunement.order_book import COUNTED, VOTE, OrderBook, choices
from attunement.policy import kernel_limits
from attunement.printing import tell
from attunement.telemetry_body import limits_body, recorded_limits_body
from kernel import Limits
from ledger.record import format_utc

_EPILOG = "Exit codes: 0 done, or waiting for more votes; 1 no loop runs; 2 usage; 3 refused."


@attrs.frozen
class Proposal:
    """A policy that was voted on and is neither adopted nor void."""

    terms: OrderTerms
    votes_for: int
    votes_against: int

    def as_json(self) -> dict[str, Any]:
        """The same as JSON's types."""
        return {
            "order_id": self.terms.order_id,
            "actor": self.terms.actor,
            "reason": self.terms.reason,
            "expires": self.terms.expires,
            "for": self.votes_for,
            "against": self.votes_against,
            "limits": limits_body(_limits(self.terms)),
        }


@click.group("policy")
def policy_group() -> None:
    """Show the kernel's policy, propose another one, and vote on it."""


@policy_group.command("show")
@config_option
@json_option
def show(config_path: Path | None, as_json: bool) -> None:
    """Show the limits in force by the ledger, those of the configuration, and the open proposals.

    Example: lambda-attunement policy show
    """
    config = configuration(config_path)
    charter, wanted = load_charter(config), limits_body(kernel_limits(config))
    book, open_ones = _proposals(config, charter)
    in_force = None if book.limits is None else recorded_limits_body(book.limits)
    if as_json:
        told = {
            "in_force": in_force,
            "configured": wanted,
            "quorum": charter.needed(Action.POLICY),
            "proposals": [one.as_json() for one in open_ones],
        }
        click.echo(json.dumps(told, ensure_ascii=False, allow_nan=False))
        return
    columns = [f"proposal {one.terms.order_id[:12]}" for one in open_ones]
    table = Table("limit", "in force", "configured", *columns)
    proposed = [limits_body(_limits(one.terms)) for one in open_ones]
    for name in Limits._fields:
        figures = [
            None if in_force is None else in_force[name],
            wanted[name],
            *(one[name] for one in proposed),
        ]
        table.add_row(name, *(Text(text) for text in _marked(figures)))
    Console().print(table)
    for one in open_ones:
        click.echo(
            f"proposal {one.terms.order_id}: {one.votes_for} for, {one.votes_against} against, "
            f"{charter.needed(Action.POLICY)} needed, expires {one.terms.expires}, "
            f"by {one.terms.actor}: {one.terms.reason}"
        )


@policy_group.command("propose", epilog=_EPILOG)
@config_option
@human_options
@click.option("--out", required=True, type=FilePath(), help="New file of the proposal, for the others.")
@wait_option
@json_option
def propose(
    config_path: Path | None,
    keys: tuple[Path, ...],
    actor: str,
    reason: str,
    out: Path,
    wait_s: float,
    as_json: bool,
) -> int:
    """Propose the limits of the configuration; each --key is a vote for them, handed to the loop at once.

    Example: lambda-attunement policy propose --set safety.entropy_max=0.001 --key ines.key --actor ines
    --reason "calmer" --out calmer.json
    """
    config = configuration(config_path)
    signed = signed_by(make_order(config, Action.POLICY, actor, reason), keys)
    if not keys:
        written(out, signed, as_json)
        return 0
    write_order(out, signed, is_new=True)
    tell(f"written: {out}")
    return hand_over(
        config, signed, wait_s, as_json, f"`run --order {out}` counts the votes at the next start"
    )


@policy_group.command("vote", epilog=_EPILOG)
@click.argument("path", type=FilePath())
@config_option
@click.option("--key", required=True, type=FilePath(), help="The operator's private key.")
@click.option("--against", is_flag=True, help="Vote against it.")
@wait_option
@json_option
def vote(path: Path, config_path: Path | None, key: Path, against: bool, wait_s: float, as_json: bool) -> int:
    """Add a vote to a proposal's file, and hand it to the loop that runs.

    Who asks and why is in the proposal; the vote is recorded under the operator's own name.

    Example: lambda-attunement policy vote calmer.json --key omar.key
    """
    config, proposal = configuration(config_path), read_order(path)
    if proposal.terms.action is not Action.POLICY:
        raise click.UsageError(f"{path} asks for {proposal.terms.action.value}, a vote is on a policy")
    signed = signed_by(proposal, (key,), Choice.AGAINST if against else Choice.FOR)
    write_order(path, signed, is_new=False)
    return hand_over(
        config, signed, wait_s, as_json, f"`run --order {path}` counts the vote at the next start"
    )


def _otherwise(path: Path) -> str:
    return f"`run --order {path}` counts the votes at the next start"


def _proposals(config: Config, charter: Charter) -> tuple[OrderBook, tuple[Proposal, ...]]:
    book, found = OrderBook(config.governance.order_ttl), dict[str, OrderTerms]()
    for record in ledger.read_records(config.logging.audit_ledger_path):
        follow(book, record)
        if (record.body.get("event"), record.body.get("verdict")) == (VOTE, COUNTED):
            terms = terms_of(record.body.get("order"))
            found[terms.order_id] = terms
    now = max(format_utc(datetime.now(UTC)), book.timestamp)
    return book, tuple(
        Proposal(terms, choices(votes, Choice.FOR), choices(votes, Choice.AGAINST))
        for terms in found.values()
        if not any(standing_objections(charter, book, terms, now))
        for votes in [book.votes(terms.order_id)]
    )


def _limits(terms: OrderTerms) -> Limits:
    figures: Any = terms.subject
    return Limits(*figures)


def _marked(figures: list[Any]) -> Iterator[str]:
    for figure in figures:
        text = "–" if figure is None else f"{figure:.9g}"
        yield text if figure == figures[0] or figure is None else f"{text} *"
