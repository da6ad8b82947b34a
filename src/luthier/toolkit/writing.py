"""Rows and their embeddings into files: Parquet, CSV, TSV, JSONL, a piece at a time."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from luthier.durable import check_target
from luthier.errors import DataError
from luthier.toolkit.tables import METADATA
from luthier.types import Floats

Put = Callable[[pa.Table, Floats], None]  # rows, and (N, D)
Writer = Callable[[Path, pa.Schema, str, int, dict[str, Any]], AbstractContextManager[Put]]


def writer_for(output: Path) -> Writer:
    """What writes a file of this name: called with path, schema of the rows, name and width of the vectors, metadata.

    Raises:
        DataError: the name is of no kind that is written, or it cannot be written there.
    """
    suffix = output.suffix.lower()
    if suffix not in _WRITERS:
        raise DataError(f"{output.name} is no kind of table that is written here. Name a {', '.join(_WRITERS)} file.")
    check_target(output)
    return _WRITERS[suffix]


@contextmanager
def _parquet(path: Path, schema: pa.Schema, column: str, width: int, told: dict[str, Any]) -> Iterator[Put]:
    whole = schema.append(pa.field(column, pa.list_(pa.float32(), width)))
    whole = whole.with_metadata({METADATA: json.dumps(told).encode()})
    with pq.ParquetWriter(path, whole, use_dictionary=schema.names) as file:

        def put(rows: pa.Table, vectors: Floats) -> None:
            flat = pa.array(vectors.ravel(), pa.float32())
            lists = pa.FixedSizeListArray.from_arrays(flat, width)
            file.write_table(pa.table([*rows.columns, lists], schema=whole))

        yield put


@contextmanager
def _csv(path: Path, schema: pa.Schema, column: str, _width: int, _told: dict[str, Any]) -> Iterator[Put]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with path.open("w", encoding="utf-8", newline="") as file:
        plain, quoted = (
            csv.writer(file, delimiter=delimiter, lineterminator="\n", quoting=quoting)
            for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL)
        )
        plain.writerow([*schema.names, column])

        def put(rows: pa.Table, vectors: Floats) -> None:
            cells = zip(*(map(_cell, values.to_pylist()) for values in rows.columns), strict=True)
            for row, vector in zip(cells, vectors, strict=True):
                (quoted if holds_return(row) else plain).writerow([*row, _listed(vector)])

        yield put


@contextmanager
def _jsonl(path: Path, _schema: pa.Schema, column: str, _width: int, _told: dict[str, Any]) -> Iterator[Put]:
    with path.open("w", encoding="utf-8") as file:

        def put(rows: pa.Table, vectors: Floats) -> None:
            for row, vector in zip(rows.to_pylist(), vectors, strict=True):
                line = json.dumps(row, ensure_ascii=False, default=str)
                file.write(f"{line[:-1]}, {json.dumps(column)}: {_listed(vector)}}}\n")

        yield put


def holds_return(cells: Iterable[Any]) -> bool:
    """Whether one of the texts has a carriage return, which ends a line for who reads and is not quoted by itself."""
    return any(isinstance(cell, str) and "\r" in cell for cell in cells)


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else value


def _listed(vector: Floats) -> str:
    """A vector as JSON, each number as short as tells it from all other float32 numbers."""
    return f"[{', '.join(map(str, vector))}]"


_WRITERS: dict[str, Writer] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".tsv": _csv,
    ".jsonl": _jsonl,
}
