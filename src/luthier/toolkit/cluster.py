"""Clusters: groups of rows that are like each other, without being told what to look for."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from luthier.errors import DataError, InvalidRequestError
from luthier.toolkit.map import principal
from luthier.toolkit.vectors import matrix, unit
from luthier.types import Floats

Labels = NDArray[np.int64]

_TRIED = range(2, 13)  # numbers of clusters that --auto looks at
_SILHOUETTE_ROWS = 2_000  # that the silhouette is measured on
_STARTS = 10  # of k-means, of which the tightest counts
_DENSITY_DIMS = 5  # in which HDBSCAN looks: in hundreds of dimensions no region is dense
_NEAREST = 5  # rows shown of each cluster
_REPEATED = 0.995  # cosine from which two rows are shown as one


class Method(StrEnum):
    """k-means puts each row into one of k clusters; HDBSCAN finds dense regions and leaves the rest out."""

    KMEANS = "kmeans"
    HDBSCAN = "hdbscan"


@dataclass(frozen=True)
class Cluster:
    """One group of rows.

    Args:
        label: its number, from 0; the largest cluster comes first.
        size: rows in it.
        centre: (D,) mean of its rows, at length 1.
        nearest: rows nearest to the centre, the nearest first, without any that repeat one of them.
    """

    label: int
    size: int
    centre: Floats
    nearest: tuple[int, ...]


@dataclass(frozen=True)
class Clustering:
    """Which row belongs where.

    Args:
        method: that made it.
        labels: (N,) number of each row's cluster; -1 for rows that belong nowhere, with HDBSCAN.
        clusters: in the order of their numbers.
        silhouette: mean over rows (Rousseeuw 1987), by cosine, -1 to 1; of at most 2,000 rows. None for one cluster.
        tried: where the number was chosen: silhouette of each number.
    """

    method: Method
    labels: Labels
    clusters: tuple[Cluster, ...]
    silhouette: float | None
    tried: dict[int, float]

    def means(self, values: NDArray[np.float64]) -> tuple[float, ...]:
        """Mean of a column in each cluster.

        Args:
            values: (N,).
        """
        return tuple(float(values[self.labels == cluster.label].mean()) for cluster in self.clusters)

    def as_dict(self) -> dict[str, Any]:
        """Plain types; rows count from 1, clusters from 0."""
        return {
            "method": self.method.value,
            "k": len(self.clusters),
            "silhouette": self.silhouette,
            "tried": {str(k): value for k, value in self.tried.items()},
            "n_outside": int((self.labels == -1).sum()),
            "clusters": [
                {"cluster": cluster.label, "size": cluster.size, "nearest": [row + 1 for row in cluster.nearest]}
                for cluster in self.clusters
            ],
            "labels": self.labels.tolist(),
        }


def kmeans(vectors: ArrayLike, k: int, *, seed: int = 42, nearest: int = _NEAREST) -> Clustering:
    """k clusters by k-means on embeddings at length 1, so that nearness is that of cosines.

    Args:
        vectors: (N, D).
        nearest: rows to name of each cluster.

    Raises:
        DataError: fewer than 2 rows, or fewer different ones than k.
        InvalidRequestError: k is below 1 or above the number of rows.
    """
    rows = unit(matrix(vectors, 2, "Clustering"))
    _check_k(k, rows)
    return _clustering(Method.KMEANS, rows, _fit(rows, k, seed), nearest, seed, {})


def best_kmeans(
    vectors: ArrayLike, *, ks: Sequence[int] = _TRIED, seed: int = 42, nearest: int = _NEAREST
) -> Clustering:
    """k-means with that number of clusters, of those tried, whose silhouette is largest.

    Args:
        ks: numbers to try; those that there are not enough different rows for are left out.

    Raises:
        DataError: fewer than 3 different rows.
    """
    rows = unit(matrix(vectors, 3, "Choosing the number of clusters"))
    different = _different(rows)
    if different < 3:
        raise DataError(
            f"Only {different} of the embeddings {'is' if different == 1 else 'are'} different: there is no number of "
            "clusters to choose. Say it with -k."
        )
    found = {k: _fit(rows, k, seed) for k in ks if 2 <= k < min(different + 1, len(rows))}
    if not found:
        raise InvalidRequestError(f"None of the numbers of clusters fits {different:,} different rows.")
    tried = {k: value for k, labels in found.items() if (value := _silhouette(rows, labels, seed)) is not None}
    best = max(tried, key=lambda k: tried[k])
    return _clustering(Method.KMEANS, rows, found[best], nearest, seed, tried)


def hdbscan(vectors: ArrayLike, *, min_size: int | None = None, seed: int = 42, nearest: int = _NEAREST) -> Clustering:
    """Dense regions by HDBSCAN (Campello, Moulavi and Sander 2013), in the first five principal components.

    Args:
        min_size: rows that a cluster has at least; by default a hundredth of all, 5 at least.

    Raises:
        DataError: fewer than 5 rows, or no dense region.
        InvalidRequestError: `min_size` does not fit the rows.
    """
    from sklearn.cluster import HDBSCAN  # type: ignore[import-untyped]

    rows = unit(matrix(vectors, 5, "Clustering by density"))
    size = max(5, len(rows) // 100) if min_size is None else min_size
    check_size(size, len(rows))
    near, _ = principal(rows, min(_DENSITY_DIMS, *rows.shape), seed)
    labels = HDBSCAN(min_cluster_size=size, min_samples=2, copy=True).fit_predict(near).astype(np.int64)
    if not (labels >= 0).any():
        raise DataError(
            f"No region of at least {size} rows is denser than the rest. Allow smaller ones with --min-size, or take "
            "k-means, which puts every row somewhere."
        )
    return _clustering(Method.HDBSCAN, rows, labels, nearest, seed, {})


def _fit(rows: Floats, k: int, seed: int) -> Labels:
    from sklearn.cluster import KMeans

    labels: Labels = KMeans(k, init="k-means++", n_init=_STARTS, random_state=seed).fit_predict(rows).astype(np.int64)
    return labels


def _clustering(
    method: Method, rows: Floats, found: Labels, nearest: int, seed: int, tried: dict[int, float]
) -> Clustering:
    """Numbers the clusters by size, and says what is in each."""
    numbers, sizes = np.unique(found[found >= 0], return_counts=True)
    labels = np.full(len(found), -1, dtype=np.int64)
    clusters = []
    for label, number in enumerate(numbers[np.argsort(-sizes, kind="stable")]):
        members = np.flatnonzero(found == number)
        labels[members] = label
        centre = unit(rows[members].mean(axis=0, keepdims=True))[0]
        clusters.append(Cluster(label, len(members), centre, _nearest(rows, members, centre, nearest)))
    return Clustering(method, labels, tuple(clusters), _silhouette(rows, labels, seed), tried)


def _nearest(rows: Floats, members: NDArray[np.int64], centre: Floats, n: int) -> tuple[int, ...]:
    """The rows nearest to a centre that do not repeat one another."""
    chosen: list[int] = []
    for row in members[np.argsort(-(rows[members] @ centre), kind="stable")]:
        if len(chosen) == n:
            break
        if not chosen or (rows[chosen] @ rows[row]).max() < _REPEATED:
            chosen.append(int(row))
    return tuple(chosen)


def _silhouette(rows: Floats, labels: Labels, seed: int) -> float | None:
    from sklearn.metrics import silhouette_score  # type: ignore[import-untyped]

    inside = np.flatnonzero(labels >= 0)
    if len(inside) > _SILHOUETTE_ROWS:
        inside = np.random.default_rng(seed).choice(inside, _SILHOUETTE_ROWS, replace=False)
    if not 2 <= len(np.unique(labels[inside])) < len(inside):
        return None
    return round(float(silhouette_score(rows[inside], labels[inside], metric="cosine")), 6)


def _different(rows: Floats) -> int:
    """How many rows there are, those counted once that only differ by how they were rounded."""
    return len(np.unique(rows.round(5), axis=0))


def check_size(size: int, n: int) -> None:
    """
    Raises:
        InvalidRequestError: no cluster of at least so many of `n` rows can be.
    """
    if not 2 <= size <= n:
        raise InvalidRequestError(f"A cluster of at least {size} rows does not fit {n:,}: give 2 to {n}.")


def check_k(k: int, n: int) -> None:
    """
    Raises:
        InvalidRequestError: `k` clusters cannot be made of `n` rows.
    """
    if k < 1:
        raise InvalidRequestError(f"The number of clusters must be at least 1, not {k}.")
    if k > n:
        raise InvalidRequestError(f"{k} clusters cannot be made of {n:,} rows. Give -k {n} or less.")


def _check_k(k: int, rows: Floats) -> None:
    check_k(k, len(rows))
    different = _different(rows)
    if k > different:
        raise DataError(
            f"{k} clusters cannot be made: only {different:,} of the {len(rows):,} embeddings "
            f"{'is' if different == 1 else 'are'} different. Give -k {different} or less."
        )
