"""Outliers: rows that lie far from all others."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from luthier.errors import InvalidRequestError
from luthier.toolkit.vectors import matrix, unit

_NEIGHBOURS = 10
_STRICTNESS = 2.5  # robust standard deviations: 6 rows in 1,000 where distances are spread normally


class Score(StrEnum):
    """What makes a row odd: its distance to its neighbours, or that distance against its neighbours' own."""

    DISTANCE = "distance"
    LOF = "lof"


@dataclass(frozen=True)
class Outliers:
    """How odd each row is.

    Args:
        score: what is measured.
        neighbours: that each row is compared with.
        scores: (N,); larger is odder.
        threshold: from which a row counts as an outlier.
        rows: outliers, the oddest first.
    """

    score: Score
    neighbours: int
    scores: NDArray[np.float64]
    threshold: float
    rows: tuple[int, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain types; rows count from 1."""
        return {
            "score": self.score.value,
            "neighbours": self.neighbours,
            "threshold": round(self.threshold, 6),
            "outliers": [{"row": row + 1, "score": round(float(self.scores[row]), 6)} for row in self.rows],
            "scores": self.scores.round(6).tolist(),
        }


def find_outliers(
    vectors: ArrayLike,
    *,
    score: Score = Score.DISTANCE,
    neighbours: int | None = None,
    share: float | None = None,
) -> Outliers:
    """Rows that are odd.

    `distance` is the mean cosine distance to the nearest neighbours; `lof` the local outlier factor (Breunig and others
    2000), which forgives a row in a thin region. Without `share` the threshold comes from the scores themselves: the
    median and 2.5 times the median absolute deviation, scaled to a standard deviation (1.4826).

    Args:
        vectors: (N, D).
        neighbours: 10, or less where there are fewer rows.
        share: take this share of the rows, above 0 and below 1, instead of a threshold.

    Raises:
        DataError: fewer than 3 rows.
        InvalidRequestError: an option that does not fit the rows.
    """
    rows = unit(matrix(vectors, 3, "A search for outliers"))
    check_settings(neighbours, share, len(rows))
    k = neighbours or min(_NEIGHBOURS, len(rows) - 1)
    scores = _distances(rows, k) if score is Score.DISTANCE else _factors(rows, k)
    order = np.argsort(-scores, kind="stable")
    if share is not None:
        taken = order[: max(1, round(share * len(rows)))]
        threshold = float(scores[taken[-1]])
    else:
        threshold = robust_limit(scores)
        taken = order[scores[order] > threshold]
    return Outliers(score, k, scores, threshold, tuple(int(row) for row in taken))


def check_settings(neighbours: int | None, share: float | None, n: int) -> None:
    """
    Raises:
        InvalidRequestError: as `find_outliers`, for `n` rows.
    """
    if neighbours is not None and not 1 <= neighbours < n:
        raise InvalidRequestError(f"{neighbours} neighbours do not fit {n:,} rows: give 1 to {n - 1}, or leave it out.")
    if share is not None and not 0 < share < 1:
        raise InvalidRequestError(f"The share of outliers must lie between 0 and 1; {share:g} does not.")


def robust_limit(scores: NDArray[np.float64], strictness: float = _STRICTNESS) -> float:
    """Median and so many robust standard deviations, which outliers themselves hardly move.

    Where more than half of the scores are the same, as those of rows that are there many times, the median deviation
    is 0, and the mean deviation stands in for it (times 1.2533; Iglewicz and Hoaglin 1993).
    """
    off = np.abs(scores - np.median(scores))
    deviation = 1.4826 * float(np.median(off)) or 1.2533 * float(off.mean())
    return float(np.median(scores)) + strictness * deviation


def _distances(rows: NDArray[np.float32], k: int) -> NDArray[np.float64]:
    from sklearn.neighbors import NearestNeighbors  # type: ignore[import-untyped]

    found, _ = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(rows).kneighbors()
    means: NDArray[np.float64] = found.mean(axis=1, dtype=np.float64).round(6)  # as exact as cosines of float32 are
    return means


def _factors(rows: NDArray[np.float32], k: int) -> NDArray[np.float64]:
    from sklearn.neighbors import LocalOutlierFactor

    model = LocalOutlierFactor(n_neighbors=k, metric="cosine", algorithm="brute").fit(rows)
    factors: NDArray[np.float64] = -model.negative_outlier_factor_.astype(np.float64)
    return factors
