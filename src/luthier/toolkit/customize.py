"""Customizing embeddings: a matrix, learnt from pairs of texts, after which a threshold tells alike from not alike.

    pairs ─► split ─► negatives ─► folds ─► search by the folds' held-out rows ─► matrix and threshold ─► test rows
            (test rows aside)      (of the training rows)                          (`learn`)               (`judge`)
    └───── `plan_pairs`, `plan_classes` ─────┘  └────────────────────────── `fit` ────────────────────────────────┘

A plan needs no embeddings, so what is wrong with the rows is said before anything is embedded. `learn` never sees a
test row; `judge` never changes a matrix.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from luthier.errors import DataError
from luthier.toolkit.customize_made import check_classes, clusters_of, make_negatives, pairs_of_classes
from luthier.toolkit.customize_pairs import Ints, Pairs, folds_of, groups_of, split_pairs, split_texts, text_folds_of
from luthier.toolkit.customize_scores import Accuracy, Numbers, accuracy_at, best_accuracy, cosines
from luthier.toolkit.customize_search import Fold, Learned, Material, Report, Rows, Search, learn
from luthier.toolkit.vectors import matrix
from luthier.types import Floats

_CHOOSING = 20  # negatives for each positive among rows to choose by, weighted: more make the choice surer


@dataclass(frozen=True)
class Side:
    """Accuracy on the test rows, once.

    Args:
        chosen: at the threshold that held-out training rows chose: what to expect of new pairs.
        best: at the threshold that suits the test rows best, as the document reports.
    """

    chosen: Accuracy
    best: Accuracy

    def as_dict(self) -> dict[str, Any]:
        return {**self.chosen.as_dict(), "best_threshold": self.best.as_dict()}


@dataclass(frozen=True)
class Customization:
    """A matrix, and what it does on test rows that had no part in it.

    Args:
        learned: the matrix and how it came about.
        before, after: on the test rows.
        similarities: of the test rows, `before` and `after`.
        labels: of the test rows.
        n_train: rows, or texts, to learn from; negatives that were made are not counted.
        n_dropped: training rows left out because they share a text with a test row.
    """

    learned: Learned
    before: Side
    after: Side
    similarities: dict[str, Numbers] = field(repr=False)
    labels: Ints = field(repr=False)
    n_train: int = 0
    n_dropped: int = 0

    @property
    def matrix(self) -> Floats:
        """(D, P)."""
        return self.learned.matrix

    def as_dict(self) -> dict[str, Any]:
        return {
            "before": self.before.as_dict(),
            "after": self.after.as_dict(),
            "threshold": self.learned.threshold,
            "n_train": self.n_train,
            "n_test": len(self.labels),
            "n_dropped": self.n_dropped,
            "dimensions": {"from": self.matrix.shape[0], "to": self.matrix.shape[1]},
            "runs": [run.as_dict() for run in self.learned.runs],
            "chosen": self.learned.runs[self.learned.chosen].as_dict(),
            "interrupted": self.learned.interrupted,
        }


@dataclass(frozen=True)
class Plan:
    """Which rows are learnt from, and which ones test what was learnt.

    Args:
        search: what is tried.
        material: of the training rows.
        test: rows that have no part in learning, with the negatives made of their texts.
        n_train, n_dropped: as `Customization`.
    """

    search: Search
    material: Material
    test: Pairs
    n_train: int
    n_dropped: int = 0


def plan_pairs(
    pairs: Pairs,
    search: Search | None = None,
    *,
    negatives: int | None = None,
    test_fraction: float = 0.5,
    drop_shared: bool = True,
) -> Plan:
    """Set rows aside for the test, then make negatives and folds on both sides.

    Args:
        pairs: positives, or positives and negatives.
        negatives: that are made for each positive; None for 1 where no negatives are given and 0 otherwise.
        test_fraction: of the rows.
        drop_shared: leave out training rows with a text of a test row.

    Raises:
        DataError: too few rows, or options that make no sense.
    """
    search = search or Search()
    search.check()
    given = int((pairs.labels < 0).sum())
    per_positive = negatives if negatives is not None else 0 if given else 1
    if not given and per_positive < 1:
        raise DataError("All pairs are positive. Ask for at least one negative to be made for each (--negatives 1).")
    split = split_pairs(pairs, test_fraction, search.seed, drop_shared=drop_shared)
    for name, part in (("training", split.train), ("test", split.test)):
        if not per_positive and part.n_positive == len(part):
            raise DataError(
                f"None of the {given} negative pairs is a {name} row. Give more of them, or have some made "
                "(--negatives 1)."
            )
    test = split.test + make_negatives(split.test, per_positive, search.seed, pairs)
    each = per_positive and max(per_positive, _CHOOSING)
    folds = []
    for number, (learn_rows, choose_rows) in enumerate(folds_of(split.train, search.n_folds, search.seed)):
        learn_from, choose_by = (
            Rows.of(part, make_negatives(part, each, search.seed + 1000 * side + number, pairs), per_positive)
            for side, part in enumerate((learn_rows, choose_rows))
        )
        folds.append(Fold(learn_from, choose_by))
    groups = groups_of(split.train, int(pairs.texts.max()) + 1) if not given else None
    return Plan(search, Material(folds, groups), test, len(split.train), split.n_dropped)


def plan_classes(
    classes: Ints,
    search: Search | None = None,
    *,
    negatives: int = 1,
    pairs_per_text: int = 5,
    test_fraction: float = 0.5,
) -> Plan:
    """Set texts aside for the test, then make pairs on both sides: texts of a class are alike, of two classes not.

    Args:
        classes: (T,), numbers of classes.
        pairs_per_text: positive pairs that are made for each text.
        others: as `plan_pairs`; here the fraction is of the texts.

    Raises:
        DataError: one class only, too few texts, or options that make no sense.
    """
    search = search or Search()
    search.check()
    if negatives < 1 or pairs_per_text < 1:
        raise DataError("At least one negative for each positive and one pair for each text have to be made.")
    train, test = split_texts(len(classes), test_fraction, search.seed)
    check_classes(classes, "texts", "Name a column with two or more.")
    for name, part in (("training", train), ("test", test)):
        check_classes(classes[part], f"{name} texts", "Give more of the rare ones, or another --test-fraction.")
    test_pairs = pairs_of_classes(test, classes[test], pairs_per_text, negatives, search.seed)
    pairs_of_classes(train, classes[train], pairs_per_text, negatives, search.seed)  # refuses what gives too few
    folds = []
    for number, parts in enumerate(text_folds_of(classes[train], search.n_folds, search.seed)):
        for part in parts:
            check_classes(classes[train[part]], "texts of a fold", "Give more of the rare ones, or fewer --folds.")
        learn_pairs, choose_pairs = (
            pairs_of_classes(
                train[part],
                classes[train[part]],
                pairs_per_text,
                max(negatives, _CHOOSING),
                search.seed + 1000 * side + number,
                least=1,
            )
            for side, part in enumerate(parts)
        )
        learn_from, choose_by = (
            Rows.of(part.take(part.labels > 0), part.take(part.labels < 0), negatives)
            for part in (learn_pairs, choose_pairs)
        )
        folds.append(Fold(learn_from, choose_by))
    return Plan(search, Material(folds, classes), test_pairs, len(train))


def plan_clusters(
    vectors: Floats,
    n_clusters: int,
    search: Search | None = None,
    *,
    negatives: int = 1,
    pairs_per_text: int = 5,
    test_fraction: float = 0.5,
) -> Plan:
    """As `plan_classes`, where the classes are clusters: k-means of the training texts, and the nearest for the others.

    Args:
        vectors: (T, D).
        n_clusters: at least 2.

    Raises:
        DataError: too few texts for so many clusters, or options that make no sense.
    """
    seed = (search or Search()).seed
    train, test = split_texts(len(vectors), test_fraction, seed)
    clusters = np.full(len(vectors), -1, dtype=np.int64)
    clusters[train], clusters[test] = clusters_of(vectors[train], vectors[test], n_clusters, seed)
    return plan_classes(
        clusters, search, negatives=negatives, pairs_per_text=pairs_per_text, test_fraction=test_fraction
    )


def fit(plan: Plan, vectors: Floats, progress: Report | None = None) -> Customization:
    """Learn as planned, and test.

    Args:
        vectors: (T, D), of the texts that the plan's places mean.
        progress: told after each epoch.

    Raises:
        DataError: embeddings that are no matrix of finite numbers, too few for the plan, or all of zeros.
    """
    texts = np.concatenate([plan.test.texts, *(fold.texts for fold in plan.material.folds)])
    vectors = matrix(vectors, int(texts.max()) + 1, "Customizing")
    if not vectors.any():
        raise DataError("All embeddings are zeros: nothing can be learnt from them. Embed the texts again.")
    learned = learn(vectors, plan.material, plan.search, progress)
    return replace(judge(learned, vectors, plan.test), n_train=plan.n_train, n_dropped=plan.n_dropped)


def judge(learned: Learned, vectors: Floats, test: Pairs) -> Customization:
    """Accuracy on test rows before and after."""
    before, after = cosines(vectors, test), cosines(vectors @ learned.matrix, test)
    first, second = (
        Side(accuracy_at(some, test.labels, threshold), best_accuracy(some, test.labels))
        for some, threshold in ((before, learned.threshold_before), (after, learned.threshold))
    )
    return Customization(learned, first, second, {"before": before, "after": after}, test.labels)
