"""Engines, the old name of models, on the wire; and the old way to ask them."""

from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import Field

from luthier.domain.generation import SamplingParams
from luthier.errors import InvalidRequestError
from luthier.server.wire.base import Answer, RequestBody
from luthier.server.wire.chat import ChatBody
from luthier.server.wire.completions import CompletionBody, LogprobsObject, StopTexts
from luthier.server.wire.embeddings import EmbeddingBody
from luthier.services.completions import CompletionChunk, CompletionRequest
from luthier.services.model_cards import ModelCard

_OPTIONAL_MODEL = "May be left out; where it is there, it must be the engine's own name."


class EngineObject(Answer):
    object: Literal["engine"] = "engine"
    id: str
    owner: str
    ready: bool = Field(description="Its weights are on this machine.")
    created: int | None
    permissions: None = None
    replicas: int = 1
    ready_replicas: int
    max_replicas: int = 1

    @classmethod
    def of(cls, card: ModelCard) -> Self:
        ready = card.details.pulled
        return cls(
            id=card.id, owner=card.owned_by, ready=ready, created=card.created or None, ready_replicas=int(ready)
        )


class ModifyEngineBody(RequestBody):
    title = "A change of an engine"

    replicas: int | None = Field(default=None, description="1, which every engine has.")

    def check(self) -> None:
        """
        Raises:
            InvalidRequestError: another number of replicas.
        """
        if self.replicas not in (None, 1):
            raise InvalidRequestError(
                f"replicas is {self.replicas}, but this server runs each engine once, for all of its callers. "
                "Leave it out, or set 1.",
                param="replicas",
            )


class EngineCompletionBody(CompletionBody):
    title = "A completion"

    model: str = Field(default="", description=_OPTIONAL_MODEL)

    def of_engine(self, engine: str) -> Self:
        """The body with its engine's name as the model. Raises as `named`."""
        return self.model_copy(update={"model": named(engine, self.model)})


class EngineEmbeddingBody(EmbeddingBody):
    title = "An embedding"

    model: str = Field(default="", description=_OPTIONAL_MODEL)

    def of_engine(self, engine: str) -> Self:
        """The body with its engine's name as the model. Raises as `named`."""
        return self.model_copy(update={"model": named(engine, self.model)})


class EngineChatBody(ChatBody):
    title = "A chat completion"

    model: str = Field(default="", description=_OPTIONAL_MODEL)

    def of_engine(self, engine: str) -> Self:
        """The body with its engine's name as the model. Raises as `named`."""
        return self.model_copy(update={"model": named(engine, self.model)})


def named(engine: str, model: str) -> str:
    """The model of a request to an engine.

    Raises:
        InvalidRequestError: the body names another one than the path.
    """
    if model not in ("", engine):
        raise InvalidRequestError(
            f"The path asks the engine '{engine}', and the body the model '{model}'. Leave the model out.",
            param="model",
        )
    return engine


class GenerateBody(RequestBody):
    title = "A generation"

    context: str = Field(default="", description="Text to go on from. Left out, a text's very beginning.")
    length: int = Field(default=16, description="Most tokens to generate.")
    completions: int = Field(default=1, description="How many texts.")
    temperature: float = 1.0
    top_p: float = 1.0
    logprobs: int | None = Field(default=None, description="Report so many of the likeliest tokens at each position.")
    stop: StopTexts = Field([], description="Texts that end the generation; they are not part of it.")
    stream: bool = False
    model: str = Field(default="", description=_OPTIONAL_MODEL)

    def to_domain(self, engine: str) -> CompletionRequest:
        """Raises as `named`."""
        params = SamplingParams(
            max_tokens=self.length,
            temperature=self.temperature,
            top_p=self.top_p,
            logprobs=self.logprobs,
            stop=tuple(self.stop),
        )
        return CompletionRequest(named(engine, self.model), (self.context,), params, n=self.completions)


class GeneratedText(Answer):
    """One text, in pieces: the context, then what was generated as it came."""

    text: list[str]
    index: int
    logprobs: LogprobsObject | None
    finish_reason: Literal["stop", "length"] | None

    @classmethod
    def of(cls, chunks: Sequence[CompletionChunk], context: str | None) -> Self:
        """
        Args:
            chunks: what one text gained, at least one.
            context: to be put before them.
        """
        last = chunks[-1]
        return cls.model_validate(
            {
                "text": [*([] if context is None else [context]), *(chunk.text for chunk in chunks)],
                "index": last.index,
                "logprobs": _joined(chunks),
                "finish_reason": last.finish_reason,
            }
        )


class GenerationObject(Answer):
    object: Literal["text_completion"] = "text_completion"
    id: str
    created: int
    model: str
    data: list[GeneratedText]


def _joined(chunks: Sequence[CompletionChunk]) -> dict[str, list[Any]] | None:
    """The log probabilities of several chunks as those of one; None when they have none."""
    pieces = [chunk.logprobs for chunk in chunks if chunk.logprobs is not None]
    if not pieces:
        return None
    return {name: [item for piece in pieces for item in getattr(piece, name)] for name in LogprobsObject.model_fields}
