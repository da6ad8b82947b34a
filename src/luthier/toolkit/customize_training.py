"""Learning a matrix from pairs by gradient descent: one trainer for each fold, all taken forward epoch by epoch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from luthier.toolkit.customize_pairs import Ints, Pairs
from luthier.types import Floats

PULL = 0.1  # weight of |W - start|², which holds the matrix near what it began from
_SCALE = 20.0  # of cosines in the logistic loss: 0.05 between two cosines is a factor of e in the odds


@dataclass(frozen=True)
class Recipe:
    """How one run learns.

    Args:
        batch_size: pairs of one step.
        learning_rate: of Adam.
        dropout: share of an embedding's numbers that are set to 0, each time anew.
        width: numbers of the embeddings that come out.
        whitening: strength of the start, see `Whitening`.
    """

    batch_size: int
    learning_rate: float
    dropout: float
    width: int
    whitening: float


class Trainer:
    """Learns W of `cos(x·W, y·W)` from the pairs of one fold, so that a threshold tells alike from not alike.

    The loss of a pair is log(1 + exp(-label·20·(cosine - b))), b learned too; positives and negatives weigh the same.
    (The document minimises (cosine - label)², which also pulls apart pairs that are far enough apart already.)

    Args:
        vectors: (T, D) of all texts.
        pairs: the rows to learn from.
        groups: (T,); two texts of a batch that are of different groups are a negative pair too. None where the
            negatives were given, and nothing else counts as one.
        start: (D, P), where W begins, and towards which it is pulled.
        seed: of batches and dropout.
    """

    def __init__(
        self, vectors: Floats, pairs: Pairs, groups: Ints | None, start: Floats, recipe: Recipe, seed: int
    ) -> None:
        used = pairs.texts
        self._x = torch.from_numpy(np.ascontiguousarray(vectors[used], dtype=np.float32))  # (U, D)
        kept = pairs if groups is None else pairs.take(pairs.labels > 0)
        self._first = torch.from_numpy(np.searchsorted(used, kept.first))
        self._second = torch.from_numpy(np.searchsorted(used, kept.second))
        self._labels = torch.from_numpy(kept.labels.astype(np.float32))
        self._groups = None if groups is None else torch.from_numpy(groups[used])
        self._recipe = recipe
        self._random = torch.Generator().manual_seed(seed)
        self._start = torch.from_numpy(start)
        self._change = torch.zeros_like(self._start, requires_grad=True)
        self._middle = torch.tensor(0.4, requires_grad=True)
        self._optimizer = torch.optim.Adam(
            [{"params": [self._change], "lr": recipe.learning_rate}, {"params": [self._middle], "lr": 0.01}]
        )

    @property
    def matrix(self) -> Floats:
        """(D, P), a copy."""
        return (self._start + self._change).detach().numpy().copy()

    def epoch(self) -> None:
        """Take one step for each batch of the pairs, in a new order."""
        order = torch.randperm(len(self._labels), generator=self._random)
        for rows in torch.split(order, self._recipe.batch_size):
            loss = self._loss(rows) + PULL * self._change.square().sum()
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()

    def _loss(self, rows: torch.Tensor) -> torch.Tensor:
        texts = torch.cat([self._first[rows], self._second[rows]])  # (2B,)
        x = self._x[texts]
        if self._recipe.dropout:
            kept = torch.rand(x.shape, generator=self._random) >= self._recipe.dropout
            x = x * kept
        y = F.normalize(x @ (self._start + self._change), dim=1)  # (2B, P)
        n = len(rows)
        cosine = (y[:n] * y[n:]).sum(1)  # (B,)
        labels = self._labels[rows]
        negative = cosine[labels < 0]
        if self._groups is not None:
            groups = self._groups[texts]
            others = torch.triu(groups[:, None] != groups[None], diagonal=1)  # (2B, 2B)
            negative = (y @ y.T)[others]
        losses = [
            F.softplus(-sign * _SCALE * (some - self._middle)).mean()
            for sign, some in ((1, cosine[labels > 0]), (-1, negative))
            if len(some)
        ]
        return torch.stack(losses).mean()


class Whitening:
    """Symmetric matrices that shrink the directions in which alike texts differ: (1 + strength·S/s)^(-1/2).

    S is the mean of d·dᵀ over the differences d of alike pairs, s the mean of its eigenvalues. Strength 0 gives the
    identity. Known from speaker recognition as within-class covariance normalisation (Hatch et al., 2006).

    Args:
        vectors: (T, D).
        pairs: of which the alike ones are taken.
    """

    def __init__(self, vectors: Floats, pairs: Pairs) -> None:
        alike = pairs.take(pairs.labels > 0)
        d = (vectors[alike.first] - vectors[alike.second]).astype(np.float64)
        values, self._directions = np.linalg.eigh(d.T @ d)
        self._values = np.maximum(values, 0) / max(values.mean(), np.finfo(np.float64).tiny)

    def matrix(self, strength: float) -> Floats:
        """(D, D)."""
        if not strength:
            return np.eye(len(self._values), dtype=np.float32)
        shrunk = self._directions / np.sqrt(1 + strength * self._values)
        matrix: Floats = (shrunk @ self._directions.T).astype(np.float32)
        return matrix


def turning(vectors: Floats, width: int, seed: int) -> Floats:
    """A matrix that turns embeddings so that their first numbers say most, and gives them another width.

    Turning all embeddings alike changes no cosine. A width smaller than theirs drops the directions in which the
    texts have least; a greater one begins with more that are nearly nothing and may grow.

    Args:
        vectors: (T, D), the texts to go by.

    Returns:
        (D, width).
    """
    x = vectors.astype(np.float64)
    values, directions = np.linalg.eigh(x.T @ x)
    turned = directions[:, np.argsort(values)[::-1][:width]]  # (D, at most width)
    more = np.random.default_rng(seed).normal(0, 0.01 / np.sqrt(len(turned)), (len(turned), width - turned.shape[1]))
    return np.hstack([turned, more]).astype(np.float32)


def mean_matrix(matrices: Sequence[Floats]) -> Floats:
    """The mean of matrices that began from the same start, which is better than each alone."""
    total: NDArray[np.float64] = np.mean([matrix.astype(np.float64) for matrix in matrices], axis=0)
    return total.astype(np.float32)
