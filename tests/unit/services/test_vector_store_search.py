"""Questions to vector stores, where the index holds more than the store."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from luthier.config import Settings
from luthier.domain.file import File, FileStatus, Purpose
from luthier.domain.vector_store import StoredFile, StoredStatus, VectorStore, piece_id, stored_id
from luthier.services.store_indexes import StoreIndexes
from luthier.services.vector_store_search import SearchStore, VectorStoreSearch
from luthier.storage.db import Database
from luthier.storage.files import FileStore
from luthier.storage.indexes import Record
from luthier.storage.vector_stores import VectorStoreStore

ASKED = np.array([[1, 0, 0]], np.float32)


class Embeddings:
    """Every question has one vector."""

    async def create(self, _request: object) -> Any:
        return SimpleNamespace(vectors=ASKED)


def test_pieces_that_a_kill_left_behind_hide_nothing(settings: Settings) -> None:
    database = Database.open(settings)
    files, stores, indexes = FileStore(database), VectorStoreStore(database), StoreIndexes(settings)
    files.create(File("file-a", "a.txt", Purpose.ASSISTANTS, 1, 0, FileStatus.PROCESSED))
    stores.create(VectorStore("vs_1", "", "m", 0, 0))
    stored = StoredFile(
        stored_id("vs_1", "file-a"), "vs_1", "file-a", 0, 800, 400, "new", StoredStatus.COMPLETED, n_pieces=3
    )
    stores.put([stored])
    with indexes.ensure("vs_1", 3, "m") as index:
        for attempt, n, aside in (("old", 60, 0.0), ("new", 3, 0.5)):
            records = [Record(piece_id(attempt, at), attempt, {"attempt": attempt}) for at in range(n)]
            index.add(records, ASKED + np.arange(1, n + 1, dtype=np.float32)[:, None] * [0, 1e-4, aside])
    search = VectorStoreSearch(stores, files, cast(Any, Embeddings()), indexes)
    found = asyncio.run(search.search("vs_1", SearchStore(("x",), k=10)))
    assert [one.text for one in found] == ["new"] * 3
    indexes.close()
    database.close()
