"""The mean of weights that a run passed through."""

from collections.abc import Mapping

import torch
from torch import nn

_PREFIX, _TOTAL = "mean.", "total of the mean"


class Mean:
    """Σ wₖ·θₖ / Σ wₖ over what the masters θ were when each was added.

    Args:
        masters: the weights that learn, float32.
    """

    def __init__(self, masters: Mapping[str, nn.Parameter]) -> None:
        self._masters = dict(masters)
        self._mean: dict[str, torch.Tensor] = {}
        self._total = 0.0

    @torch.no_grad()
    def add(self, weight: float) -> None:
        """Count the masters as they are now, so much.

        Args:
            weight: above 0.
        """
        self._total += weight
        for name, master in self._masters.items():
            if name in self._mean:
                self._mean[name].lerp_(master, weight / self._total)
            else:
                self._mean[name] = master.detach().clone()

    @torch.no_grad()
    def swap(self) -> None:
        """Make the masters the mean, and keep what they were in its place: a second time undoes it."""
        for name, master in self._masters.items():
            before = master.detach().clone()
            master.copy_(self._mean[name])
            self._mean[name] = before

    def state(self) -> dict[str, torch.Tensor]:
        """All that another run needs to go on from here: a flat dict of tensors."""
        total = {_TOTAL: torch.tensor(self._total, dtype=torch.float64)}
        return total | {f"{_PREFIX}{name}": mean for name, mean in self._mean.items()}

    def load_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take up what `state` gave."""
        self._total = float(state[_TOTAL])
        for name, master in self._masters.items():
            if _PREFIX + name in state:
                self._mean[name] = state[_PREFIX + name].to(master.device, copy=True)
