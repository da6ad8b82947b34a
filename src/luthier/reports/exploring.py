"""Pages for what was found by looking: maps, clusters, outliers, diversity, duplicates, recommendations, matches."""

import re
from collections.abc import Sequence
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from luthier.reports.page import COLOURS, Page
from luthier.reports.scatter import Group, Mark, Scatter, colour_of, coloured, no_formula
from luthier.toolkit.cluster import Clustering
from luthier.toolkit.dedupe import Duplicates
from luthier.toolkit.diversity import Diversity
from luthier.toolkit.map import Map
from luthier.toolkit.match import Match
from luthier.toolkit.outliers import Outliers
from luthier.toolkit.recommend import Recommendations

if TYPE_CHECKING:
    from plotly.graph_objects import Figure  # type: ignore[import-untyped]

_GREY = "#9aa3a8"
_RED = "#d1352b"
_SHOWN = 200  # rows or groups of a table
_TOLD = 400  # characters of a text in a table
_BREAKS = re.compile(r"<br\s*/?>", re.IGNORECASE)


def shorten(text: str, length: int = _TOLD) -> str:
    """A text in one line of limited length. HTML's breaks, which reviews of shops are full of, are space too."""
    line = " ".join(_BREAKS.sub(" ", text).split())
    return line if len(line) <= length else line[: length - 1] + "…"


def map_scatter(found: Map, texts: Sequence[str], column: "pd.Series[Any] | None", title: str) -> Scatter:
    """A map, coloured by a column where one is given."""
    rows = np.arange(len(found.coordinates))
    groups: tuple[Group, ...] = (Group("rows", rows, COLOURS[0]),)
    shades, name = None, ""
    if column is not None:
        groups, shades = coloured(column)
        name = str(column.name)
        texts = [f"{name}: {value}\n{text}" for value, text in zip(column, texts, strict=True)]
    return Scatter(title, found.coordinates, found.axes, groups, texts, shades=shades, shade=name, legend=name)


def map_page(scatter: Scatter, found: Map, title: str) -> Page:
    """The map, and how it was made."""
    page = Page(title)
    told = ", ".join(f"{name} {value:g}" for name, value in found.settings.items())
    what = {
        "pca": "Distances are those of the embeddings, as far as so few axes can show them.",
        "tsne": "Rows that are near each other are alike; distances between groups, and their sizes, say little.",
        "umap": "Rows that are near each other are alike; distances between groups say something, but not much.",
    }[found.method.value]
    page.text(f"{len(found.coordinates):,} rows by {found.method.written} ({told}). {what}")
    page.figure(scatter.figure(), search=True)
    return page


def cluster_scatter(found: Clustering, place: Map, names: Sequence[str], texts: Sequence[str], title: str) -> Scatter:
    """A map with a colour for each cluster, and its centre marked by its number."""
    groups, marks = [], []
    outside = np.flatnonzero(found.labels == -1)
    if len(outside):
        groups.append(Group("in no cluster", outside, _GREY))
    for cluster, name in zip(found.clusters, names, strict=True):
        rows = np.flatnonzero(found.labels == cluster.label)
        colour, symbol = colour_of(cluster.label)
        groups.append(Group(shorten(f"{cluster.label}: {name}", 40), rows, colour, symbol))
        middle = place.coordinates[rows].mean(axis=0)
        marks.append(Mark(str(cluster.label), tuple(float(value) for value in middle), colour))
    hover = [
        f"Row {row + 1}, cluster {label}\n{text}"
        for row, (label, text) in enumerate(zip(found.labels, texts, strict=True))
    ]
    return Scatter(title, place.coordinates, place.axes, tuple(groups), hover, tuple(marks), legend="cluster")


def cluster_page(
    scatter: Scatter,
    found: Clustering,
    names: Sequence[str],
    means: tuple[str, Sequence[float]] | None,
    texts: Sequence[str],
    title: str,
) -> Page:
    """The map of the clusters, their sizes, names and means, and what lies nearest to each centre."""
    page = Page(title)
    quality = (
        "" if found.silhouette is None else f" Silhouette {found.silhouette:.3f} (from -1 to 1; larger is clearer)."
    )
    page.text(f"{len(found.clusters)} clusters in {len(found.labels):,} rows.{quality}")
    page.figure(scatter.figure(), search=True, caption="Each X is the mean of its cluster's points on this map.")
    columns = ["Cluster", "Rows", "Name", *([f"Mean {means[0]}"] if means else [])]
    rows = [
        [cluster.label, cluster.size, name, *([means[1][cluster.label]] if means else [])]
        for cluster, name in zip(found.clusters, names, strict=True)
    ]
    page.table(columns, rows)
    if found.tried:
        page.heading("How the number of clusters was chosen")
        page.figure(_tried_figure(found))
    page.heading("Nearest to each centre")
    page.table(
        ["Cluster", "Row", "Text"],
        [[cluster.label, row + 1, shorten(texts[row])] for cluster in found.clusters for row in cluster.nearest],
    )
    return page


def _tried_figure(found: Clustering) -> "Figure":
    import plotly.graph_objects as go  # type: ignore[import-untyped]

    ks, values = list(found.tried), list(found.tried.values())
    figure = go.Figure(go.Scatter(x=ks, y=values, mode="lines+markers", line={"color": COLOURS[0]}))
    figure.add_vline(x=len(found.clusters), line={"color": _RED, "dash": "dot"})
    return figure.update_layout(
        height=320, xaxis={"title": "number of clusters", "dtick": 1}, yaxis={"title": "silhouette"}, showlegend=False
    )


def outlier_scatter(found: Outliers, place: Map, texts: Sequence[str], title: str) -> Scatter:
    """A map on which the outliers stand out."""
    odd = np.array(found.rows, dtype=np.int64)
    others = np.setdiff1d(np.arange(len(found.scores)), odd)
    groups = [Group("others", others, _GREY)] if len(others) else []
    if len(odd):
        groups.append(Group("outliers", odd, _RED, "diamond", large=True))
    hover = [f"Row {row + 1}, score {found.scores[row]:.3f}\n{text}" for row, text in enumerate(texts)]
    return Scatter(title, place.coordinates, place.axes, tuple(groups), hover)


def outlier_page(scatter: Scatter, found: Outliers, texts: Sequence[str], title: str) -> Page:
    """The map, the scores' distribution, and the outliers' texts."""
    import plotly.graph_objects as go

    page = Page(title)
    measure = "Mean cosine distance to" if found.score == "distance" else "Local outlier factor against"
    page.text(
        f"{len(found.rows):,} of {len(found.scores):,} rows lie above {found.threshold:.3f}. "
        f"{measure} the {found.neighbours} nearest rows; larger is odder."
    )
    page.figure(scatter.figure(), search=True)
    figure = go.Figure(go.Histogram(x=found.scores, nbinsx=80, marker={"color": COLOURS[0]}))
    figure.add_vline(x=found.threshold, line={"color": _RED, "dash": "dot"}, annotation_text="threshold")
    page.figure(figure.update_layout(height=320, xaxis={"title": "score"}, yaxis={"title": "rows"}))
    page.table(
        ["Row", "Score", "Text"],
        [[row + 1, float(found.scores[row]), shorten(texts[row])] for row in found.rows[:_SHOWN]],
    )
    return page


def diversity_page(found: Diversity, column: str | None, title: str) -> Page:
    """The distribution of similarities, and the groups."""
    import plotly.graph_objects as go

    page, whole = Page(title), found.whole
    page.text(
        f"Two of the {whole.n_rows:,} rows have a cosine of {whole.mean_similarity:.3f} on average. "
        f"Together they are worth {whole.vendi:,.1f} rows that are wholly different (Vendi score)."
    )
    figure = go.Figure(
        go.Bar(
            x=(found.edges[:-1] + found.edges[1:]) / 2,
            y=found.counts,
            width=np.diff(found.edges),
            marker_color=COLOURS[0],
        )
    )
    figure.add_vline(x=whole.mean_similarity, line={"color": _RED, "dash": "dot"}, annotation_text="mean")
    figure.update_layout(height=420, bargap=0, xaxis={"title": "cosine of two rows"}, yaxis={"title": "pairs"})
    page.figure(figure, caption=f"{found.n_pairs:,} pairs of rows.")
    if found.groups:
        page.heading(f"By {column}")
        page.table(
            [str(column), "Rows", "Mean similarity", "Vendi score"],
            [[group.name, group.n_rows, group.mean_similarity, group.vendi] for group in found.groups],
        )
    return page


def diversity_png(found: Diversity, title: str) -> bytes:
    """The distribution of similarities."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(9, 5), dpi=130, layout="constrained")
    axes = canvas.add_subplot()
    axes.bar(found.edges[:-1], found.counts, width=np.diff(found.edges), align="edge", color=COLOURS[0])
    axes.axvline(
        found.whole.mean_similarity, color=_RED, linestyle=":", label=f"mean {found.whole.mean_similarity:.3f}"
    )
    axes.set(title=no_formula(title), xlabel="cosine of two rows", ylabel="pairs")
    axes.legend()
    out = BytesIO()
    canvas.savefig(out, format="png")
    return out.getvalue()


def duplicates_page(found: Duplicates, texts: Sequence[str], title: str) -> Page:
    """The groups, each with the row that is kept first."""
    page = Page(title)
    dropped = len(found.keep) - int(found.keep.sum())
    page.text(
        f"{dropped:,} of {len(found.keep):,} rows repeat another with a cosine of at least {found.threshold:g}, "
        f"in {len(found.groups):,} groups."
    )
    rows = [
        [number, "keep" if row == group.rows[0] else "drop", row + 1, shorten(texts[row])]
        for number, group in enumerate(found.groups[:_SHOWN], start=1)
        for row in group.rows
    ]
    page.table(["Group", "What to do", "Row", "Text"], rows)
    return page


def recommendation_page(found: Recommendations, texts: Sequence[str], title: str) -> Page:
    """What was liked, and what is recommended for it."""
    page = Page(title)
    asked = [["liked", row + 1, shorten(texts[row])] for row in found.likes]
    asked += [["disliked", row + 1, shorten(texts[row])] for row in found.dislikes]
    page.table(["What", "Row", "Text"], asked)
    page.heading("Recommended")
    if found.diversity:
        page.text(f"With diversity {found.diversity:g}: each row is unlike those above it, too.")
    page.table(
        ["Row", "Score", "Nearest liked", "Text"],
        [[item.row + 1, item.score, item.similarity, shorten(texts[item.row])] for item in found.found],
    )
    return page


def match_page(found: Sequence[Match], categories: Sequence[str], title: str) -> Page:
    """Texts against categories, as a table of colours."""
    import plotly.graph_objects as go

    page = Page(title)
    values = [[dict(item.scores)[name] for name in categories] for item in found]
    figure = go.Figure(
        go.Heatmap(
            z=values,
            x=[escape(name) for name in categories],
            y=[f"{at + 1}  {escape(shorten(item.text, 30))}" for at, item in enumerate(found)],
            colorscale="Blues",
            texttemplate="%{z:.3f}",  # as in the terminal: with two, close ones look alike
            hovertemplate="%{y}: %{x} %{z:.3f}<extra></extra>",
            colorbar={"title": "cosine"},
        )
    )
    figure.update_layout(height=180 + 42 * len(found), xaxis={"side": "top"}, yaxis={"autorange": "reversed"})
    page.figure(figure)
    page.table(["Text", "Nearest", "Cosine"], [[item.text, item.best, item.scores[0][1]] for item in found])
    return page
