"""The trusted core stays small and stands alone."""

import ast
import io
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KERNEL = sorted((ROOT / "kernel").glob("*.py"))
STANDARD = {"collections", "decimal", "enum", "math", "sys", "threading", "time", "typing"}
CODE_LINES_MAX = 600


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            found.add(str(node.module).split(".")[0])
    return found


def test_the_kernel_imports_a_few_standard_modules_and_itself() -> None:
    assert {path.name for path in KERNEL} >= {
        "limits.py",
        "quantity.py",
        "rules.py",
        "safety_kernel.py",
        "state.py",
    }
    for path in KERNEL:
        assert imports(path) <= STANDARD | {"kernel"}, path.name


def test_the_rules_see_no_clock_and_no_device() -> None:
    for name in ("limits.py", "quantity.py", "state.py", "rules.py"):
        assert imports(ROOT / "kernel" / name) <= {"enum", "math", "sys", "typing", "kernel"}


def test_only_proofs_and_attunement_know_the_others() -> None:
    allowed: dict[str, set[str]] = {
        "optimizers": set(),
        "ledger": set(),
        "attunement": {"kernel", "optimizers", "ledger", "proofs"},
        "proofs": {"kernel"},
    }
    ours = set(allowed) | {"kernel"}
    for package, may_import in allowed.items():
        for path in (ROOT / package).rglob("*.py"):
            assert imports(path) & ours <= may_import | {package}, path


def test_the_kernel_can_be_read_in_an_hour() -> None:
    assert sum(map(code_lines, KERNEL)) <= CODE_LINES_MAX


def code_lines(path: Path) -> int:
    source = path.read_text(encoding="utf-8")
    silent = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in silent:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)
