"""Maps: embeddings in two or three dimensions, so that a person can look at them."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from luthier.errors import DataError, InvalidRequestError
from luthier.toolkit.vectors import matrix
from luthier.types import Floats

_PERPLEXITY = 30.0
_NEIGHBOURS = 15
_REDUCED = 50  # dimensions that t-SNE's neighbours are looked for in


class Method(StrEnum):
    """How the map is made: PCA keeps distances, t-SNE keeps neighbours, UMAP something of both."""

    PCA = "pca"
    TSNE = "tsne"
    UMAP = "umap"

    @property
    def written(self) -> str:
        """As people write it."""
        return {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}[self.value]


@dataclass(frozen=True)
class Map:
    """Where each row lies.

    Args:
        method: that made it.
        coordinates: (N, 2) or (N, 3).
        explained: with PCA the share of the variance that each axis holds, otherwise empty.
        settings: of the method: `perplexity`, `neighbours`, `seed`.
    """

    method: Method
    coordinates: Floats
    explained: tuple[float, ...]
    settings: dict[str, float]

    @property
    def axes(self) -> tuple[str, ...]:
        """A name for each axis."""
        shares = [f" ({share:.0%} of the variance)" for share in self.explained] or [""] * self.coordinates.shape[1]
        return tuple(f"{self.method.written} {at + 1}{share}" for at, share in enumerate(shares))

    def as_dict(self) -> dict[str, Any]:
        """Plain types: `points` holds x, y and, in three dimensions, z of each row."""
        return {
            "method": self.method.value,
            "dims": self.coordinates.shape[1],
            "settings": self.settings,
            "explained_variance": list(self.explained),
            "points": self.coordinates.astype(float).round(5).tolist(),
        }


def make_map(
    vectors: ArrayLike,
    method: Method = Method.TSNE,
    dims: int = 2,
    *,
    seed: int = 42,
    perplexity: float | None = None,
    neighbours: int | None = None,
) -> Map:
    """Lay embeddings out in a plane or in space.

    t-SNE (van der Maaten and Hinton 2008) is openTSNE's, from a start by PCA, so that the large lie of the land stays;
    UMAP is McInnes, Healy and Melville's (2018). Both are the same for the same seed on the same machine.

    Args:
        vectors: (N, D).
        dims: 2 or 3.
        perplexity: of t-SNE, about how many neighbours a row has: 30, or less where there are under 90 rows.
        neighbours: of UMAP, 15, or less where there are fewer rows.

    Raises:
        DataError: fewer than dims + 2 rows, or all alike.
        InvalidRequestError: an option that does not fit the method or the rows.
    """
    if dims not in (2, 3):
        raise InvalidRequestError(f"A map has 2 or 3 dimensions, not {dims}.")
    rows = matrix(vectors, dims + 2, f"A map in {dims} dimensions")
    check_settings(method, perplexity, neighbours, len(rows))
    if not np.ptp(rows, axis=0).any():
        raise DataError(f"All {len(rows):,} embeddings are the same: there is nothing to map.")
    if min(rows.shape[1], len(rows)) < dims:
        numbers = "1 number" if rows.shape[1] == 1 else f"{rows.shape[1]} numbers"
        raise DataError(f"Embeddings of {numbers} cannot be mapped in {dims} dimensions.")
    if method is Method.PCA:
        return _pca(rows, dims, seed)
    if method is Method.TSNE:
        return _tsne(rows, dims, seed, perplexity)
    return _umap(rows, dims, seed, neighbours)


def check_settings(method: Method, perplexity: float | None, neighbours: int | None, n: int) -> None:
    """
    Raises:
        InvalidRequestError: a setting that does not fit the method or `n` rows.
    """
    if perplexity is not None and method is not Method.TSNE:
        raise InvalidRequestError(f"The perplexity is t-SNE's; {method.written} has none. Leave it out.")
    if neighbours is not None and method is not Method.UMAP:
        raise InvalidRequestError(f"The number of neighbours is UMAP's; {method.written} has none. Leave it out.")
    most = max(1, (n - 1) / 3)
    if perplexity is not None and not 1 <= perplexity <= most:
        raise InvalidRequestError(
            f"A perplexity of {perplexity:g} does not fit {n:,} rows: give 1 to {int(most)}, or leave it out."
        )
    if neighbours is not None and not 2 <= neighbours < n:
        raise InvalidRequestError(f"{neighbours} neighbours do not fit {n:,} rows: give 2 to {n - 1}, or leave it out.")


def principal(rows: Floats, dims: int, seed: int = 42) -> tuple[Floats, NDArray[np.float64]]:
    """Principal components, (N, dims), and the share of the variance that each holds, (dims,)."""
    from sklearn.decomposition import PCA  # type: ignore[import-untyped]

    model = PCA(dims, random_state=seed)
    found = model.fit_transform(rows).astype(np.float32)
    return found, np.nan_to_num(model.explained_variance_ratio_)


def _pca(rows: Floats, dims: int, seed: int) -> Map:
    coordinates, explained = principal(rows, dims, seed)
    return Map(Method.PCA, coordinates, tuple(float(share) for share in explained), {"seed": seed})


def _tsne(rows: Floats, dims: int, seed: int, perplexity: float | None) -> Map:
    from openTSNE import TSNE  # type: ignore[import-untyped]

    most = (len(rows) - 1) / 3  # t-SNE looks at three times as many neighbours as its perplexity
    used = float(perplexity or max(1.0, min(_PERPLEXITY, most)))
    near = rows
    if min(rows.shape) > _REDUCED:
        near, _ = principal(rows, _REDUCED, seed)
    # Trees for space: interpolation, faster for many points, knows only planes.
    gradient = "bh" if dims == 3 or len(rows) < 5_000 else "fft"
    model = TSNE(
        n_components=dims,
        perplexity=used,
        initialization="pca",
        negative_gradient_method=gradient,
        random_state=seed,
        n_jobs=1,
    )
    return Map(Method.TSNE, np.asarray(model.fit(near), np.float32), (), {"perplexity": round(used, 3), "seed": seed})


def _umap(rows: Floats, dims: int, seed: int, neighbours: int | None) -> Map:
    try:
        from umap import UMAP  # type: ignore[import-untyped]
    except ImportError:
        raise InvalidRequestError(
            "UMAP is not installed here. Install it with `pip install 'luthier[umap]'`, or map with pca or tsne."
        ) from None
    used = neighbours or min(_NEIGHBOURS, len(rows) - 1)
    # The spectral start needs more rows than it finds eigenvectors.
    start = "spectral" if len(rows) > 4 * dims else "random"
    model = UMAP(n_components=dims, n_neighbors=used, metric="cosine", init=start, random_state=seed, n_jobs=1)
    return Map(Method.UMAP, model.fit_transform(rows).astype(np.float32), (), {"neighbours": used, "seed": seed})
