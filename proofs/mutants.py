"""Every small change of the kernel's rules and limits: one change a mutant, made on the syntax tree.

What is changed is behaviour: operators, constants, checks, calls, members, fields, branches, statements and
what is returned. Docstrings, annotations, type aliases and imports are no behaviour and are left alone.
"""

import ast
import enum
import itertools
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence

import attrs

from kernel import state as _state
from kernel.limits import Limits
from kernel.state import Comparison, Kind, Mode, Outcome, Reading, State
from proofs.source import Kernel

MUTATED_MODULES = ("rules", "limits")

_COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
_ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.FloorDiv)
_LOGIC = (ast.BitAnd, ast.BitOr, ast.BitXor)
_VALUES = {cls.__name__: typing.get_type_hints(cls) for cls in (Limits, State, Reading, Comparison)}
_ENUMS: Mapping[str, type[enum.Enum]] = {cls.__name__: cls for cls in (Mode, Kind, Outcome)}
_BOUND = {name: member for name, member in vars(_state).items() if isinstance(member, enum.Enum)}
_CONSTANTS = ("CYCLE_LAST", "LOOP_GAIN_FOLD", "NANO", "NANO_SQUARED", "TOLERANCE_LAST")
_NUMERIC = ("Nano", "int")
_NO_BEHAVIOUR = frozenset({"annotation", "returns", "decorator_list", "type_params", "type_comment", "ctx"})


@attrs.frozen
class Mutant:
    """One change of one module.

    Attributes:
        module: "rules" or "limits".
        line: Line of the shipped source.
        definition: Function or constant that was changed.
        kind: Kind of the change.
        before, after: The changed piece of source, shortened where a block was changed.
        source: The whole changed module.
    """

    module: str
    line: int
    definition: str
    kind: str
    before: str
    after: str
    source: str

    @property
    def name(self) -> str:
        """File, line and change on one line."""
        return f"kernel/{self.module}.py:{self.line} {self.kind}: {self.before} → {self.after}"


def mutants_of(kernel: Kernel) -> tuple[Mutant, ...]:
    """Return every mutant of a kernel, in the order of its source; no two have the same source."""
    found: dict[str, Mutant] = {}
    for module in MUTATED_MODULES:
        source = kernel.sources[module]
        for statement in filter(_is_behaviour, ast.parse(source).body):
            unchanged = _spliced(source, statement)
            for mutant in _mutants(module, source, statement):
                if mutant.source != unchanged:
                    found.setdefault(mutant.source, mutant)
    return tuple(found.values())


def uses_of(kernel: Kernel, definition: str) -> frozenset[str]:
    """Return the functions and constants of a kernel that use a definition, themselves or through others."""
    uses: dict[str, set[str]] = {}
    for module in MUTATED_MODULES:
        for statement in ast.parse(kernel.sources[module]).body:
            names = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
            uses[_defined(statement)] = names
    reached = {definition}
    while more := {name for name, used in uses.items() if used & reached} - reached:
        reached |= more
    return frozenset(reached)


@attrs.frozen
class _Scope:
    """What a change may know of its surroundings: parameters by type, constants, functions, names."""

    parameters: Mapping[str, str]
    constants: frozenset[str]
    functions: Mapping[str, ast.FunctionDef]
    unpacked: tuple[tuple[str, ...], ...]


@attrs.frozen
class _Slot:
    """Where a node hangs in its tree."""

    parent: ast.AST
    field: str
    index: int | None
    node: ast.AST

    def put(self, new: Sequence[ast.AST]) -> None:
        held = getattr(self.parent, self.field)
        if self.index is None:
            (only,) = new
            setattr(self.parent, self.field, only)
        else:
            setattr(self.parent, self.field, [*held[: self.index], *new, *held[self.index + 1 :]])


def _mutants(module: str, source: str, statement: ast.stmt) -> Iterator[Mutant]:
    scope = _Scope(_parameters(statement), _constants(source), _functions(source), _unpacked(statement))
    for slot in _slots(statement):
        line = getattr(slot.node, "lineno", statement.lineno)
        held = getattr(slot.parent, slot.field)
        for kind, new in _changes(slot.node, scope):
            if new or (slot.index is not None and len(held) > 1):
                slot.put(new)
                changed = _spliced(source, statement)
                setattr(slot.parent, slot.field, held)
                before, after = _text([slot.node]), _text(new)
                yield Mutant(module, line, _defined(statement), kind, before, after, changed)


def _slots(parent: ast.AST) -> Iterator[_Slot]:
    for field, value in ast.iter_fields(parent):
        if field in _NO_BEHAVIOUR or isinstance(parent, ast.arguments):
            continue
        for index, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            documents = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if isinstance(node, ast.AST) and not documents:
                yield _Slot(parent, field, index, node)
                yield from _slots(node)


def _changes(node: ast.AST, scope: _Scope) -> Iterator[tuple[str, Sequence[ast.AST]]]:
    for kinds, kind, change in _OPERATORS:
        if isinstance(node, kinds):
            for new in change(node, scope):
                yield kind, new if isinstance(new, list) else [new]


def _comparison(node: ast.Compare, _: _Scope) -> Iterator[ast.expr]:
    for k, old in enumerate(node.ops):
        for new in _others(_COMPARISONS, old):
            yield ast.Compare(node.left, [*node.ops[:k], new, *node.ops[k + 1 :]], node.comparators)


def _arithmetic(node: ast.BinOp, _: _Scope) -> Iterator[ast.expr]:
    if not isinstance(node.op, _LOGIC):
        yield from (ast.BinOp(node.left, new, node.right) for new in _others(_ARITHMETIC, node.op))
        yield from (node.left, node.right)


def _logic(node: ast.BinOp | ast.AugAssign, _: _Scope) -> Iterator[ast.AST]:
    if isinstance(node.op, _LOGIC):
        if isinstance(node, ast.AugAssign):
            yield from (ast.AugAssign(node.target, new, node.value) for new in _others(_LOGIC, node.op))
            yield ast.Assign([node.target], node.value, lineno=node.lineno)
        else:
            yield from (ast.BinOp(node.left, new, node.right) for new in _others(_LOGIC, node.op))
            yield from (node.left, node.right)


def _boolean(node: ast.BoolOp, _: _Scope) -> Iterator[ast.expr]:
    yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    for k in range(len(node.values)):
        yield ast.BoolOp(node.op, [*node.values[:k], *node.values[k + 1 :]])


def _operand(node: ast.UnaryOp, _: _Scope) -> Iterator[ast.expr]:
    yield node.operand


def _constant(node: ast.Constant, _: _Scope) -> Iterator[ast.expr]:
    if isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node.value, int):
        yield from (ast.Constant(value) for value in sorted({node.value + 1, node.value - 1, 0, 1}))
    elif isinstance(node.value, str):
        yield ast.Constant(f"{node.value}_")


def _call(node: ast.Call, scope: _Scope) -> Iterator[ast.expr]:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name in ("min", "max", "abs"):
        yield from node.args
        yield ast.UnaryOp(ast.USub(), node)
    if name in ("min", "max"):
        yield ast.Call(ast.Name("max" if name == "min" else "min"), node.args, [])
    own = scope.functions.get(name)
    for other in scope.functions.values():
        if own is not None and other is not own and _signature(other) == _signature(own):
            yield ast.Call(ast.Name(other.name), node.args, [])


def _arguments(node: ast.Call, _: _Scope) -> Iterator[ast.expr]:
    for swapped in _swaps(node.args):
        yield ast.Call(node.func, swapped, [])
    whole = {"Verdict": 2, "new_verdict": 3}
    if isinstance(node.func, ast.Name) and whole.get(node.func.id) == len(node.args):
        yield ast.Call(node.func, node.args[:-1], [])


def _tuple(node: ast.Tuple, _: _Scope) -> Iterator[ast.expr]:
    for swapped in _swaps(node.elts):
        yield ast.Tuple(swapped, node.ctx)
    if isinstance(node.ctx, ast.Load):
        for k in range(len(node.elts)):
            yield ast.Tuple([*node.elts[:k], *node.elts[k + 1 :]], node.ctx)


def _member(node: ast.Attribute | ast.Name, scope: _Scope) -> Iterator[ast.expr]:
    if isinstance(node, ast.Name):
        member = _BOUND.get(node.id) if isinstance(node.ctx, ast.Load) else None
    else:
        owner = node.value.id if isinstance(node.value, ast.Name) else ""
        member = _ENUMS[owner][node.attr] if owner in _ENUMS else None
        if _VALUES.get(scope.parameters.get(owner, ""), {}).get(node.attr) is Mode:
            yield from (ast.Name(mode.name) for mode in Mode)
    for other in _alternatives(member):
        yield ast.Name(other.name) if isinstance(other, Mode) else _dotted(type(other).__name__, other.name)


def _alternatives(member: enum.Enum | None) -> Iterator[enum.Enum]:
    """All other modes and kinds, and the two neighbours of an outcome."""
    if member is None:
        return
    members = list(type(member))
    for other in members:
        apart = (members.index(other) - members.index(member)) % len(members)
        if apart in (1, len(members) - 1) or (apart and not isinstance(member, Outcome)):
            yield other


def _field(node: ast.Attribute, scope: _Scope) -> Iterator[ast.expr]:
    owner = node.value.id if isinstance(node.value, ast.Name) else ""
    fields = _VALUES.get(scope.parameters.get(owner, ""), {})
    for name, hint in fields.items():
        if name != node.attr and hint is fields[node.attr]:
            yield _dotted(owner, name)
    for other, kind in scope.parameters.items():
        if fields and other != owner and node.attr in _VALUES.get(kind, {}):
            yield _dotted(other, node.attr)


def _name(node: ast.Name, scope: _Scope) -> Iterator[ast.expr]:
    if not isinstance(node.ctx, ast.Load):
        return
    known = [name for name in _CONSTANTS if name in scope.constants]
    for group in (known, *scope.unpacked):
        yield from (ast.Name(other) for other in group if node.id in group and other != node.id)
    kind = scope.parameters.get(node.id)
    for other, other_kind in scope.parameters.items():
        if other != node.id and (kind == other_kind or {kind, other_kind} <= {*_NUMERIC}):
            yield ast.Name(other)


def _unit(node: ast.Attribute | ast.Name, scope: _Scope) -> Iterator[ast.expr]:
    if isinstance(node, ast.Name):
        numeric = isinstance(node.ctx, ast.Load) and scope.parameters.get(node.id) in _NUMERIC
    else:
        owner = node.value.id if isinstance(node.value, ast.Name) else ""
        hint = _VALUES.get(scope.parameters.get(owner, ""), {}).get(node.attr)
        numeric = getattr(hint, "__name__", "") in _NUMERIC
    if numeric:
        yield from (ast.BinOp(node, op, ast.Constant(1)) for op in (ast.Add(), ast.Sub()))
        yield ast.UnaryOp(ast.USub(), node)


def _branch(node: ast.If | ast.IfExp, _: _Scope) -> Iterator[ast.AST | list[ast.stmt]]:
    make = type(node)
    for test in (ast.UnaryOp(ast.Not(), node.test), ast.Constant(True), ast.Constant(False)):
        yield make(test, node.body, node.orelse)  # type: ignore[arg-type]
    if isinstance(node, ast.If) and node.orelse:
        yield ast.If(node.test, node.body, [])


def _statement(_: ast.stmt, __: _Scope) -> Iterator[list[ast.stmt]]:
    yield []


def _returned(node: ast.Return, scope: _Scope) -> Iterator[ast.stmt]:
    if isinstance(node.value, ast.Name):
        yield from (ast.Return(ast.Constant(value)) for value in (True, False))
    if isinstance(node.value, ast.Tuple) and "state" in scope.parameters:
        yield ast.Return(ast.Tuple([ast.Name("state"), *node.value.elts[1:]], ast.Load()))


_Change = Callable[[typing.Any, _Scope], Iterator[typing.Any]]

_OPERATORS: tuple[tuple[tuple[type[ast.AST], ...], str, _Change], ...] = (
    ((ast.Compare,), "comparison", _comparison),
    ((ast.BinOp,), "arithmetic", _arithmetic),
    ((ast.BinOp, ast.AugAssign), "logic of checks", _logic),
    ((ast.BoolOp,), "and, or", _boolean),
    ((ast.UnaryOp,), "sign, not", _operand),
    ((ast.Constant,), "constant", _constant),
    ((ast.Call,), "min, max, abs, callee", _call),
    ((ast.Call,), "arguments", _arguments),
    ((ast.Tuple,), "checks and tuples", _tuple),
    ((ast.Attribute, ast.Name), "enum member", _member),
    ((ast.Attribute,), "field", _field),
    ((ast.Name,), "name", _name),
    ((ast.Attribute, ast.Name), "one unit, sign", _unit),
    ((ast.If, ast.IfExp), "branch", _branch),
    ((ast.stmt,), "statement", _statement),
    ((ast.Return,), "returned value", _returned),
)

KINDS = tuple(kind for _, kind, _ in _OPERATORS)
"""The kinds of change, in the order of the table."""


def _others(choices: Sequence[type[typing.Any]], old: ast.AST) -> Iterator[typing.Any]:
    return (choice() for choice in choices if not isinstance(old, choice))


def _swaps(items: list[ast.expr]) -> Iterator[list[ast.expr]]:
    for k in range(len(items) - 1):
        yield [*items[:k], items[k + 1], items[k], *items[k + 2 :]]


def _dotted(owner: str, name: str) -> ast.expr:
    return ast.Attribute(ast.Name(owner), name)


def _signature(function: ast.FunctionDef) -> tuple[int, str]:
    return len(function.args.args), ast.unparse(function.returns) if function.returns else ""


def _constants(source: str) -> frozenset[str]:
    top = ast.parse(source).body
    imported = {item.name for node in top if isinstance(node, ast.ImportFrom) for item in node.names}
    return frozenset(imported | {_defined(node) for node in top})


def _functions(source: str) -> dict[str, ast.FunctionDef]:
    return {item.name: item for item in ast.parse(source).body if isinstance(item, ast.FunctionDef)}


def _spliced(source: str, statement: ast.stmt) -> str:
    """Return a source with the lines of one statement written anew from its tree."""
    lines = source.splitlines()
    lines[statement.lineno - 1 : statement.end_lineno] = ast.unparse(statement).splitlines()
    return "\n".join(lines) + "\n"


def _parameters(statement: ast.stmt) -> dict[str, str]:
    given = statement.args.args if isinstance(statement, ast.FunctionDef) else []
    return {item.arg: ast.unparse(item.annotation) for item in given if item.annotation}


def _unpacked(statement: ast.stmt) -> tuple[tuple[str, ...], ...]:
    """Names bound by one unpacking, and names in the same place of two."""
    targets = [
        tuple(ast.unparse(name) for name in node.elts)
        for node in ast.walk(statement)
        if isinstance(node, ast.Tuple) and isinstance(node.ctx, ast.Store)
    ]
    alike = [pair for two in itertools.combinations(targets, 2) for pair in zip(*two, strict=False)]
    return (*targets, *alike)


def _is_behaviour(statement: ast.stmt) -> bool:
    # A class has typed fields only, and a bare assignment of a type is an alias.
    alias = isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Subscript)
    return isinstance(statement, ast.FunctionDef | ast.Assign | ast.AnnAssign) and not alias


def _defined(statement: ast.stmt) -> str:
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return statement.name
    targets = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
    return next((node.id for node in targets if isinstance(node.ctx, ast.Store)), "")


def _text(nodes: Sequence[ast.AST]) -> str:
    lines = itertools.chain.from_iterable(ast.unparse(node).splitlines() for node in nodes)
    whole = " ".join(line.strip() for line in lines) or "(nothing)"
    return whole if len(whole) <= 100 else f"{whole[:97]}..."
