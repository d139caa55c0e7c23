"""What the kernel shall do, as decision tables: written from the design, not from the rules, and without
control flow.

A row says: when this holds, the outcome is that, the state becomes this, and these checks are reported. The
rows of an event exclude one another and leave no input out (`specification_is_total_and_unambiguous`).
"""

from collections.abc import Mapping
from typing import Any

import attrs

from kernel.limits import Limits
from kernel.state import Comparison, Kind, Mode, Outcome, Reading, State
from proofs.symbols import distance, every, negation, same, some, within

NANO = 10**9
LAST = 2**63 - 1
FOLD = 367_879_441
TOLERANCE_LAST = 4 * 10**9

Check = tuple[str, int, int, int, int]
Checks = tuple[Check, ...]


@attrs.frozen
class Row:
    """One row of an event's table; `becomes` is a claim on the state after."""

    when: bool
    outcome: Outcome
    becomes: bool
    reports: Checks


@attrs.frozen
class Facts:
    """What a table may speak of: the limits in force, the state before and after, and what was given."""

    limits: Limits
    before: State
    after: State
    given: Mapping[str, Any]

    @property
    def reading(self) -> Reading:
        """The reading that was given."""
        reading: Reading = self.given["reading"]
        return reading


def start(facts: Facts) -> tuple[Row, ...]:
    """A history begins at α if the policy is well formed and admits it."""
    target = facts.given["target"]
    checks = (*policy(facts.limits), bounds(facts.limits, target))
    begun = same(facts.after, State(Mode.READY, target, target, 0, 0, 0, 1, Kind.STEP, Mode.READY))
    return (
        Row(kept(checks), Outcome.STARTED, begun, checks),
        Row(broken(checks), Outcome.REFUSED, True, checks),
    )


def propose(facts: Facts) -> tuple[Row, ...]:
    """An optimizer's trial is opened from READY exactly if reading, bounds, rate and safety at the target
    allow it."""
    return granted(facts, (mode(facts, Mode.READY, Mode.READY),), facts.given["kind"])


def override(facts: Facts) -> tuple[Row, ...]:
    """An operator's trial is held to the same, may be opened from FROZEN, and needs authority."""
    return granted(facts, (mode(facts, Mode.READY, Mode.FROZEN), authority(facts)), Kind.RESTORE)


def settle(facts: Facts) -> tuple[Row, ...]:
    """A trial ends in a commit if its reading is safe and coherence did not fall by more than the tolerance;
    else α goes back to good, if the gains of the reading allow it there, and stays if they do not."""
    limits, before, reading = facts.limits, facts.before, facts.reading
    fresh = (mode(facts, Mode.TRIAL, Mode.TRIAL), *measured(facts, before.cycle + 1))
    safety, severity = safe(limits, before.alpha, reading), mild(limits, before.alpha, reading)
    shown = evidence(facts)
    more = before.reverts + 1
    calm, shaken = kept(fresh) & kept(safety), kept(fresh) & broken(safety)
    probe, restore = before.kind == Kind.PROBE, before.kind == Kind.RESTORE
    worse = (before.kind == Kind.STEP) & broken(shown)
    way_back = safe(limits, before.good, reading)[2:]
    open_, shut = calm & kept(way_back), calm & broken(way_back)
    nearer = distance(before.alpha, limits.alpha_safe) < distance(before.good, limits.alpha_safe)
    back, stay = shaken & negation(nearer), shaken & nearer
    again = (*severity, ("reverts", 1, 0, more, limits.reverts_max - 1))
    still = (*severity, ("reverts", 1, 0, before.reverts, limits.reverts_max - 1))
    home, latch = before.resume, Mode.EMERGENCY
    return (
        Row(broken(fresh), Outcome.REFUSED, unchanged(facts), fresh),
        Row(open_ & probe, Outcome.RETURNED, read(facts, home, before.good, before.reverts), safety),
        Row(
            shut & probe,
            Outcome.RETREATED, read(facts, home, before.alpha, before.reverts), (*safety, *way_back),
        ),
        Row(
            calm & some(restore, (before.kind == Kind.STEP) & kept(shown)),
            Outcome.COMMITTED, read(facts, home, before.alpha, 0), safety,
        ),
        Row(
            shut & worse,
            Outcome.RETREATED, read(facts, home, before.alpha, before.reverts),
            (*safety, *shown, *way_back),
        ),
        Row(
            open_ & worse & (more < limits.reverts_max),
            Outcome.REVERTED, read(facts, home, before.good, more), (*safety, *shown),
        ),
        Row(
            open_ & worse & (more >= limits.reverts_max),
            Outcome.LATCHED, read(facts, latch, before.good, more), (*safety, *shown),
        ),
        Row(back & kept(again), Outcome.RETREATED, read(facts, home, before.good, more), safety),
        Row(back & broken(again), Outcome.LATCHED, read(facts, latch, before.good, more), (*safety, *again)),
        Row(stay & kept(still), Outcome.RETREATED, read(facts, home, before.alpha, before.reverts), safety),
        Row(
            stay & broken(still),
            Outcome.LATCHED, read(facts, latch, before.alpha, before.reverts), (*safety, *still),
        ),
    )  # fmt: skip


def observe(facts: Facts) -> tuple[Row, ...]:
    """A safe reading changes nothing; an unsafe one retreats, a severe one latches, a freeze holds α unless
    severe."""
    limits, before, reading = facts.limits, facts.before, facts.reading
    fresh = (mode(facts, Mode.READY, Mode.EMERGENCY), *measured(facts, before.cycle + 1))
    safety, severity = safe(limits, before.alpha, reading), mild(limits, before.alpha, reading)
    calm, shaken = kept(fresh) & kept(safety), kept(fresh) & broken(safety)
    latched = before.mode == Mode.EMERGENCY
    frozen, ready = before.mode == Mode.FROZEN, before.mode == Mode.READY
    held = read(facts, before.mode, before.alpha, before.reverts)
    return (
        Row(broken(fresh), Outcome.REFUSED, unchanged(facts), fresh),
        Row(calm, Outcome.HELD, held, safety),
        Row(shaken & frozen & kept(severity), Outcome.HELD, held, safety),
        Row(shaken & ready & kept(severity), Outcome.RETREATED, retreated(facts, Mode.READY), safety),
        Row(
            shaken & negation(latched) & broken(severity),
            Outcome.LATCHED, retreated(facts, Mode.EMERGENCY), (*safety, *severity),
        ),
        Row(shaken & latched, Outcome.RETREATED, retreated(facts, Mode.EMERGENCY), safety),
    )  # fmt: skip


def miss(facts: Facts) -> tuple[Row, ...]:
    """A missing reading ends a trial at its rollback target; too many in a row latch, and retreat if no trial
    is open."""
    limits, before = facts.limits, facts.before
    missed = before.missed + 1
    checks = (("missed", 1, 0, missed, limits.missed_max - 1),)
    trial, latched = before.mode == Mode.TRIAL, before.mode == Mode.EMERGENCY
    waiting = negation(some(trial, latched))
    reverted = unread(facts, before.resume, before.good, missed)
    lost = unread(facts, Mode.EMERGENCY, before.good, missed)
    return (
        Row(trial & kept(checks), Outcome.REVERTED, reverted, checks),
        Row(trial & broken(checks), Outcome.LATCHED, lost, checks),
        Row(waiting & kept(checks), Outcome.HELD, unread(facts, before.mode, before.alpha, missed), checks),
        Row(waiting & broken(checks), Outcome.LATCHED, blind_retreat(facts, missed), checks),
        Row(latched, Outcome.RETREATED, blind_retreat(facts, missed), checks),
    )


def freeze(facts: Facts) -> tuple[Row, ...]:
    """Optimizers are stopped from READY and from a trial, which is reverted; elsewhere there is nothing to
    stop."""
    before = facts.before
    open_ = some(before.mode == Mode.READY, before.mode == Mode.TRIAL)
    stopped = unread(facts, Mode.FROZEN, before.good, before.missed)
    return (
        Row(open_, Outcome.FROZEN, stopped, ()),
        Row(negation(open_), Outcome.REFUSED, unchanged(facts), (mode(facts, Mode.READY, Mode.READY),)),
    )


def approve(facts: Facts) -> tuple[Row, ...]:
    """A latch is left exactly if the order has authority and a current reading is safe at α."""
    before = facts.before
    admission = (mode(facts, Mode.FROZEN, Mode.EMERGENCY), authority(facts))
    safety = safe(facts.limits, before.alpha, facts.reading)
    used = (*admission, *measured(facts, before.cycle), *safety)
    newer = (*admission, *measured(facts, before.cycle + 1), *safety)
    seen, unlatched = before.missed == 0, read(facts, Mode.READY, before.alpha, 0)
    return (
        Row(seen & kept(used), Outcome.APPROVED, unlatched, used),
        Row(seen & broken(used), Outcome.REFUSED, unchanged(facts), used),
        Row(negation(seen) & kept(newer), Outcome.APPROVED, unlatched, newer),
        Row(negation(seen) & broken(newer), Outcome.REFUSED, unchanged(facts), newer),
    )


def set_limits(facts: Facts) -> tuple[Row, ...]:
    """Another policy is adopted, outside trial and emergency, if it is well formed and α lies inside it."""
    before, proposed = facts.before, facts.given["proposed"]
    checks = (
        mode(facts, Mode.READY, Mode.FROZEN), authority(facts), *policy(proposed),
        bounds(proposed, before.alpha),
    )  # fmt: skip
    adopted = same(
        facts.after,
        State(
            before.mode, before.alpha, before.alpha, before.cycle, before.reverts, before.missed,
            before.policy + 1, Kind.STEP, Mode.READY,
        ),
    )  # fmt: skip
    return (
        Row(kept(checks), Outcome.ADOPTED, adopted, checks),
        Row(broken(checks), Outcome.REFUSED, unchanged(facts), checks),
    )


def recover(facts: Facts) -> tuple[Row, ...]:
    """A restart reverts an open trial to where it came from, and keeps everything else."""
    before = facts.before
    trial = before.mode == Mode.TRIAL
    reverted = unread(facts, before.resume, before.good, before.missed)
    return (
        Row(trial, Outcome.RECOVERED, reverted, ()),
        Row(negation(trial), Outcome.RECOVERED, unchanged(facts), ()),
    )


def actuator_failed(facts: Facts) -> tuple[Row, ...]:
    """A grant that was undone changes nothing; a protective move that failed, or an α that is lost,
    latches."""
    before = facts.before
    undone = flag(facts, "granted") & flag(facts, "restored")
    latched = unread(facts, Mode.EMERGENCY, before.alpha, before.missed)
    return (
        Row(undone, Outcome.ABORTED, unchanged(facts), ()),
        Row(negation(undone), Outcome.LATCHED, latched, ()),
    )


TABLES = {
    "start": start, "propose": propose, "override": override, "settle": settle, "observe": observe,
    "miss": miss, "freeze": freeze, "approve": approve, "set_limits": set_limits, "recover": recover,
    "actuator_failed": actuator_failed,
}  # fmt: skip
"""The table of every event."""


def granted(facts: Facts, admission: Checks, kind: Kind) -> tuple[Row, ...]:
    """A trial of the target is opened exactly if all of this holds on the reading it is decided on: no older
    than the last that was used, and newer than that once a cycle was missed."""
    limits, before, reading, target = facts.limits, facts.before, facts.reading, facts.given["target"]
    asked = (
        bounds(limits, target),
        ("alpha_delta", NANO, -limits.step_max, target - before.alpha, limits.step_max),
        *safe(limits, target, reading),
    )
    used = (*admission, *measured(facts, before.cycle), *asked)
    newer = (*admission, *measured(facts, before.cycle + 1), *asked)
    seen = before.missed == 0
    opened = same(
        facts.after,
        State(
            Mode.TRIAL, target, before.alpha, reading.cycle, before.reverts, 0, before.policy,
            kind, before.mode,
        ),
    )  # fmt: skip
    return (
        Row(seen & kept(used), Outcome.ACCEPTED, opened, used),
        Row(seen & broken(used), Outcome.REFUSED, unchanged(facts), used),
        Row(negation(seen) & kept(newer), Outcome.ACCEPTED, opened, newer),
        Row(negation(seen) & broken(newer), Outcome.REFUSED, unchanged(facts), newer),
    )


def policy(limits: Limits) -> Checks:
    """A well formed policy: bounds in order, a step inside them, severe beyond safe, the loop gain below the
    fold."""
    return (
        ("alpha_min", NANO, 1, limits.alpha_min, limits.alpha_max - 1),
        ("alpha_safe", NANO, limits.alpha_min, limits.alpha_safe, limits.alpha_max),
        ("step_max", NANO, 1, limits.step_max, limits.alpha_max - limits.alpha_min),
        ("entropy_max", NANO, 0, limits.entropy_max, limits.entropy_severe),
        ("h_internal_severe", NANO, 0, limits.h_internal_severe, limits.h_internal_min),
        ("h_internal_min", NANO, 0, limits.h_internal_min, NANO),
        ("drive_max", NANO, 1, limits.drive_max, LAST),
        ("loop_gain_max", NANO, 1, limits.loop_gain_max, FOLD),
        ("tolerance_max", NANO, 0, limits.tolerance_max, TOLERANCE_LAST),
        ("reverts_max", 1, 1, limits.reverts_max, LAST),
        ("missed_max", 1, 1, limits.missed_max, LAST),
    )


def safe(limits: Limits, alpha: int, reading: Reading) -> Checks:
    """A reading is safe at α: entropy, order, and α times drive and loop gain on every scale."""
    return (
        ("entropy_rate", NANO, 0, reading.entropy_rate, limits.entropy_max),
        ("h_internal", NANO, limits.h_internal_min, reading.h_internal, NANO),
        *drives(alpha, reading, limits.drive_max),
        product("loop_gain[L_mu]", alpha, reading.loop_gain[0], limits.loop_gain_max),
        product("loop_gain[L_phi]", alpha, reading.loop_gain[1], limits.loop_gain_max),
        product("loop_gain[L_Phi]", alpha, reading.loop_gain[2], limits.loop_gain_max),
    )


def mild(limits: Limits, alpha: int, reading: Reading) -> Checks:
    """An unsafe reading is only mildly so: within the severe limits, K and the fold."""
    return (
        ("entropy_severe", NANO, 0, reading.entropy_rate, limits.entropy_severe),
        ("h_internal_severe", NANO, limits.h_internal_severe, reading.h_internal, NANO),
        *drives(alpha, reading, limits.drive_max),
        product("loop_gain_fold[L_mu]", alpha, reading.loop_gain[0], FOLD),
        product("loop_gain_fold[L_phi]", alpha, reading.loop_gain[1], FOLD),
        product("loop_gain_fold[L_Phi]", alpha, reading.loop_gain[2], FOLD),
    )


def drives(alpha: int, reading: Reading, most: int) -> Checks:
    """α times drive lies in [0, K] on every scale."""
    return (
        product("drive[L_mu]", alpha, reading.drive[0], most),
        product("drive[L_phi]", alpha, reading.drive[1], most),
        product("drive[L_Phi]", alpha, reading.drive[2], most),
    )


def product(name: str, alpha: int, figure: int, most: int) -> Check:
    """0 ≤ α·figure ≤ most, in units of nano squared."""
    return (name, NANO * NANO, 0, alpha * figure, most * NANO)


def bounds(limits: Limits, alpha: int) -> Check:
    """α lies in [α_min, α_max]."""
    return ("alpha", NANO, limits.alpha_min, alpha, limits.alpha_max)


def mode(facts: Facts, first: Mode, last: Mode) -> Check:
    """The mode lies in a range of modes."""
    return ("mode", 1, first, facts.before.mode, last)


def measured(facts: Facts, first: int) -> Checks:
    """The reading is of cycle `first` or later, and was taken at the α in force."""
    before, reading = facts.before, facts.reading
    return (
        ("cycle", 1, first, reading.cycle, LAST),
        ("measured_alpha", NANO, before.alpha, reading.alpha, before.alpha),
    )


def evidence(facts: Facts) -> Checks:
    """Coherence did not fall by more than a tolerance that the policy grants."""
    shown: Comparison = facts.given["comparison"]
    return (
        ("tolerance", NANO, 0, shown.tolerance, facts.limits.tolerance_max),
        ("coherence", NANO, shown.before - shown.tolerance, shown.after, NANO),
    )


def authority(facts: Facts) -> Check:
    """The order is signed by one who may."""
    return ("authorised", 1, 1, facts.given["authorised"] + 0, 1)


def flag(facts: Facts, name: str) -> bool:
    """A yes-or-no input is yes."""
    yes: bool = facts.given[name] + 0 == 1
    return yes


def kept(checks: Checks) -> bool:
    """Every check holds."""
    return every(*map(holds, checks))


def broken(checks: Checks) -> bool:
    """Some check does not hold."""
    return negation(kept(checks))


def holds(check: Check) -> bool:
    """One check holds."""
    return within(check[2], check[3], check[4])


def unchanged(facts: Facts) -> bool:
    """The state stays as it was."""
    return same(facts.after, facts.before)


def settled(facts: Facts) -> bool:
    """No trial is open after, and nothing is left to roll back."""
    after = facts.after
    return every(after.good == after.alpha, after.kind == Kind.STEP, after.resume == Mode.READY)


def read(facts: Facts, mode_after: Mode, alpha: int, reverts: int) -> bool:
    """A reading was used: α, mode and count of reverts as given, its cycle kept, nothing missed."""
    return every(facts.after.alpha == alpha, reverts == facts.after.reverts, after_reading(facts, mode_after))


def after_reading(facts: Facts, mode_after: Mode) -> bool:
    """What every use of a reading leaves behind, wherever α is."""
    after = facts.after
    return every(
        after.mode == mode_after,
        after.cycle == facts.reading.cycle,
        after.missed == 0,
        after.policy == facts.before.policy,
        settled(facts),
    )


def retreated(facts: Facts, mode_after: Mode) -> bool:
    """One step towards α_safe upon a reading."""
    counted = facts.after.reverts == facts.before.reverts
    return every(stepped(facts), counted, after_reading(facts, mode_after))


def unread(facts: Facts, mode_after: Mode, alpha: int, missed: int) -> bool:
    """Without a reading: α, mode and count of missed cycles as given, all else kept."""
    return (facts.after.alpha == alpha) & without_reading(facts, mode_after, missed)


def blind_retreat(facts: Facts, missed: int) -> bool:
    """One step towards α_safe without a reading, latched."""
    return stepped(facts) & without_reading(facts, Mode.EMERGENCY, missed)


def without_reading(facts: Facts, mode_after: Mode, missed: int) -> bool:
    """What every event without a reading leaves behind, wherever α is."""
    before, after = facts.before, facts.after
    return every(
        after.mode == mode_after,
        after.cycle == before.cycle,
        after.reverts == before.reverts,
        after.missed == missed,
        after.policy == before.policy,
        settled(facts),
    )


def stepped(facts: Facts) -> bool:
    """α after is the point nearest to α_safe that one step reaches."""
    limits, origin, alpha = facts.limits, facts.before.alpha, facts.after.alpha
    low, high, goal = origin - limits.step_max, origin + limits.step_max, limits.alpha_safe
    return some(
        within(low, goal, high) & (alpha == goal),
        (goal > high) & (alpha == high),
        (goal < low) & (alpha == low),
    )
