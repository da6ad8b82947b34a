"""Points of a map: coloured by a column, with what each says, as an interactive figure and as a PNG."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from io import BytesIO
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from luthier.reports.page import COLOURS
from luthier.types import Floats

if TYPE_CHECKING:
    from plotly.graph_objects import Figure  # type: ignore[import-untyped]

# Of one star to five, as in OpenAI's guide.
STARS = {1: "red", 2: "darkorange", 3: "gold", 4: "turquoise", 5: "darkgreen"}
_GREY = "#9aa3a8"
_NAMED = 16  # groups with a colour and a symbol of their own; the rest is grey
_SYMBOLS = ("circle", "diamond", "square", "cross")  # which planes and space both know
_MARKERS = {"circle": "o", "diamond": "D", "square": "s", "cross": "P", "x": "X"}  # the same of matplotlib
_SHADES = "Viridis"
_HOVER_WIDTH, _HOVER_CHARACTERS = 60, 300


@dataclass(frozen=True)
class Group:
    """Points of one colour.

    Args:
        name: in the legend.
        rows: (M,) of the coordinates.
        colour: of CSS.
        symbol: circle, diamond, square, cross or x.
        large: drawn larger than the others, and with an edge.
    """

    name: str
    rows: NDArray[np.int64]
    colour: str
    symbol: str = "circle"
    large: bool = False


@dataclass(frozen=True)
class Mark:
    """A place that is pointed out, with a name: the centre of a cluster."""

    name: str
    place: tuple[float, ...]
    colour: str


@dataclass(frozen=True)
class Scatter:
    """What is drawn.

    Args:
        title: of the picture.
        coordinates: (N, 2) or (N, 3).
        axes: names of the axes.
        groups: of points, drawn in this order.
        hover: (N,) what each point says.
        marks: places to point out.
        shades: (N,) numbers that colour all points instead of the groups' colours, with `shade` their name.
    """

    title: str
    coordinates: Floats
    axes: tuple[str, ...]
    groups: tuple[Group, ...]
    hover: Sequence[str]
    marks: tuple[Mark, ...] = ()
    shades: NDArray[np.float64] | None = None
    shade: str = ""
    legend: str = field(default="")

    @property
    def _size(self) -> float:
        """Of a point: smaller where there are many."""
        return 7.0 if len(self.coordinates) <= 1_500 else 5.0 if len(self.coordinates) <= 10_000 else 3.5

    def figure(self) -> "Figure":
        """For a page: hover over a point to read it, click a name in the legend to hide its points."""
        import plotly.graph_objects as go  # type: ignore[import-untyped]

        deep = self.coordinates.shape[1] == 3
        figure = go.Figure()
        for group in self.groups:
            figure.add_trace(self._trace(group, deep))
        for mark in self.marks:
            figure.add_trace(_mark_trace(mark, deep))
        titles = dict(zip(("xaxis", "yaxis", "zaxis"), self.axes, strict=False))
        layout: dict[str, Any] = {"height": 720 if deep else 640}  # the page has the title
        layout["legend"] = {"title": {"text": escape(self.legend)}, "itemsizing": "constant"}
        axes = {name: {"title": {"text": escape(axis)}} for name, axis in titles.items()}
        layout |= {"scene": axes | {"aspectmode": "cube"}} if deep else axes
        layout["showlegend"] = self.shades is None
        return figure.update_layout(layout)

    def _trace(self, group: Group, deep: bool) -> Any:
        import plotly.graph_objects as go

        points = self.coordinates[group.rows]
        size = self._size * (0.6 if deep else 1.0) * (1.8 if group.large else 1.0)
        marker: dict[str, Any] = {"size": size, "opacity": 1.0 if group.large else 0.65, "symbol": group.symbol}
        if self.shades is None:
            marker["color"] = group.colour
        else:
            marker |= {
                "color": self.shades[group.rows],
                "colorscale": _SHADES,
                "colorbar": {"title": escape(self.shade)},
            }
        # A thin light edge, so that dark points are seen on a dark ground.
        edge = {"width": 0.6, "color": "rgba(255,255,255,0.5)"}
        marker["line"] = {"width": 1.5, "color": "#222222"} if group.large else edge
        texts = [hover_text(self.hover[row]) for row in group.rows]
        shown = {
            "name": escape(group.name),
            "mode": "markers",
            "hovertext": texts,
            "hoverinfo": "text",
            "marker": marker,
        }
        shown["customdata"] = [self.hover[row] for row in group.rows]  # whole, to be searched
        if deep:
            return go.Scatter3d(x=points[:, 0], y=points[:, 1], z=points[:, 2], **shown)
        kind = go.Scatter if len(self.coordinates) <= 5_000 else go.Scattergl
        return kind(x=points[:, 0], y=points[:, 1], unselected={"marker": {"opacity": 0.05}}, **shown)

    def png(self) -> bytes:
        """For paper: the same picture by matplotlib."""
        from matplotlib.figure import Figure as Canvas

        deep = self.coordinates.shape[1] == 3
        canvas = Canvas(figsize=(10, 7.5), dpi=130, layout="constrained")
        axes: Any = canvas.add_subplot(projection="3d" if deep else None)
        for group in self.groups:
            points = self.coordinates[group.rows]
            size = self._size**2 * (0.45 if not group.large else 1.6)
            style: dict[str, Any] = {"s": size, "alpha": 1.0 if group.large else 0.55, "marker": _MARKERS[group.symbol]}
            style["linewidths"] = 1.0 if group.large else 0
            if group.large:
                style["edgecolors"] = "#222222"
            if self.shades is None:
                style["c"] = group.colour
            else:
                style |= {"c": self.shades[group.rows], "cmap": "viridis"}
            drawn = axes.scatter(*points.T, label=group.name, **style)
            if self.shades is not None:
                canvas.colorbar(drawn, label=self.shade)
        for mark in self.marks:
            axes.scatter(*mark.place, marker="X", s=190, c=mark.colour, edgecolors="#111111", linewidths=1.4, zorder=5)
            box = {"boxstyle": "round,pad=0.25", "fc": "white", "ec": mark.colour, "alpha": 0.85}
            if deep:
                axes.text(*mark.place, mark.name, fontsize=9)
            else:
                offset = {"xytext": (0, 13), "textcoords": "offset points"}
                axes.annotate(mark.name, mark.place, ha="center", fontsize=9, bbox=box, zorder=6, **offset)
        axes.set_title(self.title)
        for name, axis in zip(("xlabel", "ylabel", "zlabel"), self.axes, strict=False):
            axes.set(**{name: axis})
        if self.shades is None and len(self.groups) > 1:
            legend = axes.legend(title=self.legend or None, loc="best", fontsize=9, markerscale=1.4)
            for handle in legend.legend_handles:
                handle.set_alpha(1)
        if not deep:
            axes.grid(alpha=0.25)
            axes.set_axisbelow(True)
        out = BytesIO()
        canvas.savefig(out, format="png")
        return out.getvalue()


def coloured(column: "pd.Series[Any]") -> tuple[tuple[Group, ...], NDArray[np.float64] | None]:
    """Groups of points by a column, and numbers to shade them by where it holds many.

    Whole numbers from 1 to 5 have the colours of stars; other columns of few values one colour for each; many numbers a
    scale; of many other values the sixteen most frequent have colours, the rest and empty cells are grey.
    """
    numbers = pd.to_numeric(column, errors="coerce")
    values = set(numbers.dropna().unique())
    whole = bool(values) and not numbers.isna().any()
    if whole and values <= set(STARS):
        wanted = sorted(int(value) for value in values)
        return tuple(Group(f"{star}", np.flatnonzero(numbers == star), STARS[star]) for star in wanted), None
    if whole and len(values) > _NAMED:
        return (Group(str(column.name), np.arange(len(column)), _GREY),), numbers.to_numpy(dtype=np.float64)
    names = column.astype(object).where(column.notna(), None)
    counts = names.dropna().map(str).value_counts()
    shown = sorted(counts.index[:_NAMED], key=_order) if len(counts) <= _NAMED else list(counts.index[:_NAMED])
    texts = names.map(lambda value: None if value is None else str(value))
    groups = [Group(name, np.flatnonzero((texts == name).to_numpy()), *colour_of(at)) for at, name in enumerate(shown)]
    rest = np.flatnonzero(~texts.isin(shown).to_numpy())
    if len(rest):
        groups.insert(0, Group("other" if len(counts) > _NAMED else "(empty)", rest, _GREY))
    return tuple(groups), None


def colour_of(at: int) -> tuple[str, str]:
    """Colour and symbol of the group of this number; after eight colours the symbol changes."""
    return COLOURS[at % len(COLOURS)], _SYMBOLS[at // len(COLOURS) % len(_SYMBOLS)]


def hover_text(text: str) -> str:
    """A text in lines that fit beside a point, escaped."""
    short = text if len(text) <= _HOVER_CHARACTERS else text[: _HOVER_CHARACTERS - 1] + "…"
    lines = [line for part in short.splitlines() for line in wrap(part, _HOVER_WIDTH)]
    return "<br>".join(escape(line) for line in lines)


def _order(name: str) -> tuple[int, float, str]:
    """Numbers by size, then words."""
    try:
        return 0, float(name), name
    except ValueError:
        return 1, 0.0, name


def _mark_trace(mark: Mark, deep: bool) -> Any:
    import plotly.graph_objects as go

    x, y, *z = ([value] for value in mark.place)
    name = escape(mark.name)
    marker = {"size": 9 if deep else 16, "symbol": "x", "color": mark.colour, "line": {"width": 2, "color": "#222222"}}
    shown = {"mode": "markers+text", "text": [f"<b>{name}</b>"], "textposition": "top center", "marker": marker}
    shown |= {"hoverinfo": "text", "name": name}
    if deep:
        return go.Scatter3d(x=x, y=y, z=z[0], showlegend=False, **shown)
    return go.Scatter(x=x, y=y, showlegend=False, **shown)
