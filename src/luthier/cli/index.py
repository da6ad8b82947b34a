"""`luthier index`: vectors that stay, in a folder, in PostgreSQL or in Qdrant."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli import render
from luthier.cli.frames import DEFAULT_MODEL, EngineUrl, QueryModel, QuerySource
from luthier.cli.grouped import grouped
from luthier.cli.outputs import AsJson, Output
from luthier.cli.search import Hits, Query, Where, attributes_of

if TYPE_CHECKING:
    from luthier.storage.indexes import Indexes, VectorIndex
    from luthier.toolkit.frame import Frame

index = typer.Typer(no_args_is_help=True, help="Vectors that stay: create, add, search, list, remove, drop.")

_SHOWN = 300  # characters of a text in the terminal

Name = Annotated[str, typer.Argument(metavar="NAME", help="The index.", show_default=False)]
Place = Annotated[
    str | None,
    typer.Option(
        "--at",
        metavar="PLACE",
        help="A folder, postgresql://user:password@host/name, or http://host:6333 of Qdrant; by default "
        "LUTHIER_INDEX_URL, or `indexes` inside LUTHIER_HOME.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class Kept:
    """What an index keeps of a frame's rows, and where it is."""

    id_column: Annotated[
        str | None,
        typer.Option("--id", metavar="COLUMN", help="Column of ids; by default FILE:ROW.", show_default=False),
    ] = None
    keep_text: Annotated[
        str | None,
        typer.Option(
            "--keep-text",
            metavar="TEMPLATE",
            help="Text to keep beside each vector: a column or a template; by default --text, or none.",
            show_default=False,
        ),
    ] = None
    attributes: Annotated[
        str | None,
        typer.Option(
            "--attributes",
            metavar="COLUMN,…",
            help="Columns to keep for conditions; by default all.",
            show_default=False,
        ),
    ] = None
    at: Place = None

    @property
    def names(self) -> list[str] | None:
        """Columns that are kept; None for all."""
        if self.attributes is None:
            return None
        return [name.strip() for name in self.attributes.split(",") if name.strip()]


@index.command("create")
@grouped
def create(name: Name, kept: Kept, source: QuerySource, out: Output) -> None:
    """Make an index of a frame's rows."""
    _put(name, kept, source, out, new=True)


@index.command("add")
@grouped
def add(name: Name, kept: Kept, source: QuerySource, out: Output) -> None:
    """Put a frame's rows into an index; a row whose id is there already takes the place of the old one."""
    _put(name, kept, source, out, new=False)


@index.command("search")
def search(
    name: Name,
    query: Query,
    k: Hits = 10,
    where: Where = None,
    at: Place = None,
    model: QueryModel = None,
    url: EngineUrl = None,
    as_json: AsJson = False,
) -> None:
    """Find what is nearest to a question."""
    from luthier.cli.frames import embedder
    from luthier.domain.embedding import question_model
    from luthier.domain.filters import parse_where
    from luthier.errors import DataError

    if not query.strip():
        raise DataError("The question is empty. Say in words what to look for.")
    condition = parse_where(where) if where is not None else None
    with _place(at) as indexes, _opened(indexes, name) as there:
        with embedder(question_model(model or there.spec.model or DEFAULT_MODEL), url) as embed:
            vector = embed([query])[0]
        hits = there.search(vector, k, condition)
        nearest = there.search(vector, 1) if condition and not hits else []
    if as_json:
        found = [
            {
                "id": hit.record.id,
                "score": hit.score,
                "text": hit.record.text,
                "attributes": dict(hit.record.attributes),
            }
            for hit in hits
        ]
        render.show_json({"query": query, "index": name, "hits": found})
        return
    if not hits:
        nothing = f"The index '{name}' is empty."
        if nearest:
            columns = ", ".join(nearest[0].record.attributes) or "none"
            nothing = f"The condition holds for no entry. The columns of the nearest one are: {columns}."
        render.say(nothing)
    for hit in hits:
        render.say(f"{hit.score:.3f}  {hit.record.id}", style="bold")
        shown = {"": hit.record.text} if hit.record.text else hit.record.attributes
        for key, value in shown.items():
            line = " ".join(str(value).split())
            if value is not None and line:
                line = line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"
                render.say(f"    {key}: {line}" if key else f"    {line}")


@index.command("list")
def list_indexes(at: Place = None, as_json: AsJson = False) -> None:
    """The indexes of a place."""
    with _place(at) as indexes:
        found = []
        for spec in indexes.specs():
            with _opened(indexes, spec.name) as one:
                found.append(
                    {"name": spec.name, "dimensions": spec.dimensions, "model": spec.model, "vectors": len(one)}
                )
    if as_json:
        render.show_json(found)
    elif not found:
        render.say("There is no index yet. Make one with `luthier index create NAME FRAME.parquet`.")
    else:
        rows = [
            (str(one["name"]), f"{one['vectors']:,}", str(one["dimensions"]), str(one["model"] or "")) for one in found
        ]
        render.console().print(
            render.table(("Index", "Vectors", "Dimensions", "Model"), rows, right=("Vectors", "Dimensions"))
        )


@index.command("remove")
def remove(
    name: Name,
    ids: Annotated[list[str], typer.Argument(metavar="ID…", help="What to remove.")],
    at: Place = None,
) -> None:
    """Remove records by their ids."""
    with _place(at) as indexes, _opened(indexes, name) as there:
        render.say(f"Removed {there.delete(ids):,} of {len(ids):,}; {len(there):,} are left in '{name}'.")


@index.command("drop")
def drop(name: Name, at: Place = None) -> None:
    """Remove an index and all that is in it."""
    with _place(at) as indexes:
        indexes.drop(name)
    render.say(f"The index '{name}' is gone.")


def _put(name: str, kept: Kept, source: QuerySource, out: Output, *, new: bool) -> None:
    from luthier.errors import DataError
    from luthier.storage.indexes import IndexSpec, Record, check_new, check_records
    from luthier.toolkit.frame import texts_of

    with _place(kept.at) as indexes:
        if new:
            check_new(indexes, name)
        there = None if new else indexes.open(name)

        def fitting(frame: "Frame") -> list[Record]:
            made_by = frame.model or source.model
            if there is not None and made_by and there.spec.model and made_by != there.spec.model:
                raise DataError(
                    f"The embeddings of {source.file.name} are of '{made_by}', those of the index '{name}' of "
                    f"'{there.spec.model}', and cannot be compared. Embed the file with --model {there.spec.model}."
                )
            ids = [f"{source.file.name}:{at + 1}" for at in range(len(frame))]
            if kept.id_column is not None:
                column = frame.column(kept.id_column)
                ids = ["" if none else str(one) for one, none in zip(column.tolist(), column.isna(), strict=True)]
            template = kept.keep_text or source.text
            texts = [""] * len(frame) if template is None else texts_of(frame.rows, template)
            rows = zip(ids, texts, attributes_of(frame, kept.names), strict=True)
            records = [Record(one, text, values) for one, text, values in rows]
            check_records(records)
            return records

        frame = source.load(
            model=source.model or (there.spec.model if there is not None else None),
            columns=[kept.id_column, *(kept.names or ())],
            templates=[kept.keep_text],
            check=fitting,
        )
        records = fitting(frame)
        if there is None:
            there = indexes.create(IndexSpec(name, frame.vectors.shape[1], frame.model or source.model))
        before = len(there)
        try:
            there.add(records, frame.vectors)
            after = len(there)
        except BaseException:
            if new:
                there.close()
                indexes.drop(name)
            raise
        there.close()
    added, replaced = after - before, len(frame) - (after - before)
    if out.as_json:
        render.show_json({"index": name, "added": added, "replaced": replaced, "vectors": after})
    else:
        render.say(f"'{name}' has {after:,} vectors: {added:,} added, {replaced:,} replaced.")


@contextmanager
def _place(at: str | None) -> "Iterator[Indexes]":
    from luthier.config import load_settings
    from luthier.storage.indexes import open_indexes

    indexes = open_indexes(at or load_settings().indexes_place)
    try:
        yield indexes
    finally:
        indexes.close()


@contextmanager
def _opened(indexes: "Indexes", name: str) -> "Iterator[VectorIndex]":
    opened = indexes.open(name)
    try:
        yield opened
    finally:
        opened.close()
