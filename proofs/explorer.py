"""Runs shipped Python on symbolic integers, along every path.

A comparison of symbolic integers is a `SymBool`. Asking it for its truth forks the run, and the function is
run again from its beginning for each side, until no side is left. Nothing is ever made concrete in silence:
whatever cannot be carried out exactly on symbols raises `UnsupportedOperationError`.
"""

import contextvars
from collections.abc import Callable, Iterable
from typing import Any, Generic, NoReturn, TypeVar, cast

import attrs
import z3

T = TypeVar("T")

FORK_RLIMIT = 2_000_000
PATHS_MOST = 1_024
FORKS_MOST = 128


class ProofError(Exception):
    """A proof cannot be carried out as asked."""


class UnsupportedOperationError(ProofError):
    """The function did something that the explorer cannot follow exactly."""


class NondeterminismError(ProofError):
    """The function gave two answers to one question."""


class SymBool:
    """A truth value that depends on symbols; `&`, `|` and `^` build formulas, `bool()` forks."""

    __slots__ = ("term",)

    def __init__(self, term: z3.BoolRef) -> None:
        self.term = term

    def __bool__(self) -> bool:
        exploration = _ACTIVE.get()
        if exploration is None:
            raise UnsupportedOperationError("truth of a symbolic condition asked outside an exploration")
        return exploration.decide(self.term)

    def __and__(self, other: object) -> Any:
        if isinstance(other, bool):
            return self if other else False
        return SymBool(z3.And(self.term, _bool_term(other)))

    def __or__(self, other: object) -> Any:
        if isinstance(other, bool):
            return True if other else self
        return SymBool(z3.Or(self.term, _bool_term(other)))

    def __xor__(self, other: object) -> Any:
        if isinstance(other, bool):
            return SymBool(z3.Not(self.term)) if other else self
        return SymBool(z3.Xor(self.term, _bool_term(other)))

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __eq__(self, other: object) -> Any:
        return (self ^ other) ^ True

    def __ne__(self, other: object) -> Any:
        return self ^ other

    def __repr__(self) -> str:
        _refuse("repr", self)


class SymInt:
    """A Python integer whose value is a term over symbols."""

    __slots__ = ("term",)

    def __init__(self, term: z3.ArithRef) -> None:
        self.term = term

    def __add__(self, other: object) -> "SymInt":
        return SymInt(self.term + _int_term(other))

    def __radd__(self, other: object) -> "SymInt":
        return SymInt(_int_term(other) + self.term)

    def __sub__(self, other: object) -> "SymInt":
        return SymInt(self.term - _int_term(other))

    def __rsub__(self, other: object) -> "SymInt":
        return SymInt(_int_term(other) - self.term)

    def __mul__(self, other: object) -> "SymInt":
        return SymInt(self.term * _int_term(other))

    def __rmul__(self, other: object) -> "SymInt":
        return SymInt(_int_term(other) * self.term)

    def __floordiv__(self, other: object) -> "SymInt":
        return _floor_divide(self.term, _int_term(other))

    def __rfloordiv__(self, other: object) -> "SymInt":
        return _floor_divide(_int_term(other), self.term)

    def __neg__(self) -> "SymInt":
        return SymInt(-self.term)

    def __pos__(self) -> "SymInt":
        return self

    def __abs__(self) -> "SymInt":
        return SymInt(z3.If(self.term >= 0, self.term, -self.term))

    def __lt__(self, other: object) -> SymBool:
        return SymBool(self.term < _int_term(other))

    def __le__(self, other: object) -> SymBool:
        return SymBool(self.term <= _int_term(other))

    def __gt__(self, other: object) -> SymBool:
        return SymBool(self.term > _int_term(other))

    def __ge__(self, other: object) -> SymBool:
        return SymBool(self.term >= _int_term(other))

    def __eq__(self, other: object) -> Any:
        return SymBool(self.term == _int_term(other))

    def __ne__(self, other: object) -> Any:
        return SymBool(self.term != _int_term(other))

    def __bool__(self) -> bool:
        return bool(self != 0)

    def __repr__(self) -> str:
        _refuse("repr", self)


def _refuse(operation: str, value: object) -> NoReturn:
    raise UnsupportedOperationError(f"{operation} of a {type(value).__name__} is not supported")


def _refusal(operation: str) -> Callable[..., NoReturn]:
    def refuse(self: object, *_: object) -> NoReturn:
        _refuse(operation, self)

    return refuse


_ARITHMETIC = ("add", "sub", "mul", "floordiv")
_REFUSED = ("truediv", "mod", "divmod", "pow", "lshift", "rshift", "matmul")
_BITWISE = ("and", "or", "xor")
_CONVERSIONS = (
    "int", "float", "complex", "index", "hash", "str", "format", "bytes", "iter", "len", "contains",
    "getitem", "call", "round", "trunc", "floor", "ceil", "invert", "reduce_ex", "copy", "deepcopy",
)  # fmt: skip

for _name in _CONVERSIONS:
    setattr(SymInt, f"__{_name}__", _refusal(_name))
    setattr(SymBool, f"__{_name}__", _refusal(_name))
for _name in _REFUSED:
    for _side in ("", "r"):
        setattr(SymInt, f"__{_side}{_name}__", _refusal(_name))
        setattr(SymBool, f"__{_side}{_name}__", _refusal(_name))
for _side in ("", "r"):
    for _name in _BITWISE:
        setattr(SymInt, f"__{_side}{_name}__", _refusal(_name))
    for _name in _ARITHMETIC:
        setattr(SymBool, f"__{_side}{_name}__", _refusal(_name))
for _name in ("lt", "le", "gt", "ge", "neg", "pos", "abs"):
    setattr(SymBool, f"__{_name}__", _refusal(_name))


@attrs.frozen
class Path(Generic[T]):
    """One way through a function: taken if the conditions hold, ending in a value or an exception."""

    conditions: tuple[z3.BoolRef, ...]
    value: T | None
    error: Exception | None

    @property
    def condition(self) -> z3.BoolRef:
        """The conjunction of all conditions."""
        return z3.And(*self.conditions)


class _Exploration:
    def __init__(self, hypotheses: Iterable[z3.BoolRef]) -> None:
        self._solver = z3.Solver()
        self._solver.set("rlimit", FORK_RLIMIT)
        self._solver.set("random_seed", 0)
        self._solver.add(*hypotheses)
        self._script: tuple[bool, ...] = ()
        self._taken: list[bool] = []
        self.conditions: list[z3.BoolRef] = []
        self.pending: list[tuple[bool, ...]] = [()]

    def run(self, function: Callable[[], T]) -> Path[T]:
        """Take the next pending path, and leave the sides it passed by as pending."""
        script = self.pending.pop()
        first = self._once(function, script)
        again = self._once(function, tuple(self._taken))
        if not _same(first, again):
            raise NondeterminismError("two runs along one path differ: more than the arguments decides")
        return first

    def _once(self, function: Callable[[], T], script: tuple[bool, ...]) -> Path[T]:
        self._script, self._taken, self.conditions = script, [], []
        self._solver.push()
        token = _ACTIVE.set(self)
        try:
            value = function()
        except ProofError:
            raise
        except Exception as error:  # noqa: BLE001 - what a rule raises is part of its meaning
            return Path(tuple(self.conditions), None, error)
        else:
            return Path(tuple(self.conditions), value, None)
        finally:
            _ACTIVE.reset(token)
            self._solver.pop()

    def decide(self, condition: z3.BoolRef) -> bool:
        depth = len(self._taken)
        if depth == FORKS_MOST:
            raise UnsupportedOperationError(f"more than {FORKS_MOST} forks on one path")
        side = self._script[depth] if depth < len(self._script) else self._choose(condition)
        taken = condition if side else z3.Not(condition)
        self._taken.append(side)
        self.conditions.append(taken)
        self._solver.add(taken)
        return side

    def _choose(self, condition: z3.BoolRef) -> bool:
        # A side is left out only when the solver has refuted it: an unknown side is explored.
        if self._refuted(condition):
            return False
        if not self._refuted(z3.Not(condition)):
            self.pending.append((*self._taken, False))
        return True

    def _refuted(self, condition: z3.BoolRef) -> bool:
        return bool(self._solver.check(condition) == z3.unsat)


_ACTIVE: contextvars.ContextVar[_Exploration | None] = contextvars.ContextVar("exploration", default=None)


def explore(function: Callable[[], T], hypotheses: Iterable[z3.BoolRef] = ()) -> tuple[Path[T], ...]:
    """Return every path of a function of no arguments that closes over symbolic values.

    Each path is run twice and must give the same conditions and the same value.

    Raises:
        UnsupportedOperationError: the function does what symbols cannot follow, or has too many paths.
        NondeterminismError: two runs along one path differ.
    """
    if _ACTIVE.get() is not None:
        raise UnsupportedOperationError("an exploration inside an exploration")
    exploration = _Exploration(hypotheses)
    paths: list[Path[T]] = []
    while exploration.pending:
        if len(paths) == PATHS_MOST:
            raise UnsupportedOperationError(f"more than {PATHS_MOST} paths")
        paths.append(exploration.run(function))
    return tuple(paths)


def map_leaves(value: T, leaf: Callable[[object], object]) -> T:
    """Return a value with `leaf` applied to everything in it that is not a tuple, named or plain."""
    if not isinstance(value, tuple):
        return cast(T, leaf(value))
    mapped = [map_leaves(item, leaf) for item in value]
    return cast(T, type(value)(*mapped) if hasattr(value, "_fields") else tuple(mapped))


def leaves(value: object) -> tuple[object, ...]:
    """Return everything in a value that is not a tuple, named or plain, in order."""
    found: list[object] = []

    def keep(item: object) -> object:
        found.append(item)
        return item

    map_leaves(value, keep)
    return tuple(found)


def term_of(value: object) -> z3.ExprRef:
    """Return the term of a symbolic or concrete integer or truth value."""
    if isinstance(value, SymBool):
        return value.term
    return z3.BoolVal(value) if isinstance(value, bool) else _int_term(value)


def _same(first: Path[Any], second: Path[Any]) -> bool:
    if type(first.error) is not type(second.error) or len(first.conditions) != len(second.conditions):
        return False
    if not all(one.eq(other) for one, other in zip(first.conditions, second.conditions, strict=True)):
        return False
    ones, others = leaves(first.value), leaves(second.value)
    return len(ones) == len(others) and all(map(_same_leaf, ones, others))


def _same_leaf(one: object, other: object) -> bool:
    if isinstance(one, SymInt | SymBool) and isinstance(other, SymInt | SymBool):
        return type(one) is type(other) and bool(one.term.eq(other.term))
    if isinstance(one, SymInt | SymBool) or isinstance(other, SymInt | SymBool):
        return False
    return type(one) is type(other) and one == other


def _int_term(value: object) -> z3.ArithRef:
    if isinstance(value, SymInt):
        return value.term
    if isinstance(value, int):
        return z3.IntVal(int(value))
    _refuse("integer arithmetic", value)


def _bool_term(value: object) -> z3.BoolRef:
    if isinstance(value, SymBool):
        return value.term
    if isinstance(value, bool):
        return z3.BoolVal(value)
    _refuse("logic", value)


def _floor_divide(dividend: z3.ArithRef, divisor: z3.ArithRef) -> SymInt:
    if SymBool(divisor == 0):
        raise ZeroDivisionError("integer division or modulo by zero")
    # SMT-LIB's division rounds down for a positive divisor, Python's for every divisor.
    if SymBool(divisor > 0):
        return SymInt(dividend / divisor)
    return SymInt((-dividend) / (-divisor))
