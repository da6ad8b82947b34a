"""Embeddings are found again by model, revision and text, and the oldest make room."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from luthier.storage.db import Database
from luthier.storage.embeddings import EmbeddingStore


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def entries(*texts: str) -> dict[bytes, bytes]:
    return {digest(text): text.encode() * 4 for text in texts}


def test_vectors_are_found_by_model_revision_and_text(db: Database) -> None:
    store = EmbeddingStore(db, limit=100)
    one, other = store.model("a", "1"), store.model("a", "2")
    assert one != other
    assert store.model("a", "1") == one
    store.add(one, entries("x", "y"))
    assert store.find(one, [digest("x"), digest("z")]) == entries("x")
    assert store.find(other, [digest("x")]) == {}
    store.add(one, {digest("x"): b"other", **entries("z")})
    assert store.find(one, list(entries("x", "y", "z"))) == entries("x", "y", "z")  # the first one stays


def test_many_texts_are_asked_for_at_once(db: Database) -> None:
    store = EmbeddingStore(db, limit=10_000)
    model = store.model("a", "1")
    many = entries(*(f"text {at}" for at in range(2048)))
    store.add(model, many)
    assert store.find(model, list(many)) == many
    assert store.find(model, []) == {}


def test_the_oldest_go_first(db: Database) -> None:
    store = EmbeddingStore(db, limit=5)
    first, second = store.model("a", "1"), store.model("b", "1")
    store.add(first, entries("1", "2", "3"))
    store.add(second, entries("4", "5"))
    store.add(first, entries("6", "7"))
    assert store.find(first, list(entries("1", "2", "3", "6", "7"))) == entries("3", "6", "7")
    assert store.find(second, list(entries("4", "5"))) == entries("4", "5")


@pytest.mark.parametrize("n_stores", [1, 4])
def test_many_threads_add_the_same(db: Database, n_stores: int) -> None:
    stores = [EmbeddingStore(db, limit=1000) for _ in range(n_stores)]

    def work(at: int) -> dict[bytes, bytes]:
        store = stores[at % n_stores]
        model = store.model("a", "1")
        mine = entries(*(f"text {number}" for number in range(at, at + 20)))
        store.add(model, mine)
        assert store.find(model, list(mine)) == mine
        return mine

    with ThreadPoolExecutor(8) as pool:
        everything = [item for mine in pool.map(work, range(16)) for item in mine.items()]
    assert stores[0].find(stores[0].model("a", "1"), [key for key, _ in everything]) == dict(everything)
