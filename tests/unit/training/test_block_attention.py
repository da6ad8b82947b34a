"""Training's attention against the fused kernel in float64."""

import pytest
import torch

from luthier.modeling.attention import PackedCausal
from luthier.training.attention import STEP, PackedTraining, query_blocks

HEADS, SHARED, WIDTH = 4, 2, 8


def inputs(tokens: int, dtype: torch.dtype) -> list[torch.Tensor]:
    """Query, key and value, laid out as projections give them."""
    generator = torch.Generator().manual_seed(0)
    drawn = []
    for heads in (HEADS, SHARED, SHARED):
        flat = torch.randn(1, tokens, heads * WIDTH, generator=generator, dtype=torch.float64).to(torch.bfloat16)
        drawn.append(flat.to(dtype).view(1, tokens, heads, WIDTH).transpose(1, 2).requires_grad_(True))
    for tensor in drawn:
        tensor.retain_grad()
    return drawn


def results(layout: PackedCausal, dtype: torch.dtype, window: int | None = None) -> list[torch.Tensor]:
    """Output and the three gradients, float64."""
    parts = inputs(sum(layout.lengths), dtype)
    out = layout.attend(0, *parts, scaling=0.3, sliding_window=window)
    out.backward(torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view_as(out).to(dtype))
    return [tensor.detach().double() for tensor in (out, *(part.grad for part in parts)) if tensor is not None]


@pytest.mark.parametrize(
    "lengths", [[1], [5, 1, 7], [128], [129], [300, 4, 3, 128, 131, 2], [60, 60, 60], [9, 1030, 200]]
)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 2e-2)]
)
def test_outputs_and_gradients_are_those_of_the_fused_kernel(
    lengths: list[int], dtype: torch.dtype, tolerance: float
) -> None:
    for ours, exact in zip(
        results(PackedTraining(lengths), dtype), results(PackedCausal(lengths), torch.float64), strict=True
    ):
        assert (ours - exact).norm() <= tolerance * exact.norm() + 1e-12


def test_a_sliding_window_is_honoured() -> None:
    for ours, exact in zip(
        results(PackedTraining([9, 4]), torch.float64, window=3),
        results(PackedCausal([9, 4]), torch.float64, window=3),
        strict=True,
    ):
        torch.testing.assert_close(ours, exact)


def test_without_gradient_the_path_is_the_served_one() -> None:
    parts = inputs(12, torch.bfloat16)
    with torch.no_grad():
        ours, served = (layout([7, 5]).attend(0, *parts, 0.3, None) for layout in (PackedTraining, PackedCausal))
    assert torch.equal(ours, served)


def test_blocks_cover_the_row_once_and_do_not_cross_sequences_but_whole_ones() -> None:
    blocks = list(query_blocks([3, 4, 20, 1, 2, 9, 9], torch.float32, size=8))
    assert [(block.first, block.start, block.stop) for block in blocks] == [
        (0, 0, 7),
        (7, 7, 15),
        (7, 15, 23),
        (7, 23, 27),
        (27, 27, 30),
        (30, 30, 38),
        (30, 38, 39),
        (39, 39, 47),
        (39, 47, 48),
    ]
    for block in blocks:
        assert block.bias.shape == (block.stop - block.start, block.end - block.start)
        assert (block.end - block.first) % STEP == 0
        assert block.stop <= block.end < block.stop + STEP
