"""What checks know beside the table."""

import math
from dataclasses import dataclass, field
from enum import StrEnum

import pandas as pd

from luthier.datasets.examples import Format, format_of
from luthier.types import Tokenizer

_MIN_EXAMPLES_A_LABEL = 3
_BYTES_A_TOKEN = 4


class Task(StrEnum):
    CLASSIFICATION = "classification"
    GENERATION = "conditional generation"
    OPEN_ENDED = "open-ended generation"
    CHAT = "chat"
    PREFERENCE = "preferences"


def infer_task(frame: pd.DataFrame) -> Task:
    """What a model is to learn from these examples: conversations and preferences by the names of the columns.

    Open-ended where all prompts are empty; classification where a completion comes back more than three times on
    average; otherwise conditional generation.
    """
    kind = format_of(map(str, frame.columns))
    if kind in (Format.CHAT, Format.PREFERENCE):
        return Task.CHAT if kind is Format.CHAT else Task.PREFERENCE
    if not frame["prompt"].str.len().sum():
        return Task.OPEN_ENDED
    if frame["completion"].nunique() < len(frame) / _MIN_EXAMPLES_A_LABEL:
        return Task.CLASSIFICATION
    return Task.GENERATION


@dataclass
class TokenCounter:
    """Counts tokens, each text once. Without a tokenizer it estimates: one token for four bytes."""

    tokenizer: Tokenizer | None
    _counts: dict[str, int] = field(default_factory=dict)

    def count(self, text: str) -> int:
        if text not in self._counts:
            self._counts[text] = (
                len(self.tokenizer.encode(text))
                if self.tokenizer
                else math.ceil(len(text.encode("utf-8")) / _BYTES_A_TOKEN)
            )
        return self._counts[text]

    def longer_than(self, limit: int, *texts: str) -> bool:
        """Whether `texts` together have more than `limit` tokens. A token is a byte at least: few are counted."""
        return sum(len(text.encode("utf-8")) for text in texts) > limit and sum(map(self.count, texts)) > limit


@dataclass(frozen=True)
class LengthLimit:
    """When an example counts as too long.

    Args:
        tokens: what the base model takes, or what the user wants to allow; prompt and completion together.
        characters: the same in characters, None for no such limit.
    """

    tokens: int = 8192
    characters: int | None = 10_000


@dataclass(frozen=True)
class Context:
    """What checks know beside the table.

    Args:
        validation: examples kept for validation, if there are any; its columns are `prompt` and `completion`.
    """

    task: Task
    counter: TokenCounter
    limit: LengthLimit
    validation: pd.DataFrame | None = None

    @property
    def tokenizer(self) -> Tokenizer | None:
        return self.counter.tokenizer
