"""Loaded things: kept while used, the latest used a while longer."""

from pathlib import Path

import pytest

from luthier.modeling.shelf import Shelf

A, B, C = Path("a"), Path("b"), Path("c")


@pytest.fixture
def dropped() -> list[str]:
    return []


@pytest.fixture
def shelf(dropped: list[str]) -> Shelf[Path, str]:
    return Shelf(lambda folder: folder.name, dropped.append, limit=2)


def use(shelf: Shelf[Path, str], folder: Path) -> None:
    shelf.acquire(folder)
    shelf.release(folder)


def test_the_longest_unused_goes_first(shelf: Shelf[Path, str], dropped: list[str]):
    use(shelf, A)
    use(shelf, B)
    use(shelf, A)
    use(shelf, C)
    assert dropped == ["b"]
    assert shelf.things() == ["a", "c"]


def test_what_is_in_use_stays_beyond_the_limit(shelf: Shelf[Path, str], dropped: list[str]):
    for folder in (A, B, C):
        shelf.acquire(folder)
    assert dropped == []
    shelf.release(B)
    assert dropped == ["b"]


def test_evicting_waits_for_the_last_user(shelf: Shelf[Path, str], dropped: list[str]):
    shelf.acquire(A)
    shelf.evict(A)
    assert dropped == []
    shelf.release(A)
    assert dropped == ["a"]
    use(shelf, B)
    shelf.evict(B)
    shelf.evict(C)
    assert dropped == ["a", "b"]


def test_a_failure_to_load_leaves_nothing():
    def fail(folder: Path) -> str:
        raise OSError(folder)

    shelf: Shelf[Path, str] = Shelf(fail, lambda _: None, 2)
    with pytest.raises(OSError, match="a"):
        shelf.acquire(A)
    assert A not in shelf
