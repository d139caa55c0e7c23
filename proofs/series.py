"""Certified rational bounds of exp(−κ) and of the loop-gain limit κ·exp(−κ)."""

from fractions import Fraction
from math import floor

from kernel.quantity import NANO

TERMS = 40
"""Partial sums are taken up to this power; the next term is below 1e-48 for κ ≤ 1."""


def exp_of_minus(kappa: Fraction) -> tuple[Fraction, Fraction]:
    """Return rationals below and above exp(−κ), for 0 ≤ κ ≤ 1.

    The terms κ^n/n! of the alternating series decrease there, so two partial sums in a row enclose the limit
    (Leibniz).

    Raises:
        ValueError: κ lies outside [0, 1].
    """
    if not 0 <= kappa <= 1:
        raise ValueError(f"kappa is {kappa}, must lie in [0, 1]")
    term, total, last = Fraction(1), Fraction(0), Fraction(0)
    for power in range(TERMS):
        last, total = total, total + term
        term *= -kappa / (power + 1)
    return min(last, total), max(last, total)


def largest_loop_gain(kappa: Fraction) -> int:
    """Return the largest integer of nano units that is at most κ·exp(−κ), for 0 ≤ κ ≤ 1.

    Raises:
        ValueError: κ lies outside [0, 1], or the enclosure is too wide to tell.
    """
    below, above = (floor(kappa * bound * NANO) for bound in exp_of_minus(kappa))
    if below != above:
        raise ValueError(f"kappa is {kappa}, {TERMS} terms do not decide the last nano")
    return below
