"""What the engine is asked, what it answers, and the state of each sequence in between. No tensors."""

import itertools
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from luthier.completion.constraint import Constraint
from luthier.completion.stopping import TextStream
from luthier.domain.generation import FinishReason, SamplingParams, TokenLogprob
from luthier.errors import LuthierError
from luthier.types import Tokenizer


@dataclass(frozen=True)
class Weights:
    """Which weights answer.

    Args:
        base: folder of the base, or of a model whose weights were all tuned.
        adapter: folder of the adapter on it, None for the base alone.
    """

    base: Path
    adapter: Path | None = None


@dataclass(frozen=True)
class Scored:
    """The log probabilities of a whole prompt, its first token included.

    Args:
        prompt: which prompt of the request.
    """

    prompt: int
    tokens: tuple[TokenLogprob, ...]


@dataclass(frozen=True)
class Generated:
    """What one continuation gained since the last time.

    Args:
        prompt: which prompt of the request.
        choice: which continuation of that prompt.
        text: whole characters that cannot become part of a stop text any more.
        tokens: the tokens behind it; their text may still be held back. The token that ends a text is among them.
        finish_reason: set on the last one.
    """

    prompt: int
    choice: int
    text: str
    tokens: tuple[TokenLogprob, ...]
    finish_reason: FinishReason | None = None


@dataclass(frozen=True)
class Failed:
    """The request got nowhere, or no further; nothing follows."""

    error: LuthierError


Output = Scored | Generated | Failed


@dataclass(eq=False)
class Request:
    """Prompts that share weights and parameters; one caller waits for all of them.

    Args:
        prompts: token ids, each at least one.
        n: continuations of each prompt.
        on_output: called from the engine's thread with each output.
        keep_logprobs: report log probabilities although `params.logprobs` is None (to rank continuations).
        constraint: what the continuations may be, at their beginning; None for any text.
        background: it gives way to other requests.
        cancelled: set by any thread; the engine looks at it between steps.
        started: whether something of it has run.
    """

    weights: Weights
    prompts: tuple[tuple[int, ...], ...]
    params: SamplingParams
    on_output: Callable[[Output], None]
    n: int = 1
    keep_logprobs: bool = False
    constraint: Constraint | None = None
    background: bool = False
    cancelled: bool = False
    started: bool = False

    @property
    def n_top(self) -> int | None:
        """How many most likely tokens to report at each position; None for no log probabilities."""
        return 0 if self.params.logprobs is None and self.keep_logprobs else self.params.logprobs

    @property
    def scores_prompt(self) -> bool:
        return self.params.echo and self.params.logprobs is not None


_ids = itertools.count()


@dataclass(eq=False)
class Sequence:
    """One continuation of one prompt, from waiting to finished. Changed by the scheduler and the engine alone.

    Args:
        tokens: prompt and what was generated.
        n_prompt: how many of them are the prompt.
        computed: how many of them went through the model.
        reserved: tokens of cache it may fill; 0 when one pass over the prompt answers it.
        source: the sibling whose cache holds this prompt, until the first pass copies from it.
        constraint: what may follow; None for any text.
    """

    request: Request
    prompt: int
    choice: int
    tokens: list[int]
    n_prompt: int
    text: TextStream
    generator: random.Random
    reserved: int
    computed: int = 0
    source: "Sequence | None" = None
    constraint: Constraint | None = None
    counts: Counter[int] = field(default_factory=Counter)
    id: int = field(default_factory=lambda: next(_ids))

    @property
    def base(self) -> Path:
        return self.request.weights.base

    @property
    def params(self) -> SamplingParams:
        return self.request.params

    @property
    def scores_prompt(self) -> bool:
        """Whether this sequence's pass over the prompt reports its log probabilities; siblings share them."""
        return self.choice == 0 and self.request.scores_prompt

    @property
    def n_generated(self) -> int:
        return len(self.tokens) - self.n_prompt


def cache_tokens(request: Request, prompt: tuple[int, ...], max_batch_tokens: int) -> int:
    """Tokens of cache that one continuation of a prompt may fill.

    The last token generated is never fed back. A prompt that goes through the model in one piece and gets no more
    than one token needs no cache at all.
    """
    if request.params.max_tokens <= 1 and request.n == 1 and len(prompt) <= max_batch_tokens:
        return 0
    return len(prompt) + max(request.params.max_tokens - 1, 0)


def sequences(request: Request, tokenizer: Tokenizer, max_batch_tokens: int) -> list[Sequence]:
    """The sequences of a request, siblings next to each other.

    Each has a generator of its own. With a seed, it depends on the seed and on the number of the continuation alone,
    so that neither the other prompts of the request nor other requests change a text.
    """
    made = []
    for index, prompt in enumerate(request.prompts):
        for choice in range(request.n):
            seed = None if request.params.seed is None else f"{request.params.seed}:{choice}"
            made.append(
                Sequence(
                    request=request,
                    prompt=index,
                    choice=choice,
                    tokens=list(prompt),
                    n_prompt=len(prompt),
                    text=TextStream(tokenizer, request.params.stop),
                    generator=random.Random(seed),
                    reserved=cache_tokens(request, prompt, max_batch_tokens),
                    constraint=request.constraint.fork() if request.constraint else None,
                )
            )
    return made
