"""Pictures of a training run from its results table: loss, accuracy, classification metrics; PNG and HTML.

The table is `compiled_results.csv`: one row a step, empty cells where nothing was measured.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas

from luthier.durable import whole_file

_SMOOTHING = 0.05  # a training curve is averaged over this share of its steps
_COLOURS = ("#3b6fb6", "#d1572b", "#3d8b4f", "#8a5aa8", "#b08a1e", "#5b6770", "#c2437e")


@dataclass(frozen=True)
class Curve:
    """One line of a panel.

    Args:
        label: its name in the legend.
        colour: of the line, `#rrggbb`.
        raw: measured values by step; NaN-free.
        smooth: their running mean, None where every point counts for itself.
    """

    label: str
    colour: str
    raw: "pandas.Series[float]"
    smooth: "pandas.Series[float] | None"


@dataclass(frozen=True)
class Panel:
    """One picture of the row: its title and its curves.

    Args:
        limits: lowest and highest value shown.
    """

    title: str
    curves: tuple[Curve, ...]
    limits: tuple[float, float]


def panels(frame: pandas.DataFrame) -> list[Panel]:
    """What is there to draw: loss, accuracy and, where they were measured, classification metrics.

    Args:
        frame: the results table, with a `step` column.
    """
    by_step = frame.set_index("step")
    names = [str(name) for name in by_step]
    groups = {
        "Loss": [name for name in names if name in ("training_loss", "validation_loss")],
        "Accuracy": [name for name in names if name.endswith(("_token_accuracy", "_sequence_accuracy"))],
        "Classification on the validation set": [name for name in names if name.startswith("classification/")],
    }
    made = []
    for title, wanted in groups.items():
        curves = [
            _curve(name, values, _COLOURS[place % len(_COLOURS)])
            for place, name in enumerate(wanted)
            if len(values := by_step[name].dropna())
        ]
        if curves:
            made.append(Panel(title, tuple(curves), _limits(title, curves)))
    return made


def _limits(title: str, curves: list[Curve]) -> tuple[float, float]:
    """Losses from 0; accuracies from 0 to 1; of the metrics of a good classifier only the part where they differ."""
    lowest = min(float(curve.raw.min()) for curve in curves)
    highest = max(float((curve.raw if curve.smooth is None else curve.smooth).max()) for curve in curves)
    if title == "Loss":
        return 0.0, highest * 1.05 or 1.0
    return (-0.02 if title == "Accuracy" else max(-0.02, lowest - 0.05)), 1.02


def _curve(name: str, values: "pandas.Series[float]", colour: str) -> Curve:
    window = max(1, round(len(values) * _SMOOTHING))
    smooth = values.rolling(window, min_periods=1).mean() if name.startswith("training_") and window > 1 else None
    label = name.removeprefix("classification/").replace("_", " ")
    return Curve(label if smooth is None else f"{label}, mean of {window} steps", colour, values, smooth)


def write_png(frame: pandas.DataFrame, target: Path, title: str = "") -> None:
    """Draw a run as a PNG, its panels side by side.

    Args:
        frame: the results table.
        target: file to write.
        title: heading of the whole picture, such as the job's id.
    """
    from matplotlib.figure import Figure

    drawn, last_step = panels(frame), float(frame["step"].max())
    figure = Figure(figsize=(6 * max(1, len(drawn)), 4.5), dpi=120, layout="constrained")
    if title:
        figure.suptitle(title)
    if not drawn:
        figure.text(0.5, 0.5, "No step was finished.", ha="center")
    for place, panel in enumerate(drawn):
        axes = figure.add_subplot(1, len(drawn), place + 1)
        for curve in panel.curves:
            line = curve.raw if curve.smooth is None else curve.smooth
            if curve.smooth is not None:
                axes.plot(curve.raw.index, curve.raw, color=curve.colour, alpha=0.2, linewidth=0.8)
            marker = "o" if len(line) <= 30 else ""
            axes.plot(line.index, line, color=curve.colour, marker=marker, markersize=4, label=curve.label)
        axes.set_title(panel.title)
        axes.set_xlabel("step")
        axes.set_ylim(panel.limits)
        axes.set_xlim(0, last_step * 1.03)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small", framealpha=0.8)
    with whole_file(target) as file:
        figure.savefig(file, format="png")


def write_html(frame: pandas.DataFrame, target: Path, title: str = "") -> None:
    """Draw a run as one HTML page that needs no network: zoom, hover, lines that can be switched off.

    Args:
        frame: the results table.
        target: file to write.
        title: heading of the page, such as the job's id.
    """
    import plotly.graph_objects as go  # type: ignore[import-untyped]  # Plotly ships no types
    from plotly.subplots import make_subplots  # type: ignore[import-untyped]

    drawn, last_step = panels(frame), float(frame["step"].max())
    figure = make_subplots(rows=1, cols=max(1, len(drawn)), subplot_titles=[panel.title for panel in drawn])
    for place, panel in enumerate(drawn):
        where = {"row": 1, "col": place + 1}
        group = {"legend": f"legend{place + 1 if place else ''}"}
        for curve in panel.curves:
            line = curve.raw if curve.smooth is None else curve.smooth
            if curve.smooth is not None:
                faint = {"color": curve.colour, "width": 1}
                raw = go.Scatter(
                    x=curve.raw.index, y=curve.raw, line=faint, opacity=0.25, showlegend=False, name="each step"
                )
                figure.add_trace(raw, **where)
            mode = "lines+markers" if len(line) <= 30 else "lines"
            shown = go.Scatter(x=line.index, y=line, mode=mode, line={"color": curve.colour}, name=curve.label, **group)
            figure.add_trace(shown, **where)
        figure.update_xaxes(title_text="step", range=[0, last_step * 1.03], **where)
        figure.update_yaxes(range=list(panel.limits), **where)
        left = figure.layout["xaxis" if place == 0 else f"xaxis{place + 1}"].domain[0]
        figure.update_layout({group["legend"]: {"x": left, "y": -0.15, "yanchor": "top"}})
    figure.update_layout(title=title or None, template="plotly_white", height=620, hovermode="x unified")
    with whole_file(target) as file:
        figure.write_html(file, include_plotlyjs=True, config={"displaylogo": False})
