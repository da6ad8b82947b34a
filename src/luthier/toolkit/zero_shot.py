"""Zero-shot classification: rows sorted under labels that are only described, by the similarity of embeddings.

Each label has several phrasings, whose embeddings are averaged. A text's score for a label is the mean cosine of its
pieces (its sentences, or its one vector) with the label's phrasings. Two labels are parted by a threshold from the
scores' own distribution (`threshold`) where that has two heaps; otherwise, and for more labels, the nearest mean of
phrasings wins. No row's true label is looked at.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from luthier.errors import DataError, InvalidRequestError
from luthier.toolkit.cross_validation import Rows
from luthier.toolkit.machines import Array
from luthier.toolkit.scores import ClassScores, PrecisionRecall, class_scores, confusion, precision_recall
from luthier.toolkit.sentences import cut
from luthier.toolkit.threshold import Mixture, fit_mixture
from luthier.types import Embed, Floats

PHRASINGS = (
    "{}",
    "It was {}.",
    "This example is {}.",
    "a text that is {}",
    "This text is about {}.",
    "The topic is {}.",
)
Rule = Literal["mixture", "nearest", "given"]


@dataclass(frozen=True)
class Pieces:
    """The vectors of texts, one or several each.

    Args:
        vectors: (P, D).
        owner: (P,), the text that each belongs to.
        texts: how many texts there are.
    """

    vectors: Floats
    owner: Rows
    texts: int

    @classmethod
    def whole(cls, vectors: Floats) -> "Pieces":
        """One vector for each text."""
        return cls(vectors, np.arange(len(vectors)), len(vectors))

    @classmethod
    def of_sentences(cls, texts: Sequence[str], embed: Embed) -> "Pieces":
        """A vector for each sentence of each text, so that no sentence is drowned by what the others are about."""
        pieces, owner = cut(texts)
        return cls(embed(pieces), np.array(owner, dtype=np.int64), len(texts))

    def mean(self, scores: Array) -> Array:
        """The mean of scores (P, K) over each text's pieces, (N, K)."""
        total = np.zeros((self.texts, scores.shape[1]))
        np.add.at(total, self.owner, scores)
        return total / np.bincount(self.owner, minlength=self.texts)[:, None]


@dataclass(frozen=True)
class ZeroShot:
    """Labels found.

    Args:
        labels: in the order given.
        phrasings: the texts that stood for each label.
        scores: (N, K), mean cosines.
        predicted: (N,).
        rule: `mixture`, `nearest`, or `given` for a threshold of the caller's.
        offsets: (K,), what is taken off each label's score before they are compared.
        mixture: what the scores' distribution was taken for, where there are two labels and rows enough.
    """

    labels: tuple[str, ...]
    phrasings: tuple[tuple[str, ...], ...]
    scores: Array
    predicted: tuple[str, ...]
    rule: Rule
    offsets: Array
    mixture: Mixture | None

    @property
    def threshold(self) -> float | None:
        """Of the second label's score minus the first's, where there are two labels."""
        return float(self.offsets[1] - self.offsets[0]) if len(self.labels) == 2 else None

    @property
    def margins(self) -> Array:
        """(N,): the second label's score minus the first's, of two; the best one's minus the next one's, of more."""
        if len(self.labels) == 2:
            return np.asarray(self.scores[:, 1] - self.scores[:, 0])
        ordered = np.sort(self.scores, axis=1)
        return np.asarray(ordered[:, -1] - ordered[:, -2])

    def as_dict(self) -> dict[str, Any]:
        return {
            "task": "zero-shot",
            "labels": list(self.labels),
            "phrasings": {label: list(texts) for label, texts in zip(self.labels, self.phrasings, strict=True)},
            "rule": self.rule,
            "threshold": self.threshold,
            "separation": self.mixture.separation if self.mixture else None,
            "counts": {label: self.predicted.count(label) for label in self.labels},
            "predicted": list(self.predicted),
            "scores": self.scores.round(6).tolist(),
        }


@dataclass(frozen=True)
class Judgement:
    """How labels found agree with a truth that was not used to find them.

    Args:
        rows: how many rows have a true label among the labels.
        accuracy: share that was right.
        majority: accuracy of always saying the commonest true label.
        by_class, confusion, curves: as in `classify`; curves are of how far a score is above the others, offsets off.
        auc: area under the ROC curve of two labels, which no threshold touches.
    """

    rows: int
    accuracy: float
    majority: float
    by_class: tuple[ClassScores, ...]
    confusion: Rows
    curves: tuple[PrecisionRecall, ...]
    auc: float | None

    def as_dict(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "accuracy": self.accuracy,
            "majority_accuracy": self.majority,
            "auc": self.auc,
            "by_class": [one.as_dict() for one in self.by_class],
            "average_precision": {curve.name: curve.average_precision for curve in self.curves},
            "confusion": self.confusion.tolist(),
        }


def phrase(
    labels: Sequence[str], phrasings: Sequence[str] = (), described: Mapping[str, Sequence[str]] | None = None
) -> tuple[tuple[str, ...], ...]:
    """The texts that stand for each label.

    Args:
        labels: two or more different names.
        phrasings: texts with `{}` in the label's place; a label without any gets `PHRASINGS` if it has no description.
        described: label → whole texts that describe it.

    Raises:
        InvalidRequestError: fewer than two labels, one twice, a phrasing without `{}`, or a description of no label.
    """
    names = [label.strip() for label in labels]
    described = described or {}
    if len(names) < 2 or not all(names):
        raise InvalidRequestError("Zero-shot classification needs at least two labels, such as: negative,positive.")
    if len(set(names)) < len(names):
        raise InvalidRequestError(f"A label stands twice among {', '.join(names)}; each may stand once.")
    for label in described:
        if label not in names:
            raise InvalidRequestError(f"There is a description of '{label}', which is none of {', '.join(names)}.")
    for text in phrasings:
        if "{}" not in text:
            raise InvalidRequestError(f"The phrasing {text!r} has no {{}} where the label goes, as in 'a {{}} review'.")
    made = []
    for name in names:
        own = tuple(described.get(name, ()))
        patterns = tuple(phrasings) or (() if own else PHRASINGS)
        made.append(own + tuple(pattern.replace("{}", name) for pattern in patterns))
    return tuple(made)


def zero_shot(
    pieces: Pieces,
    labels: Sequence[str],
    embed: Embed,
    *,
    phrasings: Sequence[str] = (),
    described: Mapping[str, Sequence[str]] | None = None,
    threshold: float | None = None,
) -> ZeroShot:
    """Find a label for each text.

    Args:
        pieces: the texts' vectors.
        labels: names of the labels.
        embed: the model that made the vectors.
        phrasings, described: as in `phrase`.
        threshold: of the second label's score minus the first's, for two labels; None finds one.

    Raises:
        DataError: no texts, or `embed` gives vectors of other dimensions.
        InvalidRequestError: as `phrase`, or a threshold for more than two labels.
    """
    texts = phrase(labels, phrasings, described)
    check_threshold(threshold, len(texts))
    if not pieces.texts:
        raise DataError("There are no rows to classify.")
    flat = embed([text for group in texts for text in group])
    if flat.shape[1] != pieces.vectors.shape[1]:
        raise DataError(
            f"The rows' vectors have {pieces.vectors.shape[1]} dimensions and the labels' {flat.shape[1]}; "
            "embed the labels with the rows' model (--model)."
        )
    ends = np.cumsum([len(group) for group in texts])
    means = np.stack([group.mean(axis=0) for group in np.split(_unit(flat), ends[:-1])])  # (K, D)
    scores = pieces.mean(_unit(pieces.vectors) @ means.T)
    offsets = (means**2).sum(axis=1) / 2  # x·m - |m|²/2 is greatest for the mean m nearest to x
    names = tuple(label.strip() for label in labels)
    mixture = fit_mixture(scores[:, 1] - scores[:, 0]) if len(names) == 2 else None
    rule: Rule = "nearest"
    if threshold is not None:
        rule, offsets = "given", np.array([0.0, threshold])
    elif mixture is not None and mixture.has_two_groups:
        rule, offsets = "mixture", np.array([0.0, mixture.threshold])
    best = (scores - offsets).argmax(axis=1)
    return ZeroShot(names, texts, scores, tuple(names[index] for index in best), rule, offsets, mixture)


def check_threshold(threshold: float | None, labels: int) -> None:
    """
    Raises:
        InvalidRequestError: a threshold for more than two labels, or one that is no number.
    """
    if threshold is not None and labels != 2:
        raise InvalidRequestError(f"A threshold is for two labels, and there are {labels}; leave it out.")
    if threshold is not None and not np.isfinite(threshold):
        raise InvalidRequestError(f"The threshold is {threshold}; give a number, such as 0.05, or leave it out.")


def check_truth(labels: Sequence[str], truth: Sequence[str | None]) -> None:
    """
    Raises:
        DataError: as `judge`.
    """
    for row, label in enumerate(truth):
        if label is not None and label not in labels:
            raise DataError(
                f"Row {row + 1} truly is '{label}', which is none of the labels {', '.join(labels)}. Say what it "
                f"counts as, such as --map {label}={labels[0]}."
            )
    if all(label is None for label in truth):
        raise DataError("No row has a true label to compare with; rows that --map leaves out do not count.")


def judge(found: ZeroShot, truth: Sequence[str | None]) -> Judgement:
    """Compare with the truth, row by row; rows whose truth is None do not count.

    Raises:
        DataError: a true label that is none of the labels, or no row with one.
    """
    from sklearn.metrics import roc_auc_score  # type: ignore[import-untyped]

    check_truth(found.labels, truth)
    known = np.array([row for row, label in enumerate(truth) if label is not None], dtype=np.int64)
    actual = [str(truth[row]) for row in known]
    predicted = [found.predicted[row] for row in known]
    scores = found.scores[known] - found.offsets
    rivals = np.stack([np.delete(scores, index, axis=1).max(axis=1) for index in range(scores.shape[1])], axis=1)
    both = len(found.labels) == 2 and len(set(actual)) == 2
    return Judgement(
        rows=len(known),
        accuracy=float(np.mean([one == other for one, other in zip(actual, predicted, strict=True)])),
        majority=max(actual.count(label) for label in found.labels) / len(actual),
        by_class=class_scores(actual, predicted, found.labels),
        confusion=confusion(actual, predicted, found.labels),
        curves=precision_recall(actual, scores - rivals, found.labels),
        auc=float(roc_auc_score([one == found.labels[1] for one in actual], found.margins[known])) if both else None,
    )


def _unit(vectors: Floats) -> Array:
    """Vectors of length 1, in float64; a vector of zeros stays."""
    exact = vectors.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    return exact / np.where(lengths > 0, lengths, 1)
