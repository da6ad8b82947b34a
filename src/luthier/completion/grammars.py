"""Grammars for `completion.constraint`: JSON of a schema, and answers that may or must be calls of tools.

The language is llguidance's own (its docs/syntax.md): Lark with `%json {schema}`, lexemes that end as soon as they can
(`[lazy]`), and special tokens by number, `<[2]>`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from llguidance import LLMatcher

from luthier.domain.chat import AnswerFormat, Tool, ToolChoice, ToolMode
from luthier.errors import InvalidRequestError
from luthier.modeling.tool_form import ToolForm
from luthier.types import Tokenizer

# One space, or a line break and an indent. A weak model given all whitespace that JSON allows may write nothing else.
_WHITESPACE = r"( |\n[ \t]{0,16})?"


def json_grammar(answer: AnswerFormat) -> str:
    """
    Raises:
        InvalidRequestError: the schema cannot be followed; the message says why.
    """
    grammar = LLMatcher.grammar_from_json_schema(_schema(answer.schema, strict=answer.strict))
    _check(grammar, f"Invalid schema for response_format '{answer.name}'", "response_format.json_schema.schema")
    return grammar


def tool_grammar(
    form: ToolForm, tools: Sequence[Tool], choice: ToolChoice, answer: AnswerFormat | None, tokenizer: Tokenizer
) -> str:
    """Answers of a model that has tools: text or calls, by `choice`.

    Args:
        choice: its mode is not `NONE`.
        answer: what text must be, None for any. In any text the form's trigger stands for the beginning of a call.

    Raises:
        InvalidRequestError: a schema cannot be followed; the message says which and why.
    """
    for at, tool in enumerate(tools):
        checked = LLMatcher.grammar_from_json_schema(_schema(tool.parameters, strict=tool.strict))
        _check(checked, f"Invalid schema for function '{tool.name}'", f"tools.{at}.function.parameters")
    callable_ = [tool for tool in tools if choice.names is None or tool.name in choice.names]
    literal = _Literals(tokenizer)
    rest = " ".join(filter(None, ["call", _more(form, choice, literal), literal(form.closing)]))
    rules = []
    if choice.mode is ToolMode.REQUIRED:
        rules.append(f"start: {literal(form.opening)} {rest}")
    elif answer is not None:
        json_grammar(answer)
        rules.append(f"start: answer | {literal(form.opening)} {rest}")
        rules.append(f"answer: %json {_schema(answer.schema, strict=answer.strict)}")
    elif form.trigger:
        opened = literal(form.opening.removeprefix(form.trigger))
        rules.append(f"start: TEXT | opened {opened} {rest}")
        rules += [f"opened{literal.lazy(form.trigger)}: TEXT {literal(form.trigger)}", r"TEXT: /(.|\n)*/"]
    else:
        rules.append(f"start: TEXT? | {literal(form.opening)} {rest}")
        rules.append(f"TEXT: /[^{re.escape(form.opening[0])}](.|\\n)*/")
    rules.append("call: " + " | ".join(f"call_{at}" for at in range(len(callable_))))
    for at, tool in enumerate(callable_):
        rules.append(f"call_{at}: {literal(tool.name + form.between)} arguments_{at}")
        rules.append(f"arguments_{at}: %json {_schema(tool.parameters, strict=tool.strict)}")
    return "\n".join(["%llguidance {}", *rules, ""])


def _more(form: ToolForm, choice: ToolChoice, literal: "_Literals") -> str:
    """Further calls, where there may be some."""
    return f"({literal(form.again)} call)*" if form.again is not None and choice.parallel else ""


class _Literals:
    """Writes fixed text for Lark, special tokens in it by their numbers."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._special = {
            tokenizer.token_bytes(id_).decode(): id_ for id_ in tokenizer.special_ids if id_ < tokenizer.vocab_size
        }
        longest_first = sorted(filter(None, self._special), key=len, reverse=True)
        self._pattern = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")") if longest_first else None

    def __call__(self, text: str) -> str:
        parts = self._pattern.split(text) if self._pattern else [text]
        return " ".join(self._part(part) for part in parts if part)

    def lazy(self, text: str) -> str:
        """The attribute of a rule that ends with `text`: a special token ends it by itself."""
        return "" if text in self._special else "[lazy]"

    def _part(self, text: str) -> str:
        return f"<[{self._special[text]}]>" if text in self._special else json.dumps(text, ensure_ascii=False)


def _schema(schema: Mapping[str, Any], *, strict: bool) -> str:
    options = {"whitespace_pattern": _WHITESPACE, "lenient": not strict}
    return json.dumps({**schema, "x-guidance": options}, ensure_ascii=False)


def _check(grammar: str, what: str, param: str) -> None:
    failed, messages = LLMatcher.validate_grammar_with_warnings(grammar)
    if failed:
        raise InvalidRequestError(f"{what}: {' '.join(messages[0].split())}", param=param)
