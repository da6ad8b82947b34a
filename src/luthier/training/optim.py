"""The optimizer: AdamW on float32 masters, its learning rate over the run, and a mean of late weights."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from luthier.training import defaults

DECAYS: dict[str, Callable[[float], float]] = {
    "linear": lambda done: 1 - done,
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
    "constant": lambda _done: 1.0,
}


def learning_rate_factor(step: int, n_steps: int, warmup_share: float, decay: str) -> float:
    """Factor on the learning rate of a step (from 0): a linear warm-up to 1, then the decay towards 0.

    Args:
        warmup_share: share of the steps that warm up, at least one step.
        decay: a key of `DECAYS`.
    """
    warmup = max(1, round(warmup_share * n_steps))
    if step < warmup:
        return (step + 1) / warmup
    return DECAYS[decay]((step - warmup + 1) / (n_steps - warmup + 1))


class Optimizer:
    """AdamW (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019) with gradients clipped by norm.

    Args:
        masters: the weights that learn, float32, changed in place. Their `.grad` is what a step uses up.
        learning_rate: at its peak.
        n_steps: of the whole run.
        averaged: steps, from 0 and ascending. The last of them leaves the mean of their weights behind, in which the
            first counts once, the second twice, and so on: the later, the smaller the learning rate was.
    """

    def __init__(
        self, masters: Mapping[str, nn.Parameter], learning_rate: float, n_steps: int, averaged: Sequence[int] = ()
    ) -> None:
        self._masters = dict(masters)
        self._learning_rate = learning_rate
        self._n_steps = n_steps
        self._averaged = list(averaged)
        self._mean: dict[str, torch.Tensor] = {}
        self._adam = torch.optim.AdamW(
            self._masters.values(), lr=0.0, betas=defaults.BETAS, weight_decay=defaults.WEIGHT_DECAY, fused=True
        )

    def step(self, step: int) -> None:
        """Change the masters by their gradients and drop the gradients.

        Args:
            step: its number, from 0.
        """
        nn.utils.clip_grad_norm_(self._masters.values(), defaults.MAX_GRAD_NORM)
        factor = learning_rate_factor(step, self._n_steps, defaults.WARMUP_SHARE, defaults.DECAY)
        self._adam.param_groups[0]["lr"] = self._learning_rate * factor
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        if step in self._averaged:
            self._average(self._averaged.index(step) + 1)
            if step == self._averaged[-1]:
                self._take_mean()

    def state(self) -> dict[str, torch.Tensor]:
        """All that another run needs to go on from here, but for the masters: a flat dict of tensors."""
        state = {f"mean.{name}": value for name, value in self._mean.items()}
        for name, master in self._masters.items():
            state |= {f"{key}.{name}": value for key, value in self._adam.state[master].items()}
        return state

    def load_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take up what `state` gave.

        Raises:
            KeyError: the state is of other weights.
        """
        for name, master in self._masters.items():
            self._adam.state[master] = {
                key: state[f"{key}.{name}"].to(master.device, copy=True) for key in ("step", "exp_avg", "exp_avg_sq")
            }
            if f"mean.{name}" in state:
                self._mean[name] = state[f"mean.{name}"].to(master.device, copy=True)

    @torch.no_grad()
    def _average(self, count: int) -> None:
        """Bring the running mean of the masters up to its `count`-th value, which counts so many times."""
        for name, master in self._masters.items():
            if count == 1:
                self._mean[name] = master.detach().clone()
            else:
                self._mean[name].lerp_(master, 2 / (count + 1))  # count / (1 + 2 + … + count)

    @torch.no_grad()
    def _take_mean(self) -> None:
        for name, mean in self._mean.items():
            self._masters[name].copy_(mean)
