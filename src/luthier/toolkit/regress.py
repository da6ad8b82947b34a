"""Regression: a number predicted from a text's embedding.

A number with few values, such as stars, is also tried as classes: calibrated probabilities of its levels, answered by
their median (least absolute error) or mean (least squared error). Cross-validation on the training rows decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from luthier.errors import DataError
from luthier.toolkit.calibration import calibrate, cross_calibrated, log_losses
from luthier.toolkit.candidates import candidates
from luthier.toolkit.cross_validation import Choice, Rows, Trial, choose, fold_of
from luthier.toolkit.frame import Frame
from luthier.toolkit.holdout import Holdout, hold_out
from luthier.toolkit.machines import Array
from luthier.toolkit.predictor import Metric, Predictor, of_levels

MOST_LEVELS = 20  # different values of a number that is tried as classes
_AS_LEVELS = ("linear", "kernel", "neighbours")  # methods that are tried on classes


@dataclass(frozen=True)
class Errors:
    """Mean absolute and mean squared error, and the coefficient of determination."""

    mae: float
    mse: float
    r2: float

    def as_dict(self) -> dict[str, float]:
        return {"mae": self.mae, "mse": self.mse, "r2": self.r2}


@dataclass(frozen=True)
class Regression:
    """What was learned, and how it does on rows held out.

    Args:
        predictor: the trained one.
        method: its name and settings.
        metric: what it was chosen for.
        trials: of the methods that competed, on training rows only; losses are in the metric.
        train_rows, test_rows: how many.
        test: errors on test rows.
        dummy: errors of the best constant of the training rows: the median for `mae`, the mean for `mse`.
        actual, predicted: (test_rows,).
        rows: (test_rows,), where they stand in the frame.
    """

    predictor: Predictor
    method: str
    metric: Metric
    trials: tuple[Trial, ...]
    train_rows: int
    test_rows: int
    test: Errors
    dummy: Errors
    actual: Array
    predicted: Array
    rows: Rows

    def as_dict(self) -> dict[str, Any]:
        """Plain types; rows count from 1."""
        return {
            "task": "regression",
            "target": self.predictor.target,
            "method": self.method,
            "metric": self.metric,
            "train_rows": self.train_rows,
            "test_rows": self.test_rows,
            **self.test.as_dict(),
            "dummy": self.dummy.as_dict(),
            "trials": [trial.as_dict() for trial in self.trials],
            "rows": (self.rows + 1).tolist(),
            "actual": self.actual.tolist(),
            "predicted": self.predicted.tolist(),
        }


def regress(
    frame: Frame,
    target: str,
    *,
    methods: Sequence[str] = (),
    metric: Metric = "mae",
    test_size: float = 0.2,
    seed: int = 42,
) -> Regression:
    """Choose a method on training rows, fit it, and measure it on rows held out.

    Args:
        target: a column of numbers.
        methods: of `candidates.METHODS`; none leaves the choice open.
        metric: the error to make small.
        test_size: the share of rows held out.
        seed: of the split and the folds.

    Raises:
        DataError: no such column, something else than numbers, always the same number, or too few rows.
        InvalidRequestError: an unknown method or a share outside 0 to 1.
    """
    numbers, parts = prepare(frame, target, methods=methods, test_size=test_size, seed=seed)
    known, held = numbers[parts.train], numbers[parts.test]
    vectors = frame.vectors.astype(np.float64)
    predictor, method, trials = learn(vectors[parts.train], known, target, methods=methods, metric=metric, seed=seed)
    predicted = predictor.estimate(frame.vectors[parts.test])
    constant = np.full(len(held), np.median(known) if metric == "mae" else known.mean())
    return Regression(
        predictor,
        method,
        metric,
        trials,
        len(known),
        len(held),
        errors(held, predicted),
        errors(held, constant),
        held,
        predicted,
        parts.test,
    )


def prepare(frame: Frame, target: str, *, methods: Sequence[str], test_size: float, seed: int) -> tuple[Array, Holdout]:
    """The numbers to predict, (N,), and which rows are held out: all that needs no vectors. Raises as `regress`."""
    numbers = np.asarray(frame.numbers(target), dtype=np.float64)
    parts = hold_out(len(numbers), test_size, seed)
    known = numbers[parts.train]
    if known.min() == known.max():
        raise DataError(f"All rows to learn from have the same '{target}' ({known[0]:g}); there is nothing to predict.")
    candidates(methods, classes=False, rows=len(known))
    return numbers, parts


def errors(actual: Array, predicted: Array) -> Errors:
    """How far predictions (N,) are from the truth (N,). R² of a constant truth is 0."""
    off = predicted - actual
    spread = float(((actual - actual.mean()) ** 2).mean())
    mse = float((off**2).mean())
    return Errors(float(np.abs(off).mean()), mse, 1 - mse / spread if spread else 0.0)


def learn(
    vectors: Array, numbers: Array, target: str, *, methods: Sequence[str], metric: Metric, seed: int
) -> tuple[Predictor, str, tuple[Trial, ...]]:
    """The predictor that cross-validation over these rows finds best, fitted on all of them, and how the others did."""
    centre, scale = float(numbers.mean()), float(numbers.std())
    column = ((numbers - centre) / scale)[:, None]  # (N, 1)

    def off(scores: Array, targets: Array, _fold: Rows) -> Array:
        return _loss((scores - targets)[:, 0] * scale, metric)

    competing = candidates(methods, classes=False, rows=len(numbers))
    direct = choose(competing, vectors, column, off, seed=seed)
    trials = list(direct.trials)
    levels, index = np.unique(numbers, return_inverse=True)
    by_levels = [name for name in methods or _AS_LEVELS if name in _AS_LEVELS]
    if 2 < len(levels) <= min(MOST_LEVELS, len(numbers) // 5) and by_levels:
        targets = np.eye(len(levels))[index]
        competing = candidates(
            [name for name in by_levels if methods or name in {trial.method for trial in trials}],
            classes=True,
            rows=len(numbers),
        )
        choice = choose(competing, vectors, targets, log_losses, seed=seed)
        trial = _trial_of_levels(choice, targets, levels, numbers, metric, seed)
        trials = sorted([*trials, trial], key=lambda one: (-one.repeats, one.loss))
        if trial.loss < direct.trials[0].loss:
            held_out, known = np.concatenate(choice.held_out), np.tile(index[choice.rows], len(choice.held_out))
            predictor = Predictor(
                target,
                choice.candidate.fit(vectors, targets),
                vectors.shape[1],
                levels=tuple(levels.tolist()),
                calibration=calibrate(held_out, known),
                metric=metric,
            )
            return predictor, f"{trial.method} ({trial.settings})", tuple(trials)
    predictor = Predictor(
        target,
        direct.candidate.fit(vectors, column),
        vectors.shape[1],
        centre=centre,
        scale=scale,
        low=float(numbers.min()),
        high=float(numbers.max()),
        metric=metric,
    )
    return predictor, direct.candidate.name, tuple(trials)


def _trial_of_levels(choice: Choice, targets: Array, levels: Array, numbers: Array, metric: Metric, seed: int) -> Trial:
    """How probabilities of levels do as a number, on the same held-out rows as the direct methods."""
    losses = []
    for repeat, scores in enumerate(choice.held_out):
        known = targets[choice.rows]
        shares = cross_calibrated(scores, known, fold_of(known, seed + repeat))
        losses.append(_loss(of_levels(shares, levels, metric) - numbers[choice.rows], metric))
    of_rows = np.mean(losses, axis=0)
    best = choice.trials[0]
    word = "median" if metric == "mae" else "mean"
    return Trial(
        f"{word} of levels, {best.method}",
        best.settings,
        float(of_rows.mean()),
        float(of_rows.std() / np.sqrt(len(of_rows))),
        len(losses),
        sum(trial.seconds for trial in choice.trials),
    )


def _loss(off: Array, metric: Metric) -> Array:
    return np.abs(off) if metric == "mae" else off**2
