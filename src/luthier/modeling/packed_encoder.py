"""Encoders of the BERT family over packed rows: many sequences in one row of tokens.

A sequence sees only itself, in both directions. For attention alone each sequence is filled up to a multiple of 16
tokens (a very short one of 4), and those of one width that stand side by side share a call of the kernel, so callers do
well to order a row by length. All else works token by token on what is there.

Attention's kernel takes twice as long at widths that are no multiple of 16, and a matrix product that meets a new
number of rows for the first time is compiled for it (some milliseconds each): hence the widths, and `_row_length`.

BERT and RoBERTa add nothing to the attention scores. MPNet adds a bias for each head and distance; it is the same in
every layer and for every text, so it is computed once, for the longest sequence, and cut to size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from luthier.modeling.frozen_linear import Map, frozen_linear

_STEP = 16  # tokens; the widths that sequences are filled up to are its multiples
_SHORT_STEP = 4  # of those up to 16, which would take up much memory otherwise

Number = TypeVar("Number", int, torch.Tensor)


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


@dataclass(frozen=True)
class _Run:
    """Sequences of one width that stand side by side.

    Args:
        number, width: how many sequences, and slots of each.
        tokens: (t,), the slot of each of their tokens, counted from the run's first.
        bias: added to the scores, (1 or n, 1 or H, 1 or L, L) with L the width: -inf where a slot holds nothing; None
            for nothing.
    """

    number: int
    width: int
    tokens: torch.Tensor
    bias: torch.Tensor | None


@dataclass(frozen=True)
class _Attention:
    """How a packed row is spread out for attention.

    Args:
        slots: (S,), the token in each slot; empty ones have the row's first.
        runs: what fills the slots, in order.
    """

    slots: torch.Tensor
    runs: list[_Run]
    heads: int

    def __call__(self, qkv: torch.Tensor) -> torch.Tensor:
        """Attention within each sequence.

        Args:
            qkv: (R, 3·D), the tokens' rows and what else the row holds.

        Returns:
            (R, D); rows that hold no token are zeros.
        """
        spread = torch.split(qkv.index_select(0, self.slots), [run.number * run.width for run in self.runs])
        width = qkv.shape[1] // 3
        output = qkv.new_zeros(qkv.shape[0], width)
        at = 0
        for run, slots in zip(self.runs, spread, strict=True):  # slots: (n·L, 3·D)
            query, key, value = slots.view(run.number, run.width, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            seen = scaled_dot_product_attention(query, key, value, attn_mask=run.bias)  # (n, H, L, d)
            seen = seen.transpose(1, 2).reshape(-1, width)
            torch.index_select(seen, 0, run.tokens, out=output[at : at + len(run.tokens)])
            at += len(run.tokens)
        return output


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
        # On a CPU the kernel computes scores in float32, and adds a bias as exact as that at no cost.
        self._bias_dtype = torch.float32 if model.device.type == "cpu" else model.dtype
        self._bias: torch.Tensor | None = None  # (1, H, L, L), L the greatest width
        if mpnet:
            greatest = _up(max_tokens, _STEP)
            bias = model.encoder.compute_position_bias(torch.empty(1, greatest, 0, device=model.device))
            self._bias = bias.to(self._bias_dtype)
        self._layers = [_mpnet_layer(layer) if mpnet else _bert_layer(layer) for layer in model.encoder.layer]

    def __call__(self, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        """Last hidden states of all tokens, (T, D), in the order of the sequences."""
        lengths = [len(sequence) for sequence in sequences]
        device, total = self._words.weight.device, sum(lengths)
        filling = [0] * (_row_length(total) - total)
        ids = torch.tensor([id_ for sequence in sequences for id_ in sequence] + filling, device=device)  # (R,)
        at = torch.tensor([place for length in lengths for place in range(length)] + filling, device=device)
        x: torch.Tensor = self._words(ids) + self._positions(at + self._first_position)  # (R, D)
        if self._type is not None:
            x = x + self._type
        x = self._norm(x)
        attention = self._attention(lengths)
        for layer in self._layers:
            x = layer.attention_norm(x + layer.out(attention(layer.qkv(x))))
            x = layer.output_norm(x + layer.down(layer.activation(layer.up(x))))
        return x[:total]

    def _attention(self, lengths: Sequence[int]) -> _Attention:
        weight = self._words.weight
        own = torch.tensor(lengths)  # (N,)
        widths = torch.where(own <= _STEP, _up(own, _SHORT_STEP), _up(own, _STEP))
        within = torch.arange(int(widths.max()))  # (L,)
        first = own.cumsum(0) - own
        slots, runs = [], []
        for width, group in groupby(range(len(lengths)), key=lambda at: int(widths[at])):
            members = list(group)
            part = slice(members[0], members[-1] + 1)
            there = within[:width] < own[part, None]  # (n, L)
            slots.append(torch.where(there, first[part, None] + within[:width], 0).flatten())
            bias = None if self._bias is None else self._bias[:, :, :width, :width]
            if not bool(there.all()):
                empty = torch.zeros(there.shape, dtype=self._bias_dtype).masked_fill_(~there, float("-inf"))
                empty = empty[:, None, None].to(weight.device)  # (n, 1, 1, L)
                bias = empty if bias is None else bias + empty
            tokens = there.flatten().nonzero()[:, 0].to(weight.device)
            runs.append(_Run(len(members), width, tokens, bias))
        return _Attention(torch.cat(slots).to(weight.device), runs, self._heads)


def _row_length(tokens: int) -> int:
    """Rows that so many tokens are computed in: as many or some more, so that there are few different numbers."""
    return _up(tokens, 16 if tokens <= 64 else 64 if tokens <= 512 else 256)


def _up(number: Number, step: int) -> Number:
    """The next multiple of a step."""
    return -(-number // step) * step


def _bert_layer(layer: Any) -> _Layer:
    attention = layer.attention.self
    projections = (attention.query, attention.key, attention.value)
    return _Layer.of(layer, projections, layer.attention.output.dense, layer.attention.output.LayerNorm)


def _mpnet_layer(layer: Any) -> _Layer:
    attention = layer.attention.attn
    return _Layer.of(layer, (attention.q, attention.k, attention.v), attention.o, layer.attention.LayerNorm)
