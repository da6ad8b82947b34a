"""What was looked up a moment ago."""

import time
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

SECONDS = 1.0

T = TypeVar("T")


class _Answer(NamedTuple, Generic[T]):
    value: T
    writes: int
    until: float


class Recall(Generic[T]):
    """Answers to names, so that many requests a second look each name up once. From any thread.

    An answer holds until this process writes to the database, and for a second at most: what other processes change
    is seen after that. Failures are not kept.

    Args:
        look_up: finds the answer to a name.
        writes: how often this process has written to the database; see `Database.writes`.
    """

    def __init__(self, look_up: Callable[[str], T], writes: Callable[[], int]) -> None:
        self._look_up = look_up
        self._writes = writes
        self._answers: dict[str, _Answer[T]] = {}

    def __call__(self, name: str) -> T:
        """The answer. Raises what `look_up` raises."""
        now, writes = time.monotonic(), self._writes()
        answers = self._answers  # of one moment; another thread may put others in its place
        answer = answers.get(name)
        if answer is not None and answer.writes == writes and now < answer.until:
            return answer.value
        value = self._look_up(name)
        kept = {name: one for name, one in answers.items() if one.writes == writes and now < one.until}
        self._answers = {**kept, name: _Answer(value, writes, now + SECONDS)}
        return value

    def forget(self) -> None:
        """Look everything up anew from now on."""
        self._answers = {}
