"""What supervised workflows share: the guide's split, and whether there is enough to learn from."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luthier.errors import DataError, InvalidRequestError
from luthier.toolkit.cross_validation import Rows

LEAST_ROWS = 10  # fewer to learn from say nothing about rows not seen


@dataclass(frozen=True)
class Holdout:
    """Rows to learn from and rows held out, shuffled."""

    train: Rows
    test: Rows


def hold_out(rows: int, test_size: float, seed: int) -> Holdout:
    """The split of scikit-learn's `train_test_split` with `random_state=seed`, as the guide uses it.

    Raises:
        InvalidRequestError: a share that is not between 0 and 1, or a seed below 0.
        DataError: too few rows to learn from.
    """
    from sklearn.model_selection import train_test_split  # type: ignore[import-untyped]

    if not 0 < test_size < 1:
        raise InvalidRequestError(f"The share of test rows is {test_size:g}; it lies between 0 and 1, such as 0.2.")
    if not 0 <= seed < 2**32:
        raise InvalidRequestError(f"The seed is {seed}; it lies between 0 and {2**32 - 1:,}.")
    if rows * (1 - test_size) < LEAST_ROWS or rows * test_size < 1:
        raise DataError(
            f"There {'is' if rows == 1 else 'are'} {rows} row{'' if rows == 1 else 's'}; learning needs at least "
            f"{LEAST_ROWS} rows to learn from and 1 to test, so bring more rows or change the share of test rows."
        )
    train, test = train_test_split(np.arange(rows), test_size=test_size, random_state=seed)
    return Holdout(train, test)


def distinct_classes(labels: Sequence[str], target: str) -> tuple[str, ...]:
    """The classes in order, as numbers where all are numbers.

    Raises:
        DataError: one class only, or nearly as many classes as rows.
    """
    classes = set(labels)
    if len(classes) < 2:
        raise DataError(
            f"All {len(labels)} rows have the same '{target}' ({labels[0]}); there is nothing to tell apart."
        )
    if len(classes) > max(2, len(labels) // 4):
        raise DataError(
            f"'{target}' has {len(classes)} different values in {len(labels)} rows: too few rows for each class. "
            "Numbers are for `luthier regress`; otherwise name a column with fewer classes."
        )
    try:
        numbers = {name: float(name) for name in classes}
    except ValueError:
        return tuple(sorted(classes))
    if any(math.isnan(number) for number in numbers.values()):
        return tuple(sorted(classes))
    return tuple(sorted(classes, key=lambda name: (numbers[name], name)))
