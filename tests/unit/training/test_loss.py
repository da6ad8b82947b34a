"""The chunked loss against PyTorch's own in float64."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from luthier.training.loss import token_losses, weighted_cross_entropy

N, HIDDEN, VOCABULARY = 23, 16, 101


@pytest.fixture
def drawn() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Hidden states, head, targets and weights."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(N, HIDDEN, generator=generator, dtype=torch.float64)
    head = torch.randn(VOCABULARY, HIDDEN, generator=generator, dtype=torch.float64)
    targets = torch.randint(VOCABULARY, (N,), generator=generator)
    return hidden, head, targets, torch.rand(N, generator=generator)


@pytest.mark.parametrize("chunk", [1, 5, N, 1000])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-5), (torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_loss_and_gradient_are_those_of_the_whole_logits(
    drawn: tuple[torch.Tensor, ...], chunk: int, dtype: torch.dtype, tolerance: float
) -> None:
    hidden, head, targets, weights = drawn
    exact = hidden.to(dtype).double().requires_grad_(True)
    losses = cross_entropy(exact @ head.to(dtype).double().T, targets, reduction="none")
    (3 * (losses * weights.double()).sum()).backward()

    ours = hidden.to(dtype).requires_grad_(True)
    total, found = weighted_cross_entropy(ours, head.to(dtype), targets, weights, chunk)
    (3 * total).backward()
    torch.testing.assert_close(found.losses.double(), losses.detach(), rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(total.item(), (losses * weights).sum().item(), rtol=tolerance, atol=0)
    assert exact.grad is not None
    assert ours.grad is not None
    assert (ours.grad.double() - exact.grad).norm() <= tolerance * exact.grad.norm()


def test_the_most_likely_token_is_marked(drawn: tuple[torch.Tensor, ...]) -> None:
    hidden, head, targets, weights = drawn
    best = (hidden @ head.T).argmax(-1)
    mixed = torch.where(torch.arange(N) % 2 == 0, best, targets)
    expected = mixed == best
    assert torch.equal(weighted_cross_entropy(hidden, head, mixed, weights, 4)[1].correct, expected)
    assert torch.equal(token_losses(hidden, head, mixed, 4).correct, expected)


def test_losses_without_gradient_are_the_same(drawn: tuple[torch.Tensor, ...]) -> None:
    hidden, head, targets, weights = drawn
    torch.testing.assert_close(
        token_losses(hidden, head, targets, 7).losses, weighted_cross_entropy(hidden, head, targets, weights)[1].losses
    )
