"""Chat completions on the wire: what is answered, whole or in chunks.

An answer leaves out the keys that it was given no value for: `tool_calls` of words, for one.
"""

from typing import Any, Literal, Self

from pydantic import Field

from luthier.domain.chat import ToolCall
from luthier.server.wire.base import Answer
from luthier.server.wire.completions import UsageObject
from luthier.services.chat import ChatChoice, ChatChunk, ChatResult, ChatStream, Logprobs
from luthier.services.tool_calls import CallBegin, Content, Piece

_Reason = Literal["stop", "length", "tool_calls"]


class ChatTokenObject(Answer):
    token: str
    logprob: float
    bytes: list[int]


class ChatTokenLogprobObject(ChatTokenObject):
    top_logprobs: list[ChatTokenObject]


class ChatLogprobsObject(Answer):
    content: list[ChatTokenLogprobObject]
    refusal: None

    @classmethod
    def of(cls, logprobs: Logprobs | None) -> Self | None:
        if logprobs is None:
            return None
        content = [ChatTokenLogprobObject.model_validate(token, from_attributes=True) for token in logprobs]
        return cls(content=content, refusal=None)


class ToolCallFunctionObject(Answer):
    name: str
    arguments: str


class ToolCallObject(Answer):
    id: str
    type: Literal["function"]
    function: ToolCallFunctionObject

    @classmethod
    def of(cls, call: ToolCall) -> Self:
        function = ToolCallFunctionObject(name=call.name, arguments=call.arguments)
        return cls(id=call.id, type="function", function=function)


class AnswerMessageObject(Answer):
    role: Literal["assistant"]
    content: str | None
    refusal: None
    tool_calls: list[ToolCallObject] = Field([])


class ChatChoiceObject(Answer):
    index: int
    message: AnswerMessageObject
    logprobs: ChatLogprobsObject | None
    finish_reason: _Reason

    @classmethod
    def of(cls, choice: ChatChoice) -> Self:
        calls: dict[str, Any] = {"tool_calls": list(map(ToolCallObject.of, choice.tool_calls))}
        return cls(
            index=choice.index,
            message=AnswerMessageObject(
                role="assistant", content=choice.content, refusal=None, **(calls if choice.tool_calls else {})
            ),
            logprobs=ChatLogprobsObject.of(choice.logprobs),
            finish_reason=choice.finish_reason.value,
        )


class ChatCompletionObject(Answer):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoiceObject]
    usage: UsageObject

    @classmethod
    def of(cls, result: ChatResult) -> Self:
        return cls(
            id=result.id,
            object="chat.completion",
            created=result.created,
            model=result.model,
            choices=[ChatChoiceObject.of(choice) for choice in result.choices],
            usage=UsageObject.of(result.usage),
        )


def chunk_object(stream: ChatStream, chunk: ChatChunk | None, *, with_usage: bool) -> dict[str, Any]:
    """A chunk of a stream.

    Args:
        chunk: None for the one at the end that has the usage and no choices.
        with_usage: the stream ends with such a chunk; all others then have the key with null.
    """
    head = {"id": stream.id, "object": "chat.completion.chunk", "created": stream.created, "model": stream.model}
    if chunk is None:
        return {**head, "choices": [], "usage": UsageObject.of(stream.usage).model_dump()}
    logprobs = ChatLogprobsObject.of(chunk.logprobs)
    choice = {
        "index": chunk.index,
        "delta": _delta(chunk),
        "logprobs": logprobs.model_dump() if logprobs else None,
        "finish_reason": chunk.finish_reason,
    }
    return {**head, "choices": [choice], **({"usage": None} if with_usage else {})}


def _delta(chunk: ChatChunk) -> dict[str, Any]:
    more = _piece(chunk.piece) if chunk.piece else {}
    if chunk.begins:
        content = "" if chunk.piece is None else None
        return {"role": "assistant", "content": content, "refusal": None, **more}
    return more


def _piece(piece: Piece) -> dict[str, Any]:
    if isinstance(piece, Content):
        return {"content": piece.text}
    if isinstance(piece, CallBegin):
        function = {"name": piece.name, "arguments": ""}
        return {"tool_calls": [{"index": piece.index, "id": piece.id, "type": "function", "function": function}]}
    return {"tool_calls": [{"index": piece.index, "function": {"arguments": piece.text}}]}
