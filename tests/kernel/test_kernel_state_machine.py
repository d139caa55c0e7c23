"""The whole kernel under any sequence of events with hostile figures: the invariants hold after each."""

import math
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from kernel_bench import LIMITS, Bench

from kernel import (
    Comparison,
    Entry,
    Kind,
    Limits,
    MalformedQuantityError,
    Mode,
    Order,
    Outcome,
    Proposal,
    Reading,
)
from kernel.limits import hold
from kernel.quantity import NANO, Nano, round_down, round_nearest, round_up, to_float
from kernel.rules import safety_checks

hostile = st.one_of(
    st.floats(),
    st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 5e-324, 1e308, None, "1.0", True, 10**400]),
)
near_one = st.floats(min_value=0.7, max_value=1.3)
small = st.integers(min_value=-30_000_000, max_value=30_000_000)
gains = st.tuples(*[st.integers(min_value=0, max_value=450_000_000)] * 3)
safe_gains = st.tuples(*[st.integers(min_value=0, max_value=300_000_000)] * 3)


class KernelMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.bench = Bench()
        self.cycle = 0
        self.recorded = 0
        self.opened_in: int | None = None
        # How many values the engine had taken when it last refused to be put back.
        self.lost_after = -1

    def measured(self, fresh: bool, drift: int, entropy: int, h: int, loop_gain: tuple[int, ...]) -> Reading:
        self.cycle += 1 if fresh else 0
        applied = self.bench.engine.applied
        runs = round_nearest("alpha", applied[-1]) if applied else self.bench.kernel.state.alpha
        alpha = runs + drift
        scales = (Nano(loop_gain[0]), Nano(loop_gain[1]), Nano(loop_gain[2]))
        return Reading(self.cycle, Nano(alpha), Nano(NANO // 2), Nano(entropy), Nano(h), scales, scales)

    calm = st.builds(
        dict,
        fresh=st.just(True),
        drift=st.just(0),
        entropy=st.integers(0, LIMITS.entropy_max),
        h=st.integers(LIMITS.h_internal_min, NANO),
        loop_gain=safe_gains,
    )
    any_reading = st.one_of(
        calm,
        calm,
        st.builds(
            dict,
            fresh=st.booleans(),
            drift=st.sampled_from([0, 0, 0, 1, -1]),
            entropy=st.integers(-1, 2 * LIMITS.entropy_severe),
            h=st.integers(700_000_000, NANO + 1),
            loop_gain=gains,
        ),
    )

    @rule(
        alpha=st.one_of(near_one, hostile), kind=st.sampled_from([Kind.STEP, Kind.PROBE]), shown=any_reading
    )
    def propose(self, alpha: object, kind: Kind, shown: dict[str, Any]) -> None:
        self.watch(self.bench.kernel.propose(Proposal(alpha, kind, "optimizer", ""), self.measured(**shown)))

    @rule(by=small, kind=st.sampled_from(list(Kind)), shown=calm)
    def propose_near(self, by: int, kind: Kind, shown: dict[str, Any]) -> None:
        alpha = to_float(self.bench.kernel.state.alpha + by)
        self.watch(self.bench.kernel.propose(Proposal(alpha, kind, "optimizer", ""), self.measured(**shown)))

    @rule(shown=any_reading, before=small, after=small, tolerance=small)
    def settle(self, shown: dict[str, Any], before: int, after: int, tolerance: int) -> None:
        opened = self.opened_in
        reading = self.measured(**shown)
        comparison = Comparison(Nano(before), Nano(after), Nano(tolerance))
        entry = self.bench.kernel.settle(reading, comparison, "controller", "")
        self.watch(entry)
        if entry.verdict.outcome is Outcome.COMMITTED:
            # INVARIANT: a committed α was measured safe, at that α, in a later cycle than its proposal.
            assert opened is not None
            assert reading.cycle > opened
            assert reading.alpha == entry.after.alpha == entry.before.alpha
            assert hold(safety_checks(self.bench.kernel.limits, entry.after.alpha, reading))

    @rule(shown=any_reading)
    def observe(self, shown: dict[str, Any]) -> None:
        self.watch(self.bench.kernel.observe(self.measured(**shown), "controller", ""))

    @rule()
    def miss(self) -> None:
        self.watch(self.bench.kernel.miss("controller", "blind"))

    @rule()
    def freeze(self) -> None:
        self.watch(self.bench.kernel.freeze("ines", "look"))

    @rule(signed=st.booleans(), shown=any_reading)
    def approve(self, signed: bool, shown: dict[str, Any]) -> None:
        order = self.bench.signed("approve") if signed else Order("approve", (), "mallory", "", "")
        entry = self.bench.kernel.approve(order, self.measured(**shown))
        self.watch(entry, may_unlatch=signed)

    @rule(signed=st.booleans(), by=small, shown=any_reading)
    def override(self, signed: bool, by: int, shown: dict[str, Any]) -> None:
        target = self.bench.kernel.state.alpha + by
        order = (
            self.bench.signed("override", (target,)) if signed else Order("override", (target,), "m", "", "")
        )
        self.watch(self.bench.kernel.override(order, to_float(target), self.measured(**shown)))

    @rule(alpha_max=st.integers(900_000_000, 1_300_000_000), step_max=st.integers(0, 40_000_000))
    def set_limits(self, alpha_max: int, step_max: int) -> None:
        limits = self.bench.kernel.limits._replace(alpha_max=Nano(alpha_max), step_max=Nano(step_max))
        self.watch(self.bench.kernel.set_limits(self.bench.signed("set_limits", tuple(limits)), limits))

    @rule()
    def restart(self) -> None:
        before = self.bench
        self.bench = Bench(before.kernel.limits, before.kernel.state)
        self.bench.ledger.entries[:] = before.ledger.entries
        self.lost_after = -1
        entry = self.bench.kernel.recover("controller", "restart")
        self.watch(entry)

    @rule(seconds=st.floats(min_value=-1.0, max_value=10.0))
    def time_passes(self, seconds: float) -> None:
        self.bench.now_s += seconds
        entry = self.bench.kernel.expire_overdue_trial("watchdog")
        if entry is not None:
            self.watch(entry)

    @rule(broken=st.sampled_from(["up", "down", "all", "none"]))
    def engine_breaks(self, broken: str) -> None:
        good = to_float(self.bench.kernel.state.alpha)
        self.bench.engine.refuses = {
            "up": lambda alpha: alpha > good,
            "down": lambda alpha: alpha < good,
            "all": lambda alpha: True,
            "none": lambda alpha: False,
        }[broken]

    def watch(self, entry: Entry, may_unlatch: bool = False) -> None:
        """Hold one decision against the theorems."""
        limits: Limits = (
            entry.limits if entry.verdict.outcome is Outcome.ADOPTED else self.bench.kernel.limits
        )
        before, after = entry.before, entry.after
        if entry.event == "actuator_failed" and self.bench.engine.refuses(to_float(before.alpha)):
            self.lost_after = len(self.bench.engine.applied)
        assert limits.alpha_min <= after.alpha <= limits.alpha_max
        assert limits.alpha_min <= after.good <= limits.alpha_max
        assert abs(after.alpha - before.alpha) <= limits.step_max
        latched = {Mode.FROZEN, Mode.EMERGENCY}
        was = before.mode in latched or (before.mode is Mode.TRIAL and before.resume is Mode.FROZEN)
        still = after.mode in latched or (after.mode is Mode.TRIAL and after.resume is Mode.FROZEN)
        assert not was or still or may_unlatch
        assert before.mode is not Mode.EMERGENCY or after.mode is Mode.EMERGENCY or may_unlatch
        if entry.reading is not None and not hold(safety_checks(limits, before.alpha, entry.reading)):
            distance = abs(after.alpha - limits.alpha_safe) - abs(before.alpha - limits.alpha_safe)
            assert distance <= 0 or entry.verdict.outcome is Outcome.ACCEPTED
        if after.alpha != before.alpha or after.mode is not before.mode:
            assert self.bench.ledger.entries[-1] == entry
        if entry.verdict.outcome is Outcome.REFUSED:
            assert entry.verdict.broken
            assert after == before
        if after.mode is Mode.TRIAL and before.mode is not Mode.TRIAL:
            self.opened_in = after.cycle

    @invariant()
    def the_engine_runs_what_the_kernel_says(self) -> None:
        kernel, applied = self.bench.kernel, self.bench.engine.applied
        if applied and (kernel.mode is not Mode.EMERGENCY or len(applied) != self.lost_after):
            assert applied[-1] == kernel.alpha
        assert kernel.mode is Mode.TRIAL or kernel.state.good == kernel.state.alpha


TestKernelMachine = KernelMachine.TestCase
TestKernelMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_hostile_floats_become_integers_or_errors() -> None:
    from hypothesis import given

    @settings(max_examples=500)
    @given(hostile)
    def check(value: object) -> None:
        for rounder in (round_down, round_nearest, round_up):
            try:
                figure = rounder("x", value)
            except MalformedQuantityError:
                continue
            assert type(figure) is int

    check()
