"""Batches. Each change of one is one transaction."""

import time
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, select

from luthier.domain.batch import Batch, BatchStatus
from luthier.domain.file import File, FileStatus
from luthier.domain.page import Page
from luthier.errors import InvalidRequestError
from luthier.storage.db import Database
from luthier.storage.files import FILES
from luthier.storage.rows import Rows
from luthier.storage.schema import batches, files

BATCHES = Rows(batches, Batch, "batch", "batch_id")

_OPEN = [status for status in BatchStatus if not status.is_final]
_CANCELLABLE = (BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS)


class BatchStore:
    """The batches that wait, run and are over, oldest first unless told otherwise."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def create(self, batch: Batch) -> Batch:
        """
        Raises:
            InvalidRequestError: its file has been deleted meanwhile.
        """
        deleted = select(files.c.id).where(files.c.id == batch.input_file, files.c.status == FileStatus.DELETED)
        with self._db.write() as connection:
            if connection.execute(deleted).first() is not None:
                raise InvalidRequestError(f"{batch.input_file} has been deleted meanwhile.", param="input_file_id")
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


def _evolve(connection: Connection, batch_id: str, **changes: Any) -> Batch:
    batch = BATCHES.get(connection, batch_id, for_update=True).evolve(int(time.time()), **changes)
    BATCHES.replace(connection, batch_id, batch)
    return batch
