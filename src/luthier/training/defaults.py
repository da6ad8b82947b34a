"""What a run uses where its owner left the choice to us. Every automatic value stands in this file.

The experiments behind the values stand in `docs/log.md`.
"""

import math
from typing import TypeVar

from luthier.domain.hyperparameters import Hyperparameters, Method, Objective, ResolvedHyperparameters
from luthier.errors import InvalidRequestError

EPOCHS = ((1, 4), (200, 2))  # (from this many examples on, epochs), ascending
BATCH_SHARE = 0.03  # of the training set, examples
MAX_BATCH_SIZE = 8
MULTIPLIERS = ((1, 0.05), (4, 0.1), (32, 0.2))  # (from this batch size on, learning rate multiplier), ascending
DPO_SHARE = 0.1  # of the supervised multiplier; as published recipes have it, not an experiment of ours
PROMPT_LOSS_WEIGHT = 0.0
DPO_BETA = 0.1
LORA_RANK = 16
SEED = 0

LORA_SCALE = 2.0  # alpha / rank
LORA_DROPOUT = 0.0
WARMUP_SHARE = 0.1  # of all steps, linear from 0
DECAY = "linear"  # after the warm-up, to 0: a key of optim.DECAYS
WEIGHT_DECAY = 0.0
BETAS = (0.9, 0.999)
MAX_GRAD_NORM = 1.0
# The result is a mean of the weights at the ends of epochs: those in this last part of the run, and without validation
# only those after so many steps.
AVERAGED_SHARE = 0.5
AVERAGED_FROM = 100  # steps; before, too little may have been learnt
RULES = 3  # raised when the code makes another result of the same values, such as another mean of the weights

# What a run uses that its hyperparameters do not say. A run with other values does not go on from a checkpoint.
OF_EVERY_RUN = (
    "LORA_SCALE",
    "LORA_DROPOUT",
    "WARMUP_SHARE",
    "DECAY",
    "WEIGHT_DECAY",
    "BETAS",
    "MAX_GRAD_NORM",
    "AVERAGED_SHARE",
    "AVERAGED_FROM",
    "RULES",
)

_T = TypeVar("_T")


def resolve(hp: Hyperparameters, *, n_examples: int, parent_rank: int | None = None) -> ResolvedHyperparameters:
    """Choose what the user left open. What is set stays exactly as it is.

    Args:
        hp: as the user asked for them.
        n_examples: size of the training set.
        parent_rank: rank of the adapter that training starts from, which the new one keeps.

    Raises:
        InvalidRequestError: a rank other than the parent's.
    """
    if parent_rank is not None and hp.lora_rank not in (None, parent_rank):
        raise InvalidRequestError(
            f"The model to start from is an adapter of rank {parent_rank}; it cannot go on with rank {hp.lora_rank}. "
            "Leave the rank out, or start from the base model.",
            param="lora_rank",
        )
    batch_size = hp.batch_size if hp.batch_size is not None else automatic_batch_size(n_examples)
    return ResolvedHyperparameters(
        n_epochs=_or(hp.n_epochs, automatic_epochs(n_examples)),
        batch_size=batch_size,
        learning_rate_multiplier=_or(hp.learning_rate_multiplier, automatic_multiplier(batch_size, hp.objective)),
        prompt_loss_weight=_or(hp.prompt_loss_weight, PROMPT_LOSS_WEIGHT),
        method=hp.method,
        lora_rank=_or(hp.lora_rank, parent_rank or LORA_RANK) if hp.method is Method.LORA else 0,
        seed=_or(hp.seed, SEED),
        compute_classification_metrics=hp.compute_classification_metrics,
        classification_n_classes=hp.classification_n_classes,
        classification_positive_class=hp.classification_positive_class,
        classification_betas=hp.classification_betas,
        objective=hp.objective,
        beta=_or(hp.beta, DPO_BETA) if hp.objective is Objective.DPO else None,
    )


def automatic_epochs(n_examples: int) -> int:
    """Passes over a training set of this size."""
    return _from_table(EPOCHS, n_examples)


def automatic_batch_size(n_examples: int) -> int:
    """3 % of the training set, at least 1, at most 8: some thirty steps an epoch, whose gradients are not too rough."""
    return min(MAX_BATCH_SIZE, max(1, math.floor(n_examples * BATCH_SHARE + 0.5)))


def automatic_multiplier(batch_size: int, objective: Objective = Objective.SUPERVISED) -> float:
    """The factor on the base's learning rate that goes with this batch size."""
    share = DPO_SHARE if objective is Objective.DPO else 1.0
    return round(share * _from_table(MULTIPLIERS, batch_size), 6)


def _from_table(table: tuple[tuple[int, _T], ...], size: int) -> _T:
    return next(value for least, value in reversed(table) if size >= least)


def _or(value: _T | None, default: _T) -> _T:
    return default if value is None else value
