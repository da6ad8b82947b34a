"""A frame: the rows of a table and, for each, an embedding. What every workflow of the toolkit starts from."""

import json
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]
from numpy.typing import NDArray

from luthier.errors import DataError
from luthier.toolkit.tables import METADATA, open_table
from luthier.toolkit.template import Template
from luthier.types import Floats

USUAL_NAME = "embedding"  # of the column that holds vectors, where there are several


class NoVectorsError(DataError):
    """A file has no column of embeddings."""


_BROKEN = 100  # cells that may be broken vectors before a column is taken for one of texts


@dataclass(frozen=True)
class Frame:
    """Rows with their embeddings.

    Args:
        rows: (N) rows with a RangeIndex, without the column of the vectors.
        vectors: (N, D).
        model: name of the model that made the vectors, None where the file does not say.
        text: template of the texts that were embedded, as of `texts_of`; None where the file does not say.
    """

    rows: pd.DataFrame
    vectors: Floats
    model: str | None = None
    text: str | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> "pd.Series[Any]":
        """A column as it is.

        Raises:
            DataError: there is none of that name.
        """
        check_columns(self.rows, [name])
        return self.rows[name]

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A column as numbers, (N,).

        Raises:
            DataError: there is no such column, or a cell is empty or no number; the first such row is named.
        """
        column = self.column(name)
        if pd.api.types.is_datetime64_any_dtype(column) or pd.api.types.is_timedelta64_dtype(column):
            column = column.astype(object)  # moments are no numbers, though pandas would count their nanoseconds
        values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            cell = column.iloc[bad[0]]
            plain = cell.item() if isinstance(cell, np.generic) else cell
            found = "is empty" if is_empty(cell) else f"has {textwrap.shorten(repr(plain), 60, placeholder=' …')}"
            raise DataError(
                f"Row {bad[0] + 1} {found} in column '{name}', which must hold a number in every row. "
                "Correct the row or leave it out."
            )
        return values

    def distinct(self) -> NDArray[np.int64]:
        """The rows whose text, or vector where the texts are not known, stands in no earlier row; ascending."""
        try:
            seen = pd.Series(texts_of(self.rows, self.text)) if self.text else pd.DataFrame(self.vectors)
        except DataError:  # the template is that of another file, of which not all columns came along
            seen = pd.DataFrame(self.vectors)
        return np.flatnonzero(~seen.duplicated())


def read_frame(path: Path, column: str | None = None) -> Frame:
    """Read a file of rows that have embeddings.

    Args:
        path: Parquet, CSV, TSV or JSONL; in text the vectors are JSON: `[0.1, 0.2]`.
        column: that holds the vectors; by default `embedding`, else the only one that does.

    Raises:
        DataError: the file cannot be read, has no rows, no column of vectors or several, or vectors of different
            lengths or with something in them that is no finite number.
    """
    table = open_table(path)
    arrow = table.read()
    if not arrow.num_rows:
        raise DataError(f"{path.name} has no rows.")
    name = column or _vector_column(arrow, path)
    if name not in arrow.column_names:
        raise DataError(f"{path.name} has no column '{name}'. {_there_are(arrow.column_names)}")
    vectors = _vectors(arrow[name], f"column '{name}' of {path.name}")
    told = json.loads((arrow.schema.metadata or {}).get(METADATA, b"{}"))
    return Frame(to_rows(arrow.drop_columns([name])), vectors, told.get("model"), told.get("text"))


def read_rows(path: Path) -> pd.DataFrame:
    """Read a file's rows without the columns that hold vectors, if there are any. Raises as `read_frame`."""
    arrow = open_table(path).read()
    if not arrow.num_rows:
        raise DataError(f"{path.name} has no rows.")
    return to_rows(arrow.drop_columns(vector_columns(arrow)))


def to_rows(table: pa.Table) -> pd.DataFrame:
    """A table of Arrow as one of pandas; whole numbers stay whole where cells are empty."""
    rows: pd.DataFrame = table.to_pandas(ignore_metadata=True)
    for field, column in zip(table.schema, table.columns, strict=True):
        if pa.types.is_integer(field.type) and column.null_count:
            rows[field.name] = pd.array(column.to_pylist(), dtype="Int64")
    return rows


def texts_of(rows: pd.DataFrame, template: str) -> list[str]:
    """The text of each row: a column, or several put together.

    Args:
        template: a column's name, or text with columns in braces: `Title: {Summary}; Content: {Text}`. Empty cells
            give nothing; a brace itself is written twice.

    Raises:
        DataError: it names a column that is not there, or has a brace too many.
    """
    return Template.parse(template, list(rows.columns)).texts(rows)


def check_columns(rows: pd.DataFrame, names: Iterable[str], templates: Iterable[str] = ()) -> None:
    """
    Raises:
        DataError: a column is not there, by its name or in a template.
    """
    for name in names:
        if name not in rows.columns:
            raise DataError(f"There is no column '{name}'. {_there_are(rows.columns)}")
    for template in templates:
        Template.parse(template, list(rows.columns))


def is_empty(cell: Any) -> bool:
    """Whether a cell holds nothing. A list, which pandas would look into, holds something."""
    return bool(pd.api.types.is_scalar(cell) and pd.isna(cell))


def vector_columns(table: pa.Table) -> list[str]:
    """The columns whose first cell that is neither empty nor broken is a vector.

    Lists of whole numbers are rather ids, unless the column is called an embedding, such as `ada_embedding`.
    """
    return [name for name in table.column_names if _looks_like_vectors(table[name], whole=USUAL_NAME in name.lower())]


def _vector_column(table: pa.Table, path: Path) -> str:
    found = vector_columns(table)
    if USUAL_NAME in found:
        return USUAL_NAME
    if not found and USUAL_NAME in table.column_names:
        return USUAL_NAME  # what is wrong with it is said where it is read
    if not found:
        raise NoVectorsError(
            f"{path.name} has no column of embeddings. {_there_are(table.column_names)} "
            f"Make one with `luthier embed {path.name} --text COLUMN -o OUT.parquet`, or give --text COLUMN here."
        )
    if len(found) > 1:
        names = ", ".join(f"'{name}'" for name in found)
        raise DataError(f"{path.name} has several columns of embeddings: {names}. Say which with --column.")
    return found[0]


def _looks_like_vectors(column: pa.ChunkedArray, *, whole: bool) -> bool:
    """
    Args:
        whole: take whole numbers alone for vectors, too.
    """
    kind = column.type
    if _is_list(kind):
        return bool(pa.types.is_floating(kind.value_type) or (whole and pa.types.is_integer(kind.value_type)))
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return False
    texts = (text for chunk in column.chunks for cell in chunk if (text := cell.as_py()))
    return next((told for text in islice(texts, _BROKEN) if (told := _tells(text, whole=whole)) is not None), False)


def _tells(text: str, *, whole: bool) -> bool | None:
    """Whether a cell says that its column holds vectors; None for what says nothing or may be a broken one."""
    if not text.startswith("["):
        return False
    try:
        items = json.loads(text)
    except ValueError:
        return None
    wanted = float | int if whole else float
    if any(isinstance(item, wanted) for item in items):
        return True if all(isinstance(item, float | int) for item in items) else None
    return None if any(isinstance(item, int) for item in items) else False


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _vectors(column: pa.ChunkedArray, where: str) -> Floats:
    """(N, D) of a column of lists or of JSON texts."""
    if column.null_count:
        empty = next(at for at, cell in enumerate(column) if not cell.is_valid)
        raise DataError(f"Row {empty + 1} has nothing in {where}, which must hold an embedding in every row.")
    vectors = _of_lists(column, where) if _is_list(column.type) else _of_texts(column.to_pylist(), where)
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise DataError(f"Row {bad[0] + 1} has something in {where} that is no finite number. Embed that row again.")
    return vectors


def _of_lists(column: pa.ChunkedArray, where: str) -> Floats:
    lengths = np.concatenate([chunk.value_lengths().to_numpy(zero_copy_only=False) for chunk in column.chunks])
    _check_width(lengths, where)
    kind = column.type.value_type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        raise DataError(f"There are lists of {kind} in {where}, and embeddings are lists of numbers. Name another.")
    values = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    return np.concatenate(values).astype(np.float32, copy=False).reshape(len(lengths), -1)


def _of_texts(cells: Sequence[Any], where: str) -> Floats:
    vectors: list[Floats] = []
    for at, cell in enumerate(cells):
        try:
            vectors.append(np.array(json.loads(cell), dtype=np.float32, ndmin=1))
        except (ValueError, TypeError):
            raise DataError(
                f"Row {at + 1} has something in {where} that is no list of numbers such as [0.1, 0.2]."
            ) from None
    _check_width(np.array([vector.size if vector.ndim == 1 else 0 for vector in vectors]), where)
    return np.stack(vectors)


def _check_width(lengths: NDArray[Any], where: str) -> None:
    odd = np.flatnonzero((lengths != lengths[0]) | (lengths == 0))
    if len(odd):
        at = odd[0]
        raise DataError(
            f"Row {at + 1} has {lengths[at]} numbers in {where}, where row 1 has {lengths[0]}. All must come from one "
            "model: embed the rows again."
        )


def _there_are(names: Iterable[Any]) -> str:
    return f"The columns are {', '.join(map(str, names)) or 'none'}."
