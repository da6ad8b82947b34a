"""compiled_results.csv: one row for each step, numbers only, an empty cell where nothing was computed."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

FILENAME = "compiled_results.csv"

Cell = float | int | None


def write(path: Path, columns: Sequence[str], records: Iterable[Mapping[str, Cell]]) -> None:
    """Write the table. Columns in which no record has a number are left out.

    Args:
        columns: names, in the order of the table; `records` may lack some.
    """
    rows = [[_text(record.get(column)) for column in columns] for record in records]
    kept = [n for n in range(len(columns)) if any(row[n] for row in rows)] or list(range(len(columns)))
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([columns[n] for n in kept])
        writer.writerows([row[n] for n in kept] for row in rows)


def read(path: Path) -> list[dict[str, float]]:
    """The rows of such a table; empty cells are left out."""
    with path.open(encoding="utf-8", newline="") as stream:
        return [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(stream)]


def _text(value: Cell) -> str:
    return "" if value is None or math.isnan(value) else str(value)
