"""Reading JSON bodies: what is refused, and in which words."""

import pytest

from luthier.errors import InvalidRequestError
from luthier.server.body import parse_object


def test_reads_an_object_with_or_without_a_byte_order_mark() -> None:
    assert parse_object(b'\xef\xbb\xbf{"a": "\xc3\xa4\\ud83d\\ude00"}') == {"a": "ä😀"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no body"),
        (b" \n", "no body"),
        (b"{", "not JSON"),
        (b"a=b", "not JSON"),
        (b"\xff{}", "not UTF-8"),
        (b"[1]", "not an array"),
        (b"null", "not null"),
        (b'"text"', "not a string"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": [-Infinity]}', "-Infinity"),
        (b'{"a": 1, "a": 2}', "'a' stands twice"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b'{"\\udfff": 1}', "surrogate"),
        (b'{"a": ' + b"1" * 5000 + b"}", "too many digits"),
        (b'{"a": ' + b"9" * 4300 + b"}", "too many digits"),
        (b'{"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "nested too deeply"),
    ],
)
def test_refuses_what_is_no_sound_object(body: bytes, words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words):
        parse_object(body)
