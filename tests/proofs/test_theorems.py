"""Every theorem is registered, proved, and fails on the kernel that breaks it."""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
import z3

import proofs
from proofs import Verdict
from proofs.events import UncoveredRuleError, concrete_arguments, replay
from proofs.explorer import ProofError
from proofs.goals import Goal
from proofs.prove import THEOREM_MODULES, Results, UnknownTheoremError, prove_all, render_table
from proofs.solvers import Discharge, discharge_z3
from proofs.source import Kernel, kernel_from, shipped_kernel
from proofs.theorems import Subject, claim_on, theorem, theorems

RULES = shipped_kernel().sources["rules"]
LIMITS = shipped_kernel().sources["limits"]

BROKEN = {
    "a kernel that accepts everything": (
        "acceptance_is_sound_and_complete",
        """    if not hold(checks):
        return state, Verdict(REFUSED, checks)
    # INV""", """    # INV""",
    ),
    "a kernel that refuses everything": (
        "acceptance_is_sound_and_complete",
        """    if not hold(checks):
        return state, Verdict(REFUSED, checks)
    # INV""", """    if hold(checks) or True:
        return state, Verdict(REFUSED, checks)
    # INV""",
    ),
    "a retreat that leaves α_safe behind": (
        "unsafe_reading_never_leads_away_from_alpha_safe",
        "if abs(state.alpha - limits.alpha_safe) < abs(state.good - limits.alpha_safe):",
        "if abs(state.alpha - limits.alpha_safe) > abs(state.good - limits.alpha_safe):",
    ),
    "a revert that counts twice": (
        "every_event_is_exactly_as_specified",
        "alpha, reverts = state.good, state.reverts + 1", "alpha, reverts = state.good, state.reverts + 2",
    ),
    "a limit told in the wrong unit": (
        "verdict_names_every_limit_that_was_asked",
        '("alpha_delta", NANO, -limits', '("alpha_delta", NANO_SQUARED, -limits',
    ),
    "an emergency that only holds": (
        "emergency_retreat_is_a_full_step",
        "elif blind or state.mode == EMERGENCY:", "elif blind:",
    ),
    "a probe with a looser rate": (
        "nothing_of_the_optimizer_counts_but_its_number",
        "target - state.alpha, limits.step_max)", "target - state.alpha, limits.step_max + kind)",
    ),
    "a rate that looks at what is optimized": (
        "coherence_of_a_reading_is_never_read",
        "- state.alpha, limits.step_max)", "- state.alpha, limits.step_max + reading.coherence)",
    ),
    "evidence that is heard on an unsafe reading": (
        "evidence_has_no_say_on_an_unsafe_reading",
        "return _settle_unsafe(limits, state, reading, checks)",
        "return _settle_unsafe(limits, _keep(state, TRIAL, comparison.after), reading, checks)",
    ),
    "a bound that is not asked": (
        "alpha_stays_in_bounds",
        '        ("alpha", NANO, limits.alpha_min, target, limits.alpha_max),\n', "",
    ),
    "a bound one unit too wide": (
        "alpha_stays_in_bounds",
        "limits.alpha_min, target, limits.alpha_max)", "limits.alpha_min - 1, target, limits.alpha_max)",
    ),
    "a rate that is not asked": (
        "rate_limit_holds_on_every_event",
        '        ("alpha_delta", NANO, -limits.step_max, target - state.alpha, limits.step_max),\n', "",
    ),
    "a retreat in one leap": (
        "rate_limit_holds_on_every_event",
        "max(-limits.step_max, min(limits.step_max, limits.alpha_safe - alpha))", "limits.alpha_safe - alpha",
    ),
    "good and alpha swapped": (
        "granted_alpha_keeps_the_envelope",
        "TRIAL, target, state.alpha, reading.cycle", "TRIAL, state.alpha, target, reading.cycle",
    ),
    "a rollback target that is the trial itself": (
        "no_commit_without_safe_measurement",
        "state.resume, state.alpha, reading, 0), Verdict(Outcome.COMMITTED",
        "state.resume, state.good, reading, 0), Verdict(Outcome.COMMITTED",
    ),
    "a trial that leaves its way back": (
        "invariant_is_inductive",
        "TRIAL, target, state.alpha, reading.cycle", "TRIAL, target, limits.alpha_safe, reading.cycle",
    ),
    "a conjunct of the safety checks dropped": (
        "no_commit_without_safe_measurement",
        '        ("entropy_rate", NANO, 0, reading.entropy_rate, limits.entropy_max),\n', "",
    ),
    "a commit in the cycle of the proposal": (
        "no_commit_without_safe_measurement",
        "(state, TRIAL, TRIAL), *_measured(state, reading, state.cycle + 1)",
        "(state, TRIAL, TRIAL), *_measured(state, reading, state.cycle)",
    ),
    "a loop gain that is not asked": (
        "granted_alpha_keeps_the_envelope",
        "reading.loop_gain, limits.loop_gain_max", "reading.loop_gain, CYCLE_LAST",
    ),
    "a retreat that goes up": (
        "retreat_from_above_raises_no_product", "limits.alpha_safe - alpha))", "alpha - limits.alpha_safe))",
    ),
    "a restart that unlatches": (
        "only_an_authorised_approval_unlatches",
        "return _keep(state, state.mode, state.alpha), Verdict(Outcome.RECOVERED)",
        "return _keep(state, READY, state.alpha), Verdict(Outcome.RECOVERED)",
    ),
    "an override that forgets the freeze": (
        "only_an_authorised_approval_unlatches",
        "reading.cycle, state.reverts, 0, state.policy, kind, state.mode",
        "reading.cycle, state.reverts, 0, state.policy, kind, READY",
    ),
    "an approval that anyone may give": (
        "only_an_authorised_approval_unlatches",
        "FROZEN, EMERGENCY),\n        _authority(authorised),", "FROZEN, EMERGENCY),",
    ),
    "a rule that raises": (
        "every_input_takes_exactly_one_path",
        "missed = state.missed + 1", "missed = state.missed + 1 // (state.missed - 7)",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def results() -> Results:
    return prove_all()


def test_every_theorem_is_proved(results: Results) -> None:
    assert [(row.name, row.verdict) for row in results.rows] == [
        (name, Verdict.PROVED) for name in theorems()
    ]
    assert results.proved
    assert all(row.goals > 0 and (row.rlimit > 0 or row.identifier in ("T12", "T13")) for row in results.rows)
    assert not any(row.counterexample or row.reason for row in results.rows)


def test_the_table_shows_every_theorem(results: Results) -> None:
    assert render_table(results).row_count == len(theorems())


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_kernel_is_refused_by_the_theorem_named_for_it(what: str) -> None:
    name, old, new = BROKEN[what]
    broken = _changed(old, new)
    goal, answer = next(_failures(broken, name))
    assert answer.verdict is Verdict.REFUTED
    assert goal.replay is not None
    assert goal.replay(answer.model).confirmed
    shipped = next(one for one in theorems()[name].goals(Subject(shipped_kernel())) if one.key == goal.key)
    assert shipped.replay is not None
    assert not shipped.replay(answer.model).confirmed


def test_a_weakened_comparison_is_refused() -> None:
    broken = kernel_from(limits=LIMITS.replace("(least <= figure)", "(least - 1 <= figure)"))
    assert any(True for _ in _failures(broken, "no_commit_without_safe_measurement"))


def test_a_refused_kernel_shows_in_the_results() -> None:
    _, old, new = BROKEN["a restart that unlatches"]
    results = prove_all(["T5"], kernel=_changed(old, new))
    (row,) = results.rows
    assert not results.proved
    assert row.verdict is Verdict.REFUTED
    assert row.reason.startswith("recover")
    assert row.counterexample.startswith("rules.recover(State(mode=<Mode.")


def test_nothing_proved_is_no_proof() -> None:
    assert not Results(()).proved
    assert not prove_all([]).proved


def test_progress_is_told_for_every_goal() -> None:
    told: list[tuple[int, int, str]] = []
    prove_all(["T5", "rate_limit_holds_on_every_event"], lambda *step: told.append(step))
    assert [done for done, _, _ in told] == list(range(1, 41))
    assert {count for _, count, _ in told} == {40}
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


def _failures(kernel: Kernel, name: str) -> Iterator[tuple[Goal, Discharge]]:
    for goal in theorems()[name].goals(Subject(kernel)):
        answer = discharge_z3(goal.text())
        if answer.verdict is not Verdict.PROVED:
            yield goal, answer
