"""Texts from the columns of a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any, Self

import pandas as pd

from luthier.errors import DataError
from luthier.toolkit.tables import Table, cell_text, open_table


@dataclass(frozen=True)
class Template:
    """How a row becomes a text: pieces that stand as they are, each followed by a column's cell.

    Args:
        parts: literal text and column; the last column may be None.
    """

    parts: tuple[tuple[str, str | None], ...]

    @classmethod
    def parse(cls, text: str, columns: Sequence[Any]) -> Self:
        """Read a template: a column's name, or text with names in braces, a brace itself written twice.

        Raises:
            DataError: it names no column that is there, or has a brace too many.
        """
        if text in columns:
            return cls((("", text),))
        names = ", ".join(map(str, columns)) or "none"
        try:
            parts = tuple((literal, _name(*field)) for literal, *field in Formatter().parse(text))
        except ValueError as error:
            raise DataError(
                f"The template {text!r} cannot be read: {error}. Columns stand in braces, as in 'Title: {{Summary}}'; "
                "a brace itself is written twice."
            ) from None
        wanted = [name for _, name in parts if name is not None]
        if not wanted:
            raise DataError(
                f"There is no column '{text}'. The columns are {names}. Name one, or several in braces: "
                "'Title: {Summary}; Content: {Text}'."
            )
        for name in wanted:
            if name not in columns:
                raise DataError(f"The template {text!r} asks for the column '{name}'. The columns are {names}.")
        return cls(parts)

    @property
    def columns(self) -> list[str]:
        """Those that it uses, each once."""
        return list(dict.fromkeys(name for _, name in self.parts if name is not None))

    def texts(self, rows: pd.DataFrame) -> list[str]:
        """The text of each row. Empty cells give nothing."""
        cells = {name: _as_text(rows[name]) for name in self.columns}
        sides = [(literal, cells[name] if name is not None else None) for literal, name in self.parts]
        return [
            "".join(literal + (column[at] if column is not None else "") for literal, column in sides)
            for at in range(len(rows))
        ]


def open_texts(path: Path, text: str) -> tuple[Table, Template]:
    """A file of rows, and the template of their texts.

    Raises:
        DataError: the file cannot be read or has no rows, or the template does not fit it.
    """
    table = open_table(path)
    template = Template.parse(text, table.schema.names)
    if not table.n_rows:
        raise DataError(f"{path.name} has no rows.")
    return table, template


def _name(field: str | None, spec: str | None, conversion: str | None) -> str | None:
    """A column's name may hold what Python's formats mean something by."""
    if field is None:
        return None
    return field + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")


def _as_text(column: "pd.Series[Any]") -> list[str]:
    return ["" if empty else cell_text(cell) for cell, empty in zip(column, column.isna(), strict=True)]
