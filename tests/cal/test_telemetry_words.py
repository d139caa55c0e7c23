"""What stood against a decision is told in words: a mode by its name, never by its number."""

import pytest

from attunement.broken import sentences
from kernel import Mode, Outcome
from kernel.state import Verdict


@pytest.mark.parametrize("found", Mode)
def test_a_mode_goes_by_its_name(found):
    least, most = (Mode.FROZEN, Mode.EMERGENCY) if found is Mode.READY else (Mode.READY, Mode.READY)
    (said,) = sentences(Verdict(Outcome.REFUSED, (("mode", 1, int(least), int(found), int(most)),)))
    wanted = "FROZEN or EMERGENCY" if found is Mode.READY else "READY"
    assert said == f"mode is {found.name}, must be {wanted}"


def test_what_the_operator_is_told_has_no_number_of_a_mode(attune, scripted_engine, wishes):
    loop = attune(scripted_engine(), wishes())
    loop.controller.start()
    loop.engine.run(1)
    loop.controller.freeze("ines", "drill")
    refused = loop.controller.freeze("ines", "again")
    said = sentences(refused.verdict)
    assert said == ("mode is FROZEN, must be READY",)
