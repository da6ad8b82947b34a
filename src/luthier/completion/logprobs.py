"""Log probabilities as the API reports them: natural, at temperature 1, before bias and penalties."""

from collections.abc import Sequence

import torch

from luthier.domain.generation import TokenLogprob


def describe(logits: torch.Tensor, chosen: Sequence[int], n_top: int) -> list[TokenLogprob]:
    """The log probability of the chosen token at each position, and of the most likely ones.

        log p(i) = logit(i) - log Σⱼ exp(logit(j))

    Args:
        logits: (N, V) float32, as the model gave them.
        chosen: N token ids.
        n_top: how many of the most likely tokens to report. The chosen one is reported too when it is not among them,
            after them and with exactly its value.
    """
    logprobs = logits.log_softmax(dim=-1)  # (N, V)
    own = logprobs[range(len(chosen)), list(chosen)].tolist()
    values, ids = logprobs.topk(min(n_top, logits.shape[-1]), dim=-1)  # (N, n_top)
    described = []
    for token, logprob, top_ids, top_values in zip(chosen, own, ids.tolist(), values.tolist(), strict=True):
        top = tuple(zip(top_ids, top_values, strict=True))
        if token not in top_ids:
            top = (*top, (token, logprob))
        described.append(TokenLogprob(token, logprob, top))
    return described
