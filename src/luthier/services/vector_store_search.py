"""Questions to vector stores."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass

from luthier.domain.filters import Comparison, Filter, Op, check, matches
from luthier.domain.vector_store import FoundPiece, StoredStatus, VectorStore
from luthier.errors import InvalidRequestError
from luthier.services.embeddings import EmbeddingRequest, EmbeddingService
from luthier.services.store_indexes import StoreIndexes, fitted
from luthier.services.vector_store_checks import live_store
from luthier.storage.files import FileStore
from luthier.storage.indexes import IndexHit, VectorIndex
from luthier.storage.vector_stores import VectorStoreStore
from luthier.types import Floats

_SPARE = 20  # hits beyond those asked for: some may be of files that are just being removed


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


class VectorStoreSearch:
    """Finds pieces of files."""

    def __init__(
        self, stores: VectorStoreStore, files: FileStore, embeddings: EmbeddingService, indexes: StoreIndexes
    ) -> None:
        self._stores = stores
        self._files = files
        self._embeddings = embeddings
        self._indexes = indexes

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
        store = await asyncio.to_thread(live_store, self._stores, store_id)
        try:
            embedded = await self._embeddings.create(EmbeddingRequest(store.model, request.queries))
        except InvalidRequestError as error:
            raise InvalidRequestError(f"'query' cannot be embedded: {error.message}", param="query") from None
        return await asyncio.to_thread(self._search, store, request, embedded.vectors)

    def _search(self, store: VectorStore, request: SearchStore, vectors: Floats) -> tuple[FoundPiece, ...]:
        self._stores.touch(store.id)
        stored = self._stores.files(store.id).items
        wanted = {
            file.attempt: file
            for file in stored
            if file.status is StoredStatus.COMPLETED and matches(request.filters, file.attributes)
        }
        with self._indexes.find(store.id) as index:
            if index is None or not wanted:
                return ()
            best = _best(index, fitted(vectors, index), request.k, wanted, everything=len(wanted) == len(stored))
        hits = sorted(best.values(), key=lambda hit: (-hit.score, hit.record.id))
        found = []
        for hit in hits[: request.k]:
            file = wanted[str(hit.record.attributes["attempt"])]
            score = min(max(hit.score, 0.0), 1.0)
            if score >= request.threshold:
                name = self._files.get(file.file_id, deleted=True).filename
                found.append(FoundPiece(file.file_id, name, score, hit.record.text, file.attributes))
        return tuple(found)


def _best(
    index: VectorIndex, vectors: Floats, k: int, wanted: Collection[str], *, everything: bool
) -> dict[str, IndexHit]:
    """By id the pieces nearest to any of the vectors, with their best score; at least `k` where there are so many.

    Args:
        wanted: the attempts whose pieces count.
        everything: most likely the index has no others.
    """
    of_wanted = Comparison("attempt", Op.IN, tuple(wanted))
    best: dict[str, IndexHit] = {}
    for vector in vectors:
        hits = index.search(vector, k + _SPARE, None if everything else of_wanted)
        counting = [hit for hit in hits if hit.record.attributes["attempt"] in wanted]
        if len(counting) < min(k, len(hits)):  # pieces of files that are gone stand before them
            counting = index.search(vector, k, of_wanted)
        for hit in counting:
            known = best.get(hit.record.id)
            best[hit.record.id] = hit if known is None or known.score < hit.score else known
    return best
