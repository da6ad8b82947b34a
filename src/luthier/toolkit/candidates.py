"""The methods that compete for a task, each a recipe that makes a `Machine` of vectors and targets.

Targets are a matrix (N, K): ones and zeros for K classes, or one standardised column for a number. The recipes are
measured in `cross_validation`; scikit-learn does the fitting.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from luthier.errors import InvalidRequestError, nearest
from luthier.toolkit.machines import Array, Kernel, Linear, Machine, Neighbours, Trees

METHODS = ("linear", "kernel", "neighbours", "forest", "boosting")
MOST_ROWS_OF_KERNELS = 10_000  # a kernel of more rows than these takes gigabytes

_NEVER = -30.0  # the logit of a class that was never seen; far below it no calibration of such scores converges
_SEED = 42
_STAGES = 100  # of boosting
_TREES = 100  # of a forest, as scikit-learn and the guide's notebook have it


@dataclass(frozen=True)
class Candidate:
    """A method with its settings.

    Args:
        method: one of `METHODS`.
        settings: for people, such as `C 4, gamma 1/variance`.
        fit: makes the machine of vectors (N, D) and targets (N, K).
    """

    method: str
    settings: str
    fit: Callable[[Array, Array], Machine]

    @property
    def name(self) -> str:
        return f"{self.method} ({self.settings})"


def candidates(methods: Sequence[str], *, classes: bool, rows: int) -> list[Candidate]:
    """What competes: every setting of the methods wanted.

    Args:
        methods: names of `METHODS`; empty for all that `rows` allow.
        classes: whether targets are classes.
        rows: how many there are to learn from.

    Raises:
        InvalidRequestError: a method that does not exist, or kernels for more rows than they are for.
    """
    for name in methods:
        if name not in METHODS:
            close = nearest(name, METHODS)
            hint = f" Did you mean '{close}'?" if close else ""
            raise InvalidRequestError(f"There is no method '{name}'; there are {', '.join(METHODS)}.{hint}")
    wanted = tuple(methods) or tuple(name for name in METHODS if name != "kernel" or rows <= MOST_ROWS_OF_KERNELS)
    if "kernel" in wanted and rows > MOST_ROWS_OF_KERNELS:
        raise InvalidRequestError(
            f"The method 'kernel' is for at most {MOST_ROWS_OF_KERNELS:,} rows, and there are {rows:,}; "
            "leave the choice open, or ask for 'linear'."
        )
    make: dict[str, Callable[[bool], list[Candidate]]] = {
        "linear": _linear,
        "kernel": _kernel,
        "neighbours": lambda _: [_neighbours(count) for count in (5, 10, 20) if count < rows // 2] or [_neighbours(1)],
        "forest": lambda classes: [Candidate("forest", f"{_TREES} trees", partial(_fit_forest, classes=classes))],
        "boosting": lambda classes: [
            Candidate("boosting", f"{_STAGES} stages", partial(_fit_boosting, classes=classes))
        ],
    }
    return [_even_of_one_answer(candidate) for name in wanted for candidate in make[name](classes)]


def _even_of_one_answer(candidate: Candidate) -> Candidate:
    """The same, for targets that are all alike too, as those of a fold without the one odd row: their answer."""

    def fit(vectors: Array, targets: Array) -> Machine:
        if (targets == targets[0]).all():
            return Linear(np.zeros((vectors.shape[1], targets.shape[1])), targets[0])
        return candidate.fit(vectors, targets)

    return replace(candidate, fit=fit)


def _linear(classes: bool) -> list[Candidate]:
    strengths = (1.0, 10.0) if classes else (0.3, 1.0, 3.0)
    word = "C" if classes else "alpha"
    return [
        Candidate("linear", f"{word} {strength:g}", partial(_fit_linear, classes=classes, strength=strength))
        for strength in strengths
    ]


def _kernel(classes: bool) -> list[Candidate]:
    return [
        Candidate(
            "kernel",
            f"C {strength:g}, gamma {scale:g}/variance",
            partial(_fit_kernel, classes=classes, strength=strength, scale=scale),
        )
        for strength in (2.0, 8.0)
        for scale in (0.5, 1.0, 2.0)
    ]


def _neighbours(count: int) -> Candidate:
    return Candidate(
        "neighbours", f"k {count}", lambda x, y: Neighbours(x, y, np.array([min(count, len(x))], dtype=np.int64))
    )


def _fit_linear(vectors: Array, targets: Array, classes: bool, strength: float) -> Machine:
    """Logistic regression (scores are logits) or ridge regression, on centred vectors of mean squared length 1."""
    from sklearn.linear_model import LogisticRegression, Ridge  # type: ignore[import-untyped]

    centre = vectors.mean(axis=0)
    scale = _spread(vectors)
    scaled = (vectors - centre) / scale
    if classes:
        logistic = LogisticRegression(C=strength, max_iter=1000).fit(scaled, targets.argmax(axis=1))
        weights, bias = every_class(logistic.coef_.T, logistic.intercept_, logistic.classes_, targets.shape[1])
    else:
        ridge = Ridge(alpha=strength).fit(scaled, targets)
        weights, bias = ridge.coef_.reshape(1, -1).T, np.atleast_1d(ridge.intercept_)
    return Linear(weights / scale, bias - centre @ weights / scale)


def every_class(weights: Array, bias: Array, present: Any, count: int) -> tuple[Array, Array]:
    """Columns for all classes: one logit of two becomes a pair; a class that was never seen scores very low."""
    if len(present) == 2:
        weights, bias = np.hstack([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    whole, low = np.zeros((len(weights), count)), np.full(count, _NEVER)
    whole[:, present], low[present] = weights, bias
    return whole, low


def _fit_kernel(vectors: Array, targets: Array, classes: bool, strength: float, scale: float) -> Machine:
    """Support vectors with a Gaussian kernel: one machine for each class against the rest, or epsilon-regression.

    gamma = scale / (total variance), as scikit-learn's `scale` times a factor. Regression has epsilon 0.01 standard
    deviations: nearly the absolute error itself.
    """
    from sklearn.metrics.pairwise import rbf_kernel  # type: ignore[import-untyped]
    from sklearn.svm import SVC, SVR  # type: ignore[import-untyped]

    gamma = scale / _spread(vectors) ** 2
    kernel = rbf_kernel(vectors, gamma=gamma)  # (N, N)
    weights, bias = np.zeros(targets.shape), np.zeros(targets.shape[1])
    for column, target in enumerate(targets.T):
        if classes and target.min() == target.max():
            bias[column] = 2 * target[0] - 1  # one side only: SVC cannot learn, and needs not
            continue
        machine = (
            SVC(C=strength, kernel="precomputed") if classes else SVR(C=strength, epsilon=0.01, kernel="precomputed")
        )
        machine.fit(kernel, target)
        weights[machine.support_, column] = machine.dual_coef_[0]
        bias[column] = machine.intercept_[0]
    used = np.flatnonzero(np.any(weights != 0, axis=1))
    used = used if len(used) else np.zeros(1, dtype=np.int64)  # none is needed where all targets lie within epsilon
    return Kernel(vectors[used], weights[used], bias, np.array([gamma]))


def _fit_forest(vectors: Array, targets: Array, classes: bool) -> Machine:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor  # type: ignore[import-untyped]

    if classes:
        forest = RandomForestClassifier(_TREES, random_state=_SEED).fit(vectors, targets.argmax(axis=1))
        shares = [tree.tree_.value[:, 0, :] for tree in forest.estimators_]
        values = []
        for share in shares:
            whole = np.zeros((len(share), targets.shape[1]))
            whole[:, forest.classes_] = share / share.sum(axis=1, keepdims=True)
            values.append(whole)
    else:
        forest = RandomForestRegressor(_TREES, max_features="sqrt", random_state=_SEED).fit(vectors, targets[:, 0])
        values = [tree.tree_.value[:, :, 0] for tree in forest.estimators_]
    return _trees([tree.tree_ for tree in forest.estimators_], [value / _TREES for value in values], 0.0)


def _fit_boosting(vectors: Array, targets: Array, classes: bool) -> Machine:
    """Small boosted trees on half the rows each: log loss of a class against the rest, or squared error."""
    from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor

    settings = {"n_estimators": _STAGES, "max_features": "sqrt", "subsample": 0.5, "random_state": _SEED}
    kinds, values, bias = [], [], np.zeros(targets.shape[1])
    for column, target in enumerate(targets.T):
        if classes and target.min() == target.max():
            bias[column] = 2 * target[0] - 1
            continue
        kind = GradientBoostingClassifier if classes else GradientBoostingRegressor
        boosted = kind(**settings).fit(vectors, target.astype(int) if classes else target)
        if classes:
            share = target.mean()
            bias[column] = np.log(share / (1 - share))  # where scikit-learn starts
        else:
            bias[column] = target.mean()
        for (tree,) in boosted.estimators_:
            leaves = np.zeros((tree.tree_.node_count, targets.shape[1]))
            leaves[:, column] = boosted.learning_rate * tree.tree_.value[:, 0, 0]
            kinds.append(tree.tree_)
            values.append(leaves)
    return _trees(kinds, values, bias)


def _trees(trees: Sequence[Any], values: Sequence[Array], bias: Array | float) -> Machine:
    """scikit-learn's trees, one after the other."""
    width = values[0].shape[1]
    starts = np.cumsum([0, *(tree.node_count for tree in trees)])

    def children(name: str) -> Any:
        shifted = [
            np.where((own := getattr(tree, name)) >= 0, own + start, -1)
            for tree, start in zip(trees, starts, strict=False)
        ]
        return np.concatenate(shifted).astype(np.int64)

    return Trees(
        roots=starts[:-1].astype(np.int64),
        left=children("children_left"),
        right=children("children_right"),
        feature=np.concatenate([tree.feature for tree in trees]).clip(0).astype(np.int64),
        threshold=np.concatenate([tree.threshold for tree in trees]),
        values=np.concatenate(values),
        bias=np.broadcast_to(np.asarray(bias, dtype=np.float64), (width,)).copy(),
    )


def _spread(vectors: Array) -> float:
    """The root of the total variance: how far vectors lie from their mean, 1 where they are all the same."""
    return float(np.sqrt(vectors.var(axis=0).sum())) or 1.0
