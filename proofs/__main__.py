"""`python -m proofs`: prove the shipped kernel and print the table; write or check what is generated from
it."""

import sys

import click
from rich.console import Console
from rich.progress import Progress

from proofs.certificate import differences, generate, write
from proofs.explorer import ProofError
from proofs.prove import Progress as Steps
from proofs.prove import explain, prove_all, render_table


@click.command()
@click.option("--theorem", "names", multiple=True, metavar="NAME", help="Prove only this one (name or T1..).")
@click.option("--explain", "explained", metavar="NAME", help="Prove one theorem and say what it is.")
@click.option("--write", "mode", flag_value="write", help="Prove all; write certificate, report, exports.")
@click.option("--check", "mode", flag_value="check", help="Prove all and compare with what was written.")
def main(names: tuple[str, ...], explained: str | None, mode: str | None) -> None:
    """Prove the theorems about the shipped kernel; exit 1 if one fails or is unknown."""
    if len([given for given in (names, explained, mode) if given]) > 1:
        raise click.UsageError("--theorem, --explain, --write and --check exclude one another")
    try:
        sys.exit(_generated(mode) if mode else _explained(explained) if explained else _proved(names))
    except ProofError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


def _proved(names: tuple[str, ...]) -> int:
    with _progress() as progress:
        results = prove_all(names or None, _steps(progress))
    Console(width=120).print(render_table(results))
    for row in results.rows:
        if row.reason:
            click.echo(f"{row.name}: {row.reason}\n  {row.counterexample}", err=True)
    return 0 if results.proved else 1


def _explained(name: str) -> int:
    text, proved = explain(name)
    click.echo(text)
    return 0 if proved else 1


def _generated(mode: str) -> int:
    with _progress() as progress:
        files = generate(_steps(progress))
    if mode == "write":
        write(files)
        click.echo(f"{len(files)} files written")
        return 0
    told = differences(files)
    click.echo("\n".join(told) if told else f"{len(files)} files are what is generated")
    return 1 if told else 0


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not console.is_terminal)


def _steps(progress: Progress) -> Steps:
    task = progress.add_task("proving", total=None)
    return lambda done, total, name: progress.update(task, completed=done, total=total, description=name)


if __name__ == "__main__":
    main()
