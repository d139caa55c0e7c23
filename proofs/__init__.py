"""Theorems about the kernel that ships: its source run on symbols, every path discharged by solvers."""

from proofs.explorer import NondeterminismError, ProofError, UnsupportedOperationError
from proofs.prove import Results, Row, UnknownTheoremError, explain, prove_all, render_table
from proofs.solvers import Verdict
from proofs.source import ImpureKernelError

__all__ = [
    "ImpureKernelError",
    "NondeterminismError",
    "ProofError",
    "Results",
    "Row",
    "UnknownTheoremError",
    "UnsupportedOperationError",
    "Verdict",
    "explain",
    "prove_all",
    "render_table",
]
