"""Files, fine-tunes and models as Azure writes them."""

from collections.abc import Iterable
from typing import Any, Literal, Self

from pydantic import Field

from luthier.domain.file import File, FileStatus
from luthier.domain.job import Event, Job, Status
from luthier.server.wire.base import Answer, RequestBody
from luthier.server.wire.files import FileObject
from luthier.server.wire.fine_tunes import FineTune, FineTuneWithEvents
from luthier.services.fine_tunes import JobFiles
from luthier.services.model_cards import ModelCard

_FILE_STATUS = {
    FileStatus.UPLOADED: "notRunning",
    FileStatus.PROCESSED: "succeeded",
    FileStatus.ERROR: "failed",
    FileStatus.DELETED: "deleted",
}
_JOB_STATUS = {  # the others have the same name
    Status.QUEUED: "notRunning",
    Status.PAUSED: "notRunning",
    Status.CANCELLED: "canceled",
}


class AzureError(Answer):
    """Why something failed."""

    code: str
    message: str


class AzureFile(FileObject):
    """A file. `updated_at` is when its check was over, which is the moment of its upload."""

    updated_at: int
    error: AzureError | None = None

    @classmethod
    def of(cls, file: File, *, openai_statuses: bool = False) -> Self:
        error = None
        if file.status is FileStatus.ERROR:
            error = AzureError(code="jsonlValidationFailed", message=file.status_details or "The file cannot be used.")
        return cls(
            id=file.id,
            bytes=file.bytes,
            created_at=file.created_at,
            updated_at=file.created_at,
            filename=file.filename,
            purpose=file.purpose,
            status=file.status.value if openai_statuses else _FILE_STATUS[file.status],
            status_details=file.status_details,
            error=error,
        )


class ImportFileBody(RequestBody):
    title = "The import of a file"

    content_url: str = Field(description="http or https; the server must be allowed to fetch from its host.")
    filename: str
    purpose: str = Field(description="`fine-tune`, as for an upload.")


class AzureFineTune(FineTune):
    """A fine-tune as Azure's list shows it."""

    status: str = Field(description="notRunning, running, succeeded, failed or canceled")
    suffix: str | None
    error: AzureError | None = None

    @classmethod
    def of(cls, job: Job, files: JobFiles, **more: Any) -> Self:
        plain = FineTune.of(job, files)
        return cls(**{**dict(plain), **_in_azure_words(job, files), **more})


class AzureFineTuneWithEvents(FineTuneWithEvents):
    """A fine-tune as creating, retrieving and cancelling show it."""

    status: str = Field(description="notRunning, running, succeeded, failed or canceled")
    suffix: str | None
    error: AzureError | None = None

    @classmethod
    def of(cls, job: Job, files: JobFiles, *, events: Iterable[Event] = (), **more: Any) -> Self:
        plain = FineTuneWithEvents.of(job, files, events=events)
        return cls(**{**dict(plain), **_in_azure_words(job, files), **more})


def _in_azure_words(job: Job, files: JobFiles) -> dict[str, Any]:
    failed = job.status is Status.FAILED
    return {
        "status": _JOB_STATUS.get(job.status, job.status.value),
        "suffix": job.suffix,
        "error": AzureError(code="internalFailure", message=job.error or "It failed.") if failed else None,
        "training_files": [AzureFile.of(file) for file in files.training],
        "validation_files": [AzureFile.of(file) for file in files.validation],
        "result_files": [AzureFile.of(file) for file in files.results],
    }


class CapabilitiesObject(Answer):
    fine_tune: bool
    inference: bool
    completion: bool
    chat_completion: bool
    embeddings: bool
    scale_types: tuple[Literal["standard", "manual"], ...] = ("standard", "manual")


class DeprecationObject(Answer):
    """Null: nothing here ends on a date."""

    fine_tune: int | None = None
    inference: int | None = None


class AzureModel(Answer):
    """A model. `created` and `owned_by` are there for today's client, which reads models as OpenAI writes them."""

    object: Literal["model"] = "model"
    id: str
    status: Literal["succeeded"] = "succeeded"
    created_at: int
    updated_at: int
    created: int
    owned_by: str
    model: str | None = Field(description="What it was tuned from; null for a base.")
    fine_tune: str | None = Field(description="The fine-tune that made it; null for a base.")
    capabilities: CapabilitiesObject
    lifecycle_status: Literal["generally-available"] = "generally-available"
    deprecation: DeprecationObject = DeprecationObject()

    @classmethod
    def of(cls, card: ModelCard) -> Self:
        return cls(
            id=card.id,
            created_at=card.created,
            updated_at=card.created,
            created=card.created,
            owned_by=card.owned_by,
            model=card.parent,
            fine_tune=card.details.job_id,
            capabilities=CapabilitiesObject.model_validate(card.details.capabilities, from_attributes=True),
        )
