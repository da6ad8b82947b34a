"""Training's norm against transformers' own."""

import pytest
import torch
from torch import nn
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from luthier.training.norm import quick_norms, rms_norm


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 8e-3)])
def test_output_and_gradient_are_those_of_transformers(dtype: torch.dtype, tolerance: float) -> None:
    generator = torch.Generator().manual_seed(0)
    x, dy = (torch.randn(1, 50, 64, generator=generator).to(dtype) for _ in range(2))
    theirs = LlamaRMSNorm(64, 1e-5).to(dtype).requires_grad_(False)
    theirs.weight.copy_(torch.randn(64, generator=generator))
    outputs, gradients = [], []
    for norm in (theirs, lambda t: rms_norm(t, theirs.weight, 1e-5)):
        leaf = x.clone().requires_grad_(True)
        outputs.append(norm(leaf))
        outputs[-1].backward(dy)
        gradients.append(leaf.grad)
    for theirs_, ours in (outputs, gradients):
        assert (theirs_ - ours).norm() <= tolerance * theirs_.norm()


def test_only_frozen_norms_of_this_formula_change_and_only_for_a_while() -> None:
    plain, learning = LlamaRMSNorm(8).requires_grad_(False), LlamaRMSNorm(8)
    other = GemmaRMSNorm(8).requires_grad_(False)  # multiplies by 1 + weight
    other.variance_epsilon = 1e-6
    model = nn.ModuleList([plain, learning, other])
    with quick_norms(model):
        assert ["forward" in vars(module) for module in model] == [True, False, False]
        torch.testing.assert_close(plain(torch.ones(1, 8)), torch.ones(1, 8))
    assert "forward" not in vars(plain)
