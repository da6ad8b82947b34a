"""`luthier search`: the rows of a frame that are nearest to a question."""

import hashlib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli import render
from luthier.cli.frames import DEFAULT_MODEL, QuerySource
from luthier.cli.grouped import grouped
from luthier.cli.outputs import PageOutput, check_targets

if TYPE_CHECKING:
    from luthier.domain.filters import Filter
    from luthier.storage.indexes import VectorIndex
    from luthier.toolkit.frame import Frame
    from luthier.toolkit.search import SearchResult
    from luthier.types import Floats

_SHOWN = 300  # characters of a row's text in the terminal
EXACT_BELOW = 100_000
"""Rows up to which a question is compared with every one."""

Query = Annotated[str, typer.Argument(metavar="QUESTION", help="What to look for, in words.")]
Where = Annotated[
    str | None,
    typer.Option(
        "--where",
        metavar="CONDITION",
        help="Only rows for which this holds: \"Score >= 4 and ProductId in ('B001', 'B002')\".",
        show_default=False,
    ),
]
Hits = Annotated[int, typer.Option("-k", help="Most hits.", min=1)]


@grouped
def search(
    source: QuerySource,
    query: Query,
    out: PageOutput,
    *,
    k: Hits = 10,
    where: Where = None,
    hybrid: Annotated[
        bool, typer.Option("--hybrid", help="Words count too: BM25 and similarity, fused by reciprocal rank.")
    ] = False,
    words: Annotated[
        str | None,
        typer.Option(
            "--words",
            metavar="TEMPLATE",
            help="Text whose words count with --hybrid: a column or a template; by default --text, else all texts.",
            show_default=False,
        ),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Compare with every row, also above 100,000, where an index would be used.")
    ] = False,
) -> None:
    """Find the rows that mean what a question means."""
    from luthier.cli.frames import embedder
    from luthier.domain.embedding import question_model
    from luthier.domain.filters import keys_of, parse_where
    from luthier.errors import DataError
    from luthier.toolkit import search as toolkit

    if not query.strip():
        raise DataError("The question is empty. Say in words what to look for.")
    if words is not None and not hybrid:
        raise DataError("--words says whose words count with --hybrid. Give --hybrid too, or leave out --words.")
    condition = parse_where(where) if where is not None else None
    check_targets(out.report, source=source.file)
    frame = source.load(columns=keys_of(condition) if condition is not None else (), templates=[words])
    made_by = source.model or frame.model or DEFAULT_MODEL
    with embedder(question_model(made_by), source.url) as embed:
        vector = embed([query])[0]
    texts = _texts(frame, words or source.text) if hybrid else None
    if len(frame) <= EXACT_BELOW or exact or hybrid or out.report is not None or not _fits_index(frame):
        result = toolkit.search(frame, query, vector, k=k, where=condition, texts=texts)
    else:
        toolkit.check_vector(vector, frame.vectors.shape[1], frame.model)
        result = _through_index(source, frame, query, vector, k, condition)
    if out.report is not None:
        from luthier.reports.searching import write_search_page

        write_search_page(result, out.report, f"Search in {source.file.name}")
    if out.as_json:
        render.show_json(result.as_dict())
    else:
        _show(result)
        if out.report is not None:
            render.say(f"The page is {out.report}.")


def _texts(frame: "Frame", template: str | None) -> list[str]:
    from luthier.errors import DataError
    from luthier.toolkit.frame import texts_of

    if template is not None:
        return texts_of(frame.rows, template)
    names = [name for name in frame.rows.columns if any(isinstance(cell, str) for cell in frame.rows[name])]
    if not names:
        raise DataError("The frame has no column of texts whose words could count. Leave out --hybrid.")
    return [" ".join(cell for cell in row if isinstance(cell, str)) for row in frame.rows[names].to_numpy().tolist()]


def _fits_index(frame: "Frame") -> bool:
    """Whether an index takes these rows: embeddings that have a direction, and columns as attributes are called."""
    import numpy as np

    from luthier.storage.indexes import is_attribute

    return all(is_attribute(str(name)) for name in frame.rows.columns) and bool(
        (np.linalg.norm(frame.vectors, axis=1) > 0).all()
    )


def _through_index(
    source: QuerySource, frame: "Frame", query: str, vector: "Floats", k: int, where: "Filter | None"
) -> "SearchResult":
    """Search by an index that is made at the first question and kept as long as the file stays as it is."""
    from luthier.toolkit.search import found_by_index, rows_where

    n_searched = len(rows_where(frame.rows, where))
    index = _kept_index(source, frame)
    try:
        found = [(int(hit.record.id), hit.score) for hit in index.search(vector, k, where)]
    finally:
        index.close()
    return found_by_index(frame, query, found, n_searched)


def _kept_index(source: QuerySource, frame: "Frame") -> "VectorIndex":
    """The index of these rows by this model. One of the file as it was before is dropped."""
    from luthier.config import load_settings
    from luthier.storage.indexes import IndexSpec, Record, open_indexes

    state = source.file.stat()
    rows = _digest(source.file.resolve(), source.column, source.text, source.text and (frame.model, source.url))
    name = f"{rows}-{_digest(state.st_size, state.st_mtime_ns)}"
    kept = open_indexes(load_settings().home / "searched")
    for spec in kept.specs():
        if spec.name == name:
            index = kept.open(name)
            if len(index) == len(frame):
                return index
            index.close()  # it was being made when its process ended
        if spec.name.startswith(f"{rows}-"):
            kept.drop(spec.name)
    render.say(f"Making an index of {len(frame):,} rows; the next questions to this file will find it.", stderr=True)
    index = kept.create(IndexSpec(name, frame.vectors.shape[1], frame.model))
    index.add([Record(str(at), "", one) for at, one in enumerate(attributes_of(frame))], frame.vectors)
    return index


def _digest(*told: object) -> str:
    return hashlib.sha256(repr(told).encode()).hexdigest()[:31]


def attributes_of(frame: "Frame", names: list[str] | None = None) -> list[dict[str, Any]]:
    """The columns of each row as attributes of an index.

    Args:
        names: only these columns.
    """
    from luthier.toolkit.search import comparable, plain_values

    chosen = [str(name) for name in frame.rows.columns] if names is None else names
    columns = [comparable(frame.column(name)) for name in chosen]
    return [plain_values(dict(zip(chosen, cells, strict=True))) for cells in zip(*columns, strict=True)] or [
        {} for _ in range(len(frame))
    ]


def _show(result: "SearchResult") -> None:
    from luthier.toolkit.search import plain_values

    if result.n_searched < result.n_rows:
        render.say(f"{result.n_searched:,} of {result.n_rows:,} rows searched", style="dim")
    for hit in result.hits:
        words = f"  words: rank {hit.word_rank}" if hit.word_rank is not None else ""
        render.say(f"{hit.similarity:.3f}  row {hit.row + 1}{words}", style="bold")
        for name, value in plain_values(hit.values).items():
            text = " ".join(str(value).split())
            if text and value is not None:
                render.say(f"    {name}: {text if len(text) <= _SHOWN else text[: _SHOWN - 1] + '…'}")
