"""Every theorem is registered, proved, and fails on the kernel that breaks it."""

import ast
import functools
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import z3

import proofs
from proofs import Verdict
from proofs.certificate import CERTIFICATE, ROOT, build_theorems
from proofs.events import UncoveredRuleError, concrete_arguments, replay
from proofs.explorer import ProofError
from proofs.goals import Goal
from proofs.prove import (
    THEOREM_MODULES,
    Results,
    UnknownTheoremError,
    discharge_all,
    explain,
    prove_all,
    render_table,
    results_of,
)
from proofs.quantity import ROUNDINGS
from proofs.solvers import discharge_z3
from proofs.source import BOUNDARY_FUNCTIONS, Kernel, kernel_from, shipped_kernel
from proofs.theorems import Subject, claim_on, theorem, theorems

RULES = shipped_kernel().sources["rules"]


def test_every_theorem_is_proved_and_is_the_certified_one() -> None:
    run = discharge_all()
    results = results_of(run)
    assert {row.name: row.verdict for row in results.rows} == dict.fromkeys(theorems(), Verdict.PROVED)
    assert results.proved
    assert not any(row.counterexample or row.reason for row in results.rows)
    assert render_table(results).row_count == len(theorems())
    certified = json.loads((ROOT / CERTIFICATE).read_text(encoding="utf-8"))
    assert certified["kernel"]["digest"] == shipped_kernel().digest
    assert _costs_and_hashes(certified["theorems"]) == _costs_and_hashes(build_theorems(run))


def test_a_refused_kernel_shows_in_the_results() -> None:
    unlatching = _changed("_keep(state, state.mode, state.alpha)", "_keep(state, READY, state.alpha)")
    results = prove_all(["T5"], kernel=unlatching)
    (row,) = results.rows
    assert not results.proved
    assert row.verdict is Verdict.REFUTED
    assert row.reason.startswith("recover")
    assert row.counterexample.startswith("rules.recover(State(mode=<Mode.")


def test_a_theorem_is_explained() -> None:
    text, proved = explain("products_keep_order")
    assert proved
    assert text.splitlines()[0] == "T10 products_keep_order: proved"
    assert "  hypotheses: denominator is positive" in text
    assert "  goals: monotone (by z3, cvc5, bitwuzla)" in text


def test_nothing_proved_is_no_proof() -> None:
    assert not Results(()).proved
    assert not prove_all([]).proved


def test_progress_is_told_for_every_goal() -> None:
    told: list[tuple[int, int, str]] = []
    prove_all(["T5", "rate_limit_holds_on_every_event"], lambda *step: told.append(step))
    assert [done for done, _, _ in told] == list(range(1, 61))
    assert {count for _, count, _ in told} == {60}
    assert {name for _, _, name in told} == {
        "only_an_authorised_approval_unlatches", "rate_limit_holds_on_every_event",
    }  # fmt: skip


def test_an_unknown_theorem_is_an_error() -> None:
    with pytest.raises(UnknownTheoremError, match="no theorem T99"):
        prove_all(["T99"])


def test_a_rule_without_an_obligation_is_refused() -> None:
    extra = RULES + "\n\ndef reset(state: State) -> Transition:\n    return recover(state)\n"
    with pytest.raises(UncoveredRuleError, match="reset"):
        prove_all(["T1"], kernel=kernel_from(rules=extra))
    with pytest.raises(UncoveredRuleError, match="freeze takes 2"):
        prove_all(
            ["T1"], kernel=_changed("def freeze(state: State)", "def freeze(state: State, force: bool)")
        )


def test_every_function_of_the_kernel_is_reached_by_an_obligation() -> None:
    kernel = kernel_from()
    modules = (kernel.rules, kernel.limits, kernel.quantity)
    reached: set[str] = set()
    functions: set[str] = set()
    for module in modules:
        for name, value in list(vars(module).items()):
            ours = inspect.isfunction(value) and value.__module__.startswith("kernel.")
            # From Python 3.14 on, what evaluates a module's annotations is a function in it.
            if ours and name not in {*BOUNDARY_FUNCTIONS, "__annotate__"}:
                functions.add(f"{value.__module__}.{name}")
                setattr(module, name, _noting(value, reached))
    subject = Subject(kernel)
    exactness = [item for item in theorems().values() if item.identifier in ("T7", "T10")]
    goals = [goal for item in exactness for goal in item.goals(subject)]
    # A rounding is run apart from its module, so that its ratio can be any; its goal is named for it.
    reached |= {f"kernel.quantity.{goal.name}" for goal in goals if goal.name in ROUNDINGS}
    assert len(goals) > 40
    assert len(functions) > 25
    assert functions - reached == set()


def test_every_module_of_theorems_is_registered_and_states_what_it_claims() -> None:
    registered = set(theorems())
    folder = Path(proofs.__file__).parent
    for path in folder.glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.decorator_list and _registers(node):
                assert node.name in registered
                assert f"proofs.{path.stem}" in {module.__name__ for module in THEOREM_MODULES}
    for item in theorems().values():
        assert len(item.statement.split()) > 8


def test_a_theorem_needs_a_statement_and_a_name_of_its_own() -> None:
    with pytest.raises(ProofError, match="has no statement"):
        claim_on("T99", "freeze")(lambda case: True)
    taken = inspect.unwrap(lambda subject: ())
    taken.__doc__, taken.__name__ = "A second claim under a name in use.", "alpha_stays_in_bounds"
    with pytest.raises(ProofError, match="two theorems"):
        theorem("T99")(taken)


def test_a_start_has_no_state_before() -> None:
    start = replay(shipped_kernel(), "start", concrete_arguments("start", {}))
    with pytest.raises(ProofError, match="no state before"):
        _ = start.state


def test_a_goal_that_a_solver_gives_up_is_unknown() -> None:
    a, b, c = z3.Ints("a b c")
    cubes = Goal("fermat", "cubes", (), z3.And(a > 1, b > 1, c > 1, a**3 + b**3 == c**3), 0)
    text = cubes.text()
    answer = discharge_z3(text, rlimit=100_000)
    assert answer.verdict is Verdict.UNKNOWN
    assert answer.reason


def _costs_and_hashes(told: list[dict[str, Any]]) -> dict[str, object]:
    """Everything certified but the study of stability, which is left to `python -m proofs --check`."""
    studied = ("rlimit_least", "rlimit_mean", "rlimit_most", "variation_permille")
    return {
        f"{item['name']}.{goal['name']}": {
            part: {name: value for name, value in answer.items() if name not in studied}
            if isinstance(answer, dict)
            else answer
            for part, answer in goal.items()
        }
        for item in told
        for goal in item["goals"]
    }


def _noting(function: Callable[..., object], reached: set[str]) -> Callable[..., object]:
    @functools.wraps(function)
    def noting(*given: object) -> object:
        reached.add(f"{function.__module__}.{function.__name__}")
        return function(*given)

    return noting


def _registers(node: ast.FunctionDef) -> bool:
    names = {
        call.func.id
        for call in node.decorator_list
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
    }
    return bool(names & {"claim_on", "theorem"})


def _changed(old: str, new: str) -> Kernel:
    assert RULES.count(old) == 1
    return kernel_from(rules=RULES.replace(old, new))
