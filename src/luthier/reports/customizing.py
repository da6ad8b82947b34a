"""The page of a customization: similarities before and after, and how the search went."""

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from luthier.reports.page import Page
from luthier.toolkit.customize import Customization
from luthier.toolkit.customize_search import Run

if TYPE_CHECKING:
    from plotly.graph_objects import Figure  # type: ignore[import-untyped]

_BINS = 60
_SHOWN_RUNS = 6  # curves of more would hide each other
_COLOURS = {1: "#2a78b5", -1: "#d1662b"}
_NAMES = {1: "alike (+1)", -1: "not alike (-1)"}


def customizing_page(made: Customization, source: str) -> Page:
    """What `luthier customize --report` writes.

    Args:
        source: name of the file the rows came from.
    """
    page = Page(f"Customized embeddings: {source}")
    rows, columns = made.matrix.shape
    page.text(
        f"A matrix of {rows} by {columns} numbers was learnt from {made.n_train:,} rows and tested on "
        f"{len(made.labels):,} pairs that had no part in it. ± is 1.96 standard errors. The threshold was chosen by "
        "training rows that each run had not seen; the last two columns show the threshold that would have suited the "
        "test rows best."
    )
    page.table(
        ["Test rows", "Accuracy", "Threshold", "At the best threshold", "which is"],
        [
            [when, str(side.chosen), f"{side.chosen.threshold:.3f}", str(side.best), f"{side.best.threshold:.3f}"]
            for when, side in (("before", made.before), ("after", made.after))
        ],
    )
    page.text("Cosine similarities of the pairs. The less the two colours overlap, the better a threshold parts them.")
    page.figure(similarity_figure(made))
    page.text(
        "Loss and accuracy of the runs, from the embeddings as each run found them (epoch 0). Loss is the log loss of "
        "the best logistic curve over the similarities; the run with the smallest on held-out rows is the one taken."
    )
    page.figure(curves_figure(made))
    page.table(
        ["Run", "Batch size", "Rate", "Dropout", "Width", "Whitening", "Best epoch", "Held-out loss", "Accuracy"],
        [_row(number, run, number == made.learned.chosen) for number, run in enumerate(made.learned.runs)],
    )
    return page


def similarity_figure(made: Customization) -> "Figure":
    """Histograms of cosine similarities: test and held-out training rows, before and after."""
    from plotly.graph_objects import Histogram
    from plotly.subplots import make_subplots  # type: ignore[import-untyped]

    learned = made.learned
    parts = (
        ("Test rows", made.labels, made.similarities),
        ("Held-out training rows", learned.labels, learned.similarities),
    )
    thresholds = {"before": learned.threshold_before, "after": learned.threshold}
    figure: Figure = make_subplots(
        rows=2,
        cols=2,
        shared_xaxes=True,
        horizontal_spacing=0.08,
        vertical_spacing=0.12,
        subplot_titles=[f"{name}, {when}" for name, _, _ in parts for when in thresholds],
    )
    lowest = min(float(some.min()) for _, _, similarities in parts for some in similarities.values())
    bins = {"start": np.floor(lowest * 20) / 20, "end": 1.0, "size": (1 - lowest) / _BINS}
    for (row, (_, labels, similarities)), (column, when) in product(enumerate(parts, 1), enumerate(thresholds, 1)):
        for label in (-1, 1):
            figure.add_trace(
                Histogram(
                    x=similarities[when][labels == label],
                    xbins=bins,
                    histnorm="percent",
                    name=_NAMES[label],
                    legendgroup=str(label),
                    showlegend=row == column == 1,
                    marker_color=_COLOURS[label],
                    opacity=0.6,
                ),
                row=row,
                col=column,
            )
        figure.add_vline(thresholds[when], line_dash="dash", line_color="#444", row=row, col=column)
    figure.update_xaxes(title_text="cosine similarity (dashed: the threshold)", row=2)
    figure.update_yaxes(title_text="% of the rows with that label", col=1)
    return figure.update_layout(barmode="overlay", height=620, legend={"orientation": "h", "y": 1.17}, margin={"t": 80})


def curves_figure(made: Customization) -> "Figure":
    """Loss and accuracy over the epochs of the best runs, on rows learnt from (dotted) and on held-out ones."""
    from plotly.colors import qualitative  # type: ignore[import-untyped]
    from plotly.graph_objects import Scatter
    from plotly.subplots import make_subplots

    descents = [(number, run) for number, run in enumerate(made.learned.runs) if run.recipe.batch_size]
    shown = sorted(sorted(descents, key=lambda item: item[1].loss)[:_SHOWN_RUNS])
    figure: Figure = make_subplots(rows=1, cols=2, horizontal_spacing=0.14, subplot_titles=["Loss", "Accuracy"])
    for place, (number, run) in enumerate(shown):
        for column, value in enumerate(("loss", "accuracy"), 1):
            for kind, dash in (("validation", "solid"), ("train", "dot")):
                epochs = run.epochs[run.epochs["type"] == kind]
                figure.add_trace(
                    Scatter(
                        x=epochs["epoch"],
                        y=epochs[value],
                        mode="lines+markers" if len(epochs) < 3 else "lines",
                        line={"dash": dash, "color": qualitative.D3[place]},
                        name=f"run {number}, {'held out' if kind == 'validation' else 'learnt from'}",
                        legendgroup=str(number),
                        showlegend=column == 1,
                    ),
                    row=1,
                    col=column,
                )
    if not shown:
        figure.add_annotation(text="No run of gradient descent was asked for.", showarrow=False, x=0.5, y=0.5)
    figure.update_xaxes(title_text="epoch")
    figure.update_yaxes(title_text="log loss", col=1)
    figure.update_yaxes(title_text="accuracy", tickformat=".1%", col=2)
    return figure.update_layout(height=460, margin={"t": 50})


def _row(number: int, run: Run, chosen: bool) -> list[str]:
    recipe, epochs = run.recipe, run.epochs
    there = epochs[(epochs["epoch"] == run.epoch) & (epochs["type"] == "validation")]["accuracy"].iloc[0]
    learnt = [str(recipe.batch_size), f"{recipe.learning_rate:g}", f"{recipe.dropout:g}"]
    return [
        f"{number}{' (taken)' if chosen else ''}",
        *(learnt if recipe.batch_size else ["none"] * 3),
        str(recipe.width),
        f"{recipe.whitening:g}",
        str(run.epoch),
        f"{run.loss:.4f}",
        f"{there:.1%}",
    ]
