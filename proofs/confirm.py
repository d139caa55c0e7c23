"""`python -m proofs.confirm`: CrossHair must confirm every contract over all paths.

CrossHair exits 0 when it runs out of time, so its exit code is not asked: each `post:` line must be told to
be confirmed.
"""

import inspect
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from types import ModuleType

import attrs
import click

import proofs.contracts
from proofs.explorer import ProofError

CONDITION_S = 240
"""CPU seconds that CrossHair may spend on one condition."""

_TOLD = re.compile(r"^(?P<file>.*?):(?P<line>\d+): (?P<level>\w+): (?P<message>.*)$")
_CONFIRMED = "Confirmed over all paths."


@attrs.frozen
class Condition:
    """One `post:` line of a contract, and what CrossHair said about it ("" if nothing)."""

    contract: str
    line: int
    text: str
    told: str = ""

    @property
    def confirmed(self) -> bool:
        """Whether it holds on every path."""
        return self.told == _CONFIRMED


def conditions(module: ModuleType) -> tuple[Condition, ...]:
    """Return every condition of a module's public functions.

    Raises:
        ProofError: a public function has no condition.
    """
    found: list[Condition] = []
    for name, function in vars(module).items():
        if inspect.isfunction(function) and function.__module__ == module.__name__ and name[0] != "_":
            lines, first = inspect.getsourcelines(function)
            posts = [(first + k, line.strip()) for k, line in enumerate(lines) if line.strip()[:5] == "post:"]
            if not posts:
                raise ProofError(f"{name} has no post condition")
            found += [Condition(name, line, text) for line, text in posts]
    return tuple(found)


def confirm(module: ModuleType, names: Iterable[str] | None = None) -> tuple[Condition, ...]:
    """Let CrossHair check a module's contracts, by name (all if None), and return what it told of each.

    Raises:
        ProofError: there is no such contract, or CrossHair did not run.
    """
    known = conditions(module)
    wanted = {condition.contract for condition in known} if names is None else set(names)
    if unknown := wanted - {condition.contract for condition in known}:
        raise ProofError(f"no contract {', '.join(sorted(unknown))}")
    targets = [f"{module.__name__}.{name}" for name in sorted(wanted)]
    command = [sys.executable, "-m", "crosshair", "check", *targets, "--report_all", "--analysis_kind=PEP316"]
    run = subprocess.run(
        [*command, f"--per_condition_timeout={CONDITION_S}"], capture_output=True, text=True, check=False
    )
    if run.returncode not in (0, 1):
        raise ProofError(f"crosshair ended with {run.returncode}: {run.stderr.strip()[-500:]}")
    told = _told(run.stdout)
    return tuple(
        attrs.evolve(condition, told=told.get(condition.line, ""))
        for condition in known
        if condition.contract in wanted
    )


def _told(output: str) -> Mapping[int, str]:
    found = filter(None, map(_TOLD.match, output.splitlines()))
    return {int(match["line"]): match["message"] for match in found}


@click.command()
@click.argument("names", nargs=-1)
def main(names: tuple[str, ...]) -> None:
    """Confirm the contracts of that NAME, or all; exit 1 if one is not confirmed."""
    try:
        found = confirm(proofs.contracts, names or None)
    except ProofError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    for condition in found:
        mark = "confirmed" if condition.confirmed else "NOT CONFIRMED"
        click.echo(f"{mark}  {condition.contract}  {condition.text}")
        if not condition.confirmed:
            click.echo(f"  {condition.told or 'nothing was told within the time given'}", err=True)
    confirmed = sum(condition.confirmed for condition in found)
    click.echo(f"{confirmed} of {len(found)} conditions confirmed")
    sys.exit(0 if confirmed == len(found) else 1)


if __name__ == "__main__":
    main()
