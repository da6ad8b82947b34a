"""From the domain's dataclasses to rows and back, and cursors over a table."""

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter
from sqlalchemy import Connection, RowMapping, Select, Table, delete, func, insert, select, update

from luthier.domain.page import Page
from luthier.errors import InvalidRequestError, NotFoundError
from luthier.storage.schema import deleted_rows

T = TypeVar("T")

_REMEMBERED = 10_000  # deleted rows whose ids are still good as cursors


class Rows(Generic[T]):
    """One table whose columns are the fields of one dataclass, besides `position`.

    Args:
        what: the noun of messages, such as "file".
        param: the request's field that an unknown id is blamed on.
    """

    def __init__(self, table: Table, kind: type[T], what: str, param: str) -> None:
        self.table = table
        self.what = what
        self.param = param
        self._adapter = TypeAdapter(kind)

    def load(self, row: RowMapping) -> T:
        known = {name: value for name, value in row.items() if name in self.table.c and name != "position"}
        return self._adapter.validate_python(known)

    def dump(self, value: T) -> dict[str, Any]:
        """Columns of `value`, plain as JSON has them."""
        columns: dict[str, Any] = self._adapter.dump_python(value, mode="json")
        return columns

    def insert(self, connection: Connection, value: T, **more: Any) -> None:
        connection.execute(insert(self.table).values(**self.dump(value), **more))

    def get(self, connection: Connection, row_id: str, *, for_update: bool = False) -> T:
        """
        Raises:
            NotFoundError: there is none of that id.
        """
        query = select(self.table).where(self.table.c.id == row_id)
        if for_update:
            query = query.with_for_update()
        row = connection.execute(query).mappings().one_or_none()
        if row is None:
            raise NotFoundError(f"No such {self.what}: {row_id}", param=self.param, code=f"{self.param}_not_found")
        return self.load(row)

    def replace(self, connection: Connection, row_id: str, value: T) -> None:
        connection.execute(update(self.table).where(self.table.c.id == row_id).values(**self.dump(value)))

    def delete(self, connection: Connection, row_id: str) -> None:
        """Remove a row. Who deletes what is listed asks for the next page by its id, so its place is remembered."""
        mine, gone = self.table.c, deleted_rows.c
        connection.execute(delete(deleted_rows).where(gone.id == row_id))
        stood = select(mine.id, mine.position).where(mine.id == row_id)
        connection.execute(insert(deleted_rows).from_select(["id", "place"], stood))
        connection.execute(delete(self.table).where(mine.id == row_id))
        newest = select(func.max(gone.position)).scalar_subquery()
        connection.execute(delete(deleted_rows).where(gone.position <= newest - _REMEMBERED))

    def page(
        self,
        connection: Connection,
        query: Select[Any],
        *,
        after: str | None = None,
        before: str | None = None,
        limit: int | None = None,
        newest_first: bool = False,
        metadata: Mapping[str, str] | None = None,
    ) -> Page[T]:
        """The rows of `query` in the order of their insertion, or the reverse.

        Args:
            after: id of the last row of the page before.
            before: id of the first row of the page that follows; this page ends before it, and `has_more` says
                whether rows come before this page.
            limit: most rows of this page; None gives all.
            metadata: only rows whose `metadata` has these pairs.

        Raises:
            InvalidRequestError: `after` or `before` is the id of no row, nor of one that was deleted lately.
        """
        position = self.table.c.position
        if after is not None:
            start = self._position(connection, after, "after")
            query = query.where(position < start if newest_first else position > start)
        if before is not None:
            end = self._position(connection, before, "before")
            query = query.where(position > end if newest_first else position < end)
        backwards = before is not None and after is None  # the rows nearest to `before` are wanted
        query = query.order_by(position.desc() if newest_first != backwards else position)
        if metadata:  # filtered here: each database has JSON operators of its own
            rows = [
                row
                for row in connection.execute(query).mappings()
                if metadata.items() <= row[self.table.c.metadata].items()
            ]
        else:
            rows = list(connection.execute(query if limit is None else query.limit(limit + 1)).mappings())
        shown = rows if limit is None else rows[:limit]
        if backwards:
            shown = shown[::-1]
        return Page(tuple(self.load(row) for row in shown), has_more=len(rows) > len(shown))

    def _position(self, connection: Connection, row_id: str, param: str) -> int:
        there = select(self.table.c.position).where(self.table.c.id == row_id)
        gone = select(deleted_rows.c.place).where(deleted_rows.c.id == row_id)
        found = connection.execute(there).scalar() or connection.execute(gone).scalar()
        if found is None:
            raise InvalidRequestError(f"'{param}' names no {self.what}: {row_id}", param=param)
        return int(found)
