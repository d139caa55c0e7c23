"""A kernel that is not the proved one does not run unnoticed."""

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from ledger_bench import signers_of

import kernel
from attunement import certified
from attunement.assembly import Attunement
from attunement.build import build_engine
from attunement.certified import UnverifiedKernelError, doubts, shipped_certificate
from attunement.config_schema import Config, LoggingConfig
from attunement.metrics import Metrics
from kernel import Mode
from ledger import SigningKey, read_records


def shipped() -> dict[str, Any]:
    path = shipped_certificate()
    assert path is not None
    certificate: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return certificate


def written(tmp_path: Path, certificate: object) -> Path:
    path = tmp_path / "certificate.json"
    path.write_text(json.dumps(certificate), encoding="utf-8")
    return path


def test_the_kernel_that_ships_is_the_one_that_was_proved() -> None:
    assert doubts() == ()


def test_every_module_of_the_kernel_is_certified() -> None:
    certificate = shipped()["kernel"]
    folder = Path(kernel.__file__).parent
    assert {*certificate["sources"], *certificate["shell"]} == {path.stem for path in folder.glob("*.py")}


@pytest.mark.parametrize(
    ("part", "name", "held"),
    [
        *(("sources", name, "proved") for name in ("limits", "quantity", "rules", "state")),
        *(("shell", name, "tested with it") for name in ("__init__", "safety_kernel")),
    ],
)
def test_another_source_is_named(tmp_path: Path, part: str, name: str, held: str) -> None:
    certificate = shipped()
    certificate["kernel"][part][name] = "0" * 64
    assert doubts(written(tmp_path, certificate)) == (f"kernel/{name}.py is not the source that was {held}",)
    del certificate["kernel"][part][name]
    assert doubts(written(tmp_path, certificate)) == (f"kernel/{name}.py is not the source that was {held}",)


def test_a_proved_source_that_does_not_run_is_named(tmp_path: Path) -> None:
    certificate = shipped()
    certificate["kernel"]["sources"]["extra"] = "0" * 64
    assert doubts(written(tmp_path, certificate)) == (
        "extra was proved and is not part of the running kernel",
    )


@pytest.mark.parametrize(
    "broken",
    [
        {},
        [],
        {"kernel": {"sources": 7, "shell": {}}},
        {"kernel": {"sources": {}, "shell": 7}},
        {"kernel": {"sources": {"rules": None}, "shell": {}}},
        {"kernel": {"sources": {}}},
    ],
)
def test_a_certificate_that_cannot_be_read_is_a_doubt(tmp_path: Path, broken: object) -> None:
    (doubt,) = doubts(written(tmp_path, broken))
    assert "cannot be read" in doubt


def test_a_missing_certificate_is_a_doubt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (doubt,) = doubts(tmp_path / "nowhere.json")
    assert "cannot be read" in doubt
    monkeypatch.setattr(certified, "CERTIFICATE", "no-such-file.json")
    assert doubts() == ("no certificate ships with this installation",)


def test_a_doubtful_kernel_runs_only_when_allowed_and_the_ledger_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certified, "CERTIFICATE", "no-such-file.json")
    config = attrs.evolve(
        Config(), settle_delay=0.0, logging=LoggingConfig(audit_ledger_path=str(tmp_path / "ledger.log"))
    )
    key = SigningKey(bytes(32))
    with pytest.raises(UnverifiedKernelError, match="no certificate ships"):
        Attunement(config, build_engine(config), signers_of(key))
    assert not (tmp_path / "ledger.log").exists()
    for _ in range(2):
        with Attunement(config, build_engine(config), signers_of(key), allow_unverified=True) as attunement:
            assert attunement.kernel.mode is Mode.READY
    reasons = [
        str(record.body["reason"]) for record in read_records(tmp_path / "ledger.log") if record.sequence
    ]
    assert reasons == [
        "first start; kernel not verified: no certificate ships with this installation",
        "restart; kernel not verified: no certificate ships with this installation",
    ]


@pytest.mark.parametrize("verified", [True, False])
def test_the_metric_says_which(verified: bool) -> None:
    metrics = Metrics()
    metrics.on_start(kernel_is_verified=verified)
    assert metrics.registry.get_sample_value("uhes_kernel_verified") == float(verified)
