"""A changed kernel is refused, killed or proved equivalent; what is neither is a survivor, and fails."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import proofs.mutation as command
from proofs.explorer import ProofError
from proofs.judging import Fate, Judgement, Jury, judge
from proofs.mutants import KINDS, Mutant, mutants_of, uses_of
from proofs.mutation import REPORT, Mutation, details, mutate, render_table, score
from proofs.source import kernel_from, shipped_kernel
from proofs.theorems import Subject, goal_on_event, theorems
from proofs.workers import Answer

SHIPPED = shipped_kernel()
RULES, LIMITS = SHIPPED.sources["rules"], SHIPPED.sources["limits"]
MUTANTS = mutants_of(SHIPPED)

REFUSAL = """    if not hold(checks):
        return state, Verdict(REFUSED, checks)
    # INV"""

KEPT = "_keep(state, state.mode, state.alpha)"
OPENED = "TRIAL, target, state.alpha,"
SAFE = "return _settle_safe(limits, state, reading, comparison, checks)"

LISTED = 'return (\n        ("entropy_rate"'
EXTRA = '("extra", 1, 0, 0, 0)'

# Module, definition, and the change.
REVIEWERS = {
    "a comparison weakened": ("limits", "hold", "(figure <= most)", "(figure < most)"),
    "a conjunct dropped": ("limits", "hold", "(least <= figure) & (figure <= most)", "figure <= most"),
    "good and α swapped": ("rules", "_grant", OPENED, "TRIAL, state.alpha, target,"),
    "unlatching on recover": ("rules", "recover", KEPT, KEPT.replace("state.mode", "READY")),
    "a loop gain that is not asked": (
        "rules", "safety_checks",
        '        ("loop_gain[L_phi]", NANO_SQUARED, 0, alpha * gain_phi, gain_ceiling),\n', "",
    ),
    "all refusing": ("rules", "_grant", REFUSAL, REFUSAL.replace("not hold(checks)", "True")),
    "all accepting": ("rules", "_grant", REFUSAL, "    # INV"),
    "a fold one unit further": ("limits", "LOOP_GAIN_FOLD", "367_879_441", "367_879_442"),
}  # fmt: skip

SAME = {
    "arms swapped": (
        "rules", "settle",
        f"{SAFE}\n    return _settle_unsafe",
        f"{SAFE}\n    else:\n        return _settle_unsafe",
    ),
    "the α that a trial was opened from": ("rules", "_grant", OPENED, OPENED.replace("alpha", "good")),
}  # fmt: skip

CLOCKS = {
    "a clock": ("import time\n", "missed = state.missed + int(time.time())"),
    "chance": ("from random import random\n", "missed = state.missed + int(random())"),
    "the environment": ("", "missed = state.missed + int(open('/dev/urandom'))"),
}


def _with_truth_values() -> Iterator[tuple[str, str]]:
    """Every 0 and 1 that is told or kept, and the signature's 1, each as the bool that equals it."""
    lines = RULES.encode().splitlines(keepends=True)
    functions = [item for item in ast.parse(RULES).body if isinstance(item, ast.FunctionDef)]
    for function in functions:
        for node in ast.walk(function):
            parts = [*node.elts] if isinstance(node, ast.Tuple) else []
            # What min and max take is used up in them.
            is_kept = isinstance(node, ast.Call) and ast.unparse(node.func) not in ("min", "max")
            parts += node.args if is_kept else []
            for part in parts:
                new = {"0": b"False", "1": b"True", "int(authorised)": b"authorised"}.get(ast.unparse(part))
                if new is not None:
                    line = lines[part.lineno - 1]
                    changed = line[: part.col_offset] + new + line[part.end_col_offset :]
                    text = b"".join((*lines[: part.lineno - 1], changed, *lines[part.lineno :]))
                    yield function.name, text.decode()


@pytest.mark.parametrize("what", REVIEWERS)
def test_a_broken_kernel_is_killed_by_a_call_that_breaks_a_theorem(what: str) -> None:
    verdict = Jury().judge(*_changed(*REVIEWERS[what]))
    assert verdict.fate is Fate.KILLED
    assert verdict.by.partition(".")[0] in theorems()
    assert verdict.call.startswith("rules.")


@pytest.mark.parametrize("what", SAME)
def test_the_same_behaviour_written_otherwise_is_proved_equivalent(what: str) -> None:
    verdict = Jury().judge(*_changed(*SAME[what]))
    assert verdict.fate is Fate.EQUIVALENT
    assert verdict.by.startswith("equivalence.")


@pytest.mark.parametrize("what", CLOCKS)
def test_a_kernel_with_a_clock_or_chance_is_refused(what: str) -> None:
    imported, line = CLOCKS[what]
    changed = imported + RULES.replace("missed = state.missed + 1", line)
    verdict = Jury().judge({"rules": changed})
    assert verdict.fate is Fate.REFUSED
    assert verdict.by.startswith("ImpureKernelError: kernel/rules.py line")


def test_a_kernel_that_returns_no_verdict_or_is_no_python_is_refused() -> None:
    headless = _changed(
        "rules", "freeze", "    return state, Verdict(REFUSED, (_mode(state, READY, READY),))\n", ""
    )
    assert Jury().judge(*headless).by.startswith("MalformedResultError: freeze")
    assert Jury().judge({"rules": "def"}).by.startswith("SyntaxError")
    assert (
        Jury().judge({"limits": LIMITS.replace("Nano(367_879_441)", "int(NANO, NANO)")}).fate is Fate.REFUSED
    )


@pytest.mark.parametrize(("definition", "source"), list(_with_truth_values()))
def test_a_truth_value_in_the_place_of_an_integer_is_refused(definition: str, source: str) -> None:
    assert Jury().judge({"rules": source}, definition).by.startswith("MalformedResultError: ")


def test_a_counterexample_is_tried_on_the_next_kernel_and_must_break_that_one() -> None:
    rate = "target - state.alpha, limits.step_max"
    jury = Jury()
    first, again = (
        jury.judge(*_changed("rules", "_grant", rate, f"{rate} + {more}")) for more in (1, 1_000_000)
    )
    assert (first.fate, again.fate) == (Fate.KILLED, Fate.KILLED)
    assert first.call == again.call
    assert jury.judge(*_changed(*SAME["the α that a trial was opened from"])).fate is Fate.EQUIVALENT


def test_without_theorems_everything_that_differs_survives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proofs.judging.theorems", dict)
    assert Jury().judge(*_changed(*REVIEWERS["unlatching on recover"])).fate is Fate.SURVIVOR
    assert Jury().judge(*_changed(*SAME["arms swapped"])).fate is Fate.EQUIVALENT


@pytest.mark.parametrize(
    ("definition", "old", "new"),
    [
        ("recover", KEPT, KEPT.replace("_keep(", "_keep(1 // 0 or ")),
        ("safety_checks", '"entropy_rate", NANO, 0', '"entropy", NANO, 0'),
        ("safety_checks", LISTED, LISTED.replace("(\n", f"(\n        {EXTRA},\n")),
        ("freeze", "Verdict(Outcome.FROZEN)", "Verdict(Outcome.HELD)"),
        ("recover", KEPT, KEPT.replace("alpha", "alpha + state.missed - state.missed + 1")),
    ],
)  # fmt: skip
def test_what_raises_or_tells_or_does_something_else_is_not_equivalent(
    definition: str, old: str, new: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proofs.judging.theorems", dict)
    assert Jury().judge(*_changed("rules", definition, old, new)).fate is Fate.SURVIVOR


def test_an_input_outside_the_policy_that_a_kernel_demands_is_not_held_against_it() -> None:
    narrow = '("tolerance_max", NANO, 0, limits.tolerance_max, TOLERANCE_LAST)'
    verdict = Jury().judge(
        *_changed("limits", "limits_checks", narrow, narrow.replace("TOLERANCE_LAST", "-1"))
    )
    assert verdict.by.endswith(".start")


def test_a_theorem_outside_the_likely_ones_kills_too(monkeypatch: pytest.MonkeyPatch) -> None:
    latch = {name: item for name, item in theorems().items() if item.identifier == "T5"}
    monkeypatch.setattr("proofs.judging.theorems", lambda: latch)
    verdict = Jury().judge(*_changed(*REVIEWERS["unlatching on recover"]))
    assert verdict.by == "only_an_authorised_approval_unlatches.recover"


def test_mutants_are_of_every_kind_and_each_changes_one_place() -> None:
    assert {mutant.kind for mutant in MUTANTS} == set(KINDS)
    assert len(MUTANTS) > 2_000
    assert len({mutant.source for mutant in MUTANTS}) == len(MUTANTS)
    for mutant in MUTANTS[::50]:
        whole = {"rules": RULES, "limits": LIMITS}[mutant.module]
        assert mutant.source not in (whole, "")
        assert compile(mutant.source, mutant.name, "exec")


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("comparison", "least <= figure", "least < figure"),
        ("constant", "367879441", "367879442"),
        ("logic of checks", "(least <= figure) & (figure <= most)", "figure <= most"),
        ("and, or", "granted and restored", "granted or restored"),
        ("sign, not", "not hold(fresh)", "hold(fresh)"),
        ("arithmetic", "state.policy + 1", "state.policy - 1"),
        ("min, max, abs, callee", "abs(state.alpha - limits.alpha_safe)", "state.alpha - limits.alpha_safe"),
        ("field", "state.good", "state.alpha"),
        ("field", "reading.cycle", "state.cycle"),
        ("enum member", "state.mode", "READY"),
        ("name", "NANO_SQUARED", "NANO"),
        ("one unit, sign", "limits.step_max", "limits.step_max + 1"),
        ("statement", "if mode != FROZEN: alpha = _step_to_safe(limits, state.alpha)", "(nothing)"),
    ],
)  # fmt: skip
def test_the_changes_that_matter_are_among_them(kind: str, before: str, after: str) -> None:
    assert any((one.kind, one.before, one.after) == (kind, before, after) for one in MUTANTS)


def test_names_annotations_and_documentation_are_left_alone() -> None:
    for mutant in MUTANTS:
        assert mutant.definition not in ("Check", "Transition", "Limits", "")
        assert '"""' not in mutant.before


def test_users_of_a_definition_are_found_through_others() -> None:
    users = uses_of(SHIPPED, "_step_to_safe")
    assert {"observe", "miss", "_step_to_safe"} == users
    assert {"start", "set_limits"} <= uses_of(SHIPPED, "LOOP_GAIN_FOLD")


def test_a_claim_is_asked_of_its_own_events_only() -> None:
    with pytest.raises(ProofError, match="makes no claim on freeze"):
        goal_on_event(theorems()["acceptance_is_sound_and_complete"], Subject(kernel_from()), "freeze")


def test_a_run_counts_every_mutant_and_a_lost_batch_survives(monkeypatch: pytest.MonkeyPatch) -> None:
    some = _some()
    mutation = mutate(SHIPPED, some, lambda done: None)
    assert [verdict.fate for _, verdict in mutation.judged] == [verdict.fate for verdict in judge(some)]
    assert mutation.counts()["mutants"] == len(some)
    assert not mutation.survivors

    def die(*_: object, **__: object) -> Iterator[Answer[list[Judgement]]]:
        yield Answer(0, None, "the worker process died")

    monkeypatch.setattr(command, "run_all", die)
    lost = mutate(SHIPPED, some, lambda done: None)
    assert len(lost.survivors) == len(some)
    assert lost.survivors[0][1].by == "not judged: the worker process died"


def test_the_command_writes_what_it_found_and_fails_on_a_survivor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = _some()
    fates = [Judgement(Fate.KILLED, "t.freeze", "rules.freeze()"), *[Judgement(Fate.EQUIVALENT, "same")] * 9]
    found = {"run": Mutation("00", tuple(zip(some, fates, strict=False)))}
    monkeypatch.setattr(command, "mutate", lambda kernel, mutants, progress: found["run"])
    monkeypatch.setattr(command, "REPORT", tmp_path / "mutation.json")
    result = CliRunner().invoke(command.main, ["--details", str(tmp_path / "a" / "all.txt")])
    assert result.exit_code == 0
    assert json.loads((tmp_path / "mutation.json").read_text(encoding="utf-8"))["score"] == "1 of 1"
    assert "    killed: t.freeze\n    rules.freeze()\n" in (tmp_path / "a" / "all.txt").read_text(
        encoding="utf-8"
    )
    found["run"] = Mutation("00", ((some[0], Judgement(Fate.SURVIVOR, "no theorem fails")),))
    result = CliRunner().invoke(command.main, [])
    assert result.exit_code == 1
    assert result.stderr.strip() == f"survivor: {some[0].name}\n  no theorem fails"


def test_the_table_has_a_row_for_every_kind() -> None:
    mutation = Mutation("00", ((_some()[0], Judgement(Fate.KILLED, "t.freeze", "rules.freeze()")),))
    assert render_table(mutation).row_count == len(KINDS)
    assert details(mutation).count("\n") == 3
    assert score(mutation.counts()) == "1 of 1"


def test_the_kept_report_is_of_this_kernel_and_has_no_survivor() -> None:
    kept = json.loads(REPORT.read_text(encoding="utf-8"))
    assert kept["kernel"] == SHIPPED.digest
    assert kept["counts"]["mutants"] == len(MUTANTS)
    assert kept["counts"]["survivor"] == 0
    assert kept["survivors"] == []
    assert kept["counts"]["equivalent"] == len(kept["equivalent"])
    assert all(item["by"].startswith("equivalence.") for item in kept["equivalent"])
    assert {name.partition(".")[0] for name in kept["killed_by"]} <= set(theorems())


def _changed(module: str, definition: str, old: str, new: str) -> tuple[dict[str, str], str]:
    source = {"rules": RULES, "limits": LIMITS}[module]
    assert source.count(old) == 1
    return {module: source.replace(old, new)}, definition


def _some() -> list[Mutant]:
    return [mutant for mutant in MUTANTS if mutant.definition == "recover"][:10]
