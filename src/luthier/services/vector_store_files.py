"""The files of vector stores, and batches of them."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from luthier.datasets.documents import read_document
from luthier.domain.filters import Scalar
from luthier.domain.names import STORE_BATCH_PREFIX, new_id
from luthier.domain.page import Page
from luthier.domain.vector_store import MAX_FILES, FileBatch, FileCounts, StoredFile, StoredStatus, piece_id
from luthier.errors import InvalidRequestError, NotFoundError
from luthier.services.metadata import check_attributes
from luthier.services.store_indexes import StoreIndexes
from luthier.services.vector_store_checks import PutFile, files_to_store, live_store
from luthier.storage.blobs import Blobs
from luthier.storage.files import FileStore
from luthier.storage.vector_stores import VectorStoreStore


@dataclass(frozen=True)
class BatchView:
    """A batch of files with what is counted of it, as it is now."""

    batch: FileBatch
    status: StoredStatus
    counts: FileCounts

    @classmethod
    def of(cls, batch: FileBatch, counts: FileCounts) -> Self:
        status = StoredStatus.COMPLETED
        if batch.cancelled:
            status = StoredStatus.CANCELLED
        elif counts.in_progress:
            status = StoredStatus.IN_PROGRESS
        elif counts.failed and not counts.completed:
            status = StoredStatus.FAILED
        return cls(batch, status, counts)


class VectorStoreFileService:
    """
    Args:
        wake: tells the worker that there is something to embed.
    """

    def __init__(
        self, stores: VectorStoreStore, files: FileStore, blobs: Blobs, indexes: StoreIndexes, wake: Callable[[], None]
    ) -> None:
        self._stores = stores
        self._files = files
        self._blobs = blobs
        self._indexes = indexes
        self._wake = wake

    def put_file(self, store_id: str, file: PutFile) -> StoredFile:
        """Have a file embedded; one that is there already is put in anew.

        Raises:
            NotFoundError: there is no such store.
            InvalidRequestError: no such file, or one that is not for this, or the store has expired; `param` names the
                field.
        """
        live_store(self._stores, store_id)
        (stored,) = files_to_store(self._files, store_id, [file], "file_id")
        self._put([stored])
        return stored

    def put_files(self, store_id: str, files: Sequence[PutFile], param: str) -> BatchView:
        """Have several files embedded. Raises as `put_file`."""
        live_store(self._stores, store_id)
        if not 1 <= len(files) <= MAX_FILES:
            raise InvalidRequestError(f"'{param}' names {len(files)} files; 1 to {MAX_FILES:,} can be.", param=param)
        batch = FileBatch(new_id(STORE_BATCH_PREFIX), store_id, int(time.time()))
        self._put(files_to_store(self._files, store_id, files, param, batch.id), batch)
        return self._view(batch)

    def batch(self, store_id: str, batch_id: str) -> BatchView:
        """
        Raises:
            NotFoundError: there is no such store, or it has no such batch.
        """
        self._stores.get(store_id)
        return self._view(self._stores.batch(store_id, batch_id))

    def cancel_batch(self, store_id: str, batch_id: str) -> BatchView:
        """Give up the files of a batch that are not done; those that are stay.

        Raises:
            NotFoundError: there is no such store, or it has no such batch.
            InvalidRequestError: all of its files are done.
        """
        if not self.batch(store_id, batch_id).counts.in_progress:
            raise InvalidRequestError("No file of this batch is in progress any more.", param="batch_id")
        return self._view(self._stores.cancel_batch(batch_id))

    def files(self, store_id: str, batch_id: str | None = None, **page: Any) -> Page[StoredFile]:
        """A page of a store's files, or of one batch's; raises as `batch` and `Rows.page`."""
        self._stores.get(store_id)
        if batch_id is not None:
            self._stores.batch(store_id, batch_id)
        return self._stores.files(store_id, batch_id=batch_id, **page)

    def file(self, store_id: str, file_id: str) -> StoredFile:
        """
        Raises:
            NotFoundError: there is no such store, or it has no such file.
        """
        self._stores.get(store_id)
        return self._stores.file(store_id, file_id)

    def set_attributes(self, store_id: str, file_id: str, attributes: Mapping[str, Scalar]) -> StoredFile:
        """
        Raises:
            NotFoundError: there is no such store, or it has no such file.
            InvalidRequestError: too many attributes, or too long.
        """
        check_attributes(attributes)
        live_store(self._stores, store_id)
        return self._stores.set_attributes(store_id, file_id, dict(attributes))

    def remove_file(self, store_id: str, file_id: str) -> None:
        """Take a file out of a store; the file itself stays.

        Raises:
            NotFoundError: there is no such store, or it has no such file.
        """
        self._stores.get(store_id)
        self._forget(self._stores.withdraw(store_id, file_id))
        self._stores.remove_file(store_id, file_id)

    def forget(self, file_id: str) -> None:
        """Take a file that is deleted out of all stores."""
        for stored in self._stores.with_file(file_id):
            with suppress(NotFoundError):  # somebody else has removed it, or its store, meanwhile
                self.remove_file(stored.store_id, file_id)

    def content(self, store_id: str, file_id: str) -> str:
        """The text of a file in a store, as it was cut.

        Raises:
            NotFoundError: there is no such store, or it has no such file.
            InvalidRequestError: it is not embedded, or cannot be read.
        """
        stored = self.file(store_id, file_id)
        if stored.status is not StoredStatus.COMPLETED:
            raise InvalidRequestError(
                f"{file_id} is {stored.status} in this vector store, and so has no content there.", param="file_id"
            )
        return read_document(self._blobs.path(file_id), self._files.get(file_id).filename)

    def _put(self, files: Sequence[StoredFile], batch: FileBatch | None = None) -> None:
        for old in self._stores.put(files, batch):
            self._forget(old)
        self._stores.touch(files[0].store_id)
        self._wake()

    def _forget(self, file: StoredFile) -> None:
        """Remove a file's pieces from the index."""
        with self._indexes.find(file.store_id) as index:
            if index is not None and file.n_pieces:
                index.delete([piece_id(file.attempt, number) for number in range(file.n_pieces)])

    def _view(self, batch: FileBatch) -> BatchView:
        return BatchView.of(batch, self._stores.batch_counts(batch.id))
