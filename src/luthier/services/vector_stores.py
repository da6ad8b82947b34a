"""Vector stores: what `/v1/vector_stores` does.

Their files are in `services.vector_store_files`, searches in `services.vector_store_search`, and
`services.vector_store_worker` embeds.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from luthier.config import Settings
from luthier.domain.names import STORE_PREFIX, new_id
from luthier.domain.page import Page
from luthier.domain.vector_store import FileCounts, StoreStatus, VectorStore
from luthier.services.metadata import check_metadata
from luthier.services.store_indexes import StoreIndexes
from luthier.services.vector_store_checks import PutFile, files_to_store, live_store
from luthier.storage.files import FileStore
from luthier.storage.vector_stores import VectorStoreStore


@dataclass(frozen=True)
class CreateStore:
    name: str = ""
    description: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    expires_days: int | None = None
    files: tuple[PutFile, ...] = ()


@dataclass(frozen=True)
class StoreView:
    """A store with what is counted of it, as it is now."""

    store: VectorStore
    status: StoreStatus
    counts: FileCounts
    usage_bytes: int

    @classmethod
    def of(cls, store: VectorStore, counts: FileCounts, usage_bytes: int) -> Self:
        status = StoreStatus.IN_PROGRESS if counts.in_progress else StoreStatus.COMPLETED
        if store.is_expired(time.time()):
            status = StoreStatus.EXPIRED
        return cls(store, status, counts, 0 if store.emptied else usage_bytes)


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
        indexes: StoreIndexes,
        wake: Callable[[], None],
    ) -> None:
        self._model = settings.vector_store_model
        self._stores = stores
        self._files = files
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
        self._stores.create(store, files_to_store(self._files, store.id, request.files, "file_ids"))
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
        return Page(tuple(StoreView.of(store, *counted[store.id]) for store in found.items), found.has_more)

    def update(self, store_id: str, **changes: Any) -> StoreView:
        """
        Args:
            changes: of name, metadata, expires_days.

        Raises:
            NotFoundError: there is no such store.
            InvalidRequestError: metadata that does not fit, or the store has expired.
        """
        check_metadata(changes.get("metadata") or {})
        live_store(self._stores, store_id)
        return self._view(self._stores.update(store_id, **changes))

    def delete(self, store_id: str) -> None:
        """Remove a store and its vectors; the files themselves stay.

        Raises:
            NotFoundError: there is no such store.
        """
        self._stores.update(store_id, emptied=True)  # whatever happens now, it is not found in any more
        self._indexes.drop(store_id)
        self._stores.delete(store_id)

    def _view(self, store: VectorStore) -> StoreView:
        return StoreView.of(store, *self._stores.counts([store.id])[store.id])
