"""A request's way through the engine, for whichever API asked: its outputs as they come, and what they add up to."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from luthier.completion.constraint import Constraint
from luthier.completion.engine import CompletionEngine
from luthier.completion.sequence import Failed, Generated, Output, Scored
from luthier.domain.generation import FinishReason, SamplingParams, TokenLogprob
from luthier.errors import WeightsError, unavailable
from luthier.services.limits import usage_reporter
from luthier.services.models import ServedModel


@dataclass(frozen=True)
class Usage:
    """Tokens read and generated. `best_of` counts all that were generated, those not returned too."""

    prompt_tokens: int
    completion_tokens: int

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass
class Gathered:
    """What one sequence generated."""

    text: str = ""
    tokens: list[TokenLogprob] = field(default_factory=list)
    finish_reason: FinishReason = FinishReason.LENGTH

    def add(self, output: Generated) -> None:
        self.text += output.text
        self.tokens += output.tokens
        self.finish_reason = output.finish_reason or self.finish_reason

    @property
    def mean_logprob(self) -> float:
        return sum(token.logprob or 0.0 for token in self.tokens) / max(len(self.tokens), 1)


class Run:
    """A request in the engine, as an asynchronous iterator of outputs for the event loop that made it.

    Args and Raises: as of `CompletionEngine.submit`.

    Attributes:
        scores: log probabilities of each prompt's tokens, as far as they came.
    """

    def __init__(
        self,
        engine: CompletionEngine,
        model: ServedModel,
        prompts: Sequence[Sequence[int]],
        params: SamplingParams,
        *,
        n: int = 1,
        keep_logprobs: bool = False,
        constraint: Constraint | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._model = model.id
        self._queue: asyncio.Queue[Output] = asyncio.Queue()
        self._unfinished = len(prompts) * n
        self._used = sum(len(prompt) for prompt in prompts)
        self._report = usage_reporter()
        self.scores: dict[int, tuple[TokenLogprob, ...]] = {}
        self._handle = engine.submit(
            model.weights,
            prompts,
            params,
            lambda output: _hand_over(loop, self._queue, output),
            n=n,
            keep_logprobs=keep_logprobs,
            constraint=constraint,
        )

    def cancel(self) -> None:
        self._handle.cancel()

    async def __aiter__(self) -> AsyncIterator[Output]:
        """
        Raises:
            LuthierError: the request failed.
        """
        try:
            while self._unfinished:
                output = await self._queue.get()
                if isinstance(output, Failed):
                    error = output.error
                    if isinstance(error, WeightsError):
                        raise unavailable(self._model, error) from error
                    raise error
                if isinstance(output, Scored):
                    self.scores[output.prompt] = output.tokens
                else:
                    self._used += len(output.tokens)
                    self._unfinished -= output.finish_reason is not None
                yield output
        finally:
            self.cancel()
            self._report(self._used)

    async def gather(self) -> dict[tuple[int, int], Gathered]:
        """Wait for the end. Returns what each continuation became, by prompt and choice."""
        gathered: dict[tuple[int, int], Gathered] = {}
        async for output in self:
            if isinstance(output, Generated):
                gathered.setdefault((output.prompt, output.choice), Gathered()).add(output)
        return gathered


def _hand_over(loop: asyncio.AbstractEventLoop, queue: "asyncio.Queue[Output]", output: Output) -> None:
    """From the engine's thread to the caller's event loop."""
    loop.call_soon_threadsafe(queue.put_nowait, output)
