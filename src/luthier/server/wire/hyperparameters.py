"""Hyperparameters on the wire: the same names in both dialects."""

from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from luthier.domain.hyperparameters import Hyperparameters, Method, Objective
from luthier.domain.job import Job
from luthier.server.wire.base import RequestBody


def _or_auto(kind: str) -> tuple[BeforeValidator, WithJsonSchema]:
    """`"auto"` leaves the choice to the server, as an absent field does."""
    return (
        BeforeValidator(lambda value: None if value == "auto" else value),
        WithJsonSchema({"anyOf": [{"type": kind}, {"const": "auto", "type": "string"}]}),
    )


_INT = _or_auto("integer")
_FLOAT = _or_auto("number")
AutoInt = Annotated[int | None, _INT[0], _INT[1]]
AutoFloat = Annotated[float | None, _FLOAT[0], _FLOAT[1]]


class HyperparametersBody(RequestBody):
    """What a fine-tune can be told about its training. Left out, null or "auto", the server chooses."""

    title = "The hyperparameters"

    n_epochs: AutoInt = Field(default=None, description="Passes over the training set.")
    batch_size: AutoInt = Field(default=None, description="Examples of one optimizer step.")
    learning_rate_multiplier: AutoFloat = Field(
        default=None, description="Factor on the base model's own learning rate."
    )
    prompt_loss_weight: AutoFloat = Field(default=None, description="Weight of each prompt token in the loss.")
    compute_classification_metrics: bool = Field(
        default=False, description="Evaluate as a classifier after each epoch."
    )
    classification_n_classes: int | None = Field(default=None, description="Number of classes, for multiclass metrics.")
    classification_positive_class: str | None = Field(
        default=None, description="The positive class, for binary metrics."
    )
    classification_betas: list[float] = Field(default=[], description="Betas of F-beta scores beside F1.")
    method: Literal["lora", "full"] | None = Field(
        default=None, description="Train an adapter (lora) or all weights (full)."
    )
    lora_rank: AutoInt = Field(default=None, description="Width of the adapter.")

    def to_domain(self, *, seed: int | None) -> Hyperparameters:
        given = self.model_dump(include=_NAMES, exclude_none=True)
        given["classification_betas"] = tuple(self.classification_betas)
        if self.method is not None:
            given["method"] = Method(self.method)
        return Hyperparameters(**given, seed=seed)


class DpoHyperparametersBody(RequestBody):
    """What a fine-tune on preferences can be told. Left out, null or "auto", the server chooses."""

    title = "The hyperparameters of the method dpo"

    n_epochs: AutoInt = Field(default=None, description="Passes over the training set.")
    batch_size: AutoInt = Field(default=None, description="Pairs of one optimizer step.")
    learning_rate_multiplier: AutoFloat = Field(
        default=None, description="Factor on the base model's own learning rate."
    )
    beta: AutoFloat = Field(default=None, description="How dear it is to leave the model that training starts from.")
    method: Literal["lora", "full"] | None = Field(
        default=None, description="Train an adapter (lora) or all weights (full)."
    )
    lora_rank: AutoInt = Field(default=None, description="Width of the adapter.")

    def to_domain(self, *, seed: int | None) -> Hyperparameters:
        given = self.model_dump(exclude_none=True)
        if self.method is not None:
            given["method"] = Method(self.method)
        return Hyperparameters(**given, seed=seed, objective=Objective.DPO)


_NAMES = set(HyperparametersBody.model_fields)
_NOT_OF = {Objective.SUPERVISED: {"beta"}, Objective.DPO: {"prompt_loss_weight"}}  # what an objective does not have


def printed(job: Job) -> dict[str, Any]:
    """The hyperparameters of a job, by the names of its method's body and `seed`, sorted.

    What was used once that is known, before that what was asked for, with None where the choice is still open.
    Classification fields appear where they were set.
    """
    shown = job.resolved or job.hyperparameters
    hidden = _NOT_OF[shown.objective] | {"objective"}
    values = {field.name: getattr(shown, field.name) for field in fields(shown) if field.name not in hidden}
    values["classification_betas"] = list(values["classification_betas"])
    return {
        name: value
        for name, value in sorted(values.items())
        if value or not name.startswith(("compute_classification_", "classification_"))
    }
