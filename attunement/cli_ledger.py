"""The commands that judge and read a ledger; none of them takes its lock or writes to it."""

import csv
import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

import ledger
from attunement.charter import load_charter
from attunement.cli_common import (
    EXIT_ERROR,
    EXIT_REFUSED,
    F,
    FilePath,
    complain,
    config_option,
    configuration,
    first_public_key,
    followed,
    json_option,
    ledger_path,
    path_option,
    public_key_option,
    verified,
)
from attunement.explain import Explainer
from attunement.foreign import escaped
from attunement.ledger_filter import RecordFilter, parse_alpha, parse_moment
from attunement.ledger_view import RECORD_COLUMNS, newest, record_as_json, record_row
from attunement.order_audit import OrderAuditor
from attunement.printing import tell
from attunement.replay import Mismatch, Replay
from kernel import Outcome
from ledger.chain import log_keys
from ledger.checkpoint import signer
from ledger.evidence import Evidence
from ledger.keys import encode_base64
from ledger.note import MAX_NOTE_BYTES
from ledger.publish import CHECKPOINT
from ledger.verify import read_note
from ledger.witness import Witness, cosign

MISMATCHES_IN_JSON = 1000
"""So many mismatches are listed in JSON; all are counted."""

_HEAD = re.compile(r"([0-9]{1,19}):([0-9a-f]{64})")


def _witness_key(text: str) -> ledger.NoteKey:
    data = _read_small(text)
    vkey = text if data is None else data.decode("utf-8", errors="replace").strip()
    try:
        return ledger.NoteKey.parse(vkey)
    except ledger.NoteError as error:
        # Click says of which option.
        raise click.BadParameter(f"no vkey and no file of one: {error}") from error


def _read_small(name: str) -> bytes | None:
    try:
        with open(name, "rb") as stream:
            return stream.read(MAX_NOTE_BYTES + 1)
    except (OSError, ValueError):
        return None


def _option_type(read: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    def converted(_context: click.Context, _option: click.Parameter, text: str | None) -> Any:
        try:
            return None if text is None else read(text)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    return converted


_FILTERS = (
    click.option("--actor", "actors", multiple=True, help="Only what this actor did; may be given again."),
    click.option(
        "--verdict",
        "verdicts",
        multiple=True,
        type=click.Choice([outcome.value for outcome in Outcome]),
        help="Only this verdict; may be given again.",
    ),
    click.option(
        "--since",
        callback=_option_type(parse_moment),
        help="From this time on, ISO 8601; UTC if no zone is named.",
    ),
    click.option("--until", callback=_option_type(parse_moment), help="Before this time."),
    click.option(
        "--alpha-min", callback=_option_type(parse_alpha), help="Only if α was at least this afterwards."
    ),
    click.option(
        "--alpha-max", callback=_option_type(parse_alpha), help="Only if α was at most this afterwards."
    ),
    click.option(
        "--last", type=click.IntRange(min=1, max=sys.maxsize), help="Only so many of the newest of them."
    ),
)


def _filter_options(command: F) -> F:
    for option in reversed(_FILTERS):
        command = option(command)
    return command


@click.group(
    "ledger",
    epilog="Exit codes: 0 verified, or done; 1 the ledger cannot be read; 2 usage or configuration; "
    "3 tampered, truncated, forked, torn, unverifiable, or a decision that the rules do not give.",
)
def ledger_group() -> None:
    """Verify, replay and read the ledger."""


@ledger_group.command(
    epilog="Exit codes by verdict: verified 0; no anchor 0 (all is good, but a folder that was set back as a "
    "whole would look the same); torn tail 3; truncated 3; forked 3; tampered 3; unverifiable 3 (written by "
    "another key). 1: a file cannot be read. 2: usage."
)
@config_option
@path_option
@public_key_option
@click.option(
    "--anchor", help="What was seen before: a head as SEQUENCE:HASH, or the file of a checkpoint of this log."
)
@click.option(
    "--witness-key",
    "witness_keys",
    multiple=True,
    metavar="VKEY",
    type=_witness_key,
    help="A witness whose cosignature counts as seen outside: its vkey, or a file of it; may be given again.",
)
@json_option
def verify(
    config_path: Path | None,
    path: Path | None,
    public_key_path: Path | None,
    anchor: str | None,
    witness_keys: tuple[ledger.NoteKey, ...],
    as_json: bool,
) -> int:
    """Check every record's form, place and signature, the tree with its tiles, and the checkpoint.

    Example: lambda-attunement ledger verify --path ledger --public-key ledger.key.pub
    """
    config = configuration(config_path)
    folder = ledger_path(config, path)
    key = first_public_key(config, folder, public_key_path)
    verdict = verified(folder, key, _anchor(anchor, folder), witness_keys)
    if as_json:
        click.echo(json.dumps(verdict.as_json()))
    else:
        click.echo(verdict.sentence)
    return 0 if verdict.is_verified else EXIT_REFUSED


@ledger_group.command(
    epilog="Exit codes: 0 every decision is what the rules give; 3 at least one is not, or a record is "
    "damaged (one that was not ended is passed over); 1 it cannot be read; 2 usage."
)
@config_option
@path_option
@json_option
def replay(config_path: Path | None, path: Path | None, as_json: bool) -> int:
    """Derive every decision again from the recorded integers by the kernel's rules.

    A verdict that the rules would not give is named, whoever signed it. A decision that an order led to is
    held against the order; where the configuration names operators, orders are verified by their keys. The
    signatures of the records are the matter of verify.

    Example: lambda-attunement ledger replay --path ledger
    """
    config = configuration(config_path)
    folder = ledger_path(config, path)
    charter = load_charter(config) if config.governance.operators else None
    replay = Replay(OrderAuditor(charter))
    kept: list[Mismatch] = []
    for mismatch in replay.run(followed(folder, "replaying")):
        kept += [mismatch] if len(kept) < MISMATCHES_IN_JSON else []
        if not as_json:
            click.echo(escaped(str(mismatch)))
    agreed = replay.mismatches == 0
    if as_json:
        click.echo(json.dumps(_replay_as_json(folder, replay, kept), ensure_ascii=False))
    else:
        found = "every one is what the rules give" if agreed else f"{replay.mismatches} mismatches"
        click.echo(f"ledger {folder}: replayed, {replay.decisions} decisions derived again, {found}")
    return 0 if agreed else EXIT_REFUSED


@ledger_group.command()
@config_option
@path_option
@_filter_options
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values, times in UTC.")
def show(
    config_path: Path | None,
    path: Path | None,
    last: int | None,
    as_json: bool,
    as_csv: bool,
    **wanted: Any,
) -> None:
    """List the records; with --json one object a line: place, time, kind, hashes, key and body.

    Example: lambda-attunement ledger show --verdict refused --since 2026-03-01 --last 20
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    records = _selected(ledger_path(configuration(config_path), path), last, wanted)
    if as_json:
        for record in records:
            click.echo(json.dumps(record_as_json(record), ensure_ascii=False, allow_nan=False))
    elif as_csv:
        rows = csv.writer(sys.stdout, lineterminator="\n")
        rows.writerow(RECORD_COLUMNS)
        rows.writerows(map(record_row, records))
    else:
        # A limit or a time that is cut off by "…" is not told.
        table = Table(*(Column(name, overflow="fold") for name in RECORD_COLUMNS))
        for record in records:
            table.add_row(*map(Text, record_row(record)))
        console = Console()
        console.print(table) if console.is_terminal else Console(width=200).print(table)


@ledger_group.command()
@config_option
@path_option
@public_key_option
@click.argument("index", type=click.IntRange(min=0), required=False)
@click.option(
    "--consistency",
    nargs=2,
    type=click.IntRange(min=1),
    metavar="OLD NEW",
    help="Prove that the log at one size is the beginning of the log at another.",
)
@json_option
def prove(
    config_path: Path | None,
    path: Path | None,
    public_key_path: Path | None,
    index: int | None,
    consistency: tuple[int, int] | None,
    as_json: bool,
) -> None:
    """Prove that record INDEX is in the published log, as a C2SP tlog-proof.

    With --consistency the hashes of RFC 6962's proof are printed in base64, a line each.

    Example: lambda-attunement ledger prove 17 > 17.tlog-proof
    """
    if (index is None) == (consistency is None):
        raise click.UsageError("prove takes INDEX, or --consistency OLD NEW")
    config = configuration(config_path)
    folder = ledger_path(config, path)
    evidence = _evidence(folder, first_public_key(config, folder, public_key_path))
    if consistency is not None:
        _print_consistency(evidence, consistency, as_json)
    elif index is not None:
        _check_published(evidence, index)
        proof = evidence.inclusion(index)
        if as_json:
            hashes = list(map(encode_base64, proof.hashes))
            told = {"index": index, "hashes": hashes, "checkpoint": proof.note.decode("utf-8")}
            click.echo(json.dumps(told, ensure_ascii=False))
        else:
            click.echo(proof.encode(), nl=False)


@ledger_group.command()
@config_option
@path_option
@public_key_option
@_filter_options
@click.argument("folder", type=FilePath())
@json_option
def export(
    config_path: Path | None,
    path: Path | None,
    public_key_path: Path | None,
    last: int | None,
    folder: Path,
    as_json: bool,
    **wanted: Any,
) -> int:
    """Write records, each with its inclusion proof, the checkpoint and a manifest into the new FOLDER.

    The manifest's hash, which is printed, stands for all of it; `sha256sum -c MANIFEST` checks the files.

    Example: lambda-attunement ledger export evidence --verdict latched
    """
    config = configuration(config_path)
    source = ledger_path(config, path)
    evidence = _evidence(source, first_public_key(config, source, public_key_path))
    size = evidence.signed.checkpoint.size
    indices = [record.sequence for record in _selected(source, last, wanted)]
    published = [index for index in indices if index < size]
    if not published:
        return complain(_nothing_to_export(indices, size), EXIT_ERROR)
    manifest = evidence.export(folder, published)
    if len(published) < len(indices):
        unpublished = len(indices) - len(published)
        tell(f"{unpublished} records are newer than the checkpoint and were left out")
    if as_json:
        told = {"folder": str(folder), "records": len(published), "manifest": manifest}
        click.echo(json.dumps(told, ensure_ascii=False))
        return 0
    tell(f"{len(published)} records exported to {folder}")
    click.echo(manifest)
    return 0


@ledger_group.command(
    epilog="Exit codes: 0 cosigned; 1 the witness cannot be reached, or does not cosign; 2 usage; 3 the "
    "checkpoint is not the log's."
)
@config_option
@path_option
@public_key_option
@click.option("--url", required=True, help="The witness's address, before /add-checkpoint.")
@click.option(
    "--key", required=True, metavar="VKEY", type=_witness_key, help="The witness's vkey, or a file of it."
)
@json_option
def witness(
    config_path: Path | None,
    path: Path | None,
    public_key_path: Path | None,
    url: str,
    key: ledger.NoteKey,
    as_json: bool,
) -> None:
    """Have a C2SP witness cosign the newest checkpoint, and keep its cosignature beside it.

    The witness checks that the log only grew since it saw it last. `verify --witness-key` counts what it
    signed as seen outside.

    Example: lambda-attunement ledger witness --url https://witness.example --key witness.vkey
    """
    config = configuration(config_path)
    folder = ledger_path(config, path)
    evidence = _evidence(folder, first_public_key(config, folder, public_key_path))
    signed = cosign(folder, evidence.log_key, Witness(url, key))
    name, size = key.name, signed.checkpoint.size
    if as_json:
        click.echo(json.dumps({"witness": name, "records": size}, ensure_ascii=False))
    else:
        click.echo(f"{name} cosigned the checkpoint of {size} records")


@ledger_group.command(
    epilog="Exit codes: 0 explained; 1 unreadable; 2 no such record; 3 the rules do not give this decision."
)
@config_option
@path_option
@click.argument("index", type=click.IntRange(min=0))
@json_option
def explain(config_path: Path | None, path: Path | None, index: int, as_json: bool) -> int:
    """Tell in words what record INDEX decided: what was asked, which limit broke by how much, and α.

    Example: lambda-attunement ledger explain 17
    """
    folder = ledger_path(configuration(config_path), path)
    explainer = Explainer()
    for record in followed(folder, "reading"):
        if record.sequence == index:
            break
        explainer.follow(record)
    else:
        raise click.UsageError(f"record {index} is not in {folder}")
    lines, mismatches = explainer.explain(record)
    if as_json:
        told = {"seq": index, "lines": lines, "mismatches": [str(one) for one in mismatches]}
        click.echo(json.dumps(told, ensure_ascii=False))
    else:
        click.echo("\n".join(lines))
    return EXIT_REFUSED if mismatches else 0


def _selected(folder: Path, last: int | None, wanted: dict[str, Any]) -> Iterable[ledger.Record]:
    chosen = RecordFilter(
        actors=frozenset(wanted.pop("actors")), verdicts=frozenset(wanted.pop("verdicts")), **wanted
    )
    return newest((record for record in ledger.read_records(folder) if chosen.wants(record)), last)


def _replay_as_json(folder: Path, replay: Replay, mismatches: list[Mismatch]) -> dict[str, Any]:
    return {
        "path": str(folder),
        "verdict": "replayed" if replay.mismatches == 0 else "mismatched",
        "decisions": replay.decisions,
        "others": replay.others,
        "mismatch_count": replay.mismatches,
        "mismatches": [
            {"seq": one.sequence, "field": one.field, "recorded": one.recorded, "derived": one.derived}
            for one in mismatches
        ],
    }


def _anchor(text: str | None, folder: Path) -> ledger.Head | ledger.Checkpoint | None:
    if text is None:
        return None
    head = _HEAD.fullmatch(text)
    if head is not None:
        return ledger.Head(int(head[1]), head[2])
    note = _read_small(text)
    if note is None:
        raise click.UsageError(f"--anchor is {text!r}, must be SEQUENCE:HASH or the file of a checkpoint")
    # The log's key as the ledger names it; that the ledger is of the right key is for verify to judge.
    return ledger.open_checkpoint(note, signer(note, log_keys(ledger.read_records(folder)))).checkpoint


def _evidence(folder: Path, key: ledger.VerifyKey) -> Evidence:
    genesis = next(iter(ledger.read_records(folder)))
    if genesis.key_id != key.key_id:
        raise ledger.LedgerKeyError(written_by=genesis.key_id, held=key.key_id)
    keys = log_keys(ledger.read_records(folder))
    note = read_note(folder, CHECKPOINT)
    # Without a checkpoint any of them will do to say so.
    return Evidence(folder, next(keys) if note is None else signer(note, keys))


def _check_published(evidence: Evidence, index: int) -> None:
    size = evidence.signed.checkpoint.size
    if not index < size:
        raise click.UsageError(f"record {index} is not under the checkpoint, which covers {size} records")


def _nothing_to_export(indices: list[int], size: int) -> str:
    if not indices:
        return "nothing to export: no record is what was asked for"
    newer = f"record {indices[0]} is" if len(indices) == 1 else f"records {indices[0]} to {indices[-1]} are"
    return f"nothing to export: {newer} newer than the checkpoint, which covers {size} records"


def _print_consistency(evidence: Evidence, sizes: tuple[int, int], as_json: bool) -> None:
    old, new = sizes
    size = evidence.signed.checkpoint.size
    if not old <= new <= size:
        raise click.UsageError(f"sizes are {old} and {new}, must be in order and at most {size}")
    proof = evidence.consistency(old, new)
    hashes = list(map(encode_base64, proof.hashes))
    if as_json:
        roots = {"old_root": encode_base64(proof.old_root), "new_root": encode_base64(proof.new_root)}
        click.echo(json.dumps({"old": old, "new": new, **roots, "hashes": hashes}))
        return
    for value in hashes:
        click.echo(value)
