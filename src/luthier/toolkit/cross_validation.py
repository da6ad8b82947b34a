"""Which method suits the data: cross-validation over the training rows, the best few measured again.

Classes are judged by the log loss of their calibrated probabilities, which on a few hundred rows tells methods apart
better than accuracy does; numbers by the absolute or squared error. Folds are stratified: rows in order of the target
go to the folds in turn.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from luthier.toolkit.candidates import Candidate
from luthier.toolkit.machines import Array

Rows = NDArray[np.int64]
Judge = Callable[[Array, Array, Rows], Array]

FOLDS = 5
_MOST_ROWS = 2_000  # of which methods are chosen; the chosen one learns from all
_FINALISTS = 3
_REPEATS = 3  # of cross-validation for a finalist, each with folds of its own


@dataclass(frozen=True)
class Trial:
    """How one candidate did.

    Args:
        method, settings: what it was.
        loss: mean over held-out rows, lower is better.
        error: the standard error of that mean.
        repeats: how often it was cross-validated.
        seconds: that took.
    """

    method: str
    settings: str
    loss: float
    error: float
    repeats: int
    seconds: float

    def as_dict(self) -> dict[str, object]:
        return {
            "method": self.method,
            "settings": self.settings,
            "loss": self.loss,
            "standard_error": self.error,
            "repeats": self.repeats,
            "seconds": round(self.seconds, 2),
        }


@dataclass(frozen=True)
class Choice:
    """The candidate that won.

    Args:
        candidate: the winner.
        trials: of every candidate: those measured three times, best first, then the others.
        rows: (n,), the rows of which it was chosen.
        held_out: (repeats, n, K), the winner's scores of rows that it had not learned from.
        losses: (n,), the winner's loss of each row, mean over repeats.
    """

    candidate: Candidate
    trials: tuple[Trial, ...]
    rows: Rows
    held_out: Array
    losses: Array


def choose(competing: Sequence[Candidate], vectors: Array, targets: Array, judge: Judge, *, seed: int) -> Choice:
    """Cross-validate all, the best three twice more, and take the one with the least loss.

    Args:
        vectors: (N, D).
        targets: (N, K), as `candidates` describes them.
        judge: losses (n,) of held-out scores (n, K) against targets (n, K), given each row's fold (n,).
        seed: of the folds, and of the rows looked at where there are more than 2,000.
    """
    rows = subsample(targets, seed)
    vectors, targets = vectors[rows], targets[rows]
    splits = [fold_of(targets, seed + repeat) for repeat in range(_REPEATS)]
    runs = [_Run(candidate) for candidate in competing]
    for run in runs:
        run.go(vectors, targets, splits[0], judge)
    finalists = sorted(runs, key=lambda run: run.loss)[:_FINALISTS]
    for run in finalists:
        for fold in splits[1:] if len(runs) > 1 else ():
            run.go(vectors, targets, fold, judge)
    best = min(finalists, key=lambda run: run.loss)
    ranked = sorted(runs, key=lambda run: (run not in finalists, run.loss))
    trials = [run.trial() for run in ranked]
    return Choice(best.candidate, tuple(trials), rows, np.stack(best.held_out), np.mean(best.losses, axis=0))


class _Run:
    """A candidate's way through the cross-validation."""

    def __init__(self, candidate: Candidate) -> None:
        self.candidate = candidate
        self.held_out: list[Array] = []  # (n, K) each
        self.losses: list[Array] = []  # (n,) each
        self.seconds = 0.0

    @property
    def loss(self) -> float:
        return float(np.mean(self.losses))

    def go(self, vectors: Array, targets: Array, fold: Rows, judge: Judge) -> None:
        start = time.perf_counter()
        scores = np.zeros(targets.shape)
        for learned, held in split(fold):
            scores[held] = self.candidate.fit(vectors[learned], targets[learned]).scores(vectors[held])
        self.held_out.append(scores)
        self.losses.append(judge(scores, targets, fold))
        self.seconds += time.perf_counter() - start

    def trial(self) -> Trial:
        of_rows = np.mean(self.losses, axis=0)
        error = float(of_rows.std() / np.sqrt(len(of_rows)))
        return Trial(self.candidate.method, self.candidate.settings, self.loss, error, len(self.losses), self.seconds)


def subsample(targets: Array, seed: int) -> Rows:
    """2,000 rows at most, in order; and five of each class of which none is among them, or it is never predicted."""
    if len(targets) <= _MOST_ROWS:
        return np.arange(len(targets))
    rows = np.random.default_rng(seed).choice(len(targets), _MOST_ROWS, replace=False)
    missed = np.flatnonzero(~targets[rows].any(axis=0))
    return np.unique(np.concatenate([rows, *(np.flatnonzero(targets[:, name])[:FOLDS] for name in missed)]))


def fold_of(targets: Array, seed: int) -> Rows:
    """Each row's fold (N,): every fold has its share of each class, or of low and high numbers."""
    shuffled = np.random.default_rng(seed).permutation(len(targets))
    key = targets.argmax(axis=1) if targets.shape[1] > 1 else targets[:, 0]
    order = shuffled[np.argsort(key[shuffled], kind="stable")]
    fold = np.empty(len(targets), dtype=np.int64)
    fold[order] = np.arange(len(targets)) % min(FOLDS, len(targets))
    return fold


def split(fold: Rows) -> Iterator[tuple[Rows, Rows]]:
    """Rows to learn from and rows held out, for each fold."""
    for number in range(int(fold.max()) + 1):
        yield np.flatnonzero(fold != number), np.flatnonzero(fold == number)
