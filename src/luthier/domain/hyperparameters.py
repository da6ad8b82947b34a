"""What a fine-tune can be told, and what it then used."""

from dataclasses import dataclass
from enum import StrEnum


class Method(StrEnum):
    """Which weights learn."""

    LORA = "lora"
    FULL = "full"


class Objective(StrEnum):
    """What training makes of the examples."""

    SUPERVISED = "supervised"  # the completions, or the assistant's turns, become more likely
    DPO = "dpo"  # preferred outputs become more likely than those not preferred (`training.preference`)


@dataclass(frozen=True)
class Hyperparameters:
    """As the user asked for them; None leaves the choice to us (`training.defaults.resolve`).

    Args:
        n_epochs: passes over the training set.
        batch_size: examples of one optimizer step.
        learning_rate_multiplier: factor on the base model's own learning rate.
        prompt_loss_weight: weight of each prompt token in the loss; a completion token weighs 1.
        compute_classification_metrics: evaluate as a classifier after each epoch.
        classification_n_classes: number of classes, for multiclass metrics.
        classification_positive_class: label of the positive class, for binary metrics.
        classification_betas: betas of the F-beta scores; F1 is always there.
        method: train an adapter or all weights.
        lora_rank: width of the adapter, for `Method.LORA`.
        seed: of order, initial values and dropout.
        objective: what is learnt from the examples.
        beta: of `Objective.DPO`: how dear it is to leave the model that training starts from.
    """

    n_epochs: int | None = None
    batch_size: int | None = None
    learning_rate_multiplier: float | None = None
    prompt_loss_weight: float | None = None
    compute_classification_metrics: bool = False
    classification_n_classes: int | None = None
    classification_positive_class: str | None = None
    classification_betas: tuple[float, ...] = ()
    method: Method = Method.LORA
    lora_rank: int | None = None
    seed: int | None = None
    objective: Objective = Objective.SUPERVISED
    beta: float | None = None


@dataclass(frozen=True)
class ResolvedHyperparameters:
    """What a run uses: every choice made. Fields as in `Hyperparameters`."""

    n_epochs: int
    batch_size: int
    learning_rate_multiplier: float
    prompt_loss_weight: float
    method: Method
    lora_rank: int
    seed: int
    compute_classification_metrics: bool = False
    classification_n_classes: int | None = None
    classification_positive_class: str | None = None
    classification_betas: tuple[float, ...] = ()
    objective: Objective = Objective.SUPERVISED
    beta: float | None = None
