"""What counts as JSON here."""

import contextlib
import json
import unittest

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from config.errors import MalformedJson
from config.strict_json import DEPTH_MAX, parse_json

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)
ORDER = b'{"customer": "c-17 \\u00e9\\ud83d\\ude00", "lines": [{"sku": "22196", "quantity": 3}]}'


def nested(depth):
    return b"[" * depth + b"]" * depth


class ParseJsonTests(unittest.TestCase):
    def refusal(self, body):
        with pytest.raises(MalformedJson) as caught:
            parse_json(body)
        return str(caught.value)

    @given(VALUES, st.booleans())
    def test_reads_what_json_wrote(self, value, ensure_ascii):
        body = json.dumps(value, ensure_ascii=ensure_ascii).encode()

        assert parse_json(body) == value

    @given(st.binary(max_size=60))
    @example(b"")
    @example(b"\xef\xbb\xbf{}")
    def test_answers_any_bytes_with_a_value_or_malformed_json(self, body):
        with contextlib.suppress(MalformedJson):
            parse_json(body)

    @given(st.data())
    def test_answers_a_mutated_order_with_a_value_or_malformed_json(self, data):
        start = data.draw(st.integers(0, len(ORDER)))
        end = data.draw(st.integers(start, len(ORDER)))
        body = ORDER[:start] + data.draw(st.binary(max_size=8)) + ORDER[end:]

        with contextlib.suppress(MalformedJson):
            parse_json(body)

    def test_tells_whole_numbers_from_others(self):
        assert [type(number) for number in parse_json(b"[1, 1.0, 1e2, true]")] == [
            int,
            float,
            float,
            bool,
        ]

    def test_refuses_bytes_that_are_not_utf_8(self):
        assert self.refusal(b'{"a": "\xff"}') == "The body is not UTF-8: byte 7"
        # UTF-8 of a surrogate, and an overlong slash.
        self.refusal(b'"\xed\xa0\x80"')
        self.refusal(b'"\xc0\xaf"')

    def test_refuses_a_byte_order_mark(self):
        self.refusal(b"\xef\xbb\xbf{}")

    def test_says_where_the_syntax_breaks(self):
        assert self.refusal(b'{"a" 1}') == "Expecting ':' delimiter: line 1 column 6"

    def test_refuses_a_member_named_twice(self):
        assert self.refusal(b'{"a": [{"qty": 1, "qty": 2}]}') == "A member is named twice: 'qty'"

    def test_refuses_members_that_are_one_after_unescaping(self):
        self.refusal(b'{"qty": 1, "\\u0071ty": 2}')

    def test_refuses_numbers_that_json_does_not_have(self):
        for body in (b"NaN", b"[Infinity]", b"-Infinity", b"01", b"+1", b".5", b"1.", b"0x1"):
            self.refusal(body)

    def test_refuses_a_number_that_overflows(self):
        assert self.refusal(b"[-1e999]") == "A number is too large"
        assert parse_json(b"1e-999") == 0.0

    def test_refuses_a_number_of_more_than_4300_digits(self):
        assert parse_json(b"9" * 4300) == int("9" * 4300)
        assert self.refusal(b"9" * 4301) == "A number has too many digits"

    def test_refuses_nesting_deeper_than_the_limit(self):
        assert parse_json(nested(DEPTH_MAX))
        for depth in (DEPTH_MAX + 1, 500, 20_000):
            assert self.refusal(nested(depth)) == "Nested deeper than 32"

    def test_refuses_objects_nested_deeper_than_the_limit(self):
        assert parse_json(b'{"a":' * DEPTH_MAX + b"1" + b"}" * DEPTH_MAX)
        for depth in (DEPTH_MAX + 1, 20_000):
            assert self.refusal(b'{"a":' * depth + b"1" + b"}" * depth) == "Nested deeper than 32"

    def test_takes_wide_values_and_brackets_in_texts(self):
        assert len(parse_json(b"[" + b"[]," * 999 + b"[]]")) == 1000
        assert parse_json(b'"' + b"[" * 1000 + b'"') == "[" * 1000

    def test_refuses_a_nul(self):
        for body in (b'"\\u0000"', b'{"\\u0000": 1}', b'"\0"', b'"a\\\\\\u0000"', b"\0"):
            self.refusal(body)

    def test_takes_the_letters_of_an_escaped_nul_that_is_none(self):
        assert parse_json(b'"\\\\u0000"') == "\\u0000"
        assert parse_json(b'"\\\\ud800"') == "\\ud800"

    def test_refuses_half_of_a_surrogate_pair(self):
        for body in (
            b'"\\ud83d"',
            b'"\\ude00"',
            b'"\\ud83d\\ud83d\\ude00"',
            b'"\\ude00\\ud83d"',
            b'"\\ud83d\\\\ude00"',
            b'"\\ud83d \\ude00"',
            b'{"\\udfff": 1}',
        ):
            self.refusal(body)

    def test_takes_a_whole_surrogate_pair(self):
        assert parse_json(b'"\\ud83d\\ude00\\uD83D\\uDE00"') == "😀😀"

    def test_refuses_more_than_one_value(self):
        self.refusal(b"{} {}")
        assert parse_json(b" \n{}\t ") == {}
