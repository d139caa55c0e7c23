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
    "a call of a method": ("policy = state.policy + 1", "policy = state.count(1)"),
    "a private attribute": ("policy = state.policy + 1", "policy = state._fields"),
    "open": ("policy = state.policy + 1", 'policy = open("/dev/urandom")'),
    "isinstance": ("policy = state.policy + 1", "policy = isinstance(state, State)"),
    "a float": ("policy = state.policy + 1", "policy = state.policy + 1.0"),
    "none": ("policy = state.policy + 1", "policy = None"),
    "identity": ("state.mode == TRIAL:", "state.mode is TRIAL:"),
    "membership": ("state.mode == TRIAL:", "state.mode in (TRIAL,):"),
    "a loop": ("policy = state.policy + 1", "while state.policy:\n        pass"),
    "a comprehension": ("policy = state.policy + 1", "policy = [p for p in state]"),
    "a lambda": ("policy = state.policy + 1", "policy = (lambda: 1)()"),
    "a handler": ("policy = state.policy + 1", "try:\n        policy = 1\n    finally:\n        policy = 2"),
    "a global": ("policy = state.policy + 1", "global Transition\n    policy = 1"),
    "a loop over a call": ("policy = state.policy + 1", "for p in limits_checks(limits):\n        x = 1"),
    "an assignment to an attribute": ("policy = state.policy + 1", "state.policy = 1"),
    "shadowing": ("policy = state.policy + 1", "hold = state.policy"),
    "a call of an argument": ("policy = state.policy + 1", "policy = state(1)"),
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
