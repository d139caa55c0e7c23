"""CrossHair confirms the quick contracts here and all of them in `make crosshair`; silence is no pass."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import get_type_hints

import pytest
from click.testing import CliRunner

import proofs.confirm as command
import proofs.contracts
from proofs.confirm import Condition, conditions, confirm
from proofs.events import SIGNATURES, concrete_arguments
from proofs.explorer import ProofError

QUICK = (
    "floor_ratio_is_the_greatest_below",
    "hold_is_every_comparison",
    "recover_unlatches_nothing",
    "well_formed_limits_are_in_order",
)

BROKEN = '''
def halves(number: int) -> int:
    """
    post: __return__ * 2 == number
    """
    return number // 2


def squares(number: int) -> int:
    """
    post: __return__ >= 0
    """
    return number * number
'''


def test_quick_contracts_are_confirmed() -> None:
    found = confirm(proofs.contracts, QUICK)
    assert {condition.contract for condition in found} == set(QUICK)
    assert len(found) == 9
    assert [condition for condition in found if not condition.confirmed] == []


def test_a_false_contract_is_not_confirmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    false, true = confirm(_module(tmp_path, monkeypatch, BROKEN))
    assert not false.confirmed
    assert "false when calling halves" in false.told
    assert true.confirmed


def test_every_rule_has_a_contract() -> None:
    source = Path(proofs.contracts.__file__).read_text(encoding="utf-8")
    for rule in SIGNATURES:
        assert f"return rules.{rule}(" in source
    assert len(conditions(proofs.contracts)) == 40


def test_every_contract_calls_the_kernel_on_plain_values() -> None:
    given = concrete_arguments("settle", {}) | {"target": 1, "authorised": True}
    state, limits, reading = given["state"], given["limits"], given["reading"]
    values = {"State": state, "Limits": limits, "Reading": reading, "Comparison": given["comparison"]}
    names = {condition.contract for condition in conditions(proofs.contracts)}
    for name in sorted(names):
        contract = getattr(proofs.contracts, name)
        hints = {part: hint for part, hint in get_type_hints(contract).items() if part != "return"}
        assert contract(*(values.get(hint.__name__, 1) for hint in hints.values())) is not None
    assert proofs.contracts._below(1, (0, 1, 2), 1)
    assert not proofs.contracts._below(1, (0, 1, -2), 1)


def test_a_function_without_a_condition_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProofError, match="halves has no post condition"):
        conditions(
            _module(tmp_path, monkeypatch, "def halves(number: int) -> int:\n    return number // 2\n")
        )


def test_an_unknown_contract_is_an_error() -> None:
    result = CliRunner().invoke(command.main, ["thirds"])
    assert result.exit_code == 1
    assert result.stderr == "error: no contract thirds\n"


def test_a_crosshair_that_does_not_run_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = _module(tmp_path, monkeypatch, BROKEN)
    # The process finds no module of that name in its own path, nor anywhere else.
    monkeypatch.setattr(module, "__name__", "contracts_that_are_nowhere")
    for name in ("halves", "squares"):
        monkeypatch.setattr(getattr(module, name), "__module__", "contracts_that_are_nowhere")
    with pytest.raises(ProofError, match="crosshair ended with 2"):
        confirm(module)


@pytest.mark.parametrize(
    ("told", "exit_code"), [("Confirmed over all paths.", 0), ("Not confirmed.", 1), ("", 1)]
)
def test_only_confirmed_is_a_pass(told: str, exit_code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    condition = Condition("halves", 4, "post: __return__ * 2 == number", told)
    monkeypatch.setattr(command, "confirm", lambda module, names: (condition,))
    result = CliRunner().invoke(command.main, [])
    assert result.exit_code == exit_code
    assert f"{1 - exit_code} of 1 conditions confirmed" in result.stdout


def _module(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> ModuleType:
    path = folder / "broken_contracts.py"
    path.write_text(source, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    spec = importlib.util.spec_from_file_location("broken_contracts", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "broken_contracts", module)
    spec.loader.exec_module(module)
    return module
