"""The configuration's keys in words: one key explained, and the page of all of them."""

import sys
from collections.abc import Iterator
from typing import Any

import attrs

from attunement.config import ENVIRONMENT_PREFIX, Loaded, variable
from attunement.config_option import shown
from attunement.config_schema import ROOT, VERSION, VERSION_INFO, OptionInfo, describe

_CHANGES = {
    "order": "part of the kernel's policy: changed by an operator's order alone",
    "reload": "taken in by a run on SIGHUP, or at the next start",
    "restart": "taken in at the next start",
}
_NOTHING = "nothing"
_HEAD = f"""# Configuration

Generated from `attunement/config_schema.py` by `make docs`; a test compares the two.

Each key has its default, then what the YAML file gives, then the environment, then flags; the later one
holds:

```yaml
version: {VERSION}
attunement:
  safety:
    entropy_max: 0.002
```

```sh
ATTUNEMENT__SAFETY__ENTROPY_MAX=0.002 lambda-attunement run
lambda-attunement run --set safety.entropy_max=0.002
```

`version` is the form of the file: optional, and {VERSION} is the only one; a file of another is refused.
Every other key stands under `{ROOT}`.

A name in the environment is `{ENVIRONMENT_PREFIX}` and the key in capitals, with `__` for each dot. Values
are read as YAML, without tags, anchors and merges, and of 64 KiB at most. An unknown key is refused wherever
it is given, with the nearest known one; so is a value of another type or out of range, and values that
contradict each other. `config check` says all that is wrong at once, `config show --json` what is in force
and where it came from, `config explain KEY` all about one key.

*Change* says how a changed value comes into force: **order**, it is part of the kernel's policy, and only an
operator's signed order adopts it; **reload**, a run takes it in on SIGHUP; **restart**, at the next start. A
run that gets SIGHUP names what it took in and what it did not; if its terminal is gone it ends instead.
"""


@attrs.frozen
class Explanation:
    """All about one key.

    Attributes:
        value: What is in force, in the form of the file; None for a key of a list's members.
        origin: The file and line, variable or flag that gave it, or ``default``.
    """

    info: OptionInfo
    value: str | None
    origin: str

    def rows(self) -> Iterator[tuple[str, str]]:
        """Names and figures for a table."""
        info = self.info
        yield "key", info.key
        if self.value is not None:
            yield "value", f"{self.value}{f' {info.unit}' if info.unit else ''}"
            yield "from", self.origin
        yield "accepts", info.accepts
        yield "default", default_of(info)
        yield "meaning", info.doc
        yield "guards", info.guards or _NOTHING
        yield "change", _CHANGES[info.change]
        if self.value is not None and info != VERSION_INFO:
            yield "environment", variable(info.key)

    def as_json(self) -> dict[str, object]:
        """The same as JSON's types."""
        info = self.info
        return {
            "key": info.key,
            "value": self.value,
            "origin": self.origin,
            "accepts": info.accepts,
            "default": default_of(info),
            "unit": info.unit or None,
            "doc": info.doc,
            "guards": info.guards or None,
            "change": info.change,
        }


def explain(loaded: Loaded, info: OptionInfo) -> Explanation:
    """Explain a key under a configuration."""
    if "[]" in info.key:
        return Explanation(info, None, "default")
    value: object = VERSION if info == VERSION_INFO else loaded.config
    for name in info.key.split(".")[1:]:
        value = getattr(value, name)
    inner = [origin for key, origin in loaded.origins.items() if key.startswith(f"{info.key}.")]
    origin = loaded.origins.get(info.key) or "; ".join(inner) or "default"
    return Explanation(info, _in_full(value), origin)


def default_of(info: OptionInfo) -> str:
    """Return a key's default in the form of the file, ``required`` if it has none."""
    return "required" if info.default is attrs.NOTHING else _in_full(info.default)


def page() -> str:
    """Return `docs/configuration.md`."""
    return f"{_HEAD}{''.join(_sections())}"


def _sections() -> Iterator[str]:
    sections: dict[str, list[OptionInfo]] = {}
    for info in describe():
        sections.setdefault(info.key.rpartition(".")[0], []).append(info)
    for section, infos in sections.items():
        yield f"\n## {section}\n\n"
        yield "| key | accepts | default | unit | meaning | guards | change |\n"
        yield "| --- | --- | --- | --- | --- | --- | --- |\n"
        for info in infos:
            cells = (
                f"`{info.key.removeprefix(f'{ROOT}.')}`",
                info.accepts,
                f"`{default_of(info)}`",
                info.unit or "–",
                info.doc,
                info.guards or "–",
                info.change,
            )
            yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _in_full(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_in_full(one)}" for name, one in value.items()) + "}"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_in_full, value)) + "]"
    if attrs.has(type(value)):
        return _in_full({field.name: getattr(value, field.name) for field in attrs.fields(type(value))})
    return value if isinstance(value, str) else shown(value)


if __name__ == "__main__":
    # The page is UTF-8 wherever it is made.
    sys.stdout.buffer.write(page().encode())
