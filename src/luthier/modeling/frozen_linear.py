"""Linear layers whose weights never change, laid out once as the processor's matrix product wants them.

On a CPU the product of oneDNN, which PyTorch calls, reads bfloat16 weights in blocks of its own. Given plain ones it
rearranges them at every call.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch.nn.functional import linear

Map = Callable[[torch.Tensor], torch.Tensor]


def frozen_linear(weight: torch.Tensor, bias: torch.Tensor | None) -> Map:
    """x Wᵀ + bias as a function of x, (T, in) → (T, out), without gradients.

    Args:
        weight: (out, in). It is copied where a layout of its own is quicker.
        bias: (out,).
    """
    if weight.device.type == "cpu" and weight.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        blocks = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
        return partial(_blocked, blocks=blocks, bias=bias)
    return partial(linear, weight=weight, bias=bias)


def _blocked(x: torch.Tensor, *, blocks: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    y: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, blocks, bias, "none", [], "")
    return y
