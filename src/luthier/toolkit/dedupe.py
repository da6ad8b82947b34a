"""Near duplicates: rows that say the same."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from luthier.errors import InvalidRequestError
from luthier.toolkit.vectors import matrix, unit
from luthier.types import Floats

_BLOCK = 1_024  # rows whose cosines with all others are held at once


@dataclass(frozen=True)
class Group:
    """Rows that say the same.

    Args:
        rows: the first of them is the one to keep.
        least: smallest cosine between the row that is kept and another of the group.
    """

    rows: tuple[int, ...]
    least: float


@dataclass(frozen=True)
class Duplicates:
    """What would be left out.

    Args:
        threshold: cosine from which two rows are near duplicates.
        groups: those of two rows or more, the largest first.
        keep: (N,) whether a row stays.
    """

    threshold: float
    groups: tuple[Group, ...]
    keep: NDArray[np.bool_]

    def as_dict(self) -> dict[str, Any]:
        """Plain types; rows count from 1."""
        return {
            "threshold": self.threshold,
            "n_rows": len(self.keep),
            "n_kept": int(self.keep.sum()),
            "groups": [
                {
                    "keep": group.rows[0] + 1,
                    "drop": [row + 1 for row in group.rows[1:]],
                    "least_similarity": group.least,
                }
                for group in self.groups
            ],
        }


def find_duplicates(vectors: ArrayLike, threshold: float = 0.95) -> Duplicates:
    """Rows that are near duplicates of an earlier row that stays.

    Rows are gone through in their order: one that is at least as similar as `threshold` to a row that was kept is left
    out, and joins the group of the most similar such row. So no row is left out for one that is itself left out, as
    chains of pairs would have it, and what stays has no two rows that similar. Exact: all N² / 2 cosines are computed,
    a block at a time.

    Args:
        vectors: (N, D).
        threshold: cosine, above 0 and at most 1.

    Raises:
        DataError: fewer than 2 rows.
        InvalidRequestError: the threshold is none.
    """
    check_threshold(threshold)
    rows = unit(matrix(vectors, 2, "A search for near duplicates"))
    limit = threshold - 1e-6  # float32: a row's cosine with itself may miss 1 by that
    leader, likeness = _leaders(rows, limit)
    keep = leader == np.arange(len(rows))
    groups = []
    for first in np.unique(leader[~keep]):
        others = np.flatnonzero((leader == first) & ~keep)
        least = min(1.0, float(likeness[others].min()))
        groups.append(Group((int(first), *map(int, others)), round(least, 6)))
    groups.sort(key=lambda group: (-len(group.rows), group.rows[0]))
    return Duplicates(threshold, tuple(groups), keep)


def check_threshold(threshold: float) -> None:
    """
    Raises:
        InvalidRequestError: it is no threshold.
    """
    if not 0 < threshold <= 1:
        raise InvalidRequestError(f"The threshold is a cosine above 0 and at most 1; {threshold:g} is not.")


def _leaders(rows: Floats, limit: float) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each row the kept row that it repeats, itself if none, and their cosine."""
    n = len(rows)
    leader = np.arange(n)
    likeness = np.ones(n, dtype=np.float32)
    kept = np.zeros(n, dtype=bool)
    for start in range(0, n, _BLOCK):
        stop = min(start + _BLOCK, n)
        cosines = rows[start:stop] @ rows[:stop].T  # (B, stop)
        suspects = (cosines >= limit).sum(axis=1) > 1  # another one, later or earlier
        for at in range(stop - start):
            row = start + at
            if suspects[at]:
                before = np.flatnonzero(kept[:row] & (cosines[at, :row] >= limit))
                if len(before):
                    best = before[np.argmax(cosines[at, before])]
                    leader[row], likeness[row] = best, cosines[at, best]
                    continue
            kept[row] = True
    return leader, likeness
