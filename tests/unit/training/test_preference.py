"""Direct preference optimization on a tiny base, against the formula computed with transformers."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch.nn.functional import logsigmoid
from training_helpers import PLAIN, Trainer, kept_gradients, pairs, yes_or_no
from transformers import AutoModelForCausalLM

from luthier.datasets.encode import EncodedExample, EncodedPair
from luthier.domain.hyperparameters import Method, Objective
from luthier.training.preference import Preference
from luthier.training.progress import StepDone, columns

DPO = replace(PLAIN, objective=Objective.DPO, beta=0.3, prompt_loss_weight=0.0)
FULL = replace(DPO, method=Method.FULL, lora_rank=0)


def log_probability(model: torch.nn.Module, one: EncodedExample) -> torch.Tensor:
    ids = torch.tensor([one.input_ids])
    every = model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
    return every[torch.tensor(one.completion_mask[1:])].sum()


def exact_loss(
    model: torch.nn.Module, reference: torch.nn.Module, data: list[EncodedPair], beta: float
) -> torch.Tensor:
    losses = []
    for pair in data:
        good, bad = (log_probability(model, side) for side in (pair.preferred, pair.other))
        with torch.no_grad():
            good_before, bad_before = (log_probability(reference, side) for side in (pair.preferred, pair.other))
        losses.append(-logsigmoid(beta * ((good - good_before) - (bad - bad_before))))
    return torch.stack(losses).mean()


def plain_base(trainer: Trainer) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(trainer.base, dtype=torch.float64)


@pytest.mark.parametrize("budget", [10, 10_000])
def test_loss_and_gradient_of_the_first_step(trainer: Trainer, budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    gradients = kept_gradients(monkeypatch)
    data = pairs(5)
    row = trainer(data, hp=replace(FULL, batch_size=5, n_epochs=1), micro_batch_tokens=budget).rows[0]
    model = plain_base(trainer)
    loss = exact_loss(model, plain_base(trainer), data, 0.3)
    loss.backward()
    assert row.training_loss == pytest.approx(loss.item(), rel=1e-6)
    assert row.training_loss == pytest.approx(0.6931, abs=1e-4)
    assert row.rewards["training_reward_margin"] == pytest.approx(0, abs=1e-5)
    exact = {name: weight.grad for name, weight in model.named_parameters() if name in gradients[0]}
    assert len(exact) == len(gradients[0]) > 10
    for name, gradient in gradients[0].items():
        assert (gradient.double() - exact[name]).norm() <= 1e-5 * exact[name].norm(), name


def test_after_some_steps_an_adapter_is_measured_against_its_parent(trainer: Trainer) -> None:
    parent = trainer(yes_or_no(12), name="parent").folder
    data, valid = pairs(8), pairs(6, seed=1)
    result = trainer(data, valid, DPO, parent=parent, name="child")
    assert parent is not None
    assert result.folder is not None
    reference = PeftModel.from_pretrained(plain_base(trainer), parent).double()
    model = PeftModel.from_pretrained(plain_base(trainer), result.folder).double()
    row = result.rows[-1]
    with torch.no_grad():
        assert row.validation_loss == pytest.approx(exact_loss(model, reference, valid, 0.3).item(), rel=1e-4)
        rewards = [
            [0.3 * (log_probability(model, side) - log_probability(reference, side)).item() for side in sides]
            for sides in ((pair.preferred, pair.other) for pair in valid)
        ]
    good, bad = zip(*rewards, strict=True)
    assert row.rewards["validation_preferred_reward"] == pytest.approx(sum(good) / 6, rel=1e-3)
    assert row.rewards["validation_non_preferred_reward"] == pytest.approx(sum(bad) / 6, rel=1e-3)
    assert row.rewards["validation_reward_margin"] == pytest.approx((sum(good) - sum(bad)) / 6, rel=1e-3)
    assert row.rewards["validation_reward_accuracy"] == sum(a > b for a, b in rewards) / 6


@pytest.mark.parametrize("hp", [DPO, FULL])
def test_it_learns_what_is_preferred(trainer: Trainer, hp: object) -> None:
    result = trainer(pairs(32), pairs(16, seed=1), replace(hp, n_epochs=4))  # type: ignore[type-var]
    last = result.rows[-1]
    assert last.training_loss < 0.3
    assert last.rewards["validation_reward_accuracy"] > 0.9
    assert last.rewards["validation_reward_margin"] > 1
    assert result.trained_tokens == 4 * sum(pair.n_tokens for pair in pairs(32))
    assert columns(result.rows)[9:] == [
        f"{part}_{name}"
        for part in ("training", "validation")
        for name in ("reward_accuracy", "reward_margin", "preferred_reward", "non_preferred_reward")
    ]
    assert last.training_sequence_accuracy is None
    assert 0 <= last.training_token_accuracy <= 1


def test_a_stopped_run_ends_as_an_undisturbed_one_and_computes_its_reference_once(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.training.interrupt._POLL_SECONDS", 0.0)
    computed = []
    compute = Preference._log_probabilities
    monkeypatch.setattr(
        Preference, "_log_probabilities", lambda self, them: computed.append(len(them)) or compute(self, them)
    )
    data = pairs(10), pairs(4, seed=1)
    whole = trainer(*data, DPO, name="whole")
    trainer.told.clear()

    def after_two_steps() -> bool:
        return sum(isinstance(told, StepDone) for told in trainer.told) == 2

    part = trainer(*data, DPO, name="part", should_stop=after_two_steps)
    assert not part.finished
    assert 0 < len(part.rows) < len(whole.rows)
    part = trainer(*data, DPO, name="part")
    assert computed == [14, 14]
    assert part.rows == whole.rows
    ours, theirs = (load_file(next(Path(str(result.folder)).glob("*.safetensors"))) for result in (part, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
