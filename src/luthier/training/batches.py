"""Which examples make a step, and how a step is cut into micro-batches that fit in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from luthier.datasets.encode import EncodedExample
from luthier.training.attention import PackedTraining

_TOGETHER = 1.25  # all cores take so much longer for a micro-batch than lanes side by side do


def epoch_order(n_examples: int, seed: int, epoch: int) -> list[int]:
    """The order in which an epoch (from 0) takes the examples: a permutation that depends on nothing else."""
    return [int(i) for i in np.random.default_rng((seed, epoch)).permutation(n_examples)]


def step_seed(seed: int, step: int) -> int:
    """Seed of the dropout of one step (from 0), so that a resumed run draws what an undisturbed one draws."""
    return int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0])


def micro_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Cut a batch into micro-batches of at most `budget` tokens, like lengths together, longest first.

    An example longer than the budget is a micro-batch by itself.

    Args:
        lengths: tokens of each example.
        budget: tokens of a micro-batch.

    Returns:
        Indexes into `lengths`; each appears once.
    """
    parts: list[list[int]] = []
    room = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if not parts or lengths[index] > room:
            parts.append([])
            room = budget
        parts[-1].append(index)
        room -= lengths[index]
    return parts


def in_lanes(lengths: Sequence[int], budget: int, lanes: int) -> tuple[list[list[int]], list[list[list[int]]]]:
    """Share a batch out among lanes that are computed side by side.

    Args:
        lengths: tokens of each example.
        budget: tokens of a micro-batch; of the micro-batches of all lanes together.
        lanes: how many there are.

    Returns:
        Micro-batches to be computed alone: examples too long for a lane, and long ones whose lane would have nothing
        beside it for most of the time. Then those of each lane; no lanes where all are alone.
    """
    if lanes == 1:
        return micro_batches(lengths, budget), []
    longest = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    too_long = sum(length > budget // lanes for length in lengths)
    plans = []
    for n in range(too_long, min(too_long + 2 * lanes, len(lengths)) + 1):
        shares, totals = _spread(lengths, longest[n:], lanes)
        plans.append((_TOGETHER / lanes * sum(lengths[i] for i in longest[:n]) + max(totals), n, shares))
    _, n, shares = min(plans)
    return _cut(lengths, longest[:n], budget), [_cut(lengths, share, budget // lanes) for share in shares if share]


def _spread(lengths: Sequence[int], longest: Sequence[int], lanes: int) -> tuple[list[list[int]], list[int]]:
    """Give each example, the longest first, to the lane that has the fewest tokens; these, and the tokens of each."""
    shares: list[list[int]] = [[] for _ in range(lanes)]
    totals = [0] * lanes
    for index in longest:
        lane = totals.index(min(totals))
        shares[lane].append(index)
        totals[lane] += lengths[index]
    return shares, totals


def _cut(lengths: Sequence[int], indexes: Sequence[int], budget: int) -> list[list[int]]:
    """Micro-batches of some of the examples."""
    return [[indexes[i] for i in part] for part in micro_batches([lengths[i] for i in indexes], budget)]


def loss_weights(example: EncodedExample, prompt_weight: float) -> list[float]:
    """Weight of each prediction of an example, (n - 1): the first token is predicted by nothing."""
    return [1.0 if completion else prompt_weight for completion in example.completion_mask[1:]]


@dataclass(frozen=True)
class PackedBatch:
    """Several examples laid end to end in one row, without their last tokens, which predict nothing.

    Only predictions that carry weight appear in `positions`, `targets`, `weights` and `completion`, all (N,).

    Args:
        input_ids: (1, T).
        lengths: tokens of each example in the row; they sum to T.
        positions: places in the row whose output is a prediction.
        targets: the token to predict at each of them.
        weights: its weight in the loss, float32.
        completion: whether the token belongs to a completion.
        counts: number of predictions of each example, for taking results apart again.
    """

    input_ids: torch.Tensor
    lengths: list[int]
    positions: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    completion: torch.Tensor
    counts: list[int]

    @cached_property
    def layout(self) -> PackedTraining:
        return PackedTraining(self.lengths)


def pack(examples: Sequence[EncodedExample], prompt_weight: float) -> PackedBatch:
    """Lay examples of at least two tokens end to end."""
    ids: list[int] = []
    kept: list[tuple[int, int, float, bool]] = []  # position, target, weight, belongs to a completion
    counts = []
    for example in examples:
        before = len(kept)
        kept += [
            (len(ids) + at, example.input_ids[at + 1], weight, example.completion_mask[at + 1])
            for at, weight in enumerate(loss_weights(example, prompt_weight))
            if weight > 0
        ]
        ids += example.input_ids[:-1]
        counts.append(len(kept) - before)
    positions, targets, weights, completion = zip(*kept, strict=True)
    return PackedBatch(
        torch.tensor([ids]),
        [len(example.input_ids) - 1 for example in examples],
        torch.tensor(positions),
        torch.tensor(targets),
        torch.tensor(weights, dtype=torch.float32),
        torch.tensor(completion),
        counts,
    )


def batches_of(order: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """The steps of an epoch: consecutive pieces of its order; the last one may be smaller."""
    for start in range(0, len(order), batch_size):
        yield list(order[start : start + batch_size])
