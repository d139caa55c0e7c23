"""The certificate: what was proved of which sources, by which solvers, at what cost. Generated, compared,
never edited.

It holds no time and no name of a machine: the same sources and solvers give the same bytes.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bitwuzla
import cvc5
import z3

from proofs.events import SYMBOLS
from proofs.explorer import ProofError
from proofs.goals import Goal
from proofs.invariants import invariant
from proofs.prove import Progress, Run, discharge_all, results_of
from proofs.report import REPORT_NAME, write_report
from proofs.solvers import Discharge, Verdict
from proofs.source import Kernel, shell_sources, shipped_kernel
from proofs.specification import FOLD, LAST, NANO, TOLERANCE_LAST
from proofs.stability import VARIATION_FLOOR, VARIATION_MOST, spread_of
from proofs.theorems import Theorem

ROOT = Path(__file__).resolve().parent.parent
CERTIFICATE = "proofs/certificate.json"
EXPORTS = "proofs/smt2"
MUTATION = "proofs/mutation.json"
PROVED_CONSTANTS: Mapping[str, int] = {
    "CYCLE_LAST": LAST,
    "LOOP_GAIN_FOLD": FOLD,
    "NANO": NANO,
    "NANO_SQUARED": NANO * NANO,
    "TOLERANCE_LAST": TOLERANCE_LAST,
}


class CertificateError(ProofError):
    """No certificate can be given, or the one that is there is not the one these sources give."""


def generate(progress: Progress | None = None) -> dict[str, str]:
    """Prove everything and return the text of every generated file, by its path from the project's root.

    Raises:
        CertificateError: a theorem is not proved, or a goal's cost varies too much.
        ProofError: see `proofs.prove_all`.
    """
    run = discharge_all(progress=progress, studied=True)
    for row in results_of(run).rows:
        if row.verdict is not Verdict.PROVED:
            raise CertificateError(f"{row.name} is {row.verdict.value}: {row.reason}")
    certificate = build(run, shipped_kernel())
    exported = [goal for goals in run.goals.values() for goal in goals if "witness" not in goal.means]
    files = {f"{EXPORTS}/{goal.key}.smt2": goal.text() for goal in exported}
    files[CERTIFICATE] = json.dumps(certificate, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    files[REPORT_NAME] = write_report(certificate)
    return files


def write(files: Mapping[str, str], root: Path = ROOT) -> None:
    """Write generated files below a root, and remove exports that are no longer generated."""
    (root / EXPORTS).mkdir(parents=True, exist_ok=True)
    for stale in _present_exports(root) - files.keys():
        (root / stale).unlink()
    for name, text in files.items():
        (root / name).write_text(text, encoding="utf-8")


def differences(files: Mapping[str, str], root: Path = ROOT) -> list[str]:
    """Return what is wrong below a root: generated files missing or different, exports not generated."""
    told = [f"{name} should not be there" for name in sorted(_present_exports(root) - files.keys())]
    for name, text in sorted(files.items()):
        path = root / name
        if not path.is_file():
            told.append(f"{name} is missing")
        elif path.read_bytes() != text.encode():
            told.append(f"{name} differs from what is generated")
    return told


def build(run: Run, kernel: Kernel) -> dict[str, Any]:
    """Return the certificate of a run as plain data."""
    return {
        "kernel": {
            "digest": kernel.digest,
            "sources": {name: _sha256(text) for name, text in kernel.sources.items()},
            "shell": {name: _sha256(text) for name, text in shell_sources().items()},
            "constants": _constants(kernel),
        },
        "solvers": {
            "z3": z3.get_version_string(),
            "cvc5": cvc5.__version__,
            "bitwuzla": bitwuzla.version(),
        },
        "theorems": build_theorems(run),
        "hypotheses": _hypotheses(run, kernel),
        "mutation": _mutation(kernel),
    }


def _constants(kernel: Kernel) -> dict[str, int]:
    """The kernel's constants, each the one that the specification names."""
    for name, proved in PROVED_CONSTANTS.items():
        module = kernel.limits if hasattr(kernel.limits, name) else kernel.quantity
        found = getattr(module, name)
        if found != proved:
            raise CertificateError(f"{name} is {found}, the one proved is {proved}")
    return dict(PROVED_CONSTANTS)


def build_theorems(run: Run) -> list[dict[str, Any]]:
    """Return what became of every goal of a run; with its spread, where it was studied."""
    return [_theorem(item, goals, run) for item, goals in run.goals.items()]


def _theorem(item: Theorem, goals: tuple[Goal, ...], run: Run) -> dict[str, Any]:
    return {
        "identifier": item.identifier,
        "name": item.name,
        "statement": item.statement,
        "goals": [_goal(goal, run) for goal in goals],
    }


def _goal(goal: Goal, run: Run) -> dict[str, Any]:
    answers = {means: run.answers[goal.key, means] for means in goal.means}
    paths = goal.paths + sum(answer.paths for answer in answers.values())
    told: dict[str, Any] = {"name": goal.name, "paths": paths}
    for means, answer in answers.items():
        told[means] = _answer(answer)
    if (goal.key, "spread") in run.answers:
        told["z3"] |= _spread(goal, run.answers[goal.key, "spread"])
    if "witness" not in goal.means:
        told["sha256"] = _sha256(goal.text())
    return told


def _answer(answer: Discharge) -> dict[str, Any]:
    told: dict[str, Any] = {"verdict": answer.verdict.value}
    if answer.rlimit:
        told["rlimit"] = answer.rlimit
    if answer.trusted:
        told["trusted"] = dict(answer.trusted)
    if answer.box:
        told["box"] = answer.box
    if answer.verdict is Verdict.UNFIT:
        told["reason"] = answer.reason
    return told


def _spread(goal: Goal, answer: Discharge) -> dict[str, int]:
    if answer.verdict is not Verdict.PROVED:
        raise CertificateError(f"{goal.key}: {answer.reason}")
    spread = spread_of(answer.costs)
    if not (spread.mean < VARIATION_FLOOR or spread.variation_permille <= 1000 * VARIATION_MOST):
        raise CertificateError(
            f"{goal.key}: rlimit varies by {spread.variation_permille / 10} %, must vary by at most "
            f"{100 * VARIATION_MOST:g} % over the seeds"
        )
    return {
        "rlimit_least": spread.least,
        "rlimit_mean": spread.mean,
        "rlimit_most": spread.most,
        "variation_permille": spread.variation_permille,
    }


def _hypotheses(run: Run, kernel: Kernel) -> list[dict[str, Any]]:
    """Each clause of the invariant, its reason, and the number of theorems in whose proof a goal uses it."""
    clauses = invariant(kernel, SYMBOLS["limits"], SYMBOLS["state"])
    used: dict[str, set[str]] = {clause.name: set() for clause in clauses}
    for item, goals in run.goals.items():
        for goal in goals:
            if "z3" in goal.means:
                for position in run.answers[goal.key, "core"].core:
                    used.get(goal.hypotheses[position][0], set()).add(item.name)
    return [
        {"name": clause.name, "reason": clause.reason, "theorems_that_use_it": len(used[clause.name])}
        for clause in clauses
    ]


def _mutation(kernel: Kernel) -> dict[str, Any] | None:
    """The summary of the last mutation run, if it was of these very sources."""
    path = ROOT / MUTATION
    if not path.is_file():
        return None
    told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if told.get("kernel") != kernel.digest:
        raise CertificateError(f"{MUTATION} is of other sources: run python -m proofs.mutation")
    return {name: told[name] for name in ("score", "counts") if name in told}


def _present_exports(root: Path) -> set[str]:
    return {f"{EXPORTS}/{path.name}" for path in (root / EXPORTS).glob("*.smt2")}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
