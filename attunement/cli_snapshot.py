"""The commands that save where a ledger stands, and check what was saved against it."""

import json
from pathlib import Path
from typing import Any

import click

import ledger
from attunement.asking import release
from attunement.assembly import build_optimizer
from attunement.cli_common import (
    FilePath,
    config_option,
    configuration,
    first_public_key,
    followed,
    json_option,
    ledger_path,
    path_option,
    public_key,
    public_key_option,
    verified,
)
from attunement.config_schema import Config
from attunement.ledger_view import nano_text
from attunement.optimizer_memory import OptimizerMemoryError, put, read_memory, restore_memory
from attunement.printing import tell
from attunement.snapshot import Snapshot, SnapshotError, Surveyor
from ledger import files
from ledger.canonical import MAX_BYTES

_MODE = 0o644


@click.command("save")
@config_option
@path_option
@click.argument("file", type=FilePath())
@json_option
def save_command(config_path: Path | None, path: Path | None, file: Path, as_json: bool) -> None:
    """Write a signed snapshot of what the ledger says to the new FILE; the optimizer's memory to FILE.memory.

    The ledger is verified first, and every decision derived again: one that does not verify, or holds what
    the rules or the operators' orders do not give, is not saved (exit code 3). The memory is there only if
    the configuration keeps one (optimizer.memory_path).

    Example: lambda-attunement save monday.snapshot
    """
    config = configuration(config_path)
    key = ledger.load_private(config.logging.key_path)
    folder = ledger_path(config, path)
    head = _whole(folder, first_public_key(config, folder))
    surveyor = Surveyor()
    surveyor.follow(followed(folder, "replaying"), until=head)
    surveyor.check_signer(key.verify_key)
    snapshot = surveyor.snapshot()
    try:
        files.publish(str(file), snapshot.sign(key), _MODE)
    except FileExistsError as error:
        raise click.UsageError(f"{file} exists, a snapshot is never overwritten") from error
    except OSError as error:
        raise ledger.LedgerWriteError(f"cannot write {file}: {error.strerror}") from error
    if as_json:
        click.echo(json.dumps({"file": str(file), **_as_json(snapshot)}, ensure_ascii=False))
    else:
        click.echo(f"saved {file}: {_told(snapshot)}")
    _save_memory(config, file)


@click.command("load")
@config_option
@path_option
@public_key_option
@click.argument("file", type=FilePath())
@json_option
def load_command(
    config_path: Path | None, path: Path | None, public_key_path: Path | None, file: Path, as_json: bool
) -> None:
    """Check the snapshot in FILE against the ledger; put back the optimizer's memory that is beside it.

    The kernel's state is what the ledger says, and nothing here changes it. The ledger is verified, and every
    decision up to the snapshot derived again; exit code 3 if the snapshot is not what they lead to.

    Example: lambda-attunement load monday.snapshot
    """
    config = configuration(config_path)
    folder, key = ledger_path(config, path), public_key(config, public_key_path)
    snapshot = read_snapshot(file, key)
    _whole(folder, first_public_key(config, folder, public_key_path))
    surveyor = Surveyor()
    try:
        surveyor.follow(followed(folder, "replaying"), until=snapshot.head)
        surveyor.check(snapshot)
    except SnapshotError as error:
        raise SnapshotError(f"{file} does not hold: {error}") from error
    now = snapshot.status(folder, key)
    newer = now.records - snapshot.head.sequence - 1
    if as_json:
        saved = _as_json(snapshot)
        click.echo(json.dumps({"snapshot": saved, "newer_records": newer, "now": now.as_json()}))
    else:
        click.echo(f"{file} holds: {_told(snapshot)}")
        state = now.state
        click.echo(f"{newer} records since; now {state.mode.name.lower()}, α = {nano_text(state.alpha)}")
    _load_memory(config, file)


def read_snapshot(file: Path, key: ledger.VerifyKey) -> Snapshot:
    """Read a snapshot's file.

    Raises:
        SnapshotError: it does not hold.
        LedgerReadError: it cannot be read.
    """
    try:
        with open(file, "rb") as stream:
            data = stream.read(MAX_BYTES + 2)
    except OSError as error:
        raise ledger.LedgerReadError(f"cannot read {file}: {error.strerror}") from error
    try:
        return Snapshot.parse(data, key)
    except SnapshotError as error:
        raise SnapshotError(f"{file} does not hold: {error}") from error


def _whole(folder: Path, key: ledger.VerifyKey) -> ledger.Head:
    """Verify a ledger, of which a last record need not be ended yet, and return its last good record."""
    found = verified(folder, key, None)
    is_good = found.is_verified or found.report.verdict is ledger.Verdict.TORN_TAIL
    if is_good and found.report.head is not None:
        return found.report.head
    raise SnapshotError(found.sentence)


def _save_memory(config: Config, file: Path) -> None:
    kept = config.optimizer.memory_path
    data = None if kept is None else read_memory(Path(kept))
    if data is not None:
        put(_memory_of(file), data)
        tell(f"saved {_memory_of(file)}, the optimizer's memory")


def _load_memory(config: Config, file: Path) -> None:
    kept, saved = config.optimizer.memory_path, _memory_of(file)
    data = None if kept is None else read_memory(saved)
    if kept is None or data is None:
        return
    optimizer = build_optimizer(config)
    try:
        restore_memory(data, config, optimizer)
    except OptimizerMemoryError as error:
        raise OptimizerMemoryError(f"{saved} was left aside, {kept} is as it was: {error}") from error
    finally:
        release(optimizer)
    put(Path(kept), data)
    tell(f"optimizer memory of {saved} put back to {kept}")


def _memory_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.memory")


def _as_json(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "seq": snapshot.head.sequence,
        "hash": snapshot.head.hash_hex,
        "timestamp": snapshot.timestamp,
    }


def _told(snapshot: Snapshot) -> str:
    state = snapshot.state
    return (
        f"record {snapshot.head.sequence} of {snapshot.timestamp}, {state.mode.name.lower()}, "
        f"α = {nano_text(state.alpha)}, policy version {state.policy}"
    )
