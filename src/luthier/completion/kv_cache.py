"""Keys and values of running sequences, and attention over them.

One pass takes a packed row with pieces of many sequences: whole prompts, chunks of long ones, single tokens. Each
sequence has buffers of its own, as long as it may ever become, so that a step writes only its new tokens and reads
the others where they lie. What the scheduler promises bounds their sum; the system gives memory to a buffer only as
it fills.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch.nn.functional import scaled_dot_product_attention

from luthier.completion.scheduler import Piece
from luthier.completion.sequence import Sequence as Running
from luthier.modeling.attention import causal_attention


@dataclass
class _Buffers:
    """One sequence's keys and values: for each layer (1, K, C, D) where C is its capacity in tokens."""

    capacity: int
    keys: dict[int, torch.Tensor] = field(default_factory=dict)
    values: dict[int, torch.Tensor] = field(default_factory=dict)

    def write(self, layer: int, start: int, key: torch.Tensor, value: torch.Tensor) -> None:
        """Keep key and value, (1, K, Q, D), as the tokens from `start` on."""
        if layer not in self.keys:
            shape = (1, key.shape[1], self.capacity, key.shape[3])
            self.keys[layer], self.values[layer] = key.new_empty(shape), value.new_empty(shape)
        stop = start + key.shape[2]
        self.keys[layer][:, :, start:stop] = key
        self.values[layer][:, :, start:stop] = value


class KVCache:
    """The buffers of all sequences that generate, by their ids."""

    def __init__(self) -> None:
        self._buffers: dict[int, _Buffers] = {}

    def layout(self, pieces: Sequence[Piece]) -> "CachedAttention":
        """Attention for one pass over these pieces. Copies the prompt of a sibling where a piece names one."""
        buffers = []
        for piece in pieces:
            sequence = piece.sequence
            if sequence.reserved and sequence.id not in self._buffers:
                self._buffers[sequence.id] = _Buffers(sequence.reserved)
                if piece.source is not None and piece.start:
                    self._copy(piece.source.id, sequence.id, piece.start)
            buffers.append(self._buffers.get(sequence.id))
        return CachedAttention(pieces, buffers)

    def release(self, sequence_id: int, heir: Running | None = None) -> None:
        """Drop the buffers of a sequence, or give them to a sibling, which overwrites what is not its own."""
        buffers = self._buffers.pop(sequence_id, None)
        if heir is not None and buffers is not None:
            self._buffers[heir.id] = buffers

    def _copy(self, source: int, target: int, length: int) -> None:
        given, taken = self._buffers[source], self._buffers[target]
        for layer, key in given.keys.items():
            taken.write(layer, 0, key[:, :, :length], given.values[layer][:, :, :length])


class CachedAttention:
    """An `AttentionLayout` for one pass over pieces of sequences.

    A piece that starts a sequence attends within itself, by the very function that training evaluates with.
    """

    def __init__(self, pieces: Sequence[Piece], buffers: Sequence[_Buffers | None]) -> None:
        self._pieces = pieces
        self._buffers = buffers
        self._lengths = [piece.stop - piece.start for piece in pieces]

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float,
        sliding_window: int | None,
    ) -> torch.Tensor:
        """See `AttentionLayout.attend`. Writes the new keys and values into the sequences' buffers."""
        outputs = []
        parts = (torch.split(x, self._lengths, dim=2) for x in (query, key, value))
        for piece, buffers, q, k, v in zip(self._pieces, self._buffers, *parts, strict=True):
            if buffers is not None:
                buffers.write(layer, piece.start, k, v)
            if piece.start and buffers is not None:
                k, v = (kept[layer][:, :, : piece.stop] for kept in (buffers.keys, buffers.values))  # (1, K, S, D)
            single = piece.start and q.shape[2] == 1
            outputs.append((_attend_one if single else causal_attention)(q, k, v, scaling, sliding_window))
        return torch.cat(outputs, dim=2).transpose(1, 2)  # (1, T, H, D)


def _attend_one(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float, sliding_window: int | None
) -> torch.Tensor:
    """Attention of one new token to all before it: (1, H, 1, D) and (1, K, S, D) → (1, H, 1, D).

    The query heads that share a key head stand as rows below it, so that keys need not be copied for each of them.
    """
    if sliding_window is not None:
        key, value = key[:, :, -sliding_window:], value[:, :, -sliding_window:]
    heads = query.shape[1] // key.shape[1]
    rows = query.view(1, key.shape[1], heads, query.shape[3])  # (1, K, H/K, D)
    return scaled_dot_product_attention(rows, key, value, scale=scaling).reshape(query.shape)
