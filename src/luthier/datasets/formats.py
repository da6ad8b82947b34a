"""Tables of examples in the formats that people have: JSONL, JSON, CSV, TSV, XLSX, TXT.

Every cell becomes text. Rows are numbered from 1; the header and blank lines are not counted.
"""

import codecs
import csv
import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from luthier.datasets.findings import Finding, Force, Remedy, Severity, count, visible
from luthier.datasets.jsonl import FIELDS, check_characters, json_kind, parse_object
from luthier.errors import DataError

_MAX_REPORTED = 5
_MAX_FIELD_CHARACTERS = 1 << 30  # the csv module's own limit of 131,072 is one for the whole process
_EXTENSIONS = {".jsonl": "JSONL", ".json": "JSON", ".csv": "CSV", ".tsv": "TSV", ".xlsx": "XLSX", ".txt": "TXT"}


@dataclass(frozen=True)
class Source:
    """A table as it was read.

    Args:
        frame: columns of text, rows numbered from 1 by the index.
        format: what the file holds: `JSONL`, `JSON`, `CSV`, `TSV`, `XLSX` or `TXT`.
        notes: what reading it showed.
    """

    frame: pd.DataFrame
    format: str
    notes: tuple[Finding, ...]


def read_table(path: Path) -> pd.DataFrame:
    """The table of examples in `path`, all cells text, rows numbered from 1.

    Raises:
        DataError: the file cannot be read; names line and field where there is one.
    """
    return read_source(path).frame


def read_source(path: Path) -> Source:
    """Like `read_table`, with the format and what reading it showed.

    Raises:
        DataError: the file cannot be read; names line and field where there is one.
    """
    if not path.is_file():
        raise DataError(f"{path} is {'a folder' if path.is_dir() else 'not there'}. Give the path of a file.")
    kind = _EXTENSIONS.get(path.suffix.lower())
    if kind is None:
        ending = f"ends in {path.suffix}" if path.suffix else "has no ending"
        raise DataError(f"{path.name} {ending}. The formats read are {', '.join(_EXTENSIONS)}.")
    notes: list[Finding] = []
    if kind == "XLSX":
        frame = _read_xlsx(path, notes)
    else:
        text = _read_text(path, notes)
        if kind == "TXT":
            frame = _frame({"prompt": "", "completion": line} for line in text.removesuffix("\n").split("\n"))
        elif kind in ("CSV", "TSV"):
            frame = _read_separated(path, text, kind)
        else:
            found, frame = _read_json(path, text, notes)
            if found != kind:
                notes.insert(0, _note("format_differs", f"The file is named {path.suffix} and holds {found}."))
            kind = found
    if kind != "JSONL":
        remedy = Remedy("write_jsonl", f"Write the {kind} table as JSONL", Force.NECESSARY)
        notes.insert(0, _note("format", f"The file is read as {kind}.", remedy=remedy, data={"format": kind}))
    return Source(frame, kind, tuple(notes))


def _read_text(path: Path, notes: list[Finding]) -> str:
    """The file's text with line ends made `\\n`."""
    raw = path.read_bytes()
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        remedy = Remedy("write_jsonl", "Write the file as UTF-8", Force.NECESSARY)
        notes.append(_note("encoding", "The file is UTF-16, which no upload takes.", remedy=remedy))
        encoding = "utf-16"
    else:
        encoding = "utf-8-sig"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path.name}, line {line}: byte 0x{raw[error.start]:02X} is not {encoding.removesuffix('-sig').upper()}. "
            "Save the file as UTF-8 (its encoding may be Windows-1252, CP949 or another of one country)."
        ) from None
    text = text.replace("\r\n", "\n")
    if not text.strip():
        raise DataError(
            f"{path.name} is empty. It should hold a prompt and a completion, or the messages, of each example."
        )
    return text


def _read_separated(path: Path, text: str, kind: str) -> pd.DataFrame:
    header_line = text.lstrip("\n").partition("\n")[0]
    delimiter = "\t" if kind == "TSV" else next((mark for mark in ",;\t" if mark in header_line), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    csv.field_size_limit(max(csv.field_size_limit(), _MAX_FIELD_CHARACTERS))
    header: list[str] | None = None
    rows: list[dict[str, str]] = []
    start = 1
    try:
        for cells in reader:
            if header is None:
                header = _unique_names(cells) if cells else None
            elif len(cells) > len(header):
                raise DataError(
                    f"{path.name}, line {start}: {len(cells)} fields, but the header names {len(header)} "
                    f"({', '.join(header)}). Put texts that contain {visible(delimiter)} in double quotes."
                )
            elif any(cells):
                rows.append(dict(zip(header, cells + [""] * (len(header) - len(cells)), strict=True)))
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{path.name}, line {start}: {error}. A text in double quotes must end with one, "
            'and a quote inside it is written twice ("").'
        ) from None
    if not rows:
        raise DataError(f"{path.name} has a header and no rows.")
    return _frame(rows, header)


def _unique_names(cells: list[str]) -> list[str]:
    """Names of columns: blank ones are numbered, repeated ones get a number too, so that no column hides another."""
    names: list[str] = []
    for position, cell in enumerate(cells, 1):
        name = cell.strip() or f"column {position}"
        names.append(name if name not in names else f"{name} ({position})")
    return names


def _read_xlsx(path: Path, notes: list[Finding]) -> pd.DataFrame:
    try:
        with pd.ExcelFile(path, engine="openpyxl") as book:
            sheets = [str(name) for name in book.sheet_names]
            table = pd.read_excel(book, header=None, dtype=str, na_filter=False)
    except (zipfile.BadZipFile, ValueError, KeyError, OSError) as error:
        raise DataError(f"{path.name} cannot be read as XLSX ({error}). Save it again as .xlsx or .csv.") from None
    if len(sheets) > 1:
        message = f"The workbook has {len(sheets)} sheets; only the first, {visible(sheets[0])}, is read."
        notes.append(_note("several_sheets", message, severity=Severity.WARNING, data={"sheets": sheets}))
    cells = [[str(cell) for cell in row] for row in table.to_numpy().tolist()]
    cells = [row for row in cells if any(row)]
    if len(cells) < 2:
        raise DataError(f"{path.name}: the first sheet, {visible(sheets[0])}, has no rows below a header.")
    header = _unique_names(cells[0])
    return _frame((dict(zip(header, row, strict=True)) for row in cells[1:]), header)


def _read_json(path: Path, text: str, notes: list[Finding]) -> tuple[str, pd.DataFrame]:
    """JSON, or JSONL, whichever the text is."""
    start = text.lstrip()
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError) as error:
        several = isinstance(error, json.JSONDecodeError) and error.msg == "Extra data"
        if (path.suffix.lower() == ".json" and not several) or start.startswith("["):
            where = f", line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else f": {error}"
            raise DataError(f"{path.name}{where}. The file is not JSON.") from None
        return "JSONL", _rows_of_objects(path, _json_lines(path, text), "line", notes)
    if isinstance(whole, dict):
        if "\n" not in text.strip() and path.suffix.lower() == ".jsonl" and not _is_columns(whole):
            return "JSONL", _rows_of_objects(path, [(1, whole)], "line", notes)
        whole = _transpose(path, whole) if _is_columns(whole) else [whole]
    if not isinstance(whole, list) or not whole:
        raise DataError(f"{path.name} is {json_kind(whole)} without examples. It should be a list of objects.")
    for number, item in enumerate(whole, 1):
        if not isinstance(item, dict):
            raise DataError(f"{path.name}, item {number} is {json_kind(item)}; each must be an object.")
    return "JSON", _rows_of_objects(path, list(enumerate(whole, 1)), "item", notes)


def _json_lines(path: Path, text: str) -> list[tuple[int, dict[str, Any]]]:
    rows: list[tuple[int, dict[str, Any]]] = []
    wrong: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                rows.append((number, parse_object(line.encode("utf-8"))))
            except DataError as error:
                wrong.append(f"{path.name}, line {number}: {error.message}")
    if wrong:
        more = [f"… and {len(wrong) - _MAX_REPORTED} more lines."] if len(wrong) > _MAX_REPORTED else []
        raise DataError("\n".join(wrong[:_MAX_REPORTED] + more))
    return rows


def _is_columns(value: Mapping[str, Any]) -> bool:
    """Whether an object holds columns (lists, or objects from row to value), as pandas writes by default."""
    kinds = {type(column) for column in value.values()}
    return kinds in ({list}, {dict}) and "messages" not in value


def _transpose(path: Path, columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    tables = {name: column if isinstance(column, dict) else dict(enumerate(column)) for name, column in columns.items()}
    first, *others = tables
    for name in others:
        if tables[name].keys() != tables[first].keys():
            raise DataError(
                f"{path.name}: the columns {visible(first)} and {visible(name)} do not have the same rows "
                f"({len(tables[first])} and {len(tables[name])})."
            )
    return [{name: column[key] for name, column in tables.items()} for key in tables[first]]


def _rows_of_objects(
    path: Path, rows: list[tuple[int, dict[str, Any]]], unit: str, notes: list[Finding]
) -> pd.DataFrame:
    """Cells as text. Lists and objects are refused where a prompt or completion belongs."""
    numbers: list[int] = []
    texts: list[dict[str, str]] = []
    for row, (number, value) in enumerate(rows, 1):
        cells: dict[str, str] = {}
        for name, cell in value.items():
            is_field = name.strip().lower() in FIELDS
            if is_field and isinstance(cell, list | dict):
                raise DataError(
                    f"{path.name}, {unit} {number}: {visible(name)} is {json_kind(cell)}; write it as text."
                )
            if is_field and isinstance(cell, bool | int | float):
                numbers.append(row)
            cells[name] = cell if isinstance(cell, str) else "" if cell is None else json.dumps(cell)
            try:
                check_characters(cells[name], name)
            except DataError as error:
                raise DataError(f"{path.name}, {unit} {number}: {error.message}") from None
        texts.append(cells)
    if numbers:
        rows_found = tuple(dict.fromkeys(numbers))
        remedy = Remedy("write_jsonl", "Write numbers as text", Force.NECESSARY)
        message = f"{count(len(rows_found), 'row')} hold numbers where text belongs."
        notes.append(_note("numbers_as_text", message, remedy=remedy, rows=rows_found))
    return _frame(texts)


def _frame(rows: Iterable[Mapping[str, str]], columns: list[str] | None = None) -> pd.DataFrame:
    frame = pd.DataFrame(list(rows), columns=columns, dtype=object).fillna("")
    frame.index = pd.RangeIndex(1, len(frame) + 1, name="row")
    return frame


def _note(
    code: str,
    message: str,
    *,
    severity: Severity = Severity.INFO,
    rows: tuple[int, ...] = (),
    data: Mapping[str, Any] | None = None,
    remedy: Remedy | None = None,
) -> Finding:
    return Finding(code, severity, message, rows, data or {}, remedy)
