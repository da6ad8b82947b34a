"""Recommendations: rows like those that somebody likes, and unlike those that they do not."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from luthier.errors import DataError, InvalidRequestError
from luthier.toolkit.vectors import check_rows, matrix, unit
from luthier.types import Floats

_AWAY = 0.5  # weight of what is disliked against what is liked


@dataclass(frozen=True)
class Recommendation:
    """One row.

    Args:
        row: counted from 0.
        score: cosine with what is wanted.
        similarity: largest cosine with a liked row.
    """

    row: int
    score: float
    similarity: float


@dataclass(frozen=True)
class Recommendations:
    """Rows in the order in which to show them."""

    likes: tuple[int, ...]
    dislikes: tuple[int, ...]
    diversity: float
    found: tuple[Recommendation, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain types; rows count from 1."""
        return {
            "likes": [row + 1 for row in self.likes],
            "dislikes": [row + 1 for row in self.dislikes],
            "diversity": self.diversity,
            "recommendations": [{**asdict(item), "row": item.row + 1} for item in self.found],
        }


def recommend(
    vectors: ArrayLike,
    likes: Sequence[int],
    dislikes: Sequence[int] = (),
    *,
    k: int = 5,
    diversity: float = 0.0,
) -> Recommendations:
    """The rows most like what is liked.

    What is wanted is the mean of the liked rows less half the mean of the disliked ones (Rocchio 1971). With
    `diversity` d each next row is the one with the largest (1 - d) · score - d · (largest cosine with a row already
    chosen): maximal marginal relevance (Carbonell and Goldstein 1998). Liked and disliked rows are not recommended.

    Args:
        vectors: (N, D).
        likes: rows, counted from 0; one at least.
        k: how many.
        diversity: 0 takes the nearest, values near 1 hardly look at them.

    Raises:
        DataError: fewer than 2 rows, likes whose embeddings are zeros, or likes and dislikes that cancel out.
        InvalidRequestError: no likes, a row that is not there, one that is both, or `k` or `diversity` out of bounds.
    """
    rows = unit(matrix(vectors, 2, "A recommendation"))
    likes, dislikes = tuple(dict.fromkeys(likes)), tuple(dict.fromkeys(dislikes))
    check_wish(likes, dislikes, k=k, diversity=diversity, n=len(rows))
    if not rows[list(likes)].any():
        raise DataError("The embeddings of what is liked are zeros, which lie nowhere. Embed those rows again.")
    wanted = rows[list(likes)].mean(axis=0)
    if dislikes:
        wanted = wanted - _AWAY * rows[list(dislikes)].mean(axis=0)
    length = float(np.linalg.norm(wanted))
    if length < 1e-6:
        raise DataError("What is liked and disliked cancel out: nothing is left to look for. Leave a dislike out.")
    scores = rows @ (wanted / length)
    others = np.setdiff1d(np.arange(len(rows)), [*likes, *dislikes])
    chosen = _marginal(rows, scores, others, min(k, len(others)), diversity)
    nearest = (rows[chosen] @ rows[list(likes)].T).max(axis=1) if chosen else np.empty(0)
    found = tuple(
        Recommendation(row, round(float(scores[row]), 6), round(float(close), 6))
        for row, close in zip(chosen, nearest, strict=True)
    )
    return Recommendations(likes, dislikes, diversity, found)


def check_wish(likes: Sequence[int], dislikes: Sequence[int], *, k: int, diversity: float, n: int) -> None:
    """
    Raises:
        InvalidRequestError: as `recommend`, for `n` rows.
    """
    if not likes:
        raise InvalidRequestError("Nothing is liked. Name one row at least.")
    check_rows(list(likes), n, "like")
    check_rows(list(dislikes), n, "dislike")
    both = set(likes) & set(dislikes)
    if both:
        raise InvalidRequestError(f"Row {min(both) + 1} is liked and disliked. Leave one of the two out.")
    if k < 1:
        raise InvalidRequestError(f"The number of recommendations must be at least 1, not {k}.")
    if not 0 <= diversity < 1:
        raise InvalidRequestError(f"Diversity lies from 0 to below 1; {diversity:g} does not.")


def _marginal(rows: Floats, scores: Floats, others: Any, k: int, diversity: float) -> list[int]:
    """Rows by maximal marginal relevance, (k,); with no diversity the nearest."""
    chosen: list[int] = []
    repeats = np.full(len(others), -1.0, dtype=np.float32)  # largest cosine with a chosen row
    left = np.ones(len(others), dtype=bool)
    for _ in range(k):
        worth = (1 - diversity) * scores[others] - (diversity * repeats if chosen else 0)
        best = int(np.argmax(np.where(left, worth, -np.inf)))
        left[best] = False
        chosen.append(int(others[best]))
        if diversity:
            repeats = np.maximum(repeats, rows[others] @ rows[others[best]])
    return chosen
