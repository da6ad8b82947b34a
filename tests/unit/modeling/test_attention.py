"""Packed attention against transformers' own, on the same sequences unpacked."""

from pathlib import Path

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AutoModelForCausalLM

from luthier.modeling.attention import PackedCausal, causal_attention
from luthier.modeling.loader import load_base


def test_a_packed_row_gives_each_sequence_what_transformers_gives_it_alone(tiny_base: Path) -> None:
    base = load_base(tiny_base, torch.float32)
    reference = AutoModelForCausalLM.from_pretrained(tiny_base, attn_implementation="sdpa", dtype=torch.float32).eval()
    generator = torch.Generator().manual_seed(0)
    sequences = [torch.randint(0, 256, (1, n), generator=generator) for n in (5, 1, 17)]  # (1, n)
    layout = PackedCausal([s.shape[1] for s in sequences])
    with torch.no_grad():
        row = torch.cat(sequences, dim=1)  # (1, 23)
        packed = base.model(input_ids=row, position_ids=layout.position_ids(), layout=layout, use_cache=False).logits
        alone = torch.cat([reference(input_ids=s).logits for s in sequences], dim=1)
    torch.testing.assert_close(packed, alone, rtol=1e-4, atol=1e-4)


def test_position_ids_start_anew_in_each_sequence() -> None:
    assert PackedCausal([3, 1, 2]).position_ids().tolist() == [[0, 1, 2, 0, 0, 1]]


@pytest.mark.parametrize("window", [None, 1, 3, 8, 100])
@pytest.mark.parametrize("asked", [1, 4, 8])
def test_the_last_positions_see_all_before_them_within_the_window(asked: int, window: int | None) -> None:
    generator = torch.Generator().manual_seed(1)
    query = torch.randn(2, 6, asked, 4, generator=generator)
    key, value = (torch.randn(2, 2, 8, 4, generator=generator) for _ in range(2))
    seen = torch.tensor(
        [[0 <= (8 - asked + q) - k < (window or 8) for k in range(8)] for q in range(asked)]
    )  # (Q, S), written out
    expected = scaled_dot_product_attention(query, key, value, attn_mask=seen, scale=0.3, enable_gqa=True)
    torch.testing.assert_close(causal_attention(query, key, value, 0.3, window), expected)
