"""The certificate, the report and the exports belong together, and to these sources."""

import hashlib
import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from proofs import certificate as subject
from proofs.certificate import CertificateError, build, differences, generate, write
from proofs.prove import Run, discharge_all
from proofs.report import REPORT_NAME, write_report
from proofs.solvers import Discharge, Verdict
from proofs.source import kernel_from, shipped_kernel

COMMITTED: dict[str, Any] = json.loads((subject.ROOT / subject.CERTIFICATE).read_text(encoding="utf-8"))
GOALS = {f"{item['name']}.{goal['name']}": goal for item in COMMITTED["theorems"] for goal in item["goals"]}


@pytest.fixture(scope="module")
def run() -> Run:
    return discharge_all(["products_keep_order", "above_the_fold_nothing_is_fixed"], studied=True)


def test_the_committed_report_is_that_of_the_committed_certificate() -> None:
    assert (subject.ROOT / REPORT_NAME).read_text(encoding="utf-8") == write_report(COMMITTED)


def test_the_committed_exports_are_the_certified_texts() -> None:
    folder = subject.ROOT / subject.EXPORTS
    found = {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.smt2")}
    assert found == {key: goal["sha256"] for key, goal in GOALS.items() if "sha256" in goal}


def test_every_certified_goal_is_proved_by_every_means() -> None:
    verdicts = [
        goal[means]["verdict"] for goal in GOALS.values() for means in goal.keys() & {"z3", "cvc5", "witness"}
    ]
    assert set(verdicts) == {"proved"}
    words = [goal["bitwuzla"] for goal in GOALS.values() if "bitwuzla" in goal]
    assert {told["verdict"] for told in words if "box" in told} == {"proved"}
    assert all(told["verdict"] == "unfit" and told["reason"] for told in words if "box" not in told)
    assert sum("box" in told for told in words) > 150
    assert sum("cvc5" in goal for goal in GOALS.values()) > 150
    assert sum(len(goal["cvc5"].get("trusted", {})) for goal in GOALS.values() if "cvc5" in goal) < 10


def test_a_certificate_tells_costs_and_spread(run: Run) -> None:
    told = build(run, shipped_kernel())
    assert told["kernel"]["digest"] == shipped_kernel().digest
    (lemma,) = told["theorems"][0]["goals"]
    assert lemma["name"] == "monotone"
    assert lemma["z3"]["rlimit"] > 0
    assert lemma["z3"]["rlimit_least"] <= lemma["z3"]["rlimit_mean"] <= lemma["z3"]["rlimit_most"]
    assert lemma["cvc5"] == {"verdict": "proved"}
    assert all(clause["theorems_that_use_it"] == 0 for clause in told["hypotheses"])
    assert "Used by no proof, so any theorem holds without it: `policy.alpha_min`" in write_report(told)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            Discharge(Verdict.PROVED, costs=(9000, 9000, 2000)),
            "rlimit varies by 49.5 %, must vary by at most 20 %",
        ),
        (Discharge(Verdict.UNKNOWN, reason="not proved under seed 3"), "monotone: not proved under seed 3"),
    ],
)
def test_a_proof_that_hangs_by_a_thread_gets_no_certificate(
    run: Run, answer: Discharge, message: str
) -> None:
    answers = {**run.answers, ("products_keep_order.monotone", "spread"): answer}
    with pytest.raises(CertificateError, match=message):
        build(attrs.evolve(run, answers=answers), shipped_kernel())


def test_a_broken_kernel_gets_no_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = shipped_kernel().sources
    fold = kernel_from(limits=sources["limits"].replace("367_879_441", "367_879_442"))
    broken = discharge_all(["fold_is_the_largest_nano_below_one_over_e"], kernel=fold)
    monkeypatch.setattr(subject, "discharge_all", lambda **_: broken)
    with pytest.raises(
        CertificateError, match="fold_is_the_largest_nano_below_one_over_e is refuted: fold by z3"
    ):
        generate()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("limits", "CYCLE_LAST"),
        ("limits", "LOOP_GAIN_FOLD"),
        ("limits", "TOLERANCE_LAST"),
        ("quantity", "NANO"),
        ("quantity", "NANO_SQUARED"),
    ],
)
def test_a_constant_that_is_not_the_one_proved_gets_no_certificate(run: Run, module: str, name: str) -> None:
    kernel = kernel_from()
    kept = getattr(getattr(kernel, module), name)
    for part in (kernel.limits, kernel.quantity):
        if hasattr(part, name):
            setattr(part, name, kept + 1)
    with pytest.raises(CertificateError, match=f"{name} is {kept + 1}, the one proved is {kept}"):
        build(run, kernel)


def test_generated_files_are_written_compared_and_swept(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(subject, "discharge_all", lambda **_: run)
    files = generate()
    assert subject.CERTIFICATE in files
    assert REPORT_NAME in files
    assert sum(name.endswith(".smt2") for name in files) == sum(len(goals) for goals in run.goals.values())
    assert len(differences(files, tmp_path)) == len(files)
    write(files, tmp_path)
    assert differences(files, tmp_path) == []
    stale = tmp_path / subject.EXPORTS / "gone.smt2"
    stale.write_text("(check-sat)\n")
    (tmp_path / REPORT_NAME).write_text("something else\n")
    (tmp_path / subject.CERTIFICATE).unlink()
    assert differences(files, tmp_path) == [
        "proofs/smt2/gone.smt2 should not be there",
        "proofs/certificate.json is missing",
        f"{REPORT_NAME} differs from what is generated",
    ]
    write(files, tmp_path)
    assert differences(files, tmp_path) == []
    assert not stale.exists()


def test_a_mutation_run_of_other_sources_is_refused(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(subject, "ROOT", tmp_path)
    (tmp_path / "proofs").mkdir()
    told = {"kernel": shipped_kernel().digest, "score": "100 %", "counts": {"killed": 7, "equivalent": 1}}
    path = tmp_path / subject.MUTATION
    assert "No mutation run of these sources" in write_report(build(run, shipped_kernel()))
    path.write_text(json.dumps(told))
    assert "Score: 100 % (1 equivalent, 7 killed)." in write_report(build(run, shipped_kernel()))
    path.write_text(json.dumps({**told, "kernel": "other"}))
    with pytest.raises(CertificateError, match="of other sources"):
        build(run, shipped_kernel())
