"""What was looked up a moment ago."""

import itertools
import time
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

SECONDS = 1.0

T = TypeVar("T")


class _Answer(NamedTuple, Generic[T]):
    value: T
    stamp: tuple[int, int]
    until: float


class Recall(Generic[T]):
    """Answers to names, so that many requests a second need not each look them up. From any thread.

    An answer holds for a second at most, and no longer once this process changes what names mean or `forget` is
    called. What other processes change, or a base that is pulled meanwhile, is seen within that second. Failures are
    not kept.

    Args:
        look_up: finds the answer to a name.
        renames: another number once names may mean something else; see `Database.renames`.
    """

    def __init__(self, look_up: Callable[[str], T], renames: Callable[[], int]) -> None:
        self._look_up = look_up
        self._renames = renames
        self._count = itertools.count(1)
        self._forgotten = 0
        self._answers: dict[str, _Answer[T]] = {}

    def __call__(self, name: str) -> T:
        """The answer. Raises what `look_up` raises."""
        started, stamp = time.monotonic(), (self._renames(), self._forgotten)  # before anything is looked up
        answer = self._answers.get(name)
        if answer is not None and answer.stamp == stamp and started < answer.until:
            return answer.value
        value = self._look_up(name)
        now = time.monotonic()
        kept = {name: one for name, one in self._answers.items() if one.stamp == stamp and now < one.until}
        self._answers = {**kept, name: _Answer(value, stamp, started + SECONDS)}
        return value

    def forget(self) -> None:
        """Look everything up anew from now on; what is being looked up at this moment is not kept."""
        self._forgotten = next(self._count)
        self._answers = {}
