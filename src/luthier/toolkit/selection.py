"""Which rows of a table are embedded: those with a text that is short enough, and of these the newest."""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]
from numpy.typing import NDArray

from luthier.errors import DataError, InvalidRequestError
from luthier.toolkit.frame import to_rows
from luthier.toolkit.tables import Table
from luthier.toolkit.template import Template

_PIECE = 4096  # rows that are looked at at a time

Count = Callable[[Sequence[str]], Sequence[int]]  # texts → their tokens
Check = Callable[[Sequence[str], Sequence[int]], None]  # texts, their rows: raises for one that cannot be embedded


@dataclass(frozen=True)
class Wish:
    """What is asked of the rows.

    Args:
        max_tokens: rows with more are dropped.
        drop_empty: rows whose template's columns are all empty are dropped.
        newest: how many rows to keep at most, of those left.
        by: column that says how new a row is: the greatest are the newest, of equal ones the later rows.
    """

    max_tokens: int | None = None
    drop_empty: bool = False
    newest: int | None = None
    by: str = "Time"


@dataclass(frozen=True)
class Selection:
    """Rows that are embedded.

    Args:
        kept: (N,) booleans, one for each row of the table.
        dropped: how many rows went for which reason: `empty`, `long`, `old`.
    """

    kept: NDArray[np.bool_]
    dropped: dict[str, int]

    def __len__(self) -> int:
        return int(np.count_nonzero(self.kept))

    def pieces(self, table: Table, size: int) -> Iterator[pa.Table]:
        """The kept rows, in order, `size` at a time."""
        waiting: list[pa.Table] = []
        n_waiting, at = 0, 0
        for piece in table.pieces(size):
            rows = piece.filter(pa.array(self.kept[at : at + len(piece)]))
            at += len(piece)
            waiting.append(rows)
            n_waiting += len(rows)
            if n_waiting >= size:
                joined = pa.concat_tables(waiting)
                yield joined.slice(0, size)
                waiting, n_waiting = [joined.slice(size)], n_waiting - size
        if n_waiting:
            yield pa.concat_tables(waiting)


def check_wish(table: Table, wish: Wish) -> None:
    """
    Raises:
        DataError: there is no column to tell new from old.
    """
    if wish.newest is not None and wish.by not in table.schema.names:
        raise DataError(
            f"There is no column '{wish.by}' to tell the newest rows by. The columns are "
            f"{', '.join(table.schema.names)}. Name one with --by."
        )


def select(table: Table, template: Template, wish: Wish, *, count: Count | None = None, check: Check) -> Selection:
    """Look at every row once.

    Args:
        count: tokens of texts; needed for `max_tokens`.
        check: of the rows that are kept.

    Raises:
        DataError: there is no column to tell new from old, a cell of it is empty, or no row is left. What `check`
            raises.
        InvalidRequestError: `max_tokens` without `count`.
    """
    check_wish(table, wish)
    if wish.max_tokens is not None and not count:
        raise InvalidRequestError("`max_tokens` needs `count`, a function that says how many tokens each text has.")
    kept = np.zeros(table.n_rows, dtype=np.bool_)
    dropped = dict.fromkeys(("empty", "long", "old"), 0)
    newest: list[tuple[Any, int]] = []  # a heap, the oldest first
    at = 0
    for piece in table.pieces(_PIECE):
        rows = to_rows(piece.select(template.columns))
        texts = template.texts(rows)
        here = np.ones(len(texts), dtype=np.bool_)
        if wish.drop_empty:
            here &= _has_text(rows)
            dropped["empty"] += int(np.count_nonzero(~here))
        if wish.max_tokens is not None and count:
            places = np.flatnonzero(here)
            counts = np.array(count([texts[place] for place in places]))
            here[places[counts > wish.max_tokens]] = False
            dropped["long"] += int(np.count_nonzero(counts > wish.max_tokens))
        if wish.newest is not None:
            _keep_newest(newest, wish.newest, piece[wish.by].to_pylist(), here, at, wish.by)
        kept[at : at + len(texts)] = here
        at += len(texts)
    if wish.newest is not None:
        rows_kept = np.array([row for _, row in newest], dtype=np.int64)
        dropped["old"] = int(np.count_nonzero(kept)) - len(rows_kept)
        kept[:] = False
        kept[rows_kept] = True
    if not kept.any():
        raise DataError(f"No row of {table.path.name} is left to embed: of {table.n_rows} {_said(dropped)}.")
    _check_kept(table, template, kept, check)
    return Selection(kept, dropped)


def _has_text(rows: pd.DataFrame) -> NDArray[np.bool_]:
    """Whether any of a row's cells has something in it, (N,)."""
    filled = rows.notna() & rows.astype(str).apply(lambda column: column.str.strip() != "")
    any_filled: NDArray[np.bool_] = filled.any(axis=1).to_numpy(dtype=np.bool_)
    return any_filled


def _check_kept(table: Table, template: Template, kept: NDArray[np.bool_], check: Check) -> None:
    at = 0
    for piece in table.pieces(_PIECE):
        here = kept[at : at + len(piece)]
        if here.any():
            rows = piece.select(template.columns).filter(pa.array(here))
            check(template.texts(to_rows(rows)), (np.flatnonzero(here) + at).tolist())
        at += len(piece)


def _keep_newest(
    heap: list[tuple[Any, int]], n: int, times: Sequence[Any], here: NDArray[np.bool_], first_row: int, by: str
) -> None:
    for place in np.flatnonzero(here).tolist():
        row, time = first_row + place, _moment(times[place])
        if time is None or time != time:  # NaN is no time either
            raise DataError(f"Row {row + 1} is empty in column '{by}', which must tell for every row how new it is.")
        try:
            if len(heap) < n:
                heapq.heappush(heap, (time, row))
            else:
                heapq.heappushpop(heap, (time, row))
        except TypeError:
            raise DataError(
                f"Row {row + 1} has {times[place]!r} in column '{by}', which cannot be compared with {heap[0][0]!r} in "
                f"row {heap[0][1] + 1}. All rows must have numbers there, or all texts such as 2026-01-31."
            ) from None


def _moment(cell: Any) -> Any:
    """A number that is written as a text, as that number."""
    try:
        return float(cell) if isinstance(cell, str) else cell
    except ValueError:
        return cell


def _said(dropped: dict[str, int]) -> str:
    words = {"empty": "have no text", "long": "are too long", "old": "are not among the newest"}
    return ", ".join(f"{n} {words[reason]}" for reason, n in dropped.items() if n) or "there are none"
