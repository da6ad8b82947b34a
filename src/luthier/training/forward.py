"""One pass of a packed row through the decoder."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import nn

from luthier.modeling.attention import AttentionLayout
from luthier.modeling.loader import BaseModel


class RowLayout(AttentionLayout, Protocol):
    """An attention layout that knows where in its sequence each token of the row stands."""

    def position_ids(self) -> torch.Tensor:
        """(1, T)."""
        ...


def last_hidden(base: BaseModel, input_ids: torch.Tensor, layout: RowLayout) -> torch.Tensor:
    """Outputs of the last layer, normalised, as the head takes them.

    Args:
        input_ids: (1, T).

    Returns:
        (T, hidden).
    """
    output = decoder(base)(
        input_ids=input_ids.to(base.device),
        position_ids=layout.position_ids().to(base.device),
        layout=layout,
        use_cache=False,
    )
    hidden: torch.Tensor = output.last_hidden_state[0]
    return hidden


@contextmanager
def recomputed_layers(base: BaseModel) -> Iterator[None]:
    """Within, each layer keeps only its input for the backward pass and computes the rest again there.

    A third more work, and memory that grows by kilobytes a token instead of a megabyte: for rows that are too long.
    """
    model: Any = base.model
    model.activation_checkpointing_enable({"use_reentrant": False})
    try:
        yield
    finally:
        model.activation_checkpointing_disable()


def decoder(base: BaseModel) -> nn.Module:
    """The model without its head."""
    model: Any = base.model
    found: nn.Module = model.get_decoder()
    return found


def head_weight(base: BaseModel) -> torch.Tensor:
    """The vocabulary head's matrix, (vocabulary, hidden)."""
    model: Any = base.model
    weight: torch.Tensor = model.get_output_embeddings().weight
    return weight
