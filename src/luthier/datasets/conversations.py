"""Chat and preference examples, in the form of OpenAI's fine-tuning files.

    {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…", "weight": 1}], "tools": […]}
    {"input": {"messages": […]}, "preferred_output": [{…}], "non_preferred_output": [{…}]}

Whether a base can read them is another question: `datasets.turns` asks its chat template.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.datasets.findings import visible
from luthier.datasets.jsonl import check_characters, json_kind
from luthier.domain.chat import NO_PARAMETERS
from luthier.errors import DataError

Message = Mapping[str, Any]

_ROLES = ("system", "developer", "user", "assistant", "tool")
_KEYS = {
    "system": {"name"},
    "developer": {"name"},
    "user": {"name"},
    "assistant": {"name", "tool_calls", "weight"},
    "tool": {"tool_call_id"},
}
CHAT_KEYS = ("messages", "tools", "parallel_tool_calls")
_TOOL_KEYS = ("name", "description", "parameters", "strict")
PREFERENCE_KEYS = ("input", "preferred_output", "non_preferred_output")


@dataclass(frozen=True)
class ChatExample:
    """A conversation whose assistant's turns are learnt.

    Args:
        messages: as OpenAI's API has them, without `weight`.
        weights: for each message 1 if it is learnt, else 0: that of an assistant's turn is 1 unless its line says 0.
        tools: that the assistant may call.
        extra_keys: names of other keys of its line.
    """

    messages: tuple[Message, ...]
    weights: tuple[int, ...]
    tools: tuple[Message, ...] = ()
    extra_keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class PreferenceExample:
    """Two answers to one conversation. Fields as in `ChatExample`.

    Args:
        messages: the conversation up to the answer.
        preferred, other: assistant's messages.
    """

    messages: tuple[Message, ...]
    preferred: Message
    other: Message
    tools: tuple[Message, ...] = ()
    extra_keys: tuple[str, ...] = ()


def with_tool_names(messages: Sequence[Message]) -> list[Message]:
    """The messages, those of tools with the names of the functions that they answer: some templates write them."""
    names = {call["id"]: call["function"]["name"] for message in messages for call in message.get("tool_calls") or ()}
    return [
        {**message, "name": names[message["tool_call_id"]]} if message["role"] == "tool" else message
        for message in messages
    ]


def chat_example(value: Mapping[str, Any]) -> ChatExample:
    """
    Args:
        value: the object of one line.

    Raises:
        DataError: what is wrong with it and what to do, without file or line number.
    """
    messages = _messages(value.get("messages"), "messages")
    weights = []
    for number, message in enumerate(messages, 1):
        weight = message.get("weight", 1)
        if isinstance(weight, bool) or weight not in (0, 1):
            raise DataError(f"message {number} has the weight {weight!r}; a weight is 0 or 1.")
        weights.append(int(weight) if message["role"] == "assistant" else 0)
    if not any(weights):
        raise DataError(
            "there is nothing to learn: no message of the assistant"
            + (" has a weight of 1." if any(message["role"] == "assistant" for message in messages) else ".")
        )
    bare = tuple({name: part for name, part in message.items() if name != "weight"} for message in messages)
    extra = tuple(name for name in value if name not in CHAT_KEYS)
    return ChatExample(bare, tuple(weights), _tools(value, messages), extra)


def preference_example(value: Mapping[str, Any]) -> PreferenceExample:
    """
    Args:
        value: the object of one line.

    Raises:
        DataError: what is wrong with it and what to do, without file or line number.
    """
    for key in PREFERENCE_KEYS:
        if key not in value:
            raise DataError(f"the key `{key}` is missing.")
    given = value["input"]
    if not isinstance(given, dict):
        raise DataError(f'`input` is {json_kind(given)}; it must be an object {{"messages": […]}}.')
    if unknown := next((name for name in given if name not in CHAT_KEYS), None):
        raise DataError(f"`input` has the key {visible(unknown)}; it takes {', '.join(map(visible, CHAT_KEYS))}.")
    messages = _messages(given.get("messages"), "input.messages")
    outputs = [_output(value[key], key) for key in PREFERENCE_KEYS[1:]]
    for message in (*messages, *outputs):
        if "weight" in message:
            raise DataError("a message has a `weight`; in preference examples both outputs weigh alike. Remove it.")
    if outputs[0] == outputs[1]:
        raise DataError("`preferred_output` and `non_preferred_output` are the same; there is nothing to prefer.")
    tools = _tools(given, [*messages, *outputs])
    extra = tuple(name for name in value if name not in PREFERENCE_KEYS)
    return PreferenceExample(messages, outputs[0], outputs[1], tools, extra)


def _output(value: Any, key: str) -> Message:
    messages = _messages(value, key)
    if len(messages) != 1 or messages[0]["role"] != "assistant":
        raise DataError(f"`{key}` must hold one message, the assistant's.")
    return messages[0]


def _messages(value: Any, key: str) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        kind = "an empty list" if value == [] else "missing" if value is None else json_kind(value)
        raise DataError(f"`{key}` is {kind}; it must be a list of messages.")
    return tuple(_message(message, f"`{key}`, message {number}") for number, message in enumerate(value, 1))


def _message(value: Any, where: str) -> Message:
    if not isinstance(value, dict):
        raise DataError(f"{where} is {json_kind(value)}; it must be an object with `role` and `content`.")
    role = value.get("role")
    if role not in _ROLES:
        hint = " Write calls as `tool_calls` and their results with the role `tool`." if role == "function" else ""
        raise DataError(f"{where} has the role {visible(str(role))}; there are {', '.join(_ROLES)}.{hint}")
    message = {name: part for name, part in value.items() if part is not None}
    known = {"role", "content"} | _KEYS[role]
    if unknown := next((name for name in message if name not in known), None):
        raise DataError(
            f"{where} has the key {visible(unknown)}, which a message of the role {role} does not take "
            f"({', '.join(sorted(known))}). Remove it."
        )
    if "content" in message:
        message["content"] = _content(message["content"], where)
    if "name" in message:
        _text(message["name"], f"{where}: `name`")
    if "tool_calls" in message:
        _check_calls(message["tool_calls"], where)
    if role == "tool":
        _text(message.get("tool_call_id"), f"{where}: `tool_call_id`")
    if "content" not in message and "tool_calls" not in message:
        raise DataError(f"{where} has no `content`.")
    if role == "assistant" and not message.get("content", "").strip() and "tool_calls" not in message:
        raise DataError(f"{where} is empty: write what the assistant shall say, or remove it.")
    return message


def _content(value: Any, where: str) -> str:
    """The text of a content, its parts joined by line breaks."""
    parts = [value] if isinstance(value, str) else value
    if not isinstance(parts, list):
        raise DataError(f"{where}: `content` is {json_kind(value)}; it must be a text or a list of parts of text.")
    texts = []
    for part in parts:
        if isinstance(part, dict):
            if part.get("type") != "text":
                raise DataError(
                    f"{where} has a part of type {visible(str(part.get('type')))}; there is text alone here."
                )
            part = part.get("text")
        texts.append(_text(part, f"{where}: `content`"))
    return "\n".join(texts)


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{what} is {'missing' if value is None else json_kind(value)}; it must be a string.")
    check_characters(value, what.replace("`", ""))
    return value


def _check_calls(calls: Any, where: str) -> None:
    if not isinstance(calls, list) or not calls:
        raise DataError(f"{where}: `tool_calls` must be a list of calls.")
    for call in calls:
        function = call.get("function") if isinstance(call, dict) and call.get("type") == "function" else None
        if not isinstance(function, dict):
            raise DataError(
                f'{where}: each of `tool_calls` must be {{"id": …, "type": "function", "function": {{…}}}}.'
            )
        _text(call.get("id"), f"{where}: the call's `id`")
        _text(function.get("name"), f"{where}: the call's `function.name`")
        _text(function.get("arguments"), f"{where}: the call's `function.arguments`")


def _tools(value: Mapping[str, Any], messages: Sequence[Message]) -> tuple[Message, ...]:
    tools = value.get("tools") or []
    if not isinstance(tools, list):
        raise DataError(f"`tools` is {json_kind(tools)}; it must be a list of tools.")
    known = tuple(_tool(tool) for tool in tools)
    names = {tool["function"]["name"] for tool in known}
    made: set[str] = set()
    for number, message in enumerate(messages, 1):
        for call in message.get("tool_calls", ()):
            made.add(call["id"])
            if (name := call["function"]["name"]) not in names:
                raise DataError(f"the assistant calls {visible(name)}, which is not among `tools`.")
        if message["role"] == "tool" and message["tool_call_id"] not in made:
            raise DataError(
                f"message {number} answers {visible(message['tool_call_id'])}, a call that nobody has made."
            )
    parallel = value.get("parallel_tool_calls")
    if parallel is not None and not isinstance(parallel, bool):
        raise DataError(f"`parallel_tool_calls` is {json_kind(parallel)}; it must be true or false.")
    if parallel is False and any(len(message.get("tool_calls", ())) > 1 for message in messages):
        raise DataError("`parallel_tool_calls` is false, but the assistant makes several calls in one message.")
    return known


def _tool(tool: Any) -> Message:
    """A tool as a request to the tuned model has it: with name, description and parameters."""
    function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
    if not isinstance(function, dict):
        raise DataError('each of `tools` must be {"type": "function", "function": {"name": …, …}}.')
    if unknown := next((name for name in function if name not in _TOOL_KEYS), None):
        raise DataError(f"a tool's function has the key {visible(unknown)}; it takes {', '.join(_TOOL_KEYS)}.")
    written = {"name": _text(function.get("name"), "the tool's `function.name`")}
    if function.get("description") is not None:
        written["description"] = _text(function["description"], "the tool's `function.description`")
    parameters = function.get("parameters")
    return {
        "type": "function",
        "function": {**written, "parameters": NO_PARAMETERS if parameters is None else parameters},
    }
