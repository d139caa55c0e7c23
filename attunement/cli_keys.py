"""The commands that make the ledger's keys, and replace them."""

import json
from pathlib import Path

import click

import ledger
from attunement.cli_common import FilePath, config_option, configuration, followed, json_option
from attunement.config_schema import Config
from attunement.heads import configured_head_store
from attunement.key_files import replace_key, retired, with_pub
from attunement.printing import tell
from ledger import KeyFileError, NoteSigner, Signers, SigningKey
from ledger.chain import keys_in_force


@click.group("keys")
def keys_group() -> None:
    """Make the keys that sign the ledger, and replace them."""


@keys_group.command("init")
@config_option
@click.option("--path", type=FilePath(), help="Key file, instead of the configuration's.")
@click.option("--if-missing", is_flag=True, help="Do nothing if the key file is there.")
@json_option
def init_command(config_path: Path | None, path: Path | None, if_missing: bool, as_json: bool) -> None:
    """Make the ledger's keys: FILE, readable by its owner alone, and FILE.pub; nothing is overwritten.

    The same command with --path makes an operator's key.

    Example: lambda-attunement keys init --path ines.key
    """
    made: list[dict[str, str]] = []
    log = configuration(config_path).logging
    for private in [path] if path else [Path(log.key_path), Path(log.log_key_path)]:
        if if_missing and private.exists():
            tell(f"{private} is there already")
            continue
        private.parent.mkdir(parents=True, exist_ok=True)
        key = ledger.generate(private, with_pub(private))
        made.append(_made(key, private))
        if not as_json:
            click.echo(f"key {key.verify_key.key_id}: {private} and {with_pub(private)}")
    if as_json:
        click.echo(json.dumps({"keys": made}, ensure_ascii=False))


@keys_group.command(
    "rotate",
    epilog="Exit codes: 0 rotated; 1 the ledger cannot be written or is held by a run; 2 a key file; "
    "3 the ledger is not good, or of another key.",
)
@config_option
@click.option("--log", "is_log", is_flag=True, help="The key that signs checkpoints, not the one of records.")
@json_option
def rotate_command(config_path: Path | None, is_log: bool, as_json: bool) -> None:
    """Have a key of the ledger sign its successor into it; what the old key signed stays verifiable.

    The old key's files become FILE.ID and FILE.ID.pub. Keep the public one; move the private one away. What
    was cut off is finished by the same command.

    Example: lambda-attunement keys rotate --log
    """
    config = configuration(config_path)
    folder, log = Path(config.logging.audit_ledger_path), config.logging
    key, log_key = keys_in_force(followed(folder, "reading"))
    private = Path(log.log_key_path if is_log else log.key_path)

    def append(old: SigningKey, successor: SigningKey) -> None:
        tell(f"{retired(private, old.verify_key.key_id)} will be the old key")
        with (
            configured_head_store(config) as heads,
            ledger.Ledger.open(folder, signers_of(config), head_store=heads) as opened,
        ):
            if is_log:
                opened.rotate_log(NoteSigner(log.origin, successor))
            else:
                opened.rotate(successor)

    successor = replace_key(private, log_key.key if is_log else key, append)
    vkey = NoteSigner(log.origin, successor).verifier if is_log else None
    if as_json:
        told = {"keys": [_made(successor, private)], "vkey": None if vkey is None else str(vkey)}
        click.echo(json.dumps(told, ensure_ascii=False))
        return
    click.echo(f"key {successor.verify_key.key_id}: {private} and {with_pub(private)}")
    if vkey is not None:
        click.echo(f"tell witnesses and auditors the log's new vkey: {vkey}")


def _made(key: SigningKey, private: Path) -> dict[str, str]:
    return {"key": key.verify_key.key_id, "private": str(private), "public": str(with_pub(private))}


def signers_of(config: Config) -> Signers:
    """Return the keys that sign the configured ledger.

    Raises:
        KeyFileError: a file is missing or cannot be used.
    """
    log = config.logging
    return Signers(
        _private_key(Path(log.key_path)), NoteSigner(log.origin, _private_key(Path(log.log_key_path)))
    )


def _private_key(path: Path) -> SigningKey:
    if not path.exists():
        raise KeyFileError(f"{path} does not exist: make it with `lambda-attunement keys init`")
    return ledger.load_private(path)
