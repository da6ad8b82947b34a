"""Batches: making, looking at, stopping and resuming them. `services.batch_runner` answers their requests."""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from luthier.config import Settings
from luthier.domain.batch import WINDOW_SECONDS, Batch, BatchStatus
from luthier.domain.file import Purpose
from luthier.domain.names import BATCH_PREFIX, new_id
from luthier.domain.page import Page
from luthier.errors import InvalidRequestError, NotFoundError
from luthier.services.metadata import check_metadata
from luthier.storage.answers import journal_of, refusals_in
from luthier.storage.batches import BatchStore
from luthier.storage.files import FileStore


class Runner(Protocol):
    """What answers the requests; it only has to hear of changes."""

    def wake(self) -> None: ...


@dataclass(frozen=True)
class CreateBatch:
    """What a client asks for. Fields as in `domain.batch.Batch`."""

    input_file: str
    endpoint: str
    completion_window: str
    metadata: Mapping[str, str] = field(default_factory=dict)


class BatchService:
    """What `/v1/batches` does.

    Args:
        endpoints: paths whose requests can be answered in a batch.
    """

    def __init__(
        self,
        settings: Settings,
        batches: BatchStore,
        files: FileStore,
        endpoints: Collection[str],
        runner: Runner,
    ) -> None:
        self._settings = settings
        self._batches = batches
        self._files = files
        self._endpoints = endpoints
        self._runner = runner

    def create(self, request: CreateBatch) -> Batch:
        """Put a batch into work. Its file's lines are looked at later: the batch's own errors say what is wrong there.

        Raises:
            InvalidRequestError: something is wrong; `param` names the field.
        """
        check_metadata(request.metadata)
        if request.endpoint not in self._endpoints:
            raise InvalidRequestError(
                f"The endpoint '{request.endpoint}' answers no batches here. Use {' or '.join(self._endpoints)}.",
                param="endpoint",
            )
        seconds = WINDOW_SECONDS.get(request.completion_window)
        if seconds is None:
            raise InvalidRequestError(
                f"The completion_window '{request.completion_window}' is unknown. Use {' or '.join(WINDOW_SECONDS)}.",
                param="completion_window",
            )
        self._check_file(request.input_file)
        now = int(time.time())
        batch = self._batches.create(
            Batch(
                id=new_id(BATCH_PREFIX),
                endpoint=request.endpoint,
                input_file=request.input_file,
                completion_window=request.completion_window,
                created_at=now,
                expires_at=now + seconds,
                metadata=dict(request.metadata),
            )
        )
        self._runner.wake()
        return batch

    def get(self, batch_id: str) -> Batch:
        """
        Raises:
            NotFoundError: there is no such batch.
        """
        return self._batches.get(batch_id)

    def list(self, *, after: str | None = None, limit: int | None = None) -> Page[Batch]:
        """Batches, newest first.

        Raises:
            InvalidRequestError: `after` names no batch.
        """
        return self._batches.list(after=after, limit=limit, newest_first=True)

    def cancel(self, batch_id: str) -> Batch:
        """Stop a batch within seconds. What it has answered stays.

        Raises:
            NotFoundError: there is no such batch.
            InvalidRequestError: it is over.
        """
        batch = self._batches.request_cancel(batch_id)
        self._runner.wake()
        return batch

    def resume(self, batch_id: str) -> Batch:
        """Let a batch that was cancelled or has expired go on: only requests without an answer are asked.

        It gets a whole window again, and its files are back when it is over.

        Raises:
            NotFoundError: there is no such batch.
            InvalidRequestError: it is neither cancelled nor expired, or what it needs to go on is not there.
        """
        journal = journal_of(self._settings, batch_id)
        batch = self._batches.get(batch_id)
        if batch.status in (BatchStatus.CANCELLED, BatchStatus.EXPIRED) and not journal.is_file():
            raise InvalidRequestError(
                f"Batch {batch_id} cannot go on: the journal of its answers is not there. Batches that ended before "
                "Luthier kept it have none. Make a batch of the requests that have no answer.",
                param="batch_id",
            )
        failed = refusals_in(journal) if batch.status is BatchStatus.EXPIRED else batch.failed
        batch = self._batches.resume(batch_id, failed=failed)
        self._runner.wake()
        return batch

    def _check_file(self, file_id: str) -> None:
        try:
            file = self._files.get(file_id)
        except NotFoundError:
            raise InvalidRequestError(
                f"There is no file {file_id}; it may have been deleted.", param="input_file_id"
            ) from None
        if file.purpose is not Purpose.BATCH:
            raise InvalidRequestError(
                f"{file_id} has the purpose '{file.purpose}'; files for batches have '{Purpose.BATCH}'.",
                param="input_file_id",
            )
