"""How well predicted classes and their probabilities agree with the truth. Definitions are scikit-learn's."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luthier.toolkit.cross_validation import Rows
from luthier.toolkit.machines import Array

_BINS = 10  # of a reliability diagram


@dataclass(frozen=True)
class ClassScores:
    """One class: precision, recall and F1 of its predictions, and how many rows truly have it."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int

    def as_dict(self) -> dict[str, object]:
        return {
            "class": self.name,
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
            "support": self.support,
        }


@dataclass(frozen=True)
class PrecisionRecall:
    """A precision-recall curve: points from recall 1 to recall 0, and the average precision.

    `name` is a class, or `micro-average` for all decisions about all classes together.
    """

    name: str
    precision: Array
    recall: Array
    average_precision: float


@dataclass(frozen=True)
class Reliability:
    """Predicted probability of the likeliest class against how often it was right, in ten bins of equal width.

    Args:
        confidence, accuracy: (bins,), means within a bin; bins without rows are left out.
        rows: (bins,).
        error: expected calibration error: the mean of |confidence - accuracy| over rows.
    """

    confidence: Array
    accuracy: Array
    rows: Rows
    error: float


def class_scores(actual: Sequence[str], predicted: Sequence[str], classes: Sequence[str]) -> tuple[ClassScores, ...]:
    """Each class's scores; 0 where nothing was predicted or nothing was there."""
    from sklearn.metrics import precision_recall_fscore_support  # type: ignore[import-untyped]

    columns = precision_recall_fscore_support(actual, predicted, labels=list(classes), zero_division=0)
    return tuple(
        ClassScores(name, float(precision), float(recall), float(f1), int(support))
        for name, precision, recall, f1, support in zip(classes, *columns, strict=True)
    )


def confusion(actual: Sequence[str], predicted: Sequence[str], classes: Sequence[str]) -> Rows:
    """How often each true class (row) was predicted as each class (column), (K, K)."""
    from sklearn.metrics import confusion_matrix

    return np.asarray(confusion_matrix(actual, predicted, labels=list(classes)), dtype=np.int64)


def precision_recall(
    actual: Sequence[str], probabilities: Array, classes: Sequence[str]
) -> tuple[PrecisionRecall, ...]:
    """The curve of each class that has rows, then the micro-average over all classes.

    Args:
        actual: (N,).
        probabilities: (N, K).
    """
    from sklearn.metrics import average_precision_score, precision_recall_curve

    truth = np.array(actual)[:, None] == np.array(classes)  # (N, K)
    columns = [
        (name, truth[:, index], probabilities[:, index]) for index, name in enumerate(classes) if truth[:, index].any()
    ]
    curves = []
    for name, is_true, share in [*columns, ("micro-average", truth.ravel(), probabilities.ravel())]:
        precision, recall, _ = precision_recall_curve(is_true, share)
        curves.append(PrecisionRecall(name, precision, recall, float(average_precision_score(is_true, share))))
    return tuple(curves)


def reliability(right: Sequence[bool], confidence: Array) -> Reliability:
    """How far probabilities can be taken at their word.

    Args:
        right: (N,), whether the likeliest class was the true one.
        confidence: (N,), its probability.
    """
    hit = np.asarray(right, dtype=np.float64)
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    used = np.unique(bins)
    means = np.array([confidence[bins == number].mean() for number in used])
    hits = np.array([hit[bins == number].mean() for number in used])
    rows = np.array([(bins == number).sum() for number in used], dtype=np.int64)
    return Reliability(means, hits, rows, float((np.abs(means - hits) * rows).sum() / len(hit)))
