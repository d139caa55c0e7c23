"""The campaign drives the real kernel, and says what came of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "attunement.py"


def campaign(tmp_path, *options):
    figures = tmp_path / "figures.json"
    command = [sys.executable, str(SCRIPT), "--json", str(figures), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, json.loads(figures.read_text(encoding="utf-8"))


def test_supervisor_beats_hold_and_keeps_the_limit(tmp_path):
    scenarios = ("peak 1.1, σ 0.005", "entropy ramp")
    options = [option for name in scenarios for option in ("--scenario", name)]
    shown, cells = campaign(
        tmp_path, *options, "--method", "supervisor", "--method", "hold", "--seeds", "2", "--cycles", "200"
    )
    regret = {(cell["scenario"], cell["method"]): cell["regret"] for cell in cells}
    assert regret["peak 1.1, σ 0.005", "hold"] == pytest.approx(40.0)
    assert regret["entropy ramp", "hold"] == pytest.approx(115.2)
    for name in scenarios:
        assert regret[name, "supervisor"] < 0.15 * regret[name, "hold"]
        assert name in shown
    assert all(cell["unsafe"] == 0 and cell["latched"] == 0 for cell in cells)
    assert "geometric mean of the ratios" in shown


def test_draws_and_runs_in_two_processes(tmp_path):
    pytest.importorskip("matplotlib")
    campaign(
        tmp_path,
        *("--scenario", "two peaks", "--method", "hold", "--seeds", "2", "--cycles", "20"),
        *("--workers", "2", "--plots", str(tmp_path)),
    )
    for name in ("optimizers_alpha", "optimizers_regret"):
        assert (tmp_path / f"{name}.svg").read_text(encoding="utf-8").startswith("<?xml")
