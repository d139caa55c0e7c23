"""Theorems about `kernel/quantity.py`: rounding goes against the proposer, and by less than one unit.

Proved for the integer part: every numerator, every denominator > 0; and for the roundings that the kernel
calls, run on every ratio that `exact_ratio` may return for their value. That `exact_ratio` refuses what is no
finite number, and that `float.as_integer_ratio` gives a finite double's exact value with a denominator > 0,
is argued in the report and tested, not proved here.
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType, ModuleType
from typing import cast

import z3

from kernel.quantity import NANO
from proofs.explorer import ProofError, explore, term_of
from proofs.goals import Counterexample, Goal, Replay
from proofs.symbols import iff, implies, negation, symbolic_int
from proofs.theorems import Subject, theorem

NUMERATOR, DENOMINATOR, DIVISOR = (symbolic_int(name) for name in ("numerator", "denominator", "divisor"))
IMAGE, LIMIT = symbolic_int("image"), symbolic_int("limit")
IMAGE_TIMES, LIMIT_TIMES = symbolic_int("image_times_denominator"), symbolic_int("limit_times_denominator")
VALUE = NUMERATOR * NANO
"""The figure in nano units, times the denominator."""

DOUBLED = 2 * DENOMINATOR


@theorem("T10")
def rounding_up_hides_no_excess(subject: Subject) -> Iterable[Goal]:
    """ceil_ratio, and round_up on whatever ratio its value has: the image is the least integer of nano units
    not below numerator/denominator, for every numerator and every denominator > 0; so a real figure above a
    limit has an image above it, and one that keeps the limit has an image that keeps it."""
    name = "rounding_up_hides_no_excess"
    for function in ("ceil_ratio", "round_up"):
        yield _goal_on_code(subject, name, function, _least_above)
    image = (IMAGE_TIMES - DENOMINATOR < VALUE) & (VALUE <= IMAGE_TIMES)
    yield _lemma(name, "faithful", iff(VALUE > LIMIT_TIMES, IMAGE > LIMIT), image, *_ordered())


@theorem("T10")
def rounding_down_hides_no_shortfall(subject: Subject) -> Iterable[Goal]:
    """floor_ratio, and round_down on whatever ratio its value has: the image is the greatest integer of nano
    units not above numerator/denominator, for every numerator and every denominator > 0; so a real figure
    below a limit has an image below it, and one that keeps the limit has an image that keeps it."""
    name = "rounding_down_hides_no_shortfall"
    for function in ("floor_ratio", "round_down"):
        yield _goal_on_code(subject, name, function, _greatest_below)
    image = (IMAGE_TIMES <= VALUE) & (VALUE < IMAGE_TIMES + DENOMINATOR)
    yield _lemma(name, "faithful", iff(VALUE < LIMIT_TIMES, IMAGE < LIMIT), image, *_ordered())


@theorem("T10")
def rounding_to_nearest_is_within_half_a_unit(subject: Subject) -> Iterable[Goal]:
    """nearest_ratio, and round_nearest on whatever ratio its value has: the image differs from
    numerator/denominator by at most half a unit, and a tie goes up, for every numerator and every
    denominator > 0; a whole number of units is its own image."""
    name = "rounding_to_nearest_is_within_half_a_unit"
    for function in ("nearest_ratio", "round_nearest"):
        yield _goal_on_code(subject, name, function, _nearest_quotient, DIVISOR == DOUBLED)
    sought = 2 * VALUE + DENOMINATOR
    image = (sought >= 2 * IMAGE_TIMES) & (sought < 2 * IMAGE_TIMES + DOUBLED)
    twice = 2 * (IMAGE_TIMES - VALUE)
    half = (twice > -DENOMINATOR) & (twice <= DENOMINATOR)
    yield _lemma(name, "half_a_unit", half, image)
    yield _lemma(name, "whole_units", implies(VALUE == LIMIT_TIMES, IMAGE == LIMIT), half, *_ordered())


@theorem("T10")
def products_keep_order(_: Subject) -> Iterable[Goal]:
    """For a denominator > 0: one < other gives one·denominator + denominator <= other·denominator; the only
    fact about products that the lemmas on rounding use, in which image·denominator and limit·denominator have
    names of their own."""
    claim = implies(IMAGE < LIMIT, IMAGE * DENOMINATOR + DENOMINATOR <= LIMIT * DENOMINATOR)
    yield _lemma("products_keep_order", "monotone", claim)


def _ordered() -> tuple[bool, ...]:
    return (
        implies(IMAGE < LIMIT, IMAGE_TIMES + DENOMINATOR <= LIMIT_TIMES),
        implies(LIMIT < IMAGE, LIMIT_TIMES + DENOMINATOR <= IMAGE_TIMES),
        implies(IMAGE == LIMIT, IMAGE_TIMES == LIMIT_TIMES),
    )


def _least_above(image: int) -> bool:
    return ((image - 1) * DENOMINATOR < VALUE) & (image * DENOMINATOR >= VALUE)


def _greatest_below(image: int) -> bool:
    return (image * DENOMINATOR <= VALUE) & ((image + 1) * DENOMINATOR > VALUE)


def _nearest_quotient(image: int) -> bool:
    sought = 2 * VALUE + DENOMINATOR
    return (image * DIVISOR <= sought) & (sought < (image + 1) * DIVISOR)


POSITIVE = ("denominator is positive", term_of(DENOMINATOR > 0))

ROUNDINGS = ("round_up", "round_down", "round_nearest")
"""What the kernel calls: functions of a name and a value that ask `exact_ratio` for the value's ratio."""

_NAME, _FIGURE = "figure", object()


def _goal_on_code(
    subject: Subject, theorem_name: str, function: str, claim: Callable[[int], bool], *given: bool
) -> Goal:
    """The shipped function's result satisfies the claim; a divisor that is given a name is called by it."""
    rule = _function_of_a_ratio(subject.kernel.quantity, function)
    paths = explore(functools.partial(rule, NUMERATOR, DENOMINATOR), [POSITIVE[1]])
    if any(path.error is not None for path in paths):
        raise ProofError(f"{function} raises for a positive denominator")
    claims = [term_of(claim(cast(int, path.value))) for path in paths]
    wrong = z3.Or(*(z3.And(path.condition, z3.Not(held)) for path, held in zip(paths, claims, strict=True)))
    if given:
        wrong = z3.substitute(wrong, (term_of(DOUBLED), term_of(DIVISOR)))
    hypotheses = [(f"given {k}", term_of(fact)) for k, fact in enumerate(given, 1)]
    replay = _replay_of_ratio(function, rule, claim)
    return Goal(theorem_name, function, (POSITIVE, *hypotheses), wrong, len(paths), replay=replay)


def _function_of_a_ratio(module: ModuleType, function: str) -> Callable[[int, int], int]:
    """The shipped function; a rounding with `exact_ratio` standing for every ratio that it may return."""
    shipped: FunctionType = getattr(module, function)
    if function not in ROUNDINGS:
        return shipped

    def rounded(numerator: int, denominator: int) -> int:
        def ratio_of(name: str, value: object) -> tuple[int, int]:
            if name is not _NAME or value is not _FIGURE:
                raise ProofError(f"{function} asks for the ratio of something that it was not given")
            return numerator, denominator

        code = inspect.unwrap(shipped).__code__
        image: int = FunctionType(code, {**vars(module), "exact_ratio": ratio_of})(_NAME, _FIGURE)
        return image

    return rounded


def _replay_of_ratio(function: str, rule: Callable[[int, int], int], claim: Callable[[int], bool]) -> Replay:
    def replayed(model: Mapping[str, int]) -> Counterexample:
        numerator, denominator = model.get("numerator", 0), model.get("denominator", 1)
        values = ((NUMERATOR, numerator), (DENOMINATOR, denominator), (DIVISOR, 2 * denominator))
        known = [(term_of(symbol), z3.IntVal(value)) for symbol, value in values]
        held = z3.simplify(z3.substitute(term_of(claim(rule(numerator, denominator))), *known))
        ratio = f"{numerator}, {denominator}"
        call = f"quantity.{function}({ratio})"
        if function in ROUNDINGS:
            call = f"quantity.{function}(name, value), where quantity.exact_ratio(name, value) == ({ratio})"
        return Counterexample(call, z3.is_false(held))

    return replayed


def _lemma(theorem_name: str, name: str, claim: bool, *known: bool) -> Goal:
    hypotheses = [(f"known {k}", term_of(fact)) for k, fact in enumerate(known, 1)]
    return Goal(theorem_name, name, (POSITIVE, *hypotheses), term_of(negation(claim)), 0)
