"""Passes of packed rows through the base: which of them at once, on which cores, within which memory.

Threads that share a pass meet at each of its operations, some thousand times, and the quicker one waits. So passes are
computed in lanes side by side, each with its share of the cores and of the budget; what is too long for a lane has all
of both. Which passes a lane takes, and the order in which their gradients are added up, follow from the examples'
lengths, the budget and the number of lanes, so that the same run gives the same weights.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import TypeVar

import torch

from luthier.modeling import cores
from luthier.modeling.attention import PackedCausal
from luthier.modeling.heap import trim_heap
from luthier.modeling.loader import BaseModel
from luthier.training.batches import PackedBatch, in_lanes
from luthier.training.forward import last_hidden, recomputed_layers
from luthier.training.interrupt import Poll, StopRequestedError
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
        self._cores = cores.available()
        over = self._cores % LANES  # cores that lanes would leave idle
        self._lanes = 1 if self._cores < LANES or over > self._cores // 6 or _has_state(base) else LANES
        # Lanes hold gradients of all masters apart, and would draw the numbers of a dropout in turn as it happens.
        self._learns_in_lanes = self._lanes > 1 and weights.small and not _draws(base)

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

        def lane(passes: Iterator[list[int]]) -> tuple[list[R], list[torch.Tensor]]:
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
        def lane(passes: Iterator[list[int]]) -> list[R]:
            results = []
            for part in passes:
                trim_heap(above=_UNTRIMMED)
                results.append(compute(part))
            return results

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

    def _side_by_side(self, lanes: list[Lane], compute: Callable[[Iterator[list[int]]], T]) -> list[T]:
        """What `compute` makes of each lane's passes. Where one fails the others leave off before their next pass."""
        failed = threading.Event()

        def lane(passes: Lane) -> T:
            cores.take(self._cores // len(lanes))
            try:
                return compute(part for part in passes if not failed.is_set())
            except BaseException:
                failed.set()
                raise

        if not lanes:
            return []
        trim_heap(above=_UNTRIMMED)
        with ThreadPoolExecutor(len(lanes), "lane") as threads:
            running = [threads.submit(lane, passes) for passes in lanes]
        errors = [error for future in running if (error := future.exception())]
        for error in sorted(errors, key=lambda error: isinstance(error, StopRequestedError)):
            raise error
        return [future.result() for future in running]


def _draws(base: BaseModel) -> bool:
    """Whether a pass of training draws random numbers."""
    training = base.model.training
    base.model.train()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        before = torch.get_rng_state()
        last_hidden(base, torch.zeros(1, 2, dtype=torch.long), PackedCausal([2]))
        drawn = not torch.equal(before, torch.get_rng_state())
    base.model.train(training)
    return drawn


def _has_state(base: BaseModel) -> bool:
    """Whether a pass changes the model, as some rotary embeddings do by the length of what they see."""
    types = [str(getattr(module, "rope_type", "")) for module in base.model.modules()]
    return any("dynamic" in kind or "longrope" in kind for kind in types)
