"""Passes side by side: the same gradient as one after another, and the same weights each time."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from training_helpers import BINARY, PLAIN, Trainer, yes_or_no

from luthier.domain.hyperparameters import Method
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
    monkeypatch.setattr(cores, "side_by_side", lambda: 4)
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


@pytest.mark.parametrize("why", ["weights", "adapter", "model"])
def test_nothing_is_learnt_in_lanes_that_hold_too_much_or_draw_numbers(
    tiny_base: Path, taken: list[int], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if why == "adapter":
        monkeypatch.setattr(defaults, "LORA_DROPOUT", 0.1)
    passes, weights = make(tiny_base, **({"method": Method.FULL, "lora_rank": 0} if why == "weights" else {}))
    if why == "model":
        passes.base.model.add_module("drop", nn.Dropout(0.1))
        passes = Passes(passes.base, weights, 200, passes.poll)
    threads = passes.learn([60, 70, 40, 80], lambda _part, _backward: threading.get_ident())
    assert set(threads) == {threading.get_ident()}
    assert taken == []


def test_a_stop_in_a_lane_is_a_stop(tiny_base: Path, taken: list[int]) -> None:
    def compute(part: list[int], _backward: Backward) -> None:
        if part == [3]:
            raise StopRequestedError

    passes, weights = make(tiny_base)
    with pytest.raises(StopRequestedError):
        passes.learn([60, 70, 40, 80], compute)
    assert taken
    assert all(master.grad is None for master in weights.masters.values())


def test_a_run_in_lanes_gives_the_same_weights_each_time_and_learns_as_one_without(
    trainer: Trainer, taken: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = yes_or_no(16), yes_or_no(6, seed=1)
    first, second = (trainer(*data, BINARY, name=name) for name in ("first", "second"))
    assert taken
    assert first.rows == second.rows
    assert first.folder is not None
    assert second.folder is not None
    name = "adapter_model.safetensors"
    assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes()
    monkeypatch.setattr("luthier.training.passes.LANES", 1)
    alone = trainer(*data, BINARY, name="alone")
    for ours, theirs in zip(first.rows, alone.rows, strict=True):
        assert ours.training_loss == pytest.approx(theirs.training_loss, rel=1e-4)
    assert first.rows[-1].validation_loss == pytest.approx(alone.rows[-1].validation_loss, rel=1e-3)
    assert first.rows[-1].classification == alone.rows[-1].classification
