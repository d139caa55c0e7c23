"""What a feature source delivers."""

from typing import Protocol

import attrs
from numpy import float64
from numpy.typing import NDArray


class SourceError(Exception):
    """A feature source cannot deliver."""


class SourceExhaustedError(SourceError):
    """A feature source has come to its end."""


@attrs.frozen(eq=False)
class FeatureBlock:
    """One sample of every node.

    Attributes:
        features: F_t, [nodes, dims]; only the direction of a row counts.
        psi: Ψ_t of L_mu, L_phi, L_Phi, each in [0, 1], [3].
        sequence: Number of the sample; it rises when, and only when, the sample is new.
    """

    features: NDArray[float64]
    psi: NDArray[float64]
    sequence: int


class FeatureSource(Protocol):
    """Anything that delivers feature blocks of one fixed shape."""

    @property
    def nodes(self) -> int:
        """Rows of every block."""

    @property
    def dims(self) -> int:
        """Columns of every block."""

    def next(self) -> FeatureBlock:
        """Deliver the newest sample.

        Raises:
            SourceExhaustedError: There is none left.
        """
