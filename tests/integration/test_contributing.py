"""The example in CONTRIBUTING.md is an optimizer that works."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from threading import Event

import attrs

from attunement.acceptance import AcceptanceTest
from attunement.asking import BoundedOptimizer
from attunement.build import build_engine
from attunement.charter import NOBODY
from attunement.config_schema import Config
from attunement.controller import LambdaAttunementController
from attunement.governance import Governance, GovernedJournal
from attunement.measurement import Sensors
from attunement.policy import kernel_limits
from attunement.running import run_cycles
from kernel import SafetyKernel
from ledger import Ledger, NoteSigner, Signers, SigningKey, Verdict, verify
from optimizers.protocol import Space

ROOT = Path(__file__).resolve().parents[2]


def example() -> type:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (source,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, object] = {"__name__": "example"}
    exec(compile(source, "CONTRIBUTING.md", "exec"), names)
    found = names["HalfStep"]
    assert isinstance(found, type)
    return found


def test_the_optimizer_of_the_example_climbs_to_the_limit_and_no_further(tmp_path: Path) -> None:
    config = attrs.evolve(Config(), settle_delay=0.0)
    engine, limits, key = build_engine(config), kernel_limits(config), SigningKey(bytes(32))
    signers = Signers(key, NoteSigner("example.com/attunement", SigningKey(bytes(range(32)))))
    optimizer = example()(Space(config.alpha_min, config.alpha_max, config.delta_alpha_max))
    with Ledger.open(tmp_path / "ledger", signers, sync=lambda _: None) as ledger:
        governance = Governance(ledger, NOBODY, engine.get_psi)
        kernel = SafetyKernel.start(
            limits,
            1.0,
            GovernedJournal(governance),
            engine,
            governance,
            actor="test",
            reason="test",
        )
        controller = LambdaAttunementController(
            engine,
            Sensors(engine, coherence_window=1, rho=0.0, first_cycle=0),
            kernel,
            BoundedOptimizer(optimizer, timeout_s=5.0),
            AcceptanceTest(None, limits.tolerance_max),
            settle_delay_s=0.0,
            trial_deadline_s=60.0,
        )
        controller.start()
        run_cycles(engine, 120, 0.0, Event(), lambda: None)
        controller.stop()
    assert 1.05 < kernel.alpha <= 1.1
    assert not engine.in_runaway()
    report = verify(tmp_path / "ledger", key.verify_key, anchor=ledger.head())
    assert report.verdict is Verdict.VERIFIED


def block(language: str, holds: str) -> str:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    found = [one for one in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL) if holds in one]
    (only,) = found
    return str(only)


def test_the_package_of_the_example_is_installed_found_and_run_in_a_process_of_its_own(
    tmp_path: Path,
) -> None:
    source, site = tmp_path / "half-step", tmp_path / "site"
    source.mkdir()
    (source / "pyproject.toml").write_text(block("toml", "entry-points"), encoding="utf-8")
    code = block("python", "HalfStep") + "\n\n" + block("text", "def make")
    (source / "half_step.py").write_text(code, encoding="utf-8")
    install = ["pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    quiet = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    subprocess.run([sys.executable, "-m", *install, "--target", site, source], check=True, env=quiet)
    environ = {**os.environ, "PYTHONPATH": str(site), "ATTUNEMENT__OPTIMIZER__ASK_TIMEOUT": "30"}

    def told(*arguments: str) -> list[dict[str, object]]:
        command = [sys.executable, "-m", "attunement", "optimizers", *arguments, "--json"]
        out = subprocess.run(command, check=True, env=environ, stdout=subprocess.PIPE, cwd=tmp_path).stdout
        rows: list[dict[str, object]] = json.loads(out)
        return rows

    assert {
        "name": "half-step",
        "source": "half_step:make",
        "package": "half-step 1.0",
        "usable": True,
    } in told("list")
    (score,) = told(
        "bench", "half-step", "--isolate", "--scenario", "quadratic", "--cycles", "40", "--seeds", "1"
    )
    assert score["optimizer"] == "half-step"
    assert score["unsafe_commits"] == 0
    assert isinstance(score["final_alpha"], float)
    assert score["final_alpha"] > 1.0
