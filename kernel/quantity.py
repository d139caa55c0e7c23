"""The one place where floats become the kernel's integers.

Every kernel quantity is an integer number of 1e-9 units ("nano"). A measured quantity is rounded against the
proposer, exactly: through the float's own integer ratio, never through a float multiplication.
"""

import math
from typing import Final, NewType

Nano = NewType("Nano", int)

NANO: Final = 1_000_000_000
NANO_SQUARED: Final = NANO * NANO


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


def exact_ratio(name: str, value: object) -> tuple[int, int]:
    """Return the exact (numerator, denominator > 0) of a finite int or float.

    The unbound methods are called, so a subclass cannot answer for the number it carries.

    Raises:
        MalformedQuantityError: for bool, None, strings, NaN, infinities and every other type.
    """
    if isinstance(value, float) and math.isfinite(value):
        return float.as_integer_ratio(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int.as_integer_ratio(value)
    found = float.__repr__(value) if isinstance(value, float) else f"of type {type(value).__name__}"
    raise MalformedQuantityError(f"{name} is {found}, must be a finite number")


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
