"""How many tokens the texts of a table have, and which are too many."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from luthier.toolkit.frame import to_rows
from luthier.toolkit.tables import Table
from luthier.toolkit.template import Template

_PIECE = 4096  # rows that are counted at a time


@dataclass(frozen=True)
class LongRow:
    """
    Args:
        row: counted from 1.
    """

    row: int
    tokens: int


@dataclass(frozen=True)
class TokenCounts:
    """Tokens of each row's text.

    Args:
        percentile_95: of a hundred rows, five have more.
        limit: tokens that the model takes, None where there is no limit.
        over_limit: rows with more, in the file's order.
    """

    rows: int
    total: int
    mean: float
    median: float
    percentile_95: float
    longest: int
    limit: int | None
    over_limit: tuple[LongRow, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"over_limit": [asdict(row) for row in self.over_limit]}


def count_tokens(
    table: Table, template: Template, count: Callable[[Sequence[str]], Sequence[int]], limit: int | None
) -> TokenCounts:
    """Count the tokens of every row.

    Args:
        table, template: of a file that has rows, as `open_texts` gives them.
        count: tokens of texts.
        limit: that the model takes.
    """
    counts = np.zeros(table.n_rows, dtype=np.int64)
    at = 0
    for piece in table.pieces(_PIECE):
        counts[at : at + len(piece)] = count(template.texts(to_rows(piece.select(template.columns))))
        at += len(piece)
    over = np.flatnonzero(counts > limit) if limit is not None else ()
    return TokenCounts(
        rows=table.n_rows,
        total=int(counts.sum()),
        mean=float(counts.mean()),
        median=float(np.median(counts)),
        percentile_95=float(np.percentile(counts, 95)),
        longest=int(counts.max()),
        limit=limit,
        over_limit=tuple(LongRow(int(row) + 1, int(counts[row])) for row in over),
    )
