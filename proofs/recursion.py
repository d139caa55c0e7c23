"""Theorems about the engine's recursion that the loop-gain limit protects, over the reals.

    Ω_t = f_t·m_t,  ‖f_t‖ ≤ 1,  m_t = exp(x_t),  x_t = clamp(λ_t·proj(I_t), −K, K),  I_t = Σ_k w_k Ω_{t−k} Δt

with |proj v| ≤ p‖v‖, W = Σ_k |w_k| Δt and the loop gain c_t = λ_t·p·W. Each goal is one step of the argument,
on scalars; the statements say how the steps are put together, which is argued and not machine-checked. exp
enters by instances of five axioms: it is positive, increasing, at least 1 + x, exp(0) = 1 and
exp(x + y) = exp(x)·exp(y). What else is used of it follows (`consequences_of_the_axioms_of_exp`). cvc5, which
knows exp, proves the axioms but the tangent, and the whole steps of T11 and T12 without them
(`whole_steps_hold_with_native_exp`).
"""

from collections.abc import Iterable
from fractions import Fraction

import z3

from proofs.goals import Goal
from proofs.series import exp_of_minus
from proofs.theorems import Subject, theorem

exp = z3.Function("exp", z3.RealSort(), z3.RealSort())
KAPPA, C, PEAK = z3.Real("kappa"), z3.Real("loop_gain"), z3.Real("peak")
X, Y = z3.Real("x"), z3.Real("y")
LOGIC = "QF_UFNRA"

_NATIVE_SYMBOLS = """(set-logic QF_NRAT)
(declare-const x Real)
(declare-const y Real)
(declare-const kappa Real)
(declare-const c Real)
(declare-const apart Real)
(declare-const next Real)
"""
_NATIVE_NEGATIONS = {
    "exp_is_positive": ("(<= (exp x) 0.0)",),
    "exp_is_increasing": ("(<= x y)", "(> (exp x) (exp y))"),
    "exp_of_zero": ("(not (= (exp 0.0) 1.0))",),
    "exp_of_a_sum": ("(not (= (exp (+ x y)) (* (exp x) (exp y))))",),
    "exponent_stays_below_kappa": (
        "(<= x kappa)", "(<= 0.0 c)", "(<= (* c (exp kappa)) kappa)", "(<= y (* c (exp x)))", "(> y kappa)",
    ),
    "runs_contract": (
        "(<= x kappa)", "(<= 0.0 c)", "(<= 0.0 apart)", "(<= (* c (exp kappa)) kappa)",
        "(<= next (* c (* (exp x) apart)))", "(> next (* kappa apart))",
    ),
    "fold_is_below_one_over_e": ("(> (* FOLD (exp 1.0)) 1.0)",),
    "next_nano_is_above_one_over_e": ("(<= (* NEXT (exp 1.0)) 1.0)",),
}  # fmt: skip

Fact = tuple[str, z3.BoolRef]
Labelled = tuple[Fact, ...]


@theorem("T11")
def exponent_stays_bounded_whatever_the_schedule(_: Subject) -> Iterable[Goal]:
    """If c_t ≤ κ·exp(−κ) for all t, whatever the schedule of α, and the history starts with every m ≤ exp(κ),
    then |λ_t·proj(I_t)| ≤ κ for ever; so the clamp at K ≥ κ never acts. By induction over t: norms are below
    the peak exp(κ) (`omega`), so each term of the window is below its weight times the peak (`window`; W sums
    the weights), so the exponent is at most c·exp(κ) (`drive_projection`, `drive_window`, with c = λ·p·W),
    which is at most κ (`bound_product`, `bound`), so m is at most exp(κ) again (`growth`)."""
    name = "exponent_stays_bounded_whatever_the_schedule"
    norm, m, weight, term = z3.Reals("norm_f m weight norm_term")
    rate, p, w, integral, projected = z3.Reals("rate p total_weight norm_integral projection")
    exponent, gain, k_max = z3.Reals("exponent gain k_max")
    yield _goal(
        name, "omega", norm * m <= PEAK, norm >= 0, norm <= 1, m > 0, m <= PEAK,
        facts=(_product(m, norm, z3.RealVal(1)),),
    )  # fmt: skip
    yield _goal(
        name, "window", weight * term <= weight * PEAK,
        weight >= 0, term <= PEAK, facts=(_product(weight, term, PEAK),),
    )  # fmt: skip
    yield _goal(
        name, "drive_projection", rate * projected <= rate * p * integral,
        rate >= 0, projected <= p * integral, facts=(_product(rate, projected, p * integral),),
    )  # fmt: skip
    yield _goal(
        name, "drive_window", rate * p * integral <= rate * p * w * PEAK,
        rate * p >= 0, integral <= w * PEAK, facts=(_product(rate * p, integral, w * PEAK),),
    )  # fmt: skip
    yield _goal(
        name, "bound_product", exp(KAPPA) * C <= exp(KAPPA) * (KAPPA * exp(-KAPPA)), KAPPA * exp(-KAPPA) >= C,
        facts=(_positive(KAPPA), _product(exp(KAPPA), C, KAPPA * exp(-KAPPA))),
    )  # fmt: skip
    yield _goal(
        name, "bound", exponent <= KAPPA,
        exponent <= gain, gain <= exp(KAPPA) * (KAPPA * exp(-KAPPA)), facts=(_reciprocal(KAPPA, KAPPA),),
    )  # fmt: skip
    yield _goal(name, "growth", exp(X) <= exp(KAPPA), X <= KAPPA, facts=(_monotone(X, KAPPA),))
    clamped = z3.If(-k_max > X, -k_max, z3.If(k_max < X, k_max, X))
    yield _goal(name, "clamp", clamped == X, X <= KAPPA, -KAPPA <= X, k_max >= KAPPA)


@theorem("T12")
def runs_contract_by_kappa_per_window(_: Subject) -> Iterable[Goal]:
    """Hypotheses: those of T11, and κ < 1. Two runs under the same inputs and the same α(t) approach each
    other: where exponents differ by at most D over one window, they differ by at most κ·D in every later
    cycle, so by at most κ^n·D after n windows. The growth factors differ by at most exp(κ)·D (`mean_value`,
    with D = x − y), so the next exponents by at most c·exp(κ)·D (as `window` and `drive` of T11), so by at
    most κ·D (`contraction`, with c·exp(κ) ≤ κ by `bound` of T11), which is no more than D: what bounds a
    window bounds the next (`window_keeps`)."""
    name = "runs_contract_by_kappa_per_window"
    apart, exponents, gain = z3.Reals("apart exponents_apart gain")
    yield _goal(
        name, "mean_value", exp(X) - exp(X - apart) <= exp(KAPPA) * apart, apart >= 0, X <= KAPPA,
        facts=(_monotone(X, KAPPA), _tangent(X - apart, X, -apart), _product(apart, exp(X), exp(KAPPA))),
    )  # fmt: skip
    yield _goal(
        name, "contraction", exponents <= KAPPA * apart,
        apart >= 0, exponents <= gain * apart, gain <= KAPPA, facts=(_product(apart, gain, KAPPA),),
    )  # fmt: skip
    yield _goal(
        name, "window_keeps", exponents <= apart,
        apart >= 0, KAPPA < 1, exponents <= KAPPA * apart, facts=(_product(apart, KAPPA, z3.RealVal(1)),),
    )  # fmt: skip


@theorem("T12")
def whole_steps_hold_with_native_exp(subject: Subject) -> Iterable[Goal]:
    """For cvc5 alone, which knows exp itself: exp is positive and increasing, exp(0) = 1, exp(x + y) =
    exp(x)·exp(y); exponents x ≤ κ with c·exp(κ) ≤ κ give a next exponent y ≤ c·exp(x) that is at most κ, and
    a next difference of at most κ times the one before; LOOP_GAIN_FOLD·e ≤ 10⁹ < (LOOP_GAIN_FOLD + 1)·e."""
    fold = int(subject.kernel.limits.LOOP_GAIN_FOLD)
    figures = {"FOLD": f"(/ {fold}.0 1000000000.0)", "NEXT": f"(/ {fold + 1}.0 1000000000.0)"}
    for name, negation in _NATIVE_NEGATIONS.items():
        asserted = "".join(f"(assert {formula})\n" for formula in negation)
        for symbol, figure in figures.items():
            asserted = asserted.replace(symbol, figure)
        script = f"; whole_steps_hold_with_native_exp: {name}\n{_NATIVE_SYMBOLS}{asserted}(check-sat)\n"
        yield Goal(
            "whole_steps_hold_with_native_exp", name, (), z3.BoolVal(False), 0, "QF_NRAT",
            means=("cvc5",), script=script,
        )  # fmt: skip


@theorem("T12")
def above_the_fold_nothing_is_fixed(_: Subject) -> Iterable[Goal]:
    """y = c·exp(y) has no solution for c > 1/e: the gain g = c·e exceeds 1 (`gain_exceeds_one`), a solution
    would be positive (`fixed_is_positive`), with g·y ≤ y because e·y ≤ exp(y) (`tangent`, `fixed_is_above`),
    and g·y > y (`no_fixed_point`). And no κ gives a bound κ·exp(−κ) above 1/e: e·κ ≤ exp(κ), times
    exp(−κ)·exp(−1) (`scaled_tangent`, `largest_bound`). At the fold the guarantee ends, whatever κ is."""
    name = "above_the_fold_nothing_is_fixed"
    one, e, gain = z3.RealVal(1), exp(z3.RealVal(1)), z3.Real("gain")
    unit, other = z3.Reals("exp_one_times_exp_minus_one exp_kappa_times_exp_minus_kappa")
    yield _goal(
        name, "gain_exceeds_one", C * e > 1, exp(-one) < C,
        facts=(_positive(one), _reciprocal(one, one), _strict_product(e, exp(-one), C)),
    )  # fmt: skip
    yield _goal(
        name, "fixed_is_positive", Y > 0, C > 0, C * exp(Y) == Y,
        facts=(_positive(Y), _strict_product(C, z3.RealVal(0), exp(Y))),
    )  # fmt: skip
    yield _goal(name, "tangent", e * Y <= exp(Y), facts=(_tangent(Y, one, Y - 1),))
    yield _goal(
        name, "fixed_is_above", C * (e * Y) <= C * exp(Y),
        C > 0, e * Y <= exp(Y), facts=(_product(C, e * Y, exp(Y)),),
    )  # fmt: skip
    yield _goal(name, "no_fixed_point", gain * Y > Y, Y > 0, gain > 1, facts=(_strict_product(Y, one, gain),))
    below, at = exp(-KAPPA), exp(-one)
    yield _goal(
        name, "scaled_tangent", below * at * (e * KAPPA) <= below * at * exp(KAPPA),
        below * at >= 0, e * KAPPA <= exp(KAPPA), facts=(_product(below * at, e * KAPPA, exp(KAPPA)),),
    )  # fmt: skip
    yield _goal(
        name, "largest_bound", KAPPA * below <= at,
        KAPPA * below * unit <= at * other, unit == 1, other == 1,
    )  # fmt: skip


@theorem("T11")
def consequences_of_the_axioms_of_exp(_: Subject) -> Iterable[Goal]:
    """exp(x)·exp(−x) = 1, and exp(y)·(1 + d) ≤ exp(y)·exp(d) = exp(y + d): the two further facts about exp
    that T11 and T12 use."""
    name = "consequences_of_the_axioms_of_exp"
    zero, gap = z3.RealVal(0), z3.Real("gap")
    at_zero = ("axiom: exp(0) = 1", exp(zero) == 1)
    sum_to_zero = ("axiom: exp(x + y) = exp(x)·exp(y)", exp(zero) == exp(X) * exp(-X))
    tangent = ("axiom: exp(x) is at least 1 + x", exp(gap) >= 1 + gap)
    yield _goal(name, "reciprocal", exp(X) * exp(-X) == 1, facts=(at_zero, sum_to_zero))
    yield _goal(
        name, "tangents", exp(Y) * (1 + gap) <= exp(Y) * exp(gap),
        facts=(tangent, _positive(Y), _product(exp(Y), 1 + gap, exp(gap))),
    )  # fmt: skip


@theorem("T11")
def products_keep_order_over_the_reals(_: Subject) -> Iterable[Goal]:
    """0 ≤ s and a ≤ b give s·a ≤ s·b; 0 < s and a < b give s·a < s·b; non-negative factors have a
    non-negative product: the facts about products of which T11 and T12 use instances."""
    s, a, b = z3.Reals("s a b")
    for name, (_label, fact) in {
        "order": _product(s, a, b), "strict_order": _strict_product(s, a, b), "sign": _sign(a, b),
    }.items():  # fmt: skip
        yield Goal("products_keep_order_over_the_reals", name, (), z3.Not(fact), 0, LOGIC)


@theorem("T12")
def fold_is_the_largest_nano_below_one_over_e(subject: Subject) -> Iterable[Goal]:
    """LOOP_GAIN_FOLD ≤ 10⁹/e < LOOP_GAIN_FOLD + 1: no policy may set c_max above the fold. 1/e is enclosed by
    two partial sums of its alternating series."""
    fold, below, above = subject.kernel.limits.LOOP_GAIN_FOLD, *exp_of_minus(Fraction(1))
    value, nano = z3.Real("one_over_e"), z3.RealVal(10**9)
    enclosed = (
        ("axiom: series from below", _rational(below) <= value),
        ("axiom: series from above", value <= _rational(above)),
    )
    claim = z3.And(z3.RealVal(int(fold)) <= nano * value, nano * value < z3.RealVal(int(fold) + 1))
    yield Goal("fold_is_the_largest_nano_below_one_over_e", "fold", enclosed, z3.Not(claim), 0, "QF_LRA")


def _goal(theorem_name: str, name: str, claim: z3.BoolRef, *known: z3.BoolRef, facts: Labelled = ()) -> Goal:
    hypotheses = tuple((f"known {k}", fact) for k, fact in enumerate(known, 1))
    return Goal(theorem_name, name, (*hypotheses, *facts), z3.Not(claim), 0, LOGIC)


def _positive(x: z3.ArithRef) -> Fact:
    return "axiom: exp is positive", exp(x) > 0


def _reciprocal(x: z3.ArithRef, factor: z3.ArithRef) -> Fact:
    return "consequence: exp(x)·exp(−x) = 1", factor * exp(x) * exp(-x) == factor


def _monotone(x: z3.ArithRef, y: z3.ArithRef) -> Fact:
    return "axiom: exp is increasing", z3.Implies(x <= y, exp(x) <= exp(y))


def _tangent(x: z3.ArithRef, y: z3.ArithRef, gap: z3.ArithRef) -> Fact:
    return "consequence: exp lies above its tangents", exp(x) >= exp(y) + exp(y) * gap


def _product(s: z3.ArithRef, a: z3.ArithRef, b: z3.ArithRef) -> Fact:
    return "product keeps order", z3.Implies(z3.And(s >= 0, a <= b), s * a <= s * b)


def _strict_product(s: z3.ArithRef, a: z3.ArithRef, b: z3.ArithRef) -> Fact:
    return "product keeps strict order", z3.Implies(z3.And(s > 0, a < b), s * a < s * b)


def _sign(a: z3.ArithRef, b: z3.ArithRef) -> Fact:
    return "product of signs", z3.Implies(z3.And(a >= 0, b >= 0), a * b >= 0)


def _rational(value: Fraction) -> z3.RatNumRef:
    return z3.Q(value.numerator, value.denominator)
