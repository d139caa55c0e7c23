"""`python -m proofs`: prove the shipped kernel and print the table."""

import sys

import click
from rich.console import Console

from proofs.explorer import ProofError
from proofs.prove import prove_all, render_table


@click.command()
@click.option("--theorem", "names", multiple=True, metavar="NAME", help="Prove only this one (name or T1..).")
def main(names: tuple[str, ...]) -> None:
    """Prove the theorems about the shipped kernel; exit 1 if one fails or is unknown."""
    try:
        results = prove_all(names or None)
    except ProofError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    Console(width=120).print(render_table(results))
    for row in results.rows:
        if row.reason:
            click.echo(f"{row.name}: {row.reason}\n  {row.counterexample}", err=True)
    sys.exit(0 if results.proved else 1)


if __name__ == "__main__":
    main()
