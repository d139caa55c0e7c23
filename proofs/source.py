"""The kernel under proof: its modules, their source, and the check that they are pure."""

import ast
import builtins
import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs

import kernel.limits
import kernel.quantity
import kernel.rules
import kernel.safety_kernel
import kernel.state
from proofs.explorer import ProofError

PROVED_MODULES = ("limits", "quantity", "rules")
"""Modules of the kernel whose functions are proved."""

BOUNDARY_FUNCTIONS = frozenset({"exact_ratio", "name_of_type", "to_float"})
"""Functions that meet floats and foreign objects: argued and tested, not run on symbols."""

_IMPORTS = {
    "quantity": frozenset({"math", "sys", "typing"}),
    "limits": frozenset({"typing", "kernel.quantity"}),
    "rules": frozenset({"kernel.limits", "kernel.quantity", "kernel.state"}),
}
_BUILTINS = frozenset({"abs", "int", "max", "min"})
_NODES: tuple[type[ast.AST], ...] = (
    ast.Return, ast.Assign, ast.AugAssign, ast.Expr, ast.If, ast.For, ast.IfExp, ast.BinOp, ast.UnaryOp,
    ast.BoolOp, ast.Compare, ast.Call, ast.Name, ast.Attribute, ast.Subscript, ast.Tuple, ast.Starred,
    ast.Constant, ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.BitAnd, ast.BitOr, ast.BitXor, ast.And,
    ast.Or, ast.Not, ast.USub, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Load, ast.Store,
)  # fmt: skip
_MUTABLE = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp, ast.Lambda)


class ImpureKernelError(ProofError):
    """The kernel's source uses something outside the small language whose meaning is proved."""


@attrs.frozen
class Kernel:
    """The modules under proof and the text they were made of.

    Attributes:
        rules, limits, quantity: The modules themselves.
        sources: Text of each, by the name of the module.
    """

    rules: ModuleType
    limits: ModuleType
    quantity: ModuleType
    sources: Mapping[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 of the sources and of the modules' own names, hexadecimal."""
        whole = hashlib.sha256()
        for name in sorted(self.sources):
            data = self.sources[name].encode()
            whole.update(f"{name} {len(data)}\n".encode())
            whole.update(data)
        return whole.hexdigest()


def shipped_kernel() -> Kernel:
    """Return the kernel as imported, with the source it was imported from.

    Raises:
        ImpureKernelError: see `check_purity`.
    """
    modules = (kernel.limits, kernel.quantity, kernel.rules, kernel.state)
    sources = {
        module.__name__.removeprefix("kernel."): Path(module.__file__ or "").read_text(encoding="utf-8")
        for module in modules
    }
    _check(sources)
    return Kernel(kernel.rules, kernel.limits, kernel.quantity, sources)


def shell_sources() -> dict[str, str]:
    """Return the text of the kernel's modules that are tested and not proved, by the name of the file."""
    paths = [Path(module.__file__ or "") for module in (kernel, kernel.safety_kernel)]
    return {path.stem: path.read_text(encoding="utf-8") for path in paths}


def kernel_from(**changed: str) -> Kernel:
    """Return a kernel of the shipped sources with some of them changed (`rules=`, `limits=`, `quantity=`).

    The modules are made apart: nothing that is imported elsewhere changes.

    Raises:
        ImpureKernelError: see `check_purity`.
        SyntaxError: a source is no Python.
    """
    sources = {**shipped_kernel().sources, **changed}
    _check(sources)
    made: dict[str, ModuleType] = {"kernel.state": kernel.state}
    for name in ("quantity", "limits", "rules"):
        made[f"kernel.{name}"] = _module(f"kernel.{name}", sources[name], made)
    return Kernel(made["kernel.rules"], made["kernel.limits"], made["kernel.quantity"], sources)


def check_purity(name: str, source: str) -> None:
    """Check that a module stays within the small language whose meaning is proved.

    No import, builtin or syntax outside a short list; no loop but over a tuple at hand; no clock, chance, or
    global.

    Raises:
        ImpureKernelError: naming the line.
    """
    tree = ast.parse(source)
    known = set(_BUILTINS)
    for statement in tree.body:
        known |= _imported(name, statement)
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            known.add(statement.name)
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            known |= {target.id for target in targets if isinstance(target, ast.Name)}
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef):
            if statement.name not in BOUNDARY_FUNCTIONS:
                _check_function(name, statement, known)
        elif isinstance(statement, ast.ClassDef):
            _check_class(name, statement)
        elif not isinstance(statement, ast.ImportFrom | ast.Import):
            _check_constant(name, statement)


def _check(sources: Mapping[str, str]) -> None:
    for name in PROVED_MODULES:
        check_purity(name, sources[name])


def _module(name: str, source: str, made: Mapping[str, ModuleType]) -> ModuleType:
    def import_made(wanted: str, *rest: Any) -> object:
        return made[wanted] if wanted in made else builtins.__import__(wanted, *rest)

    module = ModuleType(name)
    module.__dict__["__builtins__"] = {**vars(builtins), "__import__": import_made}
    exec(compile(source, f"<{name}>", "exec"), module.__dict__)
    return module


def _refuse(name: str, node: ast.AST, what: str) -> None:
    raise ImpureKernelError(f"kernel/{name}.py line {getattr(node, 'lineno', 0)}: {what} is not allowed")


def _imported(name: str, statement: ast.stmt) -> set[str]:
    if not isinstance(statement, ast.ImportFrom | ast.Import):
        return set()
    for module in _modules(statement):
        if module not in _IMPORTS[name]:
            _refuse(name, statement, f"import of {module}")
    if any(item.asname for item in statement.names):
        _refuse(name, statement, "a renamed import")
    # What a module says (a flag, a size, a path) is no argument: only the boundary may ask one.
    return {item.name for item in statement.names} if isinstance(statement, ast.ImportFrom) else set()


def _modules(statement: ast.ImportFrom | ast.Import) -> list[str]:
    if isinstance(statement, ast.ImportFrom):
        return [statement.module or "."]
    return [item.name for item in statement.names]


def _check_class(name: str, statement: ast.ClassDef) -> None:
    for node in statement.body:
        documented = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        field = isinstance(node, ast.AnnAssign) and node.value is None
        if not (documented or field) or statement.decorator_list or statement.keywords:
            _refuse(name, node, "anything but typed fields in a class")


def _check_constant(name: str, statement: ast.stmt) -> None:
    for node in ast.walk(statement):
        if isinstance(node, ast.Call) and not (
            isinstance(node.func, ast.Name) and node.func.id in {"int", "tuple", "Nano", "NewType"}
        ):
            _refuse(name, node, "this call outside a function")
        if isinstance(node, _MUTABLE):
            _refuse(name, node, "a mutable global")
        if isinstance(node, ast.If | ast.For | ast.While | ast.Try | ast.With | ast.Global | ast.Delete):
            _refuse(name, node, "a statement outside a function")


def _check_function(name: str, function: ast.FunctionDef, known: set[str]) -> None:
    if function.decorator_list or function.args.defaults or function.args.kw_defaults:
        _refuse(name, function, "a decorator or a default")
    local = {argument.arg for argument in function.args.args}
    nodes = [node for statement in function.body for node in ast.walk(statement)]
    local |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    if local & known:
        _refuse(name, function, f"shadowing of {sorted(local & known)}")
    for node in nodes:
        if not isinstance(node, _NODES):
            _refuse(name, node, type(node).__name__)
        if isinstance(node, ast.Constant) and not isinstance(node.value, int | str):
            _refuse(name, node, f"the constant {node.value!r}")
        if isinstance(node, ast.Name) and node.id not in local | known:
            _refuse(name, node, f"the name {node.id}")
        if isinstance(node, ast.Attribute) and (node.attr.startswith("_") or isinstance(node.ctx, ast.Store)):
            _refuse(name, node, f"the attribute {node.attr}")
        if isinstance(node, ast.Call) and not (isinstance(node.func, ast.Name) and node.func.id not in local):
            _refuse(name, node, "a call of anything but a named function")
        if isinstance(node, ast.For) and not (isinstance(node.iter, ast.Name) and node.iter.id in local):
            _refuse(name, node, "a loop over anything but an argument")
