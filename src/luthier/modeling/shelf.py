"""Things that are costly to load and used by name: kept while in use, and the latest used ones a while longer."""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class _Entry(Generic[T]):
    def __init__(self, thing: T) -> None:
        self.thing = thing
        self.users = 0
        self.doomed = False


class Shelf(Generic[K, T]):
    """Loads by key, counts users, and drops what was not used for longest. Not safe for several threads.

    Args:
        load: makes the thing of a key, such as a folder.
        drop: frees it.
        limit: how many may stay; more only while all are in use.
    """

    def __init__(self, load: Callable[[K], T], drop: Callable[[T], None], limit: int) -> None:
        self._load, self._drop, self._limit = load, drop, limit
        self._entries: dict[K, _Entry[T]] = {}  # latest used last

    def __getitem__(self, key: K) -> T:
        return self._entries[key].thing

    def __contains__(self, key: K) -> bool:
        return key in self._entries

    def things(self) -> list[T]:
        """Everything that is loaded, the latest used last."""
        return [entry.thing for entry in self._entries.values()]

    def acquire(self, key: K) -> T:
        """The thing of a key, loaded now if it is not there; it stays until `release`."""
        if key not in self._entries:
            self._trim(self._limit - 1)
            self._entries[key] = _Entry(self._load(key))
        entry = self._entries[key] = self._entries.pop(key)
        entry.users += 1
        return entry.thing

    def release(self, key: K) -> None:
        entry = self._entries[key]
        entry.users -= 1
        if entry.doomed and not entry.users:
            self._drop(self._entries.pop(key).thing)
        self._trim(self._limit)

    def evict(self, key: K) -> None:
        """Drop a thing now, or as soon as nobody uses it. Does nothing when it is not there."""
        entry = self._entries.get(key)
        if entry is None:
            return
        entry.doomed = True
        if not entry.users:
            self._drop(self._entries.pop(key).thing)

    def _trim(self, size: int) -> None:
        idle = [key for key, entry in self._entries.items() if not entry.users]
        for key in idle[: max(len(self._entries) - size, 0)]:
            self._drop(self._entries.pop(key).thing)
