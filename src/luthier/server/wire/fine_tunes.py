"""Fine-tunes as the first API, `/v1/fine-tunes`, wrote them."""

from collections.abc import Iterable
from typing import Any, Literal, Self

from pydantic import Field

from luthier.domain.job import Dialect, Event, Job, Status
from luthier.server.wire.base import Answer
from luthier.server.wire.files import FileObject
from luthier.server.wire.hyperparameters import HyperparametersBody, printed
from luthier.services.fine_tunes import CreateFineTune, JobFiles

DEFAULT_MODEL = "curie"
_STATUS = {Status.QUEUED: "pending", Status.PAUSED: "pending"}  # the others have one name in both dialects


class CreateFineTuneBody(HyperparametersBody):
    title = "The creation of a fine-tune"

    training_file: str
    validation_file: str | None = None
    model: str = Field(default=DEFAULT_MODEL, description="Base or tuned model to start from.")
    suffix: str | None = Field(default=None, description="Up to 40 characters for the tuned model's name.")
    seed: int | None = Field(default=None, description="Of order, initial values and dropout.")

    def to_request(self, organization: str | None, project: str | None) -> CreateFineTune:
        """
        Args:
            organization, project: whose it is to be, see `domain.job.Job`.
        """
        return CreateFineTune(
            dialect=Dialect.LEGACY,
            training_file=self.training_file,
            validation_file=self.validation_file,
            model=self.model,
            suffix=self.suffix,
            organization=organization,
            project=project,
            hyperparameters=self.to_domain(seed=self.seed),
        )


class FineTuneEvent(Answer):
    object: Literal["fine-tune-event"] = "fine-tune-event"
    created_at: int
    level: str
    message: str
    id: str
    type: str
    data: dict[str, Any]

    @classmethod
    def of(cls, event: Event) -> Self:
        return cls(
            created_at=event.created_at,
            level=event.level,
            message=event.message,
            id=event.id,
            type=event.type,
            data=event.data,
        )


class FineTune(Answer):
    """A fine-tune as the list shows it."""

    object: Literal["fine-tune"] = "fine-tune"
    id: str
    created_at: int
    updated_at: int
    model: str
    fine_tuned_model: str | None
    organization_id: str
    project_id: str | None
    status: str = Field(description="pending (also while paused), running, succeeded, failed or cancelled")
    hyperparams: dict[str, Any]
    training_files: list[FileObject]
    validation_files: list[FileObject]
    result_files: list[FileObject]

    @classmethod
    def of(cls, job: Job, files: JobFiles, **more: Any) -> Self:
        return cls(
            id=job.id,
            created_at=job.created_at,
            updated_at=job.updated_at,
            model=job.model,
            fine_tuned_model=job.fine_tuned_model,
            organization_id=job.organization,
            project_id=job.project,
            status=_STATUS.get(job.status, job.status.value),
            hyperparams=printed(job),
            training_files=[FileObject.of(file) for file in files.training],
            validation_files=[FileObject.of(file) for file in files.validation],
            result_files=[FileObject.of(file) for file in files.results],
            **more,
        )


class FineTuneWithEvents(FineTune):
    """A fine-tune as creating, retrieving and cancelling show it."""

    events: list[FineTuneEvent]

    @classmethod
    def of(cls, job: Job, files: JobFiles, *, events: Iterable[Event] = (), **more: Any) -> Self:
        return super().of(job, files, events=[FineTuneEvent.of(event) for event in events], **more)
