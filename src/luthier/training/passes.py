"""Passes of packed rows through the base: which of them at once, on which cores, within which memory.

Threads that share a pass meet at each of its operations, some thousand times, and the quicker one waits. So passes are
computed in lanes side by side, each with its share of the cores and of the memory; what is too long for a lane has all
of both. Which passes a lane takes, and the order in which their gradients are added up, depend on the examples'
lengths alone, so that the same run gives the same weights.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import TypeVar

import torch
from torch import nn

from luthier.modeling import cores
from luthier.modeling.heap import trim_heap
from luthier.modeling.loader import BaseModel
from luthier.training import defaults
from luthier.training.batches import PackedBatch, in_lanes
from luthier.training.forward import last_hidden, recomputed_layers
from luthier.training.interrupt import Poll
from luthier.training.weights import TunedWeights

LANES = 2  # with more, passes would be short, or take more memory
_UNTRIMMED = 3 << 30  # bytes; a pass adds at most about as much again

R = TypeVar("R")
T = TypeVar("T")
Lane = list[list[int]]  # the indexes of the examples of each of its passes
Backward = Callable[[torch.Tensor], None]


class Passes:
    """Passes of packed rows through the base, within a budget of memory.

    Args:
        budget: tokens whose activations fit in memory at a time; a row of more has its layers computed twice.
        poll: asked before each pass.
    """

    def __init__(self, base: BaseModel, weights: TunedWeights, budget: int, poll: Poll) -> None:
        self.base, self.poll = base, poll
        self._weights, self._budget = weights, budget
        self._cores = cores.side_by_side()
        self._lanes = min(self._cores, LANES)
        # Lanes hold gradients of all masters apart, and would draw the numbers of a dropout in turn as it happens.
        self._learns_in_lanes = weights.small and not defaults.LORA_DROPOUT and not _drops(base.model)

    def learn(self, lengths: Sequence[int], compute: Callable[[list[int], Backward], R]) -> list[R]:
        """Add the gradients of examples to the masters.

        Args:
            lengths: tokens of each example.
            compute: takes the examples of a pass, by index, through `forward`, and calls what it is given with their
                loss. It may run beside another, in any thread.

        Returns:
            What `compute` gave for each pass.

        Raises:
            StopRequestedError: the owner wants the run to stop; the gradients are then of no use.
        """
        masters = list(self._weights.masters.values())

        def lane(passes: Lane) -> tuple[list[R], list[torch.Tensor]]:
            sums: list[torch.Tensor] = []

            def backward(loss: torch.Tensor) -> None:
                gradients = torch.autograd.grad(loss, masters, materialize_grads=True)
                sums[:] = map(torch.Tensor.add_, sums, gradients) if sums else gradients

            return [compute(part, backward) for part in passes], sums

        alone, lanes = in_lanes(lengths, self._budget, self._lanes if self._learns_in_lanes else 1)
        results = [self._alone(lengths, part, lambda part: compute(part, torch.Tensor.backward)) for part in alone]
        for found, sums in self._side_by_side(lanes, lane):
            results += found
            for master, gradient in zip(masters, sums, strict=True):
                if master.grad is None:
                    master.grad = torch.zeros_like(master)  # laid out as the fused optimizer takes it for granted
                master.grad += gradient
        return results

    @torch.no_grad()
    def look(self, lengths: Sequence[int], compute: Callable[[list[int]], R]) -> list[R]:
        """As `learn`, without gradients."""

        @torch.no_grad()
        def lane(passes: Lane) -> list[R]:
            return [compute(part) for part in passes]

        alone, lanes = in_lanes(lengths, self._budget, self._lanes)
        results = [self._alone(lengths, part, compute) for part in alone]
        return results + [result for found in self._side_by_side(lanes, lane) for result in found]

    @contextmanager
    def forward(self, batch: PackedBatch) -> Iterator[torch.Tensor]:
        """Outputs of the last layer where the batch predicts something, (N, hidden). Differentiate them within.

        Raises:
            StopRequestedError: the owner wants the run to stop.
        """
        self.poll()
        with recomputed_layers(self.base) if batch.input_ids.shape[1] > self._budget else nullcontext():
            hidden = last_hidden(self.base, batch.input_ids, batch.layout)  # (T, hidden)
            yield hidden.index_select(0, batch.positions.to(self.base.device))

    def _alone(self, lengths: Sequence[int], part: list[int], compute: Callable[[list[int]], R]) -> R:
        """A pass on all cores."""
        long = sum(lengths[i] for i in part) > self._budget
        trim_heap(above=0 if long else _UNTRIMMED)  # a long row's blocks fit into no hole
        return compute(part)

    def _side_by_side(self, lanes: list[Lane], lane: Callable[[Lane], T]) -> list[T]:
        if not lanes:
            return []
        trim_heap(above=_UNTRIMMED)
        with ThreadPoolExecutor(len(lanes), "lane", cores.take, (self._cores // len(lanes),)) as threads:
            return list(threads.map(lane, lanes))


def _drops(model: nn.Module) -> bool:
    return any(isinstance(module, nn.Dropout) and module.p > 0 for module in model.modules())
