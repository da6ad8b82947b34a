"""Pairs of texts that are alike (+1) or not (-1): read from rows, set apart for the test, and parted into folds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from luthier.errors import DataError
from luthier.toolkit.frame import is_empty

Ints = NDArray[np.int64]

MIN_POSITIVES = 10  # in training and in test rows each: fewer tell nothing
_SPELLINGS = {"1": 1, "+1": 1, "1.0": 1, "-1": -1, "-1.0": -1, "0": -1, "0.0": -1, "true": 1, "false": -1}


@dataclass(frozen=True)
class Pairs:
    """Rows (text_1, text_2, label), the texts by their places in a list of distinct ones.

    Args:
        first, second: (N,), places of the texts.
        labels: (N,), 1 for alike, -1 for not.
    """

    first: Ints
    second: Ints
    labels: Ints

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def n_positive(self) -> int:
        return int((self.labels > 0).sum())

    @property
    def texts(self) -> Ints:
        """The places of all texts that occur, ascending."""
        return np.unique(np.concatenate([self.first, self.second]))

    @property
    def keys(self) -> set[tuple[int, int]]:
        """The rows as pairs of places, the lower first."""
        return {(min(a, b), max(a, b)) for a, b in zip(self.first.tolist(), self.second.tolist(), strict=True)}

    def take(self, rows: NDArray[np.bool_] | Ints) -> Self:
        """Some of the rows, by mask or by number."""
        return type(self)(self.first[rows], self.second[rows], self.labels[rows])

    def among(self, texts: Ints) -> Self:
        """The same pairs, the places meant in a list of these texts alone.

        Args:
            texts: places, ascending, with all that occur here among them.
        """
        return type(self)(np.searchsorted(texts, self.first), np.searchsorted(texts, self.second), self.labels)

    def __add__(self, other: "Pairs") -> "Pairs":
        return Pairs(
            np.concatenate([self.first, other.first]),
            np.concatenate([self.second, other.second]),
            np.concatenate([self.labels, other.labels]),
        )

    def without_texts(self, texts: Ints) -> Self:
        """The rows of which neither text is among these."""
        return self.take(~(np.isin(self.first, texts) | np.isin(self.second, texts)))

    def within(self, texts: Ints) -> Self:
        """The rows of which both texts are among these."""
        return self.take(np.isin(self.first, texts) & np.isin(self.second, texts))

    @classmethod
    def of(cls, pairs: Sequence[tuple[int, int]], label: int) -> Self:
        both = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        return cls(both[:, 0], both[:, 1], np.full(len(both), label, dtype=np.int64))


@dataclass(frozen=True)
class Split:
    """Training and test rows, neither with a text of the other.

    Args:
        n_dropped: training rows that were left out because a text of theirs is in a test row too.
    """

    train: Pairs
    test: Pairs
    n_dropped: int


def pairs_of_rows(
    rows: pd.DataFrame,
    text_1: str = "text_1",
    text_2: str = "text_2",
    label: str | None = "label",
    positive: str | None = None,
    negative: str | None = None,
) -> tuple[list[str], Pairs]:
    """The pairs that a table holds.

    Args:
        label: the column of 1 and -1 (or 1 and 0, true and false); None when every row is a positive pair.
        positive: the label's word for alike, such as `entailment`; rows with other words are left out.
        negative: the label's word for not alike.

    Returns:
        The distinct texts in the order of their first use, and a pair for each row that is not left out.

    Raises:
        DataError: a column that is not there, an empty text, a label that is none.
    """
    for name in filter(None, (text_1, text_2, label)):
        if name not in rows.columns:
            raise DataError(f"There is no column '{name}': the table has {', '.join(map(str, rows.columns))}.")
    labels = _labels(rows[label], positive, negative) if label else np.ones(len(rows), dtype=np.int64)
    kept = rows[labels != 0]
    labels = labels[labels != 0]
    if not len(kept):
        words = ", ".join(repr(str(word)) for word in rows[label].unique()[:5]) if label and len(rows) else "no rows"
        raise DataError(
            f"No pair is left. The column '{label}' holds {words}; name the word for alike with --positive."
        )
    texts: dict[str, int] = {}
    sides = [_places(kept[name], name, texts) for name in (text_1, text_2)]
    if (sides[0] == sides[1]).all():
        raise DataError(f"In each of the {len(labels)} rows '{text_1}' and '{text_2}' are the same text.")
    return list(texts), Pairs(sides[0], sides[1], labels)


def split_pairs(pairs: Pairs, test_fraction: float, seed: int, *, drop_shared: bool = True) -> Split:
    """Set rows aside for the test, before any pair is made; which ones, the labels have no say in.

    The rows are those of scikit-learn's `train_test_split`, stratified by a label that all rows share.

    Args:
        drop_shared: leave out training rows that have a text of a test row.

    Raises:
        DataError: too few rows for a split, or too few are left.
    """
    from sklearn.model_selection import train_test_split  # type: ignore[import-untyped]

    if pairs.n_positive < 2 * MIN_POSITIVES:
        raise DataError(
            f"There are {pairs.n_positive} positive pairs: at least {2 * MIN_POSITIVES} are needed, half of them to "
            "learn from and half to test on."
        )
    _check_fraction(test_fraction, len(pairs))
    rows = np.arange(len(pairs))
    train_rows, test_rows = train_test_split(
        rows, test_size=test_fraction, stratify=np.ones_like(rows), random_state=seed
    )
    train, test = pairs.take(train_rows), pairs.take(test_rows)
    kept = train.without_texts(test.texts) if drop_shared else train
    split = Split(kept, test, len(train) - len(kept))
    for name, part in (("training", split.train), ("test", split.test)):
        if part.n_positive < MIN_POSITIVES:
            shared = (
                f" {split.n_dropped} training rows share a text with a test row and were left out; --keep-shared keeps "
                "them, and the test accuracy is then more than new texts will have."
                if split.n_dropped
                else " Give more pairs, or another --test-fraction."
            )
            raise DataError(f"{part.n_positive} positive pairs are {name} rows, of {MIN_POSITIVES} needed.{shared}")
    return split


def split_texts(n_texts: int, test_fraction: float, seed: int) -> tuple[Ints, Ints]:
    """The places of training and of test texts; which ones, their classes have no say in.

    Raises:
        DataError: too few texts, or a fraction that makes no sense.
    """
    from sklearn.model_selection import train_test_split

    if n_texts < 2 * MIN_POSITIVES:
        raise DataError(f"There are {n_texts} texts: at least {2 * MIN_POSITIVES} are needed.")
    _check_fraction(test_fraction, n_texts)
    train, test = train_test_split(np.arange(n_texts), test_size=test_fraction, random_state=seed)
    return np.sort(train), np.sort(test)


def _check_fraction(test_fraction: float, n: int) -> None:
    """
    Raises:
        DataError: of so many rows none would be left to learn from.
    """
    if not 0 < test_fraction < 1:
        raise DataError(f"The test fraction is {test_fraction}: it has to be between 0 and 1, such as 0.5.")
    if int((1 - test_fraction) * n) < 1:
        raise DataError(f"A test fraction of {test_fraction} takes all {n} rows. Give a smaller one, such as 0.5.")


def _check_folds(n_folds: int, n: int) -> None:
    """
    Raises:
        DataError: more folds than rows to learn from.
    """
    if n_folds > n:
        raise DataError(f"{n_folds} folds cannot be made of {n} training rows. Ask for at most {n} (--folds).")


def groups_of(pairs: Pairs, n_texts: int) -> Ints:
    """A number for each text; texts that positive pairs link, also over others, have the same. (n_texts,)"""
    from scipy.sparse import coo_array  # type: ignore[import-untyped]
    from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]

    positive = pairs.take(pairs.labels > 0)
    links = coo_array((np.ones(len(positive)), (positive.first, positive.second)), shape=(n_texts, n_texts))
    groups: Ints = connected_components(links, directed=False)[1].astype(np.int64)
    return groups


def folds_of(pairs: Pairs, n_folds: int, seed: int) -> Iterator[tuple[Pairs, Pairs]]:
    """Rows to learn from and rows to choose by, `n_folds` times; each row is once among the latter.

    Texts of the second are in none of the first, so far as at least half of the first are left by that.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    _check_folds(n_folds, len(pairs))
    positives, negatives = int((pairs.labels > 0).sum()), int((pairs.labels < 0).sum())
    stratified = min(positives, negatives) >= n_folds
    kind = StratifiedKFold if stratified else KFold
    for learn, choose in kind(n_folds, shuffle=True, random_state=seed).split(pairs.labels, pairs.labels):
        chosen, whole = pairs.take(choose), pairs.take(learn)
        apart = whole.without_texts(chosen.texts)
        yield apart if 2 * apart.n_positive >= whole.n_positive else whole, chosen


def text_folds_of(classes: Ints, n_folds: int, seed: int) -> Iterator[tuple[Ints, Ints]]:
    """Texts to learn from and texts to choose by, by their rows in `classes`, each class in all parts if it can be."""
    from sklearn.model_selection import KFold, StratifiedKFold

    _check_folds(n_folds, len(classes))
    rarest = np.unique(classes, return_counts=True)[1].min()
    kind = StratifiedKFold if rarest >= n_folds else KFold
    yield from kind(n_folds, shuffle=True, random_state=seed).split(classes, classes)


def _labels(column: pd.Series, positive: str | None, negative: str | None) -> Ints:
    """(N,) of 1, -1, and 0 for rows to be left out."""
    words = column.astype(str).str.strip()
    if positive is not None or negative is not None:
        return np.where(words == positive, 1, np.where(words == negative, -1, 0)).astype(np.int64)
    values = words.str.lower().map(_SPELLINGS)
    if (bad := np.flatnonzero(values.isna())).size:
        raise DataError(
            f"Row {bad[0] + 1} of the column '{column.name}' says {str(column.iloc[bad[0]])!r}, which is neither 1 "
            "(alike) nor -1 (not alike). If it is a word, name the one for alike with --positive, and the one for not "
            "alike, if there is one, with --negative."
        )
    return np.asarray(values, dtype=np.int64)


def _places(column: pd.Series, name: str, texts: dict[str, int]) -> Ints:
    """Places of a column's texts in `texts`, which gets the new ones."""
    for row, text in zip(column.index, column, strict=True):
        if not isinstance(text, str) or not text.strip():
            number = row + 1 if isinstance(row, int) else row
            found = "no text" if is_empty(text) or isinstance(text, str) else f"{text!r}, which is no text,"
            raise DataError(f"Row {number} has {found} in the column '{name}'. Correct it or leave the row out.")
    return np.array([texts.setdefault(text, len(texts)) for text in column], dtype=np.int64)
