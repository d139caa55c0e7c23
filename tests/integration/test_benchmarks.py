"""Every benchmark is a script that starts as its page says: by its path, from the project's folder."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(
    path.relative_to(ROOT)
    for path in (ROOT / "benchmarks").glob("*.py")
    if "__main__" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("script", SCRIPTS, ids=str)
def test_a_benchmark_tells_how_it_is_used(script):
    if script.name == "dashboard.py":
        pytest.importorskip("playwright")
    told = subprocess.run(
        [sys.executable, script, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert told.returncode == 0, told.stderr
    assert "usage" in told.stdout.lower()


@pytest.mark.parametrize(
    ("script", "options", "said"),
    [
        ("attunement.py", ["--trace", "nowhere"], "--trace adds rows to those of --engine"),
        ("attunement.py", ["--engine", "--trace", "nowhere"], "nowhere: is no folder"),
        ("attunement.py", ["--page", "nowhere.md"], "No such file or directory: 'nowhere.md'"),
        ("attunement.py", ["--page", "LICENSE"], "LICENSE must hold the line"),
        ("attunement.py", ["--plots", "nowhere"], "--plots: nowhere is no folder"),
        ("attunement.py", ["--json", "nowhere/figures.json"], "--json: nowhere is no folder"),
        ("trace.py", ["--folder", "nowhere"], "nowhere: is no folder"),
    ],
)
def test_what_would_fail_after_a_run_is_told_before_it(script, options, said):
    command = [sys.executable, f"benchmarks/{script}", *options]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == 2
    assert said in told.stderr
