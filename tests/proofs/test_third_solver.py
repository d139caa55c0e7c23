"""bitwuzla proves what fits words, refuses what is broken there, and is not given what does not fit."""

from pathlib import Path

import attrs
import pytest
import z3

from proofs import words
from proofs.bitwuzla_solver import _discharge, discharge_bitwuzla
from proofs.explorer import ProofError
from proofs.goals import Goal
from proofs.prove import discharge_all, results_of
from proofs.solvers import Discharge, Verdict
from proofs.source import shipped_kernel
from proofs.theorems import Subject, goal_on_event, theorems
from proofs.words import DIVISION, LEAST, MOST, REAL, RESTS_ON_PRODUCTS, UnfitError, fit

A, B, C = z3.Ints("a b c")


def test_a_refusal_over_words_shows_in_the_results() -> None:
    run = discharge_all(["refusal_changes_nothing"])
    refused = Discharge(Verdict.REFUTED, model={"state.alpha": 1}, box=31)
    key = ("refusal_changes_nothing.propose", "bitwuzla")
    assert run.answers[key] == Discharge(Verdict.PROVED, box=31)
    (row,) = results_of(run).rows
    assert (row.verdict, row.words) == (Verdict.PROVED, 2)
    for answer in (refused, Discharge(Verdict.UNKNOWN, reason="gave up", box=31)):
        (row,) = results_of(attrs.evolve(run, answers={**run.answers, key: answer})).rows
        assert row.verdict is answer.verdict
        assert row.reason.startswith("propose by bitwuzla")


def test_the_hypotheses_can_hold_on_the_box() -> None:
    """A box on which nothing satisfies the invariant would prove everything."""
    subject = Subject(shipped_kernel())
    for event in ("settle", "observe", "miss", "set_limits"):
        fitted = fit(goal_on_event(theorems()["rate_limit_holds_on_every_event"], subject, event).text())
        premises = attrs.evolve(fitted, assertions=fitted.assertions[:-1])
        assert fitted.box >= 30
        assert _discharge(premises).verdict is Verdict.REFUTED


def test_the_box_is_the_largest_on_which_no_term_leaves_a_word() -> None:
    fitted = fit(_goal(A + B > C + 3))
    assert fitted.box == 61
    assert [str(symbol) for symbol in fitted.symbols] == ["a", "b", "c"]
    assert fit(_goal(A * B > C)).box == 31
    assert fit(_goal(A * A * A > C)).box == 20
    assert fit(_goal(A > MOST)).box == 62


@pytest.mark.parametrize(
    ("claim", "reason"),
    [
        (A > MOST + 1, "a term may leave a word on every box"),
        (A < LEAST - 1, "a term may leave a word on every box"),
        (A * 2**63 > B, "a term may leave a word on every box"),
        (A / B > C, DIVISION),
        (A % 7 > C, DIVISION),
        (z3.ToReal(A) > z3.RealVal("0.5"), REAL),
    ],
)
def test_a_goal_whose_terms_may_leave_a_word_is_not_given(claim: z3.BoolRef, reason: str) -> None:
    answer = discharge_bitwuzla(_goal(claim))
    assert answer == Discharge(Verdict.UNFIT, reason=reason)


def test_overflow_on_the_box_is_what_z3_refutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "_largest_box", lambda terms: 62)
    with pytest.raises(ProofError, match=r"a term may leave a word on the box of 2\^62"):
        fit(_goal(A + B + C > 3))


def test_a_form_that_changes_the_goal_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "_difference", lambda one, other: words._sum(one, other, 1))
    with pytest.raises(ProofError, match="the form changes the goal"):
        fit(_goal(A > B))


def test_a_goal_that_rests_on_a_product_is_not_given_unless_it_is_broken() -> None:
    keeps = z3.And(A >= 0, B >= 0, A * B < 0)
    assert discharge_bitwuzla(_goal(keeps)) == Discharge(Verdict.UNFIT, reason=RESTS_ON_PRODUCTS)
    open_one = discharge_bitwuzla(_goal(z3.And(A >= 0, B < 0, A * B < 0)))
    assert open_one.verdict is Verdict.REFUTED
    assert open_one.model["a"] * open_one.model["b"] < 0


def test_every_operator_keeps_its_meaning_over_words() -> None:
    largest = z3.If(A > B, A, B)
    truths = (
        z3.Xor(A < B, A >= B),
        z3.Implies(A == -B, A + B == 0),
        z3.And(largest >= A, largest >= B, z3.Or(largest == A, largest == B)),
        z3.Distinct(A, A + 1),
        z3.If(A - 2 * B - C <= 5, A <= 5 + C + 2 * B, A > 2 * B + C + 5),
        A * (B + 1) - C < A * (B + 1) - C + 1,
        z3.Or(z3.BoolVal(False), z3.BoolVal(True)),
    )
    for truth in truths:
        assert discharge_bitwuzla(_goal(z3.Not(truth))).verdict is Verdict.PROVED
        assert discharge_bitwuzla(_goal(truth)).verdict is Verdict.REFUTED


def test_an_operator_without_words_is_an_error() -> None:
    with pytest.raises(ProofError, match="no words for the operator f"):
        discharge_bitwuzla(_goal(z3.Function("f", z3.IntSort(), z3.IntSort())(A) > B))


def test_the_report_lists_every_goal_that_is_not_given() -> None:
    report = (Path(__file__).parents[2] / "Ω_Verification_Report.md").read_text(encoding="utf-8")
    third = report.partition("## The third opinion")[2].partition("\n## ")[0]
    assert "`products_keep_order.monotone`" in third
    for reason in (DIVISION, REAL, RESTS_ON_PRODUCTS):
        assert f"- {reason}: `" in third


def test_unfit_is_an_error_of_proofs() -> None:
    assert issubclass(UnfitError, ProofError)


def _goal(refutation: z3.BoolRef) -> str:
    return Goal("words", "one", (), refutation, 0).text()
