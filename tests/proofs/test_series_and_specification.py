"""Certified constants, and a specification that is a table and nothing else."""

import ast
import itertools
import math
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attunement.policy import loop_gain_bound
from kernel.limits import CYCLE_LAST, LOOP_GAIN_FOLD, TOLERANCE_LAST
from kernel.quantity import NANO, Nano
from proofs import Verdict, series, specification
from proofs.explorer import ProofError
from proofs.series import exp_of_minus, largest_loop_gain
from proofs.solvers import discharge_z3
from proofs.source import kernel_from, shipped_kernel
from proofs.theorems import Subject, theorems

CONTROL = (
    ast.If, ast.IfExp, ast.For, ast.While, ast.Try, ast.With, ast.BoolOp, ast.Not, ast.Assert, ast.Raise,
    ast.ListComp, ast.GeneratorExp, ast.SetComp, ast.DictComp, ast.Lambda, ast.Match, ast.Yield,
)  # fmt: skip


@settings(deadline=None)
@given(st.integers(min_value=0, max_value=NANO))
def test_series_encloses_exp(kappa: int) -> None:
    below, above = exp_of_minus(Fraction(kappa, NANO))
    assert below <= above <= below + Fraction(1, 10**40)
    assert math.isclose(float(below), math.exp(-kappa / NANO), rel_tol=1e-14)


@settings(deadline=None)
@given(st.integers(min_value=1, max_value=NANO))
def test_the_loop_gain_limit_of_the_policy_is_the_certified_one(kappa: int) -> None:
    assert loop_gain_bound(Nano(kappa)) == largest_loop_gain(Fraction(kappa, NANO))


def test_the_fold_is_the_largest_loop_gain_of_all() -> None:
    assert largest_loop_gain(Fraction(1)) == LOOP_GAIN_FOLD
    assert largest_loop_gain(Fraction(9, 10)) == 365_912_693
    assert largest_loop_gain(Fraction(0)) == 0


@pytest.mark.parametrize("kappa", [Fraction(-1, 10), Fraction(11, 10)])
def test_kappa_outside_its_range_is_an_error(kappa: Fraction) -> None:
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        exp_of_minus(kappa)


def test_an_enclosure_that_does_not_decide_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series, "TERMS", 4)
    with pytest.raises(ValueError, match="4 terms do not decide the last nano"):
        largest_loop_gain(Fraction(9, 10))


def test_the_specification_has_no_control_flow_and_does_not_know_the_rules() -> None:
    tree = ast.parse(Path(specification.__file__).read_text(encoding="utf-8"))
    assert [node for node in ast.walk(tree) if isinstance(node, CONTROL)] == []
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported == {"collections.abc", "typing", "kernel.limits", "kernel.state", "proofs.symbols"}


def test_the_constants_of_the_kernel_are_the_specified_ones() -> None:
    assert (CYCLE_LAST, LOOP_GAIN_FOLD, TOLERANCE_LAST, NANO) == (
        specification.LAST, specification.FOLD, specification.TOLERANCE_LAST, specification.NANO,
    )  # fmt: skip


UP, DOWN, NEAREST = (
    "-(-numerator * NANO // denominator)",
    "    return numerator * NANO // denominator",
    "2 * numerator * NANO + denominator",
)
CALLED = {
    "rounding_up_hides_no_excess": "ceil_ratio(*exact_ratio(name, value))",
    "rounding_down_hides_no_shortfall": "floor_ratio(*exact_ratio(name, value))",
    "rounding_to_nearest_is_within_half_a_unit": "nearest_ratio(*exact_ratio(name, value))",
}
"""What each rounding that the kernel calls does, by the theorem about it."""


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("rounding_up_hides_no_excess", UP, "numerator * NANO // denominator"),
        ("rounding_up_hides_no_excess", UP, "numerator * NANO // denominator + 1"),
        ("rounding_down_hides_no_shortfall", DOWN, f"    return {UP}"),
        ("rounding_to_nearest_is_within_half_a_unit", NEAREST, "2 * numerator * NANO - denominator"),
        *(
            (name, old, new)
            for (name, old), new in itertools.product(CALLED.items(), CALLED.values())
            if old != new
        ),
    ],
)
def test_a_rounding_towards_the_proposer_is_refused(name: str, old: str, new: str) -> None:
    source = shipped_kernel().sources["quantity"]
    assert source.count(old) == 1
    changed = Subject(kernel_from(quantity=source.replace(old, new)))
    answers = [(goal, discharge_z3(goal.text())) for goal in theorems()[name].goals(changed)]
    refuted = [(goal, answer.model) for goal, answer in answers if answer.verdict is Verdict.REFUTED]
    assert refuted
    shipped = {goal.name: goal.replay for goal in theorems()[name].goals(Subject(shipped_kernel()))}
    for goal, model in refuted:
        assert goal.replay is not None
        assert goal.replay(model).confirmed
        assert goal.replay(model).call.startswith(f"quantity.{goal.name}(")
        kept = shipped[goal.name]
        assert kept is not None
        assert not kept(model).confirmed


def test_a_rounding_that_asks_for_another_ratio_is_refused() -> None:
    source = shipped_kernel().sources["quantity"]
    changed = source.replace("ceil_ratio(*exact_ratio(name, value))", "ceil_ratio(*exact_ratio(name, name))")
    assert changed != source
    with pytest.raises(ProofError, match="round_up asks for the ratio of something"):
        list(theorems()["rounding_up_hides_no_excess"].goals(Subject(kernel_from(quantity=changed))))
