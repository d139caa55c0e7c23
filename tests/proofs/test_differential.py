"""Random inputs through the rules and through the formulas of their paths: one path, the same end."""

import random
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import z3

from kernel.limits import CYCLE_LAST, LOOP_GAIN_FOLD, TOLERANCE_LAST, Limits
from kernel.quantity import NANO
from kernel.state import Comparison, Kind, Mode, Reading, State
from proofs.events import (
    EVENTS,
    SIGNATURES,
    SYMBOLS,
    Case,
    explore_event,
    replay,
)
from proofs.explorer import SymInt, leaves, term_of
from proofs.source import shipped_kernel

INPUTS = 9_200
"""For each of the eleven events: more than 10⁵ in all."""

KERNEL = shipped_kernel()
SYMBOLIC = [leaf for part in SYMBOLS.values() for leaf in leaves(part)]
NAMES = [term_of(leaf).decl().name() for leaf in SYMBOLIC]
OPERATORS = {
    z3.Z3_OP_ADD: " + ", z3.Z3_OP_MUL: " * ", z3.Z3_OP_SUB: " - ", z3.Z3_OP_LE: " <= ", z3.Z3_OP_LT: " < ",
    z3.Z3_OP_GE: " >= ", z3.Z3_OP_GT: " > ", z3.Z3_OP_EQ: " == ", z3.Z3_OP_AND: " and ", z3.Z3_OP_OR: " or ",
}  # fmt: skip


@pytest.mark.parametrize("event", EVENTS)
def test_rules_and_formulas_agree(event: str) -> None:
    chance = random.Random(f"differential {event}")
    formulas = _compiled(event)
    taken = set()
    for _ in range(INPUTS):
        parts = _parts(chance)
        arguments = {part: parts[part] for part in ("limits", *SIGNATURES[event])}
        model = dict(zip(NAMES, leaves(tuple(parts.values())), strict=True))
        run = replay(KERNEL, event, arguments)
        cases, evaluate = formulas[_shape(arguments)]
        guards, ends = evaluate(model)
        assert guards.count(True) == 1
        number = guards.index(True)
        taken.add((_shape(arguments), number))
        assert run.error is None
        assert run.outcome is cases[number].outcome
        assert list(leaves((run.after, run.verdict.checks))) == ends[number]
    assert len(taken) > sum(len(cases) for cases, _ in formulas.values()) // 2


Shape = tuple[object, ...]
Evaluate = Callable[[Mapping[str, object]], tuple[list[bool], list[list[object]]]]


def _shape(arguments: Mapping[str, Any]) -> Shape:
    finite = tuple(arguments.get(part) for part in ("kind", "authorised", "granted", "restored"))
    state = arguments.get("state")
    return finite if state is None else (*finite, state.mode, state.kind, state.resume)


def _compiled(event: str) -> dict[Shape, tuple[list[Case], Evaluate]]:
    shapes: dict[Shape, list[Case]] = {}
    for case in explore_event(KERNEL, event).cases:
        shapes.setdefault(_shape(case.arguments), []).append(case)
    return {shape: (cases, _Program(cases).function()) for shape, cases in shapes.items()}


class _Program:
    """Python text that computes the guards and ends of cases, each shared term once."""

    def __init__(self, cases: list[Case]) -> None:
        self._lines: list[str] = []
        self._known: dict[int, str] = {}
        self._terms: list[z3.ExprRef] = []
        guards = [self._name(case.guard) for case in cases]
        ends = [[self._leaf(leaf) for leaf in leaves((case.after, case.verdict.checks))] for case in cases]
        told = ", ".join(f"[{', '.join(end)}]" for end in ends)
        self._lines.append(f"    return [{', '.join(guards)}], [{told}]")

    def function(self) -> Evaluate:
        scope: dict[str, Any] = {"Mode": Mode, "Kind": Kind}
        exec("def evaluate(v):\n" + "\n".join(self._lines), scope)
        function: Evaluate = scope["evaluate"]
        return function

    def _leaf(self, leaf: object) -> str:
        return (
            self._name(leaf.term)
            if isinstance(leaf, SymInt)
            else repr(leaf if isinstance(leaf, str) else int(leaf))
        )

    def _name(self, term: z3.ExprRef) -> str:
        if term.get_id() not in self._known:
            self._terms.append(term)
            text = self._text(term)
            name = f"t{len(self._known)}"
            self._lines.append(f"    {name} = {text}")
            self._known[term.get_id()] = name
        return self._known[term.get_id()]

    def _text(self, term: z3.ExprRef) -> str:
        if z3.is_int_value(term):
            return str(term.as_long())
        if z3.is_const(term):
            return (
                f"v[{str(term)!r}]" if term.decl().kind() == z3.Z3_OP_UNINTERPRETED else str(z3.is_true(term))
            )
        parts = [self._name(part) for part in term.children()]
        kind = term.decl().kind()
        if kind == z3.Z3_OP_NOT:
            return f"not {parts[0]}"
        if kind == z3.Z3_OP_UMINUS:
            return f"-{parts[0]}"
        if kind == z3.Z3_OP_ITE:
            return f"{parts[1]} if {parts[0]} else {parts[2]}"
        return OPERATORS[kind].join(parts)


def _parts(chance: random.Random) -> dict[str, Any]:
    limits = _limits(chance)
    state = _state(chance, limits)
    proposed = _limits(chance)
    if chance.random() < 0.6:
        proposed = limits._replace(alpha_max=max(limits.alpha_min + 1, state.alpha + chance.randint(-1, 2)))
    span = limits.step_max + 1
    target = state.alpha + chance.choice([-span, 1 - span, 0, span - 1, span, chance.randint(-span, span)])
    return {
        "limits": limits,
        "proposed": proposed,
        "state": state,
        "target": target,
        "kind": chance.choice(list(Kind)),
        "reading": _reading(chance, limits, state, target),
        "comparison": _comparison(chance, limits),
        **{flag: chance.random() < 0.8 for flag in ("authorised", "granted", "restored")},
    }


def _limits(chance: random.Random) -> Limits:
    scale = chance.choice([4, 1000, NANO])
    alpha_min = chance.randint(1, scale)
    alpha_max = alpha_min + chance.randint(1, scale)
    entropy_max, h_severe = chance.randint(0, scale), chance.randint(0, NANO)
    return Limits(
        alpha_min=alpha_min,
        alpha_max=alpha_max,
        alpha_safe=chance.choice([alpha_min, chance.randint(alpha_min, alpha_max)]),
        step_max=chance.randint(1, alpha_max - alpha_min),
        entropy_max=entropy_max,
        entropy_severe=entropy_max + chance.randint(0, scale),
        h_internal_min=chance.randint(h_severe, NANO),
        h_internal_severe=h_severe,
        drive_max=chance.choice([1, scale, 10 * NANO, CYCLE_LAST]),
        loop_gain_max=chance.choice([1, LOOP_GAIN_FOLD, chance.randint(1, LOOP_GAIN_FOLD)]),
        tolerance_max=chance.choice([0, TOLERANCE_LAST, chance.randint(0, TOLERANCE_LAST)]),
        reverts_max=chance.choice([1, 2, 8]),
        missed_max=chance.choice([1, 2, 5]),
    )


def _state(chance: random.Random, limits: Limits) -> State:
    mode = chance.choice(list(Mode))
    good = chance.randint(limits.alpha_min, limits.alpha_max)
    low, high = max(limits.alpha_min, good - limits.step_max), min(limits.alpha_max, good + limits.step_max)
    trial = mode is Mode.TRIAL
    return State(
        mode=mode,
        alpha=chance.choice([low, high, chance.randint(low, high)]) if trial else good,
        good=good,
        cycle=chance.choice([0, 7, CYCLE_LAST - 1, CYCLE_LAST]),
        reverts=chance.randint(0, limits.reverts_max),
        missed=chance.randint(0, limits.missed_max),
        policy=chance.randint(1, 3),
        kind=chance.choice(list(Kind)) if trial else Kind.STEP,
        resume=chance.choice([Mode.READY, Mode.FROZEN]) if trial else Mode.READY,
    )


def _reading(chance: random.Random, limits: Limits, state: State, target: int) -> Reading:
    judged = max(1, chance.choice([state.alpha, target]))
    calm = chance.random() < 0.5

    def near(*edges: int) -> int:
        return chance.choice(edges) + (0 if calm else chance.choice([-1, 0, 0, 0, 1]))

    def figure(most: int) -> int:
        return near(0, most * NANO // judged // 2) if calm else near(most * NANO // judged, 0, 0)

    entropy = near(0, limits.entropy_max) if calm else near(0, limits.entropy_max, limits.entropy_severe)
    return Reading(
        cycle=state.cycle + chance.choice([-1, 0, 1, 1, 1, 2]),
        alpha=state.alpha + chance.choice([0] * 18 + [-1, 1]),
        coherence=chance.randint(-NANO, NANO),
        entropy_rate=entropy,
        h_internal=near(limits.h_internal_min, NANO) if calm else near(limits.h_internal_severe, NANO, NANO),
        drive=(figure(limits.drive_max), figure(limits.drive_max), figure(limits.drive_max)),
        loop_gain=(figure(limits.loop_gain_max), figure(LOOP_GAIN_FOLD), figure(limits.loop_gain_max)),
    )


def _comparison(chance: random.Random, limits: Limits) -> Comparison:
    before, tolerance = chance.randint(0, NANO), limits.tolerance_max + chance.choice([-1, 0, 0, 1])
    return Comparison(before, before - tolerance + chance.choice([-1, 0, 1, NANO]), tolerance)
