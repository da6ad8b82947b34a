"""A validation set seen as classes: which labels there are, how probable each is, and how good that is.

The metrics are scikit-learn's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (  # type: ignore[import-untyped]
    accuracy_score,
    average_precision_score,
    f1_score,
    fbeta_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

from luthier.datasets.encode import EncodedExample
from luthier.domain.hyperparameters import ResolvedHyperparameters
from luthier.errors import DataError

THRESHOLD = 0.5  # probability from which the positive class is predicted
_SHOWN = 10  # labels named in an error message


@dataclass(frozen=True)
class Classes:
    """The labels of a classification.

    Args:
        labels: completions, sorted.
        tokens: ids of each label, in the same order; several tokens are allowed.
        positive: index of the positive class for binary metrics, None for multiclass ones.
        betas: of the F-beta scores beside F1.
    """

    labels: tuple[str, ...]
    tokens: tuple[tuple[int, ...], ...]
    positive: int | None = None
    betas: tuple[float, ...] = ()

    def truth(self, examples: Sequence[EncodedExample]) -> NDArray[np.int64]:
        """Index of each example's label."""
        index = {label: i for i, label in enumerate(self.labels)}
        return np.array([index[example.completion] for example in examples], dtype=np.int64)


def find_classes(
    train: Sequence[EncodedExample], valid: Sequence[EncodedExample], hp: ResolvedHyperparameters
) -> Classes | None:
    """The classes of a run, or None where no classification metrics are asked for.

    Raises:
        DataError: there is nothing to validate on, or the labels do not fit what the hyperparameters say of them.
    """
    if not hp.compute_classification_metrics:
        return None
    if not valid:
        raise DataError(
            "Classification metrics need a validation file: give one, or leave compute_classification_metrics out.",
            param="validation_file",
        )
    if any(example.completion_mask[0] for example in valid):
        raise DataError(
            "Classification metrics need a prompt before each completion, but the validation file has an empty one.",
            param="validation_file",
        )
    tokens = {example.completion: _completion_tokens(example) for example in [*train, *valid]}
    labels = tuple(sorted(tokens))
    n_classes, positive = hp.classification_n_classes, hp.classification_positive_class
    if n_classes is None and positive is None:
        raise DataError(
            "Classification metrics need classification_n_classes, or for two classes classification_positive_class. "
            f"The files have {_name(labels)}.",
            param="classification_n_classes",
        )
    if n_classes is not None and n_classes != len(labels):
        raise DataError(
            f"classification_n_classes is {n_classes}, but the completions of the files have {_name(labels)}.",
            param="classification_n_classes",
        )
    if positive is not None and positive not in tokens:
        raise DataError(
            f"classification_positive_class is {positive!r}, which is no completion in the files: they have "
            f"{_name(labels)}. White space counts.",
            param="classification_positive_class",
        )
    if n_classes is None and len(labels) != 2:
        raise DataError(
            f"classification_positive_class asks for the metrics of two classes, but the completions of the files have "
            f"{_name(labels)}. Set classification_n_classes for the metrics of several classes.",
            param="classification_positive_class",
        )
    binary = positive is not None and len(labels) == 2
    return Classes(
        labels,
        tuple(tokens[label] for label in labels),
        labels.index(positive) if binary and positive is not None else None,
        hp.classification_betas,
    )


def classification_metrics(
    log_probabilities: NDArray[np.float64], truth: NDArray[np.int64], classes: Classes
) -> dict[str, float]:
    """Metrics of scored rows.

    Args:
        log_probabilities: (R, L), of each label's whole token sequence; normalised here over the labels.
        truth: (R,), index of each row's label.

    Returns:
        Two classes with a positive one: accuracy, precision, recall, auroc, auprc, f1.0 and each other f{beta};
        auroc and auprc are left out where the rows are all of one class, which leaves them undefined.
        Otherwise accuracy and weighted_f1_score.
    """
    if classes.positive is None:
        predicted = log_probabilities.argmax(1)
        return {
            "accuracy": float(accuracy_score(truth, predicted)),
            "weighted_f1_score": float(f1_score(truth, predicted, average="weighted", zero_division=0)),
        }
    scores = normalised(log_probabilities)[:, classes.positive]
    right = truth == classes.positive
    chosen = scores >= THRESHOLD
    metrics = {
        "accuracy": accuracy_score(right, chosen),
        "precision": precision_score(right, chosen, zero_division=0),
        "recall": recall_score(right, chosen, zero_division=0),
    }
    if right.any() and not right.all():
        metrics |= {"auroc": roc_auc_score(right, scores), "auprc": average_precision_score(right, scores)}
    for beta in dict.fromkeys([1.0, *map(float, classes.betas)]):
        metrics[f"f{beta}"] = fbeta_score(right, chosen, beta=beta, zero_division=0)
    return {name: float(value) for name, value in metrics.items()}


def normalised(log_probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities over the labels, (R, L): a softmax of each row."""
    shifted = np.exp(log_probabilities - log_probabilities.max(1, keepdims=True))
    probabilities: NDArray[np.float64] = shifted / shifted.sum(1, keepdims=True)
    return probabilities


def _completion_tokens(example: EncodedExample) -> tuple[int, ...]:
    return tuple(t for t, completion in zip(example.input_ids, example.completion_mask, strict=True) if completion)


def _name(labels: Sequence[str]) -> str:
    shown = ", ".join(repr(label) for label in labels[:_SHOWN])
    return f"{len(labels)} different labels: {shown}{', …' if len(labels) > _SHOWN else ''}"
