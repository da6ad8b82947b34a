"""Records of vector stores, their files and batches of files. The vectors lie in `storage.indexes`."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, func, select

from luthier.domain.file import FileStatus
from luthier.domain.filters import Scalar
from luthier.domain.page import Page
from luthier.domain.vector_store import FileBatch, FileCounts, StoredFile, StoredStatus, VectorStore, stored_id
from luthier.errors import NotFoundError
from luthier.storage.db import Database
from luthier.storage.rows import Rows
from luthier.storage.schema import files, vector_store_batches, vector_store_files, vector_stores

STORES = Rows(vector_stores, VectorStore, "vector store", "vector_store_id")
STORED = Rows(vector_store_files, StoredFile, "file in the vector store", "file_id")
STORE_BATCHES = Rows(vector_store_batches, FileBatch, "batch of files", "batch_id")


class VectorStoreStore:
    """Each change is one transaction."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def create(self, store: VectorStore, files: Sequence[StoredFile] = ()) -> None:
        with self._db.write() as connection:
            STORES.insert(connection, store)
            for file in files:
                STORED.insert(connection, file)

    def get(self, store_id: str) -> VectorStore:
        """
        Raises:
            NotFoundError: there is no such store.
        """
        with self._db.read() as connection:
            return STORES.get(connection, store_id)

    def list(self, **page: Any) -> Page[VectorStore]:
        """A page of stores, as `Rows.page`."""
        with self._db.read() as connection:
            return STORES.page(connection, select(vector_stores), **page)

    def expiring(self) -> tuple[VectorStore, ...]:
        """The stores that expire some day and still have vectors."""
        query = select(vector_stores).where(vector_stores.c.expires_days.is_not(None), ~vector_stores.c.emptied)
        with self._db.read() as connection:
            return STORES.page(connection, query).items

    def update(self, store_id: str, **changes: Any) -> VectorStore:
        """
        Raises:
            NotFoundError: there is no such store.
        """
        with self._db.write() as connection:
            store = replace(STORES.get(connection, store_id, for_update=True), **changes)
            STORES.replace(connection, store_id, store)
        return store

    def touch(self, store_id: str) -> VectorStore:
        """It is in use now."""
        return self.update(store_id, last_active_at=int(time.time()))

    def delete(self, store_id: str) -> None:
        """Remove a store and what it says of its files.

        Raises:
            NotFoundError: there is no such store.
        """
        with self._db.write() as connection:
            STORES.get(connection, store_id, for_update=True)
            STORES.delete(connection, store_id)

    def counts(self, store_ids: Iterable[str]) -> dict[str, tuple[FileCounts, int]]:
        """Files of stores by status, and bytes that they use."""
        table = vector_store_files
        return self._counts(table.c.store_id, list(store_ids))

    def batch_counts(self, batch_id: str) -> FileCounts:
        """Files of a batch by status."""
        return self._counts(vector_store_files.c.batch_id, [batch_id])[batch_id][0]

    def _counts(self, column: Any, ids: Sequence[str]) -> dict[str, tuple[FileCounts, int]]:
        table = vector_store_files
        query = (
            select(column, table.c.status, func.count(), func.sum(table.c.usage_bytes))
            .where(column.in_(ids))
            .group_by(column, table.c.status)
        )
        counted: dict[str, tuple[FileCounts, int]] = {one: (FileCounts(), 0) for one in ids}
        with self._db.read() as connection:
            for one, status, n, size in connection.execute(query):
                counts, used = counted[one]
                counted[one] = (replace(counts, **{status: n}), used + int(size))
        return counted

    def put(self, files: Sequence[StoredFile], batch: FileBatch | None = None) -> tuple[StoredFile, ...]:
        """Put files of one store into it; one that is there already is put in anew.

        Returns:
            The records that were there before.

        Raises:
            NotFoundError: the store has been deleted meanwhile.
        """
        old: tuple[StoredFile, ...] = ()
        with self._db.write() as connection:
            STORES.get(connection, files[0].store_id)
            if batch is not None:
                STORE_BATCHES.insert(connection, batch)
            for file in files:
                try:
                    old += (STORED.get(connection, file.id, for_update=True),)
                    STORED.replace(connection, file.id, file)  # in its place: lists may be being read
                except NotFoundError:
                    STORED.insert(connection, file)
        return old

    def file(self, store_id: str, file_id: str) -> StoredFile:
        """
        Raises:
            NotFoundError: the store has no such file.
        """
        with self._db.read() as connection:
            return _file(connection, store_id, file_id)

    def files(
        self,
        store_id: str,
        *,
        status: StoredStatus | None = None,
        batch_id: str | None = None,
        after: str | None = None,
        before: str | None = None,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> Page[StoredFile]:
        """A page of a store's files; `after` and `before` are ids of files."""
        query = select(vector_store_files).where(vector_store_files.c.store_id == store_id)
        if status is not None:
            query = query.where(vector_store_files.c.status == status)
        if batch_id is not None:
            query = query.where(vector_store_files.c.batch_id == batch_id)
        ends = [stored_id(store_id, one) if one is not None else None for one in (after, before)]
        with self._db.read() as connection:
            return STORED.page(connection, query, after=ends[0], before=ends[1], limit=limit, newest_first=newest_first)

    def waiting(self, limit: int, but: Sequence[str] = ()) -> tuple[StoredFile, ...]:
        """The files that are to be embedded, those that came first first, but for some attempts."""
        table = vector_store_files
        query = select(table).where(table.c.status == StoredStatus.IN_PROGRESS, table.c.attempt.not_in(but))
        with self._db.read() as connection:
            return STORED.page(connection, query, limit=limit).items

    def with_file(self, file_id: str) -> tuple[StoredFile, ...]:
        """A file's records in all stores."""
        with self._db.read() as connection:
            query = select(vector_store_files).where(vector_store_files.c.file_id == file_id)
            return STORED.page(connection, query).items

    def of_deleted_files(self) -> tuple[StoredFile, ...]:
        """Records of files whose upload was deleted."""
        deleted = select(files.c.id).where(files.c.status == FileStatus.DELETED)
        query = select(vector_store_files).where(vector_store_files.c.file_id.in_(deleted))
        with self._db.read() as connection:
            return STORED.page(connection, query).items

    def progress(self, file: StoredFile, **changes: Any) -> StoredFile | None:
        """Change the record of a file that is being embedded; None where it no longer is, or is put in anew."""
        with self._db.write() as connection:
            try:
                now = STORED.get(connection, file.id, for_update=True)
            except NotFoundError:
                return None
            if now.attempt != file.attempt or now.status is not StoredStatus.IN_PROGRESS:
                return None
            changed = replace(now, **changes)
            if changes:
                STORED.replace(connection, file.id, changed)
        return changed

    def set_attributes(self, store_id: str, file_id: str, attributes: dict[str, Scalar]) -> StoredFile:
        """
        Raises:
            NotFoundError: the store has no such file.
        """
        with self._db.write() as connection:
            file = replace(_file(connection, store_id, file_id), attributes=attributes)
            STORED.replace(connection, file.id, file)
        return file

    def withdraw(self, store_id: str, file_id: str) -> StoredFile:
        """Let a file no longer be found or gone on with, so that its pieces can be removed, and then the file.

        Raises:
            NotFoundError: the store has no such file.
        """
        with self._db.write() as connection:
            file = replace(_file(connection, store_id, file_id), status=StoredStatus.CANCELLED)
            STORED.replace(connection, file.id, file)
        return file

    def remove_file(self, store_id: str, file_id: str) -> StoredFile:
        """
        Raises:
            NotFoundError: the store has no such file.
        """
        with self._db.write() as connection:
            file = _file(connection, store_id, file_id)
            STORED.delete(connection, file.id)
        return file

    def batch(self, store_id: str, batch_id: str) -> FileBatch:
        """
        Raises:
            NotFoundError: the store has no such batch.
        """
        with self._db.read() as connection:
            batch = STORE_BATCHES.get(connection, batch_id)
        if batch.store_id != store_id:
            raise NotFoundError(f"No such batch of files: {batch_id}", param="batch_id", code="batch_id_not_found")
        return batch

    def cancel_batch(self, batch_id: str) -> FileBatch:
        """Give up those files of a batch that are not done."""
        with self._db.write() as connection:
            batch = replace(STORE_BATCHES.get(connection, batch_id, for_update=True), cancelled=True)
            STORE_BATCHES.replace(connection, batch_id, batch)
            table = vector_store_files
            connection.execute(
                table.update()
                .where(table.c.batch_id == batch_id, table.c.status == StoredStatus.IN_PROGRESS)
                .values(status=StoredStatus.CANCELLED)
            )
        return batch


def _file(connection: Connection, store_id: str, file_id: str) -> StoredFile:
    try:
        return STORED.get(connection, stored_id(store_id, file_id))
    except NotFoundError:
        raise NotFoundError(
            f"No such file in the vector store {store_id}: {file_id}", param="file_id", code="file_id_not_found"
        ) from None
