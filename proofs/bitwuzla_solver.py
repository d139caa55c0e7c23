"""The third opinion: bitwuzla discharges a goal over 64-bit words, where it fits them (`proofs.words`)."""

from collections.abc import Sequence

import bitwuzla
import z3
from bitwuzla import Kind, Option, Result

from proofs.solvers import Discharge, Verdict
from proofs.words import WORD, Fitted, UnfitError, fit

_KINDS = {
    z3.Z3_OP_ADD: Kind.BV_ADD,
    z3.Z3_OP_SUB: Kind.BV_SUB,
    z3.Z3_OP_UMINUS: Kind.BV_NEG,
    z3.Z3_OP_MUL: Kind.BV_MUL,
    z3.Z3_OP_LE: Kind.BV_SLE,
    z3.Z3_OP_GE: Kind.BV_SGE,
    z3.Z3_OP_EQ: Kind.EQUAL,
    z3.Z3_OP_ITE: Kind.ITE,
    z3.Z3_OP_NOT: Kind.NOT,
    z3.Z3_OP_AND: Kind.AND,
    z3.Z3_OP_OR: Kind.OR,
    z3.Z3_OP_XOR: Kind.XOR,
    z3.Z3_OP_IMPLIES: Kind.IMPLIES,
}
_JOINING = (z3.Z3_OP_AND, z3.Z3_OP_OR, z3.Z3_OP_ADD, z3.Z3_OP_MUL)


def discharge_bitwuzla(text: str) -> Discharge:
    """Discharge an SMT-LIB text over words; UNFIT, with the reason, if words cannot stand for it.

    Raises:
        ProofError: see `proofs.words.fit`.
    """
    try:
        fitted = fit(text)
    except UnfitError as error:
        return Discharge(Verdict.UNFIT, reason=str(error))
    return _discharge(fitted)


def _discharge(fitted: Fitted) -> Discharge:
    words = _Words()
    least, most = (words.value(bound) for bound in (-(2**fitted.box), 2**fitted.box - 1))
    options = bitwuzla.Options()
    options.set(Option.SEED, 0)
    options.set(Option.PRODUCE_MODELS, True)
    solver = bitwuzla.Bitwuzla(words.manager, options)
    for symbol in fitted.symbols:
        word = words.of(symbol)
        solver.assert_formula(words.term(Kind.BV_SLE, [least, word]), words.term(Kind.BV_SLE, [word, most]))
    solver.assert_formula(*map(words.of, fitted.assertions))
    answer = solver.check_sat()
    if answer is Result.UNSAT:
        return Discharge(Verdict.PROVED, box=fitted.box)
    if answer is Result.SAT:
        found = {str(symbol): _signed(solver.get_value(words.of(symbol))) for symbol in fitted.symbols}
        return Discharge(Verdict.REFUTED, model=found, box=fitted.box)
    return Discharge(Verdict.UNKNOWN, reason="bitwuzla gave up", box=fitted.box)


class _Words:
    """Carries Z3's terms over, one operator for one."""

    def __init__(self) -> None:
        self.manager = bitwuzla.TermManager()
        self._sort = self.manager.mk_bv_sort(WORD)
        self._known: dict[int, bitwuzla.Term] = {}

    def of(self, term: z3.ExprRef) -> bitwuzla.Term:
        number = term.get_id()
        if number not in self._known:
            self._known[number] = self._of(term)
        return self._known[number]

    def value(self, number: int) -> bitwuzla.Term:
        return self.manager.mk_bv_value(self._sort, number)

    def term(self, kind: Kind, parts: Sequence[bitwuzla.Term]) -> bitwuzla.Term:
        return self.manager.mk_term(kind, parts)

    def _of(self, term: z3.ExprRef) -> bitwuzla.Term:
        kind, parts = term.decl().kind(), [self.of(child) for child in term.children()]
        if z3.is_int_value(term):
            return self.value(term.as_long())
        if z3.is_true(term) or z3.is_false(term):
            return self.manager.mk_true() if z3.is_true(term) else self.manager.mk_false()
        if kind == z3.Z3_OP_UNINTERPRETED:
            return self.manager.mk_const(self._sort, term.decl().name())
        return parts[0] if len(parts) == 1 and kind in _JOINING else self.term(_KINDS[kind], parts)


def _signed(word: bitwuzla.Term) -> int:
    value = int(word.value(10))
    return value - 2**WORD if value >= 2 ** (WORD - 1) else value
