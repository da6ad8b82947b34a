"""Chat: from a conversation to the engine and back, in the form of the chat completions API."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from luthier.completion.chat_logprobs import ChatTokenLogprob, describe_tokens
from luthier.completion.engine import CompletionEngine
from luthier.completion.sequence import Generated
from luthier.domain.chat import ToolCall
from luthier.domain.generation import FinishReason, TokenLogprob
from luthier.domain.names import new_id
from luthier.services.chat_checks import ChatRequest, check
from luthier.services.chat_prompt import ChatPrompt, prepare
from luthier.services.generation import Gathered, Run, Usage
from luthier.services.models import ModelService
from luthier.services.tool_calls import CallBegin, Content, Piece, ToolCallReader

__all__ = ["ChatChoice", "ChatChunk", "ChatRequest", "ChatResult", "ChatService", "ChatStream"]

Logprobs = tuple[ChatTokenLogprob, ...]


@dataclass(frozen=True)
class ChatChoice:
    """One answer.

    Args:
        content: None when it consists of calls alone.
        logprobs: of its tokens but for the one that ends it; None unless asked for.
    """

    index: int
    content: str | None
    tool_calls: tuple[ToolCall, ...]
    logprobs: Logprobs | None
    finish_reason: FinishReason


@dataclass(frozen=True)
class ChatResult:
    """Answer to a request. `model` is the name asked for; `created` in Unix seconds."""

    id: str
    created: int
    model: str
    choices: tuple[ChatChoice, ...]
    usage: Usage


@dataclass(frozen=True)
class ChatChunk:
    """What one answer of a stream gained.

    Args:
        begins: it is the first of its answer; one that begins with words has a chunk for that alone.
        piece: None in such a chunk, and in the last of an answer.
        logprobs: of the tokens since the last chunk, None unless asked for.
        finish_reason: set in the last chunk of an answer.
    """

    index: int
    begins: bool = False
    piece: Piece | None = None
    logprobs: Logprobs | None = None
    finish_reason: FinishReason | None = None


class ChatService:
    """What `/v1/chat/completions` does.

    Args:
        models: finds the weights.
        engine: runs; started and stopped by its owner.
    """

    def __init__(self, models: ModelService, engine: CompletionEngine) -> None:
        self._models = models
        self._engine = engine

    async def create(self, request: ChatRequest) -> ChatResult:
        """Answer a request as a whole. When the waiting task is cancelled, so is the work.

        Raises:
            InvalidRequestError: naming the field that cannot be honoured.
            NotFoundError: there is no such model, or it was not taught to chat.
            RateLimitError: too many requests wait.
            UnavailableError: the weights cannot be had now, or the server is stopping.
        """
        prompt = await asyncio.to_thread(self._prepare, request)
        created = int(time.time())
        gathered = await self._run(prompt).gather()
        choices = tuple(_choice(prompt, index, gathered[0, index]) for index in range(prompt.n))
        usage = Usage(len(prompt.token_ids), sum(len(one.tokens) for one in gathered.values()))
        return ChatResult(new_id("chatcmpl-"), created, request.model, choices, usage)

    async def stream(self, request: ChatRequest) -> "ChatStream":
        """Start to answer a request piece by piece. Raises as `create`, before the first piece."""
        prompt = await asyncio.to_thread(self._prepare, request)
        return ChatStream(request.model, prompt, self._run(prompt))

    def _prepare(self, request: ChatRequest) -> ChatPrompt:
        check(request)
        return prepare(request, self._models.resolve(request.model), self._engine.max_sequence_tokens)

    def _run(self, prompt: ChatPrompt) -> Run:
        return Run(
            self._engine,
            prompt.model,
            [prompt.token_ids],
            prompt.params,
            n=prompt.n,
            constraint=prompt.constraint,
        )


class ChatStream:
    """An answer that grows: iterate over its chunks, once. Leaving the iteration, or `aclose`, stops the work.

    Attributes:
        usage: tokens so far; final after the last chunk.
    """

    def __init__(self, model: str, prompt: ChatPrompt, run: Run) -> None:
        self.id = new_id("chatcmpl-")
        self.created = int(time.time())
        self.model = model
        self.usage = Usage(len(prompt.token_ids), 0)
        self._prompt = prompt
        self._run = run
        self._voices: dict[int, _Voice] = {}

    async def aclose(self) -> None:
        """Stop the work, if any is left."""
        self._run.cancel()

    async def __aiter__(self) -> AsyncIterator[ChatChunk]:
        """
        Raises:
            LuthierError: the chat failed on the way.
        """
        async for output in self._run:
            if not isinstance(output, Generated):
                continue
            self.usage = replace(self.usage, completion_tokens=self.usage.completion_tokens + len(output.tokens))
            index = output.choice
            if index not in self._voices:
                self._voices[index] = _Voice(self._prompt, index)
            for chunk in self._voices[index].add(output):
                yield chunk


class _Voice:
    """One answer of a stream."""

    def __init__(self, prompt: ChatPrompt, index: int) -> None:
        self._prompt = prompt
        self._index = index
        self._reader = _reader(prompt)
        self._tokens: list[TokenLogprob] = []
        self._begun = False

    def add(self, output: Generated) -> list[ChatChunk]:
        """The chunks to send now. Log probabilities go with the first."""
        self._tokens += output.tokens
        pieces = _pieces(self._reader, output.text, last=output.finish_reason is not None)
        chunks = [ChatChunk(self._index, piece=piece) for piece in pieces]
        if output.finish_reason is not None:
            chunks.append(ChatChunk(self._index, finish_reason=_finish_reason(output.finish_reason, self._reader)))
        if chunks:
            chunks[0] = replace(chunks[0], logprobs=_logprobs(self._prompt, self._tokens))
            self._tokens = []
            if not self._begun:
                self._begin(chunks)
        return chunks

    def _begin(self, chunks: list[ChatChunk]) -> None:
        self._begun = True
        if isinstance(chunks[0].piece, CallBegin):
            chunks[0] = replace(chunks[0], begins=True)
        else:
            chunks.insert(0, ChatChunk(self._index, begins=True))


def _choice(prompt: ChatPrompt, index: int, made: Gathered) -> ChatChoice:
    reader = _reader(prompt)
    content: str | None = None
    calls: list[ToolCall] = []
    for piece in _pieces(reader, made.text, last=True):
        if isinstance(piece, Content):
            content = (content or "") + piece.text
        elif isinstance(piece, CallBegin):
            calls.append(ToolCall(piece.id, piece.name, ""))
        else:
            calls[-1] = replace(calls[-1], arguments=calls[-1].arguments + piece.text)
    return ChatChoice(
        index=index,
        content=content if content is not None or calls else "",
        tool_calls=tuple(calls),
        logprobs=_logprobs(prompt, made.tokens),
        finish_reason=_finish_reason(made.finish_reason, reader),
    )


def _reader(prompt: ChatPrompt) -> ToolCallReader | None:
    return ToolCallReader(prompt.form, anywhere=prompt.calls_anywhere) if prompt.form else None


def _pieces(reader: ToolCallReader | None, text: str, *, last: bool) -> list[Piece]:
    if reader is None:
        return [Content(text)] if text else []
    return reader.push(text) + (reader.finish() if last else [])


def _finish_reason(reason: FinishReason, reader: ToolCallReader | None) -> FinishReason:
    """`tool_calls` for an answer that ended by itself with calls in it."""
    return FinishReason.TOOL_CALLS if reason is FinishReason.STOP and reader and reader.calls else reason


def _logprobs(prompt: ChatPrompt, tokens: list[TokenLogprob]) -> Logprobs | None:
    if prompt.params.logprobs is None:
        return None
    shown = [token for token in tokens if token.token_id not in prompt.ends]
    return describe_tokens(shown, prompt.model.tokenizer, prompt.params.logprobs)
