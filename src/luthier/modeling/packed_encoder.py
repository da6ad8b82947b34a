"""Encoders of the BERT family over packed rows: many sequences in one row of tokens, no padding.

A sequence sees only itself, in both directions. Sequences of one length that stand side by side share one call of the
attention kernel, so callers do well to order a row by length. All else works token by token.

BERT and RoBERTa add nothing to the attention scores. MPNet adds a bias for each head and distance; it is the same in
every layer and for every text, so it is computed once, for the longest sequence, and cut to size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from luthier.modeling.frozen_linear import Map, frozen_linear

_SHORT = 256  # tokens; up to here attention at once was 2 to 8 % quicker on a CPU in bfloat16, and no less exact


@dataclass(frozen=True)
class _Layer:
    """One layer: attention, then a feed-forward net, each added to its input and normalised."""

    qkv: Map  # D → 3·D: queries, keys and values of all heads in one product
    out: Map
    attention_norm: nn.Module
    up: Map
    activation: Map
    down: Map
    output_norm: nn.Module

    @classmethod
    def of(cls, layer: Any, projections: Sequence[nn.Linear], out: nn.Linear, attention_norm: nn.Module) -> "_Layer":
        return cls(
            qkv=frozen_linear(
                torch.cat([projection.weight for projection in projections]),
                torch.cat([projection.bias for projection in projections]),
            ),
            out=frozen_linear(out.weight, out.bias),
            attention_norm=attention_norm,
            up=frozen_linear(layer.intermediate.dense.weight, layer.intermediate.dense.bias),
            activation=layer.intermediate.intermediate_act_fn,
            down=frozen_linear(layer.output.dense.weight, layer.output.dense.bias),
            output_norm=layer.output.LayerNorm,
        )


class PackedEncoder:
    """A BERT, RoBERTa, XLM-RoBERTa or MPNet of transformers, with the same weights.

    Args:
        model: in evaluation mode, parameters frozen.
        max_tokens: of a sequence.
    """

    FAMILIES = frozenset({"bert", "mpnet", "roberta", "xlm-roberta", "camembert"})

    def __init__(self, model: Any, max_tokens: int) -> None:
        embeddings, config = model.embeddings, model.config
        mpnet = config.model_type == "mpnet"
        self._heads: int = config.num_attention_heads
        self._words: nn.Embedding = embeddings.word_embeddings
        self._positions: nn.Embedding = embeddings.position_embeddings
        self._type = None if mpnet else embeddings.token_type_embeddings.weight[0]
        self._norm: nn.Module = embeddings.LayerNorm
        self._first_position = 0 if config.model_type == "bert" else embeddings.padding_idx + 1
        self._bias: torch.Tensor | None = None  # (1, H, max_tokens, max_tokens)
        if mpnet:
            self._bias = model.encoder.compute_position_bias(torch.empty(1, max_tokens, 0, device=model.device))
        self._short = _SHORT if model.device.type == "cpu" and model.dtype == torch.bfloat16 else 0
        self._layers = [_mpnet_layer(layer) if mpnet else _bert_layer(layer) for layer in model.encoder.layer]

    def __call__(self, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        """Last hidden states of all tokens, (T, D), in the order of the sequences."""
        lengths = [len(sequence) for sequence in sequences]
        device = self._words.weight.device
        ids = torch.tensor([id_ for sequence in sequences for id_ in sequence], device=device)  # (T,)
        at = torch.cat([torch.arange(length, device=device) for length in lengths])  # (T,)
        x: torch.Tensor = self._words(ids) + self._positions(at + self._first_position)  # (T, D)
        if self._type is not None:
            x = x + self._type
        x = self._norm(x)
        runs = [(length, len(list(group))) for length, group in groupby(lengths)]
        for layer in self._layers:
            x = layer.attention_norm(x + layer.out(self._attend(layer.qkv(x), runs)))
            x = layer.output_norm(x + layer.down(layer.activation(layer.up(x))))
        return x

    def _attend(self, qkv: torch.Tensor, runs: Sequence[tuple[int, int]]) -> torch.Tensor:
        """Attention within each sequence.

        Args:
            qkv: (T, 3·D).
            runs: length and number of sequences that stand side by side.

        Returns:
            (T, D).
        """
        tokens, width = qkv.shape[0], qkv.shape[1] // 3
        output = qkv.new_empty(tokens, width)
        start = 0
        for length, number in runs:
            end = start + length * number
            query, key, value = qkv[start:end].view(number, length, 3, self._heads, -1).permute(2, 0, 3, 1, 4)
            bias = None if self._bias is None else self._bias[:, :, :length, :length]
            if length <= self._short:
                seen = _attend_at_once(query, key, value, bias)  # (n, H, L, d)
            else:
                seen = scaled_dot_product_attention(query, key, value, attn_mask=bias)
            output[start:end] = seen.transpose(1, 2).reshape(-1, width)
            start = end
        return output


def _attend_at_once(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    """softmax(Q Kᵀ / √d + bias) V with all scores in memory, which for short sequences is quicker than in blocks.

    Args:
        query, key, value: (n, H, L, d).
        bias: (1, H, L, L).

    Returns:
        (n, H, L, d).
    """
    number, heads, length, width = query.shape
    query, key, value = (x.reshape(number * heads, length, width) for x in (query, key, value))
    if bias is None:
        scores = torch.bmm(query * width**-0.5, key.transpose(1, 2))  # (n·H, L, L)
    else:
        added = bias.expand(number, heads, length, length).reshape(-1, length, length)
        scores = torch.baddbmm(added, query, key.transpose(1, 2), alpha=width**-0.5)
    return torch.bmm(scores.softmax(-1), value).view(number, heads, length, width)


def _bert_layer(layer: Any) -> _Layer:
    attention = layer.attention.self
    projections = (attention.query, attention.key, attention.value)
    return _Layer.of(layer, projections, layer.attention.output.dense, layer.attention.output.LayerNorm)


def _mpnet_layer(layer: Any) -> _Layer:
    attention = layer.attention.attn
    return _Layer.of(layer, (attention.q, attention.k, attention.v), attention.o, layer.attention.LayerNorm)
