"""Automatic choices, and what a user sets."""

import pytest

from luthier.domain.hyperparameters import Hyperparameters, Method
from luthier.errors import InvalidRequestError
from luthier.training import defaults
from luthier.training.defaults import automatic_batch_size, automatic_multiplier, resolve


def test_what_is_set_is_used_exactly() -> None:
    asked = Hyperparameters(
        n_epochs=20,
        batch_size=3,
        learning_rate_multiplier=0.3,
        prompt_loss_weight=0.0,
        compute_classification_metrics=True,
        classification_n_classes=7,
        classification_positive_class=" yes",
        classification_betas=(0.5, 2.0),
        lora_rank=5,
        seed=0,
    )
    resolved = resolve(asked, n_examples=1_000_000)
    assert {name: getattr(resolved, name) for name in vars(asked)} == vars(asked)


def test_all_else_is_chosen() -> None:
    resolved = resolve(Hyperparameters(), n_examples=1000)
    assert None not in (resolved.n_epochs, resolved.batch_size, resolved.learning_rate_multiplier, resolved.seed)
    assert resolved.prompt_loss_weight == defaults.PROMPT_LOSS_WEIGHT
    assert resolved.lora_rank == defaults.LORA_RANK


def test_the_batch_grows_with_the_training_set_between_its_bounds() -> None:
    sizes = [automatic_batch_size(n) for n in (1, 100, 1000, 10_000, 100_000, 10_000_000)]
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (1, defaults.MAX_BATCH_SIZE)


def test_the_multiplier_goes_by_the_batch_that_is_used() -> None:
    assert [automatic_multiplier(least) for least, _ in defaults.MULTIPLIERS] == [m for _, m in defaults.MULTIPLIERS]
    resolved = resolve(Hyperparameters(batch_size=256), n_examples=10)
    assert resolved.learning_rate_multiplier == automatic_multiplier(256)


def test_an_adapter_goes_on_with_its_own_rank() -> None:
    assert resolve(Hyperparameters(), n_examples=10, parent_rank=3).lora_rank == 3
    assert resolve(Hyperparameters(lora_rank=3), n_examples=10, parent_rank=3).lora_rank == 3
    with pytest.raises(InvalidRequestError, match="rank 3") as caught:
        resolve(Hyperparameters(lora_rank=8), n_examples=10, parent_rank=3)
    assert caught.value.param == "lora_rank"


def test_whole_weights_have_no_rank() -> None:
    assert resolve(Hyperparameters(method=Method.FULL), n_examples=10, parent_rank=3).lora_rank == 0
