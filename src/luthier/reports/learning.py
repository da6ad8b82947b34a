"""Pages of what was learned: a regression, a classification, a zero-shot classification."""

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray
from plotly.graph_objects import Bar, Box, Figure, Heatmap, Scatter  # type: ignore[import-untyped]

from luthier.reports.page import COLOURS, Page
from luthier.toolkit.classify import Classification
from luthier.toolkit.cross_validation import Trial
from luthier.toolkit.regress import Regression
from luthier.toolkit.scores import PrecisionRecall, Reliability

_BLUE, _RED, _GREY = COLOURS[0], COLOURS[5], COLOURS[7]
_MOST_NUMBERED = 12  # classes up to which a confusion matrix has its counts written in
_MOST_BOXES = 12  # different true values up to which predictions are drawn as boxes
_MOST_CURVES = 7  # classes that get a curve of their own


def regression_page(learned: Regression) -> Page:
    """Errors beside the dummy's, predictions against the truth, and what competed."""
    target = learned.predictor.target
    page = Page(f"Regression of {target}")
    page.text(
        f"Learned from {learned.train_rows:,} rows, measured on {learned.test_rows:,} rows held out. The method, "
        f"{learned.method}, was chosen by cross-validation on the rows to learn from."
    )
    page.table(
        ("", "mean absolute error", "mean squared error", "R²"),
        [
            (name, round(one.mae, 3), round(one.mse, 3), round(one.r2, 3))
            for name, one in ((learned.method, learned.test), ("always the same number", learned.dummy))
        ],
    )
    page.figure(_predictions(learned.actual, learned.predicted, target))
    _add_trials(page, learned.trials, f"mean {'absolute' if learned.metric == 'mae' else 'squared'} error")
    return page


def classification_page(learned: Classification) -> Page:
    """Scores of each class, confusion matrix, precision-recall curves, reliability, and what competed."""
    target = learned.predictor.target
    page = Page(f"Classification of {target}")
    page.text(
        f"Learned from {learned.train_rows:,} rows, measured on {learned.test_rows:,} rows held out. The method, "
        f"{learned.method}, was chosen by cross-validation on the rows to learn from. Accuracy {learned.accuracy:.3f}; "
        f"always the commonest class would have {learned.majority:.3f}."
    )
    page.table(
        ("class", "precision", "recall", "F1", "rows"),
        [
            (one.name, round(one.precision, 3), round(one.recall, 3), round(one.f1, 3), one.support)
            for one in learned.by_class
        ],
    )
    page.figure(confusion_figure(learned.confusion, learned.classes))
    page.figure(precision_recall_figure(learned.curves))
    page.text(
        f"How far probabilities can be taken at their word: the mean gap is {learned.reliability.error:.3f}. "
        "On the diagonal a probability is how often it comes true."
    )
    page.figure(_reliability(learned.reliability))
    _add_trials(page, learned.trials, "log loss")
    return page


def confusion_figure(counts: NDArray[np.int64], classes: Sequence[str]) -> Figure:
    """Counts of true classes (down) by predicted classes (across), coloured by share of the true class."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [escape(str(name)) for name in classes]
    figure = Figure(
        Heatmap(
            z=shares,
            x=names,
            y=names,
            text=counts,
            texttemplate="%{text}" if len(names) <= _MOST_NUMBERED else None,
            colorscale="Blues",
            zmin=0,
            zmax=1,
            colorbar={"tickformat": ".0%"},
            hovertemplate="true %{y}, predicted %{x}: %{text} rows (%{z:.0%})<extra></extra>",
        )
    )
    figure.update_layout(title="Confusion matrix: rows, coloured by their share of the true class", height=480)
    figure.update_xaxes(title="predicted", type="category")
    figure.update_yaxes(title="true", type="category", autorange="reversed")
    return figure


def precision_recall_figure(curves: Sequence[PrecisionRecall]) -> Figure:
    """A curve for each of the first classes, and a thick one for the micro-average, which comes last."""
    *classes, average = curves
    figure = Figure()
    for curve, colour in zip(classes[:_MOST_CURVES], COLOURS, strict=False):
        figure.add_trace(_curve(curve, colour, width=1.5))
    figure.add_trace(_curve(average, _GREY, width=4))
    shown = f"Precision and recall, the first {_MOST_CURVES} of the {len(classes)} classes that occur"
    figure.update_layout(
        title=shown if len(classes) > _MOST_CURVES else "Precision and recall",
        height=480,
        legend={"title": "class (average precision)", "y": 0.5},
    )
    figure.update_xaxes(title="recall", range=[0, 1.01])
    figure.update_yaxes(title="precision", range=[0, 1.03])
    return figure


def _curve(curve: PrecisionRecall, colour: str, width: float) -> Scatter:
    return Scatter(
        x=curve.recall,
        y=curve.precision,
        name=f"{escape(curve.name)} ({curve.average_precision:.2f})",
        mode="lines",
        line={"color": colour, "width": width, "shape": "hv"},
        hovertemplate="recall %{x:.2f}, precision %{y:.2f}",
    )


def _reliability(seen: Reliability) -> Figure:
    figure = Figure()
    figure.add_trace(
        Scatter(x=[0, 1], y=[0, 1], mode="lines", line={"color": _GREY, "dash": "dot"}, name="as it should be")
    )
    figure.add_trace(
        Scatter(
            x=seen.confidence,
            y=seen.accuracy,
            mode="lines+markers",
            marker={"size": 6 + 24 * np.sqrt(seen.rows / seen.rows.sum()), "color": _BLUE},
            name="test rows; larger: more rows",
            cliponaxis=False,
            customdata=seen.rows,
            hovertemplate="probability %{x:.2f}: right in %{y:.0%} of %{customdata} rows<extra></extra>",
        )
    )
    figure.update_layout(title="Reliability", height=420)
    figure.update_xaxes(title="probability of the predicted class", range=[0, 1.03])
    figure.update_yaxes(title="share that was right", range=[0, 1.08])
    return figure


def _predictions(actual: NDArray[np.float64], predicted: NDArray[np.float64], target: str) -> Figure:
    """Boxes for a number of few values, else points; the diagonal is a perfect prediction."""
    levels = np.unique(actual)
    few = len(levels) <= _MOST_BOXES
    if few and len(np.unique(predicted)) <= _MOST_BOXES:
        return _counts(actual, predicted, target)
    ends = [float(min(actual.min(), predicted.min())), float(max(actual.max(), predicted.max()))]
    figure = Figure()
    if few:
        for level in levels:
            chosen = predicted[actual == level]
            figure.add_trace(Box(x=[level] * len(chosen), y=chosen, marker_color=_BLUE, showlegend=False))
    else:
        figure.add_trace(
            Scatter(x=actual, y=predicted, mode="markers", marker={"color": _BLUE, "opacity": 0.5}, name="test rows")
        )
    figure.add_trace(Scatter(x=ends, y=ends, mode="lines", line={"color": _GREY, "dash": "dot"}, name="exact"))
    figure.update_layout(title="Predictions of test rows", height=480)
    figure.update_xaxes(title=f"true {escape(target)}")
    figure.update_yaxes(title=f"predicted {escape(target)}")
    return figure


def _counts(actual: NDArray[np.float64], predicted: NDArray[np.float64], target: str) -> Figure:
    """Rows by true and predicted number, where both have few values."""
    levels = np.union1d(actual, predicted)
    counts = np.array([[((actual == true) & (predicted == told)).sum() for told in levels] for true in levels])
    figure = confusion_figure(counts, [f"{level:.15g}" for level in levels])
    figure.update_layout(title="Predictions of test rows, coloured by their share of the true value")
    figure.update_xaxes(title=f"predicted {escape(target)}")
    figure.update_yaxes(title=f"true {escape(target)}")
    return figure


def _add_trials(page: Page, trials: Sequence[Trial], loss: str) -> None:
    page.text("What competed, by cross-validation on the rows to learn from. The best three were measured three times.")
    shown = list(reversed(trials))
    figure = Figure(
        Bar(
            x=[trial.loss for trial in shown],
            y=[f"{trial.method} ({trial.settings})" for trial in shown],
            error_x={"type": "data", "array": [trial.error for trial in shown], "color": _GREY},
            orientation="h",
            marker_color=[_RED if trial is trials[0] else _BLUE for trial in shown],
            hovertemplate="%{y}: %{x:.3f}<extra></extra>",
        )
    )
    figure.update_layout(title=f"{loss[0].upper()}{loss[1:]}, lower is better", height=170 + 26 * len(trials))
    figure.update_xaxes(title=f"{loss} on held-out rows, ± one standard error", rangemode="tozero")
    figure.update_yaxes(automargin=True, dtick=1, ticksuffix=" ")
    page.figure(figure)
