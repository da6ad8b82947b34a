"""Batches on the wire."""

from typing import Any, Literal, Self

from pydantic import Field

from luthier.domain.batch import Batch, endpoint_of
from luthier.errors import InvalidRequestError
from luthier.server.wire.base import Answer, RequestBody
from luthier.services.batches import CreateBatch


class CreateBatchBody(RequestBody):
    title = "A batch"

    input_file_id: str = Field(description="A file of purpose `batch`.")
    endpoint: str = Field(description="Path that every request of the file goes to, such as `/v1/completions`.")
    completion_window: str = Field(description="`24h`: what is not begun by then is not begun.")
    metadata: dict[str, str] = Field(default={}, description="Up to 16 pairs of your own.")
    output_expires_after: Any = Field(default=None, description="Refused: files stay until they are deleted.")

    def to_domain(self) -> CreateBatch:
        """
        Raises:
            InvalidRequestError: files are to vanish by themselves.
        """
        if self.output_expires_after is not None:
            raise InvalidRequestError(
                "Files of this server stay until they are deleted. Leave out 'output_expires_after', and delete the "
                "batch's files when you have read them.",
                param="output_expires_after",
            )
        return CreateBatch(self.input_file_id, endpoint_of(self.endpoint), self.completion_window, self.metadata)


class BatchErrorObject(Answer):
    code: str
    message: str
    line: int | None
    param: str | None


class BatchErrors(Answer):
    object: Literal["list"] = "list"
    data: list[BatchErrorObject]


class RequestCounts(Answer):
    total: int
    completed: int
    failed: int


class InputTokensDetails(Answer):
    cached_tokens: int


class OutputTokensDetails(Answer):
    reasoning_tokens: int


class BatchUsage(Answer):
    input_tokens: int
    input_tokens_details: InputTokensDetails = InputTokensDetails(cached_tokens=0)
    output_tokens: int
    output_tokens_details: OutputTokensDetails = OutputTokensDetails(reasoning_tokens=0)
    total_tokens: int


class BatchObject(Answer):
    object: Literal["batch"] = "batch"
    id: str
    endpoint: str
    model: str | None
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str
    status: str = Field(
        description="validating, in_progress, finalizing, completed, failed, expired, cancelling or cancelled"
    )
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    usage: BatchUsage
    metadata: dict[str, str]

    @classmethod
    def of(cls, batch: Batch) -> Self:
        errors = [BatchErrorObject.model_validate(error, from_attributes=True) for error in batch.errors]
        return cls(
            id=batch.id,
            endpoint=batch.endpoint,
            model=batch.model,
            errors=BatchErrors(data=errors) if errors else None,
            input_file_id=batch.input_file,
            completion_window=batch.completion_window,
            status=batch.status,
            output_file_id=batch.output_file,
            error_file_id=batch.error_file,
            created_at=batch.created_at,
            in_progress_at=batch.in_progress_at,
            expires_at=batch.expires_at,
            finalizing_at=batch.finalizing_at,
            completed_at=batch.completed_at,
            failed_at=batch.failed_at,
            expired_at=batch.expired_at,
            cancelling_at=batch.cancelling_at,
            cancelled_at=batch.cancelled_at,
            request_counts=RequestCounts(total=batch.total, completed=batch.completed, failed=batch.failed),
            usage=BatchUsage(
                input_tokens=batch.input_tokens,
                output_tokens=batch.output_tokens,
                total_tokens=batch.input_tokens + batch.output_tokens,
            ),
            metadata=batch.metadata,
        )
