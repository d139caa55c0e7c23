"""Memory of where a limit said no, so that an optimizer does not knock there every cycle."""

import math

import attrs

from optimizers.figures import StateReader
from optimizers.protocol import State

FIRST_WAIT = 20
LONGEST_WAIT = 320
EXPOSED = 50
"""Times as long that a wall stays which was found by being beyond it."""
OF_THE_REQUEST = (
    "alpha_delta",
    "authorised",
    "coherence",
    "cycle",
    "measured_alpha",
    "missed",
    "mode",
    "reverts",
    "tolerance",
)
"""Limits that judge how or when something was asked, not which α."""
OF_THE_READING = ("entropy", "h_internal")
"""Limits that judge the α that was measured, not the one that was asked for."""


@attrs.frozen
class Wall:
    """A refused α seen from one side.

    Args:
        at: the refused α.
        inner: the farthest α that may be tried before the memory has aged.
        until: tick from which `at` itself may be tried again.
        wait: ticks between two such tries.
        exposed: whether it was found by having been there; then no α between the two is tried either.
    """

    at: float
    inner: float
    until: int
    wait: int
    exposed: bool = False


def _halfway(base: float, at: float, resolution: float) -> float:
    return base + (at - base) / 2 if abs(at - base) > resolution else base


@attrs.define
class Blocked:
    """Walls above and below the present α.

    The gap between the last α that was allowed and the refused one is halved down to `resolution`. After
    `wait` ticks the refused α may be tried once more; every time it is refused again the wait doubles, up
    to LONGEST_WAIT.
    """

    resolution: float
    above: Wall | None = None
    below: Wall | None = None

    def hit(self, base: float, refused: float, tick: int, retreat: bool = False) -> None:
        """Remember that going from base to refused broke a limit at this tick."""
        if refused == base:
            return
        old = self.above if refused > base else self.below
        wait = FIRST_WAIT
        if old is not None:
            wait = min(2 * old.wait, EXPOSED * LONGEST_WAIT) if tick >= old.until else old.wait
        inner = base if retreat else _halfway(base, refused, self.resolution)
        wait *= EXPOSED if retreat and old is None else 1
        wall = Wall(refused, inner, tick + wait, wait, retreat)
        if refused > base:
            self.above = wall
        else:
            self.below = wall

    def passed(self, alpha: float) -> None:
        """Learn that α was measured and found allowed."""
        if self.above is not None and alpha >= self.above.inner:
            self.above = None if alpha >= self.above.at else self._closer(self.above, alpha)
        if self.below is not None and alpha <= self.below.inner:
            self.below = None if alpha <= self.below.at else self._closer(self.below, alpha)

    def _closer(self, wall: Wall, alpha: float) -> Wall:
        if wall.exposed:
            return wall
        return attrs.evolve(wall, inner=_halfway(alpha, wall.at, self.resolution))

    def range(self, tick: int) -> tuple[float, float]:
        """Return the lowest and highest α worth trying at this tick."""
        low, high = -math.inf, math.inf
        if self.below is not None:
            low = self.below.at if tick >= self.below.until else self.below.inner
        if self.above is not None:
            high = self.above.at if tick >= self.above.until else self.above.inner
        return low, high

    def state(self) -> State:
        """Give the walls as flat lists, empty for none."""
        return {"above": _flat(self.above), "below": _flat(self.below)}

    def restored(self, reader: StateReader) -> "Blocked":
        """Return the memory that `state` gave."""
        return Blocked(self.resolution, _wall(reader, "above"), _wall(reader, "below"))


def located(broken: tuple[str, ...], measured: bool) -> bool:
    """Say whether these limits tell something about an α; an unknown name does.

    Args:
        broken: names of limits, such as "loop_gain[L_phi]".
        measured: whether that α was measured, or only asked for.
    """
    silent = OF_THE_REQUEST if measured else OF_THE_REQUEST + OF_THE_READING
    return any(not str(name).startswith(silent) for name in broken)


def _flat(wall: Wall | None) -> list[float]:
    return (
        []
        if wall is None
        else [wall.at, wall.inner, float(wall.until), float(wall.wait), float(wall.exposed)]
    )


def _wall(reader: StateReader, key: str) -> Wall | None:
    rows = reader.rows(key, 5, 1)
    if not rows:
        return None
    at, inner, until, wait, exposed = rows[0]
    return Wall(at, inner, int(until), int(wait), exposed == 1.0)
