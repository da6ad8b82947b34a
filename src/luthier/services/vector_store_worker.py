"""Embeds the files of vector stores: a thread that takes one file after the other.

What is to be done stands in the store: it may die at any moment, and begins a file anew that it had not finished.
"""

import asyncio
import logging
import threading
import time
from contextlib import suppress
from itertools import islice
from typing import Any

from luthier.datasets.documents import UnsupportedDocumentError, pieces, read_document
from luthier.domain.filters import Scalar
from luthier.domain.priority import BACKGROUND
from luthier.domain.vector_store import FileProblem, StoredFile, StoredStatus, piece_id
from luthier.errors import DataError, LuthierError, NotFoundError, RateLimitError, UnavailableError
from luthier.modeling.bases import BaseStore
from luthier.services.embeddings import EmbeddingRequest, EmbeddingService, Vectors, cl100k
from luthier.services.store_indexes import StoreIndexes, fitted
from luthier.storage.blobs import Blobs
from luthier.storage.files import FileStore
from luthier.storage.indexes import Record
from luthier.storage.vector_stores import VectorStoreStore

logger = logging.getLogger(__name__)

_GROUP = 32  # pieces embedded at once
_IDLE_SECONDS = 60.0
_RETRY_SECONDS = 1.0
_PATIENCE_SECONDS = 120.0  # that a model may be unavailable before a file fails for it
_STOP_SECONDS = 20.0


class _StoppingError(Exception):
    """The server stops."""


class _UnwantedError(Exception):
    """The file has been removed, put in anew or cancelled meanwhile."""


class VectorStoreWorker:
    """Takes the files of all stores, one after the other, to their end; removes the vectors of expired stores."""

    def __init__(
        self,
        stores: VectorStoreStore,
        files: FileStore,
        blobs: Blobs,
        bases: BaseStore,
        embeddings: EmbeddingService,
        indexes: StoreIndexes,
    ) -> None:
        self._stores = stores
        self._files = files
        self._blobs = blobs
        self._bases = bases
        self._embeddings = embeddings
        self._indexes = indexes
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vector-stores", daemon=True)
        self._added = 0  # pieces of the file at hand that may be in the index

    def start(self) -> None:
        """Take up the files that wait, also those that a server before this one left."""
        self._thread.start()

    def wake(self) -> None:
        """There are new files. From any thread."""
        self._news.set()

    def stop(self) -> None:
        """Leave the file at hand to be begun anew. Returns within seconds."""
        self._stopping.set()
        self._news.set()
        self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        BACKGROUND.set(True)
        while not self._stopping.is_set():
            self._news.clear()
            try:
                self._take_all()
                self._empty_expired()
                self._remove_deleted()
            except _StoppingError:
                return
            except Exception:  # the thread outlives a locked database or a full disk
                logger.exception("The files of vector stores wait %g s after an error", _IDLE_SECONDS)
            if not self._stopping.is_set():  # it may have been set just before `clear`
                self._news.wait(_IDLE_SECONDS)

    def _take_all(self) -> None:
        """Take all waiting files to their end; those whose index cannot be used now are left for the next time."""
        left: list[str] = []
        while waiting := self._stores.waiting(1, but=left):
            try:
                self._take(waiting[0])
            except _StoppingError:
                raise
            except Exception:
                logger.exception("%s waits: the index of %s fails", waiting[0].file_id, waiting[0].store_id)
                left.append(waiting[0].attempt)

    def _take(self, file: StoredFile) -> None:
        """Take one file to its end, whatever that is."""
        try:
            self._embed(file)
        except _UnwantedError:
            self._forget(file)
        except UnsupportedDocumentError as error:
            self._fail(file, FileProblem.UNSUPPORTED_FILE, error.message)
        except DataError as error:
            self._fail(file, FileProblem.INVALID_FILE, error.message)
        except LuthierError as error:
            self._fail(file, FileProblem.SERVER_ERROR, error.message)
        except _StoppingError:
            raise
        except Exception as error:
            logger.exception("%s cannot be put into %s", file.file_id, file.store_id)
            self._fail(file, FileProblem.SERVER_ERROR, f"It cannot be embedded: {type(error).__name__}.")

    def _fail(self, file: StoredFile, code: FileProblem, message: str) -> None:
        self._forget(file)
        self._stores.progress(
            file, status=StoredStatus.FAILED, error_code=code, error_message=message, n_pieces=0, usage_bytes=0
        )

    def _embed(self, file: StoredFile) -> None:
        """
        Raises:
            LuthierError: the file cannot be read, or not be embedded.
            _StoppingError, _UnwantedError: it is not to be gone on with.
        """
        self._added = file.n_pieces  # by a server that was ended meanwhile
        try:
            uploaded = self._files.get(file.file_id)
            text = read_document(self._blobs.path(file.file_id), uploaded.filename)
        except NotFoundError:
            raise DataError(f"The file {file.file_id} has been deleted.") from None
        model = self._stores.get(file.store_id).model
        cut = pieces(text, cl100k(self._bases.vocabulary()), file.max_tokens, file.overlap_tokens)
        count = used = 0
        for group in iter(lambda: list(islice(cut, _GROUP)), []):
            vectors = self._vectors(file, model, group)
            of_file: dict[str, Scalar] = {"file_id": file.file_id, "attempt": file.attempt}
            records = [Record(piece_id(file.attempt, count + at), one, of_file) for at, one in enumerate(group)]
            count += len(group)
            used += vectors.nbytes + sum(len(one.encode()) for one in group)
            self._added = max(count, self._added)
            # Told before they are put in, so that whoever removes the file removes them all.
            self._check(file, n_pieces=self._added, usage_bytes=used)
            with self._indexes.ensure(file.store_id, vectors.shape[1], model) as index:
                index.add(records, fitted(vectors, index))
        self._progress(file, status=StoredStatus.COMPLETED, n_pieces=count)

    def _vectors(self, file: StoredFile, model: str, texts: list[str]) -> Vectors:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                return asyncio.run(self._embeddings.create(EmbeddingRequest(model, tuple(texts)))).vectors
            except (RateLimitError, UnavailableError):
                self._check(file)
                if time.monotonic() > deadline:
                    raise
                self._stopping.wait(_RETRY_SECONDS)

    def _check(self, file: StoredFile, **changes: Any) -> None:
        if self._stopping.is_set():
            raise _StoppingError
        self._progress(file, **changes)

    def _progress(self, file: StoredFile, **changes: Any) -> None:
        if self._stores.progress(file, **changes) is None:
            raise _UnwantedError

    def _forget(self, file: StoredFile) -> None:
        """Remove the pieces that this attempt has put into the index."""
        with self._indexes.find(file.store_id) as index:
            if index is not None:
                index.delete([piece_id(file.attempt, number) for number in range(self._added)])
        try:
            self._stores.get(file.store_id)
        except NotFoundError:
            self._indexes.drop(file.store_id)

    def _empty_expired(self) -> None:
        for store in self._stores.expiring():
            if store.is_expired(time.time()):
                self._indexes.drop(store.id)
                self._stores.update(store.id, emptied=True)

    def _remove_deleted(self) -> None:
        """Take out files whose upload was deleted, where that could not be done then."""
        for file in self._stores.of_deleted_files():
            self._added = file.n_pieces
            self._forget(file)
            with suppress(NotFoundError):
                self._stores.remove_file(file.store_id, file.file_id)
