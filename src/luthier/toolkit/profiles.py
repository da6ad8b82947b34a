"""Users and products as the means of their reviews' embeddings, and whether their similarity foretells the stars.

On held-out rows whose user and product both have rows to learn from, the cosine of the two means is turned into its
percentile among those rows, and correlated with the target, as in the guide's notebook.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from luthier.errors import DataError
from luthier.toolkit.cross_validation import Rows
from luthier.toolkit.frame import Frame
from luthier.toolkit.holdout import hold_out
from luthier.toolkit.machines import Array

if TYPE_CHECKING:
    import pandas as pd

from luthier.types import Floats

LEAST_PAIRS = 3  # held-out rows with both profiles; fewer have no correlation


@dataclass(frozen=True)
class Profile:
    """One mean for each name of a column.

    Args:
        column: whose names.
        names: (G,).
        vectors: (G, D), means of the rows to learn from.
        rows: (G,), how many each is made of.
    """

    column: str
    names: tuple[Any, ...]
    vectors: Floats
    rows: Rows


@dataclass(frozen=True)
class Profiles:
    """Both profiles, and how they do on held-out rows.

    Args:
        users, items: made of rows to learn from.
        target: the column foretold.
        train_rows, test_rows: how many.
        rows: (P,), held-out rows of which both profiles exist.
        similarity: (P,), cosine of the row's user and item.
        percentile: (P,), its rank among these rows, in (0, 1].
        actual: (P,), the target.
        correlation: Pearson's, of percentile and target; None with fewer than 3 pairs or where one of them is constant.
    """

    users: Profile
    items: Profile
    target: str
    train_rows: int
    test_rows: int
    rows: Rows
    similarity: Array
    percentile: Array
    actual: Array
    correlation: float | None

    def by_target(self) -> list[dict[str, float]]:
        """For each value of the target: rows, and quartiles of the percentile similarity."""
        groups = []
        for value in np.unique(self.actual):
            chosen = self.percentile[self.actual == value]
            low, middle, high = np.quantile(chosen, (0.25, 0.5, 0.75))
            groups.append(
                {
                    "value": float(value),
                    "rows": len(chosen),
                    "q1": float(low),
                    "median": float(middle),
                    "q3": float(high),
                }
            )
        return groups

    def as_dict(self) -> dict[str, Any]:
        """Plain types; rows count from 1."""
        return {
            "task": "profiles",
            "user": self.users.column,
            "item": self.items.column,
            "target": self.target,
            "users": len(self.users.names),
            "items": len(self.items.names),
            "train_rows": self.train_rows,
            "test_rows": self.test_rows,
            "pairs": len(self.rows),
            "correlation": self.correlation,
            "by_target": self.by_target(),
            "rows": (self.rows + 1).tolist(),
            "similarity": self.similarity.tolist(),
            "percentile": self.percentile.tolist(),
            "actual": self.actual.tolist(),
        }


def profiles(frame: Frame, user: str, item: str, target: str, *, test_size: float = 0.2, seed: int = 42) -> Profiles:
    """Make both profiles of the rows to learn from, and compare them on the rows held out.

    Args:
        user, item: columns of names.
        target: a column of numbers, such as stars.
        test_size, seed: of the split, the guide's `train_test_split`.

    Raises:
        DataError: no such column, an empty name, something else than numbers as target, or too few rows.
        InvalidRequestError: a share outside 0 to 1.
    """
    numbers = np.asarray(frame.numbers(target), dtype=np.float64)
    parts = hold_out(len(numbers), test_size, seed)
    users, items = (profile_of(frame, column, parts.train) for column in (user, item))
    places = [
        ({name: place for place, name in enumerate(profile.names)}, frame.column(profile.column))
        for profile in (users, items)
    ]
    pairs = [
        (row, *(place.get(names.iloc[row], -1) for place, names in places)) for row in np.sort(parts.test).tolist()
    ]
    known = np.array([pair for pair in pairs if min(pair) >= 0], dtype=np.int64).reshape(-1, 3)
    rows = known[:, 0]
    similarity = _cosines(users.vectors[known[:, 1]], items.vectors[known[:, 2]])
    percentile = _percentiles(similarity)
    actual = numbers[rows]
    constant = len(rows) < LEAST_PAIRS or np.ptp(actual) == 0 or np.ptp(percentile) == 0
    return Profiles(
        users=users,
        items=items,
        target=target,
        train_rows=len(parts.train),
        test_rows=len(parts.test),
        rows=rows,
        similarity=similarity,
        percentile=percentile,
        actual=actual,
        correlation=None if constant else float(np.corrcoef(percentile, actual)[0, 1]),
    )


def profile_of(frame: Frame, column: str, rows: Rows | None = None) -> Profile:
    """The mean embedding of each name of a column.

    Args:
        rows: that count; None for all.

    Raises:
        DataError: no such column, an empty cell, or a list.
    """
    names: pd.Series[Any] = frame.column(column)
    if names.isna().any():
        empty = int(np.flatnonzero(names.isna())[0])
        raise DataError(f"'{column}' is empty in row {empty + 1}; fill it in or drop the row.")
    for row, cell in enumerate(names):
        if not isinstance(cell, Hashable):
            raise DataError(f"'{column}' holds a {type(cell).__name__} in row {row + 1}; names are texts or numbers.")
    chosen = np.arange(len(frame)) if rows is None else rows
    groups = names.iloc[chosen].groupby(names.iloc[chosen]).indices
    means = [frame.vectors[chosen[places]].mean(axis=0, dtype=np.float64) for places in groups.values()]
    counts = np.array([len(places) for places in groups.values()], dtype=np.int64)
    return Profile(column, tuple(groups), np.array(means, dtype=np.float32), counts)


def _cosines(a: Floats, b: Floats) -> Array:
    """Cosines (N,) of rows of two matrices (N, D)."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    products = np.einsum("nd,nd->n", a.astype(np.float64), b.astype(np.float64))
    return np.asarray(products / np.where(lengths > 0, lengths, 1), dtype=np.float64)


def _percentiles(values: Array) -> Array:
    """Ranks in (0, 1], ties at their mean, as pandas' `rank(pct=True)`."""
    from scipy.stats import rankdata  # type: ignore[import-untyped]

    return np.asarray(rankdata(values) / len(values) if len(values) else values, dtype=np.float64)
