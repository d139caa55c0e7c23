"""The explorer follows Python exactly, or says that it cannot."""

import copy
import itertools
import operator
from collections.abc import Callable
from typing import Any

import pytest
import z3
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.state import Mode
from proofs.explorer import (
    NondeterminismError,
    SymBool,
    SymInt,
    UnsupportedOperationError,
    explore,
    leaves,
    map_leaves,
    term_of,
)

X, Y = SymInt(z3.Int("x")), SymInt(z3.Int("y"))
B = SymBool(z3.Bool("b"))

UNSUPPORTED: dict[str, Callable[[], object]] = {
    "int": lambda: int(X),
    "float": lambda: float(X),
    "complex": lambda: complex(X),
    "index": lambda: [0, 1][X],
    "range": lambda: range(X),
    "hash": lambda: {X},
    "str": lambda: str(X),
    "repr": lambda: repr(X),
    "format": lambda: f"{X:d}",
    "round": lambda: round(X),
    "iter": lambda: list(X),
    "len": lambda: len(X),
    "contains": lambda: 1 in X,
    "modulo": lambda: X % 3,
    "divmod": lambda: divmod(X, 3),
    "power": lambda: X**2,
    "power of": lambda: 2**X,
    "true division": lambda: X / 2,
    "true division of": lambda: 2 / X,
    "shift": lambda: X << 1,
    "bitwise": lambda: X & 1,
    "bitwise with a truth value": lambda: X | B,
    "invert": lambda: ~X,
    "float operand": lambda: X + 1.0,
    "float on the left": lambda: 1.0 * X,
    "float comparison": lambda: X < 1.0,
    "float equality": lambda: X == 1.0,
    "none": lambda: X == None,  # noqa: E711 - the comparison is the subject
    "string": lambda: X + "1",
    "fraction of a float": lambda: X < 0.5,
    "copy": lambda: copy.copy(X),
    "deepcopy": lambda: copy.deepcopy(X),
    "call": lambda: X(),
    "truth value as integer": lambda: int(B),
    "truth value in arithmetic": lambda: B + 1,
    "integer plus truth value": lambda: X + B,
    "truth value ordered": lambda: B < True,
    "truth value negated": lambda: -B,
    "truth value inverted": lambda: ~B,
    "truth value with an integer": lambda: B & 1,
    "truth value equal to an integer": lambda: B == 1,
    "truth value hashed": lambda: hash(B),
    "truth value printed": lambda: f"{B}",
    "truth value shown": lambda: repr(B),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_symbols_cannot_follow_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedOperationError):
        UNSUPPORTED[name]()
    with pytest.raises(UnsupportedOperationError):
        explore(UNSUPPORTED[name])


def test_no_special_method_of_int_is_left_to_chance() -> None:
    inherited = {"__class__", "__delattr__", "__dir__", "__doc__", "__getattribute__", "__init__", "__new__",
                 "__init_subclass__", "__setattr__", "__sizeof__", "__subclasshook__", "__getstate__",
                 "__getnewargs__", "__reduce__"}  # fmt: skip
    special = {name for name in dir(int) if name.startswith("__")} - inherited
    assert special - vars(SymInt).keys() == set()
    assert special - vars(SymBool).keys() == set()


def test_truth_outside_an_exploration_is_refused() -> None:
    with pytest.raises(UnsupportedOperationError, match="outside an exploration"):
        bool(X < Y)


def test_an_exploration_inside_an_exploration_is_refused() -> None:
    with pytest.raises(UnsupportedOperationError, match="inside"):
        explore(lambda: explore(lambda: X < Y))


def test_endless_forking_is_refused() -> None:
    def count() -> int:
        k = 0
        while k < X:
            k += 1
        return k

    with pytest.raises(UnsupportedOperationError, match="more than 128 forks"):
        explore(count)


def test_too_many_paths_are_refused() -> None:
    def bits() -> int:
        return sum(k for k in range(11) if SymBool(z3.Bool(f"bit {k}")))

    with pytest.raises(UnsupportedOperationError, match="more than 1024 paths"):
        explore(bits)


def test_every_path_is_found_and_infeasible_ones_are_not() -> None:
    def clamp() -> Any:
        return max(-5, min(5, X))

    paths = explore(clamp)
    assert len(paths) == 3
    assert len(explore(clamp, [z3.Int("x") > 5])) == 1
    for low, high in itertools.combinations(paths, 2):
        assert _unsatisfiable(low.condition, high.condition)


def test_one_side_that_is_certain_is_no_fork() -> None:
    paths = explore(lambda: 1 if X >= 0 else 2, [z3.Int("x") < 0])
    assert [path.value for path in paths] == [2]
    assert len(paths[0].conditions) == 1


def test_an_exception_is_an_end_of_a_path() -> None:
    paths = explore(lambda: 10 // X)
    assert sorted(type(path.error).__name__ for path in paths) == [
        "NoneType",
        "NoneType",
        "ZeroDivisionError",
    ]


def test_two_runs_that_differ_are_refused() -> None:
    ticks = itertools.count()
    with pytest.raises(NondeterminismError):
        explore(lambda: X + next(ticks))


@pytest.mark.parametrize(
    "answers", [(1, 2), (None, 1), ("a", "b"), (True, 1), (X, Y), (X, 1), (1, X), ((X,), (X, X))]
)
def test_two_runs_with_different_values_are_refused(answers: tuple[object, object]) -> None:
    turns = itertools.cycle(answers)
    with pytest.raises(NondeterminismError):
        explore(lambda: next(turns))


def test_two_runs_with_different_errors_or_forks_are_refused() -> None:
    turns = itertools.cycle((0, 1))
    with pytest.raises(NondeterminismError):
        explore(lambda: 1 // next(turns))
    with pytest.raises(NondeterminismError):
        explore(lambda: 0 if next(turns) else (X > 0) and 0)
    with pytest.raises(NondeterminismError):
        explore(lambda: bool((X, Y)[next(turns)] > 0) and 0)


def test_mixing_with_bool_and_enum_is_exact() -> None:
    assert _value((X + True), 4) == 5
    assert _value((True * X), 4) == 4
    assert _value((X - Mode.TRIAL), 4) == 1
    assert _value(+X, -4) == -4
    assert _value(5 - X, -4) == 9


def test_logic_with_concrete_truth_values_stays_concrete() -> None:
    assert (True & B) is B
    assert (B & False) is False
    assert (B | True) is True
    assert (False | B) is B
    assert (B ^ False) is B
    for formula, expected in (
        ((B ^ True), z3.Not(z3.Bool("b"))), (B & B, z3.Bool("b")), (B | B, z3.Bool("b")),
        (B == B, z3.BoolVal(True)), (B != B, z3.BoolVal(False)), (B.__ne__(True), z3.Not(z3.Bool("b"))),
    ):  # fmt: skip
        assert _unsatisfiable(term_of(formula) != expected)


@settings(deadline=None)
@given(
    st.integers(), st.integers(), st.sampled_from(["add", "sub", "mul", "lt", "le", "gt", "ge", "eq", "ne"])
)
def test_arithmetic_agrees_with_python(one: int, other: int, name: str) -> None:
    operation = getattr(operator, name)
    symbolic = term_of(operation(X, Y))
    assert _evaluate(symbolic, x=one, y=other) == operation(one, other)


@settings(deadline=None)
@given(st.integers(), st.integers())
def test_floor_division_abs_min_and_max_agree_with_python(one: int, other: int) -> None:
    def work(a: Any, b: Any) -> Any:
        return (a // b if b else None), 7 // b if b else None, abs(a), min(a, b), max(a, b), -a, bool(a)

    expected = work(one, other)
    matching = [
        path for path in explore(lambda: work(X, Y)) if _evaluate(path.condition, x=one, y=other) is True
    ]
    assert len(matching) == 1
    found = tuple(
        _evaluate(leaf.term, x=one, y=other) if isinstance(leaf, SymInt) else leaf
        for leaf in leaves(matching[0].value)
    )
    assert found == expected


def test_leaves_of_tuples() -> None:
    assert leaves((1, (2, "a"), ())) == (1, 2, "a")
    assert map_leaves((1, (2,)), lambda leaf: (leaf, leaf)) == ((1, 1), ((2, 2),))


def _unsatisfiable(*formulas: z3.BoolRef) -> bool:
    solver = z3.Solver()
    solver.add(*formulas)
    return bool(solver.check() == z3.unsat)


def _evaluate(term: z3.ExprRef, **values: int) -> object:
    pairs = [(z3.Int(name), z3.IntVal(value)) for name, value in values.items()]
    result = z3.simplify(z3.substitute(term, *pairs))
    return bool(z3.is_true(result)) if z3.is_bool(result) else result.as_long()


def _value(value: Any, x: int) -> object:
    return _evaluate(value.term, x=x)
