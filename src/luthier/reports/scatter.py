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
        shades: (N,) numbers that colour the points instead of the groups' colours, with `shade` their name; a group
            where they are NaN has its own colour.
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
        shades = self._shades_of(group)
        if shades is None:
            marker["color"] = group.colour
        else:
            marker |= {
                "color": shades,
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

    def _shades_of(self, group: Group) -> NDArray[np.float64] | None:
        """The numbers that colour a group's points, (M,); None for a group of its own colour, as of empty cells."""
        shades = self.shades[group.rows] if self.shades is not None else np.full(1, np.nan)
        return shades if np.isfinite(shades).all() else None

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
            shades = self._shades_of(group)
            style |= {"c": group.colour} if shades is None else {"c": shades, "cmap": "viridis"}
            drawn = axes.scatter(*points.T, label=no_formula(group.name), **style)
            if shades is not None:
                canvas.colorbar(drawn, label=no_formula(self.shade))
        for mark in self.marks:
            axes.scatter(*mark.place, marker="X", s=190, c=mark.colour, edgecolors="#111111", linewidths=1.4, zorder=5)
            box = {"boxstyle": "round,pad=0.25", "fc": "white", "ec": mark.colour, "alpha": 0.85}
            if deep:
                axes.text(*mark.place, no_formula(mark.name), fontsize=9)
            else:
                offset = {"xytext": (0, 13), "textcoords": "offset points"}
                axes.annotate(no_formula(mark.name), mark.place, ha="center", fontsize=9, bbox=box, zorder=6, **offset)
        axes.set_title(no_formula(self.title))
        for name, axis in zip(("xlabel", "ylabel", "zlabel"), self.axes, strict=False):
            axes.set(**{name: no_formula(axis)})
        if self.shades is None and len(self.groups) > 1:
            legend = axes.legend(title=no_formula(self.legend) or None, loc="best", fontsize=9, markerscale=1.4)
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

    Whole numbers from 1 to 5 have the colours of stars; other columns of few values one colour for each; many numbers,
    and many moments as years, a scale; of many other values, texts of digits among them, the sixteen most frequent have
    colours. The rest and empty cells are grey.
    """
    numbers = _numbers(column)
    known = np.isfinite(numbers)
    values = set(numbers[known].tolist())
    if values and not pd.api.types.is_string_dtype(column) and not column.notna().to_numpy()[~known].any():
        empty = [Group("(empty)", np.flatnonzero(~known), _GREY)] if not known.all() else []
        if values <= set(STARS):
            stars = [Group(f"{star:g}", np.flatnonzero(numbers == star), STARS[int(star)]) for star in sorted(values)]
            return (*empty, *stars), None
        if len(values) > _NAMED:
            return (*empty, Group(str(column.name), np.flatnonzero(known), COLOURS[0])), numbers
    names = column.astype(object).where(column.notna(), None)
    counts = names.dropna().map(str).value_counts()
    shown = sorted(counts.index[:_NAMED], key=_order) if len(counts) <= _NAMED else list(counts.index[:_NAMED])
    texts = names.map(lambda value: None if value is None else str(value))
    groups = [Group(name, np.flatnonzero((texts == name).to_numpy()), *colour_of(at)) for at, name in enumerate(shown)]
    none, named = texts.isna().to_numpy(), texts.isin(shown).to_numpy()
    grey = {"(other)": ~named & ~none, "(empty)": none}
    return (*(Group(name, np.flatnonzero(some), _GREY) for name, some in grey.items() if some.any()), *groups), None


def _numbers(column: "pd.Series[Any]") -> NDArray[np.float64]:
    """A column's cells as numbers, (N,): moments as years with their fraction; NaN for what is none, such as truth."""
    if pd.api.types.is_datetime64_any_dtype(column):
        days = column.dt.day_of_year - 1 + (column - column.dt.normalize()) / pd.Timedelta(days=1)
        years: NDArray[np.float64] = (column.dt.year + days / 366).to_numpy(dtype=np.float64)
        return years
    truth = column.map(lambda cell: isinstance(cell, bool | np.bool_))
    if truth.any() or pd.api.types.is_timedelta64_dtype(column):
        return np.full(len(column), np.nan)
    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)


def colour_of(at: int) -> tuple[str, str]:
    """Colour and symbol of the group of this number; after eight colours the symbol changes."""
    return COLOURS[at % len(COLOURS)], _SYMBOLS[at // len(COLOURS) % len(_SYMBOLS)]


def hover_text(text: str) -> str:
    """A text in lines that fit beside a point, escaped."""
    short = text if len(text) <= _HOVER_CHARACTERS else text[: _HOVER_CHARACTERS - 1] + "…"
    lines = [line for part in short.splitlines() for line in wrap(part, _HOVER_WIDTH)]
    return "<br>".join(escape(line) for line in lines)


def no_formula(text: str) -> str:
    """A text as it stands: matplotlib would read what is between two dollars as a formula."""
    return text.replace("$", r"\$")


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
