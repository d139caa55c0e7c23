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


@pytest.mark.parametrize(
    "given",
    [["--theorem", "T5", "--explain", "T5"], ["--theorem", "T5", "--check"], ["--explain", "T5", "--write"]],
)
def test_what_excludes_one_another_is_refused(given: list[str]) -> None:
    result = CliRunner().invoke(command.main, given)
    assert result.exit_code == 2
    assert "exclude one another" in result.stderr


@pytest.mark.parametrize("verdict", [Verdict.REFUTED, Verdict.UNKNOWN, Verdict.KILLED])
def test_whatever_is_not_proved_fails(verdict: Verdict, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Row("T1", "alpha_stays_in_bounds", "It holds.", 1, 1, verdict, 7, 0, "rules.start()", "start: why")
    monkeypatch.setattr(command, "prove_all", lambda *_: Results((row,)))
    result = CliRunner().invoke(command.main, [])
    assert result.exit_code == 1
    assert verdict.value in result.stdout
    assert result.stderr == "alpha_stays_in_bounds: start: why\n  rules.start()\n"


def test_a_kernel_that_cannot_be_followed_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Results:
        raise ProofError("kernel/rules.py line 7: import of time is not allowed")

    monkeypatch.setattr(command, "prove_all", refuse)
    result = CliRunner().invoke(command.main, [])
    assert result.exit_code == 1
    assert result.stderr == "error: kernel/rules.py line 7: import of time is not allowed\n"


@pytest.mark.parametrize(("proved", "code"), [(True, 0), (False, 1)])
def test_a_theorem_is_explained(proved: bool, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "explain", lambda name: (f"{name} says so", proved))
    result = CliRunner().invoke(command.main, ["--explain", "T5"])
    assert result.exit_code == code
    assert result.stdout == "T5 says so\n"


def test_what_is_generated_is_written_or_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[object] = []
    told: list[str] = []
    monkeypatch.setattr(command, "generate", lambda progress: progress(1, 2, "T1") or {"a": "1", "b": "2"})
    monkeypatch.setattr(command, "write", written.append)
    monkeypatch.setattr(command, "differences", lambda files: told)
    assert CliRunner().invoke(command.main, ["--write"]).stdout == "2 files written\n"
    assert written == [{"a": "1", "b": "2"}]
    current = CliRunner().invoke(command.main, ["--check"])
    assert (current.exit_code, current.stdout) == (0, "2 files are what is generated\n")
    told.append("a is missing")
    outdated = CliRunner().invoke(command.main, ["--check"])
    assert (outdated.exit_code, outdated.stdout) == (1, "a is missing\n")
