"""Symbolic values of the kernel's own types, and the logic that claims about them are written in.

Claims are ordinary expressions that hold for symbolic and for concrete values alike: comparisons joined by
`&`, `|` and the functions here, never by `and`, `or`, `not` or `if`, which would ask a symbolic condition for
its truth.
"""

import typing
from typing import TypeVar, cast

import z3

from proofs.explorer import SymInt, leaves

T = TypeVar("T")


def symbolic_int(name: str) -> int:
    """Return a symbolic integer of that name."""
    return cast(int, SymInt(z3.Int(name)))


def symbolic(kind: type[T], name: str) -> T:
    """Return a named tuple whose every integer is a symbol `name.field` (`name.field.k` within a tuple)."""
    values: list[object] = []
    for field, hint in typing.get_type_hints(kind).items():
        members = typing.get_args(hint) if typing.get_origin(hint) is tuple else ()
        if members:
            values.append(tuple(symbolic_int(f"{name}.{field}.{k}") for k in range(len(members))))
        else:
            values.append(symbolic_int(f"{name}.{field}"))
    return kind(*values)


def negation(claim: bool) -> bool:
    """Not claim."""
    return claim ^ True


def implies(premise: bool, claim: bool) -> bool:
    """If premise then claim."""
    return negation(premise) | claim


def iff(one: bool, other: bool) -> bool:
    """One exactly if other."""
    return negation(one ^ other)


def every(*claims: bool) -> bool:
    """All claims, and true of none."""
    verdict = True
    for claim in claims:
        verdict &= claim
    return verdict


def some(*claims: bool) -> bool:
    """At least one of the claims, and false of none."""
    verdict = False
    for claim in claims:
        verdict |= claim
    return verdict


def within(least: int, figure: int, most: int) -> bool:
    """Least <= figure <= most."""
    return (least <= figure) & (figure <= most)


def same(one: object, other: object) -> bool:
    """Equal in every part."""
    ones, others = leaves(one), leaves(other)
    return len(ones) == len(others) and every(*map(_same_leaf, ones, others))


def _same_leaf(one: object, other: object) -> bool:
    # A symbol is compared with numbers only; names are never symbols.
    if isinstance(one, str) or isinstance(other, str):
        return isinstance(one, str) and isinstance(other, str) and one == other
    return one == other


def distance(one: int, other: int) -> int:
    """|one - other|."""
    return abs(one - other)
