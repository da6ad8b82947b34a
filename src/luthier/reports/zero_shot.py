"""The page of a zero-shot classification."""

from html import escape

import numpy as np
from plotly.graph_objects import Bar, Figure, Histogram, Scatter  # type: ignore[import-untyped]

from luthier.reports.learning import confusion_figure, precision_recall_figure
from luthier.reports.page import COLOURS, Page
from luthier.toolkit.zero_shot import Judgement, ZeroShot

_TWO = (COLOURS[1], COLOURS[0])  # of the first and the second label
_LINE = COLOURS[7]
_POINTS = 200  # of the mixture's curves


def zero_shot_page(found: ZeroShot, judged: Judgement | None = None) -> Page:
    """Labels, what stood for them, the scores' distribution with its threshold, and how it agrees with a truth."""
    page = Page("Zero-shot classification")
    page.text(f"{len(found.predicted):,} rows under {len(found.labels)} labels, without an example of any.")
    page.table(
        ("label", "rows", "what stood for it"),
        [
            (label, found.predicted.count(label), " · ".join(texts))
            for label, texts in zip(found.labels, found.phrasings, strict=True)
        ],
    )
    page.figure(margins_figure(found) if len(found.labels) == 2 else _counts(found))
    if judged is None:
        return page
    auc = f", area under the ROC curve {judged.auc:.3f}" if judged.auc is not None else ""
    page.text(
        f"Beside the truth, which had no part in it: accuracy {judged.accuracy:.3f}{auc}, on {judged.rows:,} rows; "
        f"always the commonest label would have {judged.majority:.3f}."
    )
    page.table(
        ("label", "precision", "recall", "F1", "rows"),
        [
            (one.name, round(one.precision, 3), round(one.recall, 3), round(one.f1, 3), one.support)
            for one in judged.by_class
        ],
    )
    page.figure(confusion_figure(judged.confusion, found.labels))
    page.figure(precision_recall_figure(judged.curves))
    return page


def margins_figure(found: ZeroShot) -> Figure:
    """How many rows have which margin; the threshold; the two groups that it was found from."""
    first, second = found.labels
    margins = found.margins
    width = float(np.ptp(margins)) / 50 or 0.01
    figure = Figure()
    for label, colour in zip(found.labels, _TWO, strict=True):
        chosen = margins[[told == label for told in found.predicted]]
        figure.add_trace(
            Histogram(
                x=chosen,
                xbins={"size": width, "start": margins.min()},
                name=escape(label),
                marker_color=colour,
                opacity=0.7,
            )
        )
    mixture = found.mixture
    if mixture is not None and found.rule == "mixture":
        at = np.linspace(margins.min(), margins.max(), _POINTS)
        for mean, share in ((mixture.low, 1 - mixture.share), (mixture.high, mixture.share)):
            height = np.exp(-(((at - mean) / mixture.deviation) ** 2) / 2) / (mixture.deviation * np.sqrt(2 * np.pi))
            figure.add_trace(
                Scatter(
                    x=at,
                    y=height * share * len(margins) * width,
                    mode="lines",
                    line={"color": _LINE, "width": 1.5},
                    name="the two groups",
                    showlegend=mean == mixture.low,
                )
            )
    figure.add_vline(
        x=found.threshold,
        line={"color": _LINE, "dash": "dash"},
        annotation_text=f"threshold {found.threshold:.3f}",
        annotation_position="top",
    )
    figure.update_layout(title="Scores and where they are parted", barmode="overlay", height=440)
    figure.update_xaxes(title=f"score of {escape(second)} minus score of {escape(first)}")
    figure.update_yaxes(title="rows")
    return figure


def _counts(found: ZeroShot) -> Figure:
    figure = Figure(
        Bar(x=[escape(label) for label in found.labels], y=[found.predicted.count(label) for label in found.labels])
    )
    figure.update_traces(marker_color=COLOURS[0])
    figure.update_layout(title="Rows by label", height=400)
    figure.update_xaxes(title="label", type="category")
    figure.update_yaxes(title="rows")
    return figure
