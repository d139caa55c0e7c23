"""What is proved is the kernel that is imported, and only what is written in the small language."""

from pathlib import Path

import pytest

import kernel.rules
from proofs.source import ImpureKernelError, check_purity, kernel_from, shipped_kernel

RULES = Path(kernel.rules.__file__).read_text(encoding="utf-8")
QUANTITY = shipped_kernel().sources["quantity"]

IMPURE = {
    "a clock": ("from kernel.quantity", "import time\nfrom kernel.quantity"),
    "chance": ("from kernel.quantity", "from random import random\nfrom kernel.quantity"),
    "a renamed import": ("from kernel.quantity import NANO,", "from kernel.quantity import NANO as NANO,"),
    "a name that is not imported": ("missed = state.missed + 1", "missed = state.missed + NANOS"),
    "a call of a method": ("missed = state.missed + 1", "missed = state.count(1)"),
    "a private attribute": ("missed = state.missed + 1", "missed = state._fields"),
    "open": ("missed = state.missed + 1", 'missed = open("/dev/urandom")'),
    "isinstance": ("missed = state.missed + 1", "missed = isinstance(state, State)"),
    "a float": ("missed = state.missed + 1", "missed = state.policy + 1.0"),
    "none": ("missed = state.missed + 1", "missed = None"),
    "identity": ("state.mode == TRIAL:", "state.mode is TRIAL:"),
    "membership": ("state.mode == TRIAL:", "state.mode in (TRIAL,):"),
    "a loop": ("missed = state.missed + 1", "while state.policy:\n        pass"),
    "a comprehension": ("missed = state.missed + 1", "missed = [p for p in state]"),
    "a lambda": ("missed = state.missed + 1", "missed = (lambda: 1)()"),
    "a handler": ("missed = state.missed + 1", "try:\n        missed = 1\n    finally:\n        missed = 2"),
    "a global": ("missed = state.missed + 1", "global Transition\n    missed = 1"),
    "a loop over a call": ("missed = state.missed + 1", "for p in limits_checks(limits):\n        x = 1"),
    "an assignment to an attribute": ("missed = state.missed + 1", "state.policy = 1"),
    "shadowing": ("missed = state.missed + 1", "hold = state.policy"),
    "a call of an argument": ("missed = state.missed + 1", "missed = state(1)"),
    "a default": ("def recover(state: State)", "def recover(state: State = 1)"),
    "a decorator": ("def recover", "@hold\ndef recover"),
    "a mutable global": ("Transition = ", "_SEEN = []\nTransition = "),
    "a call at import": ("Transition = ", "_SEEN = hold(())\nTransition = "),
    "a statement at import": ("Transition = ", "if NANO:\n    _SEEN = 1\nTransition = "),
    "a method": ("Transition = ", "class Seen:\n    def seen(self) -> int:\n        return 1\nTransition = "),
}  # fmt: skip


def test_the_shipped_kernel_is_the_imported_one() -> None:
    shipped = shipped_kernel()
    assert shipped.rules is kernel.rules
    assert shipped.sources["rules"] == RULES
    assert sorted(shipped.sources) == ["limits", "quantity", "rules", "state"]


def test_the_digest_follows_every_source() -> None:
    digests = {
        kernel_from(**{name: text + "\n"}).digest
        for name, text in shipped_kernel().sources.items()
        if name != "state"
    }
    assert len(digests) == 3
    assert shipped_kernel().digest not in digests
    assert kernel_from().digest == shipped_kernel().digest


@pytest.mark.parametrize("what", IMPURE)
def test_a_kernel_outside_the_language_is_refused(what: str) -> None:
    old, new = IMPURE[what]
    assert old in RULES
    with pytest.raises(ImpureKernelError, match=r"kernel/rules\.py line \d+"):
        kernel_from(rules=RULES.replace(old, new, 1))


def test_the_boundary_may_meet_floats_and_the_integer_part_may_not() -> None:
    check_purity("quantity", QUANTITY)
    with pytest.raises(ImpureKernelError, match=r"constant 0\.5"):
        check_purity("quantity", QUANTITY.replace("return numerator * NANO // denominator", "return 0.5"))
    asked = "return numerator * NANO // denominator * sys.maxsize"
    with pytest.raises(ImpureKernelError, match="the name sys"):
        check_purity("quantity", QUANTITY.replace("return numerator * NANO // denominator", asked))


def test_a_kernel_made_apart_changes_nothing_else() -> None:
    changed = kernel_from(limits=shipped_kernel().sources["limits"].replace("367_879_441", "367_879_440"))
    assert changed.limits.LOOP_GAIN_FOLD == 367_879_440
    assert changed.rules.LOOP_GAIN_FOLD == 367_879_440
    assert kernel.rules.LOOP_GAIN_FOLD == 367_879_441
