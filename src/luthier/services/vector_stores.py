"""Vector stores: what `/v1/vector_stores` does. `services.vector_store_worker` embeds their files."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from luthier.config import Settings
from luthier.datasets.documents import read_document
from luthier.domain.file import Purpose
from luthier.domain.filters import Comparison, Filter, Op, Scalar, check, matches
from luthier.domain.names import ATTEMPT_PREFIX, STORE_BATCH_PREFIX, STORE_PREFIX, new_id
from luthier.domain.page import Page
from luthier.domain.vector_store import (
    MAX_FILES,
    Chunking,
    FileBatch,
    FileCounts,
    FoundPiece,
    StoredFile,
    StoredStatus,
    VectorStore,
    piece_id,
    stored_id,
)
from luthier.errors import InvalidRequestError, NotFoundError
from luthier.services.embeddings import EmbeddingRequest, EmbeddingService
from luthier.services.metadata import check_attributes, check_metadata
from luthier.services.store_indexes import StoreIndexes
from luthier.storage.blobs import Blobs
from luthier.storage.files import FileStore
from luthier.storage.indexes import IndexHit
from luthier.storage.vector_stores import VectorStoreStore
from luthier.types import Floats

MAX_RESULTS = 50
_SPARE = 20  # hits beyond those asked for: some may be of files that are just being removed
_PURPOSES = (Purpose.ASSISTANTS, Purpose.USER_DATA)


@dataclass(frozen=True)
class PutFile:
    """A file to be put into a store."""

    file_id: str
    attributes: Mapping[str, Scalar] = field(default_factory=dict)
    chunking: Chunking = field(default_factory=Chunking)


@dataclass(frozen=True)
class CreateStore:
    name: str = ""
    description: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    expires_days: int | None = None
    files: tuple[PutFile, ...] = ()


@dataclass(frozen=True)
class SearchStore:
    """
    Args:
        queries: each is searched for; a piece counts with its best score.
        threshold: least score, 0 to 1.
    """

    queries: tuple[str, ...]
    k: int = 10
    filters: Filter | None = None
    threshold: float = 0.0


@dataclass(frozen=True)
class StoreView:
    """A store with what is counted of it."""

    store: VectorStore
    counts: FileCounts
    usage_bytes: int


class VectorStoreService:
    """
    Args:
        wake: tells the worker that there is something to embed.
    """

    def __init__(
        self,
        settings: Settings,
        stores: VectorStoreStore,
        files: FileStore,
        blobs: Blobs,
        embeddings: EmbeddingService,
        indexes: StoreIndexes,
        wake: Callable[[], None],
    ) -> None:
        self._model = settings.vector_store_model
        self._stores = stores
        self._files = files
        self._blobs = blobs
        self._embeddings = embeddings
        self._indexes = indexes
        self._wake = wake

    def create(self, request: CreateStore) -> StoreView:
        """
        Raises:
            InvalidRequestError: something does not fit; `param` names the field.
        """
        check_metadata(request.metadata)
        now = int(time.time())
        store = VectorStore(
            new_id(STORE_PREFIX),
            request.name,
            self._model,
            created_at=now,
            last_active_at=now,
            description=request.description,
            metadata=dict(request.metadata),
            expires_days=request.expires_days,
        )
        files = [self._to_store(store.id, file, "file_ids") for file in _unique(request.files, "file_ids")]
        self._stores.create(store, files)
        self._wake()
        return self._view(store)

    def get(self, store_id: str) -> StoreView:
        """
        Raises:
            NotFoundError: there is no such store.
        """
        return self._view(self._stores.get(store_id))

    def list(self, **page: Any) -> Page[StoreView]:
        """A page of stores; raises as `Rows.page`."""
        found = self._stores.list(**page)
        counted = self._stores.counts([store.id for store in found.items])
        return Page(tuple(StoreView(store, *counted[store.id]) for store in found.items), found.has_more)

    def update(self, store_id: str, **changes: Any) -> StoreView:
        """
        Args:
            changes: of name, metadata, expires_days.

        Raises:
            NotFoundError: there is no such store.
            InvalidRequestError: metadata that does not fit, or the store has expired.
        """
        check_metadata(changes.get("metadata") or {})
        self._live(store_id)
        return self._view(self._stores.update(store_id, **changes))

    def delete(self, store_id: str) -> None:
        """Remove a store and its vectors; the files themselves stay.

        Raises:
            NotFoundError: there is no such store.
        """
        self._stores.delete(store_id)
        self._indexes.drop(store_id)

    def put_file(self, store_id: str, file: PutFile) -> StoredFile:
        """Have a file embedded; one that is there already is put in anew.

        Raises:
            NotFoundError: there is no such store.
            InvalidRequestError: no such file, or one that is not for this, or the store has expired; `param` names the
                field.
        """
        self._live(store_id)
        stored = self._to_store(store_id, file, "file_id")
        self._put([stored])
        return stored

    def put_files(self, store_id: str, files: Sequence[PutFile], param: str) -> tuple[FileBatch, FileCounts]:
        """Have several files embedded. Raises as `put_file`."""
        self._live(store_id)
        if not 1 <= len(files) <= MAX_FILES:
            raise InvalidRequestError(f"'{param}' names {len(files)} files; 1 to {MAX_FILES:,} can be.", param=param)
        batch = FileBatch(new_id(STORE_BATCH_PREFIX), store_id, int(time.time()))
        self._put([self._to_store(store_id, file, param, batch.id) for file in _unique(files, param)], batch)
        return batch, self._stores.batch_counts(batch.id)

    def batch(self, store_id: str, batch_id: str) -> tuple[FileBatch, FileCounts]:
        """
        Raises:
            NotFoundError: there is no such store, or it has no such batch.
        """
        self._stores.get(store_id)
        return self._stores.batch(store_id, batch_id), self._stores.batch_counts(batch_id)

    def cancel_batch(self, store_id: str, batch_id: str) -> tuple[FileBatch, FileCounts]:
        """Give up the files of a batch that are not done; those that are stay.

        Raises:
            NotFoundError: there is no such store, or it has no such batch.
            InvalidRequestError: all of its files are done.
        """
        _, counts = self.batch(store_id, batch_id)
        if not counts.in_progress:
            raise InvalidRequestError("No file of this batch is in progress any more.", param="batch_id")
        return self._stores.cancel_batch(batch_id), self._stores.batch_counts(batch_id)

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
        self._live(store_id)
        return self._stores.set_attributes(store_id, file_id, dict(attributes))

    def remove_file(self, store_id: str, file_id: str) -> None:
        """Take a file out of a store; the file itself stays.

        Raises:
            NotFoundError: there is no such store, or it has no such file.
        """
        self._stores.get(store_id)
        self._forget(self._stores.remove_file(store_id, file_id))

    def forget(self, file_id: str) -> None:
        """Take a file that is deleted out of all stores."""
        for stored in self._stores.with_file(file_id):
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

    async def search(self, store_id: str, request: SearchStore) -> tuple[FoundPiece, ...]:
        """The pieces nearest to the questions, best first.

        Raises:
            NotFoundError: there is no such store.
            InvalidRequestError: something does not fit, or the store has expired; `param` names the field.
            RateLimitError, UnavailableError: the questions cannot be embedded now.
        """
        if request.filters is not None:
            check(request.filters)
        if not request.queries or not all(query.strip() for query in request.queries):
            raise InvalidRequestError("'query' must be a text, or several, none of them empty.", param="query")
        store = await asyncio.to_thread(self._live, store_id)
        embedded = await self._embeddings.create(EmbeddingRequest(store.model, request.queries))
        return await asyncio.to_thread(self._search, store, request, embedded.vectors)

    def _search(self, store: VectorStore, request: SearchStore, vectors: Floats) -> tuple[FoundPiece, ...]:
        self._stores.touch(store.id)
        index = self._indexes.find(store.id)
        stored = self._stores.files(store.id).items
        wanted = {
            file.attempt: file
            for file in stored
            if file.status is StoredStatus.COMPLETED and matches(request.filters, file.attributes)
        }
        if index is None or not wanted:
            return ()
        # Most stores are searched whole; else the index is told which files count.
        where = None if len(wanted) == len(stored) else Comparison("attempt", Op.IN, tuple(wanted))
        best: dict[str, IndexHit] = {}
        for vector in vectors:
            for hit in index.search(vector, request.k + _SPARE, where):
                if hit.record.attributes["attempt"] in wanted:
                    known = best.get(hit.record.id)
                    best[hit.record.id] = hit if known is None or known.score < hit.score else known
        hits = sorted(best.values(), key=lambda hit: (-hit.score, hit.record.id))
        found = []
        for hit in hits[: request.k]:
            file = wanted[str(hit.record.attributes["attempt"])]
            score = min(max(hit.score, 0.0), 1.0)
            if score >= request.threshold:
                name = self._files.get(file.file_id, deleted=True).filename
                found.append(FoundPiece(file.file_id, name, score, hit.record.text, file.attributes))
        return tuple(found)

    def _live(self, store_id: str) -> VectorStore:
        """
        Raises:
            NotFoundError: there is no such store.
            InvalidRequestError: it has expired.
        """
        store = self._stores.get(store_id)
        if store.is_expired(time.time()):
            raise InvalidRequestError(
                f"The vector store {store_id} has expired after {store.expires_days} days without use. Make a new one.",
                param="vector_store_id",
                code="vector_store_expired",
            )
        return store

    def _to_store(self, store_id: str, file: PutFile, param: str, batch_id: str | None = None) -> StoredFile:
        """
        Raises:
            InvalidRequestError: no such file, one that is not for this, or attributes that do not fit.
        """
        check_attributes(file.attributes)
        try:
            uploaded = self._files.get(file.file_id)
        except NotFoundError:
            raise InvalidRequestError(
                f"There is no file {file.file_id}; it may have been deleted.", param=param
            ) from None
        if uploaded.purpose not in _PURPOSES:
            raise InvalidRequestError(
                f"{file.file_id} has the purpose '{uploaded.purpose}'; files for vector stores have "
                f"'{_PURPOSES[0]}' or '{_PURPOSES[1]}'.",
                param=param,
            )
        return StoredFile(
            stored_id(store_id, file.file_id),
            store_id,
            file.file_id,
            int(time.time()),
            file.chunking.max_tokens,
            file.chunking.overlap_tokens,
            new_id(ATTEMPT_PREFIX),
            attributes=dict(file.attributes),
            batch_id=batch_id,
        )

    def _put(self, files: Sequence[StoredFile], batch: FileBatch | None = None) -> None:
        for old in self._stores.put(files, batch):
            self._forget(old)
        self._stores.touch(files[0].store_id)
        self._wake()

    def _forget(self, file: StoredFile) -> None:
        """Remove a file's pieces from the index."""
        index = self._indexes.find(file.store_id)
        if index is not None and file.n_pieces:
            index.delete([piece_id(file.attempt, number) for number in range(file.n_pieces)])

    def _view(self, store: VectorStore) -> StoreView:
        return StoreView(store, *self._stores.counts([store.id])[store.id])


def _unique(files: Sequence[PutFile], param: str) -> Sequence[PutFile]:
    """
    Raises:
        InvalidRequestError: a file is named twice.
    """
    seen: set[str] = set()
    for file in files:
        if file.file_id in seen:
            raise InvalidRequestError(f"{file.file_id} is named twice.", param=param)
        seen.add(file.file_id)
    return files
