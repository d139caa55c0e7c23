"""Tuners that move a centre and swing around it, so that every cycle is a sample."""

from abc import abstractmethod
from typing import Final

from optimizers import fit
from optimizers.excitation import TRIANGLE_SHARE, Triangle, coin
from optimizers.figures import LARGEST_DERIVED, StateReader, clip, optional
from optimizers.protocol import Space, State, Verdict
from optimizers.tuner import Sample, Tuner, Wish

CLEAR: Final = 4.0
"""Significance of the gradient at which moving the centre alone teaches enough."""


class DitheredTuner(Tuner):
    """Suggests centre + triangle; a subclass fits the samples and moves the centre.

    After a step was measured worse every move is a probe, and only an α that was probed and found better is
    stepped to, until a step is committed: a search among worse α must not add up to a row of reverts, which a
    kernel takes for an alarm.
    """

    def __init__(self, space: Space, window: int, forgetting: float, seed: int) -> None:
        self._forgetting = forgetting
        super().__init__(space, window, seed)

    @abstractmethod
    def _estimate(self, base: float) -> fit.Line | None:
        """Estimate the gradient at base from the samples, None when α has too little spread."""

    @abstractmethod
    def _advance(self, centre: float, estimate: fit.Line, room: float) -> float:
        """Return the next centre, at most room away."""

    @property
    def signal_to_noise(self) -> float | None:
        """Absolute gradient in standard errors, None while α has too little spread."""
        return None if self._fitted is None else abs(self._fitted.significance)

    def _forget(self) -> None:
        self._centre: float | None = None
        self._triangle = Triangle(rising=coin(self.seed, 0))
        self._cautious = False
        self._hope: float | None = None
        self._fitted: fit.Line | None = None

    def _halt(self) -> None:
        self._centre = None
        self._triangle.offset = 0.0
        self._hope = None

    def _learn(self, base: float, sample: Sample) -> None:
        if sample.verdict is Verdict.COMMITTED:
            self._cautious = False
        elif sample.verdict is Verdict.REVERTED and not sample.probed:
            self._cautious = True
            self._halt()
        elif self._cautious and sample.probed:
            here = [objective for alpha, objective in self._samples if alpha == base]
            self._hope = sample.alpha if here and sample.objective > here[-1] else None
        self._fitted = self._estimate(base)
        if self._fitted is not None:
            self.gradient = self._fitted.slope

    def _wish(self, base: float) -> Wish | None:
        limit = self.space.delta_max
        before = base if self._centre is None else self._centre
        centre, climbing = before, False
        if self._fitted is not None:
            clear = abs(self._fitted.significance) >= CLEAR
            room = limit if clear else (1.0 - TRIANGLE_SHARE) * limit
            centre = clip(self._advance(before, self._fitted, room), *self.allowed())
            climbing = clear and self._gains(centre, before, self._fitted.slope)
        self._centre = centre
        reach = 0.0 if climbing else self._swing()
        swung = centre + self._triangle.advance(reach, TRIANGLE_SHARE * limit)
        if self._hope is not None:
            target, self._hope = self._hope, None
            return Wish(target)
        return Wish(swung, probe=self._cautious)

    def _gains(self, centre: float, before: float, slope: float) -> bool:
        """Say whether the centre climbs fast enough to teach, or leans on a wall or bound."""
        low, high = self.allowed()
        leaning = centre == (high if slope > 0.0 else low)
        return leaning or abs(centre - before) >= (1.0 - TRIANGLE_SHARE) * self.space.delta_max

    def _swing(self) -> float:
        return self.excitation(self._effective_samples())

    def _effective_samples(self) -> int:
        return max(1, min(len(self._samples), round(1.0 / (1.0 - self._forgetting + 1e-9))))

    def _dump(self) -> State:
        fitted = [] if self._fitted is None else [self._fitted.slope, self._fitted.error]
        return {
            "centre": optional(self._centre),
            "cautious": int(self._cautious),
            "hope": optional(self._hope),
            "fitted": fitted,
            **self._triangle.state(),
        }

    def _load(self, reader: StateReader) -> None:
        self._centre = reader.optional("centre")
        self._cautious = bool(reader.integer("cautious", 0, 1))
        self._hope = reader.optional("hope")
        fitted = reader.rows("fitted", 2, 1, LARGEST_DERIVED)
        self._fitted = fit.Line(*fitted[0]) if fitted else None
        self._triangle = Triangle.restored(reader)
