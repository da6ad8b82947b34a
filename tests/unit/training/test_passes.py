"""Passes side by side: the same gradient as one after another, and the same weights each time."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import dropout
from training_helpers import BINARY, PLAIN, Trainer, pairs, stop_after, yes_or_no

from luthier.domain.hyperparameters import Method, Objective
from luthier.modeling import cores
from luthier.modeling.loader import load_base
from luthier.training import defaults
from luthier.training.interrupt import Poll, StopRequestedError
from luthier.training.passes import Backward, Passes
from luthier.training.weights import TunedWeights, tuned_weights


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of a machine with four cores: how many each lane was given."""
    taken: list[int] = []
    monkeypatch.setattr(cores, "available", lambda: 4)
    monkeypatch.setattr(cores, "take", taken.append)
    return taken


def make(folder: Path, *, budget: int = 200, **changes: object) -> tuple[Passes, TunedWeights]:
    base = load_base(folder, torch.float32)
    weights = tuned_weights(base, replace(PLAIN, **changes), None)  # type: ignore[arg-type]
    return Passes(base, weights, budget, Poll(lambda: False)), weights


def product(passes: Passes, part: list[int]) -> torch.Tensor:
    """Something that depends on all masters and on the part."""
    masters = passes._weights.masters.values()
    return torch.stack([master.sin().sum() for master in masters]).sum() * (1 + sum(part))


def test_gradients_are_added_up_and_results_come_in_order(tiny_base: Path, taken: list[int]) -> None:
    def compute(part: list[int], backward: Backward) -> tuple[list[int], int]:
        backward(product(passes, part))
        return part, threading.get_ident()

    passes, weights = make(tiny_base)
    found = passes.learn([150, 20, 60, 70, 40, 80], compute)  # a lane has 100 of the 200 tokens
    parts, threads = zip(*found, strict=True)
    assert list(parts) == [[0], [5], [4, 1], [3], [2]]
    assert [thread == threading.get_ident() for thread in threads] == [True, False, False, False, False]
    assert set(taken) == {2}
    factor = sum(1 + sum(part) for part in parts)
    for master in weights.masters.values():
        assert master.grad is not None
        torch.testing.assert_close(master.grad, master.detach().cos() * factor)


def test_without_gradients_too(tiny_base: Path, taken: list[int]) -> None:
    def compute(part: list[int]) -> list[int]:
        assert not product(passes, part).requires_grad
        return part

    passes, _ = make(tiny_base, method=Method.FULL, lora_rank=0)
    assert passes.look([150, 20, 60, 70, 40, 80], compute) == [[0], [5], [4, 1], [3], [2]]
    assert set(taken) == {2}


class Drops(nn.Module):
    """A layer that draws random numbers in training, without a module of PyTorch's that would say so."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        dropped: torch.Tensor = self.layer(dropout(x, 0.1, self.training))
        return dropped


@pytest.mark.parametrize("why", ["weights", "adapter", "model"])
def test_nothing_is_learnt_in_lanes_that_hold_too_much_or_draw_numbers(
    tiny_base: Path, taken: list[int], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if why == "adapter":
        monkeypatch.setattr(defaults, "LORA_DROPOUT", 0.1)
    passes, weights = make(tiny_base, **({"method": Method.FULL, "lora_rank": 0} if why == "weights" else {}))
    if why == "model":
        mlp = passes.base.model.get_decoder().layers[0].mlp  # type: ignore[operator,union-attr]
        mlp.gate_proj = Drops(mlp.gate_proj)
        passes = Passes(passes.base, weights, 200, passes.poll)
    threads = passes.learn([60, 70, 40, 80], lambda _part, _backward: threading.get_ident())
    assert set(threads) == {threading.get_ident()}
    assert taken == []


@pytest.mark.parametrize(("count", "lanes"), [(1, 1), (2, 2), (3, 1), (5, 1), (6, 2), (7, 2), (64, 2)])
def test_lanes_leave_few_cores_idle(
    tiny_base: Path, taken: list[int], count: int, lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores, "available", lambda: count)
    passes, _ = make(tiny_base)
    passes.look([60, 70, 40, 80], lambda part: part)
    assert set(taken) == ({count // 2} if lanes == 2 else set())


def test_no_lanes_where_a_pass_changes_the_model(tiny_base: Path, taken: list[int]) -> None:
    passes, weights = make(tiny_base)
    passes.base.model.get_decoder().rotary_emb.rope_type = "longrope"  # type: ignore[operator,union-attr]
    passes = Passes(passes.base, weights, 200, passes.poll)
    passes.look([60, 70, 40, 80], lambda part: part)
    assert taken == []


@pytest.mark.parametrize("stopped", [[3], [1]])  # the first pass of either lane
def test_a_stop_in_a_lane_is_a_stop(tiny_base: Path, taken: list[int], stopped: list[int]) -> None:
    def compute(part: list[int], backward: Backward) -> None:
        if part == stopped:
            raise StopRequestedError
        backward(product(passes, part))

    passes, weights = make(tiny_base)
    with pytest.raises(StopRequestedError):
        passes.learn([60, 70, 40, 80], compute)
    assert taken
    assert all(master.grad is None for master in weights.masters.values())


def test_a_failure_ends_the_other_lane_too_and_is_told_before_a_stop(tiny_base: Path, taken: list[int]) -> None:
    failed, seen = threading.Event(), []

    def compute(part: list[int]) -> None:
        seen.append(part)
        if part == [1]:
            failed.set()
            raise MemoryError("no room")
        assert failed.wait(10)
        raise StopRequestedError

    passes, _ = make(tiny_base)
    with pytest.raises(MemoryError, match="no room"):
        passes.look([90, 90, 90, 90, 90, 90], compute)
    assert sorted(seen) == [[0], [1]]
    assert taken


@pytest.mark.parametrize("objective", [Objective.SUPERVISED, Objective.DPO])
def test_a_run_in_lanes_learns_as_one_without_and_ends_the_same_when_it_is_stopped(
    trainer: Trainer, taken: list[int], objective: Objective, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.training.interrupt._POLL_SECONDS", 0.0)
    if objective is Objective.DPO:
        hp, data = replace(PLAIN, objective=objective, beta=0.3), (pairs(16), pairs(6, seed=1))
    else:
        hp, data = BINARY, (yes_or_no(16), yes_or_no(6, seed=1))
    whole = trainer(*data, hp, name="whole")
    assert len(taken) > len(whole.rows)  # in training too, not in validation alone
    for attempt in range(100):
        part = trainer(*data, hp, name="part", should_stop=stop_after(7 + 40 * attempt))
        if part.finished:
            break
    assert attempt > 2
    assert part.rows == whole.rows
    assert part.folder is not None
    assert whole.folder is not None
    name = "adapter_model.safetensors"
    assert (part.folder / name).read_bytes() == (whole.folder / name).read_bytes()
    monkeypatch.setattr("luthier.training.passes.LANES", 1)
    alone = trainer(*data, hp, name="alone")
    for ours, theirs in zip(whole.rows, alone.rows, strict=True):
        assert ours.training_loss == pytest.approx(theirs.training_loss, rel=1e-4)
    assert whole.rows[-1].validation_loss == pytest.approx(alone.rows[-1].validation_loss, rel=1e-3)
    assert whole.rows[-1].classification == alone.rows[-1].classification
