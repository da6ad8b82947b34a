"""Records of vector stores and their files, on each kind of database."""

import pytest

from luthier.domain.vector_store import StoredFile, VectorStore, stored_id
from luthier.errors import InvalidRequestError
from luthier.storage import rows
from luthier.storage.db import Database
from luthier.storage.vector_stores import VectorStoreStore


@pytest.fixture
def stores(db: Database) -> VectorStoreStore:
    made = VectorStoreStore(db)
    for at in range(6):
        made.create(VectorStore(f"vs_{at}", "", "m", 0, 0))
    return made


def stored(at: int, attempt: str = "first") -> StoredFile:
    return StoredFile(stored_id("vs_0", f"file-{at}"), "vs_0", f"file-{at}", 0, 800, 400, attempt)


def test_who_deletes_what_is_listed_sees_all_pages(stores: VectorStoreStore) -> None:
    stores.put([stored(at) for at in range(6)])
    for newest_first in (True, False):
        after, seen = None, []
        while page := stores.files("vs_0", after=after, limit=2, newest_first=newest_first).items:
            for file in page:
                stores.remove_file("vs_0", file.file_id)
                seen.append(file.file_id)
            after = page[-1].file_id
        assert sorted(seen) == [f"file-{at}" for at in range(6)]
        stores.put([stored(at) for at in range(6)])
    after, gone = None, []
    while found := stores.list(after=after, limit=2).items:
        for store in found:
            stores.delete(store.id)
            gone.append(store.id)
        after = found[-1].id
    assert gone == [f"vs_{at}" for at in range(6)]
    with pytest.raises(InvalidRequestError, match="'after' names no vector store: vs_9"):
        stores.list(after="vs_9")


def test_places_of_deleted_rows_do_not_pile_up(stores: VectorStoreStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_REMEMBERED", 2)
    for at in range(4):
        stores.delete(f"vs_{at}")
    assert [store.id for store in stores.list(after="vs_3").items] == ["vs_4", "vs_5"]
    with pytest.raises(InvalidRequestError, match="names no vector store: vs_0"):
        stores.list(after="vs_0")


def test_a_file_that_is_put_in_anew_keeps_its_place(stores: VectorStoreStore) -> None:
    stores.put([stored(at) for at in range(4)])
    (old,) = stores.put([stored(1, "second")])
    assert old.attempt == "first"
    assert [(file.file_id, file.attempt) for file in stores.files("vs_0", limit=2).items] == [
        ("file-0", "first"),
        ("file-1", "second"),
    ]
