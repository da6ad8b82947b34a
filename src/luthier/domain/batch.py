"""A batch: a file of requests, answered in the background into a file of answers."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Self

from luthier.errors import ConflictError

MAX_REQUESTS = 50_000
ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")
WINDOW_SECONDS = {"24h": 24 * 3600}
"""How long a batch may take, by the names that a client can ask for."""


def endpoint_of(path: str) -> str:
    """The endpoint that a client means: Azure leaves out the /v1."""
    return path if path.startswith("/v1/") else f"/v1{path}"


class BatchStatus(StrEnum):
    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """It is over, unless somebody resumes it."""
        return self in (self.COMPLETED, self.FAILED, self.EXPIRED, self.CANCELLED)


TRANSITIONS: dict[BatchStatus, frozenset[BatchStatus]] = {
    BatchStatus.VALIDATING: frozenset({BatchStatus.IN_PROGRESS, BatchStatus.FAILED, BatchStatus.CANCELLING}),
    BatchStatus.IN_PROGRESS: frozenset({BatchStatus.FINALIZING, BatchStatus.CANCELLING, BatchStatus.EXPIRED}),
    BatchStatus.FINALIZING: frozenset({BatchStatus.COMPLETED}),
    BatchStatus.CANCELLING: frozenset({BatchStatus.CANCELLED}),
    BatchStatus.COMPLETED: frozenset(),
    BatchStatus.FAILED: frozenset(),
    BatchStatus.EXPIRED: frozenset({BatchStatus.IN_PROGRESS}),  # resumed
    BatchStatus.CANCELLED: frozenset({BatchStatus.IN_PROGRESS, BatchStatus.VALIDATING}),  # resumed
}


@dataclass(frozen=True)
class BatchError:
    """What is wrong with a batch's file.

    Args:
        code: for programs, such as `duplicate_custom_id`.
        line: counted from 1; None when it is about the whole file.
        param: the field of the line.
    """

    code: str
    message: str
    line: int | None = None
    param: str | None = None


@dataclass(frozen=True)
class Batch:
    """Requests of one file on their way. Changed only through `evolve`.

    Args:
        endpoint: path that every request goes to, such as `/v1/completions`.
        input_file: id of the file of requests.
        completion_window: as the client asked, a key of `WINDOW_SECONDS`.
        expires_at: Unix seconds after which no request is begun.
        model: the model that all requests name; None when they name several, or before validation.
        errors: why it failed; the first of many.
        output_file, error_file: ids of the files of answers and of refusals, once it is over and they are not empty.
        total: requests in the file, once validated.
        completed: requests that were answered.
        failed: requests that were refused or, once it has expired, never begun.
        input_tokens, output_tokens: of all answers so far.
        created_at, in_progress_at, finalizing_at, completed_at, failed_at, expired_at, cancelling_at, cancelled_at:
            Unix seconds at which it came to that status; of a batch that was resumed, since then.
    """

    id: str
    endpoint: str
    input_file: str
    completion_window: str
    created_at: int
    expires_at: int
    status: BatchStatus = BatchStatus.VALIDATING
    metadata: dict[str, str] = field(default_factory=dict)
    model: str | None = None
    errors: tuple[BatchError, ...] = ()
    output_file: str | None = None
    error_file: str | None = None
    total: int = 0
    completed: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None

    def evolve(self, now: int, **changes: Any) -> Self:
        """A copy with these changes; a new status is stamped with `now`, Unix seconds.

        Raises:
            ConflictError: the new status cannot follow the old one (`TRANSITIONS`).
        """
        status = changes.get("status", self.status)
        if status is self.status:
            return replace(self, **changes)
        if status not in TRANSITIONS[self.status]:
            raise ConflictError(f"Batch {self.id} is {self.status} and cannot become {status}.")
        if status is not BatchStatus.VALIDATING:
            changes[f"{status}_at"] = now
        return replace(self, **changes)

    def resumed(self, now: int, *, failed: int) -> Self:
        """This batch, cancelled or expired, back at work: a whole window long, and as if it had never been over.

        Args:
            now: Unix seconds.
            failed: requests that were refused. Those that were never begun are no failures any more.

        Raises:
            ConflictError: it is neither cancelled nor expired.
        """
        return self.evolve(
            now,
            status=BatchStatus.IN_PROGRESS if self.total else BatchStatus.VALIDATING,
            expires_at=now + WINDOW_SECONDS[self.completion_window],
            failed=failed,
            output_file=None,
            error_file=None,
            cancelling_at=None,
            cancelled_at=None,
            expired_at=None,
        )
