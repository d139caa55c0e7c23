"""Reading the configuration again while a run goes on: what is taken in, and what is not and why."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from attunement.config import load
from attunement.config_option import shown
from attunement.config_schema import Config, ConfigError, OptionInfo, describe

_WHY: Final = {
    "order": "it is policy, which an operator's order changes: `policy propose`",
    "restart": "it is taken in at the next start",
}


@attrs.frozen
class Reloaded:
    """What reading again led to.

    Attributes:
        config: What is in force now.
        taken: Each key that was taken in, with its old and its new value.
        refused: Each key that was not, and why; or all that is wrong with the configuration.
    """

    config: Config
    taken: tuple[str, ...]
    refused: tuple[str, ...]


def reload(path: Path | None, environ: Mapping[str, str], flags: Sequence[str], in_force: Config) -> Reloaded:
    """Read the configuration as at the start, and take in what may change while a run goes on.

    A configuration that cannot be used changes nothing.
    """
    try:
        wanted = load(path, environ, flags)
    except ConfigError as error:
        return Reloaded(in_force, (), error.problems)
    config, taken, refused = in_force, list[str](), list[str]()
    for info, old, new in _differences(in_force, wanted):
        change = f"{info.key}: {_shown(old)} → {_shown(new)}"
        if info.change == "reload":
            config = _with(config, info.key.split(".")[1:], new)
            taken.append(change)
        else:
            refused.append(f"{change}: {_WHY[info.change]}")
    return Reloaded(config, tuple(taken), tuple(refused))


def _differences(old: Config, new: Config) -> Iterator[tuple[OptionInfo, object, object]]:
    for info in describe():
        if "[]" in info.key:
            continue
        path = info.key.split(".")[1:]
        before, after = _at(old, path), _at(new, path)
        if before != after:
            yield info, before, after


def _at(value: object, path: list[str]) -> object:
    for name in path:
        value = getattr(value, name)
    return value


def _with(section: Any, path: list[str], value: object) -> Any:
    name, *rest = path
    inner = _with(getattr(section, name), rest, value) if rest else value
    changed: dict[str, Any] = {name: inner}
    return attrs.evolve(section, **changed)


def _shown(value: object) -> str:
    return value if isinstance(value, str) else shown(value)
