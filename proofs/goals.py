"""What a solver is asked: hypotheses and the negation of a claim, as one self-contained SMT-LIB text."""

from collections.abc import Iterable

import attrs
import z3

from proofs.explorer import term_of
from proofs.invariants import Clause


@attrs.frozen
class Goal:
    """A claim to be proved by refuting its negation.

    Attributes:
        theorem, name: Which theorem, and which of its goals.
        hypotheses: What is assumed, by label.
        refutation: The negated claim; proved when it cannot hold together with the hypotheses.
        paths: Number of paths of the kernel that the goal speaks of.
        logic: SMT-LIB's name of the logic.
    """

    theorem: str
    name: str
    hypotheses: tuple[tuple[str, z3.BoolRef], ...]
    refutation: z3.BoolRef
    paths: int
    logic: str = "QF_NIA"

    @property
    def key(self) -> str:
        """Name of the goal among all goals."""
        return f"{self.theorem}.{self.name}"

    def text(self) -> str:
        """Return the SMT-LIB script that is unsatisfiable if the claim holds."""
        solver = z3.Solver()
        solver.add(*(formula for _, formula in self.hypotheses), self.refutation)
        return (
            f"; {self.theorem}: {self.name}\n; unsat: the claim holds\n"
            f"(set-logic {self.logic})\n{solver.sexpr()}(check-sat)\n"
        )


def labelled(clauses: Iterable[Clause]) -> tuple[tuple[str, z3.BoolRef], ...]:
    """Return clauses as a goal's hypotheses."""
    return tuple((clause.name, term_of(clause.holds)) for clause in clauses)
