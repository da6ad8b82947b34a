"""Completions: from a request to the engine and back, in the form of the completions API."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from luthier.completion.engine import CompletionEngine
from luthier.completion.legacy import Logprobs, LogprobsWriter
from luthier.completion.sequence import Generated
from luthier.domain.generation import FinishReason, SamplingParams, TokenLogprob
from luthier.domain.names import new_id
from luthier.services.completion_checks import (
    CompletionRequest,
    Prompt,
    check,
    check_suffix,
    encode_prompts,
)
from luthier.services.generation import Gathered, Run, Usage
from luthier.services.models import ModelService, ServedModel
from luthier.services.sampling_checks import bias_by_id

__all__ = [
    "Choice",
    "CompletionChunk",
    "CompletionRequest",
    "CompletionResult",
    "CompletionService",
    "CompletionStream",
    "Logprobs",
    "Usage",
]


@dataclass(frozen=True)
class Choice:
    """One completion.

    Args:
        text: after the prompt's own text when `echo` is set.
        index: counts through all prompts: the completions of the first prompt, then those of the second.
        logprobs: None unless asked for.
    """

    text: str
    index: int
    logprobs: Logprobs | None
    finish_reason: FinishReason


@dataclass(frozen=True)
class CompletionResult:
    """Answer to a request. `model` is the name asked for; `created` in Unix seconds."""

    id: str
    created: int
    model: str
    choices: tuple[Choice, ...]
    usage: Usage


@dataclass(frozen=True)
class CompletionChunk:
    """What one choice of a stream gained.

    Args:
        text: whole characters; may be empty in the last chunk of a choice.
        logprobs: of the tokens of this chunk, None unless asked for.
        finish_reason: set in the last chunk of a choice.
    """

    text: str
    index: int
    logprobs: Logprobs | None
    finish_reason: FinishReason | None


@dataclass(frozen=True)
class _Prepared:
    """A request that can be given to the engine."""

    model: ServedModel
    prompts: list[Prompt]
    params: SamplingParams
    n: int
    n_generated: int

    @property
    def prompt_tokens(self) -> int:
        return sum(len(prompt.token_ids) for prompt in self.prompts)

    def run(self, engine: CompletionEngine) -> Run:
        return Run(
            engine,
            self.model,
            [prompt.token_ids for prompt in self.prompts],
            self.params,
            n=self.n_generated,
            keep_logprobs=self.n_generated > self.n,
        )


class CompletionService:
    """What `/v1/completions` does.

    Args:
        models: finds the weights.
        engine: runs; started and stopped by its owner.
    """

    def __init__(self, models: ModelService, engine: CompletionEngine) -> None:
        self._models = models
        self._engine = engine

    async def create(self, request: CompletionRequest) -> CompletionResult:
        """Answer a request as a whole. When the waiting task is cancelled, so is the work.

        Raises:
            InvalidRequestError: naming the field that cannot be honoured.
            NotFoundError: there is no such model.
            RateLimitError: too many requests wait.
            UnavailableError: the weights cannot be had now, or the server is stopping.
        """
        prepared = await asyncio.to_thread(self._prepare, request, stream=False)
        created, run = int(time.time()), prepared.run(self._engine)
        gathered = await run.gather()
        choices = await asyncio.to_thread(self._choices, prepared, gathered, run.scores)
        usage = Usage(prepared.prompt_tokens, sum(len(completion.tokens) for completion in gathered.values()))
        return CompletionResult(new_id("cmpl-"), created, request.model, choices, usage)

    async def stream(self, request: CompletionRequest) -> "CompletionStream":
        """Start to answer a request piece by piece. Raises as `create`, before the first piece."""
        prepared = await asyncio.to_thread(self._prepare, request, stream=True)
        return CompletionStream(request.model, prepared, prepared.run(self._engine))

    def _prepare(self, request: CompletionRequest, *, stream: bool) -> _Prepared:
        check(request, stream=stream)
        model = self._models.resolve(request.model)
        check_suffix(request)
        params = replace(request.params, logit_bias=bias_by_id(request.logit_bias, model.tokenizer))
        return _Prepared(model, encode_prompts(request, model), params, request.n, request.n_generated)

    def _choices(
        self,
        prepared: _Prepared,
        gathered: dict[tuple[int, int], Gathered],
        scores: dict[int, tuple[TokenLogprob, ...]],
    ) -> tuple[Choice, ...]:
        return tuple(
            self._choice(prepared, at * prepared.n + place, at, completion, scores.get(at, ()))
            for at in range(len(prepared.prompts))
            for place, completion in enumerate(_best(gathered, prepared, at))
        )

    def _choice(
        self,
        prepared: _Prepared,
        index: int,
        prompt_at: int,
        completion: Gathered,
        scores: tuple[TokenLogprob, ...],
    ) -> Choice:
        prompt, echo = prepared.prompts[prompt_at], prepared.params.echo
        logprobs = None
        if prepared.params.logprobs is not None:
            writer = LogprobsWriter(prepared.model.tokenizer, 0 if echo else len(prompt.text))
            logprobs = writer.write([*scores, *completion.tokens], n_echoed=prompt.n_spelled if scores else 0)
        text = prompt.text + completion.text if echo else completion.text
        return Choice(text, index, logprobs, completion.finish_reason)


class CompletionStream:
    """An answer that grows: iterate over its chunks, once. Leaving the iteration, or `aclose`, stops the work.

    Attributes:
        usage: tokens so far; final after the last chunk.
    """

    def __init__(self, model: str, prepared: _Prepared, run: Run) -> None:
        self.id = new_id("cmpl-")
        self.created = int(time.time())
        self.model = model
        self.usage = Usage(prepared.prompt_tokens, 0)
        self._prepared = prepared
        self._run = run
        self._voices: dict[int, _Voice] = {}

    async def aclose(self) -> None:
        """Stop the work, if any is left."""
        self._run.cancel()

    async def __aiter__(self) -> AsyncIterator[CompletionChunk]:
        """
        Raises:
            LuthierError: the completion failed on the way.
        """
        async for output in self._run:
            if not isinstance(output, Generated):
                continue
            self.usage = replace(self.usage, completion_tokens=self.usage.completion_tokens + len(output.tokens))
            index = output.prompt * self._prepared.n + output.choice
            if index not in self._voices:
                scores = self._run.scores.get(output.prompt, ())
                self._voices[index] = _Voice(self._prepared, index, self._prepared.prompts[output.prompt], scores)
            if chunk := self._voices[index].add(output):
                yield chunk


class _Voice:
    """One choice of a stream. Keeps tokens back until there is text for them."""

    def __init__(self, prepared: _Prepared, index: int, prompt: Prompt, scores: tuple[TokenLogprob, ...]) -> None:
        echo = prepared.params.echo
        self._index = index
        self._text = prompt.text if echo else ""
        self._tokens = list(scores)
        self._n_echoed = prompt.n_spelled if scores else 0
        self._writer = None
        if prepared.params.logprobs is not None:
            self._writer = LogprobsWriter(prepared.model.tokenizer, 0 if echo else len(prompt.text))

    def add(self, output: Generated) -> CompletionChunk | None:
        """The chunk to send now, None when there is nothing to show yet."""
        text, tokens = self._text + output.text, [*self._tokens, *output.tokens]
        if not text and output.finish_reason is None:
            self._tokens = tokens
            return None
        self._text, self._tokens = "", []
        logprobs = self._writer.write(tokens, self._n_echoed) if self._writer else None
        self._n_echoed = 0
        return CompletionChunk(text, self._index, logprobs, output.finish_reason)


def _best(gathered: dict[tuple[int, int], Gathered], prepared: _Prepared, prompt: int) -> list[Gathered]:
    """The completions of a prompt that are returned: all, or the likeliest for each token, the best first."""
    made = [gathered[prompt, choice] for choice in range(prepared.n_generated)]
    if prepared.n_generated > prepared.n:
        made.sort(key=lambda completion: completion.mean_logprob, reverse=True)
    return made[: prepared.n]
