"""Weighted cross entropy through the vocabulary head, a few positions at a time.

    loss = Σ wᵢ · (logsumexp(zᵢ) - zᵢ[yᵢ]),    zᵢ = W hᵢ

The logits of all positions never stand whole: a vocabulary of 49,152 at 2,048 positions is 400 MB in float32. The
gradient towards the hidden states is computed in the forward pass, chunk by chunk, as Liger-Kernel does (Hsu et al.,
"Liger Kernel: Efficient Triton Kernels for LLM Training", 2024).
"""

from typing import Any, NamedTuple

import torch
from torch.nn.functional import linear

CHUNK = 256  # positions whose logits stand in memory at a time


class TokenLosses(NamedTuple):
    """Per position, all (N,): its cross entropy in float32, and whether the target was the most likely token."""

    losses: torch.Tensor
    correct: torch.Tensor


def token_losses(hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, chunk: int = CHUNK) -> TokenLosses:
    """Cross entropy at each position, without gradient.

    Args:
        hidden: (N, hidden), outputs of the last layer.
        head: (vocabulary, hidden).
        targets: (N,), ids.
    """
    losses, correct = [], []
    with torch.no_grad():
        for rows, target in zip(torch.split(hidden, chunk), torch.split(targets, chunk), strict=True):
            logits = linear(rows, head).float()  # (n, V)
            losses.append(logits.logsumexp(-1) - logits.gather(1, target[:, None])[:, 0])
            correct.append(logits.argmax(-1) == target)
    return TokenLosses(torch.cat(losses), torch.cat(correct))


def weighted_cross_entropy(
    hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, chunk: int = CHUNK
) -> tuple[torch.Tensor, TokenLosses]:
    """The weighted sum of the cross entropies, differentiable towards `hidden` alone: the head is frozen.

    Args:
        hidden: (N, hidden).
        head: (vocabulary, hidden).
        targets: (N,), ids.
        weights: (N,), float32.

    Returns:
        The sum, a float32 scalar, and what was found at each position.
    """
    total, losses, correct = _WeightedCrossEntropy.apply(hidden, head, targets, weights, chunk)  # type: ignore[no-untyped-call]
    return total, TokenLosses(losses, correct)


class _WeightedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, chunk: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        gradient = torch.empty_like(hidden)
        losses = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
        correct = torch.empty(len(targets), dtype=torch.bool, device=hidden.device)
        for start in range(0, len(targets), chunk):
            part = slice(start, start + chunk)
            target = targets[part, None]  # (n, 1)
            logits = linear(hidden[part], head).float()  # (n, V)
            peak, best = logits.max(-1, keepdim=True)  # (n, 1)
            right = logits.gather(1, target)  # (n, 1)
            logits.sub_(peak).exp_()  # (n, V), from here on exp(z - max z)
            total = logits.sum(-1, keepdim=True)  # (n, 1)
            losses[part] = (total.log() + peak - right)[:, 0]
            correct[part] = (best == target)[:, 0]
            weight = weights[part, None]  # (n, 1)
            logits.mul_(weight / total).scatter_add_(1, target, -weight)  # w · (softmax - one-hot)
            gradient[part] = logits.to(head.dtype) @ head  # (n, hidden)
        ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(losses, correct)
        return (losses * weights).sum(), losses, correct

    @staticmethod
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor, None, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * outputs[0].to(gradient.dtype), None, None, None, None
