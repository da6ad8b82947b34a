"""What every workflow asks of the embeddings that it is given."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from luthier.errors import DataError, InvalidRequestError
from luthier.types import Floats

_LEAST_SPAN = 1e-6  # of a histogram of cosines


def matrix(vectors: ArrayLike, least: int, purpose: str) -> Floats:
    """Embeddings as (N, D) float32.

    Args:
        least: rows that there must be.
        purpose: what they are for, as the message says it: "A map".

    Raises:
        DataError: they are no matrix, too few, or something in them is no finite number.
    """
    try:
        rows = np.asarray(vectors, dtype=np.float32)
    except (TypeError, ValueError):
        raise DataError("The embeddings are no table of numbers: each row needs as many as the first.") from None
    if rows.ndim != 2 or not rows.shape[1]:
        raise DataError(f"The embeddings have the shape {rows.shape}; they must be rows of numbers, (N, D).")
    if len(rows) < least:
        raise DataError(f"{purpose} needs at least {least} rows; there {_are(len(rows))}.")
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise DataError(
            f"The embedding of row {bad[0] + 1} has something in it that is no finite number. Embed it again."
        )
    return rows


def unit(vectors: Floats) -> Floats:
    """Each row at length 1, so that products are cosines. Rows of zeros stay so."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Floats = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return scaled


def check_rows(rows: "NDArray[Any] | list[int]", n: int, what: str) -> None:
    """
    Raises:
        InvalidRequestError: a row, counted from 0, is not among `n`; the message counts from 1.
    """
    for row in rows:
        if not 0 <= row < n:
            raise InvalidRequestError(f"There is no row {row + 1} to {what}: the rows are 1 to {n:,}.")


def _are(count: int) -> str:
    return "is 1" if count == 1 else f"are {count}"


def histogram(values: Floats, bins: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Counts, (bins,), and edges, (bins + 1,); edges that differ also where the values hardly do."""
    wide = values.astype(np.float64)
    lowest, highest = wide.min(), wide.max()
    if highest - lowest < _LEAST_SPAN:
        lowest, highest = lowest - _LEAST_SPAN / 2, highest + _LEAST_SPAN / 2
    counts, edges = np.histogram(wide, bins, range=(lowest, highest))
    return counts, edges
