"""cvc5 answers what it must, checks its proofs, and owns up to what it takes on trust."""

from proofs.cvc5_solver import discharge_cvc5
from proofs.solvers import Discharge, Verdict, discharge_z3
from proofs.stability import SEEDS, find_core, measure_spread, spread_of

INTEGERS = "(set-logic QF_NIA)\n(declare-fun x () Int)\n(declare-fun y () Int)\n"
EXP = "(set-logic QF_NRAT)\n(declare-const x Real)\n(declare-const y Real)\n"
PROVABLE = INTEGERS + "(assert (< x y))\n(assert (< y x))\n(check-sat)\n"
OPEN = INTEGERS + "(assert (< x y))\n(check-sat)\n"
CUBES = INTEGERS + (
    "(declare-fun z () Int)\n(assert (> x 1))\n(assert (> y 1))\n(assert (> z 1))\n"
    "(assert (= (+ (* x x x) (* y y y)) (* z z z)))\n(check-sat)\n"
)


def test_a_claim_is_proved_without_trust() -> None:
    assert discharge_cvc5(PROVABLE) == Discharge(Verdict.PROVED)
    assert discharge_z3(PROVABLE).verdict is Verdict.PROVED


def test_a_claim_that_fails_is_refuted() -> None:
    assert discharge_cvc5(OPEN).verdict is Verdict.REFUTED
    answer = discharge_z3(OPEN)
    assert answer.verdict is Verdict.REFUTED
    assert answer.model["x"] < answer.model["y"]


def test_a_text_without_a_question_is_unknown() -> None:
    answer = discharge_cvc5(INTEGERS)
    assert answer.verdict is Verdict.UNKNOWN
    assert answer.reason == "no answer"


def test_steps_on_trust_are_counted() -> None:
    answer = discharge_cvc5(EXP + "(assert (<= x y))\n(assert (> (exp x) (exp y)))\n(check-sat)\n")
    assert answer.verdict is Verdict.PROVED
    assert sum(answer.trusted.values()) > 0
    assert all("TRUST" in rule for rule in answer.trusted)


def test_spread_of_a_goal_over_seeds() -> None:
    answer = measure_spread(PROVABLE)
    assert answer.verdict is Verdict.PROVED
    assert len(answer.costs) == SEEDS
    assert measure_spread(PROVABLE) == answer
    spread = spread_of((100, 300))
    assert (spread.least, spread.mean, spread.most, spread.variation_permille) == (100, 200, 300, 500)


def test_a_goal_that_fails_under_a_seed_is_unknown() -> None:
    assert measure_spread(OPEN).reason == "not proved under seed 0"
    assert find_core(OPEN).verdict is Verdict.UNKNOWN


def test_the_core_names_the_hypotheses_that_were_used() -> None:
    text = INTEGERS + "(assert (> x 5))\n(assert (> y 7))\n(assert (< x 3))\n(check-sat)\n"
    assert find_core(text).core == (0,)


def test_a_goal_beyond_its_resources_is_unknown() -> None:
    answer = discharge_z3(CUBES, rlimit=100_000)
    assert answer.verdict is Verdict.UNKNOWN
    assert answer.reason
