"""Fine-tunes as today's API, `/v1/fine_tuning/jobs`, writes them."""

from typing import Any, Literal, Self

from pydantic import Field

from luthier.domain.hyperparameters import Hyperparameters
from luthier.domain.job import Event, Job, Status
from luthier.errors import InvalidRequestError
from luthier.server.wire.base import Answer, RequestBody
from luthier.server.wire.hyperparameters import HyperparametersBody, printed
from luthier.services.fine_tunes import Checkpoint


class SupervisedBody(RequestBody):
    title = "The supervised method"

    hyperparameters: HyperparametersBody = HyperparametersBody()


class MethodBody(RequestBody):
    title = "The method"

    type: str = Field(description="`supervised`; the others are not there.")
    supervised: SupervisedBody = SupervisedBody()
    dpo: dict[str, Any] | None = Field(default=None, description="Not there: refused.")
    reinforcement: dict[str, Any] | None = Field(default=None, description="Not there: refused.")


class CreateJobBody(RequestBody):
    title = "The creation of a fine-tuning job"

    training_file: str
    model: str = Field(description="Base or tuned model to start from.")
    validation_file: str | None = None
    hyperparameters: HyperparametersBody | None = Field(
        default=None, description="The older place of the method's own."
    )
    method: MethodBody | None = None
    suffix: str | None = Field(default=None, description="Up to 40 characters for the tuned model's name.")
    seed: int | None = Field(default=None, description="Of order, initial values and dropout.")
    metadata: dict[str, str] = Field(
        default={}, description="Up to 16 pairs; keys up to 64, values up to 512 characters."
    )
    integrations: list[Any] = Field(default=[], description="None is there: refused unless empty.")

    def to_hyperparameters(self) -> Hyperparameters:
        """
        Raises:
            InvalidRequestError: another method than supervised, integrations, or hyperparameters in both places.
        """
        if self.integrations:
            raise InvalidRequestError(
                "'integrations' are not supported: this server sends nothing to other services. "
                "The results file of the finished job holds every metric.",
                param="integrations",
            )
        if self.method is None:
            return (self.hyperparameters or HyperparametersBody()).to_domain(seed=self.seed)
        refused = [name for name in ("dpo", "reinforcement") if getattr(self.method, name) is not None]
        if self.method.type != "supervised" or refused:
            name = refused[0] if self.method.type == "supervised" else self.method.type
            raise InvalidRequestError(
                f"The method '{name}' is not supported. This server trains by 'supervised'.",
                param="method.type" if self.method.type != "supervised" else f"method.{name}",
            )
        if self.hyperparameters is not None and self.method.supervised.hyperparameters.model_fields_set:
            raise InvalidRequestError(
                "Hyperparameters stand both in 'hyperparameters' and in 'method.supervised.hyperparameters'. "
                "Give them once.",
                param="hyperparameters",
            )
        return (self.hyperparameters or self.method.supervised.hyperparameters).to_domain(seed=self.seed)


class JobError(Answer):
    code: str
    message: str
    param: str | None = None


class SupervisedObject(Answer):
    hyperparameters: dict[str, Any]


class MethodObject(Answer):
    type: Literal["supervised"] = "supervised"
    supervised: SupervisedObject


class JobObject(Answer):
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    id: str
    created_at: int
    finished_at: int | None
    estimated_finish: int | None = None
    model: str
    fine_tuned_model: str | None
    organization_id: str
    status: str = Field(description="queued, running, succeeded, failed or cancelled")
    hyperparameters: dict[str, Any]
    method: MethodObject
    seed: int | None
    training_file: str
    validation_file: str | None
    result_files: list[str]
    trained_tokens: int | None
    error: JobError | None
    metadata: dict[str, str]

    @classmethod
    def of(cls, job: Job) -> Self:
        hyperparameters = {name: "auto" if value is None else value for name, value in printed(job).items()}
        del hyperparameters["seed"]
        return cls(
            id=job.id,
            created_at=job.created_at,
            finished_at=job.finished_at,
            model=job.model,
            fine_tuned_model=job.fine_tuned_model,
            organization_id=job.organization,
            status=job.status.value,
            hyperparameters=hyperparameters,
            method=MethodObject(supervised=SupervisedObject(hyperparameters=hyperparameters)),
            seed=(job.resolved or job.hyperparameters).seed,
            training_file=job.training_file,
            validation_file=job.validation_file,
            result_files=[job.result_file] if job.result_file else [],
            trained_tokens=job.trained_tokens,
            error=JobError(code="training_failed", message=job.error or "") if job.status is Status.FAILED else None,
            metadata=job.metadata,
        )


class JobEvent(Answer):
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    id: str
    created_at: int
    level: str
    message: str
    type: str
    data: dict[str, Any]

    @classmethod
    def of(cls, event: Event) -> Self:
        return cls(
            id=event.id,
            created_at=event.created_at,
            level=event.level,
            message=event.message,
            type=event.type,
            data=event.data,
        )


class CheckpointMetrics(Answer):
    """What the results table says of the checkpoint's step; null where it was not computed."""

    step: int
    train_loss: float | None
    train_mean_token_accuracy: float | None
    valid_loss: float | None
    valid_mean_token_accuracy: float | None
    full_valid_loss: float | None
    full_valid_mean_token_accuracy: float | None


class CheckpointObject(Answer):
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    id: str
    created_at: int
    fine_tuning_job_id: str
    fine_tuned_model_checkpoint: str
    step_number: int
    metrics: CheckpointMetrics

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Self:
        row = checkpoint.metrics
        return cls(
            id=checkpoint.id,
            created_at=checkpoint.model.created_at,
            fine_tuning_job_id=checkpoint.job_id,
            fine_tuned_model_checkpoint=checkpoint.model.id,
            step_number=checkpoint.step,
            metrics=CheckpointMetrics(
                step=checkpoint.step,
                train_loss=row.get("training_loss"),
                train_mean_token_accuracy=row.get("training_token_accuracy"),
                valid_loss=row.get("validation_loss"),
                valid_mean_token_accuracy=row.get("validation_token_accuracy"),
                full_valid_loss=row.get("validation_loss"),  # validation is always over the whole file
                full_valid_mean_token_accuracy=row.get("validation_token_accuracy"),
            ),
        )
