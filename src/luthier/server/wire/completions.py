"""Completions on the wire."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from luthier.server.wire.base import Answer, RequestBody

Prompt = str | list[str] | list[int] | list[list[int]]
_IDS = {"type": "array", "items": {"type": "integer"}}
_TEXTS = {"type": "array", "items": {"type": "string"}}


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int for item in value)


def _prompt(value: Any) -> Any:
    texts = isinstance(value, list) and all(isinstance(item, str) for item in value)
    if isinstance(value, str) or texts or _is_ids(value):
        return value
    if isinstance(value, list) and all(_is_ids(item) for item in value):
        return value
    raise ValueError("must be a string, an array of strings, an array of token ids, or an array of such arrays")


def _stop(value: Any) -> Any:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    raise ValueError("must be a string or an array of strings")


class StreamOptions(RequestBody):
    title = "stream_options"

    include_usage: bool = Field(False, description="End with a chunk that has the usage and no choices.")


class CompletionBody(RequestBody):
    title = "A completion"

    model: str
    prompt: Annotated[
        Any,
        BeforeValidator(_prompt),
        WithJsonSchema({"anyOf": [{"type": "string"}, _TEXTS, _IDS, {"type": "array", "items": _IDS}]}),
    ] = Field(None, description="Text, token ids, or several of either. Left out, a text from its very beginning.")
    suffix: str | None = Field(None, description="Text after the gap. Refused where the base cannot fill in.")
    max_tokens: int = Field(16, description="Most tokens to generate; 0 with `echo` scores the prompt alone.")
    temperature: float = 1.0
    top_p: float = 1.0
    n: int = Field(1, description="Completions of each prompt.")
    best_of: int | None = Field(None, description="Make so many, return the `n` likeliest a token. Not with `stream`.")
    stream: bool = False
    stream_options: StreamOptions | None = None
    logprobs: int | None = Field(None, description="Report so many of the likeliest tokens at each position.")
    echo: bool = Field(False, description="Give the prompt back before the completion.")
    stop: Annotated[
        list[str], BeforeValidator(_stop), WithJsonSchema({"anyOf": [{"type": "string"}, _TEXTS]})
    ] = Field([], description="Texts that end the completion; they are not part of it.")
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: dict[str, float] = Field({}, description="Token id of this model → number added to its logit.")
    seed: int | None = None
    user: str | None = Field(None, description="Written to the server's log beside the request's id.")


class Logprobs(Answer):
    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None
    text_offset: list[int]


class Choice(Answer):
    text: str
    index: int
    logprobs: Logprobs | None
    finish_reason: str | None


class Usage(Answer):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class CompletionObject(Answer):
    object: str = "text_completion"
    id: str
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
