"""What stands in the way of a run, looked for before it starts or beside one that runs."""

import os
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import attrs

import ledger
from attunement.certified import doubts
from attunement.charter import load_charter
from attunement.config_schema import Config, ConfigError
from attunement.control_client import ControlClient, NoLoopError
from attunement.control_protocol import ControlError, served_socket, socket_path
from attunement.key_files import with_pub
from attunement.policy import kernel_limits
from ledger import KeyFileError, LedgerError, Verdict

FREE_MIN_BYTES: Final = 64 << 20
"""Room on the ledger's disk below which it is a failure."""
FREE_WARN_BYTES: Final = 1 << 30
"""Room below which it is a warning."""
CLOCK_SLACK_S: Final = 5.0
"""How far the ledger's newest record may lie in the future."""
CLOCK_FLOOR: Final = datetime(2025, 1, 1, tzinfo=UTC)
"""A clock before this was never set."""

Level = Literal["ok", "warning", "failed"]


@attrs.frozen
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What was looked at.
        level: `failed` stands in the way of a run; `warning` does not yet.
        said: What was found.
        advice: What to do about it, empty if nothing.
    """

    name: str
    level: Level
    said: str
    advice: str = ""


def examine(config: Config, key: Callable[[Config, Path], ledger.VerifyKey]) -> Iterator[Finding]:
    """Look at all that a run needs.

    Args:
        config: What a run would be made with.
        key: Finds the public key that signed a ledger's first record.
    """
    is_running = _is_running(config)
    yield from _certificate()
    yield from _policy(config)
    yield from _keys(config)
    yield from _operators(config)
    yield from _ledger(config, key)
    yield from _clock(config)
    yield from _disk(config)
    yield from _socket(config)
    yield from _ports(config, is_running)


def _certificate() -> Iterator[Finding]:
    found = doubts()
    if found:
        yield Finding(
            "kernel", "failed", "; ".join(found), "install again, or `prove` the kernel that is here"
        )
    else:
        yield Finding("kernel", "ok", "it is the proved one")


def _policy(config: Config) -> Iterator[Finding]:
    try:
        kernel_limits(config)
    except ConfigError as error:
        yield Finding("policy", "failed", "; ".join(error.problems), "`config explain KEY` tells the ranges")
    else:
        yield Finding("policy", "ok", "the limits are well formed")


def _keys(config: Config) -> Iterator[Finding]:
    for name, path in (
        ("record key", Path(config.logging.key_path)),
        ("log key", Path(config.logging.log_key_path)),
    ):
        if not path.exists():
            yield Finding(name, "failed", f"{path} does not exist", "`keys init` makes it")
            continue
        try:
            key = ledger.load_private(path)
        except KeyFileError as error:
            yield Finding(name, "failed", str(error), f"chmod 600 {path}, or put back the right file")
            continue
        except OSError as error:
            yield Finding(name, "failed", f"{path}: {error.strerror}", "run as the owner of the file")
            continue
        yield from _owner(name, path, key)


def _owner(name: str, path: Path, key: ledger.SigningKey) -> Iterator[Finding]:
    found = path.stat()
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid != os.geteuid():
        yield Finding(
            name, "warning", f"{path} belongs to user {found.st_uid}", f"chown it to {os.geteuid()}"
        )
    elif not _is_pair(path, key):
        public = with_pub(path)
        yield Finding(name, "warning", f"{public} is not its public key", "auditors need it: put it back")
    else:
        yield Finding(name, "ok", f"{path}, {key.verify_key.key_id}, mode {mode:04o}")


def _is_pair(path: Path, key: ledger.SigningKey) -> bool:
    try:
        return ledger.load_public(with_pub(path)) == key.verify_key
    except KeyFileError:
        return False


def _operators(config: Config) -> Iterator[Finding]:
    try:
        charter = load_charter(config)
    except (KeyFileError, ConfigError) as error:
        yield Finding("operators", "failed", str(error), "put the public key where operators[].key_path says")
        return
    if charter.operators:
        yield Finding("operators", "ok", f"{len(charter.operators)}, of whom {charter.quorum} sign an order")
    else:
        advice = "name one in governance.operators: else nobody can leave a freeze or an emergency"
        yield Finding("operators", "warning", "there are none", advice)


def _ledger(config: Config, key: Callable[[Config, Path], ledger.VerifyKey]) -> Iterator[Finding]:
    folder = Path(config.logging.audit_ledger_path)
    yield _writable(folder)
    if not folder.exists():
        yield Finding("ledger", "ok", f"{folder} does not exist yet, the first run makes it")
        return
    try:
        report = ledger.verify(folder, key(config, folder))
    except (LedgerError, OSError) as error:
        yield Finding("ledger", "failed", str(error), "see `ledger verify`, and the runbook on a lost key")
        return
    if report.verdict in (Verdict.VERIFIED, Verdict.NO_ANCHOR):
        yield Finding("ledger", "ok", f"{folder} verifies, {report.records} records")
    else:
        said = f"{folder}: {report.verdict.value}: {report.finding}"
        yield Finding("ledger", "failed", said, "do not run on it: keep a copy, and see the runbook")


def _writable(folder: Path) -> Finding:
    place = folder if folder.exists() else _nearest(folder)
    if not place.is_dir():
        return Finding("ledger folder", "failed", f"{place} is no folder", "choose logging.audit_ledger_path")
    if os.access(place, os.W_OK | os.X_OK) and not os.statvfs(place).f_flag & os.ST_RDONLY:
        return Finding("ledger folder", "ok", f"{place} can be written")
    return Finding("ledger folder", "failed", f"{place} cannot be written", f"make {place} this user's own")


def _clock(config: Config) -> Iterator[Finding]:
    now = datetime.now(UTC)
    if not now >= CLOCK_FLOOR:
        yield Finding("clock", "failed", f"it is {now:%Y-%m-%d} by this clock", "set the clock: timedatectl")
        return
    folder = Path(config.logging.audit_ledger_path)
    newest = _newest_time(folder) if folder.exists() else None
    if newest is not None and not (newest - now).total_seconds() <= CLOCK_SLACK_S:
        said = f"the ledger's newest record is of {newest:%Y-%m-%dT%H:%M:%SZ}, this clock is behind it"
        yield Finding("clock", "warning", said, "set the clock; orders live by the ledger's time until then")
        return
    yield Finding("clock", "ok", f"{now:%Y-%m-%dT%H:%M:%SZ}")


def _newest_time(folder: Path) -> datetime | None:
    try:
        newest = None
        for record in ledger.read_records(folder):
            newest = record.timestamp
        return None if newest is None else datetime.fromisoformat(newest)
    except LedgerError:
        # What is wrong with the ledger is told where the ledger is looked at.
        return None


def _disk(config: Config) -> Iterator[Finding]:
    place = _nearest(Path(config.logging.audit_ledger_path))
    free = shutil.disk_usage(place).free
    said, advice = f"{free >> 20:,} MiB free at {place}", "make room: without it nothing is applied"
    if not free >= FREE_MIN_BYTES:
        yield Finding("disk", "failed", said, advice)
    elif not free >= FREE_WARN_BYTES:
        yield Finding("disk", "warning", said, advice)
    else:
        yield Finding("disk", "ok", said)


def _socket(config: Config) -> Iterator[Finding]:
    try:
        path = served_socket(config)
    except ConfigError as error:
        yield Finding("socket", "failed", str(error), "choose a shorter control.socket")
        return
    if path is None:
        yield Finding(
            "socket", "warning", "control.enabled is false", "without it orders wait for the next run"
        )
        return
    try:
        with ControlClient(path) as client:
            pid = client.status()["run"]["pid"]
    except NoLoopError:
        stale = "; a stale socket is there, the next run replaces it" if path.exists() else ""
        yield Finding("socket", "ok", f"no loop runs{stale}")
    except ControlError as error:
        yield Finding("socket", "failed", str(error), "see who serves it: `ss -xlp`")
    else:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            yield Finding("socket", "failed", f"{path} has mode {mode:04o}", f"chmod 600 {path}")
        else:
            yield Finding("socket", "ok", f"a loop runs, process {pid}")


def _ports(config: Config, is_running: bool) -> Iterator[Finding]:
    ports = [("serve port", "serve.port", config.serve.host, config.serve.port)]
    if config.metrics.enabled:
        ports.insert(0, ("metrics port", "metrics.port", config.metrics.host, config.metrics.port))
    for name, key, host, port in ports:
        said = _why_not(host, port)
        if said is None:
            yield Finding(name, "ok", f"{host}:{port} is free")
        elif name == "metrics port" and is_running:
            yield Finding(name, "ok", f"{host}:{port} is taken, and a loop runs")
        else:
            yield Finding(
                name, "warning", f"{host}:{port}: {said}", f"choose another {key}, or end what has it"
            )


def _why_not(host: str, port: int) -> str | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As a server would: a port that just rests after a connection is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror or str(error)
    return None


def _is_running(config: Config) -> bool:
    try:
        with ControlClient(socket_path(config)):
            return True
    except ControlError:
        return False


def _nearest(path: Path) -> Path:
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
