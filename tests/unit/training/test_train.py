"""The loop on a tiny base: the gradient, the rows, and runs that are cut short."""

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy
from training_helpers import BINARY, PLAIN, Trainer, another_family, example, kept_gradients, stop_after, yes_or_no
from transformers import AutoModelForCausalLM

from luthier.datasets.encode import EncodedExample
from luthier.domain.hyperparameters import Method
from luthier.errors import DataError, TrainingError
from luthier.modeling import cores
from luthier.modeling.loader import load_base
from luthier.modeling.lora import PEFT_CONFIG, PEFT_WEIGHTS
from luthier.testing import make_tiny_base
from luthier.training import defaults
from luthier.training.loop import train
from luthier.training.objective import Measured
from luthier.training.progress import CheckpointSaved, EpochDone, StartedAgain, StepDone, TrainingResult, columns
from luthier.training.supervised import Supervised
from luthier.training.weights import FullWeights

FULL = replace(PLAIN, method=Method.FULL, lora_rank=0)


def weights_of(result: TrainingResult) -> dict[str, torch.Tensor]:
    assert result.folder is not None
    name = next(result.folder.glob("*.safetensors"))
    return load_file(name)


def same(first: TrainingResult, second: TrainingResult) -> bool:
    ours, theirs = weights_of(first), weights_of(second)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("prompt_weight", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("budget", [10, 60, 10_000])
def test_loss_and_gradient_are_those_of_one_unsplit_float64_batch(
    trainer: Trainer, prompt_weight: float, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = yes_or_no(7)
    gradients = kept_gradients(monkeypatch)
    hp = replace(FULL, batch_size=7, n_epochs=1, prompt_loss_weight=prompt_weight)
    row = trainer(examples, hp=hp, micro_batch_tokens=budget).rows[0]

    model = AutoModelForCausalLM.from_pretrained(trainer.base, dtype=torch.float64)
    longest = max(len(e.input_ids) for e in examples)
    ids = torch.tensor([e.input_ids + (0,) * (longest - len(e.input_ids)) for e in examples])  # (B, T)
    weights = torch.tensor(
        [
            [float(m) or prompt_weight for m in e.completion_mask[1:]] + [0.0] * (longest - len(e.input_ids))
            for e in examples
        ],
        dtype=torch.float64,
    )  # (B, T - 1)
    losses = cross_entropy(model(ids).logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
    loss = (losses * weights).sum() / weights.sum()
    loss.backward()
    assert row.training_loss == pytest.approx(loss.item(), rel=1e-6)
    exact = {name: weight.grad for name, weight in model.named_parameters() if name in gradients[0]}
    assert len(exact) == len(gradients[0]) > 10
    for name, gradient in gradients[0].items():
        assert (gradient.double() - exact[name]).norm() <= 1e-5 * exact[name].norm(), name


def test_an_adapters_gradient_is_pefts(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = trainer(yes_or_no(12), name="parent").folder
    gradients = kept_gradients(monkeypatch)
    only = example("what is this? ->", " it")
    trainer([only], hp=replace(PLAIN, batch_size=1, n_epochs=1), parent=parent, name="child")

    plain = AutoModelForCausalLM.from_pretrained(trainer.base, dtype=torch.float64)
    model = PeftModel.from_pretrained(plain, parent, is_trainable=True, autocast_adapter_dtype=False).double()
    ids = torch.tensor([only.input_ids])
    weights = torch.tensor([1.0 if own else PLAIN.prompt_loss_weight for own in only.completion_mask[1:]])
    losses = cross_entropy(model(ids).logits[0, :-1], ids[0, 1:], reduction="none")
    ((losses * weights).sum() / weights.sum()).backward()
    exact = {
        name.replace(".default", ""): weight.grad
        for name, weight in model.named_parameters()
        if weight.grad is not None
    }
    assert exact.keys() == gradients[0].keys()
    for name, gradient in gradients[0].items():
        assert (gradient.double() - exact[name]).norm() <= 1e-4 * exact[name].norm(), name


@pytest.mark.parametrize("hp", [BINARY, replace(BINARY, method=Method.FULL, lora_rank=0)])
def test_it_learns_and_tells_what_it_does(trainer: Trainer, hp: object) -> None:
    result = trainer(yes_or_no(64), yes_or_no(40, seed=1), replace(hp, n_epochs=4))  # type: ignore[type-var]
    assert result.finished
    assert [row.step for row in result.rows] == list(range(1, 65))
    assert result.rows[-1].classification["accuracy"] > 0.9
    assert result.rows[-1].training_loss < result.rows[0].training_loss / 2
    evaluated = [row.step for row in result.rows if row.validation_loss is not None]
    assert evaluated == [row.step for row in result.rows if row.classification] == [16, 32, 48, 64]
    assert result.rows[-1].elapsed_examples == 4 * 64
    assert result.rows[-1].elapsed_tokens == result.trained_tokens == 4 * sum(len(e.input_ids) for e in yes_or_no(64))
    steps = [told for told in trainer.told if isinstance(told, StepDone)]
    assert [told.row for told in steps] == result.rows
    assert steps[0].seconds_left > steps[-1].seconds_left == 0
    assert [told.epoch for told in steps][::16] == [1, 2, 3, 4]


def test_an_epoch_is_told_after_its_checkpoint_is_on_the_disk(trainer: Trainer) -> None:
    result = trainer(yes_or_no(8))
    rest = [told for told in trainer.told if not isinstance(told, StepDone)]
    assert [type(told) for told in rest] == [CheckpointSaved, EpochDone] * 2
    assert [(model.epoch, model.step) for model in result.epochs] == [(1, 2), (2, 4)]
    assert all(any(model.folder.iterdir()) for model in result.epochs)
    assert result.folder == result.epochs[-1].folder


def test_columns_have_the_services_names_and_order(trainer: Trainer) -> None:
    rows = trainer(yes_or_no(8), yes_or_no(9), BINARY).rows
    assert ",".join(columns(rows)) == (
        "step,elapsed_tokens,elapsed_examples,training_loss,training_sequence_accuracy,training_token_accuracy,"
        "validation_loss,validation_sequence_accuracy,validation_token_accuracy,classification/accuracy,"
        "classification/precision,classification/recall,classification/auroc,classification/auprc,classification/f1.0"
    )
    assert list(rows[-1].record()) == columns(rows)
    assert rows[0].record()["validation_loss"] is None


@pytest.mark.parametrize("hp", [PLAIN, FULL])
def test_one_seed_gives_one_result_and_another_another(trainer: Trainer, hp: object) -> None:
    first = trainer(yes_or_no(12), hp=hp, name="a")  # type: ignore[arg-type]
    second = trainer(yes_or_no(12), hp=hp, name="b")  # type: ignore[arg-type]
    assert first.rows == second.rows
    assert same(first, second)
    other = trainer(yes_or_no(12), hp=replace(hp, seed=4), name="c")  # type: ignore[type-var]
    assert not same(first, other)


@pytest.mark.parametrize("method", [Method.LORA, Method.FULL])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_run_stopped_anywhere_ends_as_an_undisturbed_one(
    trainer: Trainer, method: Method, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "LORA_DROPOUT", 0.2)
    monkeypatch.setattr(defaults, "AVERAGED_FROM", 0)
    monkeypatch.setattr("luthier.training.interrupt._POLL_SECONDS", 0.0)
    hp = replace(BINARY, method=method, lora_rank=4 if method is Method.LORA else 0)
    data = yes_or_no(10), yes_or_no(6, seed=1)
    whole = trainer(*data, hp, name="whole", dtype=dtype)
    trainer.told.clear()
    for attempt in range(100):
        part = trainer(*data, hp, name="part", dtype=dtype, should_stop=stop_after(7 + 11 * attempt))
        if part.finished:
            break
        assert part.folder is None
    assert attempt > 2
    assert part.rows == whole.rows
    assert same(part, whole)


def ends_of(result: TrainingResult, averaged: list[int]) -> list[dict[str, torch.Tensor]]:
    return [load_file(result.epochs[epoch - 1].folder / "adapter_model.safetensors") for epoch in averaged]


@pytest.mark.parametrize(("n_epochs", "averaged"), [(1, [1]), (2, [1, 2]), (3, [2, 3]), (4, [2, 3, 4])])
def test_without_validation_the_result_is_a_mean_of_the_last_epochs_ends(
    trainer: Trainer, n_epochs: int, averaged: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "AVERAGED_FROM", 0)
    hp = replace(PLAIN, n_epochs=n_epochs)
    mean = weights_of(trainer(yes_or_no(16), hp=hp, name="mean"))
    monkeypatch.setattr(defaults, "AVERAGED_FROM", hp.n_epochs * 4)  # only the last step comes so late
    ends = ends_of(trainer(yes_or_no(16), hp=hp, name="last"), averaged)
    counts = range(1, len(ends) + 1)
    for name, weight in mean.items():
        expected = sum(count * end[name] for count, end in zip(counts, ends, strict=True)) / sum(counts)
        torch.testing.assert_close(weight, expected)


def test_without_validation_early_ends_are_not_averaged(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    hp = replace(PLAIN, n_epochs=3)
    made = trainer(yes_or_no(16), hp=hp, name="few steps")
    assert len(made.rows) < defaults.AVERAGED_FROM
    monkeypatch.setattr(defaults, "AVERAGED_FROM", hp.n_epochs * 4)  # only the last step comes so late
    assert same(made, trainer(yes_or_no(16), hp=hp, name="last"))
    monkeypatch.setattr(defaults, "AVERAGED_FROM", 0)
    assert not same(made, trainer(yes_or_no(16), hp=hp, name="mean"))


@pytest.mark.parametrize(("of_the_mean", "better"), [(0.3, "mean"), (0.5, "last")])
def test_with_validation_the_result_is_the_better_of_that_mean_and_the_last_end(
    trainer: Trainer, of_the_mean: float, better: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([0.9, 0.6, 0.4, of_the_mean])  # of three ends and the mean

    def evaluate(self: Supervised, examples: Sequence[EncodedExample]) -> Measured:
        return replace(evaluated(self, examples), loss=next(losses))

    evaluated = Supervised.evaluate
    monkeypatch.setattr(Supervised, "evaluate", evaluate)
    hp = replace(PLAIN, n_epochs=3)
    made = trainer(yes_or_no(16), yes_or_no(6, seed=1), hp=hp, name="chosen")
    assert made.rows[-1].validation_loss == min(0.4, of_the_mean)
    monkeypatch.setattr(defaults, "AVERAGED_FROM", hp.n_epochs * 4)  # only the last step comes so late
    second, third = ends_of(trainer(yes_or_no(16), hp=hp, name="last"), [2, 3])
    for name, weight in weights_of(made).items():
        expected = third[name] if better == "last" else (second[name] + third[name]) / 2
        torch.testing.assert_close(weight, expected)


def test_a_killed_run_goes_on_from_its_last_checkpoint(trainer: Trainer) -> None:
    class KilledError(Exception):
        pass

    def die(steps: int) -> Callable[[object], None]:
        def emit(told: object) -> None:
            trainer.told.append(told)  # type: ignore[arg-type]
            if isinstance(told, StepDone) and told.row.step == steps:
                raise KilledError

        return emit

    hp = replace(PLAIN, n_epochs=3)
    whole = trainer(yes_or_no(16), hp=hp, name="whole")
    trainer.told.clear()
    with pytest.raises(KilledError):
        train(
            load_base(trainer.base, torch.float32),
            yes_or_no(16),
            [],
            hp,
            run_dir=trainer.folder / "part",
            base_rate=1e-2,
            emit=die(10),
            should_stop=lambda: False,
            micro_batch_tokens=64,
            checkpoint_seconds=1e9,
        )
    first = trainer.told.copy()
    trainer.told.clear()
    part = trainer(yes_or_no(16), hp=hp, name="part")
    assert [told.epoch for told in first if isinstance(told, EpochDone)] == [1, 2]
    assert [told.epoch for told in trainer.told if isinstance(told, EpochDone)] == [1, 2, 3]
    assert [told.row.step for told in trainer.told if isinstance(told, StepDone)] == [9, 10, 11, 12]
    assert part.rows == whole.rows
    assert same(part, whole)
    again = trainer(yes_or_no(16), hp=hp, name="part")  # a finished run has nothing left to do
    assert again.rows == whole.rows
    assert again.finished


def test_checkpoints_come_by_the_clock_too(trainer: Trainer) -> None:
    trainer(yes_or_no(16), checkpoint_seconds=0)
    assert [told.step for told in trainer.told if isinstance(told, CheckpointSaved)] == list(range(1, 9))


def test_a_stop_is_noticed_within_a_micro_batch(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.training.interrupt._POLL_SECONDS", 0.0)
    polls = itertools.count()

    def never() -> bool:
        next(polls)
        return False

    trainer([example("only one ->", " example")], hp=replace(PLAIN, n_epochs=1), should_stop=never)
    assert next(polls) >= 1 + 2 * 2 - 1  # before the pass, before each layer and, but for the first, behind each


def test_the_split_into_micro_batches_does_not_matter(trainer: Trainer) -> None:
    results = [trainer(yes_or_no(8), name=str(budget), micro_batch_tokens=budget) for budget in (1, 50, 10_000)]
    losses = [[row.training_loss for row in result.rows] for result in results]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0] == pytest.approx(losses[2], rel=1e-4)


def test_a_prompt_weight_shows_in_the_loss(trainer: Trainer) -> None:
    losses = {
        trainer(yes_or_no(8), hp=replace(PLAIN, prompt_loss_weight=weight), name=str(weight)).rows[0].training_loss
        for weight in (0.0, 0.01, 1.0)
    }
    assert len(losses) == 3


def test_training_goes_on_from_an_adapter(trainer: Trainer) -> None:
    data: tuple[list[EncodedExample], list[EncodedExample]] = yes_or_no(64), yes_or_no(30, seed=1)
    parent = trainer(*data, replace(PLAIN, n_epochs=4), name="parent")
    still = replace(PLAIN, n_epochs=1, learning_rate_multiplier=0.0)
    for name, hp in (("lora", still), ("full", replace(still, method=Method.FULL, lora_rank=0))):
        child = trainer(*data, hp, name=name, parent=parent.folder)
        assert child.rows[-1].validation_loss == pytest.approx(parent.rows[-1].validation_loss, rel=1e-4)
    assert child.folder is not None  # the whole weights, whose embedding has parted from the head
    again = Trainer(child.folder, trainer.folder)(*data, still, name="again")
    assert again.rows[-1].validation_loss == pytest.approx(parent.rows[-1].validation_loss, rel=1e-4)
    with pytest.raises(TrainingError, match="rank 4, the run asks for 8"):
        trainer(*data, replace(PLAIN, lora_rank=8), name="other", parent=parent.folder)
    with pytest.raises(TrainingError, match="cannot be loaded"):
        trainer(*data, name="nothing", parent=trainer.folder)


def test_an_adapter_goes_on_with_the_layers_it_has(trainer: Trainer) -> None:
    parent = trainer(yes_or_no(16), name="parent").folder
    assert parent is not None
    weights = {key: value for key, value in load_file(parent / PEFT_WEIGHTS).items() if "lora_embedding" not in key}
    save_file(weights, parent / PEFT_WEIGHTS)
    card = json.loads((parent / PEFT_CONFIG).read_text())
    card["target_modules"].remove("embed_tokens")
    (parent / PEFT_CONFIG).write_text(json.dumps(card))
    child = trainer(yes_or_no(16), name="child", parent=parent).folder
    assert child is not None
    learnt = load_file(child / PEFT_WEIGHTS)
    assert learnt.keys() == weights.keys()
    assert any(not torch.equal(learnt[key], weights[key]) for key in weights)
    assert json.loads((child / PEFT_CONFIG).read_text())["target_modules"] == card["target_modules"]


def test_a_damaged_adapter_to_start_from_is_told_of(trainer: Trainer) -> None:
    parent = trainer(yes_or_no(8), name="parent").folder
    assert parent is not None
    whole = (parent / PEFT_WEIGHTS).read_bytes()
    (parent / PEFT_WEIGHTS).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TrainingError, match="cannot be loaded"):
        trainer(yes_or_no(8), name="child", parent=parent)


def test_whole_weights_start_where_a_narrow_bases_adapter_stood(trainer: Trainer) -> None:
    parent = trainer(yes_or_no(16), name="parent", dtype=torch.bfloat16).folder
    assert parent is not None
    base = load_base(trainer.base, torch.bfloat16)
    masters = FullWeights(base, parent).masters
    name, path = "model.layers.0.mlp.up_proj.weight", "base_model.model.model.layers.0.mlp.up_proj.lora_{}.weight"
    low = {key: value.float() for key, value in load_file(parent / PEFT_WEIGHTS).items()}
    before = load_base(trainer.base, torch.bfloat16).model.get_parameter(name).float()
    exact = before + defaults.LORA_SCALE * low[path.format("B")] @ low[path.format("A")]
    torch.testing.assert_close(masters[name], exact)
    torch.testing.assert_close(base.model.get_parameter(name), exact.bfloat16(), rtol=0, atol=0)


@pytest.mark.parametrize("method", [Method.LORA, Method.FULL])
@pytest.mark.parametrize("cores_there", [1, 2])
@pytest.mark.parametrize("kind", ["gpt_neox", "gemma3, which sees"])
def test_other_families_learn_and_go_on_where_they_were(
    trainer: Trainer, kind: str, cores_there: int, method: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores, "available", lambda: cores_there)
    monkeypatch.setattr("luthier.training.interrupt._POLL_SECONDS", 0.0)
    trainer.base = another_family(kind, trainer.base, trainer.folder / "base")
    hp = replace(PLAIN, method=method, lora_rank=4 if method is Method.LORA else 0)
    undisturbed = trainer(yes_or_no(16), hp=hp, name="whole")
    trainer.told.clear()
    stopped = trainer(yes_or_no(16), hp=hp, name="part", should_stop=lambda: len(trainer.told) >= 3)
    assert 3 <= len(stopped.rows) < len(undisturbed.rows)
    resumed = trainer(yes_or_no(16), hp=hp, name="part")
    assert same(resumed, undisturbed)
    if method is Method.LORA:
        learnt = load_file(undisturbed.folder / PEFT_WEIGHTS)  # type: ignore[operator]
        assert not any("vision" in name for name in learnt)
        last = "dense_4h_to_h" if kind == "gpt_neox" else "down_proj"
        assert any(f"layers.1.mlp.{last}.lora_B" in name for name in learnt)


@pytest.mark.parametrize("method", [Method.LORA, Method.FULL])
def test_a_family_that_cannot_be_trained_is_refused_by_name(trainer: Trainer, method: Method) -> None:
    trainer.base = another_family("gpt2", trainer.base, trainer.folder / "base")
    with pytest.raises(TrainingError, match="GPT2LMHeadModel"):
        trainer(yes_or_no(8), hp=replace(PLAIN, method=method))


def test_whole_weights_are_a_base_of_their_own(trainer: Trainer) -> None:
    data = yes_or_no(32), yes_or_no(30, seed=1)
    result = trainer(*data, FULL, dtype=torch.bfloat16)
    assert result.folder is not None
    tuned = load_base(result.folder, torch.bfloat16)
    before = load_base(trainer.base, torch.bfloat16)
    changed = [
        not torch.equal(ours, theirs)
        for ours, theirs in zip(tuned.model.parameters(), before.model.parameters(), strict=True)
    ]
    assert sum(changed) > len(changed) / 2
    still = replace(PLAIN, n_epochs=1, learning_rate_multiplier=0.0)
    again = Trainer(result.folder, trainer.folder)(*data, still, name="again", dtype=torch.bfloat16)
    assert again.rows[-1].validation_loss == pytest.approx(result.rows[-1].validation_loss, rel=1e-6)


def test_a_diverged_run_says_so(trainer: Trainer) -> None:
    with pytest.raises(TrainingError, match="diverged") as caught:
        trainer(yes_or_no(16), hp=replace(PLAIN, n_epochs=50), base_rate=1e30)
    assert caught.value.param == "learning_rate_multiplier"


def test_what_cannot_be_learnt_is_refused(trainer: Trainer) -> None:
    with pytest.raises(DataError, match="no examples"):
        trainer([])
    with pytest.raises(DataError, match="Example 2 of the training file is a single token"):
        trainer([example("a", "b"), example("", "b")])


@pytest.mark.parametrize("change", ["base rate", "rules", "weights"])
def test_a_run_with_other_values_starts_again_and_says_so(
    trainer: Trainer, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_steps = len(trainer(yes_or_no(8)).rows)
    trainer.told.clear()
    if change == "rules":
        monkeypatch.setattr(defaults, "RULES", 0)
    if change == "weights":
        trainer.base = make_tiny_base(trainer.folder / "others" / trainer.base.name, seed=1)
    options = {"base_rate": 2e-2} if change == "base rate" else {}
    again = trainer(yes_or_no(8), **options)
    assert trainer.told[0] == StartedAgain(n_steps)
    assert [row.step for row in again.rows] == list(range(1, n_steps + 1))
    assert again.rows == trainer(yes_or_no(8), name="fresh", **options).rows
