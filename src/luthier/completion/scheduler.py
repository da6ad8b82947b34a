"""Who goes through the model in the next step. Plain Python: no tensors, no threads, no clock.

A step is one pass of one base over one packed row of tokens. It takes one token of each sequence that is generating,
and besides up to `max_batch_tokens` tokens of prompts, first come first served. A prompt that fits a step goes in one
piece, so that its scores do not depend on its neighbours; a longer one goes in chunks, and generating goes on between
them. Bases take turns.

Cache is promised when a sequence is admitted, for all that it may come to. So a running sequence never has to be
thrown out, and memory has a bound.
"""

from collections import deque
from dataclasses import dataclass
from pathlib import Path

from luthier.completion.sequence import Sequence


@dataclass(frozen=True)
class Piece:
    """The tokens `start:stop` of a sequence, to go through the model in one step.

    Args:
        source: a sibling from whose cache the first `start` tokens are copied before the pass.
    """

    sequence: Sequence
    start: int
    stop: int
    source: Sequence | None = None

    @property
    def is_last(self) -> bool:
        """Whether the next token can be chosen after it."""
        return self.stop == len(self.sequence.tokens)


@dataclass(frozen=True)
class Step:
    """One pass: a base and the pieces that it takes, those of one adapter next to each other."""

    base: Path
    pieces: list[Piece]


class Scheduler:
    """The queue and the running sequences.

    Args:
        max_batch_tokens: most prompt tokens of a step.
        cache_tokens: most tokens whose keys and values are kept, all running sequences together.
    """

    def __init__(self, *, max_batch_tokens: int, cache_tokens: int) -> None:
        self.max_batch_tokens = max_batch_tokens
        self.free_tokens = cache_tokens
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self._turns: deque[Path] = deque()  # bases, the one whose turn it is first

    def add(self, sequence: Sequence) -> None:
        self.waiting.append(sequence)
        if sequence.base not in self._turns:
            self._turns.append(sequence.base)

    def remove(self, sequence: Sequence) -> bool:
        """Forget a sequence and take its promised cache back. Returns whether it was running."""
        if sequence in self.running:
            self.running.remove(sequence)
            self.free_tokens += sequence.reserved
            return True
        self.waiting.remove(sequence)
        return False

    def next_step(self) -> Step | None:
        """Admit who fits, and plan a pass. None when there is nothing to do. Marks the planned tokens as computed."""
        self._admit()
        for _ in range(len(self._turns)):
            base = self._turns[0]
            self._turns.rotate(-1)
            pieces = self._pieces([sequence for sequence in self.running if sequence.base == base])
            if pieces:
                pieces.sort(key=lambda piece: str(piece.sequence.request.weights.adapter or ""))
                return Step(base, pieces)
            if not any(sequence.base == base for sequence in self.waiting):
                self._turns.remove(base)
        return None

    def _admit(self) -> None:
        """Move sequences from the queue to the running ones.

        The first one that finds no cache ends the round, lest a large one wait for ever behind small ones. Siblings
        wait for the first of them to have read the prompt, then copy its cache.
        """
        siblings: dict[tuple[int, int], Sequence] = {}
        for sequence in self.running:
            siblings.setdefault(_family(sequence), sequence)
        passed_over: deque[Sequence] = deque()
        while self.waiting and self.waiting[0].reserved <= self.free_tokens:
            sequence = self.waiting.popleft()
            sibling = siblings.setdefault(_family(sequence), sequence)
            if sibling is not sequence:
                if sibling.computed < sibling.n_prompt:
                    passed_over.append(sequence)
                    continue
                sequence.source, sequence.computed = sibling, sequence.n_prompt - 1
            self.free_tokens -= sequence.reserved
            self.running.append(sequence)
        self.waiting.extendleft(reversed(passed_over))

    def _pieces(self, sequences: list[Sequence]) -> list[Piece]:
        pieces = []
        left = self.max_batch_tokens
        for sequence in sequences:
            remaining = len(sequence.tokens) - sequence.computed
            if remaining > 1:
                if sequence.n_prompt > self.max_batch_tokens:
                    remaining = min(remaining, left)
                if not 0 < remaining <= left:
                    continue
                left -= remaining
            start, sequence.computed = sequence.computed, sequence.computed + remaining
            pieces.append(Piece(sequence, start, sequence.computed, sequence.source))
            sequence.source = None
        return pieces


def _family(sequence: Sequence) -> tuple[int, int]:
    return id(sequence.request), sequence.prompt
