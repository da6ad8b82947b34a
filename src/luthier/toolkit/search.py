"""Search: the rows of a frame that are nearest to a question, by meaning, or by meaning and words together."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from luthier.domain.filters import Filter, keys_of, matches
from luthier.errors import DataError
from luthier.toolkit.frame import Frame
from luthier.types import Floats

RANK_CONSTANT = 60
"""k of reciprocal rank fusion, 1 / (k + rank): Cormack, Clarke and Büttcher, SIGIR 2009."""
_FUSED_DEPTH = 100  # ranks of each list that count, at least
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"  # Chinese and Japanese, whose words nothing parts
# A letter or digit alone is a word too, but not that of "it's".
_WORD = rf"[{_UNSPACED}]|[^\W{_UNSPACED}]{{2,}}|(?<!['\u2019])\b[^\W{_UNSPACED}]\b"


@dataclass(frozen=True)
class Hit:
    """A row that was found.

    Args:
        row: its number, from 0.
        score: what orders the hits: the cosine, or where words count too the sum of 1 / (60 + rank).
        similarity: cosine of its embedding and the question's, -1 to 1.
        rank: among the most similar, from 1; None beyond the ranks that count.
        word_rank: among the best by words, from 1; None where no word of the question is in it, or words do not count.
        values: the row's columns.
    """

    row: int
    score: float
    similarity: float
    rank: int | None
    word_rank: int | None
    values: dict[str, Any]


@dataclass(frozen=True)
class SearchResult:
    """
    Args:
        query: what was asked.
        hybrid: whether words count beside meaning.
        n_rows: rows of the frame.
        n_searched: those for which the condition holds.
        hits: the best first.
        similarities: (n_searched,) cosines of all rows searched; of the hits alone, when an index found them.
        exact: whether every row was compared.
    """

    query: str
    hybrid: bool
    n_rows: int
    n_searched: int
    hits: tuple[Hit, ...]
    similarities: Floats = field(repr=False, compare=False)
    exact: bool = True

    def as_dict(self) -> dict[str, Any]:
        return {
            "query": self.query,
            "method": "exact" if self.exact else "index",
            "hybrid": self.hybrid,
            "rows": self.n_rows,
            "searched": self.n_searched,
            "hits": [
                {
                    "row": hit.row + 1,
                    "score": hit.score,
                    "similarity": hit.similarity,
                    "rank": hit.rank,
                    "word_rank": hit.word_rank,
                    "values": plain_values(hit.values),
                }
                for hit in self.hits
            ],
        }


def search(
    frame: Frame,
    query: str,
    vector: Floats,
    *,
    k: int = 10,
    where: Filter | None = None,
    texts: Sequence[str] | None = None,
) -> SearchResult:
    """Compare a question with every row.

    Args:
        vector: (D,) embedding of the question, by the model that embedded the frame.
        k: most hits.
        where: only rows for which this holds.
        texts: of all rows. With them words count too: BM25's order and that of the cosines are fused by reciprocal
            rank, so that neither score's scale matters.

    Raises:
        DataError: `k` below 1, a column that is not there, no row for which the condition holds, or a vector of
            another length or without any direction.
    """
    if k < 1:
        raise DataError(f"k is {k}. Ask for at least 1 hit.")
    check_vector(vector, frame.vectors.shape[1], frame.model)
    rows = rows_where(frame.rows, where)
    vectors = frame.vectors if len(rows) == len(frame) else frame.vectors[rows]
    similarities = cosines(vectors, vector)
    near = best(similarities, max(k, _FUSED_DEPTH) if texts is not None else k)
    ranks = {int(at): rank for rank, at in enumerate(near, start=1)}
    word_ranks: dict[int, int] = {}
    if texts is not None:
        word_scores = bm25([texts[row] for row in rows], query)
        by_words = best(word_scores, max(k, _FUSED_DEPTH))
        word_ranks = {int(at): rank for rank, at in enumerate(by_words, start=1) if word_scores[at] > 0}
        scores = fuse(ranks, word_ranks)
        order = sorted(scores, key=lambda at: (-scores[at], -similarities[at], at))[:k]
    else:
        scores = {at: float(similarities[at]) for at in ranks}
        order = list(ranks)
    hits = [
        Hit(
            int(rows[at]),
            scores[at],
            float(similarities[at]),
            ranks.get(at),
            word_ranks.get(at),
            _values(frame, int(rows[at])),
        )
        for at in order
    ]
    return SearchResult(query, texts is not None, len(frame), len(rows), tuple(hits), similarities)


def found_by_index(frame: Frame, query: str, found: Sequence[tuple[int, float]], n_searched: int) -> SearchResult:
    """The result of a search that an index did.

    Args:
        found: numbers of rows with their cosines, the best first.
    """
    hits = tuple(
        Hit(row, score, score, rank, None, _values(frame, row)) for rank, (row, score) in enumerate(found, start=1)
    )
    similarities = np.array([score for _, score in found], dtype=np.float32)
    return SearchResult(query, False, len(frame), n_searched, hits, similarities, exact=False)


def _values(frame: Frame, row: int) -> dict[str, Any]:
    """A row's cells by column, each as its column has it: a row of pandas would make whole numbers floats."""
    return {str(name): frame.rows[name].iloc[[row]].tolist()[0] for name in frame.rows.columns}


def rows_where(rows: pd.DataFrame, where: Filter | None) -> NDArray[np.int64]:
    """Numbers of the rows for which a condition holds, in order.

    Raises:
        DataError: it names a column that is not there, or holds for no row.
    """
    if where is None:
        return np.arange(len(rows))
    names = sorted(set(keys_of(where)))
    for name in names:
        if name not in rows.columns:
            raise DataError(
                f"The condition names a column '{name}', and there is none. The columns are "
                f"{', '.join(map(str, rows.columns))}."
            )
    columns = [comparable(rows[name]) for name in names]
    held = [
        at
        for at, cells in enumerate(zip(*columns, strict=True))
        if matches(where, dict(zip(names, cells, strict=True)))
    ]
    if not held:
        found = "; ".join(f"{name} has {_some(cells)}" for name, cells in zip(names, columns, strict=True))
        raise DataError(f"The condition holds for none of the {len(rows):,} rows. {found}. Texts stand in quotes.")
    return np.array(held)


def comparable(column: "pd.Series[Any]") -> list[Any]:
    """A column's cells as conditions compare them: numbers, texts, truth; moments as `2026-11-22 21:48:11`, or days."""
    if pd.api.types.is_datetime64_any_dtype(column):
        column = column.astype(str)
    return [_comparable(cell) for cell in column.tolist()]


def _comparable(cell: Any) -> Any:
    if isinstance(cell, Decimal):
        return float(cell)
    return str(cell) if isinstance(cell, date) and not pd.isna(cell) else cell


def _some(cells: Sequence[Any]) -> str:
    seen = list(dict.fromkeys(repr(cell) for cell in cells[:1000]))
    return ", ".join(seen[:3]) + (", …" if len(seen) > 3 else "")


def check_vector(vector: Floats, width: int, model: str | None) -> None:
    """
    Raises:
        DataError: a question's vector that cannot be compared with vectors of this width.
    """
    if vector.shape != (width,):
        made = f", made by '{model}'" if model else ""
        raise DataError(
            f"The question's embedding has {vector.size} numbers, but those searched have {width}{made}. Name the "
            "model that made them with --model."
        )
    if not np.isfinite(vector).all() or not vector.any():
        raise DataError("The question's embedding has no direction: ask with a text that is not empty.")


def cosines(vectors: Floats, vector: Floats) -> Floats:
    """(N,) cosines of (N, D) and (D,); 0 where a row is all zeros."""
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(vector)
    found: Floats = (vectors @ vector) / np.maximum(lengths, np.finfo(np.float32).tiny)
    return found


def best(scores: Floats, k: int) -> NDArray[np.int64]:
    """Places of the `k` highest scores, highest first; of equal ones the earlier first."""
    k = min(k, len(scores))
    if k < len(scores):
        limit = np.partition(scores, -k)[-k]
        inside = np.flatnonzero(scores >= limit)
    else:
        inside = np.arange(len(scores))
    order = inside[np.argsort(-scores[inside], kind="stable")]
    return order[:k]


def bm25(texts: Sequence[str], query: str) -> Floats:
    """(N,) BM25 scores of texts for a question (Lucene's variant, k1 1.5, b 0.75); English stop words do not count.

    Of Chinese and Japanese each character counts as a word.
    """
    import bm25s  # type: ignore[import-untyped]

    def words(of: list[str]) -> list[list[str]]:
        cut: list[list[str]] = bm25s.tokenize(
            of, token_pattern=_WORD, stopwords="en", return_ids=False, show_progress=False
        )
        return cut

    cut = words(list(texts))
    asked = words([query])[0]
    known = set(asked).intersection(*[set().union(*cut)])
    if not known:
        return np.zeros(len(texts), dtype=np.float32)
    ranker = bm25s.BM25()
    ranker.index(cut, show_progress=False)
    scores: Floats = ranker.get_scores([word for word in asked if word in known])
    return scores


def fuse(*rankings: dict[int, int]) -> dict[int, float]:
    """Reciprocal rank fusion: Σ 1 / (60 + rank) over the rankings that a row is in.

    Args:
        rankings: row → rank from 1.
    """
    scores: dict[int, float] = {}
    for ranking in rankings:
        for row, rank in ranking.items():
            scores[row] = scores.get(row, 0.0) + 1 / (RANK_CONSTANT + rank)
    return scores


def plain_values(values: dict[str, Any]) -> dict[str, Any]:
    """A row's cells as JSON has them; empty ones are null, lists and objects are their JSON as text."""
    return {name: _plain(value) for name, value in values.items()}


def _listed(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=_listed)
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and not np.isfinite(value)):
        return None
    return value if isinstance(value, str | int | float | bool) else str(value)
