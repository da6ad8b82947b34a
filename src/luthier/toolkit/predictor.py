"""A trained predictor: what `classify` and `regress` make, and its file.

The file is safetensors: arrays, and a header of text. Nothing in it is run: one from
anywhere can be opened.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from luthier.durable import whole_file
from luthier.errors import DataError
from luthier.toolkit.calibration import Calibration
from luthier.toolkit.machines import MACHINES, Array, Machine, arrays
from luthier.types import Floats

Metric = Literal["mae", "mse"]
_FORMAT = "luthier predictor 1"


@dataclass(frozen=True)
class Predictor:
    """A fitted method and how its scores become an answer.

    Args:
        target: the column it predicts.
        machine: gives scores.
        dimensions: of the vectors it takes.
        classes: names of the classes, () where the answer is a number.
        levels: (L,), the numbers that stand behind classes, for a number that has few values; else empty.
        calibration: scores → probabilities; None for a number that is scored directly.
        centre, scale: a direct number is score * scale + centre.
        low, high: the range of numbers seen in training; answers stay within it.
        metric: what a number's answer is best for: `mae` takes the median of levels, `mse` their mean.
        notes: how it came about, such as the embedding model and the template of the texts.
    """

    target: str
    machine: Machine
    dimensions: int
    classes: tuple[str, ...] = ()
    levels: tuple[float, ...] = ()
    calibration: Calibration | None = None
    centre: float = 0.0
    scale: float = 1.0
    low: float = -np.inf
    high: float = np.inf
    metric: Metric = "mae"
    notes: Mapping[str, Any] | None = None

    def noted(self, **notes: Any) -> "Predictor":
        """The same with more notes; those that are None are left out."""
        more = {name: value for name, value in notes.items() if value is not None}
        return replace(self, notes={**(self.notes or {}), **more})

    def probabilities(self, vectors: Floats) -> Array:
        """Of classes or levels, (N, K), rows summing to 1.

        Raises:
            DataError: vectors of other dimensions than those learned from, or a predictor without probabilities.
        """
        if self.calibration is None:
            raise DataError(f"The predictor of '{self.target}' gives a number and no probabilities.")
        return self.calibration.probabilities(self._scores(vectors))

    def classify(self, vectors: Floats) -> list[str]:
        """The likeliest class of each vector (N, D)."""
        return [self.classes[index] for index in self.probabilities(vectors).argmax(axis=1)]

    def estimate(self, vectors: Floats) -> Array:
        """The number (N,) of each vector (N, D)."""
        if self.levels:
            return of_levels(self.probabilities(vectors), np.array(self.levels), self.metric)
        return (self._scores(vectors)[:, 0] * self.scale + self.centre).clip(self.low, self.high)

    def _scores(self, vectors: Floats) -> Array:
        if vectors.shape[1] != self.dimensions:
            raise DataError(
                f"The vectors have {vectors.shape[1]} dimensions, and the predictor of '{self.target}' learned from "
                f"{self.dimensions}; embed the texts with {(self.notes or {}).get('model', 'the same model')}."
            )
        return self.machine.scores(vectors.astype(np.float64))

    def save(self, path: Path) -> None:
        """Write it as safetensors."""
        from safetensors.numpy import save

        tensors = {f"machine.{name}": array for name, array in arrays(self.machine).items()}
        if self.calibration is not None:
            tensors |= {"calibration.weights": self.calibration.weights, "calibration.bias": self.calibration.bias}
        header = {
            "format": _FORMAT,
            "predictor": json.dumps(
                {
                    "target": self.target,
                    "machine": self.machine.kind,
                    "dimensions": self.dimensions,
                    "classes": self.classes,
                    "levels": self.levels,
                    "centre": self.centre,
                    "scale": self.scale,
                    "range": None if np.isinf(self.low) else [self.low, self.high],
                    "metric": self.metric,
                    "notes": dict(self.notes or {}),
                }
            ),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        content = save({name: np.ascontiguousarray(array) for name, array in tensors.items()}, metadata=header)
        with whole_file(path) as file:
            file.write_bytes(content)


def load(path: Path) -> Predictor:
    """Read a predictor from its file.

    Raises:
        DataError: no such file, or one that is not a predictor's.
    """
    from safetensors import SafetensorError, safe_open

    if path.is_dir():
        raise DataError(f"{path} is a folder. Name the file that `luthier classify … --save FILE` wrote.")
    if not path.is_file():
        raise DataError(f"There is no file {path}; `luthier classify … --save {path}` makes one.")
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise DataError(f"{path} is no predictor that `luthier classify` or `regress` saved: {error}.") from None
    if header.get("format") != _FORMAT:
        raise DataError(f"{path} is no predictor that `luthier classify` or `regress` of this version saved.")
    try:
        return _assemble(json.loads(header["predictor"]), tensors)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is damaged ({type(error).__name__}: {error}); save the predictor again.") from None


def _assemble(said: Mapping[str, Any], tensors: Mapping[str, Any]) -> Predictor:
    kind = MACHINES[said["machine"]]
    calibrated = "calibration.weights" in tensors
    low, high = said["range"] or (-np.inf, np.inf)
    return Predictor(
        target=said["target"],
        machine=kind(**{field.name: tensors[f"machine.{field.name}"] for field in fields(kind)}),
        dimensions=said["dimensions"],
        classes=tuple(said["classes"]),
        levels=tuple(said["levels"]),
        calibration=Calibration(tensors["calibration.weights"], tensors["calibration.bias"]) if calibrated else None,
        centre=said["centre"],
        scale=said["scale"],
        low=low,
        high=high,
        metric=said["metric"],
        notes=said["notes"],
    )


def of_levels(shares: Array, levels: Array, metric: Metric) -> Array:
    """One number (N,) of probabilities (N, L) of ascending levels (L,).

    The median has the least expected absolute error, the mean the least expected squared error.
    """
    if metric == "mse":
        return np.asarray(shares @ levels)
    return np.asarray(levels[(shares.cumsum(axis=1) >= 0.5 - 1e-9).argmax(axis=1)])
