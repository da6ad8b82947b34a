"""What an index of vectors is, whoever keeps it."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from luthier.domain.filters import Filter, Scalar
from luthier.errors import ConflictError, InvalidRequestError
from luthier.types import Floats

MAX_DIMENSIONS = 16_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")

Attributes = Mapping[str, Scalar | None]


@dataclass(frozen=True)
class IndexSpec:
    """
    Args:
        dimensions: numbers of each vector.
        model: name of the model that makes the vectors, so that questions are embedded alike; None if not known.
    """

    name: str
    dimensions: int
    model: str | None = None


@dataclass(frozen=True)
class Record:
    """One text with its attributes, as it is kept beside its vector."""

    id: str
    text: str
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True)
class IndexHit:
    """
    Args:
        score: cosine of the record's vector and the question's, -1 to 1.
    """

    record: Record
    score: float


class VectorIndex(Protocol):
    """Records by id, found by the direction of their vectors. Vectors are kept with length 1."""

    @property
    def spec(self) -> IndexSpec: ...

    def add(self, records: Sequence[Record], vectors: Floats) -> None:
        """Put records in; those whose id is there already take the place of the old. All of them or none.

        Args:
            vectors: (N, D).

        Raises:
            InvalidRequestError: vectors that do not fit (`checked`).
        """
        ...

    def delete(self, ids: Sequence[str]) -> int:
        """Remove records; ids that are not there do not matter. Returns how many were."""
        ...

    def get(self, ids: Sequence[str]) -> list[Record]:
        """Records by id, in this order; ids that are not there are left out."""
        ...

    def search(self, vector: Floats, k: int, where: Filter | None = None) -> list[IndexHit]:
        """The records nearest to (D,), nearest first, at most `k` of those for which `where` holds.

        Raises:
            InvalidRequestError: a vector that does not fit, or a comparison that this index cannot do.
        """
        ...

    def __len__(self) -> int: ...

    def close(self) -> None: ...


class Indexes(Protocol):
    """The indexes of one place."""

    def create(self, spec: IndexSpec) -> VectorIndex:
        """
        Raises:
            ConflictError: there is one of that name.
            InvalidRequestError: a name or a width that cannot be (`check_spec`).
        """
        ...

    def open(self, name: str) -> VectorIndex:
        """
        Raises:
            NotFoundError: there is none of that name.
        """
        ...

    def specs(self) -> list[IndexSpec]:
        """All indexes of this place, by name."""
        ...

    def drop(self, name: str) -> None:
        """Remove an index and all that is in it.

        Raises:
            NotFoundError: there is none of that name.
        """
        ...

    def close(self) -> None: ...


def is_name(text: str) -> bool:
    """Whether an index can be called that."""
    return _NAME.fullmatch(text) is not None


def is_attribute(text: str) -> bool:
    """Whether an attribute can be called that."""
    return text != "" and '"' not in text and "\0" not in text


def check_spec(spec: IndexSpec) -> None:
    """
    Raises:
        InvalidRequestError: a name or a width that cannot be.
    """
    if not is_name(spec.name):
        raise InvalidRequestError(
            f"'{spec.name}' cannot be the name of an index: letters, digits, - and _, 63 at most, not - or _ at the "
            "beginning.",
            param="name",
        )
    if not 1 <= spec.dimensions <= MAX_DIMENSIONS:
        raise InvalidRequestError(
            f"An index holds vectors of 1 to {MAX_DIMENSIONS:,} numbers, not of {spec.dimensions:,}.",
            param="dimensions",
        )


def check_new(indexes: Indexes, name: str) -> None:
    """What can be said of an index to be made before there are vectors.

    Raises:
        ConflictError: there is one of that name.
        InvalidRequestError: a name that cannot be.
    """
    check_spec(IndexSpec(name, 1))
    if any(spec.name == name for spec in indexes.specs()):
        raise taken(name)


def taken(name: str) -> ConflictError:
    """What is said where there is an index of that name already."""
    return ConflictError(
        f"There is an index '{name}' already. Add to it with `luthier index add`, or drop it first.", param="name"
    )


def checked(spec: IndexSpec, records: Sequence[Record], vectors: Floats) -> Floats:
    """Vectors for these records, brought to length 1.

    Raises:
        InvalidRequestError: another number or width of vectors, one that is not finite or all zeros, an id that is
            empty or comes twice.
    """
    if vectors.ndim != 2 or vectors.shape != (len(records), spec.dimensions):
        raise InvalidRequestError(
            f"The index '{spec.name}' takes vectors of {spec.dimensions} numbers, one for each of {len(records)} "
            f"records; these are {' by '.join(map(str, vectors.shape))}."
            + (f" Its vectors are made by '{spec.model}'." if spec.model else "")
        )
    check_records(records)
    return _unit(vectors)


def check_records(records: Sequence[Record]) -> None:
    """
    Raises:
        InvalidRequestError: an id that is empty or comes twice, or a name of an attribute that cannot be.
    """
    seen: set[str] = set()
    for number, record in enumerate(records, start=1):
        if not record.id:
            raise InvalidRequestError(f"Record {number:,} has no id. Each needs its own.")
        if record.id in seen:
            raise InvalidRequestError(f"The id {record.id!r} comes twice. Each record needs its own.")
        seen.add(record.id)
        for name in record.attributes:
            if not is_attribute(name):
                raise InvalidRequestError(
                    f"An attribute cannot be called {name!r}: its name needs a character, and no double quote. Rename "
                    "the column."
                )


def attributes_json(record: Record) -> str:
    """The attributes of a record as SQL databases keep them."""
    plain = {name: storable(value) for name, value in record.attributes.items()}
    return json.dumps(plain, ensure_ascii=False, allow_nan=False)


def storable(value: Any) -> Any:
    """The value of an attribute as SQL databases keep and compare it: a text ends for them at a NUL."""
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value


def unit(spec: IndexSpec, vector: Floats) -> Floats:
    """A vector brought to length 1.

    Raises:
        InvalidRequestError: of another width, not finite, or all zeros.
    """
    if vector.shape != (spec.dimensions,):
        made = f", made by '{spec.model}'" if spec.model else ""
        raise InvalidRequestError(
            f"The vector has {vector.size} numbers; those of the index '{spec.name}' have {spec.dimensions}{made}. "
            "Ask with the model that made them."
        )
    made_unit: Floats = _unit(vector[None])[0]
    return made_unit


def _unit(vectors: Floats) -> Floats:
    """(N, D) brought to length 1."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    bad = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
    if len(bad):
        raise InvalidRequestError(f"Vector {bad[0] + 1} is all zeros or not finite, and so has no direction.")
    made: Floats = np.asarray(vectors / lengths, dtype=np.float32)
    return made
