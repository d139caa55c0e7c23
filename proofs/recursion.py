"""Theorems about the engine's recursion that the loop-gain limit protects, over the reals.

    Ω_t = f_t·m_t,  ‖f_t‖ ≤ 1,  m_t = exp(x_t),  x_t = clamp(λ_t·proj(I_t), −K, K),  I_t = Σ_k w_k Ω_{t−k} Δt

with |proj v| ≤ p‖v‖, W = Σ_k |w_k| Δt and the loop gain c_t = λ_t·p·W. Each goal is one step of the argument,
on scalars; the statements say how the steps are put together, which is argued and not machine-checked. exp
enters by instances of stated axioms; cvc5 proves the same goals again with its own exp and without the
axioms.
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

Fact = tuple[str, z3.BoolRef]
Labelled = tuple[Fact, ...]


@theorem("T11")
def exponent_stays_bounded_whatever_the_schedule(_: Subject) -> Iterable[Goal]:
    """If c_t ≤ κ·exp(−κ) for all t, whatever the schedule of α, and the history starts with every m ≤ exp(κ),
    then |λ_t·proj(I_t)| ≤ κ for ever; so the clamp at K ≥ κ never acts. By induction over t: norms are below
    the peak exp(κ) (`omega`), so is the weighted window (`window`, once for each term), so the exponent is at
    most c·exp(κ) (`drive_projection`, `drive_window`, with c = λ·p·W), which is at most κ (`bound`), so m is
    at most exp(κ) again (`growth`)."""
    name = "exponent_stays_bounded_whatever_the_schedule"
    norm, m, weight, total, term = z3.Reals("norm_f m weight total norm_term")
    rate, p, w, integral, projected = z3.Reals("rate p total_weight norm_integral projection")
    exponent, k_max = z3.Reals("exponent k_max")
    yield _goal(
        name, "omega", norm * m <= PEAK, 0 <= norm, norm <= 1, 0 < m, m <= PEAK,
        facts=(_product(m, norm, z3.RealVal(1)),),
    )  # fmt: skip
    yield _goal(
        name, "window", total + weight * term <= w * PEAK + weight * PEAK,
        total <= w * PEAK, 0 <= weight, term <= PEAK, facts=(_product(weight, term, PEAK),),
    )  # fmt: skip
    yield _goal(
        name, "drive_projection", rate * projected <= rate * p * integral,
        0 <= rate, projected <= p * integral, facts=(_product(rate, projected, p * integral),),
    )  # fmt: skip
    yield _goal(
        name, "drive_window", rate * p * integral <= rate * p * w * PEAK,
        0 <= rate * p, integral <= w * PEAK, facts=(_product(rate * p, integral, w * PEAK),),
    )  # fmt: skip
    yield _goal(
        name, "bound", exponent <= KAPPA,
        exponent <= C * exp(KAPPA), C <= KAPPA * exp(-KAPPA),
        facts=(_positive(KAPPA), _reciprocal(KAPPA, KAPPA), _product(exp(KAPPA), C, KAPPA * exp(-KAPPA))),
    )  # fmt: skip
    yield _goal(name, "growth", exp(X) <= exp(KAPPA), X <= KAPPA, facts=(_monotone(X, KAPPA),))
    clamped = z3.If(X < -k_max, -k_max, z3.If(X > k_max, k_max, X))
    yield _goal(name, "clamp", clamped == X, X <= KAPPA, -KAPPA <= X, KAPPA <= k_max)


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
        name, "mean_value", exp(X) - exp(X - apart) <= exp(KAPPA) * apart, 0 <= apart, X <= KAPPA,
        facts=(_monotone(X, KAPPA), _tangent(X - apart, X, -apart), _product(apart, exp(X), exp(KAPPA))),
    )  # fmt: skip
    yield _goal(
        name, "contraction", exponents <= KAPPA * apart,
        0 <= apart, exponents <= gain * apart, gain <= KAPPA, facts=(_product(apart, gain, KAPPA),),
    )  # fmt: skip
    yield _goal(
        name, "window_keeps", exponents <= apart,
        0 <= apart, KAPPA < 1, exponents <= KAPPA * apart, facts=(_product(apart, KAPPA, z3.RealVal(1)),),
    )  # fmt: skip


@theorem("T12")
def above_the_fold_nothing_is_fixed(_: Subject) -> Iterable[Goal]:
    """y = c·exp(y) has no solution for c > 1/e: the gain g = c·e exceeds 1 (`gain_exceeds_one`), a solution
    would be positive (`fixed_is_positive`) with g·y ≤ y (`fixed_is_above`), and g·y > y (`no_fixed_point`).
    And no κ gives a bound κ·exp(−κ) above 1/e (`tangent_at_one`, `largest_bound`): at the fold the guarantee
    ends, whatever κ is."""
    name = "above_the_fold_nothing_is_fixed"
    one, e, gain = z3.RealVal(1), exp(z3.RealVal(1)), z3.Real("gain")
    yield _goal(
        name, "gain_exceeds_one", C * e > 1, C > exp(-one),
        facts=(_positive(one), _reciprocal(one, one), _strict_product(e, exp(-one), C)),
    )  # fmt: skip
    yield _goal(
        name, "fixed_is_positive", Y > 0, 0 < C, C * exp(Y) == Y,
        facts=(_positive(Y), _strict_product(C, z3.RealVal(0), exp(Y))),
    )  # fmt: skip
    yield _goal(
        name, "fixed_is_above", C * e * Y <= Y, 0 < C, C * exp(Y) == Y,
        facts=(_tangent(Y, one, Y - 1), _product(C, e * Y, exp(Y))),
    )  # fmt: skip
    yield _goal(
        name, "no_fixed_point", gain * Y > Y, 0 < Y, 1 < gain, facts=(_strict_product(Y, one, gain),)
    )
    below, at = exp(-KAPPA), exp(-one)
    yield _goal(
        name, "tangent_at_one", below * at * (e * KAPPA) <= below * at * exp(KAPPA),
        facts=(_positive(-KAPPA), _positive(-one), _sign(below, at), _tangent(KAPPA, one, KAPPA - 1),
               _product(below * at, e * KAPPA, exp(KAPPA))),
    )  # fmt: skip
    yield _goal(
        name, "largest_bound", KAPPA * below <= at, below * at * (e * KAPPA) <= below * at * exp(KAPPA),
        facts=(_reciprocal(one, KAPPA * below), _reciprocal(KAPPA, at)),
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
    return "axiom: exp(x)·exp(−x) = 1", factor * exp(x) * exp(-x) == factor


def _monotone(x: z3.ArithRef, y: z3.ArithRef) -> Fact:
    return "axiom: exp is increasing", z3.Implies(x <= y, exp(x) <= exp(y))


def _tangent(x: z3.ArithRef, y: z3.ArithRef, gap: z3.ArithRef) -> Fact:
    return "axiom: exp lies above its tangents", exp(x) >= exp(y) + exp(y) * gap


def _product(s: z3.ArithRef, a: z3.ArithRef, b: z3.ArithRef) -> Fact:
    return "product keeps order", z3.Implies(z3.And(s >= 0, a <= b), s * a <= s * b)


def _strict_product(s: z3.ArithRef, a: z3.ArithRef, b: z3.ArithRef) -> Fact:
    return "product keeps strict order", z3.Implies(z3.And(s > 0, a < b), s * a < s * b)


def _sign(a: z3.ArithRef, b: z3.ArithRef) -> Fact:
    return "product of signs", z3.Implies(z3.And(a >= 0, b >= 0), a * b >= 0)


def _rational(value: Fraction) -> z3.RatNumRef:
    return z3.Q(value.numerator, value.denominator)
