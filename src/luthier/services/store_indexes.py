"""The indexes behind vector stores, open while they are in use and for a while after."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from luthier.config import Settings
from luthier.errors import NotFoundError
from luthier.storage.indexes import Indexes, IndexSpec, VectorIndex, open_indexes
from luthier.types import Floats

_KEPT_OPEN = 32
"""Indexes that stay open when nobody uses them: each holds several files of the process."""


class StoreIndexes:
    """One index for each vector store, by its id. The place is opened when it is first needed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._changed = threading.Condition()
        self._place: Indexes | None = None
        self._opened: dict[str, VectorIndex] = {}  # the one used last stands last
        self._users: Counter[str] = Counter()

    @contextmanager
    def find(self, store_id: str) -> Iterator[VectorIndex | None]:
        """The index of a store while the block runs; None where nothing has been embedded yet.

        Raises:
            ConfigError: the place of the indexes cannot be used.
        """
        with self._changed:
            found = self._find(store_id)
            if found is not None:
                self._users[store_id] += 1
        if found is None:
            yield None
            return
        with self._released(store_id):
            yield found

    @contextmanager
    def ensure(self, store_id: str, dimensions: int, model: str) -> Iterator[VectorIndex]:
        """The index of a store while the block runs, made where it is not there. Raises as `find`."""
        with self._changed:
            found = self._find(store_id)
            if found is None:
                found = self._opened[store_id] = self._indexes().create(IndexSpec(store_id, dimensions, model))
            self._users[store_id] += 1
        with self._released(store_id):
            yield found

    def drop(self, store_id: str) -> None:
        """Remove the index of a store, if there is one, once nobody uses it. Raises as `find`."""
        with self._changed:
            self._changed.wait_for(lambda: not self._users[store_id])
            index = self._find(store_id)
            if index is not None:
                index.close()
                del self._opened[store_id]
                self._indexes().drop(store_id)

    def close(self) -> None:
        with self._changed:
            for index in self._opened.values():
                index.close()
            self._opened.clear()
            if self._place is not None:
                self._place.close()
                self._place = None

    @contextmanager
    def _released(self, store_id: str) -> Iterator[None]:
        """Gives an index back at the end, and closes those that were not used for longest."""
        try:
            yield
        finally:
            with self._changed:
                self._users -= Counter([store_id])
                idle = [one for one in self._opened if not self._users[one]]
                for one in idle[: max(len(self._opened) - _KEPT_OPEN, 0)]:
                    self._opened.pop(one).close()
                self._changed.notify_all()

    def _find(self, store_id: str) -> VectorIndex | None:
        found = self._opened.pop(store_id, None)
        if found is None:
            try:
                found = self._indexes().open(store_id)
            except NotFoundError:
                return None
        self._opened[store_id] = found
        return found

    def _indexes(self) -> Indexes:
        if self._place is None:
            self._place = open_indexes(self._settings.vector_stores_place)
        return self._place


def fitted(vectors: Floats, index: VectorIndex) -> Floats:
    """Embeddings as wide as those in an index, where only zeros tell them apart: LUTHIER_EMBEDDING_WIDTH may change."""
    width = index.spec.dimensions
    if vectors[:, width:].any():  # of other weights, which the index refuses
        return vectors
    return np.pad(vectors[:, :width], ((0, 0), (0, max(width - vectors.shape[1], 0))))
