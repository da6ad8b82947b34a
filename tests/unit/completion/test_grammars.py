"""Grammars of answers: what they let through, byte by byte."""

import pytest
from llguidance import LLMatcher

from luthier.completion.constraint import Constraint, _tokenizer
from luthier.completion.grammars import json_grammar, tool_grammar
from luthier.domain.chat import AnswerFormat, Tool, ToolChoice, ToolMode
from luthier.modeling.tool_form import ToolForm
from luthier.testing import ByteTokenizer

END = frozenset({256})
FORM = ToolForm('<call>{"name": "', '", "arguments": ', '}</call> <call>{"name": "', "}</call>")
# As some have it: special tokens around a call. Here the end of text poses as one.
SPECIAL = ToolForm("<|end|>", "(", None, ")")
ADD = Tool("add", None, {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False})
NOW = Tool("now")


def _takes(grammar: str, text: str) -> bool:
    """Whether a text may be the whole answer."""
    tokenizer = ByteTokenizer()
    Constraint.compile(grammar, tokenizer, END)
    matcher = LLMatcher(_tokenizer(tokenizer, END), grammar, log_level=0)
    return matcher.try_consume_tokens(list(text.encode())) == len(text.encode()) and matcher.is_accepting()


def _tools(choice: ToolChoice, form: ToolForm = FORM, answer: AnswerFormat | None = None) -> str:
    return tool_grammar(form, [ADD, NOW], choice, answer, ByteTokenizer())


ONE, OTHER = '<call>{"name": "add", "arguments": {"a": 1}}</call>', '<call>{"name": "now", "arguments": {}}</call>'


WORDS, CALLS, BOTH, SEVERAL = ["", "Hi", "Hi {"], [ONE, OTHER], ["Hi " + ONE], [f"{ONE} {OTHER}"]
WRONG = ["<call>", ONE + " more", ONE.replace("1", '"1"'), ONE.replace("add", "sub"), ONE[:-1]]


@pytest.mark.parametrize(
    ("choice", "taken"),
    [
        (ToolChoice(), [*WORDS, *CALLS, *BOTH, *SEVERAL]),
        (ToolChoice(parallel=False), [*WORDS, *CALLS, *BOTH]),
        (ToolChoice(ToolMode.REQUIRED), [*CALLS, *SEVERAL]),
        (ToolChoice(ToolMode.REQUIRED, frozenset({"now"}), parallel=False), [OTHER]),
        (ToolChoice(ToolMode.AUTO, frozenset({"add"})), [*WORDS, ONE, *BOTH]),
    ],
)
def test_calls(choice: ToolChoice, taken: list[str]) -> None:
    grammar = _tools(choice)
    assert [text for text in [*WORDS, *CALLS, *BOTH, *SEVERAL, *WRONG] if _takes(grammar, text)] == taken


def test_json_or_calls() -> None:
    grammar = _tools(ToolChoice(), answer=AnswerFormat({"type": "array"}, "list"))
    assert [text for text in ("[1]", ONE, "Hi", "Hi " + ONE, "{}") if _takes(grammar, text)] == ["[1]", ONE]


def test_special_tokens_are_tokens_not_their_letters() -> None:
    grammar = _tools(ToolChoice(ToolMode.REQUIRED), SPECIAL)
    assert "<[256]>" in grammar
    assert not _takes(grammar, "<|end|>now({})")


def test_white_space_between_parts_of_json() -> None:
    grammar = json_grammar(AnswerFormat({"type": "object", "required": ["a"]}))
    good = ['{"a":1}', '{"a": 1}', '{\n  "a": [\n    1,\n    2\n  ]\n}', '{ "a" : 1 }']
    assert [
        text for text in [*good, '{"a":  1}', '{"a":\n\n1}', ' {"a":1}', '{"a":1}\n'] if _takes(grammar, text)
    ] == good
