"""`python -m proofs` prints the table and says by its exit code whether all is proved."""

import pytest
from click.testing import CliRunner

import proofs.__main__ as command
from proofs import ProofError, Results, Row, Verdict


def test_one_theorem_is_proved_and_shown() -> None:
    result = CliRunner().invoke(command.main, ["--theorem", "T5"])
    assert result.exit_code == 0
    assert "only_an_authorised_approval_unlatches" in result.stdout
    assert "proved" in result.stdout
    assert result.stderr == ""


def test_an_unknown_theorem_is_an_error() -> None:
    result = CliRunner().invoke(command.main, ["--theorem", "T99"])
    assert result.exit_code == 1
    assert result.stderr.startswith("error: no theorem T99; there are invariant_is_inductive")


@pytest.mark.parametrize("verdict", [Verdict.REFUTED, Verdict.UNKNOWN, Verdict.KILLED])
def test_whatever_is_not_proved_fails(verdict: Verdict, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Row("T1", "alpha_stays_in_bounds", "It holds.", 1, 1, verdict, 7, 0, "rules.start()", "start: why")
    monkeypatch.setattr(command, "prove_all", lambda names: Results((row,)))
    result = CliRunner().invoke(command.main, [])
    assert result.exit_code == 1
    assert verdict.value in result.stdout
    assert result.stderr == "alpha_stays_in_bounds: start: why\n  rules.start()\n"


def test_a_kernel_that_cannot_be_followed_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(names: object) -> Results:
        raise ProofError("kernel/rules.py line 7: import of time is not allowed")

    monkeypatch.setattr(command, "prove_all", refuse)
    result = CliRunner().invoke(command.main, [])
    assert result.exit_code == 1
    assert result.stderr == "error: kernel/rules.py line 7: import of time is not allowed\n"
