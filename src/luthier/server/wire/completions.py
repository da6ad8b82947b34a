"""Completions on the wire."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema

from luthier.domain.generation import SamplingParams
from luthier.errors import InvalidRequestError
from luthier.server.wire.base import Answer, RequestBody
from luthier.services.completions import Choice, CompletionChunk, CompletionRequest, CompletionResult, Usage

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


StopTexts = Annotated[list[str], BeforeValidator(_stop), WithJsonSchema({"anyOf": [{"type": "string"}, _TEXTS]})]


class StreamOptions(RequestBody):
    title = "stream_options"

    include_usage: bool = Field(default=False, description="End with a chunk that has the usage and no choices.")
    include_obfuscation: Literal[False] = Field(default=False, description="Chunks are not padded here.")


class CompletionBody(RequestBody):
    title = "A completion"

    model: str
    prompt: Annotated[
        Any,
        BeforeValidator(_prompt),
        WithJsonSchema({"anyOf": [{"type": "string"}, _TEXTS, _IDS, {"type": "array", "items": _IDS}]}),
    ] = Field(
        default="", description="Text, token ids, or several of either. Left out, a text from its very beginning."
    )
    suffix: str | None = Field(default=None, description="Text after the gap. Refused where the base cannot fill in.")
    max_tokens: int = Field(default=16, description="Most tokens to generate; 0 with `echo` scores the prompt alone.")
    temperature: float = 1.0
    top_p: float = 1.0
    n: int = Field(default=1, description="Completions of each prompt.")
    best_of: int | None = Field(
        default=None, description="Make so many, return the `n` likeliest a token. Not with `stream`."
    )
    stream: bool = False
    stream_options: StreamOptions | None = None
    logprobs: int | None = Field(default=None, description="Report so many of the likeliest tokens at each position.")
    echo: bool = Field(default=False, description="Give the prompt back before the completion.")
    stop: StopTexts = Field([], description="Texts that end the completion; they are not part of it.")
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: dict[str, float] = Field(default={}, description="Token id of this model → number added to its logit.")
    seed: int | None = None
    user: str | None = Field(default=None, description="Written to the server's log beside the request's id.")

    def to_domain(self) -> CompletionRequest:
        """
        Raises:
            InvalidRequestError: options of a stream for an answer that is none.
        """
        if self.stream_options is not None and not self.stream:
            raise InvalidRequestError("'stream_options' go with 'stream': true.", param="stream_options")
        params = SamplingParams(
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            logprobs=self.logprobs,
            echo=self.echo,
            stop=tuple(self.stop),
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            seed=self.seed,
        )
        return CompletionRequest(
            model=self.model,
            prompts=self._prompts(),
            params=params,
            n=self.n,
            best_of=self.best_of,
            suffix=self.suffix,
            logit_bias=self.logit_bias,
        )

    def _prompts(self) -> tuple[str | tuple[int, ...], ...]:
        if isinstance(self.prompt, str):
            return (self.prompt,)
        if self.prompt and _is_ids(self.prompt):
            return (tuple(self.prompt),)
        return tuple(item if isinstance(item, str) else tuple(item) for item in self.prompt)


class LogprobsObject(Answer):
    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class ChoiceObject(Answer):
    text: str
    index: int
    logprobs: LogprobsObject | None
    finish_reason: Literal["stop", "length"] | None

    @classmethod
    def of(cls, choice: Choice | CompletionChunk) -> Self:
        return cls.model_validate(choice, from_attributes=True)


class UsageObject(Answer):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int

    @classmethod
    def of(cls, usage: Usage) -> Self:
        return cls.model_validate(usage, from_attributes=True)


class CompletionObject(Answer):
    object: Literal["text_completion"] = "text_completion"
    id: str
    created: int
    model: str
    choices: list[ChoiceObject]
    usage: UsageObject

    @classmethod
    def of(cls, result: CompletionResult) -> Self:
        return cls(
            id=result.id,
            created=result.created,
            model=result.model,
            choices=[ChoiceObject.of(choice) for choice in result.choices],
            usage=UsageObject.of(result.usage),
        )
