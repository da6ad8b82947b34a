"""The indexes behind vector stores, opened once each."""

import threading

from luthier.config import Settings
from luthier.errors import NotFoundError
from luthier.storage.indexes import Indexes, IndexSpec, VectorIndex, open_indexes


class StoreIndexes:
    """One index for each vector store, by its id. The place is opened when it is first needed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._place: Indexes | None = None
        self._opened: dict[str, VectorIndex] = {}

    def find(self, store_id: str) -> VectorIndex | None:
        """The index of a store; None where nothing has been embedded yet.

        Raises:
            ConfigError: the place of the indexes cannot be used.
        """
        with self._lock:
            return self._find(store_id)

    def ensure(self, store_id: str, dimensions: int, model: str) -> VectorIndex:
        """The index of a store, made where it is not there. Raises as `find`."""
        with self._lock:
            found = self._find(store_id)
            if found is None:
                found = self._opened[store_id] = self._indexes().create(IndexSpec(store_id, dimensions, model))
            return found

    def drop(self, store_id: str) -> None:
        """Remove the index of a store, if there is one. Raises as `find`."""
        with self._lock:
            index = self._find(store_id)
            if index is not None:
                index.close()
                del self._opened[store_id]
                self._indexes().drop(store_id)

    def close(self) -> None:
        with self._lock:
            for index in self._opened.values():
                index.close()
            self._opened.clear()
            if self._place is not None:
                self._place.close()
                self._place = None

    def _find(self, store_id: str) -> VectorIndex | None:
        if store_id not in self._opened:
            try:
                self._opened[store_id] = self._indexes().open(store_id)
            except NotFoundError:
                return None
        return self._opened[store_id]

    def _indexes(self) -> Indexes:
        if self._place is None:
            self._place = open_indexes(self._settings.vector_stores_place)
        return self._place
