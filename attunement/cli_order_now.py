"""Orders in one command: made, signed here and handed to the loop, or written for others to sign."""

import json
from collections.abc import Callable
from pathlib import Path

import click

import ledger
from attunement.charter import load_charter
from attunement.cli_common import (
    EXIT_REFUSED,
    F,
    FilePath,
    complain,
    config_option,
    configuration,
    json_option,
)
from attunement.cli_orders import hand_over, make_order, wait_option, write_order
from attunement.config_schema import Config
from attunement.order import Action, Choice, SignedOrder, sign_order

_EPILOG = "Exit codes: 0 done, or waiting for a reading; 1 no loop runs; 2 usage; 3 refused."
_WRITE_IT = "write the order with --out FILE, `run --order FILE` carries it out at the next start"


def human_options(function: F) -> F:
    """Add what every human action states: keys, actor and reason."""
    for option in (
        click.option("--reason", required=True, help="Why, for the record."),
        click.option("--actor", required=True, help="Who asks, for the record."),
        click.option(
            "--key",
            "keys",
            multiple=True,
            type=FilePath(),
            help="An operator's private key; again for each further signature.",
        ),
    ):
        function = option(function)
    return function


_out_option: Callable[[F], F] = click.option(
    "--out",
    type=FilePath(),
    help="Write the order to this new file instead of handing it over.",
)


def signed_by(made: SignedOrder, keys: tuple[Path, ...], choice: Choice = Choice.FOR) -> SignedOrder:
    """Return an order with the signatures of keys added.

    Raises:
        KeyFileError: a key cannot be used.
    """
    for key in keys:
        made = sign_order(ledger.load_private(key), made, choice)
    return made


def written(out: Path, signed: SignedOrder, as_json: bool) -> None:
    """Write an order to a new file, and say so."""
    write_order(out, signed, is_new=True)
    told = {"order_id": signed.terms.order_id, "file": str(out), "signed": len(signed.votes)}
    if as_json:
        click.echo(json.dumps(told, ensure_ascii=False))
    else:
        click.echo(f"order {told['order_id']}: {out}, {told['signed']} signed")


def _go(
    config: Config, made: SignedOrder, keys: tuple[Path, ...], out: Path | None, wait_s: float, as_json: bool
) -> int:
    signed = signed_by(made, keys)
    if out is not None:
        written(out, signed, as_json)
        return 0
    if not keys:
        raise click.UsageError("an order needs --key, or --out to be signed elsewhere")
    needed = load_charter(config).needed(made.terms.action)
    if not len(signed.votes) >= needed:
        return complain(
            f"{len(signed.votes)} signed, must be {needed}: give the other --key too, or write the order "
            "with --out, have it signed by `order sign`, and hand it over by `order send`",
            EXIT_REFUSED,
        )
    return hand_over(config, signed, wait_s, as_json, _WRITE_IT)


def _command(
    action: Action, does: str, example: str, *options: Callable[[Callable[..., int]], Callable[..., int]]
) -> click.Command:
    def carry_out(
        config_path: Path | None,
        keys: tuple[Path, ...],
        actor: str,
        reason: str,
        out: Path | None,
        wait_s: float,
        as_json: bool,
        alpha: float | None = None,
        record: int | None = None,
    ) -> int:
        config = configuration(config_path)
        made = make_order(config, action, actor, reason, alpha, record)
        return _go(config, made, keys, out, wait_s, as_json)

    function: Callable[..., int] = carry_out
    for option in (json_option, wait_option, _out_option, *reversed(options), human_options, config_option):
        function = option(function)
    words = f"{does}\n\nExample: lambda-attunement {action.value} {example}"
    return click.command(action.value, help=words, epilog=_EPILOG)(function)


COMMANDS = (
    _command(
        Action.FREEZE,
        "Stop the optimizers of the loop that runs; an open trial is reverted, and α stays.",
        '--key ines.key --actor ines --reason "maintenance of feed 3"',
    ),
    _command(
        Action.UNFREEZE,
        "Leave FROZEN, on a safe reading.",
        '--key ines.key --actor ines --reason "feed 3 is back"',
    ),
    _command(
        Action.APPROVE,
        "Leave EMERGENCY, on a safe reading.",
        '--key ines.key --actor ines --reason "the storm is over"',
    ),
    _command(
        Action.ROLLBACK,
        "Go back to an α that was committed, step by step, each of them measured.",
        '--record 412 --key ines.key --actor ines --reason "worse since then"',
        click.option("--alpha", type=float, help="The α to go back to."),
        click.option(
            "--record", type=click.IntRange(min=0), help="Sequence of the record that committed it."
        ),
    ),
    _command(
        Action.OVERRIDE,
        "Go to an operator's own α, step by step; the same checks as for any proposal, no bypass.",
        '--alpha 0.98 --key ines.key --actor ines --reason "plan 7"',
        click.option("--alpha", type=float, required=True, help="The α to go to."),
    ),
)
"""The human actions, each a command of its own."""
