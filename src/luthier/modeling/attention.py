"""Packed attention: many sequences in one row of tokens, no padding.

A forward pass sees `input_ids` of shape (1, T), where T is the sum of the lengths of all sequences. Everything
but attention works token by token and does not notice. Attention asks the `AttentionLayout` that came with the
call who may look at whom; training and serving bring one each.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from luthier.errors import WeightsError

IMPLEMENTATION = "luthier"


class AttentionLayout(Protocol):
    """Decides which keys each query of a packed row sees."""

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float,
        sliding_window: int | None,
    ) -> torch.Tensor:
        """Attend within one layer.

        Args:
            layer: index of the decoder layer, for layouts that keep keys and values.
            query: (1, H, T, D).
            key, value: (1, K, T, D), where K divides H (grouped-query attention).
            scaling: factor on the dot products.
            sliding_window: how many tokens back a query sees, None for all.

        Returns:
            (1, T, H, D).
        """
        ...


class PackedCausal:
    """Causal attention within each of several whole sequences laid end to end.

    Args:
        lengths: number of tokens of each sequence, in order.
    """

    def __init__(self, lengths: Sequence[int]) -> None:
        self.lengths = list(lengths)

    def position_ids(self) -> torch.Tensor:
        """Positions that start at 0 in each sequence, (1, T)."""
        return torch.cat([torch.arange(n) for n in self.lengths])[None]  # (1, T)

    def attend(
        self,
        layer: int,  # noqa: ARG002 - nothing is kept between passes
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float,
        sliding_window: int | None,
    ) -> torch.Tensor:
        outputs = [
            causal_attention(q, k, v, scaling, sliding_window)
            for q, k, v in zip(*(torch.split(x, self.lengths, dim=2) for x in (query, key, value)), strict=True)
        ]
        return torch.cat(outputs, dim=2).transpose(1, 2)  # (1, T, H, D)


def causal_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float, sliding_window: int | None = None
) -> torch.Tensor:
    """Attention of the last Q positions of a sequence of S tokens to all before them.

    Args:
        query: (B, H, Q, D).
        key, value: (B, K, S, D), Q <= S.

    Returns:
        (B, H, Q, D).
    """
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))  # (B, H, S, D)
    asked, seen = query.shape[2], key.shape[2]
    windowed = sliding_window is not None and seen > sliding_window
    if asked == seen and not windowed:
        return scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling)
    if asked == 1 and not windowed:
        return scaled_dot_product_attention(query, key, value, scale=scaling)
    at = torch.arange(seen, device=query.device)
    back = at[-asked:, None] - at  # (Q, S), how far back each key lies
    mask = back >= 0 if sliding_window is None else (back >= 0) & (back < sliding_window)
    return scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling)


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    _mask: torch.Tensor | None,
    *,
    layout: AttentionLayout,
    scaling: float,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    if softcap is not None or s_aux is not None:
        raise WeightsError("This model caps its attention scores or has sinks, which Luthier does not compute.")
    layer: Any = module.layer_idx
    return layout.attend(layer, query, key, value, scaling, sliding_window), None


AttentionInterface.register(IMPLEMENTATION, _attention)
