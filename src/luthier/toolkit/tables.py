"""Tables in files, read in pieces: Parquet, CSV, TSV, JSONL. A table of any length needs the memory of one piece.

What is in a text file is known only when all of it was read, so the kinds of its columns are found in a pass of their
own: whole numbers, numbers, truth values, lists of numbers (JSONL), texts. An empty cell is a cell without a value.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
import pyarrow.csv as pa_csv  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from luthier.errors import DataError

METADATA = b"luthier"  # of a schema: JSON, what made the embeddings
_BLOCK_BYTES = 8 << 20  # of a CSV that are in memory at once; no row may be longer
_BLOCK_ROWS = 4096  # of the other kinds
_WHOLE = r"^-?(0|[1-9][0-9]*)$"
_INT64 = range(-(2**63), 2**63)
_WIDE = r"^[+-]?[1-9][0-9]{18,}$"  # what int64 may not hold
_MAYBE_HALF = re.compile(rb"\\u[dD][89a-fA-F]|\xed")  # a JSON line without this has no half of a surrogate pair
_NUMBER = r"^[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"  # 007 is a name


@dataclass(frozen=True)
class Table:
    """A file of rows.

    Args:
        schema: names and kinds of the columns.
        n_rows: all of them.
    """

    path: Path
    schema: pa.Schema
    n_rows: int
    _blocks: Callable[[], Iterator[pa.RecordBatch]]

    def read(self) -> pa.Table:
        """All of it."""
        with _told(self.path):
            return pa.Table.from_batches(self._blocks(), schema=self.schema)

    def pieces(self, size: int) -> Iterator[pa.Table]:
        """Its rows in order, `size` at a time, fewer at the end."""
        waiting: list[pa.RecordBatch] = []
        n_waiting = 0
        with _told(self.path):
            for block in self._blocks():
                waiting.append(block)
                n_waiting += block.num_rows
                if n_waiting >= size:
                    joined, at = pa.Table.from_batches(waiting, schema=self.schema), 0
                    while n_waiting >= size:
                        yield joined.slice(at, size)
                        at, n_waiting = at + size, n_waiting - size
                    waiting = joined.slice(at).to_batches()
            if n_waiting:
                yield pa.Table.from_batches(waiting, schema=self.schema)


def open_table(path: Path) -> Table:
    """Look at a file: its columns and how many rows it has.

    Raises:
        DataError: it is not there, of no kind that is read, damaged, or has a column twice.
    """
    suffix = path.suffix.lower()
    if suffix not in _OPENERS:
        raise DataError(f"{path.name} is no kind of table that is read here. Name a {', '.join(_OPENERS)} file.")
    if not path.is_file():
        raise DataError(f"{path} is no file. Look at the name and the folder.")
    with _told(path):
        table = _OPENERS[suffix](path)
    twice = next((name for name in table.schema.names if table.schema.names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path.name} has the column '{twice}' twice. Give one of them another name.")
    return table


def _open_parquet(path: Path) -> Table:
    with pq.ParquetFile(path) as file:
        schema, n_rows = file.schema_arrow, file.metadata.num_rows

    def blocks() -> Iterator[pa.RecordBatch]:
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=_BLOCK_ROWS)

    return Table(path, schema, n_rows, blocks)


def _open_csv(path: Path, delimiter: str = ",") -> Table:
    if not path.stat().st_size:
        raise DataError(f"{path.name} is empty.")

    def texts() -> Iterator[pa.RecordBatch]:
        options = {
            "read_options": pa_csv.ReadOptions(block_size=_BLOCK_BYTES),
            "parse_options": pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        }
        names = pa_csv.open_csv(path, **options).schema.names
        convert = pa_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            include_columns=names[1:] if names[0] == "" else names,  # pandas writes its index without a name
        )
        with pa_csv.open_csv(path, convert_options=convert, **options) as reader:
            yield from reader

    schema, n_rows = None, 0
    kinds: dict[str, _Kinds] = {}
    for block in texts():
        schema, n_rows = block.schema, n_rows + block.num_rows
        for name, column in zip(block.schema.names, block.columns, strict=True):
            kinds.setdefault(name, _Kinds()).see(column)
    if schema is None:
        with pa_csv.open_csv(path) as reader:
            schema = reader.schema
    fields = [pa.field(name, kinds[name].kind if name in kinds else pa.string()) for name in schema.names]
    return Table(path, pa.schema(fields), n_rows, lambda: (_cast(block, pa.schema(fields)) for block in texts()))


class _Kinds:
    """What a column of texts can still be."""

    def __init__(self) -> None:
        self._whole = self._number = True
        self._empty = True

    def see(self, column: pa.Array) -> None:
        if column.null_count == len(column):
            return
        self._empty = False
        self._whole = self._whole and _all_match(column, _WHOLE)
        self._number = self._number and (self._whole or _all_match(column, _NUMBER)) and not _too_wide(column)

    @property
    def kind(self) -> pa.DataType:
        if self._empty or not self._number:
            return pa.string()
        return pa.int64() if self._whole else pa.float64()


def _all_match(column: pa.Array, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(column, pattern), skip_nulls=True).as_py())


def _too_wide(column: pa.Array) -> bool:
    """Whether there is a whole number that int64 does not hold; a float would round it."""
    try:
        column.filter(pc.match_substring_regex(column, _WIDE)).cast(pa.int64())
    except pa.ArrowInvalid:
        return True
    return False


def _cast(block: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    columns = [column.cast(field.type) for column, field in zip(block.columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _open_jsonl(path: Path) -> Table:
    kinds: dict[str, pa.DataType | None] = {}
    n_rows = 0
    for row in _objects(path):
        n_rows += 1
        for name, value in row.items():
            kinds[name] = _widest(kinds.get(name), _kind(value))
    schema = pa.schema([pa.field(name, kind or pa.string()) for name, kind in kinds.items()])

    def blocks() -> Iterator[pa.RecordBatch]:
        rows: list[dict[str, Any]] = []
        for row in _objects(path):
            rows.append(row)
            if len(rows) == _BLOCK_ROWS:
                yield _batch(rows, schema)
                rows = []
        if rows:
            yield _batch(rows, schema)

    return Table(path, schema, n_rows, blocks)


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{path.name}, line {number} is not JSON: {error}.") from None
            if not isinstance(row, dict):
                raise DataError(f'{path.name}, line {number} is no object such as {{"Text": "…"}}.')
            if _MAYBE_HALF.search(line):
                _check_halves(row, f"{path.name}, line {number}")
            yield row


def _check_halves(row: dict[str, Any], where: str) -> None:
    r"""Refuse half of a surrogate pair (`\ud83d` alone), which is no text and cannot be written as UTF-8."""
    for name, value in row.items():
        try:
            _as_json({name: value}).encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(error.object[error.start]):04x}"
            raise DataError(f"{where}, column {name!r}: there is half a character, {half}. Remove it.") from None


def _kind(value: Any) -> pa.DataType | None:
    """The narrowest kind of a value; None for no value."""
    if value is None:
        return None
    if isinstance(value, bool):
        return pa.bool_()
    if isinstance(value, int):
        return pa.int64() if value in _INT64 else pa.string()
    if isinstance(value, float):
        return pa.float64()
    if isinstance(value, list) and value and all(type(item) is float or _is_whole(item) for item in value):
        return pa.list_(pa.int64() if all(map(_is_whole, value)) else pa.float64())
    return pa.string()


def _is_whole(item: Any) -> bool:
    return type(item) is int and item in _INT64


def _widest(one: pa.DataType | None, other: pa.DataType | None) -> pa.DataType | None:
    """A kind that holds both."""
    if one is None or other is None or one == other:
        return other if one is None else one
    if {one, other} == {pa.int64(), pa.float64()}:
        return pa.float64()
    floats = pa.list_(pa.float64())
    return floats if {one, other} == {pa.list_(pa.int64()), floats} else pa.string()


def _batch(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    columns = []
    for field in schema:
        cells = [row.get(field.name) for row in rows]
        if field.type == pa.string():  # objects, lists and values of several kinds stay readable
            cells = [cell if cell is None or isinstance(cell, str) else _as_json(cell) for cell in cells]
        elif field.type == pa.float64():  # a float takes the nearest of a whole number, which Arrow would refuse
            cells = [cell if cell is None else float(cell) for cell in cells]
        elif field.type == pa.list_(pa.float64()):
            cells = [cell if cell is None else np.array(cell, np.float64) for cell in cells]
        columns.append(pa.array(cells, field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def cell_text(cell: Any) -> str:
    """What a cell says: lists and objects as JSON, all of them, other things as Python prints them."""
    plain = cell.tolist() if isinstance(cell, np.ndarray) else cell
    return _as_json(plain) if isinstance(plain, list | dict) else str(cell)


def _as_json(cell: Any) -> str:
    return json.dumps(cell, ensure_ascii=False, default=str)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turns the library's errors into ours."""
    try:
        yield
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        if isinstance(error, OSError) and error.filename is not None:  # Arrow's own, of damaged files, name none
            raise
        if path.suffix.lower() in _TEXTS:
            _check_utf8(path)
        words = " ".join(str(error).split())
        raise DataError(
            f"{path.name} cannot be read: {words.rstrip('.')}. It may be damaged; write or fetch it again."
        ) from None


def _check_utf8(path: Path) -> None:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{path.name}, line {number}: byte 0x{line[error.start]:02X} is not UTF-8. Save the file as UTF-8 "
                    "(its encoding may be Windows-1252, CP949 or another of one country)."
                ) from None


_TEXTS = (".csv", ".tsv", ".jsonl")
_OPENERS: dict[str, Callable[[Path], Table]] = {
    ".parquet": _open_parquet,
    ".csv": _open_csv,
    ".tsv": lambda path: _open_csv(path, "\t"),
    ".jsonl": _open_jsonl,
}
