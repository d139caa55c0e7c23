"""A walk away from a found peak, to look for a higher one where the local parabola cannot hold."""

import math
from typing import Final

import attrs

from optimizers.errors import OptimizerStateError
from optimizers.figures import LARGEST_DERIVED, StateReader, clip
from optimizers.fit import Line
from optimizers.protocol import Space, State, Verdict

PAYBACK: Final = 175.0
"""Cycles in which the best that could be found, J = 1, would have to pay for the walk."""
LOSS: Final = 0.2
"""Part of J that the walk is taken to cost per cycle, before it is known."""
PACE: Final = 0.5
"""Part of delta_max that the walk is taken to make per cycle, and begins with."""
SHORTEST: Final = 1 / 16
GROWTH: Final = 1.25
SHRINKAGE: Final = 0.5
BETTER: Final = 4.0
"""Standard deviations of one J by which another place must be better, or the parabola wrong."""
HOLDS: Final = 0.25
"""Loss, in parts of J, at which a parabola that still holds says that there is nothing out there."""
REVERTS: Final = 4
"""Reverts in a row that end the walk."""
CELLS: Final = 80
"""Parts of the range of α whose being seen is remembered."""
SHARP: Final = 2.0
"""Significance of the curvature from which the extent of the parabola is judged."""


@attrs.frozen
class Plan:
    """Where to walk, from where, and why."""

    direction: int
    home: float
    level: float
    curvature: float
    sigma: float
    reason: str


@attrs.define
class Sweep:
    """Plans walks by what they may be worth, and makes them.

    Ĉ lies in [0, 1]. A parabola that would fall below 0 inside the range of α cannot hold up to its end:
    what lies beyond is unknown, unless it has been seen. It is worth at most (1 − J) per cycle, over
    PAYBACK cycles, times the share of the range that is unknown; the walk there and back costs about LOSS·J
    per cycle. Where the parabola could hold everywhere, nothing is unknown and no walk is made.

    A walk ends at a better place, or goes home: at the end of the range or of what the limits allow, when J
    fell as far as it would if the parabola did hold, when the kernel keeps reverting, or when it has cost
    what the best could pay back.
    """

    space: Space
    plan: Plan | None = None
    homeward: bool = False
    stride: float = 0.0
    spent: float = 0.0
    reverts: int = 0
    why: str = ""
    found: bool = False
    seen: list[float] = attrs.field(factory=lambda: [0.0] * CELLS)

    def see(self, alpha: float) -> None:
        """Remember that J was measured at α."""
        self.seen[self._cell(alpha)] = 1.0

    def forget(self) -> None:
        """J has changed: nothing has been seen any more."""
        self.seen = [0.0] * CELLS

    def _cell(self, alpha: float) -> int:
        span = self.space.alpha_max - self.space.alpha_min
        return int(clip((alpha - self.space.alpha_min) / span * CELLS, 0, CELLS - 1))

    def propose(
        self, home: float, level: float, curvature: Line, sigma: float, bounds: tuple[float, float]
    ) -> Plan | None:
        """Return the walk that is worth more than it costs, None for none.

        Args:
            home: the found peak.
            level: J there.
            curvature: d²J/dα² there.
            sigma: standard deviation of one J.
            bounds: lowest and highest α that limits are known to allow.
        """
        flattest = -curvature.slope - SHARP * curvature.error
        if not (flattest > 0.0 and 0.0 < level < 1.0):
            return None
        extent = math.sqrt(2.0 * level / flattest)
        span = self.space.alpha_max - self.space.alpha_min
        plans = []
        for direction, end in ((1, bounds[1]), (-1, bounds[0])):
            start = home + direction * extent
            unknown = self._unseen(min(start, end), max(start, end)) if direction * (end - start) > 0 else 0.0
            worth = PAYBACK * (1.0 - level) * unknown / span
            cycles = 2.0 * abs(end - home) / (PACE * self.space.delta_max)
            cost = LOSS * level * cycles
            reason = (
                f"parabola around {home:.3f} ends within {extent:.3f}, {unknown:.3f} of α is unknown: "
                f"worth {worth:.1f}, costs {cost:.1f}"
            )
            plans.append((worth - cost, Plan(direction, home, level, -curvature.slope, sigma, reason)))
        gain, plan = max(plans, key=lambda item: item[0])
        return plan if gain > 0.0 else None

    def _unseen(self, low: float, high: float) -> float:
        """Return how much of [low, high] has not been seen."""
        width = (self.space.alpha_max - self.space.alpha_min) / CELLS
        middles = (self.space.alpha_min + (cell + 0.5) * width for cell in range(CELLS))
        return width * sum(
            low <= middle <= high and not seen for middle, seen in zip(middles, self.seen, strict=True)
        )

    def begin(self, plan: Plan) -> None:
        """Set out."""
        self.plan, self.homeward, self.spent, self.reverts, self.why = plan, False, 0.0, 0, ""
        self.found = False
        self.stride = PACE * self.space.delta_max

    def learn(self, alpha: float, objective: float, base: float, verdict: Verdict) -> bool:
        """Take in a measurement made on the walk, and what became of the step there.

        Returns:
            Whether the walk has ended, for the reason in `why`.
        """
        plan = self.plan
        if plan is None:
            return True
        limit = self.space.delta_max
        # A cycle in which no step was taken says nothing of the steps.
        if verdict is Verdict.REVERTED:
            self.reverts, self.stride = self.reverts + 1, max(self.stride * SHRINKAGE, SHORTEST * limit)
        elif verdict is Verdict.COMMITTED:
            self.reverts, self.stride = 0, min(self.stride * GROWTH, limit)
        self.spent += plan.level - objective
        if objective > plan.level + BETTER * plan.sigma and abs(alpha - plan.home) > limit:
            self.found = True
            self.why = f"J is {objective:.3f} at {alpha:.3f}, better than {plan.level:.3f} at home"
        elif self.homeward and (abs(base - plan.home) <= limit / 2 or self.reverts >= REVERTS):
            self.why = f"no better place was found, home is {plan.home:.3f}"
        elif not self.homeward:
            self.homeward = self._is_vain(plan, alpha, objective)
        return self.why != ""

    def _is_vain(self, plan: Plan, alpha: float, objective: float) -> bool:
        fall = 0.5 * plan.curvature * (alpha - plan.home) ** 2
        holds = fall >= HOLDS * plan.level and objective < plan.level - fall + BETTER * plan.sigma
        return holds or self.reverts >= REVERTS or not self.spent <= PAYBACK * (1.0 - plan.level)

    def target(self, base: float, bounds: tuple[float, float]) -> float:
        """Return the next α of the walk."""
        plan = self.plan
        if plan is None:
            return base
        if not self.homeward:
            end = bounds[1] if plan.direction > 0 else bounds[0]
            if abs(end - base) > SHORTEST * self.space.delta_max:
                return base + clip(end - base, -self.stride, self.stride)
            self.homeward = True
        return base + clip(plan.home - base, -self.stride, self.stride)

    def end(self) -> None:
        """Stop the walk where α is; what it was out for is not worth another."""
        if self.plan is not None:
            home = self._cell(self.plan.home)
            self.seen = [
                1.0 if (cell - home) * self.plan.direction > 0 else was for cell, was in enumerate(self.seen)
            ]
        self.plan = None

    def state(self) -> State:
        """Give the memory in JSON's types."""
        plan = self.plan
        figures = [] if plan is None else [plan.direction, plan.home, plan.level, plan.curvature, plan.sigma]
        return {
            "plan": [float(figure) for figure in figures],
            "reason": "" if plan is None else plan.reason,
            "homeward": int(self.homeward),
            "stride": self.stride,
            "spent": self.spent,
            "turned": self.reverts,
            "why": self.why,
            "found": int(self.found),
            "seen": list(self.seen),
        }

    def restore(self, reader: StateReader) -> None:
        """Take the memory back; after an OptimizerStateError it is not to be used any more."""
        rows, reason = reader.rows("plan", 5, 1, LARGEST_DERIVED), reader.text("reason")
        self.plan = None
        if rows:
            direction, home, level, curvature, sigma = rows[0]
            self.plan = Plan(1 if direction > 0.0 else -1, home, level, curvature, sigma, reason)
        self.homeward = bool(reader.integer("homeward", 0, 1))
        self.stride = reader.number("stride", 0.0)
        self.spent = reader.number("spent", -LARGEST_DERIVED, LARGEST_DERIVED)
        self.reverts = reader.integer("turned", 0, 2**53)
        self.why = reader.text("why")
        self.found = bool(reader.integer("found", 0, 1))
        seen = [row[0] for row in reader.rows("seen", 1, CELLS)]
        if len(seen) != CELLS:
            raise OptimizerStateError(f"seen has {len(seen)} numbers, must have {CELLS}")
        self.seen = seen
