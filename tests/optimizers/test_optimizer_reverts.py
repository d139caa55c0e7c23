"""No optimizer talks a kernel into an emergency: its steps are not taken back eight times in a row.

The kernel counts steps that made J worse, and latches at `reverts_max`; from there only a person leads back.
"""

import math

import pytest

from attunement.config_schema import Config
from optimizers import NAMES, Outcome, Suggestion, Verdict, create

METHODS = [name for name in NAMES if name != "hold" and not name.startswith("adversary:")]
# What is left to the kernel's limit is for what really goes wrong.
MOST = Config().safety.reverts_max - 2


LANDSCAPES = {
    "kink at the start": lambda alpha, _: 0.9 - 8 * abs(alpha - 1.0),
    "sharp": lambda alpha, _: 0.9 - 40 * (alpha - 1.03) ** 2,
    "sharper than 0 at the ends": lambda alpha, _: 0.7 - 90 * (alpha - 1.05) ** 2,
    "teeth": lambda alpha, _: 0.6 + 0.2 * (alpha * 37 % 1),
    "waves": lambda alpha, _: 0.6 + 0.1 * math.sin(150 * alpha),
    "narrow": lambda alpha, _: 0.5 + 0.3 * math.exp(-(((alpha - 1.0) / 0.01) ** 2)),
    "falling": lambda alpha, cycle: 0.9 - 0.001 * cycle - 60 * (alpha - 1.0) ** 2,
    "moving": lambda alpha, cycle: 0.75 - 60 * (alpha - 1.0 - 0.08 * math.sin(cycle / 20)) ** 2,
    "jumping": lambda alpha, cycle: 0.9 - 20 * (alpha - (1.1 if cycle % 120 < 60 else 0.95)) ** 2,
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("landscape", ["two peaks", *LANDSCAPES])
@pytest.mark.parametrize("sigma", [0.0, 0.005])
def test_steps_are_not_taken_back_until_the_kernel_latches(plant, space, two_peaks, method, landscape, sigma):
    objective = LANDSCAPES.get(landscape, two_peaks)
    run = plant(space, objective, sigma, 0).run(create(method, space, {"seed": 0}), 250)
    assert any(isinstance(answer, Suggestion) for answer in run.suggestions)
    assert run.longest_row_of_reverts <= MOST


@pytest.mark.parametrize("method", METHODS)
def test_reverts_are_counted_when_nothing_was_measured(space, method):
    told = create(method, space, {"seed": 0})
    told.tell(Outcome(0, 1.0, 0.9, Verdict.NONE, 1.0))
    answers = []
    for cycle in range(1, 200, 2):
        answers.append(told.ask())
        tried = answers[-1].alpha if isinstance(answers[-1], Suggestion) else 1.0
        told.tell(Outcome(cycle, tried, math.nan, Verdict.REVERTED, 1.0))
        told.tell(Outcome(cycle + 1, 1.0, 0.9, Verdict.NONE, 1.0))
    suggested = [answer for answer in answers if isinstance(answer, Suggestion)]
    assert suggested
    assert sum(not answer.probe for answer in suggested) <= MOST


@pytest.mark.parametrize("method", METHODS)
def test_retreats_that_no_step_led_to_are_none_of_its_own(plant, space, parabola, method):
    shaken = create(method, space, {"seed": 0})
    shaken.tell(Outcome(0, 1.0, 0.9, Verdict.NONE, 1.0))
    for cycle in range(1, 60):
        # What was asked for is refused, and the next cycle breaks the limit where α stands.
        shaken.ask()
        shaken.tell(Outcome(cycle, 1.0, 0.9 + 0.01 * (cycle % 2), Verdict.RETREATED, 1.0, ("h_internal",)))
    run = plant(space, parabola(1.1), 0.005, 0).run(shaken, 250)
    assert run.mean_objective(200) >= 0.9 - 0.01
