"""Bayesian optimization by BoTorch as a tuner, where it is installed (extra `rivals`).

BoTorch (Balandat et al., NeurIPS 2020) fits a Gaussian process, and the largest upper confidence bound is
taken. It sees what our own methods see: J of one measurement a cycle, and the limits of guard and kernel.
SafeOpt 0.16, its last release, imports a name that Python dropped in 3.10, so that it cannot take part.
"""

import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Final

from optimizers import Optimizer, Space, create
from optimizers.errors import OptimizerStateError
from optimizers.excitation import coin
from optimizers.figures import StateReader
from optimizers.protocol import State
from optimizers.tuner import Sample, Tuner, Wish

BETA: Final = 2.0
"""Standard deviations of the confidence bound."""
CELLS: Final = 101
"""Places in the allowed range of α among which it chooses."""
WINDOW: Final = 100
"""Newest samples that are fitted: the cost grows with the cube of them."""
GREEN: Final = 4
"""Samples before which nothing is fitted."""


class BoTorchTuner(Tuner):
    """Goes to the largest upper confidence bound of a SingleTaskGP, within what the guard allows."""

    name = "botorch"
    mode = "gradient"

    def __init__(self, space: Space, seed: int = 0) -> None:
        super().__init__(space, window=WINDOW, seed=seed)

    def _forget(self) -> None:
        """Keep nothing but the samples."""

    def _halt(self) -> None:
        """Keep the samples."""

    @property
    def signal_to_noise(self) -> float | None:
        """Unknown."""
        return None

    def _learn(self, _base: float, _sample: Sample) -> None:
        """The samples are kept anyway."""

    def _wish(self, base: float) -> Wish | None:
        if len(self._samples) < GREEN:
            limit = self.space.delta_max
            return Wish(base + (limit if coin(self.seed, len(self._samples)) else -limit))
        with warnings.catch_warnings():
            # It says that it prefers scaled inputs, and that a fit was tried again.
            warnings.simplefilter("ignore")
            return Wish(self._best())

    def _best(self) -> float:
        import torch
        from botorch.acquisition import UpperConfidenceBound
        from botorch.fit import fit_gpytorch_mll
        from botorch.models import SingleTaskGP
        from botorch.models.transforms import Normalize, Standardize
        from gpytorch.mlls import ExactMarginalLogLikelihood

        alphas, objectives = torch.tensor(list(self._samples), dtype=torch.float64).T[:, :, None]
        bounds = torch.tensor([[self.space.alpha_min], [self.space.alpha_max]], dtype=torch.float64)
        model = SingleTaskGP(
            alphas,
            objectives,
            input_transform=Normalize(d=1, bounds=bounds),
            outcome_transform=Standardize(m=1),
        )
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        places = torch.linspace(*self.allowed(), CELLS, dtype=torch.float64)[:, None, None]
        with torch.no_grad():
            bound = UpperConfidenceBound(model, beta=BETA**2)(places)
        return float(places[int(bound.argmax())])

    def _dump(self) -> State:
        raise OptimizerStateError(f"{self.name} keeps no memory")

    def _load(self, _reader: StateReader) -> None:
        raise OptimizerStateError(f"{self.name} keeps no memory")


def installed() -> tuple[str, ...]:
    """Return the names of the methods whose packages are there."""
    return (BoTorchTuner.name,) if find_spec("botorch") else ()


def created(name: str, space: Space, settings: Mapping[str, object]) -> Optimizer:
    """Return an optimizer of this project or of another."""
    if name == BoTorchTuner.name:
        return BoTorchTuner(space, seed=int(str(settings.get("seed", 0))))
    return create(name, space, settings)
