"""The workflow: a schema's judge, a security linter, and targets that are there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "quantum-currency-beta.yml"
PROGRAMS = Path(sys.executable).parent
WANTED = {
    "run-attunement-unit-tests",
    "run-attunement-integration-tests",
    "coverage",
    "attunement-lint",
    "monitoring",
    "dashboard",
    "proofs",
}
SCHEDULED = {
    "mutation",
    "stress",
    "soak",
    "crosshair",
    "crosshair-properties",
    "fold-campaign",
    "newer-pythons",
}


def jobs():
    return YAML(typ="safe").load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]


def program(name, *arguments):
    path = PROGRAMS / name
    if not path.exists():
        pytest.skip(f"{name} is not installed")
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_is_a_workflow():
    program("check-jsonschema", "--builtin-schema", "vendor.github-workflows", str(WORKFLOW))


def test_the_security_linter_finds_nothing():
    program("zizmor", "--offline", "--no-progress", str(WORKFLOW))


def test_every_job_that_is_wanted_is_there():
    found = jobs()
    assert set(found) >= WANTED | SCHEDULED
    assert {name for name, job in found.items() if "schedule" in job.get("if", "")} >= SCHEDULED


def test_actions_are_pinned_by_their_hash():
    used = [step["uses"] for job in jobs().values() for step in job["steps"] if "uses" in step]
    assert used
    assert [one for one in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", one)] == []


def test_every_job_runs_a_target_of_the_makefile():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for name, job in jobs().items():
        runs = [step["run"] for step in job["steps"] if "run" in step]
        words = [word for run in runs if run.startswith("make ") for word in run.split()[1:]]
        made = [word for word in words if "=" not in word]
        assert made, name
        assert set(made) <= targets, name
        assert [run for run in runs if not run.startswith("make ") and run != ".ci/services"] == [], name


def test_every_job_that_installs_the_services_lets_no_test_miss_one():
    for name, job in jobs().items():
        runs = [step["run"] for step in job["steps"] if "run" in step]
        given = [step.get("env") for step in job["steps"] if step.get("run", "").startswith("make ")]
        said = {"SERVICES_ARE_INSTALLED": "1"} if ".ci/services" in runs else None
        assert given == [said] * len(given), name


@pytest.mark.parametrize(("installed", "code", "told"), [("1", 1, " errors in"), ("0", 0, " skipped in")])
def test_a_test_without_its_program_fails_where_all_are_installed(tmp_path, installed, code, told):
    environment = {**os.environ, "PATH": str(tmp_path), "SERVICES_ARE_INSTALLED": installed}
    command = [sys.executable, "-m", "pytest", "-rs", "tests/integration/test_runbooks.py"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, told in done.stdout) == (code, True), done.stdout
    assert "curl or bash is not here" in done.stdout
