"""Batches. Each change of one is one transaction."""

import time
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, delete, select

from luthier.domain.batch import Batch, BatchStatus
from luthier.domain.file import File, FileStatus
from luthier.domain.names import batch_file_id
from luthier.domain.page import Page
from luthier.errors import InvalidRequestError
from luthier.storage.db import Database
from luthier.storage.files import FILES
from luthier.storage.rows import Rows
from luthier.storage.schema import batches, files

BATCHES = Rows(batches, Batch, "batch", "batch_id")

_OPEN = [status for status in BatchStatus if not status.is_final]
_CANCELLABLE = (BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS)
_RESUMABLE = (BatchStatus.CANCELLED, BatchStatus.EXPIRED)
FILE_KINDS = ("output", "errors")
"""The files that a batch makes: of answers, and of refusals."""


class BatchStore:
    """The batches that wait, run and are over, oldest first unless told otherwise."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def create(self, batch: Batch) -> Batch:
        """
        Raises:
            InvalidRequestError: its file has been deleted meanwhile.
        """
        with self._db.write() as connection:
            _check_input(connection, batch, "input_file_id")
            BATCHES.insert(connection, batch)
        return batch

    def get(self, batch_id: str) -> Batch:
        """
        Raises:
            NotFoundError: there is no such batch.
        """
        with self._db.read() as connection:
            return BATCHES.get(connection, batch_id)

    def list(self, *, after: str | None = None, limit: int | None = None, newest_first: bool = False) -> Page[Batch]:
        """
        Raises:
            InvalidRequestError: `after` names no batch.
        """
        with self._db.read() as connection:
            return BATCHES.page(connection, select(batches), after=after, limit=limit, newest_first=newest_first)

    def unfinished(self) -> tuple[Batch, ...]:
        """Those that are not over."""
        with self._db.read() as connection:
            return BATCHES.page(connection, select(batches).where(batches.c.status.in_(_OPEN))).items

    def update(self, batch_id: str, **changes: Any) -> Batch:
        """
        Raises:
            NotFoundError: there is no such batch.
            ConflictError: its status cannot become that.
        """
        return self.finish(batch_id, (), **changes)

    def finish(self, batch_id: str, files: Iterable[File], **changes: Any) -> Batch:
        """Change a batch and record the files that it made, all of it or nothing.

        Raises:
            NotFoundError: there is no such batch.
            ConflictError: its status cannot become that.
        """
        with self._db.write() as connection:
            batch = _evolve(connection, batch_id, **changes)
            for file in files:
                FILES.insert(connection, file)
        return batch

    def request_cancel(self, batch_id: str) -> Batch:
        """Ask a batch to stop, which its runner does within seconds.

        Raises:
            NotFoundError: there is no such batch.
            InvalidRequestError: it is over, or its last answer is written.
        """
        with self._db.write() as connection:
            batch = BATCHES.get(connection, batch_id, for_update=True)
            if batch.status is BatchStatus.CANCELLING:
                return batch
            if batch.status not in _CANCELLABLE:
                raise InvalidRequestError(f"Cannot cancel a batch with status '{batch.status}'.", param="batch_id")
            return _evolve(connection, batch_id, status=BatchStatus.CANCELLING)

    def resume(self, batch_id: str, *, failed: int) -> Batch:
        """Put a batch that was cancelled or has expired back to work. Its files are no files again until it is over.

        Args:
            failed: requests of it that were refused.

        Raises:
            NotFoundError: there is no such batch.
            InvalidRequestError: it is neither cancelled nor expired, or its requests have been deleted.
        """
        with self._db.write() as connection:
            batch = BATCHES.get(connection, batch_id, for_update=True)
            if batch.status is BatchStatus.CANCELLING:
                raise InvalidRequestError(
                    f"Batch {batch_id} is still being cancelled, which takes seconds. Resume it when it is cancelled.",
                    param="batch_id",
                )
            if batch.status not in _RESUMABLE:
                raise InvalidRequestError(
                    f"Cannot resume a batch with status '{batch.status}': only batches that were cancelled or have "
                    "expired can go on.",
                    param="batch_id",
                )
            _check_input(connection, batch, "batch_id")
            made = [batch_file_id(batch_id, kind) for kind in FILE_KINDS]
            connection.execute(delete(files).where(files.c.id.in_(made)))  # deleted ones too: the ids come back
            resumed = batch.resumed(int(time.time()), failed=failed)
            BATCHES.replace(connection, batch_id, resumed)
        return resumed


def _check_input(connection: Connection, batch: Batch, param: str) -> None:
    """
    Raises:
        InvalidRequestError: the batch's file of requests has been deleted.
    """
    deleted = select(files.c.id).where(files.c.id == batch.input_file, files.c.status == FileStatus.DELETED)
    if connection.execute(deleted).first() is not None:
        raise InvalidRequestError(f"{batch.input_file} has been deleted meanwhile.", param=param)


def _evolve(connection: Connection, batch_id: str, **changes: Any) -> Batch:
    batch = BATCHES.get(connection, batch_id, for_update=True).evolve(int(time.time()), **changes)
    BATCHES.replace(connection, batch_id, batch)
    return batch
