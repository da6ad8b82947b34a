"""The worker of vector stores: kills, indexes that fail, files that are gone."""

import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from luthier.config import Settings
from luthier.domain.file import File, FileStatus, Purpose
from luthier.domain.vector_store import StoredFile, StoredStatus, VectorStore, stored_id
from luthier.modeling.bases import BaseStore
from luthier.services.store_indexes import StoreIndexes
from luthier.services.vector_store_checks import PutFile
from luthier.services.vector_store_files import VectorStoreFileService
from luthier.services.vector_store_worker import VectorStoreWorker
from luthier.services.vector_stores import VectorStoreService
from luthier.storage.blobs import Blobs
from luthier.storage.db import Database
from luthier.storage.files import FileStore
from luthier.storage.vector_stores import VectorStoreStore
from luthier.testing import make_byte_vocabulary


class Killed(BaseException):
    """Ends the process, as it were."""


class Embeddings:
    async def create(self, request: Any) -> Any:
        return SimpleNamespace(vectors=np.ones((len(request.inputs), 3), np.float32))


class House:
    """Vector stores without a server, and what a server would find after this one."""

    def __init__(self, settings: Settings) -> None:
        make_byte_vocabulary(settings.models_dir)
        self.settings, self.blobs = settings, Blobs(settings)
        self.database = Database.open(settings)
        self.files, self.stores = FileStore(self.database), VectorStoreStore(self.database)
        self.indexes = StoreIndexes(settings)
        self.service = VectorStoreFileService(self.stores, self.files, self.blobs, self.indexes, lambda: None)

    def worker(self) -> VectorStoreWorker:
        embeddings = cast(Any, Embeddings())
        return VectorStoreWorker(
            self.stores, self.files, self.blobs, BaseStore(self.settings), embeddings, self.indexes
        )

    def store(self, name: str, file: str) -> None:
        self.blobs.save(file, [b"word " * 2000], 10**6)
        self.files.create(File(file, "a.txt", Purpose.ASSISTANTS, 10_000, 0, FileStatus.PROCESSED))
        self.stores.create(VectorStore(name, "", "m", 0, 0))
        self.service.put_file(name, PutFile(file))

    def pieces(self, store: str) -> int:
        with self.indexes.find(store) as index:
            return 0 if index is None else len(index)


@pytest.fixture
def house(settings: Settings) -> Iterator[House]:
    made = House(settings)
    yield made
    made.indexes.close()
    made.database.close()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_store_whose_index_fails_holds_up_no_other(house: House) -> None:
    house.store("vs_1", "file-a")
    house.store("vs_2", "file-b")
    broken = house.settings.vector_stores_place / "vs_1"
    broken.mkdir(parents=True)
    (broken / "index.json").write_text("{")
    worker = house.worker()
    worker.start()
    until(lambda: house.service.file("vs_2", "file-b").status is StoredStatus.COMPLETED)
    worker.stop()
    assert house.service.file("vs_1", "file-a").status is StoredStatus.IN_PROGRESS


def test_what_a_kill_left_of_a_file_goes_with_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.store("vs_1", "file-a")
    progress = house.stores.progress

    def killed(file: StoredFile, **changes: Any) -> StoredFile | None:
        if house.pieces("vs_1"):
            raise Killed
        return progress(file, **changes)

    with monkeypatch.context() as patch:
        patch.setattr(house.stores, "progress", killed)
        with pytest.raises(Killed):
            house.worker()._take_all()
    assert house.pieces("vs_1") > 0
    house.service.remove_file("vs_1", "file-a")
    assert house.pieces("vs_1") == 0


def test_a_file_that_was_deleted_before_a_kill_leaves_its_stores(house: House) -> None:
    house.store("vs_1", "file-a")
    worker = house.worker()
    worker._take_all()
    house.files.delete("file-a")
    worker._remove_deleted()
    assert house.pieces("vs_1") == 0
    assert house.service.files("vs_1").items == ()


def test_a_removal_that_fails_can_be_tried_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.store("vs_1", "file-a")
    house.worker()._take_all()
    stores = VectorStoreService(house.settings, house.stores, house.files, house.indexes, lambda: None)

    def killed(_what: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(house.service, "_forget", killed)
        with pytest.raises(Killed):
            house.service.remove_file("vs_1", "file-a")
    assert house.stores.file("vs_1", "file-a").status is StoredStatus.CANCELLED
    with monkeypatch.context() as patch:
        patch.setattr(house.indexes, "drop", killed)
        with pytest.raises(Killed):
            stores.delete("vs_1")
    assert stores.get("vs_1").status == "expired"
    house.service.remove_file("vs_1", "file-a")
    assert house.pieces("vs_1") == 0
    stores.delete("vs_1")
    assert house.stores.list().items == ()
    assert stored_id("vs_1", "file-a") not in {file.id for file in house.stores.with_file("file-a")}
