"""Calls read out of text, whole and in any pieces."""

import random

import pytest

from luthier.modeling.tool_form import ToolForm
from luthier.services.tool_calls import CallArguments, CallBegin, Content, ToolCallReader

TAGGED = ToolForm('<call>\n{"name": "', '", "arguments": ', '}\n</call>\n<call>\n{"name": "', "}\n</call>")
BARE = ToolForm('{"name": "', '", "parameters": ', None, "}")
ONE = '<call>\n{"name": "add", "arguments": {"a": "}\\"{", "b": [1, {}]}}\n</call>'
TWO = ONE.removesuffix("\n</call>") + '\n</call>\n<call>\n{"name": "now", "arguments": {}}\n</call>'
ADD = ("add", '{"a": "}\\"{", "b": [1, {}]}')


def _read(form: ToolForm, pieces: list[str], *, anywhere: bool = True) -> tuple[str, list[tuple[str, str]]]:
    """What was said, and the calls with their arguments."""
    reader = ToolCallReader(form, anywhere=anywhere)
    said, calls = "", []
    for found in [piece for text in pieces for piece in reader.push(text)] + reader.finish():
        if isinstance(found, Content):
            assert not calls
            said += found.text
        elif isinstance(found, CallBegin):
            assert (found.index, found.id[:5]) == (len(calls), "call_")
            calls.append((found.name, ""))
        elif isinstance(found, CallArguments):
            assert found.index == len(calls) - 1
            calls[-1] = (calls[-1][0], calls[-1][1] + found.text)
    assert reader.calls == len(calls)
    return said, calls


CASES = [
    (TAGGED, "Hello.", ("Hello.", [])),
    (TAGGED, "a < b <ca", ("a < b <ca", [])),
    (TAGGED, ONE, ("", [ADD])),
    (TAGGED, TWO, ("", [ADD, ("now", "{}")])),
    (TAGGED, "Let me see.\n\n" + ONE, ("Let me see.", [ADD])),
    (TAGGED, "x  ", ("x  ", [])),
    (TAGGED, "Well <call>\n{", ("Well", [])),
    (TAGGED, ONE[:42], ("", [("add", ONE[36:42])])),
    (BARE, '{"name": "now", "parameters": {"a": 1}}', ("", [("now", '{"a": 1}')])),
    (BARE, "No {", ("No {", [])),
    (BARE, '{"nam', ('{"nam', [])),
]


@pytest.mark.parametrize(("form", "text", "expected"), CASES)
def test_calls_in_any_pieces(form: ToolForm, text: str, expected: tuple[str, list[tuple[str, str]]]) -> None:
    assert _read(form, [text]) == expected
    assert _read(form, list(text)) == expected
    for seed in range(20):
        cuts = sorted(random.Random(seed).sample(range(len(text) + 1), 2))
        assert _read(form, [text[: cuts[0]], text[cuts[0] : cuts[1]], text[cuts[1] :]]) == expected


def test_calls_from_the_beginning_alone() -> None:
    assert _read(TAGGED, list('["<call>"]'), anywhere=False) == ('["<call>"]', [])
    assert _read(TAGGED, list(ONE), anywhere=False) == ("", [ADD])
