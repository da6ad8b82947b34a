"""The optimizer: AdamW on float32 masters, and its learning rate over the run."""

import math
from collections.abc import Callable, Mapping

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
    """

    def __init__(self, masters: Mapping[str, nn.Parameter], learning_rate: float, n_steps: int) -> None:
        self._masters = dict(masters)
        self._learning_rate = learning_rate
        self._n_steps = n_steps
        self._adam = torch.optim.AdamW(
            self._masters.values(), lr=0.0, betas=defaults.BETAS, weight_decay=defaults.WEIGHT_DECAY, fused=True
        )

    def step(self, step: int) -> float:
        """Change the masters by their gradients and drop the gradients.

        Args:
            step: its number, from 0.

        Returns:
            The norm of all gradients together, before they were clipped.
        """
        for master in self._masters.values():
            if master.grad is None:  # no example of the step came to it
                master.grad = torch.zeros_like(master)
        norm = nn.utils.clip_grad_norm_(self._masters.values(), defaults.MAX_GRAD_NORM)
        factor = learning_rate_factor(step, self._n_steps, defaults.WARMUP_SHARE, defaults.DECAY)
        self._adam.param_groups[0]["lr"] = self._learning_rate * factor
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        return float(norm)

    def state(self) -> dict[str, torch.Tensor]:
        """All that another run needs to go on from here, but for the masters: a flat dict of tensors."""
        state: dict[str, torch.Tensor] = {}
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
