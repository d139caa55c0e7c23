"""Bayesian optimizers of other projects as tuners, where they are installed (extra `rivals`).

SafeOpt (Sui et al., ICML 2015; packages `safeopt` and `GPy`) expands a safe set and maximises in it. BoTorch
(Balandat et al., NeurIPS 2020) fits a Gaussian process and maximises an upper confidence bound. Both see what
our own methods see: J and the margins of one measurement a cycle, and the guard's and the kernel's limits.
"""

import warnings
from abc import abstractmethod
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, Final

import numpy as np

from optimizers import Optimizer, Space, create
from optimizers.errors import OptimizerStateError
from optimizers.excitation import coin
from optimizers.figures import StateReader
from optimizers.protocol import Outcome, State
from optimizers.tuner import Sample, Tuner, Wish

BETA: Final = 2.0
CELLS: Final = 101
"""Places in the range of α among which SafeOpt chooses."""
WINDOW: Final = 100
"""Newest samples that BoTorch fits: its cost grows with the cube of them."""
GREEN: Final = 4
"""Samples before which nothing is fitted."""


class _Rival(Tuner):
    """What both share: the samples, and a first step."""

    mode = "gradient"

    def __init__(self, space: Space, seed: int = 0) -> None:
        super().__init__(space, window=4, seed=seed)

    def _forget(self) -> None:
        self._rows: list[tuple[float, float, tuple[float, ...]]] = []
        self._told: tuple[float, ...] = ()

    def _halt(self) -> None:
        """Keep the samples."""

    @property
    def signal_to_noise(self) -> float | None:
        """Unknown."""
        return None

    def tell(self, outcome: Outcome) -> None:
        """Take in one measured cycle."""
        self._told = self.guard.figures(outcome.margins)
        super().tell(outcome)

    def _learn(self, _base: float, sample: Sample) -> None:
        self._rows.append((sample.alpha, sample.objective, self._told))

    def _wish(self, base: float) -> Wish | None:
        if len(self._rows) < GREEN:
            limit = self.space.delta_max
            return Wish(base + (limit if coin(self.seed, len(self._rows)) else -limit))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self._choose()

    @abstractmethod
    def _choose(self) -> Wish | None:
        """Fit what was seen, and say where to go."""

    def _dump(self) -> State:
        raise OptimizerStateError(f"{self.name} keeps no memory")

    def _load(self, _reader: StateReader) -> None:
        raise OptimizerStateError(f"{self.name} keeps no memory")


class SafeOptTuner(_Rival):
    """SafeOpt with its default settings, over J and every margin; all samples are kept."""

    name = "safeopt"

    def _forget(self) -> None:
        super()._forget()
        self._method: Any = None

    def _choose(self) -> Wish | None:
        import GPy
        import safeopt

        alphas = np.array([row[0] for row in self._rows])[:, None]
        figures = np.array([(row[1], *row[2]) for row in self._rows])
        if self._method is None:
            # Every figure in its own size; J is centred, margins are not: 0 is their limit.
            self._level = figures[:, 0].mean()
            self._size = np.maximum(np.abs(figures).max(axis=0), 1e-9)
            self._size[0] = 0.2
            length = (self.space.alpha_max - self.space.alpha_min) / 2
            models = [
                GPy.models.GPRegression(
                    alphas,
                    self._scaled(figures)[:, [column]],
                    GPy.kern.RBF(1, variance=1.0, lengthscale=length),
                    noise_var=max(self.sigma / 0.2, 1e-3) ** 2 if column == 0 else 0.01,
                )
                for column in range(figures.shape[1])
            ]
            places = np.linspace(self.space.alpha_min, self.space.alpha_max, CELLS)[:, None]
            least = [-np.inf] + [0.0] * (figures.shape[1] - 1)
            self._method = safeopt.SafeOpt(models, places, least, beta=BETA)
        else:
            self._method.add_new_data_point(alphas[-1:], self._scaled(figures[-1:]))
        try:
            return Wish(float(self._method.optimize()[0]))
        except (OSError, ValueError):
            # Its safe set is empty.
            return None

    def _scaled(self, figures: Any) -> Any:
        scaled = figures / self._size
        scaled[:, 0] -= self._level / self._size[0]
        return scaled


class BoTorchTuner(_Rival):
    """Upper confidence bound of a SingleTaskGP over the newest samples, within the guard's range."""

    name = "botorch"

    def _choose(self) -> Wish | None:
        import torch
        from botorch.acquisition import UpperConfidenceBound
        from botorch.fit import fit_gpytorch_mll
        from botorch.models import SingleTaskGP
        from botorch.models.transforms import Normalize, Standardize
        from gpytorch.mlls import ExactMarginalLogLikelihood

        rows = self._rows[-WINDOW:]
        bounds = torch.tensor([[self.space.alpha_min], [self.space.alpha_max]], dtype=torch.float64)
        alphas = torch.tensor([[row[0]] for row in rows], dtype=torch.float64)
        model = SingleTaskGP(
            alphas,
            torch.tensor([[row[1]] for row in rows], dtype=torch.float64),
            input_transform=Normalize(d=1, bounds=bounds),
            outcome_transform=Standardize(m=1),
        )
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        low, high = self.allowed()
        places = torch.linspace(low, high, CELLS, dtype=torch.float64)[:, None, None]
        with torch.no_grad():
            bound = UpperConfidenceBound(model, beta=BETA**2)(places)
        return Wish(float(places[int(bound.argmax())]))


def installed() -> tuple[str, ...]:
    """Return the names of those whose packages are there."""
    there = {
        SafeOptTuner.name: ("GPy", "safeopt"),
        BoTorchTuner.name: ("torch", "botorch"),
    }
    return tuple(name for name, needed in there.items() if all(find_spec(one) for one in needed))


def created(name: str, space: Space, settings: Mapping[str, object]) -> Optimizer:
    """Return an optimizer of this project or of another."""
    rivals = {tuner.name: tuner for tuner in (SafeOptTuner, BoTorchTuner)}
    if name in rivals:
        return rivals[name](space, seed=int(str(settings.get("seed", 0))))
    return create(name, space, settings)
