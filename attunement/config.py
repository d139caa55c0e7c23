"""Reading a configuration from YAML, the environment and flags, and writing it back."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any, Final, NoReturn, get_origin

import attrs
from cattrs import AttributeValidationNote, BaseValidationError, Converter, IterableValidationNote
from cattrs.errors import ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn, override
from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import AliasEvent, ScalarEvent
from ruamel.yaml.nodes import MappingNode

from attunement.config_option import checked, shown
from attunement.config_schema import ROOT, VERSION, VERSION_INFO, Config, ConfigError, OptionInfo, describe

TEXT_MAX_BYTES: Final = 64 * 1024
NODES_MAX: Final = 10_000
"""Keys and values of a text: ten thousand take about a second, for which a run does nothing else."""
DEPTH_MAX: Final = 16
PROBLEMS_MAX: Final = 100

ENVIRONMENT_PREFIX = f"{ROOT.upper()}__"
_MERGE = "tag:yaml.org,2002:merge"
_SETTINGS = f"{ROOT}.optimizer.settings"
_SETTING = f"{ENVIRONMENT_PREFIX}OPTIMIZER__SETTINGS__"


@attrs.frozen
class Loaded:
    """A configuration, and where its values came from.

    Attributes:
        config: The configuration.
        origins: Each key that does not have its default, e.g. ``attunement.safety.entropy_max``, with the
            file and line, the variable or the flag that gave it.
    """

    config: Config
    origins: Mapping[str, str]


def load(path: Path | None, environ: Mapping[str, str], flags: Sequence[str] = ()) -> Config:
    """Read the configuration: defaults, then the YAML file, then the environment, then flags.

    A key ``attunement.safety.entropy_max`` is ``ATTUNEMENT__SAFETY__ENTROPY_MAX`` in the environment and
    ``safety.entropy_max=0.002`` as a flag, its value read as YAML. Every key's own check is made first;
    checks across keys follow once all of them hold.

    Args:
        path: The YAML file, or None for defaults, environment and flags alone.
        environ: The environment, as ``os.environ``.
        flags: Assignments ``key=value``; of two to one key the later one holds.

    Raises:
        ConfigError: The file cannot be read or parsed, or keys are unknown, mistyped, out of range or in
            contradiction; all such problems at once.
    """
    return load_with_origins(path, environ, flags).config


def load_with_origins(path: Path | None, environ: Mapping[str, str], flags: Sequence[str] = ()) -> Loaded:
    """Read the configuration as ``load`` does, and tell where each value came from.

    Raises:
        ConfigError: As for ``load``.
    """
    document, origins = ({}, {}) if path is None else _document(path)
    problems = [*_overlay(document, origins, environ), *_assign(document, origins, flags)]
    return Loaded(_structured(document, problems), origins)


def find_option(key: str) -> OptionInfo:
    """Return the row of a key, given with or without the leading ``attunement.``, or of ``version``.

    Raises:
        ConfigError: There is no such key; the nearest one is named.
    """
    if key == VERSION_INFO.key:
        return VERSION_INFO
    known = {info.key: info for info in describe()}
    full = key if key.startswith(f"{ROOT}.") else f"{ROOT}.{key}"
    if full not in known:
        raise ConfigError(f"{key} is not a key, the nearest key is {_nearest(full, known)}")
    return known[full]


def loads(text: str) -> Config:
    """Read the configuration from YAML text alone.

    Raises:
        ConfigError: As for ``load``.
    """
    return _structured(_section(_parsed(text, "config")[1], "config"), [])


def dump(config: Config) -> str:
    """Write the configuration as YAML that ``loads`` reads back as an equal value."""
    text = StringIO()
    _yaml().dump({"version": VERSION, ROOT: plain(config)}, text)
    return text.getvalue()


def _yaml() -> Any:
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.Composer = _PlainComposer
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False
    return yaml


def plain(value: Any) -> Any:
    """Return a configuration, or a part of one, as YAML's and JSON's types."""
    if attrs.has(type(value)):
        return {field.name: plain(getattr(value, field.name)) for field in attrs.fields(type(value))}
    if isinstance(value, Mapping):
        return dict(value)
    return [plain(one) for one in value] if isinstance(value, tuple) else value


def _document(path: Path) -> tuple[dict[Any, Any], dict[str, str]]:
    try:
        with path.open("rb") as stream:
            # What is too large is refused by its size, and need not be read to its end for that.
            content = stream.read(TEXT_MAX_BYTES + 1)
        _require_size(content, str(path))
        text = content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    node, document = _parsed(text, str(path))
    known = {info.key for info in describe()}
    return _section(document, str(path)), dict(_lines(node, str(path), "", known))


def _lines(node: Any, path: str, prefix: str, known: set[str]) -> Iterator[tuple[str, str]]:
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        if name in known or not isinstance(value.value, list):
            yield name, f"{path}, line {key.start_mark.line + 1}"
        if isinstance(value, MappingNode):
            yield from _lines(value, path, f"{name}.", known)


class _PlainComposer(Composer):
    """Composes what a configuration needs, and refuses what makes a short text a long or a strange one."""

    nodes = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.parser.peek_event()
        self.nodes += 1
        if isinstance(event, AliasEvent) or event.anchor is not None:
            self._refuse("anchors and aliases are not taken, each value must be written out", event)
        if event.ctag is not None:
            self._refuse("tags are not taken, each value must be plain", event)
        if not self.nodes <= NODES_MAX:
            self._refuse(f"there are more than {NODES_MAX} keys and values", event)
        if not self.depth < DEPTH_MAX:
            self._refuse(f"values are nested more than {DEPTH_MAX} deep", event)
        # Its value is composed with the key as its index.
        is_key = isinstance(parent, MappingNode) and index is None
        if is_key and not isinstance(event, ScalarEvent):
            self._refuse("a list or a mapping is not taken as a key", event)
        node = super().compose_node(parent, index)
        if node.tag == _MERGE:
            self._refuse("<< is not taken, each key must be written out", event)
        return node

    def _refuse(self, problem: str, event: Any) -> NoReturn:
        raise ComposerError(None, None, problem, event.start_mark)


def _parsed(text: str, name: str) -> tuple[Any, Any]:
    """Return the tree of a text, whose nodes know their lines, and its value."""
    _require_size(text.encode("utf-8", "surrogatepass"), name)
    yaml = _yaml()
    try:
        node = yaml.compose(text)
        return node, None if node is None else yaml.constructor.construct_document(node)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        problem = (error.problem or "malformed YAML").split("\n", maxsplit=1)[0]
        raise ConfigError(f"{name}: {where}{problem}") from error
    except Exception as error:
        # The parser tells what it cannot read by errors of any kind: OverflowError of a date, ValueError of
        # a number, whatever else of the next text.
        raise ConfigError(f"{name}: malformed YAML: {error}") from error


def _require_size(content: bytes, name: str) -> None:
    if not len(content) <= TEXT_MAX_BYTES:
        raise ConfigError(f"{name}: is larger than {TEXT_MAX_BYTES} bytes")


def _section(document: Any, name: str) -> dict[Any, Any]:
    if not isinstance(document, dict) or ROOT not in document:
        raise ConfigError(f"{name}: must be a mapping with the key {ROOT}, is {shown(document)}")
    unknown = [
        f"{key} is not a key, the only ones are version and {ROOT}"
        for key in document
        if key not in ("version", ROOT)
    ]
    version = document.get("version", VERSION)
    if type(version) is not int or version != VERSION:
        unknown.append(f"version is {shown(version)}, must be the whole number {VERSION}")
    section = document[ROOT]
    if not isinstance(section, dict):
        unknown.append(f"{ROOT} is {shown(section)}, must be a mapping")
    if unknown:
        raise ConfigError(*unknown)
    return dict(section)


def _overlay(document: dict[Any, Any], origins: dict[str, str], environ: Mapping[str, str]) -> Iterator[str]:
    """Put the environment's values into the document, and tell of those that cannot be."""
    keys = {variable(key): key for key in _leaves()}
    for name in sorted(name for name in environ if name.upper().startswith(ENVIRONMENT_PREFIX)):
        key = keys.get(name) or _setting_key(name)
        if key is None:
            nearest = _nearest(name.upper(), [*keys, f"{_SETTING}<NAME>"])
            yield f"{name} is not known, the nearest name is {nearest}"
        else:
            yield from _set(document, origins, key, environ[name], name, f"environment, {name}")


def _assign(document: dict[Any, Any], origins: dict[str, str], flags: Sequence[str]) -> Iterator[str]:
    """Put the flags' values into the document, and tell of those that cannot be."""
    keys = [*_leaves(), f"{_SETTINGS}.<name>"]
    for flag in flags:
        name, is_assigned, text = flag.partition("=")
        key = name if name.startswith(f"{ROOT}.") else f"{ROOT}.{name}"
        if not is_assigned:
            yield f"--set {flag} must have the form key=value"
        elif key not in keys[:-1] and not _is_setting(key):
            yield f"--set {name} is not a key, the nearest key is {_nearest(key, keys)}"
        else:
            yield from _set(document, origins, key, text, f"--set {name}", f"flag, --set {flag}")


def _set(
    document: dict[Any, Any], origins: dict[str, str], key: str, text: str, name: str, origin: str
) -> Iterator[str]:
    if not text.strip():
        yield f"{name} is empty, must hold a value"
        return
    try:
        _put(document, key.split(".")[1:], _parsed(text, name)[1])
    except ConfigError as error:
        yield from error.problems
    else:
        origins[key] = origin


def _leaves() -> list[str]:
    return [info.key for info in describe() if "[]" not in info.key and info.key != _SETTINGS]


def _is_setting(key: str) -> bool:
    section, _, name = key.rpartition(".")
    return section == _SETTINGS and name != ""


def variable(key: str) -> str:
    """Return the name of a key in the environment."""
    return "__".join(key.upper().split("."))


def _setting_key(name: str) -> str | None:
    setting = name.removeprefix(_SETTING)
    return f"{_SETTINGS}.{setting.lower()}" if name.startswith(_SETTING) and setting else None


def _put(document: dict[Any, Any], path: list[str], value: Any) -> None:
    *sections, leaf = path
    for section in sections:
        document = document.setdefault(section, {})
        if not isinstance(document, dict):
            return  # the section's own value is refused when it is structured
    document[leaf] = value


def _nearest(name: str, known: Iterable[str]) -> str:
    return get_close_matches(name, list(known), n=1, cutoff=0.0)[0]


def _structured(document: dict[Any, Any], problems: list[str]) -> Config:
    try:
        config = _CONVERTER.structure(document, Config)
    except (BaseValidationError, ConfigError) as error:
        raise ConfigError(*problems, *_first(_problems(error, ROOT))) from error
    if problems:
        raise ConfigError(*problems)
    return config


def _first(problems: Iterator[str]) -> Iterator[str]:
    # To find the nearest key takes milliseconds, and a file has room for thousands of unknown ones.
    yield from islice(problems, PROBLEMS_MAX)
    if next(problems, None) is not None:
        yield f"there are more problems, the first {PROBLEMS_MAX} are named"


def _problems(error: Exception, key: str) -> Iterator[str]:
    match error:
        case BaseValidationError():
            for inner in error.exceptions:
                yield from _problems(inner, extended(key, inner))
        case ForbiddenExtraKeysError():
            known = [info.key for info in describe()]
            for extra in sorted(map(str, error.extra_fields)):
                unknown = f"{key}.{extra}"
                yield f"{unknown} is not a key, the nearest key is {_nearest(unknown, known)}"
        case ConfigError():
            yield from error.problems
        case KeyError():
            yield f"{key} is missing"
        case _:
            yield f"{key} {error}"


def extended(key: str, error: BaseException) -> str:
    """Add to a key where within it cattrs met an error."""
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            return f"{key}.{note.name}"
        if isinstance(note, IterableValidationNote):
            return f"{key}[{note.index}]"
    return key


def _class_hook(kind: type[Any]) -> Callable[[Any, Any], Any]:
    overrides = {
        field.name: override(struct_hook=_field_hook(field))
        for field in attrs.fields(kind)
        if not attrs.has(field.type)
    }
    make: Any = make_dict_structure_fn
    structure = make(
        kind, _CONVERTER, _cattrs_forbid_extra_keys=True, _cattrs_detailed_validation=True, **overrides
    )

    def hook(value: Any, _kind: Any) -> Any:
        if not isinstance(value, dict):
            raise TypeError(f"is {shown(value)}, must be a mapping")
        return structure(value, kind)

    return hook


def _field_hook(field: "attrs.Attribute[Any]") -> Callable[[Any, Any], Any]:
    if get_origin(field.type) is tuple:
        return _structured_list
    told = field.metadata
    return lambda value, _kind: checked(value, field.type, told["within"], told["form"])


def _structured_list(value: Any, kind: Any) -> Any:
    if not isinstance(value, list):
        raise TypeError(f"is {shown(value)}, must be a list")
    return _CONVERTER.structure(value, kind)


_CONVERTER = Converter(detailed_validation=True)
_CONVERTER.register_structure_hook_factory(attrs.has, _class_hook)
