"""Orders as text: one spelling, and no field of one can be changed without its signatures failing."""

import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_bench import LIMITS

from attunement.charter import Charter, Operator
from attunement.objections import objections
from attunement.order import (
    SIGNATURES_MAX,
    SUBJECT_FIGURES,
    Action,
    Choice,
    OrderError,
    OrderTerms,
    SignedOrder,
    Vote,
    check_words,
    new_nonce,
    sign_order,
)
from attunement.order_book import OrderBook
from kernel.quantity import NANO, Nano
from ledger import Head, SigningKey
from ledger.canonical import encode, parse

INES, OMAR, EVA = (SigningKey(bytes([number] * 32)) for number in (1, 2, 3))
CHARTER = Charter((Operator("ines", INES.verify_key), Operator("omar", OMAR.verify_key)))
NOW, LATER = "2026-03-01T12:00:00.000000Z", "2026-03-01T13:00:00.000000Z"
HEAD = Head(7, "ab" * 32)
TERMS = OrderTerms(Action.OVERRIDE, (1_010_000_000,), "ines", "storm warning", HEAD, None, "0f" * 16, LATER)
SIGNED = sign_order(INES, SignedOrder(TERMS))

FIGURES = st.integers(-(2**63 - 1), 2**63 - 1)
COUNTS = st.integers(0, 2**63 - 1)
HEX = "0123456789abcdef"
WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60).filter(
    lambda text: text.strip() and text.isprintable()
)
TIMES = st.datetimes().map(lambda moment: moment.isoformat(timespec="microseconds") + "Z")


@st.composite
def orders(draw):
    action = draw(st.sampled_from(Action))
    terms = OrderTerms(
        action,
        tuple(draw(st.lists(FIGURES, min_size=SUBJECT_FIGURES[action], max_size=SUBJECT_FIGURES[action]))),
        draw(WORDS),
        draw(WORDS),
        Head(draw(COUNTS), draw(st.text(HEX, min_size=64, max_size=64))),
        draw(st.none() | COUNTS),
        draw(st.text(HEX, min_size=32, max_size=32)),
        draw(TIMES),
    )
    signed = SignedOrder(terms)
    for key in draw(st.lists(st.sampled_from([INES, OMAR, EVA]), unique=True)):
        signed = sign_order(key, signed, draw(st.sampled_from(Choice)))
    return signed


def book():
    """The book of a ledger whose newest record is HEAD."""
    made = OrderBook(order_ttl_s=3600.0)
    made.limits = LIMITS
    made.follow(HEAD, NOW, None)
    return made


def found(signed, charter=CHARTER, at=NOW):
    return objections(charter, book(), signed, at, Nano(NANO))


@given(orders())
def test_an_order_survives_its_text(signed):
    text = signed.encode()
    assert SignedOrder.parse(text) == signed
    assert encode(parse(text.encode())) == text.encode()
    assert json.loads(text)["order"] == signed.terms.body()


def test_an_order_as_it_was_signed_meets_no_objection():
    assert found(SIGNED) == ()
    assert found(sign_order(OMAR, SIGNED)) == ()


@given(
    orders(), st.sampled_from(["action", "subject", "actor", "reason", "head", "latch", "nonce", "expires"])
)
def test_no_field_can_be_changed_under_a_signature(other, name):
    # What another field might make objectionable on its own is not asked: the signature alone must fail.
    changes = {name: getattr(other.terms, name)}
    if name in ("action", "subject"):
        changes = {"action": other.terms.action, "subject": other.terms.subject}
    terms = attrs.evolve(TERMS, **changes)
    objecting = [line for line in found(attrs.evolve(SIGNED, terms=terms)) if "not a signature" in line]
    assert len(objecting) == (terms != TERMS)
    assert (terms.order_id == TERMS.order_id) == (terms == TERMS)


@given(st.integers(0, len(SIGNED.encode()) - 1), st.characters(codec="ascii"))
def test_no_character_of_the_text_can_be_changed(place, character):
    text = SIGNED.encode()
    changed = text[:place] + character + text[place + 1 :]
    try:
        objecting = found(SignedOrder.parse(changed))
    except OrderError:
        objecting = ("no order",)
    assert bool(objecting) == (changed != text)


@given(st.integers(0, 511))
def test_no_bit_of_a_signature_can_be_changed(bit):
    (vote,) = SIGNED.votes
    flipped = bytearray(vote.signature)
    flipped[bit // 8] ^= 1 << bit % 8
    changed = attrs.evolve(SIGNED, votes=(attrs.evolve(vote, signature=bytes(flipped)),))
    assert found(changed) == ("it is not a signature of this order by ines",)


def test_a_signature_stands_for_its_choice_and_its_key():
    (vote,) = SIGNED.votes
    against = attrs.evolve(SIGNED, votes=(attrs.evolve(vote, choice=Choice.AGAINST),))
    assert "it is not a signature of this order by ines" in found(against)
    omars = attrs.evolve(SIGNED, votes=(attrs.evolve(vote, key_id=OMAR.verify_key.key_id),))
    assert found(omars) == ("it is not a signature of this order by omar",)


def test_the_key_of_nobody_is_named():
    assert found(sign_order(EVA, SIGNED)) == (f"key {EVA.verify_key.key_id} is no operator's",)


@given(
    st.lists(st.tuples(st.sampled_from([INES, OMAR, EVA]), st.sampled_from(Choice)), max_size=6),
    st.integers(1, 3),
)
def test_each_operator_counts_once_and_only_for(signings, quorum):
    charter = Charter(
        tuple(Operator(name, key.verify_key) for name, key in (("ines", INES), ("omar", OMAR), ("eva", EVA))),
        quorum,
    )
    signed, last = SignedOrder(TERMS), {}
    for key, choice in signings:
        signed = sign_order(key, signed, choice)
        last[key.verify_key.key_id] = choice
    count = list(last.values()).count(Choice.FOR)
    short = f"{count} of 3 operators are for it, must be {quorum}"
    assert found(signed, charter) == (() if count >= quorum else (short,))


def test_a_freeze_needs_one_operator_whatever_the_quorum():
    charter = attrs.evolve(CHARTER, quorum=2)
    freeze = sign_order(INES, SignedOrder(attrs.evolve(TERMS, action=Action.FREEZE, subject=())))
    assert found(freeze, charter) == ()
    assert found(SIGNED, charter) == ("1 of 2 operators are for it, must be 2",)


def test_without_operators_nobody_may_order():
    assert found(SIGNED, Charter()) == (
        f"key {INES.verify_key.key_id} is no operator's",
        "0 of 0 operators are for it, must be 1",
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"subject": ()}, "subject of override must be 1 whole numbers"),
        ({"subject": (1, 2)}, "subject of override must be"),
        ({"subject": (True,)}, "subject of override must be"),
        ({"subject": (1.0,)}, "subject of override must be"),
        ({"subject": (2**63,)}, "subject of override must be"),
        ({"action": Action.APPROVE}, "subject of approve must be 0"),
        ({"actor": " "}, "actor must be 1 to 400 printable characters"),
        ({"reason": "two\nlines"}, "reason must be"),
        ({"reason": "x" * 401}, "reason must be"),
        ({"reason": "\ud800"}, "reason must be"),
        ({"head": Head(7, "AB" * 32)}, "head must be"),
        ({"head": Head(2**63, "ab" * 32)}, "head must be"),
        ({"latch": -1}, "latch must be"),
        ({"latch": True}, "latch must be"),
        ({"nonce": "0f"}, "nonce must be"),
        ({"nonce": "٠" * 32}, "nonce must be"),
        ({"expires": "tomorrow"}, "expires must be"),
        ({"expires": "2026-03-01T13:00:00Z"}, "expires must be"),
        ({"expires": "2026-03-01T13:00:00.000000+00:00"}, "expires must be"),
    ],
)
def test_terms_that_are_none_are_named(changes, said):
    with pytest.raises(OrderError, match=said):
        attrs.evolve(TERMS, **changes)


def _changed(change):
    members = json.loads(SIGNED.encode())
    change(members)
    return json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not an order"),
        ("\ud800", "not an order"),
        ("[]", "must be order and signatures"),
        (SIGNED.encode() + "\n", "not an order"),
        (SIGNED.encode().replace(":", ": ", 1), "not an order"),
        (_changed(lambda it: it.update(note="x")), "must be order and signatures"),
        (_changed(lambda it: it.update(signatures={})), "signatures must be a list"),
        (_changed(lambda it: it.update(order=None)), "order must have the members"),
        (_changed(lambda it: it["order"].pop("latch")), "order must have the members"),
        (_changed(lambda it: it["order"].update(note=1)), "order must have the members"),
        (_changed(lambda it: it["order"].update(v=2)), "v is 2, must be 1"),
        (_changed(lambda it: it["order"].update(v=True)), "v is True, must be 1"),
        (_changed(lambda it: it["order"].update(head="x")), "head must have a hash and a sequence"),
        (_changed(lambda it: it["order"]["head"].update(sequence="7")), "head must have"),
        (_changed(lambda it: it["order"].update(subject="x")), "subject must be a list"),
        (_changed(lambda it: it["order"].update(subject=["x"])), "subject of override"),
        (_changed(lambda it: it["order"].update(action="sing")), "action must be one of freeze, unfreeze"),
        (_changed(lambda it: it["order"].update(actor=3)), "actor must be a text"),
        (_changed(lambda it: it["order"].update(latch="3")), "latch must be"),
        (_changed(lambda it: it["signatures"].append(3)), "a signature must have the members"),
        (_changed(lambda it: it["signatures"].extend(it["signatures"])), "one for each key"),
        (_changed(lambda it: it["signatures"][0].update(key=3)), "key must be 16 hex digits"),
        (_changed(lambda it: it["signatures"][0].update(key="zz")), "key must be 16 hex digits"),
        (_changed(lambda it: it["signatures"][0].update(signature="AA==")), "signature must be 64 bytes"),
        (_changed(lambda it: it["signatures"][0].update(signature="?")), "signature must be 64 bytes"),
        (
            _changed(lambda it: it["signatures"][0].update(choice="maybe")),
            "choice must be one of for, against",
        ),
    ],
    ids=range(26),
)
def test_texts_that_are_no_order_are_named(text, said):
    with pytest.raises(OrderError, match=said):
        SignedOrder.parse(text)


def test_more_signatures_than_anybody_needs_are_refused():
    votes = [Vote(f"{number:016x}", Choice.FOR, bytes(64)) for number in range(SIGNATURES_MAX + 1)]
    assert len(SignedOrder(TERMS, tuple(votes[:-1])).votes) == SIGNATURES_MAX
    with pytest.raises(OrderError, match="at most 64"):
        SignedOrder(TERMS, tuple(votes))


def test_signing_again_takes_the_place_of_the_first_signature():
    against = sign_order(INES, SIGNED, Choice.AGAINST)
    assert [vote.choice for vote in against.votes] == [Choice.AGAINST]
    assert sign_order(INES, against) == SIGNED


def test_nonces_differ():
    assert len({new_nonce() for _ in range(100)}) == 100


def test_words_that_cannot_stand_in_an_order_are_named():
    check_words("ines", "storm")
    with pytest.raises(OrderError, match="actor must be"):
        check_words("\t", "storm")


def test_no_alpha_is_admitted_where_no_policy_is_known():
    unknown = book()
    unknown.limits = None
    found = objections(CHARTER, unknown, SIGNED, NOW, Nano(NANO))
    assert found == ("α is 1.01, must lie in a policy, and none is in force",)
