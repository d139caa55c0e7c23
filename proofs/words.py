"""Goals over integers as goals over 64-bit words: which ones fit, on which box, and the proof that they do.

A word wraps around where an integer does not. So the figures of a goal are kept in a box, every symbol in
[−2^k, 2^k), and before a word is used Z3 proves over the integers that on this box no term of the goal leaves
the signed range of a word. What is refuted over words is then refuted over the integers of the box.
"""

import functools
import operator
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs
import z3

from proofs.explorer import ProofError
from proofs.solvers import RLIMIT

WORD = 64
LEAST, MOST = -(2 ** (WORD - 1)), 2 ** (WORD - 1) - 1
BOX_MOST = WORD - 2

REAL, DIVISION, RESTS_ON_PRODUCTS = "real numbers", "a division", "rests on what a product is"
"""Reasons for which a goal is not given to a solver of words; the fourth is a term that may leave a word."""

_COMPARISONS = (z3.Z3_OP_LE, z3.Z3_OP_LT, z3.Z3_OP_GE, z3.Z3_OP_GT, z3.Z3_OP_EQ, z3.Z3_OP_DISTINCT)
_DIVISIONS = (z3.Z3_OP_IDIV, z3.Z3_OP_DIV, z3.Z3_OP_MOD, z3.Z3_OP_REM)

_OPERATORS = (
    *_COMPARISONS, z3.Z3_OP_ADD, z3.Z3_OP_SUB, z3.Z3_OP_UMINUS, z3.Z3_OP_MUL, z3.Z3_OP_ITE, z3.Z3_OP_NOT,
    z3.Z3_OP_AND, z3.Z3_OP_OR, z3.Z3_OP_XOR, z3.Z3_OP_IMPLIES, z3.Z3_OP_TRUE, z3.Z3_OP_FALSE, z3.Z3_OP_ANUM,
)  # fmt: skip

Combination = Mapping[int, int]
"""Coefficients of a linear combination, by the number of the atom; `_ONE` is the constant."""

_ONE = -1


class UnfitError(ProofError):
    """A goal that words cannot stand for; the message is the reason."""


@attrs.frozen
class Fitted:
    """A goal in terms that all fit a word.

    Attributes:
        box: The k of the box: every symbol lies in [−2^k, 2^k).
        symbols: The integer symbols, by name.
        assertions: Formulas over integers, equivalent to the goal's; refuted together if the goal is.
    """

    box: int
    symbols: tuple[z3.ArithRef, ...]
    assertions: tuple[z3.BoolRef, ...]


def fit(text: str) -> Fitted:
    """Return an SMT-LIB goal in a form that fits words, on the largest box found.

    Comparisons are put in one form first, without subtraction, so that equal ones are the same to a solver of
    words; that the form changes nothing is proved as well.

    Raises:
        UnfitError: the goal speaks of real numbers, divides, has a term that may leave a word on every box,
            or is proved with its products but not with other numbers in their place.
        ProofError: the goal has an operator that is not known here, or Z3 does not prove what it has to.
    """
    asserted = list(z3.parse_smt2_string(text, ctx=z3.Context()))
    _check_language(asserted)
    form = _Form()
    assertions = tuple(form.of(formula) for formula in asserted)
    _demand_refuted([z3.Xor(one, other) for one, other in form.pairs], (), "the form changes the goal")
    words = _integer_terms(assertions)
    symbols = tuple(sorted(filter(_is_symbol, words), key=str))
    box = _largest_box(words)
    outside = [z3.Or(word < LEAST, word > MOST) for word in words]
    _demand_refuted(outside, _within(symbols, box), f"a term may leave a word on the box of 2^{box}")
    if _rests_on_products(assertions, words):
        raise UnfitError(RESTS_ON_PRODUCTS)
    return Fitted(box, symbols, assertions)


def is_product(term: z3.ExprRef) -> bool:
    """Return whether a term is a product of two unknowns."""
    factors = [factor for factor in term.children() if not z3.is_int_value(factor)]
    return bool(term.decl().kind() == z3.Z3_OP_MUL and len(factors) > 1)


def _check_language(asserted: Iterable[z3.BoolRef]) -> None:
    terms = list(_subterms(asserted))
    if any(z3.is_real(term) for term in terms):
        raise UnfitError(REAL)
    if any(term.decl().kind() in _DIVISIONS for term in terms):
        raise UnfitError(DIVISION)
    for term in terms:
        if not (term.decl().kind() in _OPERATORS or (_is_symbol(term) and z3.is_int(term))):
            raise ProofError(f"no words for the operator {term.decl().name()}")


class _Form:
    """Puts comparisons in one form: sums of positive multiples on both sides of <= or =, no conditional."""

    def __init__(self) -> None:
        self.pairs: list[tuple[z3.BoolRef, z3.BoolRef]] = []
        self._atoms: dict[int, z3.ArithRef] = {}
        self._order: dict[int, int] = {}
        self._known: dict[int, z3.BoolRef] = {}

    def of(self, formula: z3.BoolRef) -> z3.BoolRef:
        """Return a formula with every comparison of integers in that form."""
        found = [term for term in _subterms([formula], stop=_compares_integers) if _compares_integers(term)]
        replaced = [(term, self._comparison(term)) for term in found]
        return z3.substitute(formula, *replaced) if replaced else formula

    def _comparison(self, term: z3.BoolRef) -> z3.BoolRef:
        if term.get_id() not in self._known:
            formed = self._formed(term)
            self._known[term.get_id()] = formed
            self.pairs.append((term, formed))
        return self._known[term.get_id()]

    def _formed(self, term: z3.BoolRef) -> z3.BoolRef:
        kind, (one, other) = term.decl().kind(), map(self._linear, term.children())
        if kind in (z3.Z3_OP_EQ, z3.Z3_OP_DISTINCT):
            equal = self._related(_difference(one, other), operator.eq)
            return equal if kind == z3.Z3_OP_EQ else z3.Not(equal)
        if kind in (z3.Z3_OP_LE, z3.Z3_OP_GT):
            most = self._related(_difference(one, other), operator.le)
            return most if kind == z3.Z3_OP_LE else z3.Not(most)
        least = self._related(_difference(other, one), operator.le)
        return least if kind == z3.Z3_OP_GE else z3.Not(least)

    def _related(self, difference: Combination, relation: Callable[[Any, Any], z3.BoolRef]) -> z3.BoolRef:
        """Return that a combination is at most, or equal to, 0."""
        for number, coefficient in difference.items():
            atom = self._atoms.get(number)
            if atom is not None and atom.decl().kind() == z3.Z3_OP_ITE:
                condition, *branches = atom.children()
                rest = {key: value for key, value in difference.items() if key != number}
                sides = (_sum(rest, self._linear(branch), coefficient) for branch in branches)
                chosen = [self._related(side, relation) for side in sides]
                return z3.If(self.of(condition), *chosen)
        context = next((atom.ctx for atom in self._atoms.values()), None)
        positive = {number: value for number, value in difference.items() if value > 0}
        negative = {number: -value for number, value in difference.items() if value < 0}
        left, right = (self._term(side, context) for side in (positive, negative))
        return relation(left, right)

    def _term(self, side: Combination, context: z3.Context | None) -> z3.ArithRef:
        numbers = sorted((number for number in side if number != _ONE), key=self._order.__getitem__)
        parts = [
            self._atoms[number] if side[number] == 1 else side[number] * self._atoms[number]
            for number in numbers
        ]
        if _ONE in side or not parts:
            parts.append(z3.IntVal(side.get(_ONE, 0), ctx=context))
        return functools.reduce(operator.add, parts)

    def _linear(self, term: z3.ArithRef) -> Combination:
        kind = term.decl().kind()
        if z3.is_int_value(term):
            return {_ONE: term.as_long()}
        if kind in (z3.Z3_OP_ADD, z3.Z3_OP_SUB):
            first, *rest = map(self._linear, term.children())
            sign = 1 if kind == z3.Z3_OP_ADD else -1
            return functools.reduce(lambda total, part: _sum(total, part, sign), rest, first)
        if kind == z3.Z3_OP_UMINUS:
            return _sum({}, self._linear(term.arg(0)), -1)
        if kind == z3.Z3_OP_MUL and not is_product(term):
            factors = [factor.as_long() for factor in term.children() if z3.is_int_value(factor)]
            rest = [self._linear(factor) for factor in term.children() if not z3.is_int_value(factor)]
            return _sum({}, rest[0] if rest else {_ONE: 1}, functools.reduce(operator.mul, factors, 1))
        number = term.get_id()
        self._atoms[number] = term
        self._order.setdefault(number, len(self._order))
        return {number: 1}


def _sum(total: Combination, part: Combination, times: int) -> Combination:
    added = Counter(total)
    for number, coefficient in part.items():
        added[number] += times * coefficient
    return {number: coefficient for number, coefficient in added.items() if coefficient}


def _difference(one: Combination, other: Combination) -> Combination:
    return _sum(one, other, -1)


def _largest_box(words: Sequence[z3.ArithRef]) -> int:
    """Return the largest k on whose box a bound of every term, by size and number of factors, fits a word."""
    bounds: dict[int, Counter[int]] = {}
    for word in words:
        _bound(word, bounds)
    for box in range(BOX_MOST, 0, -1):
        sizes = [sum(many << (box * degree) for degree, many in bound.items()) for bound in bounds.values()]
        if max(sizes, default=0) <= MOST:
            return box
    raise UnfitError("a term may leave a word on every box")


def _bound(term: z3.ExprRef, known: dict[int, Counter[int]]) -> Counter[int]:
    """Return a bound of |term| as a polynomial in the largest |symbol|: coefficient by degree."""
    number = term.get_id()
    if number not in known:
        known[number] = _bound_anew(term, known)
    return known[number]


def _bound_anew(term: z3.ExprRef, known: dict[int, Counter[int]]) -> Counter[int]:
    kind = term.decl().kind()
    if z3.is_int_value(term):
        return Counter({0: abs(term.as_long())})
    if _is_symbol(term):
        return Counter({1: 1})
    parts = [_bound(child, known) for child in term.children() if z3.is_int(child)]
    if kind == z3.Z3_OP_ITE:
        return functools.reduce(operator.or_, parts)
    if kind == z3.Z3_OP_MUL:
        return functools.reduce(_product, parts)
    return functools.reduce(operator.add, parts)


def _product(one: Counter[int], other: Counter[int]) -> Counter[int]:
    product: Counter[int] = Counter()
    for degree, many in one.items():
        for more, times in other.items():
            product[degree + more] += many * times
    return product


def _rests_on_products(assertions: Sequence[z3.BoolRef], words: Sequence[z3.ArithRef]) -> bool:
    """Return whether a goal is refuted with its products, but not with any numbers in their place."""
    products = [word for word in words if is_product(word)]
    if not products:
        return False
    names = [(word, z3.Int(f"product.{k}", ctx=word.ctx)) for k, word in enumerate(products)]
    named = [z3.substitute(formula, *names) for formula in assertions]
    return not _refuted(named) and _refuted(assertions)


def _demand_refuted(
    alternatives: Sequence[z3.BoolRef], hypotheses: Sequence[z3.BoolRef], otherwise: str
) -> None:
    if alternatives and not _refuted([*hypotheses, z3.Or(*alternatives)]):
        raise ProofError(otherwise)


def _refuted(formulas: Sequence[z3.BoolRef]) -> bool:
    solver = z3.SimpleSolver(ctx=formulas[0].ctx)
    solver.set("random_seed", 0)
    solver.set("rlimit", RLIMIT)
    solver.add(*formulas)
    return bool(solver.check() == z3.unsat)


def _within(symbols: Iterable[z3.ArithRef], box: int) -> list[z3.BoolRef]:
    return [z3.And(symbol >= -(2**box), symbol < 2**box) for symbol in symbols]


def _integer_terms(formulas: Iterable[z3.BoolRef]) -> list[z3.ArithRef]:
    return [term for term in _subterms(formulas) if z3.is_int(term)]


def _is_symbol(term: z3.ExprRef) -> bool:
    return bool(term.decl().kind() == z3.Z3_OP_UNINTERPRETED and term.num_args() == 0)


def _compares_integers(term: z3.ExprRef) -> bool:
    return bool(term.decl().kind() in _COMPARISONS and z3.is_int(term.arg(0)))


def _never(_: z3.ExprRef) -> bool:
    return False


def _subterms(
    formulas: Iterable[z3.ExprRef], stop: Callable[[z3.ExprRef], bool] = _never
) -> Iterable[z3.ExprRef]:
    """Every subterm once; what is below one that stops is left out."""
    seen: set[int] = set()
    waiting = list(formulas)
    while waiting:
        term = waiting.pop()
        if term.get_id() not in seen:
            seen.add(term.get_id())
            yield term
            if not stop(term):
                waiting += term.children()
