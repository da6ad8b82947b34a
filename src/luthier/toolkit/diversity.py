"""Diversity: how unlike each other the rows of a table are."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from luthier.errors import DataError
from luthier.toolkit.frame import is_empty
from luthier.toolkit.vectors import histogram, matrix, unit
from luthier.types import Floats

_PAIRS = 500_000  # that the distribution is taken from, where there are more
_BINS = 60
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Measures:
    """Of one group of rows.

    Args:
        name: of the group.
        n_rows: in it.
        mean_similarity: mean cosine of all pairs of different rows.
        vendi: effective number of different rows, 1 to `n_rows` (Friedman and Dieng 2023).
    """

    name: str
    n_rows: int
    mean_similarity: float
    vendi: float


@dataclass(frozen=True)
class Diversity:
    """How the similarities of pairs are spread.

    Args:
        whole: measures of all rows.
        groups: measures of each value of a column, the most diverse first; empty without one.
        quantiles: 0.05, 0.25, 0.5, 0.75, 0.95 of the cosines of pairs.
        edges: (B + 1,) of the histogram's bins.
        counts: (B,) pairs in each.
        n_pairs: that the quantiles and the histogram are taken from: all, or a random half million.
    """

    whole: Measures
    groups: tuple[Measures, ...]
    quantiles: dict[float, float]
    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    n_pairs: int

    def as_dict(self) -> dict[str, Any]:
        """Plain types."""
        return {
            **asdict(self.whole),
            "groups": [asdict(group) for group in self.groups],
            "quantiles": {f"{at:g}": round(value, 6) for at, value in self.quantiles.items()},
            "n_pairs": self.n_pairs,
            "histogram": {"edges": self.edges.round(6).tolist(), "counts": self.counts.tolist()},
        }


def measure_diversity(vectors: ArrayLike, groups: Sequence[Any] | None = None, *, seed: int = 42) -> Diversity:
    """Measure how unlike each other rows are, as a whole and within groups.

    Args:
        vectors: (N, D).
        groups: (N,) value of a column; groups of one row are left out.

    Raises:
        DataError: fewer than 2 rows, or no group of two.
    """
    rows = unit(matrix(vectors, 2, "Diversity"))
    similarities = _similarities(rows, seed)
    counts, edges = histogram(similarities, _BINS)
    return Diversity(
        _measure("all rows", rows),
        _of_groups(rows, groups) if groups is not None else (),
        {at: float(value) for at, value in zip(_QUANTILES, np.quantile(similarities, _QUANTILES), strict=True)},
        edges,
        counts,
        len(similarities),
    )


def mean_similarity(rows: Floats) -> float:
    """Mean cosine of all pairs of different rows of length 1: (|sum of rows|² - sum of |row|²) / (N (N - 1))."""
    wide = rows.astype(np.float64)
    total = wide.sum(axis=0)
    return float((total @ total - np.square(wide).sum()) / (len(rows) * (len(rows) - 1)))


def vendi(rows: Floats) -> float:
    """The Vendi score: exp of the entropy of the eigenvalues of K / N, where K holds the cosines of rows.

    The eigenvalues of (N, N) are those of the smaller (D, D) where there are more rows than dimensions.
    """
    wide = rows.astype(np.float64)
    product = wide @ wide.T if len(wide) <= wide.shape[1] else wide.T @ wide
    values = np.linalg.eigvalsh(product / len(wide))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


def _measure(name: str, rows: Floats) -> Measures:
    return Measures(name, len(rows), round(mean_similarity(rows), 6), round(vendi(rows), 4))


def group_names(groups: Sequence[Any]) -> NDArray[np.str_]:
    """The group of each row, (N,).

    Raises:
        DataError: no group has two rows.
    """
    names = np.array(["(empty)" if is_empty(value) else str(value) for value in groups])
    if len(np.unique(names)) == len(names):
        raise DataError("Each group has one row only: there is nothing to compare. Name a column whose values repeat.")
    return names


def _of_groups(rows: Floats, groups: Sequence[Any]) -> tuple[Measures, ...]:
    if len(groups) != len(rows):
        raise DataError(f"There are {len(groups):,} groups for {len(rows):,} rows; each row needs one.")
    names = group_names(groups)
    found = [
        _measure(str(name), rows[names == name])
        for name, count in zip(*np.unique(names, return_counts=True), strict=True)
        if count > 1
    ]
    return tuple(sorted(found, key=lambda group: group.mean_similarity))


def _similarities(rows: Floats, seed: int) -> NDArray[np.float32]:
    """Cosines of all pairs, or of a random choice of them."""
    n = len(rows)
    if n * (n - 1) // 2 <= _PAIRS:
        first, second = np.triu_indices(n, k=1)
    else:
        random = np.random.default_rng(seed)
        first = random.integers(0, n, _PAIRS)
        second = (first + random.integers(1, n, _PAIRS)) % n  # never the row itself
    parts = [
        np.einsum("nd,nd->n", rows[first[at : at + 50_000]], rows[second[at : at + 50_000]])
        for at in range(0, len(first), 50_000)
    ]
    return np.concatenate(parts)
