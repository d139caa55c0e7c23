"""What a solver is asked: hypotheses and the negation of a claim, as one self-contained SMT-LIB text."""

from collections.abc import Callable, Iterable, Mapping

import attrs
import z3

from proofs.explorer import term_of
from proofs.invariants import Clause


@attrs.frozen
class Counterexample:
    """A model of a negated claim, carried back to the code.

    Attributes:
        call: The Python call, or calls, that the model stands for.
        confirmed: Whether making that call breaks the claim.
    """

    call: str
    confirmed: bool


Replay = Callable[[Mapping[str, int]], Counterexample]


@attrs.frozen
class Goal:
    """A claim to be proved by refuting its negation.

    Attributes:
        theorem, name: Which theorem, and which of its goals.
        hypotheses: What is assumed, by label.
        refutation: The negated claim; proved when it cannot hold together with the hypotheses.
        paths: Number of paths of the kernel that the goal speaks of.
        logic: SMT-LIB's name of the logic.
        means: How it is discharged: by "z3", by "cvc5", by "bitwuzla" where it fits words (`proofs.words`),
            or by "witness" (`proofs.witnesses`).
        script: The text, where it is not made from hypotheses and refutation.
        replay: Carries a model back to the code, where the goal speaks of code.
    """

    theorem: str
    name: str
    hypotheses: tuple[tuple[str, z3.BoolRef], ...]
    refutation: z3.BoolRef
    paths: int
    logic: str = "QF_NIA"
    means: tuple[str, ...] = ("z3", "cvc5", "bitwuzla")
    script: str = ""
    replay: Replay | None = None

    @property
    def key(self) -> str:
        """Name of the goal among all goals."""
        return f"{self.theorem}.{self.name}"

    def text(self) -> str:
        """Return the SMT-LIB script that is unsatisfiable if the claim holds."""
        if self.script:
            return self.script
        solver = z3.Solver()
        solver.add(*(formula for _, formula in self.hypotheses), self.refutation)
        return (
            f"; {self.theorem}: {self.name}\n; unsat: the claim holds\n"
            f"(set-logic {self.logic})\n{solver.sexpr()}(check-sat)\n"
        )


def any_of(formulas: Iterable[z3.BoolRef]) -> z3.BoolRef:
    """Return that one of the formulas holds; false of none."""
    several = list(formulas)
    return z3.Or(*several) if several else z3.BoolVal(False)


def labelled(clauses: Iterable[Clause]) -> tuple[tuple[str, z3.BoolRef], ...]:
    """Return clauses as a goal's hypotheses."""
    return tuple((clause.name, term_of(clause.holds)) for clause in clauses)
