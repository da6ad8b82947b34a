"""Indexes in Qdrant: a collection for each, whose metadata names the model."""

import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from luthier.domain.filters import ORDERED, Comparison, Compound, Filter, Op, kind_of
from luthier.errors import ConfigError, InvalidRequestError, NotFoundError, UnavailableError
from luthier.storage.indexes.base import IndexHit, IndexSpec, Record, check_spec, checked, taken, unit
from luthier.types import Floats

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

_PREFIX = "luthier_"
_POINTS = 256  # of one request
_SECONDS = 60
_MOST_EXACT = 2**53  # integer up to which floats tell all integers apart
_MOST_INTEGER = 2**63 - 1  # that Qdrant matches
_IDS = uuid.UUID("6f1c2f0e-0d5b-4f0e-9c7e-6c7574686965")  # Qdrant's ids are UUIDs: each is made from the record's id


class QdrantIndexes:
    """
    Args:
        client: of a server (1.16 or newer, for collections' metadata), or of Qdrant's local mode.
    """

    def __init__(self, client: "QdrantClient") -> None:
        self._client = client

    @classmethod
    def connect(cls, url: str) -> Self:
        """
        Raises:
            ConfigError: the client is not installed, or nobody answers there.
        """
        try:
            from qdrant_client import QdrantClient
        except ModuleNotFoundError:
            raise ConfigError(
                "Indexes in Qdrant need the package qdrant-client: pip install 'luthier[qdrant]'."
            ) from None
        made = cls(
            QdrantClient(url=url, api_key=os.environ.get("QDRANT_API_KEY"), timeout=_SECONDS, check_compatibility=False)
        )
        try:
            made.specs()
        except UnavailableError as error:
            raise ConfigError(f"Qdrant does not answer at {url}: {error.message}") from None
        return made

    def create(self, spec: IndexSpec) -> "QdrantIndex":
        from qdrant_client import models

        check_spec(spec)
        with _answered():
            if self._client.collection_exists(_PREFIX + spec.name):
                raise taken(spec.name)
            self._client.create_collection(
                _PREFIX + spec.name,
                vectors_config=models.VectorParams(size=spec.dimensions, distance=models.Distance.COSINE),
                metadata={"luthier_model": spec.model},
            )
        return QdrantIndex(self._client, spec)

    def open(self, name: str) -> "QdrantIndex":
        found = {spec.name: spec for spec in self.specs()}
        if name not in found:
            raise NotFoundError(f"There is no index '{name}'. There are: {', '.join(found) or 'none'}.", param="name")
        return QdrantIndex(self._client, found[name])

    def specs(self) -> list[IndexSpec]:
        with _answered():
            names = sorted(one.name for one in self._client.get_collections().collections)
            return [self._spec(name) for name in names if name.startswith(_PREFIX)]

    def drop(self, name: str) -> None:
        index = self.open(name)
        with _answered():
            self._client.delete_collection(_PREFIX + index.spec.name)

    def close(self) -> None:
        self._client.close()

    def _spec(self, collection: str) -> IndexSpec:
        config = self._client.get_collection(collection).config
        size: Any = config.params.vectors
        return IndexSpec(collection.removeprefix(_PREFIX), size.size, (config.metadata or {}).get("luthier_model"))


class QdrantIndex:
    """One index."""

    def __init__(self, client: "QdrantClient", spec: IndexSpec) -> None:
        self.spec = spec
        self._client = client
        self._collection = _PREFIX + spec.name

    def __len__(self) -> int:
        with _answered():
            return self._client.count(self._collection, exact=True).count

    def close(self) -> None:
        """Nothing is held open here."""

    def add(self, records: Sequence[Record], vectors: Floats) -> None:
        from qdrant_client import models

        vectors = checked(self.spec, records, vectors)
        points = [
            models.PointStruct(
                id=_point(record.id),
                vector=vector.tolist(),
                payload={"id": record.id, "text": record.text, "attributes": dict(record.attributes)},
            )
            for record, vector in zip(records, vectors, strict=True)
        ]
        with _answered():
            for at in range(0, len(points), _POINTS):
                self._client.upsert(self._collection, points[at : at + _POINTS], wait=True)

    def delete(self, ids: Sequence[str]) -> int:
        from qdrant_client import models

        there = self.get(ids)
        if not there:
            return 0
        with _answered():
            points: list[int | str | uuid.UUID] = [_point(record.id) for record in there]
            self._client.delete(self._collection, models.PointIdsList(points=points), wait=True)
        return len(there)

    def get(self, ids: Sequence[str]) -> list[Record]:
        with _answered():
            found = self._client.retrieve(self._collection, [_point(one) for one in ids], with_payload=True)
        by_id = {record.id: record for record in map(_record, found)}
        return [by_id[one] for one in ids if one in by_id]

    def search(self, vector: Floats, k: int, where: Filter | None = None) -> list[IndexHit]:
        from qdrant_client import models

        asked = unit(self.spec, vector)
        condition = None if where is None else models.Filter(must=[_condition(where)])
        with _answered():
            found = self._client.query_points(
                self._collection, query=asked.tolist(), query_filter=condition, limit=k, with_payload=True
            )
        return [IndexHit(_record(point), point.score) for point in found.points]


def _point(record_id: str) -> str:
    return str(uuid.uuid5(_IDS, record_id))


def _record(point: Any) -> Record:
    return Record(point.payload["id"], point.payload["text"], point.payload["attributes"])


@contextmanager
def _answered() -> Iterator[None]:
    """
    Raises:
        UnavailableError: the server does not answer, or refuses.
    """
    import httpx
    from qdrant_client.http.exceptions import ApiException, ResponseHandlingException

    try:
        yield
    except (ApiException, ResponseHandlingException, httpx.HTTPError) as error:
        raise UnavailableError(f"Qdrant cannot do that now: {error}") from None


def _condition(where: Filter) -> Any:
    """A condition on the payload's `attributes`, as Qdrant has it."""
    from qdrant_client import models

    if isinstance(where, Compound):
        parts = [_condition(one) for one in where.filters]
        return models.Filter(must=parts) if where.all else models.Filter(should=parts)
    if where.op in ORDERED:
        if kind_of(where.value) != "number":
            raise InvalidRequestError(
                f"Qdrant orders numbers and no texts: '{where.key}' cannot be compared by '{where.op}' with "
                f"{where.value!r}. Use eq, ne, in or nin.",
                param="filters",
            )
        bound: dict[str, Any] = {where.op.value: where.value}
        return models.FieldCondition(key=_key(where), range=models.Range(**bound))
    texts = [value for value in where.values if isinstance(value, str)]
    inside = [_equals(where, value) for value in where.values if kind_of(value) in ("number", "bool")]
    inside.append(models.FieldCondition(key=_key(where), match=models.MatchAny(any=texts)))  # also where there is none
    return models.Filter(should=inside) if where.op in (Op.EQ, Op.IN) else models.Filter(must_not=inside)


def _equals(where: Comparison, value: Any) -> Any:
    from qdrant_client import models

    exact = isinstance(value, int) and _MOST_EXACT < abs(value) <= _MOST_INTEGER  # a range compares floats
    if kind_of(value) == "number" and not exact:
        return models.FieldCondition(key=_key(where), range=models.Range(gte=value, lte=value))
    return models.FieldCondition(key=_key(where), match=models.MatchValue(value=value))


def _key(where: Comparison) -> str:
    return f'attributes."{where.key}"'
