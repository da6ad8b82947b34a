"""A decoder without weights, for exact tests in no time.

It checks what a real one trusts: that each sequence's tokens come in order, without gap or repeat, and that a sibling
has the prompt that is copied from it.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from luthier.completion.scheduler import Piece
from luthier.completion.sequence import Sequence as Running
from luthier.errors import WeightsError
from luthier.testing import ByteTokenizer
from luthier.types import Tokenizer

Rule = Callable[[tuple[int, ...]], Mapping[int, float]]


class FakeDecoder:
    """Implements `Decoder` over bytes. Without a rule every token is as likely as any other.

    Args:
        rule: from the tokens so far to the logits of the next one; those not named are 0.
        missing: folders whose adapter cannot be loaded.

    Attributes:
        steps: number of tokens of each piece, for each pass.
        adapters: how many requests use each adapter.
        kept: the tokens in each sequence's cache.
    """

    def __init__(self, rule: Rule | None = None, missing: Sequence[Path] = ()) -> None:
        self.tokenizer: Tokenizer = ByteTokenizer()
        self.steps: list[list[int]] = []
        self.adapters: dict[Path, int] = {}
        self.kept: dict[int, list[int]] = {}
        self._rule = rule or (lambda _: {})
        self._missing = missing
        self._contexts: list[tuple[int, ...]] = []

    def forward(self, pieces: Sequence[Piece]) -> torch.Tensor:
        """See `Decoder.forward`. A hidden row holds the number of a context, (T, 1)."""
        self._contexts = []
        self.steps.append([piece.stop - piece.start for piece in pieces])
        for piece in pieces:
            sequence = piece.sequence
            if piece.source is not None:
                self.kept[sequence.id] = self.kept[piece.source.id][: piece.start]
            seen = self.kept.get(sequence.id, [])
            if seen != sequence.tokens[: piece.start]:
                raise AssertionError(f"Sequence {sequence.id} has {seen} in its cache, not {sequence.tokens}.")
            seen = sequence.tokens[: piece.stop]
            if sequence.reserved:
                self.kept[sequence.id] = seen
                if len(seen) > sequence.reserved:
                    raise AssertionError(f"Sequence {sequence.id} outgrew its {sequence.reserved} tokens of cache.")
            self._contexts += [tuple(seen[:stop]) for stop in range(piece.start + 1, piece.stop + 1)]
        return torch.arange(len(self._contexts))[:, None]

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        """See `Decoder.head`."""
        logits = torch.zeros(len(hidden), self.tokenizer.vocab_size)  # (N, V)
        for row, context in enumerate(hidden[:, 0].tolist()):
            for token, logit in self._rule(self._contexts[context]).items():
                logits[row, token] = logit
        return logits

    def release(self, sequence_id: int, heir: Running | None = None) -> None:
        seen = self.kept.pop(sequence_id, None)
        if heir is not None and seen is not None:
            self.kept[heir.id] = seen[: heir.computed]

    def acquire_adapter(self, folder: Path) -> None:
        if folder in self._missing:
            raise WeightsError(f"The adapter in {folder.name} cannot be loaded.")
        self.adapters[folder] = self.adapters.get(folder, 0) + 1

    def release_adapter(self, folder: Path) -> None:
        self.adapters[folder] -= 1

    def evict_adapter(self, folder: Path) -> None:
        self.adapters.pop(folder, None)


def parrot(text: str, logit: float = 20.0) -> Rule:
    """A rule that goes on with `text` and then ends: each next byte follows the longest beginning seen so far."""
    spoken = text.encode()

    def rule(context: tuple[int, ...]) -> Mapping[int, float]:
        seen = bytes(token for token in context if token < 256)
        done = next((n for n in range(len(spoken), 0, -1) if seen.endswith(spoken[:n])), 0)
        return {spoken[done] if done < len(spoken) else 256: logit}

    return rule
