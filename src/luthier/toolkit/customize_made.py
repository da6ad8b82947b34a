"""Pairs that nobody gave: negatives of the texts of positives, and both kinds from classes or clusters of texts."""

from collections.abc import Sequence

import numpy as np

from luthier.errors import DataError
from luthier.toolkit.customize_pairs import MIN_POSITIVES, Ints, Pairs
from luthier.types import Floats


def make_negatives(pairs: Pairs, per_positive: int, seed: int, known: Pairs | None = None) -> Pairs:
    """Random pairs of the texts of these pairs that are none of them in either order, as many as asked for.

    The document lists all pairs of texts and samples from them; here they are drawn without the list, so a hundred
    thousand texts cost no more than a hundred.

    Args:
        per_positive: negatives for each positive pair; fewer come where there are not that many.
        known: pairs that none shall be either, such as those of other parts.
    """
    texts, taken, wanted = pairs.texts, pairs.keys, pairs.n_positive * per_positive
    made = _drawn(texts, taken, wanted, np.random.default_rng(seed))
    others = known.within(texts).keys if known is not None else set()
    if not others.isdisjoint(made):
        made = _drawn(texts, taken | others, wanted, np.random.default_rng(seed))
    return Pairs.of(made, -1)


def pairs_of_classes(
    places: Ints,
    classes: Ints,
    per_text: int,
    negatives_per_positive: int,
    seed: int,
    least: int = MIN_POSITIVES,
) -> Pairs:
    """Pairs of texts of one class as positives, and of different classes as negatives.

    Args:
        places: (N,), the texts.
        classes: (N,), the class of each of them.
        per_text: positive pairs for each text, on average; fewer where a class has not that many.
        least: positive pairs that are needed.

    Raises:
        DataError: only one class, or too few positive pairs.
    """
    rng = np.random.default_rng(seed)
    check_classes(classes, "texts", "Name a column with two or more.")
    order = np.argsort(classes, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(classes[order]) != 0])
    members = np.split(places[order], starts[1:])
    positives = [pair for own in members for pair in _drawn(own, set(), len(own) * per_text, rng)]
    if len(positives) < least:
        raise DataError(
            f"The classes give {len(positives)} pairs of texts of one class, of {least} needed. Take classes that come "
            "up in several rows each, or fewer folds."
        )
    return Pairs.of(positives, 1) + Pairs.of(_drawn_across(members, len(positives) * negatives_per_positive, rng), -1)


def check_classes(classes: Ints, which: str, remedy: str) -> None:
    """
    Args:
        classes: (N,), of texts.
        which: texts these are, as the message says it: "test texts".

    Raises:
        DataError: they are all of one class.
    """
    if len(np.unique(classes)) < 2:
        raise DataError(f"All {len(classes)} {which} are of one class: there is nothing to tell apart. {remedy}")


def check_clusters(n_clusters: int, n_train: int) -> None:
    """
    Args:
        n_train: texts to be put into clusters.

    Raises:
        DataError: fewer than two clusters, or more than half as many as texts.
    """
    if not 2 <= n_clusters <= n_train // 2:
        raise DataError(
            f"{n_clusters} clusters of {n_train} training texts cannot be: ask for 2 to {n_train // 2} of them."
        )


def clusters_of(train: Floats, test: Floats, n_clusters: int, seed: int) -> tuple[Ints, Ints]:
    """Clusters of training texts by k-means, and the cluster to which each test text is nearest.

    Args:
        train, test: (N, D), (M, D).

    Raises:
        DataError: as `check_clusters`.
    """
    from sklearn.cluster import KMeans  # type: ignore[import-untyped]

    check_clusters(n_clusters, len(train))
    means = KMeans(n_clusters, n_init=10, random_state=seed).fit(train)
    return means.labels_.astype(np.int64), means.predict(test).astype(np.int64)


def _drawn(texts: Ints, taken: set[tuple[int, int]], n: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Up to `n` distinct pairs of distinct texts that are not taken, each as likely as any other.

    Pair number p = j·(j-1)/2 + i stands for texts i < j, so that distinct numbers are distinct pairs.
    """
    most = len(texts) * (len(texts) - 1) // 2
    if not most:
        return []
    numbers = rng.choice(most, min(n + len(taken), most), replace=False)
    j = ((1 + np.sqrt(1 + 8 * numbers.astype(np.float64))) // 2).astype(np.int64)
    j -= j * (j - 1) // 2 > numbers  # the root may have been rounded, up
    j += j * (j + 1) // 2 <= numbers  # or down
    i = numbers - j * (j - 1) // 2
    both = np.sort(np.stack([texts[i], texts[j]], axis=1), axis=1).tolist()
    return [(a, b) for a, b in both if (a, b) not in taken][:n]


def _drawn_across(groups: Sequence[Ints], n: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Up to `n` distinct pairs of texts of different groups, each as likely as any other.

    Pair numbers count, text after text, the texts of later groups.
    """
    texts, sizes = np.concatenate(groups), [len(own) for own in groups]
    ends = np.repeat(np.cumsum(sizes), sizes)  # (N,), where a text's group ends
    later = len(texts) - ends
    after = np.cumsum(later)  # (N,), the number after a text's last pair
    numbers = rng.choice(after[-1], min(n, int(after[-1])), replace=False)
    i = np.searchsorted(after, numbers, side="right")
    j = ends[i] + numbers - (after[i] - later[i])
    return list(map(tuple, np.sort(np.stack([texts[i], texts[j]], axis=1), axis=1).tolist()))
