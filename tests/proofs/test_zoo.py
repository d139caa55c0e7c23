"""The zoo: kernels with one fault each, refused by the theorem named for it, beside sound ones that pass.

Each file holds one function that takes the place of the kernel's function of that name. The first words of
its docstring are the theorem that refuses it, or the events that a sound one takes part in.
"""

import ast
from pathlib import Path

import pytest

from proofs import Verdict
from proofs.bitwuzla_solver import discharge_bitwuzla
from proofs.events import EVENTS
from proofs.goals import Goal
from proofs.solvers import Discharge, discharge_z3
from proofs.source import Kernel, kernel_from, shipped_kernel
from proofs.theorems import Subject, Theorem, goal_on_event, theorems

ZOO = Path(__file__).parent / "zoo"
BROKEN = sorted(ZOO.glob("broken/*.py"))
TOO_LARGE = ("a_loop_gain_that_is_not_asked",)
"""Faults that are a figure which, in squared units, no word holds: Z3 and cvc5 refuse them alone."""

SHIPPED = Subject(shipped_kernel())
SOUND = sorted(ZOO.glob("sound/*.py"))


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_a_broken_kernel_is_refused_by_the_theorem_named_for_it(path: Path) -> None:
    name, kernel = _exhibit(path)
    goal, answer = _first_failure(kernel, theorems()[name])
    assert answer.verdict is Verdict.REFUTED
    assert goal.replay is not None
    assert goal.replay(answer.model).confirmed
    shipped = next(one for one in theorems()[name].goals(SHIPPED) if one.key == goal.key)
    assert shipped.replay is not None
    assert not shipped.replay(answer.model).confirmed


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_a_broken_kernel_is_refused_over_words_too(path: Path) -> None:
    name, kernel = _exhibit(path)
    goal, _ = _first_failure(kernel, theorems()[name])
    answer = discharge_bitwuzla(goal.text())
    if path.stem in TOO_LARGE:
        assert answer == Discharge(Verdict.UNFIT, reason="a term may leave a word on every box")
        return
    assert answer.verdict is Verdict.REFUTED
    assert all(-(2**answer.box) <= value < 2**answer.box for value in answer.model.values())
    assert goal.replay is not None
    assert goal.replay(answer.model).confirmed


@pytest.mark.parametrize("path", SOUND, ids=lambda path: path.stem)
def test_a_sound_variant_passes(path: Path) -> None:
    told, kernel = _exhibit(path)
    subject, events = Subject(kernel), told.split(", ")
    assert set(events) <= set(EVENTS)
    goals = [
        goal_on_event(item, subject, event)
        for item in theorems().values()
        for event in events
        if event in item.events
    ]
    assert len(goals) > 5
    assert {goal.key: discharge_z3(goal.text()).verdict for goal in goals} == {
        goal.key: Verdict.PROVED for goal in goals
    }


def test_the_zoo_is_inhabited() -> None:
    assert len(BROKEN) >= 20
    assert len(SOUND) >= 4


def _exhibit(path: Path) -> tuple[str, Kernel]:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    (function,) = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    named = (ast.get_docstring(tree) or "").partition(":")[0]
    sources = shipped_kernel().sources
    (module,) = (name for name in ("rules", "limits") if _function(sources[name], function.name) is not None)
    place = _function(sources[module], function.name)
    assert place is not None
    lines, replacement = (
        sources[module].splitlines(),
        text.splitlines()[function.lineno - 1 : function.end_lineno],
    )
    lines[place.lineno - 1 : place.end_lineno] = replacement
    return named, kernel_from(**{module: "\n".join(lines) + "\n"})


def _function(source: str, name: str) -> ast.FunctionDef | None:
    found = [
        node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == name
    ]
    return found[0] if found else None


def _first_failure(kernel: Kernel, item: Theorem) -> tuple[Goal, Discharge]:
    for goal in item.goals(Subject(kernel)):
        answer = discharge_z3(goal.text())
        if answer.verdict is not Verdict.PROVED:
            return goal, answer
    raise AssertionError(f"{item.name} is proved of the broken kernel")
