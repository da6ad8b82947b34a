"""How fast this process trains and evaluates, and how long the rest of its run will take."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

_EVALUATION_COST = 0.4  # of a token, against a trained one, until it has been measured


class Clock:
    """Measures all that this process has done so far."""

    def __init__(self) -> None:
        self._trained = self._evaluated = 0
        self._training_seconds = self._evaluation_seconds = 0.0

    @contextmanager
    def training(self, tokens: int) -> Iterator[None]:
        start = time.monotonic()
        yield
        self._trained += tokens
        self._training_seconds += time.monotonic() - start

    @contextmanager
    def evaluation(self, tokens: int) -> Iterator[None]:
        start = time.monotonic()
        yield
        self._evaluated += tokens
        self._evaluation_seconds += time.monotonic() - start

    def seconds_left(self, training_tokens: int, evaluation_tokens: int) -> float:
        """Needs at least one training step done."""
        per_trained = self._training_seconds / self._trained
        per_evaluated = (
            self._evaluation_seconds / self._evaluated if self._evaluated else _EVALUATION_COST * per_trained
        )
        return training_tokens * per_trained + evaluation_tokens * per_evaluated
