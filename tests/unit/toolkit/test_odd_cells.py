"""Cells and options that nobody means: each is refused in a sentence, or taken as what it is."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from luthier.errors import DataError, LuthierError
from luthier.reports.profiles import box_figure
from luthier.toolkit.classify import labels_of
from luthier.toolkit.cluster import hdbscan, kmeans
from luthier.toolkit.diversity import measure_diversity
from luthier.toolkit.frame import Frame, read_frame
from luthier.toolkit.holdout import hold_out
from luthier.toolkit.map import make_map
from luthier.toolkit.profiles import Profiles, profile_of
from luthier.toolkit.vectors import histogram
from luthier.toolkit.zero_shot import Pieces, zero_shot

VECTORS = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
FRAME = Frame(
    pd.DataFrame(
        {
            "list": [np.array([1, 2])] * 12,
            "moment": [datetime(2026, 1, 1) + timedelta(days=at) for at in range(12)],
            "span": [timedelta(days=at) for at in range(12)],
        }
    ),
    VECTORS,
)


def embed(texts: Any) -> Any:
    return VECTORS[: len(texts)]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: FRAME.numbers("list"), r"Row 1 has array\(\[1, 2\]\) in column 'list'"),
        (lambda: FRAME.numbers("moment"), "Row 1 has Timestamp.* in column 'moment', which must hold a number"),
        (lambda: FRAME.numbers("span"), "Row 1 has .* in column 'span', which must hold a number"),
        (lambda: labels_of(FRAME, "list"), "holds a ndarray in row 1; classes are texts or whole numbers"),
        (lambda: profile_of(FRAME, "list"), "'list' holds a ndarray in row 1; names are texts or numbers"),
        (lambda: make_map(VECTORS, perplexity=3.9), "A perplexity of 3.9 does not fit 12 rows: give 1 to 3,"),
        (lambda: make_map(VECTORS[:, :2], dims=3), "Embeddings of 2 numbers cannot be mapped in 3 dimensions"),
        (lambda: hold_out(100, 0.2, -1), "The seed is -1; it lies between 0 and"),
        (lambda: hdbscan(VECTORS, min_size=0), "at least 0 rows does not fit"),
        (lambda: zero_shot(Pieces.whole(VECTORS), ["a", "b"], embed, threshold=np.nan), "The threshold is nan"),
    ],
)
def test_a_sentence_says_what_to_do(call: Callable[[], Any], said: str) -> None:
    with pytest.raises(LuthierError, match=said):
        call()


def test_groups_may_be_lists() -> None:
    assert [group.n_rows for group in measure_diversity(VECTORS, list(FRAME.column("list"))).groups] == [12]


def test_lists_of_texts_are_no_embeddings(tmp_path: Path) -> None:
    pd.DataFrame({"embedding": [["a", "b"]] * 3}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(LuthierError, match=r"lists of string in column .embedding. of t\.parquet"):
        read_frame(tmp_path / "t.parquet", "embedding")


def test_embeddings_that_hardly_differ() -> None:
    """By how a float was rounded: there is a histogram of their cosines, and they count as one for clusters."""
    rows = np.tile(VECTORS[:1], (30, 1))
    rows[::2] *= np.float32(1 + 1e-7)
    counts = measure_diversity(rows).as_dict()["histogram"]["counts"]
    assert sum(counts) == 30 * 29 / 2
    edges = histogram(np.float32([1, 1 - 6e-8, 1]), 40)[1]
    assert (np.diff(edges) > 0).all()
    with pytest.raises(DataError, match="only 1 of the 30 embeddings is different"):
        kmeans(rows, 3)


def test_large_whole_numbers_keep_their_digits() -> None:
    none = np.empty(0)
    made = Profiles(None, None, "year", 8, 2, none, none, np.array([0.1, 0.9]), np.array([1000001.0, 1000002.0]), None)  # type: ignore[arg-type]
    assert [box.name for box in box_figure(made).data] == ["1000001", "1000002"]
