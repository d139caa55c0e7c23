"""Whose orders count, and for what."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attunement.governance import KeyAuthority, sign_order
from kernel import Order
from ledger import CanonicalError, SigningKey

OPERATOR = SigningKey(bytes(range(32)))
OTHER = SigningKey(bytes(range(1, 33)))
HEAD = "ab" * 32
ORDER = Order("override", (1_010_000_000,), "ines", "storm warning", "")
SIGNED = sign_order(OPERATOR, ORDER, HEAD)


def authority(head=HEAD, operator=OPERATOR.verify_key):
    return KeyAuthority(operator, lambda: head)


def test_an_order_of_the_operators_counts():
    assert authority().authorises(SIGNED)


@pytest.mark.parametrize(
    "order",
    [
        ORDER,
        sign_order(OTHER, ORDER, HEAD),
        SIGNED._replace(action="approve"),
        SIGNED._replace(subject=(1_010_000_001,)),
        SIGNED._replace(subject=()),
        SIGNED._replace(actor="ine"),
        SIGNED._replace(reason="storm  warning"),
        SIGNED._replace(signature="λ"),
        SIGNED._replace(signature="\ud800"),
        SIGNED._replace(signature=SIGNED.signature[:-4]),
        SIGNED._replace(signature=SIGNED.signature.rstrip("=")),
        SIGNED._replace(signature=SIGNED.signature + "\n"),
        sign_order(OPERATOR, ORDER._replace(actor=" "), HEAD),
        sign_order(OPERATOR, ORDER._replace(reason="\t\n"), HEAD),
        sign_order(OPERATOR, ORDER._replace(actor=""), HEAD),
    ],
)
def test_an_order_that_was_not_signed_as_it_stands_does_not(order):
    assert not authority().authorises(order)


def test_an_order_answers_to_the_head_it_was_signed_at():
    assert not authority(head="cd" * 32).authorises(SIGNED)


def test_without_an_operator_nobody_may_order():
    assert not authority(operator=None).authorises(SIGNED)


def test_another_operator_is_another():
    assert not authority(operator=OTHER.verify_key).authorises(SIGNED)


@given(st.integers(0, 63), st.integers(1, 255))
def test_no_other_signature_counts(place, flip):
    from ledger.keys import decode_base64, encode_base64

    bytes_signed = bytearray(decode_base64(SIGNED.signature))
    bytes_signed[place] ^= flip
    assert not authority().authorises(SIGNED._replace(signature=encode_base64(bytes(bytes_signed))))


def test_an_order_in_text_that_is_none_is_not_signed():
    with pytest.raises(CanonicalError, match="surrogate"):
        sign_order(OPERATOR, ORDER._replace(actor="\udcff"), HEAD)


def test_an_order_is_used_up_by_the_record_it_causes(attune, scripted_engine, wishes):
    loop = attune(scripted_engine(), wishes())
    loop.controller.start()
    loop.engine.run(1)
    loop.controller.freeze("ines", "maintenance")
    order = loop.signed("approve")
    loop.controller.approve(order)
    loop.controller.freeze("ines", "maintenance again")
    assert loop.controller.approve(order).verdict.outcome.value == "refused"
    assert loop.decisions()[-3:] == [("approve", "approved"), ("freeze", "frozen"), ("approve", "refused")]
