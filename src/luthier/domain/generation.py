"""What a completion is asked for, and what it gives back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True)
class SamplingParams:
    """How one prompt is continued.

    Args:
        max_tokens: most tokens to generate; 0 with `echo` scores the prompt alone.
        temperature: 0 takes the most likely token.
        top_p: nucleus sampling, share of probability kept.
        logprobs: how many of the most likely tokens to report at each position, None for no log probabilities.
        echo: report the prompt's tokens before the generated ones.
        stop: texts that end the completion; they are not part of it.
        presence_penalty, frequency_penalty: subtracted from the logits of tokens already generated, OpenAI's formula:
            logit -= count · frequency_penalty + (count > 0) · presence_penalty.
        logit_bias: token id → number added to its logit, -100 to 100.
        seed: two requests alike with one seed get one answer.
        stop_ids: tokens that end the completion besides the tokenizer's end of text; no part of its text.
    """

    max_tokens: int = 16
    temperature: float = 1.0
    top_p: float = 1.0
    logprobs: int | None = None
    echo: bool = False
    stop: tuple[str, ...] = ()
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None
    stop_ids: frozenset[int] = frozenset()


class FinishReason(StrEnum):
    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"  # of a chat


@dataclass(frozen=True)
class TokenLogprob:
    """One token of a completion or an echoed prompt.

    Args:
        token_id: the token.
        logprob: its natural log probability at temperature 1, None for the first token of a prompt.
        top: the most likely tokens there, most likely first, (id, log probability); empty for the first token.
    """

    token_id: int
    logprob: float | None
    top: tuple[tuple[int, float], ...] = ()
