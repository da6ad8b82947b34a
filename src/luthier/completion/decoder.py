"""A resident base model as the runner sees it: packed pieces in, one hidden row for each token out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.nn.functional import linear

from luthier.completion.adapters import Adapters
from luthier.completion.kv_cache import KVCache
from luthier.completion.scheduler import Piece
from luthier.completion.sequence import Sequence as Running
from luthier.modeling.loader import BaseModel, compute_dtype, load_base
from luthier.modeling.lora import LoraModel
from luthier.types import Tokenizer

MAX_ADAPTERS = 32  # idle ones that stay on a base; at rank 16 one of `ada` takes 23 MB


class Decoder(Protocol):
    """What the runner asks of a model. `completion.fake` has one without weights."""

    tokenizer: Tokenizer

    def forward(self, pieces: Sequence[Piece]) -> torch.Tensor:
        """One pass over the tokens of all pieces, end to end. Returns the last hidden states, (T, hidden)."""
        ...

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits of some rows of what `forward` returned: (N, hidden) → (N, V) float32."""
        ...

    def release(self, sequence_id: int, heir: Running | None = None) -> None:
        """Forget what is kept of a sequence, or leave it to a sibling, which goes on after its `computed` tokens."""
        ...

    def acquire_adapter(self, folder: Path) -> None:
        """Have an adapter ready until it is released. Raises WeightsError."""
        ...

    def release_adapter(self, folder: Path) -> None: ...

    def evict_adapter(self, folder: Path) -> None:
        """Drop an adapter as soon as nobody uses it."""
        ...


class TransformerDecoder:
    """A transformers model with adapters and a cache.

    Args:
        base: its layers that can have adapters are wrapped in place.
        max_adapters: how many adapters stay in memory when no request uses them.
    """

    def __init__(self, base: BaseModel, max_adapters: int = MAX_ADAPTERS) -> None:
        self.tokenizer = base.tokenizer
        self._device = base.device
        self._cache = KVCache()
        self._adapters = Adapters(LoraModel(base.model), base.dtype, base.device, max_adapters)
        base.model.eval()  # the wrapped layers too: no dropout
        model: Any = base.model
        self._layers = model.get_decoder()
        # In float32, as training's evaluation has it: rounded to bfloat16, two labels' scores would often be the same.
        self._head: torch.Tensor = model.get_output_embeddings().weight.float()  # (V, hidden)

    def forward(self, pieces: Sequence[Piece]) -> torch.Tensor:
        """See `Decoder.forward`."""
        ids = [token for piece in pieces for token in piece.sequence.tokens[piece.start : piece.stop]]
        positions = [position for piece in pieces for position in range(piece.start, piece.stop)]
        input_ids, position_ids = (torch.tensor([row], device=self._device) for row in (ids, positions))  # (1, T)
        self._adapters.route([(piece.sequence.request.weights.adapter, piece.stop - piece.start) for piece in pieces])
        output = self._layers(
            input_ids=input_ids, position_ids=position_ids, layout=self._cache.layout(pieces), use_cache=False
        )
        hidden: torch.Tensor = output.last_hidden_state[0]  # (T, hidden)
        return hidden

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        """See `Decoder.head`."""
        return linear(hidden.float(), self._head)

    def release(self, sequence_id: int, heir: Running | None = None) -> None:
        self._cache.release(sequence_id, heir)

    def acquire_adapter(self, folder: Path) -> None:
        self._adapters.acquire(folder)

    def release_adapter(self, folder: Path) -> None:
        self._adapters.release(folder)

    def evict_adapter(self, folder: Path) -> None:
        self._adapters.evict(folder)


def load_decoder(folder: Path) -> Decoder:
    """The base in a folder, in the dtype that this machine computes best in.

    Raises:
        WeightsError: see `load_base`.
    """
    return TransformerDecoder(load_base(folder, compute_dtype()))
