"""A seeded simulator of node features, with shocks."""

from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy import float64
from numpy.typing import NDArray

from attunement.config_schema import Shock, shock_problems
from attunement.engine_protocol import SCALES
from attunement.sources import FeatureBlock, SourceError


class SimulatedSource:
    """Features F = (1, …, 1)/√dims + noise·N(0, 1), the same Ψ at every scale, and shocks on top.

    Args:
        nodes: Rows of a block.
        dims: Columns of a block.
        psi: Ψ outside shocks, in [0, 1].
        noise: Standard deviation of each component's noise.
        seed: Seed of the noise and of the choice of the nodes that each shock strikes.
        shocks: Disturbances; those that overlap add up, in the order latency last.

    Raises:
        SourceError: A shock does not fit.
    """

    def __init__(
        self,
        nodes: int,
        dims: int,
        psi: float = 0.9,
        noise: float = 0.05,
        seed: int = 0,
        shocks: Sequence[Shock] = (),
    ) -> None:
        for index, shock in enumerate(shocks):
            for problem in shock_problems(shock, dims):
                raise SourceError(f"shocks[{index}]{problem}")
        self._nodes = nodes
        self._dims = dims
        self._psi = psi
        self._noise = noise
        self._generator = np.random.default_rng(seed)
        self._struck = [(shock, _struck(shock, nodes, seed, index)) for index, shock in enumerate(shocks)]
        longest_delay = max((int(shock.magnitude) for shock in shocks if shock.kind == "latency"), default=0)
        self._past: deque[NDArray[float64]] = deque(maxlen=longest_delay + 1)
        self._sequence = 0

    @property
    def nodes(self) -> int:
        """Rows of every block."""
        return self._nodes

    @property
    def dims(self) -> int:
        """Columns of every block."""
        return self._dims

    def next(self) -> FeatureBlock:
        """Deliver the next sample; there is always one."""
        self._sequence += 1
        active = [
            (shock, struck)
            for shock, struck in self._struck
            if shock.start <= self._sequence < shock.start + shock.length
        ]
        self._past.append(self._undelayed(active))
        return FeatureBlock(self._delayed(active), self._disturbed_psi(active), self._sequence)

    def _undelayed(self, active: list[tuple[Shock, NDArray[np.intp]]]) -> NDArray[float64]:
        centre = np.full((self._nodes, self._dims), 1 / np.sqrt(self._dims))
        noise = np.full((self._nodes, 1), self._noise)
        for shock, struck in active:
            if shock.kind == "partition":
                centre[struck] = _turned(centre[struck], shock.magnitude)
            elif shock.kind == "spectral":
                noise[struck] += shock.magnitude
        # The draw has one size whatever the shocks: two runs with one seed differ only where a shock strikes.
        return centre + noise * self._generator.standard_normal((self._nodes, self._dims))

    def _delayed(self, active: list[tuple[Shock, NDArray[np.intp]]]) -> NDArray[float64]:
        features = self._past[-1].copy()
        for shock, struck in active:
            if shock.kind == "latency":
                age = min(int(shock.magnitude), len(self._past) - 1)
                features[struck] = self._past[-1 - age][struck]
        return features

    def _disturbed_psi(self, active: list[tuple[Shock, NDArray[np.intp]]]) -> NDArray[float64]:
        psi = self._psi
        for shock, _ in active:
            if shock.kind == "psi":
                psi *= shock.magnitude
            elif shock.kind == "drift":
                gone = (self._sequence - shock.start) / shock.length
                psi *= 1.0 + (shock.magnitude - 1.0) * (1.0 - abs(2.0 * gone - 1.0))
        return np.full(len(SCALES), min(psi, 1.0))


def _struck(shock: Shock, nodes: int, seed: int, index: int) -> NDArray[np.intp]:
    count = max(1, round(shock.share * nodes))
    chosen: NDArray[np.intp] = np.random.default_rng((seed, index)).permutation(nodes)[:count]
    return chosen


def _turned(centre: NDArray[float64], share_of_right_angle: float) -> NDArray[float64]:
    across = np.zeros(centre.shape[1])
    across[0], across[-1] = np.sqrt(0.5), -np.sqrt(0.5)
    angle = share_of_right_angle * np.pi / 2
    turned: NDArray[float64] = np.cos(angle) * centre + np.sin(angle) * across
    return turned
