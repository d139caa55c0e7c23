import math
from fractions import Fraction
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.quantity import (
    NANO,
    MalformedQuantityError,
    ceil_ratio,
    floor_ratio,
    nearest_ratio,
    round_down,
    round_nearest,
    round_up,
    to_float,
)

finite = st.floats(allow_nan=False, allow_infinity=False)
ROUNDERS = (round_down, round_nearest, round_up)


@pytest.mark.crosshair
@given(st.integers(), st.integers(min_value=1))
def test_an_image_is_less_than_a_unit_away_on_the_side_it_is_for(numerator: int, denominator: int) -> None:
    exact = numerator * NANO
    down, up = floor_ratio(numerator, denominator), ceil_ratio(numerator, denominator)
    near = nearest_ratio(numerator, denominator)
    assert down * denominator <= exact < (down + 1) * denominator
    assert (up - 1) * denominator < exact <= up * denominator
    assert -denominator < 2 * (near * denominator - exact) <= denominator


@pytest.mark.crosshair
@given(finite)
def test_rounding_brackets_the_exact_value(x: float) -> None:
    exact = Fraction(x) * NANO
    down, near, up = round_down("x", x), round_nearest("x", x), round_up("x", x)
    assert down <= exact < down + 1
    assert up - 1 < exact <= up
    assert abs(near - exact) <= Fraction(1, 2)


@pytest.mark.crosshair
@given(finite, st.integers(min_value=-(10**30), max_value=10**30))
def test_a_real_value_past_a_limit_stays_past_it_when_rounded_against_the_proposer(
    x: float, limit: int
) -> None:
    exact = Fraction(x) * NANO
    if exact > limit:
        assert round_up("x", x) > limit
    if exact < limit:
        assert round_down("x", x) < limit


@pytest.mark.crosshair
@given(st.integers(min_value=1, max_value=2**52))
def test_alpha_goes_to_the_engine_and_back_unchanged(nano: int) -> None:
    assert round_nearest("alpha", to_float(nano)) == nano


@given(st.integers(min_value=-(10**20), max_value=10**20))
def test_the_engine_is_given_the_nearest_float(nano: int) -> None:
    assert to_float(nano) == float(Fraction(nano, NANO))


@pytest.mark.crosshair
@given(st.integers(min_value=-(10**308), max_value=10**308))
def test_integers_are_exact(value: int) -> None:
    for rounder in ROUNDERS:
        assert rounder("x", value) == value * NANO


@pytest.mark.parametrize(
    "value",
    [
        10**309,
        -(10**700),
        math.nan,
        math.inf,
        -math.inf,
        True,
        False,
        None,
        "1.0",
        b"1",
        1 + 0j,
        [1.0],
        np.float32(1.0),
        np.int64(1),
    ],
)
@pytest.mark.parametrize("rounder", ROUNDERS)
def test_what_is_no_finite_number_is_malformed(rounder: object, value: object) -> None:
    assert callable(rounder)
    with pytest.raises(MalformedQuantityError, match=r"entropy_rate is .*, must be a finite number"):
        rounder("entropy_rate", value)


def test_the_type_is_asked_and_not_the_value() -> None:
    class Disguised:
        @property
        def __class__(self) -> type:  # type: ignore[override]
            raise AssertionError("must not be asked")

    for value in (Disguised(), Mock(spec=float), Mock(spec=int)):
        with pytest.raises(MalformedQuantityError, match="must be a finite number"):
            round_nearest("alpha", value)


def test_negative_zero_is_zero() -> None:
    for rounder in ROUNDERS:
        assert rounder("x", -0.0) == 0
        assert math.copysign(1.0, to_float(rounder("x", -0.0))) == 1.0


def test_a_subclass_cannot_answer_for_the_number_it_carries() -> None:
    class Liar(float):
        def as_integer_ratio(self) -> tuple[int, int]:
            return (1, 1)

        def __float__(self) -> float:
            return 1.0

        def __repr__(self) -> str:
            raise AssertionError("must not be asked")

    assert round_nearest("alpha", Liar(7.0)) == 7 * NANO
    with pytest.raises(MalformedQuantityError, match="alpha is nan"):
        round_nearest("alpha", Liar("nan"))


def test_an_integer_cannot_answer_for_its_own_size() -> None:
    class Small(int):
        def __ge__(self, other: int) -> bool:
            return True

        __le__ = __ge__

    assert round_nearest("alpha", Small(7)) == 7 * NANO
    with pytest.raises(MalformedQuantityError, match="must be a finite number"):
        round_nearest("alpha", Small(10**309))


@pytest.mark.parametrize(
    ("x", "down", "near", "up"), [(1e-10, 0, 0, 1), (-1e-10, -1, 0, 0), (5e-324, 0, 0, 1)]
)
def test_less_than_a_unit(x: float, down: int, near: int, up: int) -> None:
    assert (round_down("x", x), round_nearest("x", x), round_up("x", x)) == (down, near, up)
