"""Metadata of files. Their bytes lie in `storage.blobs`."""

from dataclasses import replace
from typing import Any

from sqlalchemy import select

from luthier.domain.file import File, FileStatus, Purpose
from luthier.domain.page import Page
from luthier.errors import NotFoundError
from luthier.storage.db import Database
from luthier.storage.rows import Rows
from luthier.storage.schema import batches, files, jobs
from luthier.storage.users import refuse_while_used

FILES = Rows(files, File, "File object", "id")


class FileStore:
    """A deleted file's row stays, with status `deleted`, because jobs name their files for ever."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def create(self, file: File) -> File:
        with self._db.write() as connection:
            FILES.insert(connection, file)
        return file

    def get(self, file_id: str, *, deleted: bool = False) -> File:
        """
        Args:
            deleted: deleted files count too.

        Raises:
            NotFoundError: there is no such file.
        """
        with self._db.read() as connection:
            file = FILES.get(connection, file_id)
        if file.status is FileStatus.DELETED and not deleted:
            raise NotFoundError(f"No such File object: {file_id}", param="id", code="id_not_found")
        return file

    def list(
        self,
        *,
        purpose: Purpose | None = None,
        after: str | None = None,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> Page[File]:
        query = select(files).where(files.c.status != FileStatus.DELETED)
        if purpose is not None:
            query = query.where(files.c.purpose == purpose)
        with self._db.read() as connection:
            return FILES.page(connection, query, after=after, limit=limit, newest_first=newest_first)

    def update(self, file_id: str, **changes: Any) -> File:
        with self._db.write() as connection:
            file = replace(FILES.get(connection, file_id, for_update=True), **changes)
            FILES.replace(connection, file_id, file)
        return file

    def delete(self, file_id: str) -> None:
        """
        Raises:
            NotFoundError: there is no such file.
            InvalidRequestError: a job or batch that waits or runs reads it.
        """
        self.get(file_id)
        with self._db.write() as connection:
            used = (jobs.c.training_file == file_id) | (jobs.c.validation_file == file_id)
            refuse_while_used(connection, used, file_id, "id")
            refuse_while_used(connection, batches.c.input_file == file_id, file_id, "id", batches)
            file = replace(FILES.get(connection, file_id, for_update=True), status=FileStatus.DELETED)
            FILES.replace(connection, file_id, file)
