"""Who goes through the model in the next step. Plain Python: no tensors, no threads, no clock.

A step is one pass of one base over one packed row of tokens. It takes one token of each sequence that is generating,
and besides up to `max_batch_tokens` tokens of prompts, first come first served. A prompt that fits a step goes in one
piece, so that its scores do not depend on its neighbours; a longer one goes in chunks, and generating goes on between
them. Bases take turns.

Cache is promised when a sequence is admitted, for all that it may come to. So a running sequence never has to be
thrown out, and memory has a bound.

Sequences in the background give way: they are admitted after all others and leave a part of the cache free, and while
others run, few of them go along in a step. So they get on, but nobody waits long for them.

A prompt is read once, however many continuations of it are asked for: the first one reads it and the others copy its
keys and values, or take over the cache of one that is finished.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from luthier.completion.sequence import Sequence

_KEPT_FREE = 4  # the background leaves one part in so many of the cache to others
_BESIDE = 8  # sequences of the background in a step while others run, of which one reads its prompt; copying is extra


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


@dataclass
class _Family:
    """The continuations of one prompt.

    Args:
        reader: whose cache holds the prompt once it has been read.
        running: those that are admitted.
        waiting: the reader's siblings that are not.
        read: whether the prompt has been read; those that wait for it are in the queue since then.
    """

    reader: Sequence
    running: dict[Sequence, None] = field(default_factory=dict)
    waiting: dict[Sequence, None] = field(default_factory=dict)
    read: bool = False


class Scheduler:
    """The queue and the running sequences.

    Args:
        max_batch_tokens: most prompt tokens of a step.
        cache_tokens: most tokens whose keys and values are kept, all running sequences together.
    """

    def __init__(self, *, max_batch_tokens: int, cache_tokens: int) -> None:
        self.max_batch_tokens = max_batch_tokens
        self.free_tokens = cache_tokens
        self._kept_free = cache_tokens // _KEPT_FREE
        self.running: dict[Sequence, None] = {}
        self._queues: dict[bool, OrderedDict[Sequence, None]] = {False: OrderedDict(), True: OrderedDict()}
        self._families: dict[tuple[int, int], _Family] = {}
        self._turns: deque[Path] = deque()  # bases, the one whose turn it is first

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence. Siblings are added before the next step."""
        if family := self._families.get(_key(sequence)):
            family.waiting[sequence] = None
        else:
            self._families[_key(sequence)] = _Family(sequence)
            self._queue_of(sequence)[sequence] = None
        if sequence.base not in self._turns:
            self._turns.append(sequence.base)

    def finish(self, sequence: Sequence) -> Sequence | None:
        """Forget a running sequence that has all its tokens, and take its promised cache back.

        Returns:
            None; or the sibling that runs from now on in the cache of this one, lest the prompt in it be lost.
        """
        family = self._families[_key(sequence)]
        del self.running[sequence], family.running[sequence]
        self.free_tokens += sequence.reserved
        heir = None
        if not family.running and family.waiting:
            heir = next(iter(family.waiting))
            del self._queue_of(heir)[heir]
            self._run(heir, family)
        if sequence is family.reader and family.running:
            family.reader = next(iter(family.running))
        if not family.running:
            del self._families[_key(sequence)]
        return heir

    def drop(self, sequences: Iterable[Sequence]) -> None:
        """Forget all that is left of a request, and take its promised cache back."""
        for sequence in sequences:
            if sequence in self.running:
                del self.running[sequence]
                self.free_tokens += sequence.reserved
            self._queue_of(sequence).pop(sequence, None)
            self._families.pop(_key(sequence), None)

    def next_step(self) -> Step | None:
        """Admit who fits, and plan a pass. None when there is nothing to do. Marks the planned tokens as computed."""
        self._admit()
        for _ in range(len(self._turns)):
            base = self._turns[0]
            self._turns.rotate(-1)
            pieces = self._pieces(self._going(base))
            if pieces:
                pieces.sort(key=lambda piece: str(piece.sequence.request.weights.adapter or ""))
                return Step(base, pieces)
            if not any(sequence.base == base for queue in self._queues.values() for sequence in queue):
                self._turns.remove(base)
        return None

    def _admit(self) -> None:
        """Move sequences from the queue to the running ones.

        The first one that finds no cache ends the round, lest a large one wait for ever behind small ones.
        """
        for background, queue in self._queues.items():
            while queue and (sequence := next(iter(queue))).reserved <= self._free_for(background):
                del queue[sequence]
                family = self._families[_key(sequence)]
                if sequence is not family.reader:
                    sequence.source = family.reader
                self._run(sequence, family)
            if queue:
                return

    def _free_for(self, background: bool) -> int:
        """Tokens of cache that the next sequence may be promised."""
        return max(self.free_tokens - self._kept_free, 0) if background and self.running else self.free_tokens

    def _queue_of(self, sequence: Sequence) -> OrderedDict[Sequence, None]:
        return self._queues[sequence.request.background]

    def _run(self, sequence: Sequence, family: _Family) -> None:
        self.free_tokens -= sequence.reserved
        self.running[sequence] = family.running[sequence] = None
        if sequence is not family.reader:
            del family.waiting[sequence]
            sequence.computed = sequence.n_prompt - 1  # the rest of the prompt is in the reader's cache

    def _going(self, base: Path) -> list[Sequence]:
        """The base's running sequences that may go along in its next step, the background's last.

        There is one at least if any of the base runs. All that have yet to copy their prompt are among them, before
        the sibling that they copy it from can be finished.
        """
        here = [sequence for sequence in self.running if sequence.base == base]
        others = [sequence for sequence in here if not sequence.request.background]
        background = [sequence for sequence in here if sequence.request.background]
        if any(not sequence.request.background for sequence in self.running):
            copying = [sequence for sequence in background if sequence.source is not None]
            reading = [one for one in background if one.source is None and one.computed < one.n_prompt]
            generating = [sequence for sequence in background if sequence.computed >= sequence.n_prompt]
            background = [*copying, *reading[:1], *generating[: _BESIDE - 1]]
        return others + background

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
            family = self._families[_key(sequence)]
            if not family.read and sequence.computed >= sequence.n_prompt:
                family.read = True
                queue = self._queue_of(sequence)
                for sibling in reversed(family.waiting):  # to the front of the queue
                    queue[sibling] = None
                    queue.move_to_end(sibling, last=False)
        return pieces


def _key(sequence: Sequence) -> tuple[int, int]:
    """Of its family."""
    return id(sequence.request), sequence.prompt
