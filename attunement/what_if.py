"""What the kernel would say to an α, by its own pure rules, with nothing applied and nothing recorded."""

from typing import Any, Literal

import attrs

from attunement.telemetry_body import check_body
from kernel import Kind, Limits, MalformedQuantityError, Outcome, Reading, State, rules
from kernel.quantity import round_nearest, to_float
from kernel.state import Verdict

By = Literal["optimizer", "operator"]


@attrs.frozen
class WhatIf:
    """A verdict on an α that nobody proposed.

    Attributes:
        alpha: The α that was judged, nano: the nearest integer to what was asked.
        by: Who would ask: an optimizer proposes, an operator overrides (with a signature that counts).
        state: What it was judged in: an open trial is taken for reverted.
        reading: What it was judged on.
        verdict: What the rules give, with every check.
        is_trial_open: Whether a trial was open; the kernel itself would refuse while it is.
    """

    alpha: int
    by: By
    state: State
    reading: Reading
    verdict: Verdict
    is_trial_open: bool

    def body(self) -> dict[str, Any]:
        """Return it as JSON's types.

        Raises:
            MalformedQuantityError: a figure is so large that no float comes near to it.
        """
        try:
            return self._body()
        except OverflowError as error:
            raise MalformedQuantityError("a figure that alpha leads to is beyond all floats") from error

    def _body(self) -> dict[str, Any]:
        return {
            "alpha": to_float(self.alpha),
            "by": self.by,
            "verdict": self.verdict.outcome.value,
            "is_accepted": self.verdict.outcome is Outcome.ACCEPTED,
            "from_alpha": to_float(self.state.alpha),
            "mode": self.state.mode.name.lower(),
            "cycle": self.reading.cycle,
            "is_trial_open": self.is_trial_open,
            "checks": [check_body(check) for check in self.verdict.checks],
        }


def judge(limits: Limits, state: State, reading: Reading, alpha: object, by: By) -> WhatIf:
    """Judge an α on a reading.

    Raises:
        MalformedQuantityError: alpha is no finite number.
    """
    target = round_nearest("alpha", alpha)
    settled, _ = rules.recover(state)
    if by == "operator":
        _, verdict = rules.override(limits, settled, target, reading, authorised=True)
    else:
        _, verdict = rules.propose(limits, settled, target, Kind.STEP, reading)
    return WhatIf(target, by, settled, reading, verdict, state.mode != settled.mode)


def is_usable(state: State, alpha: float) -> bool:
    """Say whether what was measured at an α was measured at the one in force, an open trial aside."""
    return round_nearest("alpha", alpha) == rules.recover(state)[0].alpha
