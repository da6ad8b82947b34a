"""Fitted predictors as plain arrays: what a saved model consists of, and how it scores vectors.

Each machine gives scores (N, K) for vectors (N, D): K classes, or one column for a number. It is made of arrays only: a
saved model is a safetensors file that cannot carry code. `MACHINES` names the kinds that a file may hold.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_ROWS = 4096  # vectors scored at once: bounds the memory of distances and of trees


class Machine(Protocol):
    """A fitted predictor."""

    kind: ClassVar[str]

    def scores(self, vectors: Array) -> Array:
        """Scores (N, K) of vectors (N, D)."""
        ...


@dataclass(frozen=True)
class Linear:
    """X W + b.

    Args:
        weights: (D, K).
        bias: (K,).
    """

    kind: ClassVar[str] = "linear"
    weights: Array
    bias: Array

    def scores(self, vectors: Array) -> Array:
        return vectors @ self.weights + self.bias


@dataclass(frozen=True)
class Kernel:
    """k(X, anchors) W + b with k(x, z) = exp(-gamma |x - z|²).

    Args:
        anchors: (M, D), the training vectors with a weight other than 0.
        weights: (M, K).
        bias: (K,).
        gamma: (1,), 1 / squared distance.
    """

    kind: ClassVar[str] = "kernel"
    anchors: Array
    weights: Array
    bias: Array
    gamma: Array

    def scores(self, vectors: Array) -> Array:
        from sklearn.metrics.pairwise import rbf_kernel  # type: ignore[import-untyped]

        parts = [
            rbf_kernel(vectors[at : at + _ROWS], self.anchors, gamma=float(self.gamma[0])) @ self.weights + self.bias
            for at in range(0, len(vectors), _ROWS)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, len(self.bias)))


@dataclass(frozen=True)
class Neighbours:
    """The mean of the targets of the nearest training vectors, weighed by 1 / distance.

    Args:
        anchors: (M, D).
        targets: (M, K): ones and zeros for classes, or one column of numbers.
        count: (1,), how many neighbours.
    """

    kind: ClassVar[str] = "neighbours"
    anchors: Array
    targets: Array
    count: NDArray[np.int64]

    def scores(self, vectors: Array) -> Array:
        from sklearn.neighbors import NearestNeighbors  # type: ignore[import-untyped]

        near = NearestNeighbors(n_neighbors=int(self.count[0]), algorithm="brute").fit(self.anchors)
        parts = []
        for at in range(0, len(vectors), _ROWS):
            distances, rows = near.kneighbors(vectors[at : at + _ROWS])
            nearness = 1 / np.maximum(distances, 1e-9)  # (n, k); a copy of a training vector decides alone
            nearness /= nearness.sum(axis=1, keepdims=True)
            parts.append(np.einsum("nk,nkc->nc", nearness, self.targets[rows]))
        return np.concatenate(parts) if parts else np.zeros((0, self.targets.shape[1]))


@dataclass(frozen=True)
class Trees:
    """The sum of the leaves that a vector falls into, over trees that lie one after the other in flat arrays.

    Args:
        roots: (T,), index of each tree's first node.
        left, right: (nodes,), index of the child, -1 at a leaf.
        feature: (nodes,), which dimension a node looks at.
        threshold: (nodes,): at most this goes left.
        values: (nodes, K), added when a vector ends there.
        bias: (K,).
    """

    kind: ClassVar[str] = "trees"
    roots: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    feature: NDArray[np.int64]
    threshold: Array
    values: Array
    bias: Array

    def scores(self, vectors: Array) -> Array:
        singles = vectors.astype(np.float32)  # scikit-learn compares float32 values with float64 thresholds
        total = np.tile(self.bias, (len(vectors), 1))
        rows = np.arange(len(vectors))
        for root in self.roots:
            at = np.full(len(vectors), root)  # (N,), the node of each vector
            while (inner := self.left[at] >= 0).any():
                goes_left = singles[rows, self.feature[at]] <= self.threshold[at]
                at = np.where(inner, np.where(goes_left, self.left[at], self.right[at]), at)
            total += self.values[at]
        return total


MACHINES: Mapping[str, type[Linear] | type[Kernel] | type[Neighbours] | type[Trees]] = {
    machine.kind: machine for machine in (Linear, Kernel, Neighbours, Trees)
}


def arrays(machine: Machine) -> dict[str, NDArray[np.generic]]:
    """The arrays that a machine is made of, by name."""
    return {field.name: getattr(machine, field.name) for field in fields(machine)}  # type: ignore[arg-type]
