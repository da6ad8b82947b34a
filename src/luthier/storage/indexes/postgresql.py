"""Indexes in PostgreSQL with pgvector: a table for each, searched through its HNSW graph.

HNSW takes up to 2,000 dimensions; wider vectors, searches under a condition, and those for which the graph has too few
left, are compared one by one, exactly.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

from sqlalchemy import Connection, Engine, RowMapping, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from luthier.domain.filters import ORDERED, Comparison, Compound, Filter, Op, kind_of
from luthier.errors import ConfigError, NotFoundError, UnavailableError
from luthier.storage import dialects
from luthier.storage.indexes.base import (
    IndexHit,
    IndexSpec,
    Record,
    attributes_json,
    check_spec,
    checked,
    storable,
    taken,
    unit,
)
from luthier.types import Floats

_HNSW_DIMENSIONS = 2_000
_LEAST_EF, _MOST_EF = 100, 1_000  # candidates that a search of the graph keeps; pgvector allows 1,000 at most
_ROWS = 1_000  # of one statement
_TABLE = "luthier_indexes"


class PostgresIndexes:
    """
    Args:
        engine: of a database that has, or may get, the extension `vector`.

    Raises:
        ConfigError: the database has no pgvector.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        try:
            with engine.begin() as connection:
                connection.execute(text("CREATE EXTENSION IF NOT EXISTS vector"))
                connection.execute(
                    text(
                        f"CREATE TABLE IF NOT EXISTS {_TABLE} (number serial PRIMARY KEY, name text NOT NULL UNIQUE, "
                        "dimensions integer NOT NULL, model text)"
                    )
                )
        except DBAPIError as error:
            reason = str(error.orig).strip().splitlines()[0]
            raise ConfigError(
                f"The database {engine.url!r} cannot keep indexes: {reason}. It needs the extension pgvector (Debian: "
                "postgresql-NN-pgvector) and a user who may create tables."
            ) from None

    @classmethod
    def connect(cls, address: str) -> Self:
        """
        Raises:
            ConfigError: nobody answers there, the driver is missing, or the database has no pgvector.
        """
        return cls(dialects.open_engine(address, "The place of the indexes"))

    def create(self, spec: IndexSpec) -> "PostgresIndex":
        check_spec(spec)
        with _transaction(self._engine) as connection:
            made = connection.execute(
                text(
                    f"INSERT INTO {_TABLE} (name, dimensions, model) VALUES (:name, :dimensions, :model) "
                    "ON CONFLICT (name) DO NOTHING RETURNING number"
                ),
                {"name": spec.name, "dimensions": spec.dimensions, "model": spec.model},
            ).scalar_one_or_none()
            if made is None:
                raise taken(spec.name)
            table = _table(made)
            connection.execute(
                text(
                    f"CREATE TABLE {table} (id text PRIMARY KEY, text text NOT NULL, attributes jsonb NOT NULL, "
                    f"embedding vector({spec.dimensions}) NOT NULL)"
                )
            )
            if spec.dimensions <= _HNSW_DIMENSIONS:
                connection.execute(text(f"CREATE INDEX ON {table} USING hnsw (embedding vector_ip_ops)"))
        return PostgresIndex(self._engine, table, spec)

    def open(self, name: str) -> "PostgresIndex":
        with _transaction(self._engine) as connection:
            row = _row(connection, name)
        return PostgresIndex(self._engine, _table(row["number"]), _spec(row))

    def specs(self) -> list[IndexSpec]:
        with _transaction(self._engine) as connection:
            return [_spec(row) for row in connection.execute(text(f"SELECT * FROM {_TABLE} ORDER BY name")).mappings()]

    def drop(self, name: str) -> None:
        with _transaction(self._engine) as connection:
            row = _row(connection, name)
            connection.execute(text(f"DROP TABLE {_table(row['number'])}"))
            connection.execute(text(f"DELETE FROM {_TABLE} WHERE number = :number"), {"number": row["number"]})

    def close(self) -> None:
        self._engine.dispose()


class PostgresIndex:
    """One index. What is no statement of its own is in one transaction."""

    def __init__(self, engine: Engine, table: str, spec: IndexSpec) -> None:
        self.spec = spec
        self._engine = engine
        self._table = table

    def __len__(self) -> int:
        with _transaction(self._engine) as connection:
            return int(connection.execute(text(f"SELECT count(*) FROM {self._table}")).scalar_one())

    def close(self) -> None:
        """Nothing is held open here."""

    def add(self, records: Sequence[Record], vectors: Floats) -> None:
        vectors = checked(self.spec, records, vectors)
        put = text(
            f"INSERT INTO {self._table} VALUES (:id, :text, CAST(:attributes AS jsonb), CAST(:embedding AS vector)) "
            "ON CONFLICT (id) DO UPDATE SET text = excluded.text, attributes = excluded.attributes, "
            "embedding = excluded.embedding"
        )
        order = sorted(range(len(records)), key=lambda at: records[at].id)  # that of all writers, so that none deadlock
        with _transaction(self._engine) as connection:
            for start in range(0, len(order), _ROWS):
                connection.execute(
                    put,
                    [
                        {
                            "id": records[at].id,
                            "text": records[at].text,
                            "attributes": attributes_json(records[at]),
                            "embedding": _literal(vectors[at]),
                        }
                        for at in order[start : start + _ROWS]
                    ],
                )

    def delete(self, ids: Sequence[str]) -> int:
        with _transaction(self._engine) as connection:
            mine = (
                f'SELECT id FROM {self._table} WHERE id = ANY(:ids) ORDER BY id COLLATE "C" FOR UPDATE'  # as in `add`
            )
            remove = text(f"DELETE FROM {self._table} WHERE id IN ({mine})")
            return int(connection.execute(remove, {"ids": list(ids)}).rowcount)

    def get(self, ids: Sequence[str]) -> list[Record]:
        with _transaction(self._engine) as connection:
            found = connection.execute(
                text(f"SELECT id, text, attributes FROM {self._table} WHERE id = ANY(:ids)"), {"ids": list(ids)}
            ).mappings()
            by_id = {row["id"]: _record(row) for row in found}
        return [by_id[one] for one in ids if one in by_id]

    def search(self, vector: Floats, k: int, where: Filter | None = None) -> list[IndexHit]:
        asked = unit(self.spec, vector)
        values: dict[str, Any] = {"asked": _literal(asked), "k": k}
        condition = "true" if where is None else _sql(where, values)
        nearest = text(
            f"SELECT id, text, attributes, -(embedding <#> CAST(:asked AS vector)) AS score FROM {self._table} "
            f"WHERE {condition} ORDER BY embedding <#> CAST(:asked AS vector) LIMIT :k"
        )
        with _transaction(self._engine) as connection:
            rows: Sequence[RowMapping] = ()
            if where is None and k <= _MOST_EF:
                connection.execute(text(f"SET LOCAL hnsw.ef_search = {min(max(_LEAST_EF, 2 * k), _MOST_EF)}"))
                rows = connection.execute(nearest, values).mappings().all()
            # The graph finds candidates: too few are left where a condition holds for few of them, or where most were
            # removed and PostgreSQL has not yet tidied up.
            if len(rows) < k:
                connection.execute(text("SET LOCAL enable_indexscan = off"))
                rows = connection.execute(nearest, values).mappings().all()
        return [IndexHit(_record(row), float(row["score"])) for row in rows]


@contextmanager
def _transaction(engine: Engine) -> Iterator[Connection]:
    """
    Raises:
        UnavailableError: the server does not answer, or another's work stands in the way.
    """
    try:
        with engine.begin() as connection:
            yield connection
    except (OperationalError, InterfaceError) as error:
        reason = " ".join(str(error.orig).split())
        raise UnavailableError(f"PostgreSQL cannot do that now: {reason}") from None


def _table(number: int) -> str:
    return f"luthier_index_{number}"


def _row(connection: Connection, name: str) -> RowMapping:
    rows = {row["name"]: row for row in connection.execute(text(f"SELECT * FROM {_TABLE} ORDER BY name")).mappings()}
    if name not in rows:
        raise NotFoundError(f"There is no index '{name}'. There are: {', '.join(rows) or 'none'}.", param="name")
    return rows[name]


def _spec(row: RowMapping) -> IndexSpec:
    return IndexSpec(row["name"], row["dimensions"], row["model"])


def _record(row: RowMapping) -> Record:
    return Record(row["id"], row["text"], row["attributes"])


def _literal(vector: Floats) -> str:
    return "[" + ",".join(map(repr, vector.tolist())) + "]"


_SIGNS = {Op.GT: ">", Op.GTE: ">=", Op.LT: "<", Op.LTE: "<="}
_KINDS = {"number": "number", "text": "string"}


def _sql(where: Filter, values: dict[str, Any]) -> str:
    """A condition on `attributes`; its parameters are put into `values`."""
    if isinstance(where, Compound):
        return (" AND " if where.all else " OR ").join(f"({_sql(one, values)})" for one in where.filters)
    if where.op in ORDERED:
        return _compared(where, _SIGNS[where.op], where.values[0], values)
    key, operand = f"key{len(values)}", f"value{len(values)}"
    of_a_kind = [storable(value) for value in where.values if kind_of(value) is not None]
    values |= {key: where.key, operand: json.dumps(of_a_kind)}
    listed = f"ARRAY(SELECT jsonb_array_elements(CAST(:{operand} AS jsonb)))"
    inside = f"coalesce(attributes -> CAST(:{key} AS text) = ANY({listed}), false)"  # what is not there is not equal
    return inside if where.op in (Op.EQ, Op.IN) else f"NOT {inside}"


def _compared(where: Comparison, sign: str, value: Any, values: dict[str, Any]) -> str:
    kind = kind_of(value)
    if kind not in _KINDS:
        return "false"
    key, operand = f"key{len(values)}", f"value{len(values)}"
    values |= {key: where.key, operand: json.dumps(value) if kind != "text" else value}
    found = f"attributes -> CAST(:{key} AS text)"
    of_kind = f"coalesce(jsonb_typeof({found}) = '{_KINDS[kind]}', false)"
    if kind == "text":  # in the order of code points, as everywhere here
        return f'{of_kind} AND (attributes ->> CAST(:{key} AS text)) COLLATE "C" {sign} :{operand}'
    return f"{of_kind} AND {found} {sign} CAST(:{operand} AS jsonb)"
