"""The second opinion: cvc5 discharges the exported text again, and its proof is checked step by step."""

from collections import Counter

import cvc5

from proofs.solvers import Discharge, Verdict


def discharge_cvc5(text: str) -> Discharge:
    """Discharge an SMT-LIB text by cvc5, with its internal proof checker on.

    The proof is walked: steps that the checker takes on trust are counted, by rule, in the answer.
    """
    solver = cvc5.Solver()
    for option, value in (
        ("seed", "0"),
        ("produce-proofs", "true"),
        ("check-proofs", "true"),
        ("proof-granularity", "dsl-rewrite"),
    ):
        solver.setOption(option, value)
    parser = cvc5.InputParser(solver)
    parser.setStringInput(cvc5.InputLanguage.SMT_LIB_2_6, text, "goal")
    answer = ""
    while not (command := parser.nextCommand()).isNull():
        answer = command.invoke(solver, parser.getSymbolManager()).strip() or answer
    if answer == "unsat":
        return Discharge(Verdict.PROVED, trusted=_trusted(solver))
    if answer == "sat":
        return Discharge(Verdict.REFUTED)
    return Discharge(Verdict.UNKNOWN, reason=answer or "no answer")


def _trusted(solver: cvc5.Solver) -> dict[str, int]:
    rules: Counter[str] = Counter()
    waiting = list(solver.getProof())
    seen = set()
    while waiting:
        step = waiting.pop()
        if step in seen:
            continue
        seen.add(step)
        rule = str(step.getRule()).removeprefix("ProofRule.")
        if "TRUST" in rule:
            rules[rule] += 1
        waiting += step.getChildren()
    return dict(sorted(rules.items()))
