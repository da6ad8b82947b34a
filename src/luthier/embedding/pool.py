"""Who goes next: pieces that wait to be embedded, and the batches made of them. Plain Python, no tensor."""

from collections import deque
from collections.abc import Hashable, Sized
from dataclasses import dataclass, field
from typing import Generic, TypeVar

R = TypeVar("R", bound=Hashable)
P = TypeVar("P", bound=Sized)


@dataclass
class _Queue(Generic[P]):
    group: Hashable
    background: bool
    pieces: deque[P] = field(default_factory=deque)
    tokens: int = 0


class Pool(Generic[R, P]):
    """Pieces by request. The length of a piece is its number of tokens.

    Every request gets an equal share of each batch as long as it has pieces, so a huge one cannot hold up small ones;
    what some do not need goes to the others. Who was served stands behind those who were not. Requests in the
    background get what the rest leaves.
    """

    def __init__(self) -> None:
        self._queues: dict[R, _Queue[P]] = {}  # next to be served first

    def __len__(self) -> int:
        """Tokens that wait."""
        return sum(queue.tokens for queue in self._queues.values())

    def tokens(self, request: R) -> int:
        """Tokens of one request that wait."""
        return self._queues[request].tokens if request in self._queues else 0

    def add(self, request: R, group: Hashable, pieces: list[P], *, background: bool = False) -> None:
        """Put pieces of a request at the end of its own queue.

        Args:
            group: only pieces of one group can be in one batch; a request's is always the same.
            background: it gives way to those that are not; a request's is always the same.
        """
        queue = self._queues.setdefault(request, _Queue(group, background))
        queue.pieces.extend(pieces)
        queue.tokens += sum(map(len, pieces))

    def drop(self, request: R) -> None:
        """Forget a request."""
        self._queues.pop(request, None)

    def take(self, budget: int) -> list[tuple[R, P]]:
        """The next batch: of one group, at most `budget` tokens, but at least one piece when any waits."""
        if not self._queues:
            return []
        group = min(self._queues.values(), key=lambda queue: queue.background).group  # of equals the first
        batch: list[tuple[R, P]] = []
        left = budget
        for background in (False, True):
            hungry = [
                request
                for request, queue in self._queues.items()
                if queue.group == group and queue.background == background
            ]
            left = self._share_out(hungry, left, batch)
        for request in dict.fromkeys(request for request, _ in batch):
            queue = self._queues.pop(request)
            if queue.pieces:
                self._queues[request] = queue
        return batch

    def _share_out(self, hungry: list[R], left: int, batch: list[tuple[R, P]]) -> int:
        """Fill the batch from some requests, in equal shares; gives the tokens that are still left."""
        while hungry and left > 0:
            share, before = max(left // len(hungry), 1), len(batch)
            for request in hungry:
                left -= self._serve(request, min(share, left), batch)
            if len(batch) == before:  # shares too small for the next pieces: one piece each, as far as it goes
                for request in hungry:
                    if not batch or len(self._queues[request].pieces[0]) <= left:
                        left -= self._serve_one(request, batch)
            if len(batch) == before:
                break
            hungry = [request for request in hungry if self._queues[request].pieces]
        return left

    def _serve(self, request: R, share: int, batch: list[tuple[R, P]]) -> int:
        """Move a request's next pieces into the batch, as long as they keep within its share; gives their tokens."""
        pieces, used = self._queues[request].pieces, 0
        while pieces and used + len(pieces[0]) <= share:
            used += self._serve_one(request, batch)
        return used

    def _serve_one(self, request: R, batch: list[tuple[R, P]]) -> int:
        queue = self._queues[request]
        piece = queue.pieces.popleft()
        queue.tokens -= len(piece)
        batch.append((request, piece))
        return len(piece)
