"""A kernel that is not the proved one does not run unnoticed."""

import hashlib
import importlib
import json
import marshal
import struct
from importlib.util import MAGIC_NUMBER, cache_from_source
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


SHIPPED = shipped()


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


def test_a_theorem_that_is_not_proved_is_named(tmp_path: Path) -> None:
    certificate = shipped()
    certificate["theorems"] = [one for one in certificate["theorems"] if one["identifier"] != "T5"]
    certificate["theorems"][-1]["goals"] = []
    last = certificate["theorems"][-1]["identifier"]
    alone = [one for one in certificate["theorems"] if one["identifier"] == last][:-1]
    missing = ["T5"] if alone else sorted(["T5", last])
    assert doubts(written(tmp_path, certificate)) == (f"the certificate does not prove {', '.join(missing)}",)
    certificate["theorems"] = []
    (doubt,) = doubts(written(tmp_path, certificate))
    assert doubt.count("T") == 13


@pytest.mark.parametrize(("loaded", "is_named"), [("ALPHA_MAX = 1.2\n", False), ("ALPHA_MAX = 9.9\n", True)])
def test_bytecode_that_was_not_compiled_from_the_source_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loaded: str, is_named: bool
) -> None:
    source = tmp_path / f"rules_with_bytecode_{is_named}.py"
    source.write_text("ALPHA_MAX = 1.2\n", encoding="utf-8")
    # Python takes bytecode for that of a source of this time and size.
    found = source.stat()
    header = struct.pack("<4sIII", MAGIC_NUMBER, 0, int(found.st_mtime), found.st_size)
    cached = Path(cache_from_source(str(source)))
    cached.parent.mkdir(parents=True)
    cached.write_bytes(header + marshal.dumps(compile(loaded, str(source), "exec")))
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module(source.stem)
    assert float(loaded.split()[-1]) == module.ALPHA_MAX
    # The digests are those of the source, and have nothing to say.
    monkeypatch.setitem(certified._PARTS, "sources", (*certified._PARTS["sources"], module))
    certificate = shipped()
    certificate["kernel"]["sources"][source.stem] = hashlib.sha256(source.read_bytes()).hexdigest()
    named = (f"kernel/{source.stem}.py is not what was loaded",) if is_named else ()
    assert doubts(written(tmp_path, certificate)) == named


def test_a_source_that_cannot_be_compiled_any_more_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "rules_changed_since.py"
    source.write_text("ALPHA_MAX = 1.2\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module(source.stem)
    source.write_text("ALPHA_MAX = (\n", encoding="utf-8")
    monkeypatch.setitem(certified._PARTS, "sources", (*certified._PARTS["sources"], module))
    assert doubts() == (
        f"kernel/{source.stem}.py is not the source that was proved",
        f"kernel/{source.stem}.py is not what was loaded",
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
        {**SHIPPED, "theorems": 7},
        {**SHIPPED, "theorems": [7]},
        {**SHIPPED, "theorems": [{"identifier": "T1"}]},
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
