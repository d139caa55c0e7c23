import json
import sys
from enum import IntEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import CanonicalError, canonical
from ledger.canonical import MAX_BYTES, MAX_DEPTH, MAX_INTEGER_BITS, encode, parse

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_every_allowed_value_comes_back_with_its_type(value):
    returned = parse(encode(value))
    assert returned == value
    # The text tells True from 1, which == does not.
    assert json.dumps(returned, sort_keys=True) == json.dumps(value, sort_keys=True)


@given(st.binary(max_size=40) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_bytes_are_refused_or_are_the_canonical_form(data):
    try:
        value = parse(data)
    except CanonicalError:
        return
    assert encode(value) == data


class Colour(IntEnum):
    RED = 1


class Word(str):
    """A text of another type."""


# Whatever a caller may hand over.
KEYS = TEXT | st.integers() | TEXT.map(Word)
FOREIGN = st.recursive(
    VALUES
    | st.floats()
    | st.sampled_from([(), (1,), b"x", "\ud800", 2**63, 2**64, -(2**63) - 1, 2**2048])
    | st.sampled_from([Colour.RED, Word("a")])
    | st.uuids()
    | st.datetimes(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(TEXT | st.integers() | TEXT.map(Word), inner, max_size=4)
    ),
    max_leaves=20,
)
SPELLINGS = st.text('0123456789-+.eE[]{},:"\\u ntrf\n\x7fé', max_size=30).map(str.encode)


def outcome_of(call, value):
    try:
        return call(value)
    except CanonicalError as error:
        return str(error)


@given(FOREIGN)
def test_the_short_way_of_encoding_says_what_the_careful_one_says(value):
    short = canonical._encoded_as_it_stands(value)
    assert short is None or short == outcome_of(canonical._encoded_after_a_check, value)


@given(
    SPELLINGS
    | FOREIGN.map(lambda value: json.dumps(value, default=str, ensure_ascii=False).encode(errors="replace"))
)
def test_the_short_way_of_parsing_says_what_the_careful_one_says(data):
    short = canonical._parsed_as_it_stands(data)
    assert short is None or json.dumps(short) == json.dumps(canonical._parsed_with_care(data))


def test_both_ways_of_encoding_spell_every_character_alike():
    for begin in range(0, 0x110000, 4096):
        text = "".join(chr(code) for code in range(begin, begin + 4096) if not 0xD800 <= code < 0xE000)
        value = {text: [text]}
        assert canonical._encoded_as_it_stands(value) == canonical._encoded_after_a_check(value)


def test_members_are_sorted_by_code_point_and_text_is_not_changed():
    text = 'a"\\\n\u2028\x7f'
    value = {"é": 1, "e\u0301": 2, "z": [True, None, -5], "Z": text, "\U0001f600": {}, "\uffff": 0}
    expected = '{"Z":"a\\"\\\\\\n\u2028\x7f","e\u0301":2,"z":[true,null,-5],"é":1,"\uffff":0,"\U0001f600":{}}'
    assert encode(value) == expected.encode()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"reading": {"entropy": 0.5}}, "reading.entropy is a float"),
        ({"a": [1, {"b": float("nan")}]}, "a.1.b is a float"),
        (-0.0, "value is a float"),
        ({"a": (1, 2)}, "a is a tuple"),
        ({"a": b"x"}, "a is a bytes"),
        ({"a": Colour.RED}, "a is a Colour"),
        ({"a": {1: 2}}, "a has the key 1, must be a string"),
        ({"\x1b[2J\n": 0.5}, r"\x1b[2J\n is a float"),
        ({"a": "\ud800"}, "a has a lone surrogate at character 0"),
        ({"\udfff": 1}, "has a lone surrogate at character 0"),
        ({"a": 2**MAX_INTEGER_BITS}, f"a has {MAX_INTEGER_BITS + 1} bits, must not exceed 2048"),
        ("x" * MAX_BYTES, f"value takes {MAX_BYTES + 2} bytes, must not exceed {MAX_BYTES}"),
    ],
)
def test_what_has_no_canonical_form_is_named(value, message):
    with pytest.raises(CanonicalError) as caught:
        encode(value)
    assert message in str(caught.value)


@pytest.mark.parametrize("empty", [[], {}])
def test_depth_is_bounded_both_ways(empty):
    value = empty
    for _ in range(MAX_DEPTH - 1):
        value = [value]
    assert parse(encode(value)) == value
    with pytest.raises(CanonicalError, match=f"in depth, must not exceed {MAX_DEPTH}"):
        encode([value])
    with pytest.raises(CanonicalError, match=f"in depth, must not exceed {MAX_DEPTH}"):
        parse(b"[" + encode(value) + b"]")


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
def test_a_flood_of_brackets_is_a_refusal(opening):
    with pytest.raises(CanonicalError):
        parse(opening * (MAX_BYTES // len(opening)))
    # By the parser, or where that goes deeper than the limit by the encoder.
    said = f"(^nested too deeply|is container number {MAX_DEPTH + 1} in depth), must not exceed {MAX_DEPTH}$"
    with pytest.raises(CanonicalError, match=said):
        parse(b"[" * 30000 + b"]" * 30000)


@pytest.mark.parametrize("magnitude", [2**MAX_INTEGER_BITS - 1, -(2**MAX_INTEGER_BITS) + 1])
def test_the_largest_integers_pass_under_the_strictest_setting_of_the_interpreter(magnitude):
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        assert parse(encode(magnitude)) == magnitude
        with pytest.raises(CanonicalError, match="5000 digits"):
            parse(b"1" * 5000)
    finally:
        sys.set_int_max_str_digits(before)
    with pytest.raises(CanonicalError, match="bits"):
        parse(b"9" * 618)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a":1,"a":1}', "key 'a' appears twice"),
        (b'{"b":[{"a":1,"c":0,"a":2}]}', "key 'a' appears twice"),
        (b'{"a":1,"\\u0061":1}', "key 'a' appears twice"),
        (b"1.0", "1.0 is not an integer"),
        (b"1e5", "1e5 is not an integer"),
        (b"NaN", "NaN is not an integer"),
        (b'{"a":-Infinity}', "-Infinity is not an integer"),
        (b"1e" + b"9" * 1000, "is not an integer"),
        (b"-0", "not the canonical form"),
        (b"01", "not JSON"),
        (b"+1", "not JSON"),
        (b"1_000", "not JSON"),
        ("٣".encode(), "not JSON"),
        (b'{"b":1,"a":2}', "not the canonical form"),
        (b'{"a": 1}', "not the canonical form"),
        (b" 1", "not the canonical form"),
        (b"1\n", "not the canonical form"),
        (b'"\\u00e9"', "not the canonical form"),
        (b'"\\/"', "not the canonical form"),
        (b'"\\u000a"', "not the canonical form"),
        (b'"\\ud800"', "lone surrogate"),
        (b'"\xed\xa0\x80"', "byte 1 is not UTF-8"),
        (b"\xef\xbb\xbf1", "not JSON"),
        (b'"\xc0\xaf"', "byte 1 is not UTF-8"),
        (b'"a\nb"', "not JSON"),
        (b"", "not JSON"),
        (b"1 2", "not JSON"),
        (b"[1,]", "not JSON"),
        (b'"' + b"x" * MAX_BYTES + b'"', f"value takes {MAX_BYTES + 2} bytes"),
    ],
)
def test_every_other_spelling_is_refused(data, message):
    with pytest.raises(CanonicalError) as caught:
        parse(data)
    assert message in str(caught.value)
