"""Learning rate, AdamW and the mean of weights."""

import pytest
import torch
from torch import nn

from luthier.training import defaults
from luthier.training.mean import Mean
from luthier.training.optim import Optimizer, learning_rate_factor


@pytest.mark.parametrize("decay", ["linear", "cosine"])
def test_the_rate_rises_to_its_peak_and_falls(decay: str) -> None:
    factors = [learning_rate_factor(step, 40, 0.25, decay) for step in range(40)]
    assert factors[:10] == [(step + 1) / 10 for step in range(10)]
    assert factors[9:] == sorted(factors[9:], reverse=True)
    assert 0 < factors[-1] < 0.05


def test_short_runs_learn_too() -> None:
    assert [learning_rate_factor(step, 1, 0.1, "linear") for step in range(1)] == [1.0]
    assert all(learning_rate_factor(step, n, 0.1, "linear") > 0 for n in range(1, 9) for step in range(n))


def quadratic(optimizer: Optimizer, weight: nn.Parameter, steps: range) -> list[torch.Tensor]:
    """Go down a parabola; the weight after each step."""
    seen = []
    for step in steps:
        weight.grad = 10 * weight.detach()
        optimizer.step(step)
        seen.append(weight.detach().clone())
    return seen


def test_steps_are_adamw_on_clipped_gradients() -> None:
    ours, theirs = (nn.Parameter(torch.tensor([3.0, -2.0])) for _ in range(2))
    seen = quadratic(Optimizer({"w": ours}, 0.1, 10), ours, range(10))
    adam = torch.optim.AdamW([theirs], betas=defaults.BETAS, weight_decay=defaults.WEIGHT_DECAY)
    for step in range(10):
        theirs.grad = 10 * theirs.detach()
        nn.utils.clip_grad_norm_([theirs], defaults.MAX_GRAD_NORM)
        factor = learning_rate_factor(step, 10, defaults.WARMUP_SHARE, defaults.DECAY)
        adam.param_groups[0]["lr"] = 0.1 * factor
        adam.step()
        torch.testing.assert_close(seen[step], theirs.detach())


def test_a_weight_without_a_gradient_has_a_state_to_go_on_from() -> None:
    used, unused = (nn.Parameter(torch.tensor([3.0])) for _ in range(2))
    optimizer = Optimizer({"used": used, "unused": unused}, 0.1, 10)
    quadratic(optimizer, used, range(2))
    again = Optimizer({"used": used, "unused": unused}, 0.1, 10)
    again.load_state(optimizer.state())
    quadratic(again, used, range(2, 3))
    assert used.item() < 3
    assert unused.item() == 3


def test_a_mean_counts_each_weight_as_told_and_goes_on_from_its_state() -> None:
    master = nn.Parameter(torch.tensor([3.0]))
    mean = Mean({"w": master})
    for value, weight in ((3.0, 1.0), (5.0, 0.5), (-2.0, 4.0)):
        with torch.no_grad():
            master.fill_(value)
        restored = Mean({"w": master})
        restored.load_state(mean.state())
        restored.add(weight)
        mean = restored
    assert master.item() == -2
    mean.swap()
    torch.testing.assert_close(master.detach(), torch.tensor([(3 + 0.5 * 5 - 4 * 2) / 5.5]))
    mean.swap()
    assert master.item() == -2


@pytest.mark.parametrize("cut", [1, 5, 7])
def test_a_restored_optimizer_goes_on_alike(cut: int) -> None:
    whole = nn.Parameter(torch.tensor([3.0]))
    quadratic(Optimizer({"w": whole}, 0.1, 8), whole, range(8))
    part = nn.Parameter(torch.tensor([3.0]))
    first = Optimizer({"w": part}, 0.1, 8)
    quadratic(first, part, range(cut))
    second = Optimizer({"w": part}, 0.1, 8)
    second.load_state(first.state())
    quadratic(second, part, range(cut, 8))
    assert torch.equal(part, whole)
