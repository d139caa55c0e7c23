"""The one place where floats become the kernel's integers.

Every kernel quantity is an integer number of 1e-9 units ("nano"). A measured quantity is rounded against the
proposer, exactly: through the float's own integer ratio, never through a float multiplication.
"""

import math
import sys
from typing import Any, Final, NewType

Nano = NewType("Nano", int)

NANO: Final = 1_000_000_000
NANO_SQUARED: Final = NANO * NANO

_INT_LAST = int(sys.float_info.max)


class MalformedQuantityError(ValueError):
    """A figure that is no finite number, or carries a sign its quantity cannot have."""


def floor_ratio(numerator: int, denominator: int) -> int:
    """Return the largest integer of nano units not above numerator/denominator (denominator > 0)."""
    return numerator * NANO // denominator


def ceil_ratio(numerator: int, denominator: int) -> int:
    """Return the smallest integer of nano units not below numerator/denominator (denominator > 0)."""
    return -(-numerator * NANO // denominator)


def nearest_ratio(numerator: int, denominator: int) -> int:
    """Return the integer of nano units nearest to numerator/denominator, ties upward (denominator > 0)."""
    return (2 * numerator * NANO + denominator) // (2 * denominator)


def exact_ratio(name: str, value: Any) -> tuple[int, int]:
    """Return the exact (numerator, denominator > 0) of a finite float, or of an int in a float's range.

    The type is asked and not the value, and unbound methods are called: a value of a foreign class cannot
    answer for what it is, nor for the number it carries.

    Raises:
        MalformedQuantityError: for bool, None, strings, NaN, infinities and every other type.
    """
    kind = type(value)
    if issubclass(kind, float) and math.isfinite(value):
        return float.as_integer_ratio(value)
    if issubclass(kind, int) and kind is not bool and -_INT_LAST <= int.__pos__(value) <= _INT_LAST:
        return int.as_integer_ratio(value)
    found = float.__repr__(value) if issubclass(kind, float) else f"of type {name_of_type(value)}"
    raise MalformedQuantityError(f"{name} is {found}, must be a finite number")


def name_of_type(value: object) -> str:
    """Return the name of anything's type, without asking the type, whose metaclass may answer otherwise."""
    return f"{type.__dict__['__name__'].__get__(type(value))}"


def round_down(name: str, value: object) -> Nano:
    """Round a quantity whose *small* values are the dangerous ones (H_internal)."""
    return Nano(floor_ratio(*exact_ratio(name, value)))


def round_up(name: str, value: object) -> Nano:
    """Round a quantity whose *large* values are the dangerous ones (entropy rate, drive, loop gain)."""
    return Nano(ceil_ratio(*exact_ratio(name, value)))


def round_nearest(name: str, value: object) -> Nano:
    """Round a proposed α or a coherence; what is judged and applied is the rounded integer."""
    return Nano(nearest_ratio(*exact_ratio(name, value)))


def to_float(value: int) -> float:
    """Return the float nearest to a number of nano units."""
    return value / NANO
