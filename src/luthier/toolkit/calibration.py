"""From scores to probabilities: multinomial logistic regression on scores of rows that were held out.

p = softmax(S A + b), with A (K, K) and b (K,) of least log loss on held-out scores S: Platt's scaling for more than
two classes (matrix scaling; Guo et al. 2017, "On calibration of modern neural networks").
"""

from dataclasses import dataclass

import numpy as np

from luthier.toolkit.candidates import every_class
from luthier.toolkit.cross_validation import Rows, split
from luthier.toolkit.machines import Array

_LEAST = 1e-6  # no class is ever impossible: a log loss stays finite


@dataclass(frozen=True)
class Calibration:
    """Args:
    weights: (K, K).
    bias: (K,).
    """

    weights: Array
    bias: Array

    def probabilities(self, scores: Array) -> Array:
        """Probabilities (N, K), rows summing to 1, of scores (N, K)."""
        from scipy.special import softmax  # type: ignore[import-untyped]

        shares = np.asarray(softmax(scores @ self.weights + self.bias, axis=1), dtype=np.float64).clip(_LEAST)
        return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def calibrate(scores: Array, classes: Rows) -> Calibration:
    """The calibration of least log loss.

    Args:
        scores: (N, K), of rows that the machine had not learned from.
        classes: (N,), the index of each row's class.
    """
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

    if len(np.unique(classes)) == 1:
        return Calibration(np.eye(scores.shape[1]), np.zeros(scores.shape[1]))
    fitted = LogisticRegression(max_iter=1000).fit(scores, classes)
    return Calibration(*every_class(fitted.coef_.T, fitted.intercept_, fitted.classes_, scores.shape[1]))


def cross_calibrated(scores: Array, targets: Array, fold: Rows) -> Array:
    """Probabilities (N, K) of held-out scores, each row's by a calibration that did not see its class.

    Args:
        scores, targets: (N, K).
        fold: (N,), which rows are calibrated together.
    """
    made = np.zeros(scores.shape)
    for learned, held in split(fold):
        made[held] = calibrate(scores[learned], targets[learned].argmax(axis=1)).probabilities(scores[held])
    return made


def log_losses(scores: Array, targets: Array, fold: Rows) -> Array:
    """-log of the calibrated probability of each row's own class, (N,)."""
    return np.asarray(-np.log(cross_calibrated(scores, targets, fold)[targets.astype(bool)]))
