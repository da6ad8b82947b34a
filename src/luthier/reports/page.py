"""One HTML page that needs nothing but itself: text, tables, figures, pictures; light and dark.

A report is a `Page` that is filled from top to bottom and written at the end. Whatever comes from data is escaped.
Figures are Plotly's; its script is embedded once, and only where there is a figure.
"""

import base64
import json
import math
import numbers
from collections.abc import Iterable, Sequence
from decimal import Decimal
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier import __version__
from luthier.durable import whole_file

if TYPE_CHECKING:
    from plotly.graph_objects import Figure  # type: ignore[import-untyped]

# The page may run its own scripts (Plotly compiles some of its own), and may ask the network for nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'; img-src data: blob:"
_LONG = 60  # characters from which a cell is given room to wrap
# Eight colours that people who cannot tell red from green still tell apart (Okabe and Ito, without their black).
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a7a00", "#7f7f7f")


class Page:
    """A report, filled from top to bottom.

    Args:
        title: heading of the page, and of its window.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._parts: list[str] = []
        self._figures: list[str] = []

    def heading(self, text: str) -> None:
        """Begin a section."""
        self._parts.append(f"<h2>{escape(text)}</h2>")

    def text(self, text: str) -> None:
        """A paragraph. Line breaks stay."""
        self._parts.append(f"<p>{escape(text)}</p>")

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """A table that a click on a heading sorts.

        Args:
            columns: headings.
            rows: cells, one for each column. Columns of numbers stand right; all numbers of a column have the decimals
                that its cells need for four significant digits, none where all are whole.
        """
        body = [list(row) for row in rows]
        if any(len(row) != len(columns) for row in body):
            raise ValueError(f"A row has not {len(columns)} cells, one for each column.")
        right = [bool(body) and all(_is_number(row[at]) for row in body) for at in range(len(columns))]
        kinds = [' class="number"' if number else "" for number in right]
        head = "".join(f"<th{kind}>{escape(str(name))}</th>" for kind, name in zip(kinds, columns, strict=True))
        places = [_decimals(row[at] for row in body) for at in range(len(columns))]
        lines = ["<tr>" + "".join(map(_cell, row, right, places)) + "</tr>" for row in body]
        empty = "" if body else '<div class="empty">No rows.</div>'
        self._parts.append(
            f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
            f"<tbody>{''.join(lines)}</tbody></table>{empty}</div>"
        )

    def figure(self, figure: "Figure", *, caption: str = "", search: bool = False) -> None:
        """A figure of Plotly's: its colours of ground, axes and letters are those of the page.

        Args:
            figure: texts of users in it, such as `hovertext`, must be escaped by who made it: Plotly reads some tags.
            caption: a line under it.
            search: with a box that finds points by their `customdata`, or else their `hovertext`.
        """
        drawn = json.loads(figure.to_json())
        drawn["layout"].pop("template", None)  # the page's own takes its place
        height = drawn["layout"].setdefault("height", 560)
        name = f"figure-{len(self._figures) + 1}"
        self._figures.append(_data(name, drawn))
        box = '<input type="search" placeholder="Find points by their text" aria-label="Find points by their text">'
        above = f'<div class="search">{box}<output></output></div>' if search else ""
        below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
        plot = f'<div class="plot" data-figure="{name}" style="height:{int(height)}px"></div>'
        self._parts.append(f"<figure>{above}{plot}{below}</figure>")

    def picture(self, png: bytes | Path, *, caption: str = "") -> None:
        """A PNG, embedded.

        Args:
            png: its bytes, or its file.
            caption: a line under it, which is also what is read out.
        """
        encoded = base64.b64encode(png.read_bytes() if isinstance(png, Path) else png).decode()
        below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
        image = f'<img src="data:image/png;base64,{encoded}" alt="{escape(caption)}">'
        self._parts.append(f"<figure>{image}{below}</figure>")

    def html(self) -> str:
        """The page as it stands."""
        scripts = [f"<script>{_asset('tables.js')}</script>"]
        if self._figures:
            from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

            scripts += [f"<script>{get_plotlyjs()}</script>", _data("templates", _templates()), *self._figures]
            scripts.append(f"<script>{_asset('figures.js')}</script>")
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{escape(self._title)}</title>\n<style>{_asset('page.css')}</style>\n</head>\n"
            f"<body>\n<main>\n<h1>{escape(self._title)}</h1>\n"
            + "\n".join(self._parts)
            + f"\n<footer>Made by Luthier {__version__}. This page holds everything it shows.</footer>\n</main>\n"
            + "\n".join(scripts)
            + "\n</body>\n</html>\n"
        )

    def write(self, path: Path) -> None:
        """Write the page to a file.

        Raises:
            OSError: it cannot be written.
        """
        with whole_file(path) as file:
            file.write_text(self.html(), encoding="utf-8")


def _data(name: str, value: Any) -> str:
    """JSON within the page. No text in it can end the script or begin a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{text}</script>'


def _asset(name: str) -> str:
    return resources.files("luthier.reports").joinpath("assets", name).read_text(encoding="utf-8")


def _templates() -> dict[str, Any]:
    """How Plotly draws in each theme: clear ground, the page's letters and lines."""
    import plotly.io  # type: ignore[import-untyped]

    made = {}
    for theme, base, ink, line in (
        ("light", "plotly_white", "#1d2429", "#e0e3e5"),
        ("dark", "plotly_dark", "#e4e8ea", "#30373c"),
    ):
        template: dict[str, Any] = plotly.io.templates[base].to_plotly_json()
        layout = template["layout"]
        clear = "rgba(0,0,0,0)"
        layout |= {"paper_bgcolor": clear, "plot_bgcolor": clear, "colorway": list(COLOURS)}
        layout["margin"] = {"l": 60, "r": 20, "t": 55, "b": 55}
        layout["font"] = {"color": ink, "family": "system-ui, sans-serif", "size": 13}
        for axis in ("xaxis", "yaxis"):
            layout[axis] |= {"gridcolor": line, "zerolinecolor": line, "linecolor": line, "automargin": True}
        for axis in ("xaxis", "yaxis", "zaxis"):
            layout["scene"][axis] |= {"gridcolor": line, "backgroundcolor": clear, "zerolinecolor": line}
        made[theme] = template
    return made


def _is_number(cell: Any) -> bool:
    return isinstance(cell, numbers.Real) and not isinstance(cell, bool)


def _decimals(cells: Iterable[Any]) -> int:
    """The most that one of the numbers needs for four significant digits, twelve at most."""
    finite = [float(cell) for cell in cells if _is_number(cell) and math.isfinite(cell)]
    return min(12, max(-int(Decimal(f"{number:.4g}").as_tuple().exponent) for number in [*finite, 0.0]))


def _cell(cell: Any, right: bool, decimals: int) -> str:
    if right:
        return f'<td class="number" data-value="{float(cell)!r}">{_number(cell, decimals)}</td>'
    text = "" if cell is None else _number(cell, decimals) if _is_number(cell) else str(cell)
    long = ' class="long"' if len(text) > _LONG else ""
    return f"<td{long}>{escape(text)}</td>"


def _number(value: Any, decimals: int) -> str:
    """In groups of three digits; nothing for NaN."""
    if isinstance(value, numbers.Integral) and not decimals:
        return f"{int(value):,}"  # exact, however large
    number = float(value)
    return "" if math.isnan(number) else f"{number:,.{decimals}f}"
