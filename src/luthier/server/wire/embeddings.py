"""Embeddings on the wire."""

import base64
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from luthier.server.wire.base import Answer, RequestBody
from luthier.services.embeddings import EmbeddingRequest, EmbeddingResult, Input, Vectors

_IDS = {"type": "array", "items": {"type": "integer"}}
_TEXTS = {"type": "array", "items": {"type": "string"}}


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int for item in value)


def _input(value: Any) -> Any:
    texts = isinstance(value, list) and all(isinstance(item, str) for item in value)
    if isinstance(value, str) or texts or _is_ids(value):
        return value
    if isinstance(value, list) and all(_is_ids(item) for item in value):
        return value
    raise ValueError("must be a string, an array of strings, an array of token ids, or an array of such arrays")


class EmbeddingBody(RequestBody):
    title = "An embedding"

    model: str
    input: Annotated[
        Any,
        BeforeValidator(_input),
        WithJsonSchema({"anyOf": [{"type": "string"}, _TEXTS, _IDS, {"type": "array", "items": _IDS}]}),
    ] = Field(description="A text, token ids of cl100k_base, or up to 2,048 of either.")
    encoding_format: Literal["float", "base64"] = Field(
        default="float", description="`base64`: the numbers as little-endian float32, in Base64."
    )
    dimensions: int | None = Field(
        default=None, description="Keep so many numbers of each embedding, brought to length 1 again."
    )
    user: str | None = Field(default=None, description="Written to the server's log beside the request's id.")

    def to_domain(self) -> EmbeddingRequest:
        return EmbeddingRequest(self.model, self._inputs(), self.dimensions)

    def _inputs(self) -> tuple[Input, ...]:
        if isinstance(self.input, str):
            return (self.input,)
        if self.input and _is_ids(self.input):
            return (tuple(self.input),)
        return tuple(item if isinstance(item, str) else tuple(item) for item in self.input)


class EmbeddingItem(Answer):
    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(Answer):
    prompt_tokens: int
    total_tokens: int


class EmbeddingList(Answer):
    object: Literal["list"] = "list"
    data: list[EmbeddingItem]
    model: str
    usage: EmbeddingUsage


def embedding_list(result: EmbeddingResult, encoding_format: Literal["float", "base64"]) -> dict[str, Any]:
    """The answer as `EmbeddingList` describes it, made without checking each of its numbers again."""
    numbers = _as_base64(result.vectors) if encoding_format == "base64" else result.vectors.tolist()
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": embedding} for index, embedding in enumerate(numbers)
        ],
        "model": result.model,
        "usage": {"prompt_tokens": result.prompt_tokens, "total_tokens": result.prompt_tokens},
    }


def _as_base64(vectors: Vectors) -> Iterable[str]:
    return (base64.b64encode(vector.tobytes()).decode("ascii") for vector in vectors.astype("<f4", copy=False))
