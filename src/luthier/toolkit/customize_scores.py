"""How well a threshold on cosine similarities tells alike pairs from others."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.errors import DataError
from luthier.toolkit.customize_pairs import Pairs
from luthier.types import Floats

Numbers = NDArray[np.float64]
_SLICE = 16384  # pairs whose vectors are copied in one go
_TINY = np.finfo(np.float32).tiny


@dataclass(frozen=True)
class Accuracy:
    """A share of right decisions, and how sure it is.

    Args:
        value: a, 0 to 1.
        n: rows that were decided.
        threshold: cosines above it count as alike.
    """

    value: float
    n: int
    threshold: float

    @property
    def standard_error(self) -> float:
        """Of a binomial: sqrt(a·(1-a)/n)."""
        return float(np.sqrt(self.value * (1 - self.value) / self.n))

    @property
    def margin(self) -> float:
        """1.96 standard errors: half of the 95 % interval, as the document prints it."""
        return 1.96 * self.standard_error

    def __str__(self) -> str:
        return f"{self.value:.1%} ± {self.margin:.1%}"

    def as_dict(self) -> dict[str, Any]:
        return {
            "accuracy": self.value,
            "standard_error": self.standard_error,
            "margin_95": self.margin,
            "n": self.n,
            "threshold": self.threshold,
        }


def cosines(vectors: Floats, pairs: Pairs) -> Numbers:
    """Cosine similarity of each pair, (N,); 0 where a vector is all zeros.

    Args:
        vectors: (T, D), of the texts that the pairs' places mean.
    """
    lengths = np.maximum(np.linalg.norm(vectors, axis=1), _TINY)
    similarities: Numbers = np.empty(len(pairs))
    for start in range(0, len(pairs), _SLICE):
        first, second = pairs.first[start : start + _SLICE], pairs.second[start : start + _SLICE]
        products = np.einsum("nd,nd->n", vectors[first], vectors[second], dtype=np.float64)
        similarities[start : start + _SLICE] = products / lengths[first] / lengths[second]
    return similarities


def best_threshold(similarities: Numbers, labels: NDArray[np.int64], weights: Numbers | None = None) -> float:
    """The threshold with the greatest accuracy, found exactly by one sort.

    Between two neighbouring similarities every threshold decides alike, so N + 1 of them are all there are. Of several
    that are equally good, the middle one.

    Args:
        similarities: (N,).
        labels: (N,), 1 or -1.
        weights: (N,), what a right decision counts; all alike without.
    """
    if not len(similarities):
        raise DataError("No row is left to choose a threshold by.")
    order = np.argsort(similarities, kind="stable")
    s, positive = similarities[order], labels[order] > 0
    w = np.ones(len(s)) if weights is None else weights[order]
    below, above = np.cumsum(np.r_[0.0, w * ~positive]), np.cumsum(np.r_[0.0, (w * positive)[::-1]])[::-1]
    right = below + above  # right[k]: the k smallest count as not alike
    between = np.r_[True, s[1:] > s[:-1], True]  # equal similarities cannot be told apart
    best = np.flatnonzero(between & (right >= right[between].max() - 1e-9 * w.sum()))
    cut = best[len(best) // 2]
    edges = np.r_[min(s[0], -1.0) - 1e-6, s, max(s[-1], 1.0)]
    return float((edges[cut] + edges[cut + 1]) / 2)


def accuracy_at(similarities: Numbers, labels: NDArray[np.int64], threshold: float) -> Accuracy:
    """Accuracy of "alike if above the threshold"."""
    return Accuracy(float(((similarities > threshold) == (labels > 0)).mean()), len(labels), threshold)


def best_accuracy(similarities: Numbers, labels: NDArray[np.int64]) -> Accuracy:
    """Accuracy at the threshold that suits these very rows best, as the document reports it: a little too good."""
    return accuracy_at(similarities, labels, best_threshold(similarities, labels))


def log_loss(similarities: Numbers, labels: NDArray[np.int64], weights: Numbers) -> float:
    """Mean of -log p(label), p the best logistic curve over the similarities: smooth where accuracy moves in steps.

    The curve is fitted by Newton's method on standardised similarities with a small ridge, so that classes which do not
    overlap have a fit too.
    """
    spread = float(similarities.std()) or 1.0
    x = np.stack([(similarities - similarities.mean()) / spread, np.ones_like(similarities)], axis=1)
    target, w, coefficients, ridge = (labels > 0).astype(np.float64), weights / weights.sum(), np.zeros(2), 1e-4
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(x @ coefficients, -40, 40)))
        gradient = x.T @ (w * (p - target)) + ridge * coefficients
        hessian = (x * (w * np.maximum(p * (1 - p), 1e-9))[:, None]).T @ x + ridge * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        coefficients -= np.clip(step, -5, 5)
        if np.abs(step).max() < 1e-8:
            break
    z = x @ coefficients
    return float((w * np.logaddexp(0, np.where(labels > 0, -z, z))).sum())
