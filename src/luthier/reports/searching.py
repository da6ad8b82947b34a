"""`luthier search --report`: what was found, and how much it stands out from the rest."""

from pathlib import Path
from typing import Any

import numpy as np

from luthier.reports.page import COLOURS, Page
from luthier.toolkit.search import SearchResult, plain_values
from luthier.toolkit.vectors import histogram

_BINS = 60
_MOST_COLUMNS = 4
_CELL = 240  # characters of a text that are shown


def write_search_page(result: SearchResult, path: Path, title: str) -> None:
    """Write the page.

    Raises:
        OSError: it cannot be written.
    """
    from plotly import graph_objects as go  # type: ignore[import-untyped]

    page = Page(title)
    searched = (
        f"{result.n_searched:,} of {result.n_rows:,} rows"
        if result.n_searched < result.n_rows
        else f"all {result.n_rows:,} rows"
    )
    how = "by meaning (cosine) and words (BM25), fused by reciprocal rank" if result.hybrid else "by meaning (cosine)"
    page.text(f"“{result.query}”, compared with {searched} {how}.")
    names = _columns(result)
    heads = ["Row", "Similarity", *(["Rank", "Rank by words"] if result.hybrid else []), *names]
    page.table(
        heads,
        [
            [
                hit.row + 1,
                hit.similarity,
                *([hit.rank, hit.word_rank] if result.hybrid else []),
                *(_short(values[name]) for name in names),
            ]
            for hit in result.hits
            for values in [plain_values(hit.values)]
        ],
    )
    counts, edges = histogram(result.similarities, _BINS)
    middles = (edges[:-1] + edges[1:]) / 2
    figure = go.Figure(
        [
            go.Bar(
                x=middles, y=counts, width=np.diff(edges), name="rows", marker_color=COLOURS[0], marker_line_width=0
            ),
            go.Scatter(
                x=[hit.similarity for hit in result.hits],
                y=[0] * len(result.hits),
                mode="markers",
                name="found",
                marker={"color": COLOURS[5], "size": 11, "symbol": "diamond", "line": {"color": "white", "width": 1}},
                hovertext=[f"row {hit.row + 1}: {hit.similarity:.3f}" for hit in result.hits],
                hoverinfo="text",
            ),
        ]
    )
    figure.update_layout(
        height=360,
        bargap=0,
        xaxis_title="cosine of the row and the question",
        yaxis_title="rows",
        legend={"orientation": "h", "y": 1.12},
    )
    page.heading("How much the hits stand out")
    page.figure(figure, caption="Similarities of all rows that were searched; the diamonds are the hits.")
    page.write(path)


def _columns(result: SearchResult) -> list[str]:
    """The columns that are shown: those with the longest texts first, since they are what was searched."""
    names = list(result.hits[0].values if result.hits else {})
    lengths = {name: max(len(str(hit.values[name])) for hit in result.hits) for name in names}
    return sorted(names, key=lambda name: -lengths[name])[:_MOST_COLUMNS]


def _short(value: Any) -> Any:
    return value[: _CELL - 1] + "…" if isinstance(value, str) and len(value) > _CELL else value
