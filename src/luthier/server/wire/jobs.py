"""Fine-tunes as today's API, `/v1/fine_tuning/jobs`, writes them."""

from dataclasses import replace
from typing import Any, Literal, Self

from pydantic import Field

from luthier.domain.hyperparameters import Hyperparameters, Objective
from luthier.domain.job import Event, Job, Status, WandbRun
from luthier.errors import InvalidRequestError
from luthier.server.wire.base import Answer, RequestBody
from luthier.server.wire.hyperparameters import DpoHyperparametersBody, HyperparametersBody, printed
from luthier.services.fine_tunes import Checkpoint

_METHODS = tuple(Objective)


class SupervisedBody(RequestBody):
    title = "The supervised method"

    hyperparameters: HyperparametersBody = HyperparametersBody()


class DpoBody(RequestBody):
    title = "The method dpo"

    hyperparameters: DpoHyperparametersBody = DpoHyperparametersBody()


class MethodBody(RequestBody):
    title = "The method"

    type: str = Field(description="`supervised` or `dpo`.")
    supervised: SupervisedBody | None = None
    dpo: DpoBody | None = None
    reinforcement: dict[str, Any] | None = Field(default=None, description="Not there: refused.")


class WandbBody(RequestBody):
    title = "The settings of Weights & Biases"

    project: str = Field(min_length=1, description="Where the run appears; made if needed.")
    name: str | None = Field(default=None, description="Of the run; left out, the job's id.")
    entity: str | None = Field(default=None, description="User or team of the run; left out, the key's own.")
    tags: list[str] = Field(default=[], description="Beside `luthier`, the base's and the job's own.")


class IntegrationBody(RequestBody):
    title = "An integration"

    type: str = Field(description="`wandb`.")
    wandb: WandbBody | None = None


class CreateJobBody(RequestBody):
    title = "The creation of a fine-tuning job"

    training_file: str
    model: str = Field(description="Base or tuned model to start from.")
    validation_file: str | None = None
    hyperparameters: HyperparametersBody | None = Field(
        default=None, description="The older place of the method's own."
    )
    method: MethodBody | None = None
    suffix: str | None = Field(default=None, description="Up to 64 characters for the tuned model's name.")
    seed: int | None = Field(default=None, description="Of order, initial values and dropout.")
    metadata: dict[str, str] = Field(
        default={}, description="Up to 16 pairs; keys up to 64, values up to 512 characters."
    )
    integrations: list[IntegrationBody] = Field(default=[], description="At most one, of type `wandb`.")

    def to_hyperparameters(self) -> Hyperparameters:
        """
        Raises:
            InvalidRequestError: a method that is not there, the fields of another one, or hyperparameters twice.
        """
        objective, given = self._method()
        if given is None or not given.model_fields_set:
            if self.hyperparameters is not None:
                return replace(self.hyperparameters.to_domain(seed=self.seed), objective=objective)
        elif self.hyperparameters is not None:
            raise InvalidRequestError(
                f"Hyperparameters stand both in 'hyperparameters' and in 'method.{objective}.hyperparameters'. "
                "Give them once.",
                param="hyperparameters",
            )
        return given.to_domain(seed=self.seed) if given else Hyperparameters(objective=objective, seed=self.seed)

    def wandb_run(self) -> WandbRun | None:
        """
        Raises:
            InvalidRequestError: several integrations, or another than Weights & Biases.
        """
        if not self.integrations:
            return None
        if len(self.integrations) > 1:
            raise InvalidRequestError("A job takes one integration.", param="integrations")
        (only,) = self.integrations
        if only.type != "wandb":
            raise InvalidRequestError(
                f"There is no integration '{only.type}'. The only one is 'wandb'.", param="integrations[0].type"
            )
        if only.wandb is None:
            raise InvalidRequestError(
                "The integration 'wandb' needs its settings: {'project': …}.", param="integrations[0].wandb"
            )
        run = only.wandb
        return WandbRun(run.project, run.name, run.entity, tuple(run.tags))

    def _method(self) -> tuple[Objective, HyperparametersBody | DpoHyperparametersBody | None]:
        """The objective, and the hyperparameters that stand in its own place."""
        method = self.method
        if method is None:
            return Objective.SUPERVISED, None
        if method.type not in _METHODS:
            raise InvalidRequestError(
                f"The method '{method.type}' is not supported. This server trains by 'supervised' and 'dpo'.",
                param="method.type",
            )
        objective = Objective(method.type)
        for name in (*_METHODS, "reinforcement"):
            if name != objective and getattr(method, name) is not None:
                raise InvalidRequestError(
                    f"The method's type is '{objective}'; the field '{name}' is of another method. Leave it out.",
                    param=f"method.{name}",
                )
        own = getattr(method, objective)
        return objective, own.hyperparameters if own is not None else None


class JobError(Answer):
    code: str
    message: str
    param: str | None = None


class HyperparametersObject(Answer):
    hyperparameters: dict[str, Any]


class MethodObject(Answer):
    """What the job's method is, and what it was told; of `supervised` and `dpo` one is null."""

    type: Literal["supervised", "dpo"]
    supervised: HyperparametersObject | None = None
    dpo: HyperparametersObject | None = None


class WandbObject(Answer):
    project: str
    name: str | None
    entity: str | None
    tags: list[str]


class IntegrationObject(Answer):
    type: Literal["wandb"] = "wandb"
    wandb: WandbObject


class JobObject(Answer):
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    id: str
    created_at: int
    finished_at: int | None
    estimated_finish: int | None = Field(description="Unix seconds; null unless it runs and has told its progress.")
    model: str
    fine_tuned_model: str | None
    organization_id: str
    project_id: str | None
    status: str = Field(description="queued, running, paused, succeeded, failed or cancelled")
    hyperparameters: dict[str, Any]
    method: MethodObject
    seed: int | None
    training_file: str
    validation_file: str | None
    result_files: list[str]
    trained_tokens: int | None
    error: JobError | None
    integrations: list[IntegrationObject]
    metadata: dict[str, str]

    @classmethod
    def of(cls, job: Job, estimated_finish: int | None) -> Self:
        hyperparameters = {name: "auto" if value is None else value for name, value in printed(job).items()}
        del hyperparameters["seed"]
        objective = job.hyperparameters.objective
        own: dict[str, Any] = {objective.value: HyperparametersObject(hyperparameters=hyperparameters)}
        run = job.wandb
        return cls(
            id=job.id,
            created_at=job.created_at,
            finished_at=job.finished_at,
            estimated_finish=estimated_finish,
            model=job.model,
            fine_tuned_model=job.fine_tuned_model,
            organization_id=job.organization,
            project_id=job.project,
            status=job.status.value,
            hyperparameters=hyperparameters,
            method=MethodObject(type=objective.value, **own),
            seed=(job.resolved or job.hyperparameters).seed,
            training_file=job.training_file,
            validation_file=job.validation_file,
            result_files=[job.result_file] if job.result_file else [],
            trained_tokens=job.trained_tokens,
            error=JobError(code="training_failed", message=job.error or "") if job.status is Status.FAILED else None,
            integrations=[]
            if run is None
            else [
                IntegrationObject(
                    wandb=WandbObject(project=run.project, name=run.name, entity=run.entity, tags=list(run.tags))
                )
            ],
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
