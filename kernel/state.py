"""Values the rules take and give: what the kernel is, what it was shown, what it decided."""

import enum
from typing import NamedTuple

from kernel.limits import Check
from kernel.quantity import Nano

SCALES = ("L_mu", "L_phi", "L_Phi")

PerScale = tuple[Nano, Nano, Nano]
"""One figure per scale, in the order of `SCALES`."""


class Mode(enum.IntEnum):
    """What may move α. The order lets a check name an admitted range of modes."""

    READY = 0
    FROZEN = 1
    EMERGENCY = 2
    TRIAL = 3


# Bound once, as are the outcomes below: reading an enum member through its class is slow in CPython 3.11.
READY, FROZEN, EMERGENCY, TRIAL = Mode.READY, Mode.FROZEN, Mode.EMERGENCY, Mode.TRIAL


class Kind(enum.IntEnum):
    """What a trial is for, which decides how it ends when its reading is safe.

    A step is committed if coherence did not fall, a probe always returns, a restore is committed.
    """

    STEP = 0
    PROBE = 1
    RESTORE = 2


class Outcome(enum.Enum):
    """What an event came to. Only COMMITTED claims that α was measured safe at its new value."""

    STARTED = "started"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    COMMITTED = "committed"
    RETURNED = "returned"
    REVERTED = "reverted"
    RETREATED = "retreated"
    HELD = "held"
    LATCHED = "latched"
    FROZEN = "frozen"
    APPROVED = "approved"
    ADOPTED = "adopted"
    RECOVERED = "recovered"
    ABORTED = "aborted"


ACCEPTED, REFUSED, HELD = Outcome.ACCEPTED, Outcome.REFUSED, Outcome.HELD


class State(NamedTuple):
    """All that the kernel remembers.

    Attributes:
        mode: What may move α now.
        alpha: α in force, nano.
        good: Rollback target, nano: the last α committed or retreated to.
        cycle: Number of the last reading used.
        reverts: Trials taken back on their reading since the last commit or approval; a probe that was safe
            counts neither way, nor does a trial that ended without a reading.
        missed: Consecutive cycles without a usable reading.
        policy: Version of the limits in force.
        kind: Kind of the open trial; STEP outside a trial.
        resume: Mode to which the open trial ends; READY outside a trial.
    """

    mode: Mode
    alpha: Nano
    good: Nano
    cycle: int
    reverts: int
    missed: int
    policy: int
    kind: Kind
    resume: Mode


class Reading(NamedTuple):
    """One cycle as measured, already rounded against the proposer (`quantity`).

    Attributes:
        cycle: Number of the measured cycle.
        alpha: α under which it was measured, nano.
        coherence: Objective J = Ĉ - ρ(α-1)², nano; recorded, and never part of a safety decision.
        entropy_rate: Rise of entropy per cycle, nano.
        h_internal: Order parameter in [0, 1], nano.
        drive: Largest |λ_base·proj(I)| per unit of α and scale, nano.
        loop_gain: λ_base·p·W·(largest node gain) per unit of α and scale, nano.
    """

    cycle: int
    alpha: Nano
    coherence: Nano
    entropy_rate: Nano
    h_internal: Nano
    drive: PerScale
    loop_gain: PerScale


class Comparison(NamedTuple):
    """The evidence on coherence that the controller's test supplies: means and tolerance, nano."""

    before: Nano
    after: Nano
    tolerance: Nano


class Verdict(NamedTuple):
    """An outcome and every check that was made for it."""

    outcome: Outcome
    checks: tuple[Check, ...] = ()

    @property
    def broken(self) -> tuple[Check, ...]:
        """Every check that does not hold."""
        return tuple(check for check in self.checks if not check[2] <= check[3] <= check[4])


# What `State(...)` and `Verdict(...)` come to, bound once: calling a class goes a longer way in CPython.
new_state = State.__new__
new_verdict = Verdict.__new__
