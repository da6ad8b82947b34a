"""Choosing the next token."""

import random
from collections.abc import Mapping, Sequence

import torch

from luthier.completion.sequence import Sequence as Running
from luthier.domain.generation import SamplingParams

_LEAST_TEMPERATURE = 1e-6  # below, the most likely token: dividing by less leaves the range of float32
_NUCLEUS_GUESS = 1024  # most nuclei are smaller, and finding the largest few is far cheaper than sorting all


def sample(logits: torch.Tensor, sequences: Sequence[Running]) -> list[int]:
    """The next token of each sequence.

    A sequence's choice depends on its own logits, parameters, constraint and generator alone; one number is drawn for
    each token that is not greedy.

    Args:
        logits: (N, V) float32, one row a sequence; not changed.
    """
    rows = logits
    if any(sequence.constraint or _is_adjusted(sequence.params) for sequence in sequences):
        rows = logits.clone()  # (N, V)
        for row, sequence in zip(rows, sequences, strict=True):
            adjust(row, sequence.params, sequence.counts)
            if sequence.constraint:
                sequence.constraint.restrict(row)
    chosen: list[int] = rows.argmax(dim=-1).tolist()
    for index, sequence in enumerate(sequences):
        if sequence.params.temperature >= _LEAST_TEMPERATURE:
            chosen[index] = draw(rows[index], sequence.params, sequence.generator)
    return chosen


def adjust(row: torch.Tensor, params: SamplingParams, counts: Mapping[int, int]) -> None:
    """Add the bias and subtract the penalties, in place.

        logit(j) += bias(j) - count(j) · frequency_penalty - [count(j) > 0] · presence_penalty

    (OpenAI, "Frequency and presence penalties"; a count is how often a token was generated.)

    Args:
        row: (V,).
    """
    if bias := params.logit_bias:
        row[list(bias)] += row.new_tensor(list(bias.values()))
    if counts and (params.frequency_penalty or params.presence_penalty):
        penalties = [count * params.frequency_penalty + params.presence_penalty for count in counts.values()]
        row[list(counts)] -= row.new_tensor(penalties)


def draw(row: torch.Tensor, params: SamplingParams, generator: random.Random) -> int:
    """Draw a token from softmax(row / temperature), cut to its nucleus.

    The nucleus is the smallest set of the most likely tokens whose probability reaches `top_p` (Holtzman et al.,
    "The Curious Case of Neural Text Degeneration", 2020); never less than one token.

    Args:
        row: (V,).
    """
    probabilities = ((row - row.max()) / params.temperature).softmax(dim=-1)  # (V,)
    if params.top_p >= 1:
        return _pick(probabilities, generator)
    size = min(_NUCLEUS_GUESS, len(row))
    likely, tokens = probabilities.topk(size)
    if likely.sum() < params.top_p and size < len(row):
        likely, tokens = probabilities.sort(descending=True)
    before = likely.double().cumsum(0) - likely  # probability of all more likely tokens
    kept = likely[before < max(params.top_p, torch.finfo(torch.float32).tiny)]
    return int(tokens[_pick(kept, generator)])


def _pick(weights: torch.Tensor, generator: random.Random) -> int:
    """An index, drawn in proportion to `weights` of shape (M,)."""
    cumulative = weights.double().cumsum(0)
    target = generator.random() * cumulative[-1]
    return min(int(torch.searchsorted(cumulative, target, right=True)), len(weights) - 1)


def _is_adjusted(params: SamplingParams) -> bool:
    return bool(params.logit_bias or params.frequency_penalty or params.presence_penalty)
