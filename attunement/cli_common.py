"""What the commands share: exit codes, options, keys and progress."""

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import Progress

import ledger
from attunement.config import load
from attunement.config_forms import PATH, is_path
from attunement.config_schema import Config
from attunement.foreign import escaped
from attunement.key_files import first_key, with_pub
from attunement.ledger_view import LedgerVerdict
from attunement.printing import tell
from ledger.chain import open_journal
from ledger.frame import OVERHEAD

EXIT_ERROR, EXIT_USAGE, EXIT_REFUSED, EXIT_LATCHED = 1, 2, 3, 4

F = TypeVar("F", bound=Callable[..., Any])


class VerificationEndedError(Exception):
    """A ledger was not verified to its end, because that was not wanted any more."""


class FiniteRange(click.FloatRange):
    """Numbers between two bounds, and no NaN: click's own range lets it through, as it is past neither."""

    def __init__(self, least: float, most: float) -> None:
        super().__init__(least, most)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number that was given.

        Raises:
            BadParameter: it is none, or out of range.
        """
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number, must lie in [{self.min:g}, {self.max:g}]", param, ctx)
        return number


class FilePath(click.Path):
    """A path that a file can have: of one with NUL the system's calls would take the beginning."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path that was given.

        Raises:
            BadParameter: no file can have it.
        """
        if not is_path(os.fsdecode(value)):
            self.fail(f"{os.fsdecode(value)!a} is no path, must be {PATH.words}", param, ctx)
        return super().convert(value, param, ctx)


_FLAGS = "attunement.flags"


def _keep_flags(context: click.Context, _parameter: click.Parameter, flags: tuple[str, ...]) -> None:
    context.meta[_FLAGS] = flags


_file_option: Callable[[F], F] = click.option(
    "--config",
    "config_path",
    type=FilePath(),
    help="YAML configuration; ATTUNEMENT__… environment variables override it.",
)
_set_option: Callable[[F], F] = click.option(
    "--set",
    "flags",
    multiple=True,
    metavar="KEY=VALUE",
    expose_value=False,
    callback=_keep_flags,
    help="Set one key, above file and environment; may be given again.",
)


def config_option(function: F) -> F:
    """Add --config and --set to a command; `configuration` reads what they lead to."""
    return _file_option(_set_option(function))


json_option: Callable[[F], F] = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
unverified_option: Callable[[F], F] = click.option(
    "--allow-unverified",
    is_flag=True,
    help="Run a kernel that is not the one the certificate speaks of; the ledger says so.",
)
path_option: Callable[[F], F] = click.option(
    "--path", type=FilePath(), help="Ledger folder, instead of the configuration's."
)
public_key_option: Callable[[F], F] = click.option(
    "--public-key",
    "public_key_path",
    type=FilePath(),
    help="Public key file of the key that signed the first record.",
)


def configuration(path: Path | None) -> Config:
    """Return the configuration of the command that runs: file, environment and flags.

    Raises:
        ConfigError: it cannot be used.
    """
    return load(path, os.environ, given_flags())


def given_flags() -> tuple[str, ...]:
    """Return the --set flags of the command that runs."""
    flags: tuple[str, ...] = click.get_current_context().meta.get(_FLAGS, ())
    return flags


def complain(message: str, code: int) -> int:
    """Print a message line by line to stderr, fit to be shown, and return the exit code."""
    for line in message.splitlines():
        tell(f"error: {escaped(line)}")
    return code


def progress_bar() -> Progress:
    """Return a bar on stderr that goes when it is done; nothing where stderr is no terminal."""
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not console.is_terminal)


def ledger_path(config: Config, path: Path | None) -> Path:
    """Return the ledger's folder: the one that was asked for, or the configuration's."""
    return Path(config.logging.audit_ledger_path) if path is None else path


def public_key(config: Config, path: Path | None = None) -> ledger.VerifyKey:
    """Return the key that signs records now, from a file or the configuration's.

    Raises:
        KeyFileError: it cannot be read.
    """
    return ledger.load_public(with_pub(Path(config.logging.key_path)) if path is None else path)


def first_public_key(config: Config, folder: Path, path: Path | None = None) -> ledger.VerifyKey:
    """Return the key that signed a ledger's first record, from a file or from beside the configuration's.

    Raises:
        KeyFileError: it cannot be read.
        LedgerReadError, LedgerTamperedError: the first record cannot be read.
    """
    return first_key(Path(config.logging.key_path), folder) if path is None else ledger.load_public(path)


def followed(folder: Path, description: str) -> Iterator[ledger.Record]:
    """Yield the records of a ledger, signatures unchecked, under a progress bar.

    Raises:
        LedgerReadError, LedgerTamperedError: as of `ledger.read_records`.
    """
    with progress_bar() as progress:
        size = _size(folder)
        task = progress.add_task(description, total=size)
        for record in ledger.read_records(folder):
            yield record
            progress.advance(task, len(record.stored) + OVERHEAD)
        # The journal of a writer at work is longer than its records.
        progress.update(task, completed=size)


def verified(
    path: Path,
    key: ledger.VerifyKey,
    anchor: ledger.Head | ledger.Checkpoint | None,
    witnesses: tuple[ledger.NoteKey, ...] = (),
    is_wanted: Callable[[], bool] = lambda: True,
) -> LedgerVerdict:
    """Verify a ledger under a progress bar, as long as that is wanted: it is asked after each record.

    Raises:
        LedgerReadError: a file cannot be read.
        VerificationEndedError: it was not wanted any more.
    """
    with progress_bar() as progress:
        task = progress.add_task("verifying", total=None)

        def on_progress(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)
            if not is_wanted():
                raise VerificationEndedError(f"{path} is verified up to byte {done} of {total}")

        report = ledger.verify(path, key, anchor=anchor, witnesses=witnesses, progress=on_progress)
    return LedgerVerdict(path, report)


def _size(folder: Path) -> int:
    with open_journal(folder) as stream:
        return os.fstat(stream.fileno()).st_size
