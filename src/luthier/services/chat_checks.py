"""What a request for a chat must be like, each rule with the message for its breach."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from luthier.domain.chat import AnswerFormat, Tool, ToolChoice
from luthier.domain.generation import SamplingParams
from luthier.errors import InvalidRequestError
from luthier.services.sampling_checks import check_sampling, within

MAX_TOP_LOGPROBS = 20
MAX_TOOLS = 128
MAX_NAME = 64  # characters of a tool's name

Message = Mapping[str, Any]


@dataclass(frozen=True)
class ChatRequest:
    """What `POST /v1/chat/completions` asks.

    Args:
        model: a name that `ModelService.resolve` knows.
        messages: as in OpenAI's API: `role`, `content` as text or text parts, and what else the role has.
        params: how to answer; `max_tokens`, `logit_bias` and `stop_ids` are left to the fields below and the model.
        max_tokens: most tokens of an answer, None for as many as the context has room for.
        max_tokens_field: the field that said so.
        n: answers.
        logit_bias: token id as text → number added to its logit.
        tools: functions that the answer may ask for.
        tool_choice: whether it may, or must.
        answer: what its text must be; None for any text.
    """

    model: str
    messages: tuple[Message, ...]
    params: SamplingParams = field(default_factory=SamplingParams)
    max_tokens: int | None = None
    max_tokens_field: str = "max_completion_tokens"
    n: int = 1
    logit_bias: Mapping[str, float] = field(default_factory=dict)
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = field(default_factory=ToolChoice)
    answer: AnswerFormat | None = None


def check(request: ChatRequest) -> None:
    """Everything that can be said without the model.

    Raises:
        InvalidRequestError: naming the field.
    """
    check_sampling(request.params, request.n, request.logit_bias)
    if request.params.logprobs is not None:
        within(request.params.logprobs, 0, MAX_TOP_LOGPROBS, "top_logprobs")
    if request.max_tokens is not None and request.max_tokens < 1:
        raise InvalidRequestError(
            f"{request.max_tokens} is less than the minimum of 1 - '{request.max_tokens_field}'",
            param=request.max_tokens_field,
        )
    check_tools(request.tools)
    known, names = {tool.name for tool in request.tools}, request.tool_choice.names
    if names is not None and not names:
        raise InvalidRequestError("[] is too short - 'tool_choice.allowed_tools.tools'", param="tool_choice")
    for name in sorted(names or ()):
        if name not in known:
            raise InvalidRequestError(f"'tool_choice' names '{name}', which is none of 'tools'.", param="tool_choice")
    check_messages(request.messages)


def check_tools(tools: Sequence[Tool]) -> None:
    """
    Raises:
        InvalidRequestError: a name or a schema that no tool can have.
    """
    if len(tools) > MAX_TOOLS:
        raise InvalidRequestError(f"{len(tools)} tools are more than the {MAX_TOOLS} allowed.", param="tools")
    seen = set()
    for at, tool in enumerate(tools):
        where = f"tools.{at}.function"
        if not re.fullmatch(rf"[a-zA-Z0-9_-]{{1,{MAX_NAME}}}", tool.name):
            raise InvalidRequestError(
                f"Invalid '{where}.name': {tool.name[:MAX_NAME]!r}. A name is 1 to {MAX_NAME} letters, digits, "
                "underscores and hyphens.",
                param=f"{where}.name",
            )
        if tool.name in seen:
            raise InvalidRequestError(f"Two tools have the name '{tool.name}'.", param=f"{where}.name")
        seen.add(tool.name)
        if tool.parameters.get("type") != "object":
            raise InvalidRequestError(
                f"Invalid schema for function '{tool.name}': schema must be a JSON Schema of 'type: \"object\"', got "
                f"'type: \"{tool.parameters.get('type')}\"'.",
                param=f"{where}.parameters",
            )


def check_messages(messages: Sequence[Message]) -> None:
    """The order of a conversation: each call of a tool is answered, and each answer of a tool is to a call.

    Raises:
        InvalidRequestError: naming the message.
    """
    if not messages:
        raise InvalidRequestError("[] is too short - 'messages'", param="messages")
    open_calls: dict[str, None] = {}
    for at, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_calls:
                raise InvalidRequestError(
                    f"Invalid parameter: messages with role 'tool' must be a response to a preceding message with "
                    f"'tool_calls'. No call before messages.{at} waits for an answer under the id "
                    f"'{message['tool_call_id']}'.",
                    param=f"messages.{at}.tool_call_id",
                )
            del open_calls[message["tool_call_id"]]
            continue
        _check_answered(open_calls, at)
        open_calls = {call["id"]: None for call in message.get("tool_calls") or ()}
    _check_answered(open_calls, len(messages))


def _check_answered(open_calls: Mapping[str, None], at: int) -> None:
    if open_calls:
        raise InvalidRequestError(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            f"'tool_call_id'. The following tool_call_ids did not have response messages: {', '.join(open_calls)}",
            param=f"messages.{at}" if at else "messages",
        )
