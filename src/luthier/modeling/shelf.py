"""Things that are costly to load and used by name: kept while in use, and the latest used ones a while longer."""

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")


class _Entry(Generic[T]):
    def __init__(self, thing: T) -> None:
        self.thing = thing
        self.users = 0
        self.doomed = False


class Shelf(Generic[T]):
    """Loads by folder, counts users, and drops what was not used for longest. Not safe for several threads.

    Args:
        load: makes the thing in a folder.
        drop: frees it.
        limit: how many may stay; more only while all are in use.
    """

    def __init__(self, load: Callable[[Path], T], drop: Callable[[T], None], limit: int) -> None:
        self._load, self._drop, self._limit = load, drop, limit
        self._entries: dict[Path, _Entry[T]] = {}  # latest used last

    def __getitem__(self, folder: Path) -> T:
        return self._entries[folder].thing

    def __contains__(self, folder: Path) -> bool:
        return folder in self._entries

    def things(self) -> list[T]:
        """Everything that is loaded, the latest used last."""
        return [entry.thing for entry in self._entries.values()]

    def acquire(self, folder: Path) -> T:
        """The thing in a folder, loaded now if it is not there; it stays until `release`."""
        if folder not in self._entries:
            self._trim(self._limit - 1)
            self._entries[folder] = _Entry(self._load(folder))
        entry = self._entries[folder] = self._entries.pop(folder)
        entry.users += 1
        return entry.thing

    def release(self, folder: Path) -> None:
        entry = self._entries[folder]
        entry.users -= 1
        if entry.doomed and not entry.users:
            self._drop(self._entries.pop(folder).thing)
        self._trim(self._limit)

    def evict(self, folder: Path) -> None:
        """Drop a thing now, or as soon as nobody uses it. Does nothing when it is not there."""
        entry = self._entries.get(folder)
        if entry is None:
            return
        entry.doomed = True
        if not entry.users:
            self._drop(self._entries.pop(folder).thing)

    def _trim(self, size: int) -> None:
        idle = [folder for folder, entry in self._entries.items() if not entry.users]
        for folder in idle[: max(len(self._entries) - size, 0)]:
            self._drop(self._entries.pop(folder).thing)
