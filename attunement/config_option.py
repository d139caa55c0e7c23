"""One configuration key: its type, range, unit and meaning, checked wherever a value is made."""

from collections.abc import Callable, Mapping
from math import isfinite
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import attrs

from attunement.config_forms import TEXT, Form
from attunement.foreign import escaped

_SHOWN_MAX = 60


@attrs.frozen
class Interval:
    """A range of numbers with finite ends, each of them closed unless said to be open."""

    low: float
    high: float
    low_open: bool = False
    high_open: bool = False

    def holds(self, value: float) -> bool:
        """Say whether ``value`` lies inside; NaN never does."""
        above = self.low < value if self.low_open else self.low <= value
        below = value < self.high if self.high_open else value <= self.high
        return above and below

    def __str__(self) -> str:
        left, right = "(" if self.low_open else "[", ")" if self.high_open else "]"
        return f"{left}{_figure(self.low)}, {_figure(self.high)}{right}"


Change = Literal["order", "reload", "restart"]
"""How a changed key comes into force: an operator's order, a SIGHUP to the run, or the next start."""


def option(
    default: Any,
    doc: str,
    *,
    unit: str = "",
    within: Interval | None = None,
    form: Form = TEXT,
    guards: str = "",
    change: Change = "restart",
) -> Any:
    """Declare one key of a configuration class.

    Args:
        default: The value when the key is absent (``attrs.NOTHING``: the key is required).
        doc: What the key means, in one sentence.
        unit: The unit of its number, empty where there is none.
        within: The range of its number; every number has one.
        form: What its text must look like.
        guards: What it protects, and against what; empty where it protects nothing.
        change: How a changed value comes into force; ``order`` for what is part of the kernel's policy.
    """
    metadata = {
        "doc": doc,
        "unit": unit,
        "within": within,
        "form": form,
        "guards": guards,
        "change": change,
    }
    return attrs.field(default=default, validator=_validate, metadata=metadata)


def checked(value: Any, kind: Any, within: Interval | None, form: Form = TEXT) -> Any:
    """Return ``value`` if it is of ``kind``, in range and of its form, a whole number for a float as a float.

    Nothing else is converted: ``1`` is not true, ``91.7`` is not a whole number, ``"3"`` is not a number.

    Raises:
        ValueError: The value is of another type or form, not finite or out of range.
    """
    member = next((one for one in _members(kind) if _is_a(value, one)), None)
    if member is None or (member is str and not form.fits(value)):
        raise ValueError(f"is {shown(value)}, must be {expectation(kind, within, form)}")
    if member in (int, float) and within is not None and not within.holds(value):
        raise ValueError(f"is {shown(value)}, must lie in {within}")
    return float(value) + 0.0 if member is float else value  # + 0.0 turns −0.0 into 0.0


def expectation(kind: Any, within: Interval | None = None, form: Form = TEXT) -> str:
    """Say in words which values ``checked`` accepts."""
    return " or ".join(_in_words(member, within, form) for member in _members(kind))


def shown(value: object) -> str:
    """Write a value the way its file would, clipped to a readable length."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return f'"{escaped(value)}"' if len(value) <= _SHOWN_MAX else f'"{escaped(value[:_SHOWN_MAX])}…"'
        case int() | float():
            return _figure(value)
        case Mapping():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case _:
            return f"a {type(value).__name__}"


def _validate(_instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    try:
        checked(value, attribute.type, attribute.metadata["within"], attribute.metadata["form"])
    except ValueError as error:
        raise ValueError(f"{attribute.name} {error}") from None


def _figure(number: float) -> str:
    return f"{number:d}" if isinstance(number, int) and abs(number) < 10**20 else f"{_as_float(number):.12g}"


def _as_float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:
        return float("inf") if number > 0 else float("-inf")


def _members(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _is_a(value: object, member: Any) -> bool:
    if get_origin(member) is Literal:
        return isinstance(value, str) and value in get_args(member)
    return _TESTS[get_origin(member) or member](value)


def _in_words(member: Any, within: Interval | None, form: Form) -> str:
    if get_origin(member) is Literal:
        return " or ".join(get_args(member))
    if member is str:
        return form.words
    words = _WORDS[get_origin(member) or member]
    return f"{words} in {within}" if within is not None and member in (int, float) else words


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | int) or (isinstance(value, float) and isfinite(value))


def _is_settings(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and _is_plain(plain) for name, plain in value.items()
    )


_TESTS: dict[Any, Callable[[object], bool]] = {
    NoneType: lambda value: value is None,
    bool: lambda value: isinstance(value, bool),
    int: lambda value: isinstance(value, int) and not isinstance(value, bool),
    float: lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    str: lambda value: isinstance(value, str),
    Mapping: _is_settings,
    tuple: lambda value: isinstance(value, tuple) and all(attrs.has(type(one)) for one in value),
}

_WORDS: dict[Any, str] = {
    NoneType: "null",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    Mapping: "a mapping of names to plain finite values",
    tuple: "a list of mappings",
}
