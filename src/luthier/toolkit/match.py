"""Matching: which of several categories a text is nearest to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from luthier.errors import DataError, InvalidRequestError
from luthier.toolkit.vectors import unit
from luthier.types import Embed, Floats


@dataclass(frozen=True)
class Match:
    """What a text is like.

    Args:
        text: that was asked about.
        scores: category and cosine, the nearest first.
    """

    text: str
    scores: tuple[tuple[str, float], ...]

    @property
    def best(self) -> str:
        """The nearest category."""
        return self.scores[0][0]

    def as_dict(self) -> dict[str, Any]:
        """Plain types, the scores as the cookbook's matcher names them."""
        return {"text": self.text, "scores": [{"category": name, "score": score} for name, score in self.scores]}


class Matcher:
    """Embeds the categories once, and each text when it is asked about.

    Args:
        categories: two at least, each once.
        embed: makes the embeddings.

    Raises:
        InvalidRequestError: fewer than two categories, one twice, or an empty one.
    """

    def __init__(self, categories: Sequence[str], embed: Embed) -> None:
        self.categories = tuple(name.strip() for name in categories)
        if len(self.categories) < 2:
            raise InvalidRequestError("Give two categories at least, such as: plant reptile mammal")
        if not all(self.categories):
            raise InvalidRequestError("A category is empty. Give each a word or a phrase.")
        double = next((name for name in self.categories if self.categories.count(name) > 1), None)
        if double is not None:
            raise InvalidRequestError(f"The category '{double}' is there twice. Leave one out.")
        self._embed = embed
        self._vectors: Floats = unit(np.asarray(embed(self.categories), dtype=np.float32))  # (C, D)

    def match(self, texts: Sequence[str]) -> list[Match]:
        """Each text's cosine with each category.

        Raises:
            DataError: a text is empty, or the embeddings are not as wide as the categories'.
        """
        if not texts:
            return []
        empty = next((at for at, text in enumerate(texts) if not text.strip()), None)
        if empty is not None:
            raise DataError(f"Text {empty + 1} is empty: there is nothing to match.")
        vectors = unit(np.asarray(self._embed(texts), dtype=np.float32))  # (N, D)
        if vectors.shape[1] != self._vectors.shape[1]:
            raise DataError(
                f"The texts' embeddings have {vectors.shape[1]} numbers and the categories' {self._vectors.shape[1]}. "
                "Both must come from one model."
            )
        return [self._ranked(text, scores) for text, scores in zip(texts, vectors @ self._vectors.T, strict=True)]

    def _ranked(self, text: str, scores: Floats) -> Match:
        order = np.argsort(-scores, kind="stable")
        return Match(text, tuple((self.categories[at], round(float(scores[at]), 6)) for at in order))
