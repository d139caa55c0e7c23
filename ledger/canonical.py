"""One value, one sequence of bytes: the JSON form that is hashed and signed.

UTF-8, members sorted by code point, no whitespace, no escape that is not needed, no floating-point
number. Text is taken as it is: two spellings of one accented letter are two different strings.
"""

import json
import re
from collections.abc import Collection, Sequence
from types import NoneType
from typing import Final, NewType, NoReturn, TypeAlias

import orjson

from ledger.errors import CanonicalError

JsonValue: TypeAlias = bool | int | str | list["JsonValue"] | dict[str, "JsonValue"] | None

Canonical = NewType("Canonical", bytes)
"""Bytes that are the canonical form of their value, as their maker vouches."""

_Path: TypeAlias = tuple["_Path", str] | None

MAX_BYTES = 60 * 1024
MAX_DEPTH = 16

# 2**2048 has 617 digits: under the 640 that every setting of sys.set_int_max_str_digits converts.
MAX_INTEGER_BITS = 2048
_MAX_INTEGER_CHARACTERS = 618

_ENCODER = json.JSONEncoder(ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":"))

# What is common goes through orjson, which is several times faster, and only where its bytes are known to be
# those of the encoder above; all else, and whatever must be refused, takes the careful way.
_SORTED: Final = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_SUBCLASS
_CONTAINERS: Final = frozenset({dict, list})
_SCALARS: Final = frozenset({str, int, bool, NoneType})
_TYPES: Final = _CONTAINERS | _SCALARS
# How a float ends as orjson spells it; text that looks like one takes the careful way too. Two patterns:
# to search for one first character is several times faster than to search for a set of them.
_FRACTION: Final = re.compile(rb"\.[0-9]+[],}e]")
_EXPONENT: Final = re.compile(rb"e-?[0-9]+[],}]")


def encode(value: JsonValue) -> bytes:
    """Return the canonical bytes of a value.

    Args:
        value: null, booleans, integers, strings, lists, and dicts with string keys, of exactly these
            types, nested to at most `MAX_DEPTH` containers.

    Raises:
        CanonicalError: naming the path of a float, another type, a lone surrogate, an integer above
            `MAX_INTEGER_BITS`, or a container nested too deeply; or the size is above `MAX_BYTES`.
    """
    data = _encoded_as_it_stands(value) or _encoded_after_a_check(value)
    if len(data) <= MAX_BYTES:
        return data
    raise CanonicalError(f"value takes {len(data)} bytes, must not exceed {MAX_BYTES}")


def parse(data: bytes) -> JsonValue:
    """Return the value whose canonical bytes these are; `encode(parse(data)) == data`.

    Raises:
        CanonicalError: the bytes are too many, not UTF-8, not JSON, hold a duplicate key at any depth,
            a floating-point number, NaN or Infinity, are nested too deeply, or are another spelling
            of their value.
    """
    if not len(data) <= MAX_BYTES:
        raise CanonicalError(f"value takes {len(data)} bytes, must not exceed {MAX_BYTES}")
    common = _parsed_as_it_stands(data)
    return _parsed_with_care(data) if common is None else common


def _encoded_as_it_stands(value: JsonValue) -> bytes | None:
    # None says only that the value needs a closer look, as below.
    if not _is_plain(value):
        return None
    try:
        return orjson.dumps(value, option=_SORTED)
    except orjson.JSONEncodeError:
        return None


def _is_plain(value: object, depth: int = 1) -> bool:
    # By the set of the types in each container: a call for each value would cost more than all the rest of an
    # append but its signature. The types of keys are left to orjson, which takes none but str.
    if type(value) is dict and isinstance(value, dict):
        members: Collection[object] = value.values()
    elif type(value) is list and isinstance(value, list):
        members = value
    else:
        return False
    types = set(map(type, members))
    if not (types <= _TYPES and depth <= MAX_DEPTH):
        return False
    return types <= _SCALARS or all(
        _is_plain(member, depth + 1) for member in members if type(member) in _CONTAINERS
    )


def _encoded_after_a_check(value: JsonValue) -> bytes:
    _check(value, None, 0)
    return _ENCODER.encode(_ordered(value)).encode("utf-8")


def _check(value: object, path: _Path, depth: int) -> None:
    kind = type(value)
    # isinstance narrows for the type checker; the exact type is what counts.
    if kind is dict and isinstance(value, dict):
        _check_depth(path, depth)
        for key, member in value.items():
            _check_key(key, path)
            _check(member, (path, key), depth + 1)
    elif kind is list and isinstance(value, list):
        _check_depth(path, depth)
        for index, member in enumerate(value):
            _check(member, (path, str(index)), depth + 1)
    elif kind is str and isinstance(value, str):
        _check_text(value, path)
    elif kind is int and isinstance(value, int):
        if not value.bit_length() <= MAX_INTEGER_BITS:
            _refuse(path, f"has {value.bit_length()} bits, must not exceed {MAX_INTEGER_BITS}")
    elif kind is not bool and value is not None:
        _refuse(path, f"is a {kind.__name__}, must be null, bool, int, str, list or dict")


def _ordered(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return {key: _ordered(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_ordered(member) for member in value]
    return value


def _check_key(key: object, path: _Path) -> None:
    if type(key) is str and isinstance(key, str):
        _check_text(key, (path, ascii(key)))
    else:
        _refuse(path, f"has the key {key!r}, must be a string")


def _check_text(text: str, path: _Path) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        _refuse(path, f"has a lone surrogate at character {error.start}", error)


def _check_depth(path: _Path, depth: int) -> None:
    if not depth < MAX_DEPTH:
        _refuse(path, f"is container number {depth + 1} in depth, must not exceed {MAX_DEPTH}")


def _refuse(path: _Path, reason: str, cause: Exception | None = None) -> NoReturn:
    names: list[str] = []
    while path is not None:
        path, name = path
        names.append(name if name.isprintable() else ascii(name)[1:-1])
    raise CanonicalError(f"{'.'.join(reversed(names)) or 'value'} {reason}") from cause


def _parsed_with_care(data: bytes) -> JsonValue:
    try:
        value: JsonValue = _DECODER.decode(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise CanonicalError(f"byte {error.start} is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise CanonicalError(f"not JSON: {error}") from error
    except RecursionError as error:
        raise CanonicalError(f"nested too deeply, must not exceed {MAX_DEPTH}") from error
    if encode(value) == data:
        return value
    raise CanonicalError("bytes are not the canonical form of their value")


def _unique_members(pairs: Sequence[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    names = [name for name, _ in pairs]
    twice = next(name for name in names if names.count(name) > 1)
    raise CanonicalError(f"key {twice!a} appears twice in one object")


def _bounded_integer(digits: str) -> int:
    if len(digits) <= _MAX_INTEGER_CHARACTERS:
        return int(digits)
    raise CanonicalError(f"integer has {len(digits)} digits, must not exceed {MAX_INTEGER_BITS} bits")


def _no_float(literal: str) -> NoReturn:
    raise CanonicalError(f"{literal[:40]} is not an integer")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique_members,
    parse_int=_bounded_integer,
    parse_float=_no_float,
    parse_constant=_no_float,
)


def _parsed_as_it_stands(data: bytes) -> JsonValue:
    # Canonical bytes are those that encoding gives back, whatever a decoder makes of others: a key that is
    # there twice, an escape, a space, an order of keys or an integer of more than 64 bits does not come back.
    # A float might.
    if data[:1] not in (b"{", b"[") or _FRACTION.search(data) or _EXPONENT.search(data):
        return None
    try:
        value: JsonValue = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    is_flat = data.count(b"{") + data.count(b"[") <= MAX_DEPTH
    return value if (is_flat or _is_plain(value)) and orjson.dumps(value, option=_SORTED) == data else None
