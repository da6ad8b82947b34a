"""The search for a matrix: what is tried, by which rows it is chosen, and what comes of it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from time import monotonic
from typing import Any, Self

import numpy as np
import pandas as pd

from luthier.errors import DataError
from luthier.toolkit.customize_pairs import Ints, Pairs
from luthier.toolkit.customize_scores import (
    Numbers,
    best_threshold,
    cosines,
    log_loss,
)
from luthier.toolkit.customize_training import Recipe, Trainer, Whitening, mean_matrix, turning
from luthier.types import Floats

_PATIENCE = 3  # epochs without a better loss after which a run ends
_KEEP = 1e-4  # of the loss: what a run must gain for its matrix to be preferred to a simpler one


@dataclass(frozen=True)
class Search:
    """What is tried, each combination of it, on each fold.

    Args:
        batch_sizes, learning_rates, dropouts, widths, whitenings: see `Recipe`; a width of 0 is the embeddings' own.
        max_epochs: of a run; it ends earlier when nothing gets better.
        n_folds: parts of the training rows, each of which is held out once.
        seed: of folds, negatives, batches and dropout.
    """

    batch_sizes: tuple[int, ...] = (32, 128)
    learning_rates: tuple[float, ...] = (3e-4, 1e-3)
    dropouts: tuple[float, ...] = (0.0, 0.2)
    widths: tuple[int, ...] = (0,)
    whitenings: tuple[float, ...] = (0.0, 0.01, 0.03, 0.1, 0.3)
    max_epochs: int = 20
    n_folds: int = 5
    seed: int = 123

    @property
    def combinations(self) -> list[tuple[int, float, float, int]]:
        """Widths, dropouts, rates and batch sizes, each with each; none where no epoch is to be learnt."""
        every = product(self.widths, self.dropouts, self.learning_rates, self.batch_sizes)
        return list(every) if self.max_epochs else []

    def check(self) -> None:
        """
        Raises:
            DataError: naming what makes no sense.
        """
        for name, values, least, most in (
            ("batch size", self.batch_sizes, 2, np.inf),
            ("learning rate", self.learning_rates, 1e-12, np.inf),
            ("dropout", self.dropouts, 0, 0.99),
            ("width", self.widths, 0, 65536),
            ("whitening", self.whitenings, 0, np.inf),
            ("number of folds", (self.n_folds,), 2, 100),
            ("number of epochs", (self.max_epochs,), 0, 100_000),
            ("seed", (self.seed,), 0, 2**32 - 1),
        ):
            if not values:
                raise DataError(f"Give at least one {name} to try.")
            for value in values:
                if not least <= value <= most:
                    raise DataError(f"A {name} of {value} cannot be: it has to be from {least:g} to {most:g}.")


@dataclass(frozen=True)
class Progress:
    """How far the search is.

    Args:
        done, total: epochs over all runs; runs that end early count as whole.
        seconds_left: at the rate so far, None at the beginning.
        message: what was tried last, and what came of it.
    """

    done: int
    total: int
    seconds_left: float | None
    message: str


Report = Callable[[Progress], None]


@dataclass(frozen=True)
class Run:
    """One combination that was tried.

    Args:
        recipe: the combination; a whitening alone has no batch size and rate (0).
        epochs: a row for each epoch and type (`train`, `validation`): epoch, type, loss, accuracy. Epoch 0 is
            the start.
        loss: the smallest on validation rows, log loss of the best logistic curve over the cosines.
        epoch: which epoch had it.
    """

    recipe: Recipe
    epochs: pd.DataFrame
    loss: float
    epoch: int

    def as_dict(self) -> dict[str, Any]:
        recipe = self.recipe
        return {
            "batch_size": recipe.batch_size or None,
            "learning_rate": recipe.learning_rate or None,
            "dropout": recipe.dropout,
            "width": recipe.width,
            "whitening": recipe.whitening,
            "epoch": self.epoch,
            "validation_loss": self.loss,
        }

    def table(self, run_id: int, max_epochs: int) -> pd.DataFrame:
        """The epochs with the columns of the document's results CSV, without its matrices."""
        return self.epochs.assign(
            run_id=run_id,
            modified_embedding_length=self.recipe.width,
            batch_size=self.recipe.batch_size,
            max_epochs=max_epochs,
            learning_rate=self.recipe.learning_rate,
            dropout_fraction=self.recipe.dropout,
            whitening=self.recipe.whitening,
        )


@dataclass(frozen=True)
class Rows:
    """Pairs with what each of them counts, (N,)."""

    pairs: Pairs
    weights: Numbers

    @classmethod
    def of(cls, given: Pairs, made: Pairs, per_positive: float) -> Self:
        """Given pairs count 1 each; negatives that were made, however many, `per_positive` times the positives."""
        each = per_positive * given.n_positive / max(len(made), 1)
        return cls(given + made, np.r_[np.ones(len(given)), np.full(len(made), each)])

    def __add__(self, other: "Rows") -> "Rows":
        return Rows(self.pairs + other.pairs, np.r_[self.weights, other.weights])

    def among(self, texts: Ints) -> "Rows":
        """As `Pairs.among`."""
        return Rows(self.pairs.among(texts), self.weights)

    def judged(self, similarities: Numbers) -> tuple[float, float]:
        """Log loss, and accuracy at the best threshold."""
        labels = self.pairs.labels
        threshold = best_threshold(similarities, labels, self.weights)
        right = (similarities > threshold) == (labels > 0)
        return log_loss(similarities, labels, self.weights), float(np.average(right, weights=self.weights))


@dataclass(frozen=True)
class Fold:
    """Rows to learn from, and rows to choose by. What they count says how often a negative is met for each positive."""

    learn: Rows
    choose: Rows

    @property
    def texts(self) -> Ints:
        """As `Pairs.texts`."""
        return (self.learn + self.choose).pairs.texts


@dataclass(frozen=True)
class Material:
    """All that a matrix is learnt from.

    Args:
        folds: the training rows, parted.
        groups: see `Trainer`.
    """

    folds: Sequence[Fold]
    groups: Ints | None


@dataclass(frozen=True)
class Learned:
    """What `learn` found.

    Args:
        matrix: (D, P); embeddings times it are the new ones.
        threshold: on cosines of the new embeddings, from held-out rows.
        threshold_before: the same for the embeddings as they were.
        runs: all that was tried, in order; the first is the embeddings as they were.
        chosen: which of the runs made the matrix.
        similarities: of the held-out rows, `before` and `after`.
        labels: of the held-out rows.
        interrupted: the search was ended early; this is the best until then.
    """

    matrix: Floats
    threshold: float
    threshold_before: float
    runs: Sequence[Run]
    chosen: int
    similarities: dict[str, Numbers]
    labels: Ints
    interrupted: bool = False


def learn(vectors: Floats, material: Material, search: Search, progress: Report | None = None) -> Learned:
    """Search for the matrix under which the held-out rows are told apart best; Ctrl-C ends it with the best so far.

    First come the embeddings as they are and closed-form starts of several strengths (`Whitening`), then gradient
    descent from the best of them for each combination. Whatever has the smallest log loss on held-out rows wins; the
    matrix is the mean of the folds' matrices, turned so that its first numbers say most.
    """
    searching = _Searching(vectors, material, search, progress or (lambda _: None))
    interrupted = False
    try:
        searching.starts()
        for combination in search.combinations:
            searching.descend(*combination)
    except KeyboardInterrupt:
        if not searching.runs:
            raise
        interrupted = True
    return replace(searching.learned(), interrupted=interrupted)


class _Searching:
    """The state of a search."""

    def __init__(self, vectors: Floats, material: Material, search: Search, report: Report) -> None:
        used = np.unique(np.concatenate([fold.texts for fold in material.folds]))
        self._vectors = np.ascontiguousarray(vectors[used], dtype=np.float32)  # no other text is looked at
        self._groups = None if material.groups is None else material.groups[used]
        self._folds = [Fold(fold.learn.among(used), fold.choose.among(used)) for fold in material.folds]
        self._search = search
        self._report = report
        self._began = monotonic()
        self._done = 0
        self._strengths = sorted({0.0, *search.whitenings})
        self._total = len(self._strengths) + len(search.combinations) * search.max_epochs
        self._pooled = sum((fold.choose for fold in self._folds[1:]), self._folds[0].choose)
        self._whitenings = [Whitening(self._vectors, fold.learn.pairs) for fold in self._folds]
        self.runs: list[Run] = []
        self._best: list[Floats] = []  # a matrix for each fold
        self._chosen = 0

    def starts(self) -> None:
        """Try the embeddings as they are, then each strength of whitening."""
        width = self._vectors.shape[1]
        for strength in self._strengths:
            recipe = Recipe(0, 0.0, 0.0, width, strength)
            matrices = self._whitened(strength)
            epochs = self._look(matrices, 0)
            self._keep(Run(recipe, pd.DataFrame(epochs), epochs[-1]["loss"], 0), matrices)
            self._tell(1, f"whitening {strength:g}")

    def descend(self, width: int, dropout: float, learning_rate: float, batch_size: int) -> None:
        """Try one combination, from the best start so far."""
        starts = [run for run in self.runs if not run.recipe.batch_size]
        strength = min(starts, key=lambda run: run.loss).recipe.whitening
        recipe = Recipe(batch_size, learning_rate, dropout, width or self._vectors.shape[1], strength)
        turn = turning(self._vectors, recipe.width, self._search.seed)
        trainers = [
            Trainer(self._vectors, fold.learn.pairs, self._groups, start @ turn, recipe, self._search.seed + number)
            for number, (fold, start) in enumerate(zip(self._folds, self._whitened(strength), strict=True))
        ]
        best = [trainer.matrix for trainer in trainers]
        epochs = self._look(best, 0)
        loss, at = epochs[-1]["loss"], 0
        try:
            for epoch in range(1, self._search.max_epochs + 1):
                for trainer in trainers:
                    trainer.epoch()
                matrices = [trainer.matrix for trainer in trainers]
                epochs += self._look(matrices, epoch)
                if epochs[-1]["loss"] < loss:
                    loss, at, best = epochs[-1]["loss"], epoch, matrices
                self._tell(
                    1,
                    f"batch {batch_size}, rate {learning_rate:g}, dropout {dropout:g}, width {recipe.width}: epoch "
                    f"{epoch}, loss {epochs[-1]['loss']:.4f}, accuracy {epochs[-1]['accuracy']:.1%}",
                )
                if epoch - at >= _PATIENCE:
                    self._tell(self._search.max_epochs - epoch, "no better any more")
                    break
        finally:  # with Ctrl-C, what there is
            self._keep(Run(recipe, pd.DataFrame(epochs), loss, at), best)

    def learned(self) -> Learned:
        """The best of the runs."""
        mean = mean_matrix(self._best)
        matrix = mean @ turning(self._vectors @ mean, mean.shape[1], self._search.seed)
        rows, similarities, thresholds = self._pooled, {}, {}
        for when, matrices in (("before", None), ("after", self._best)):
            similarities[when] = self._held_out_cosines(matrices)
            thresholds[when] = best_threshold(similarities[when], rows.pairs.labels, rows.weights)
        return Learned(
            matrix, thresholds["after"], thresholds["before"], self.runs, self._chosen, similarities, rows.pairs.labels
        )

    def _whitened(self, strength: float) -> list[Floats]:
        return [whitening.matrix(strength) for whitening in self._whitenings]

    def _held_out_cosines(self, matrices: Sequence[Floats] | None) -> Numbers:
        """Of the pooled held-out rows, each under the matrix of the fold that held it out."""
        made: Iterable[Floats] = (
            (self._vectors @ matrix for matrix in matrices) if matrices else [self._vectors] * len(self._folds)
        )
        return np.concatenate([cosines(x, fold.choose.pairs) for x, fold in zip(made, self._folds, strict=True)])

    def _look(self, matrices: Sequence[Floats], epoch: int) -> list[dict[str, Any]]:
        """Loss and accuracy of an epoch, on rows learnt from and on held-out ones."""
        learnt, held_out = [], []
        for matrix, fold in zip(matrices, self._folds, strict=True):
            made = self._vectors @ matrix
            learnt.append(fold.learn.judged(cosines(made, fold.learn.pairs)))
            held_out.append(cosines(made, fold.choose.pairs))
        loss, accuracy = self._pooled.judged(np.concatenate(held_out))
        losses, accuracies = zip(*learnt, strict=True)
        return [
            {"epoch": epoch, "type": "train", "loss": float(np.mean(losses)), "accuracy": float(np.mean(accuracies))},
            {"epoch": epoch, "type": "validation", "loss": loss, "accuracy": accuracy},
        ]

    def _keep(self, run: Run, matrices: list[Floats]) -> None:
        """Remember a run, and its matrices if it is the best."""
        self.runs.append(run)
        if len(self.runs) == 1 or run.loss < self.runs[self._chosen].loss - _KEEP:
            self._chosen, self._best = len(self.runs) - 1, matrices

    def _tell(self, steps: int, message: str) -> None:
        self._done += steps
        spent = monotonic() - self._began
        left = spent / self._done * (self._total - self._done) if self._done else None
        self._report(Progress(self._done, self._total, left, message))
