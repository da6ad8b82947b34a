"""Classification: a class predicted from a text's embedding, with a probability that can be taken at its word."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from luthier.errors import DataError
from luthier.toolkit.calibration import calibrate, log_losses
from luthier.toolkit.candidates import Candidate, candidates
from luthier.toolkit.cross_validation import Rows, Trial, choose
from luthier.toolkit.frame import Frame, is_empty
from luthier.toolkit.holdout import Holdout, distinct_classes, hold_out
from luthier.toolkit.machines import Array
from luthier.toolkit.predictor import Predictor
from luthier.toolkit.scores import (
    ClassScores,
    PrecisionRecall,
    Reliability,
    class_scores,
    confusion,
    precision_recall,
    reliability,
)


@dataclass(frozen=True)
class Classification:
    """What was learned, and how it does on rows held out.

    Args:
        predictor: the trained one.
        method: its name and settings.
        trials: of the methods that competed, on training rows only; losses are log losses.
        train_rows, test_rows: how many.
        classes: all that the column has, in order.
        accuracy: on test rows.
        majority: accuracy of always saying the commonest class of the training rows.
        log_loss: mean -log of the probability of the true class.
        by_class: precision, recall and F1.
        confusion: (K, K), true classes down, predicted across.
        curves: precision-recall of each class and the micro-average.
        reliability: probabilities against how often they were right.
        actual, predicted: (test_rows,).
        probabilities: (test_rows, K).
        rows: (test_rows,), where they stand in the frame.
    """

    predictor: Predictor
    method: str
    trials: tuple[Trial, ...]
    train_rows: int
    test_rows: int
    classes: tuple[str, ...]
    accuracy: float
    majority: float
    log_loss: float
    by_class: tuple[ClassScores, ...]
    confusion: Rows
    curves: tuple[PrecisionRecall, ...]
    reliability: Reliability
    actual: tuple[str, ...]
    predicted: tuple[str, ...]
    probabilities: Array
    rows: Rows

    @property
    def mean_average_precision(self) -> float:
        """The mean over the classes that the test rows have, each counting alike."""
        return float(np.mean([curve.average_precision for curve in self.curves[:-1]]))

    @property
    def micro_average_precision(self) -> float:
        """Over all decisions about all classes together, as the guide's pictures have it."""
        return self.curves[-1].average_precision

    def as_dict(self) -> dict[str, Any]:
        """Plain types; rows count from 1."""
        return {
            "task": "classification",
            "target": self.predictor.target,
            "method": self.method,
            "train_rows": self.train_rows,
            "test_rows": self.test_rows,
            "classes": list(self.classes),
            "accuracy": self.accuracy,
            "majority_accuracy": self.majority,
            "log_loss": self.log_loss,
            "mean_average_precision": self.mean_average_precision,
            "micro_average_precision": self.micro_average_precision,
            "calibration_error": self.reliability.error,
            "by_class": [scores.as_dict() for scores in self.by_class],
            "average_precision": {curve.name: curve.average_precision for curve in self.curves},
            "confusion": self.confusion.tolist(),
            "trials": [trial.as_dict() for trial in self.trials],
            "rows": (self.rows + 1).tolist(),
            "actual": list(self.actual),
            "predicted": list(self.predicted),
            "probabilities": self.probabilities.round(6).tolist(),
        }


def classify(
    frame: Frame, target: str, *, methods: Sequence[str] = (), test_size: float = 0.2, seed: int = 42
) -> Classification:
    """Choose a method on training rows, fit and calibrate it, and measure it on rows held out.

    Args:
        target: a column of classes: texts, whole numbers or true and false.
        methods: of `candidates.METHODS`; none leaves the choice open.
        test_size: the share of rows held out.
        seed: of the split and the folds.

    Raises:
        DataError: no such column, empty or mixed cells, one class, too many classes, or too few rows.
        InvalidRequestError: an unknown method or a share outside 0 to 1.
    """
    index, classes, parts, competing = prepare(frame, target, methods=methods, test_size=test_size, seed=seed)
    vectors = frame.vectors.astype(np.float64)
    known = index[parts.train]
    targets = np.eye(len(classes))[known]
    choice = choose(competing, vectors[parts.train], targets, log_losses, seed=seed)
    predictor = Predictor(
        target,
        choice.candidate.fit(vectors[parts.train], targets),
        vectors.shape[1],
        classes=classes,
        calibration=calibrate(np.concatenate(choice.held_out), np.tile(known[choice.rows], len(choice.held_out))),
    )
    actual = tuple(classes[one] for one in index[parts.test])
    shares = predictor.probabilities(frame.vectors[parts.test])
    predicted = tuple(classes[best] for best in shares.argmax(axis=1))
    right = [one == other for one, other in zip(actual, predicted, strict=True)]
    commonest = classes[Counter(known.tolist()).most_common(1)[0][0]]
    return Classification(
        predictor=predictor,
        method=choice.candidate.name,
        trials=choice.trials,
        train_rows=len(parts.train),
        test_rows=len(parts.test),
        classes=classes,
        accuracy=float(np.mean(right)),
        majority=actual.count(commonest) / len(actual),
        log_loss=float(-np.log(shares[np.arange(len(actual)), index[parts.test]]).mean()),
        by_class=class_scores(actual, predicted, classes),
        confusion=confusion(actual, predicted, classes),
        curves=precision_recall(actual, shares, classes),
        reliability=reliability(right, shares.max(axis=1)),
        actual=actual,
        predicted=predicted,
        probabilities=shares,
        rows=parts.test,
    )


def prepare(
    frame: Frame, target: str, *, methods: Sequence[str], test_size: float, seed: int
) -> tuple[Rows, tuple[str, ...], Holdout, list[Candidate]]:
    """The class of each row, (N,), all classes, which rows are held out, and what competes: all that needs no vectors.

    Raises as `classify`.
    """
    labels = labels_of(frame, target)
    parts = hold_out(len(labels), test_size, seed)
    classes = distinct_classes(labels, target)
    index = np.array([classes.index(label) for label in labels])
    known = index[parts.train]
    if len(np.unique(known)) < 2:
        raise DataError(
            f"All rows to learn from have the same '{target}' ({classes[known[0]]}); the other classes fell into the "
            "test rows. Bring more rows of them, or another --seed."
        )
    return index, classes, parts, candidates(methods, classes=True, rows=len(known))


def labels_of(frame: Frame, target: str) -> list[str]:
    """A column as class names: 5 and 5.0 are the class `5`.

    Raises:
        DataError: no such column, an empty cell, or numbers and texts in one column.
    """
    cells = frame.column(target).tolist()
    for row, cell in enumerate(cells):
        if is_empty(cell) or (isinstance(cell, str) and not cell):
            raise DataError(f"'{target}' is empty in row {row + 1}; fill it in or drop the row.")
        if not isinstance(cell, str | int | float):
            raise DataError(
                f"'{target}' holds a {type(cell).__name__} in row {row + 1}; classes are texts or whole numbers."
            )
    of_text = {isinstance(cell, str) for cell in cells}
    if len(of_text) > 1:
        odd = next(row for row, cell in enumerate(cells) if isinstance(cell, str) != isinstance(cells[0], str))
        raise DataError(
            f"'{target}' mixes texts and numbers (row 1 has {cells[0]!r}, row {odd + 1} has {cells[odd]!r}); "
            "write all of them alike."
        )
    return [str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell) for cell in cells]
