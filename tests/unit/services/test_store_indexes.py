"""The indexes behind vector stores: how many are open, and who may close them."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from luthier.config import Settings
from luthier.services import store_indexes
from luthier.services.store_indexes import StoreIndexes, fitted
from luthier.storage.indexes import Record
from luthier.storage.indexes.embedded import EmbeddedIndex

ONE = np.ones((1, 3), np.float32)


@pytest.fixture
def open_now(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Names of the indexes that are open."""
    names: set[str] = set()
    make, close = EmbeddedIndex.__init__, EmbeddedIndex.close

    def opened(self, folder, spec):
        make(self, folder, spec)
        names.add(spec.name)

    def closed(self):
        close(self)
        names.discard(self.spec.name)

    monkeypatch.setattr(EmbeddedIndex, "__init__", opened)
    monkeypatch.setattr(EmbeddedIndex, "close", closed)
    yield names
    assert names == set()


def test_few_stay_open_however_many_stores_there_are(
    settings: Settings, open_now: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_indexes, "_KEPT_OPEN", 2)
    indexes = StoreIndexes(settings)
    for name in "abcd":
        with indexes.ensure(name, 3, "m") as index:
            index.add([Record(name, name)], ONE)
    assert open_now == {"c", "d"}
    for name in "abcd":
        with indexes.find(name) as index:
            assert index is not None
            assert [hit.record.id for hit in index.search(ONE[0], 5)] == [name]
    with indexes.find("c") as third, indexes.find("a"), indexes.find("b"):
        assert open_now >= {"a", "b", "c"}  # what is in use stays open
        assert third is not None
        assert len(third) == 1
    assert len(open_now) == 2
    indexes.close()


def test_an_index_is_not_removed_under_those_who_search_it(settings: Settings) -> None:
    indexes = StoreIndexes(settings)
    with indexes.ensure("a", 3, "m") as index:
        index.add([Record("r", "text")], ONE)
        dropping = threading.Thread(target=indexes.drop, args=("a",))
        dropping.start()
        dropping.join(0.2)
        assert dropping.is_alive()
        assert len(index.search(ONE[0], 1)) == 1
    dropping.join(10)
    assert not dropping.is_alive()
    with indexes.find("a") as gone:
        assert gone is None
    indexes.close()


@pytest.mark.parametrize(("width", "expected"), [(2, [1, 1]), (5, [1, 1, 1, 0, 0])])
def test_embeddings_are_as_wide_as_the_index_where_only_zeros_differ(
    settings: Settings, width: int, expected: list[float]
) -> None:
    """An index made before LUTHIER_EMBEDDING_WIDTH was set, or after."""
    indexes = StoreIndexes(settings)
    with indexes.ensure("vs_1", width, "m") as index:
        asked = ONE[:, :width] if width < 3 else ONE
        padded = np.pad(asked, ((0, 0), (0, 1)))
        assert fitted(padded, index)[0].tolist() == expected
        index.add([Record("a", "", {})], fitted(padded, index))
        other = np.ones((1, width + 1), np.float32)
        assert fitted(other, index) is other  # the index says what is wrong with it
    indexes.close()
