"""An optimizer's memory in a file, kept from one run to the next.

The file is not signed and not trusted: what α may be is the kernel's affair, whatever an optimizer remembers.
One that does not fit the configuration, or is no memory at all, is left aside.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NoReturn

import attrs

from attunement.config_schema import Config
from attunement.foreign import described
from ledger import files
from optimizers.protocol import Optimizer

VERSION: Final = 1
BYTES_MAX: Final = 1 << 20

_MODE = 0o600


class OptimizerMemoryError(Exception):
    """A file does not hold a memory that fits, or cannot be written."""


def fingerprint(config: Config) -> str:
    """Return a hash of all that an optimizer is made from; a memory fits a configuration of the same hash."""
    made_from = {
        "enabled": config.enabled,
        "space": [config.alpha_min, config.alpha_max, config.delta_alpha_max],
        "objective": attrs.asdict(config.objective),
        "settings": [config.lr, config.momentum, config.epsilon, config.gradient_averaging_window],
        "optimizer": [config.optimizer.name, config.optimizer.seed, dict(config.optimizer.settings)],
    }
    return sha256(json.dumps(made_from, sort_keys=True, default=str).encode("utf-8")).hexdigest()


def write_memory(path: Path, config: Config, state: Mapping[str, object] | None) -> None:
    """Write a memory, in the place of the one before if there is one; None is one that was not told.

    Raises:
        OptimizerMemoryError: it was not told, has no JSON, is too large, or cannot be written; the one
            before is unharmed.
    """
    if state is None:
        raise OptimizerMemoryError(f"the optimizer did not tell its memory, {path} is as it was")
    stored = {"fingerprint": fingerprint(config), "state": dict(state), "v": VERSION}
    try:
        data = json.dumps(stored, allow_nan=False).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise OptimizerMemoryError(f"the optimizer's memory cannot be stored: {described(error)}") from error
    if not len(data) <= BYTES_MAX:
        raise OptimizerMemoryError(f"the memory takes {len(data)} bytes, must not exceed {BYTES_MAX}")
    put(path, data)


def put(path: Path, data: bytes) -> None:
    """Write a memory's bytes as they are, whole or not at all.

    Raises:
        OptimizerMemoryError: it cannot be written.
    """
    try:
        files.make_directories(str(path.parent))
        files.replace(str(path), data, _MODE)
        files.sync_directory(str(path.parent))
    except OSError as error:
        raise OptimizerMemoryError(f"cannot write {path}: {error.strerror}") from error


def read_memory(path: Path) -> bytes | None:
    """Return a memory's bytes, None if there is no such file. They are not looked at.

    Raises:
        OptimizerMemoryError: it cannot be read, or is too large.
    """
    try:
        with open(path, "rb") as stream:
            data = stream.read(BYTES_MAX + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OptimizerMemoryError(f"cannot read {path}: {error.strerror}") from error
    if len(data) <= BYTES_MAX:
        return data
    raise OptimizerMemoryError(f"{path} is larger than {BYTES_MAX} bytes")


def restore_memory(data: bytes, config: Config, optimizer: Optimizer) -> None:
    """Give a fresh optimizer its memory; one for which this fails is not to be used any more.

    Raises:
        OptimizerMemoryError: the bytes are no memory, or of an optimizer that was made in another way.
    """
    stored = _parsed(data)
    if not (isinstance(stored, dict) and stored.keys() == {"fingerprint", "state", "v"}):
        raise OptimizerMemoryError("it is not the memory of an optimizer")
    if not (type(stored["v"]) is int and stored["v"] == VERSION):
        raise OptimizerMemoryError(f"its version is not {VERSION}")
    if stored["fingerprint"] != fingerprint(config):
        raise OptimizerMemoryError("it is of an optimizer with other limits or settings")
    try:
        optimizer.restore(stored["state"])
    except Exception as error:
        raise OptimizerMemoryError(described(error)) from error


def recall(path: str | None, config: Config, optimizer: Optimizer) -> tuple[bool, str]:
    """Give a fresh optimizer the memory in a file.

    Returns:
        Whether the optimizer may be used, and what happened in words, empty where no memory is kept.
    """
    if path is None:
        return True, ""
    try:
        data = read_memory(Path(path))
        if data is None:
            return True, f"no optimizer memory in {path} yet"
        restore_memory(data, config, optimizer)
    except OptimizerMemoryError as error:
        return False, f"optimizer memory {path} was left aside: {error}"
    return True, f"optimizer memory restored from {path}"


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise OptimizerMemoryError(f"it is not JSON: {described(error)}") from error


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
