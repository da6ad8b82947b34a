"""Tables of chat or preference examples: each cell is the JSON text of one key of a line."""

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from luthier.datasets.checks.context import LengthLimit, Task
from luthier.datasets.conversations import ChatExample, PreferenceExample, chat_example, preference_example
from luthier.datasets.examples import Format
from luthier.datasets.findings import Finding, Force, Remedy, Severity, count, name_rows, visible
from luthier.datasets.jsonl import FIELDS
from luthier.datasets.turns import encode_chat, encode_preference
from luthier.errors import DataError
from luthier.types import ChatRenderer, Tokenizer

_SHOWN = 5  # errors of rows
_BYTES_A_TOKEN = 4

Conversation = ChatExample | PreferenceExample


@dataclass(frozen=True)
class ChatContext:
    """What these checks know beside the table.

    Args:
        tokenizer, template: of the base; None estimates lengths and leaves open what the template takes.
        validation: a table of the same kind.
    """

    tokenizer: Tokenizer | None
    template: ChatRenderer | None
    limit: LengthLimit
    validation: pd.DataFrame | None = None


def analyse_conversations(frame: pd.DataFrame, kind: Format, context: ChatContext) -> Iterator[Finding]:
    """All that can be said about a table of conversations, in the order in which remedies are to be applied."""
    yield from _extra_keys(frame, kind)
    examples, errors = _parsed(frame, kind)
    if errors:
        yield _unusable(errors)
    if not examples:
        yield Finding("no_examples", Severity.ERROR, "There is no example that can be used.")
        return
    yield _task(examples)
    yield from _duplicates(frame, examples)
    yield from _contradictions(examples)
    yield from _system_messages(examples)
    if context.tokenizer is not None and context.template is None:
        message = "The base model has no chat template, so it cannot be tuned on these. Name another with `-m`."
        yield Finding("no_chat_template", Severity.WARNING, message)
    yield from _not_carried(examples, context)
    yield from _long_examples(examples, context)
    if context.validation is not None:
        yield from _leaks(examples, context.validation, kind)


def values_of(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The object of each row, as its line holds it."""
    for cells in frame.to_dict("records"):
        yield {str(name): _value(str(name), cell) for name, cell in cells.items() if cell != "" or name in FIELDS}


def tokens_of(example: Conversation, tokenizer: Tokenizer | None, template: ChatRenderer | None) -> int:
    """Tokens that an example is trained on; without tokenizer and template estimated, one for four bytes of text.

    Raises:
        DataError: the template does not take it.
    """
    if tokenizer is None or template is None:
        return sum(math.ceil(len(_text(message).encode()) / _BYTES_A_TOKEN) + 1 for message in _messages(example))
    if isinstance(example, PreferenceExample):
        return encode_preference(example, tokenizer, template).n_tokens
    return sum(len(one.input_ids) for one in encode_chat(example, tokenizer, template))


def examples_of(frame: pd.DataFrame, kind: Format) -> dict[int, Conversation]:
    """The rows that can be used, by their numbers."""
    return _parsed(frame, kind)[0]


def _parsed(frame: pd.DataFrame, kind: Format) -> tuple[dict[int, Conversation], dict[int, str]]:
    parse = chat_example if kind is Format.CHAT else preference_example
    examples: dict[int, Conversation] = {}
    errors: dict[int, str] = {}
    for row, value in zip(frame.index.tolist(), values_of(frame), strict=True):
        try:
            examples[row] = parse(value)
        except DataError as error:
            errors[row] = error.message
    return examples, errors


def _value(name: str, cell: str) -> Any:
    if name in FIELDS:
        return cell
    try:
        return json.loads(cell)
    except ValueError:
        return cell  # the examination of the row will say what is wrong


def _extra_keys(frame: pd.DataFrame, kind: Format) -> Iterator[Finding]:
    known = [str(name) for name in frame.columns if name in kind.keys]
    extra = [str(name) for name in frame.columns if name not in kind.keys]
    if extra:
        shown = ", ".join(visible(name) for name in extra)
        message = f"Training reads {', '.join(map(visible, kind.keys))} alone. There is also {shown}."
        remedy = Remedy("keep_columns", f"Remove {shown}", Force.NECESSARY, {"columns": known})
        yield Finding("extra_columns", Severity.WARNING, message, data={"columns": extra}, remedy=remedy)


def _unusable(errors: Mapping[int, str]) -> Finding:
    rows = tuple(errors)
    shown = " ".join(f"Row {row}: {message}" for row, message in list(errors.items())[:_SHOWN])
    message = f"{count(len(rows), 'row')} cannot be used. {shown}"
    remedy = Remedy("drop_rows", f"Remove {count(len(rows), 'row')}", Force.RECOMMENDED, {"rows": list(rows)})
    return Finding("unusable", Severity.WARNING, message, rows, remedy=remedy)


def _task(examples: Mapping[int, Conversation]) -> Finding:
    if all(isinstance(example, PreferenceExample) for example in examples.values()):
        message = "These are preference examples: two answers to each input, one of them preferred. They are for `dpo`."
        return Finding("task", Severity.INFO, message, data={"task": str(Task.PREFERENCE)})
    n_messages = sum(len(_messages(example)) for example in examples.values())
    n_learnt = sum(sum(example.weights) for example in examples.values() if isinstance(example, ChatExample))
    message = (
        f"These are chat examples: {n_messages / len(examples):.1f} messages each; {count(n_learnt, 'turn')} of the "
        "assistant are learnt."
    )
    data = {"task": str(Task.CHAT), "n_messages": n_messages, "n_learnt": n_learnt}
    return Finding("task", Severity.INFO, message, data=data)


def _duplicates(frame: pd.DataFrame, examples: Mapping[int, Conversation]) -> Iterator[Finding]:
    rows = tuple(row for row in frame.index[frame.duplicated()].tolist() if row in examples)
    if rows:
        message = f"{count(len(rows), 'row')} repeat an earlier one: {name_rows(rows)}."
        title = f"Remove {count(len(rows), 'duplicate row')}"
        remedy = Remedy("drop_rows", title, Force.RECOMMENDED, {"rows": list(rows)})
        yield Finding("duplicates", Severity.WARNING, message, rows, remedy=remedy)


def _contradictions(examples: Mapping[int, Conversation]) -> Iterator[Finding]:
    """Preferences of which one row says the reverse of another."""
    seen: defaultdict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row, example in examples.items():
        if isinstance(example, PreferenceExample):
            good, bad = _key(example.preferred), _key(example.other)
            seen[_key([*example.messages, *sorted((good, bad))])][good].append(row)
    rows = tuple(sorted(row for sides in seen.values() if len(sides) > 1 for side in sides.values() for row in side))
    if rows:
        message = f"Of the same two answers to one input now one is preferred, now the other: {name_rows(rows)}."
        remedy = Remedy("drop_rows", f"Remove {count(len(rows), 'row')}", Force.OPTIONAL, {"rows": list(rows)})
        yield Finding("contradictions", Severity.WARNING, message, rows, remedy=remedy)


def _system_messages(examples: Mapping[int, Conversation]) -> Iterator[Finding]:
    without = tuple(
        row for row, example in examples.items() if example.messages[0]["role"] not in ("system", "developer")
    )
    if 0 < len(without) < len(examples):
        message = (
            f"Some conversations begin with a system message and {len(without):,} do not: {name_rows(without)}. Give "
            "all of them the one that you will ask the tuned model with."
        )
        yield Finding("system_messages", Severity.WARNING, message, without)


def _not_carried(examples: Mapping[int, Conversation], context: ChatContext) -> Iterator[Finding]:
    if context.tokenizer is None or context.template is None:
        return
    errors: dict[int, str] = {}
    for row, example in examples.items():
        try:
            tokens_of(example, context.tokenizer, context.template)
        except DataError as error:
            errors[row] = error.message
    if errors:
        rows = tuple(errors)
        shown = " ".join(f"Row {row}: {message}" for row, message in list(errors.items())[:_SHOWN])
        message = f"The base model's chat template does not take {count(len(rows), 'row')}. {shown}"
        remedy = Remedy("drop_rows", f"Remove {count(len(rows), 'row')}", Force.RECOMMENDED, {"rows": list(rows)})
        yield Finding("not_carried", Severity.WARNING, message, rows, remedy=remedy)


def _long_examples(examples: Mapping[int, Conversation], context: ChatContext) -> Iterator[Finding]:
    if context.tokenizer is None:
        message = "The base model is not here yet, so tokens are estimated: one for four bytes."
        yield Finding("tokens_estimated", Severity.INFO, message)
    found: dict[int, int] = {}
    for row, example in examples.items():
        try:
            n_tokens = tokens_of(example, context.tokenizer, context.template)
        except DataError:
            continue  # told by `_not_carried`
        if n_tokens > context.limit.tokens:
            found[row] = n_tokens
    if found:
        rows = tuple(found)
        message = (
            f"{count(len(rows), 'example')} {'is' if len(rows) == 1 else 'are'} longer than {context.limit.tokens:,} "
            f"tokens (the longest has {max(found.values()):,}) and cannot be trained on: {name_rows(rows)}."
        )
        title = f"Remove {count(len(rows), 'long example')}"
        remedy = Remedy("drop_rows", title, Force.RECOMMENDED, {"rows": list(rows)})
        data = {"tokens": list(found.values()), "limit_tokens": context.limit.tokens}
        yield Finding("long_examples", Severity.WARNING, message, rows, data, remedy)


def _leaks(examples: Mapping[int, Conversation], validation: pd.DataFrame, kind: Format) -> Iterator[Finding]:
    seen = {_asked(example) for example in _parsed(validation, kind)[0].values()}
    rows = tuple(row for row, example in examples.items() if _asked(example) in seen)
    if rows:
        message = (
            f"What {count(len(rows), 'training row')} ask is in the validation set too, so validation would measure "
            f"memory: {name_rows(rows)}."
        )
        title = f"Remove {count(len(rows), 'row')} that {'leaks' if len(rows) == 1 else 'leak'} into validation"
        remedy = Remedy("drop_rows", title, Force.RECOMMENDED, {"rows": list(rows)})
        yield Finding("leaks", Severity.WARNING, message, rows, remedy=remedy)


def _asked(example: Conversation) -> str:
    """All but the assistant's turns."""
    return _key([message for message in example.messages if message["role"] != "assistant"])


def _messages(example: Conversation) -> list[Mapping[str, Any]]:
    outputs = [example.preferred, example.other] if isinstance(example, PreferenceExample) else []
    return [*example.messages, *outputs]


def _text(message: Mapping[str, Any]) -> str:
    calls = json.dumps(message["tool_calls"]) if "tool_calls" in message else ""
    return str(message.get("content", "")) + calls


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
