"""What the commands on embeddings share: the file they read, the texts they embed, and who embeds them."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli import render
from luthier.cli.models import PULL_WORDS
from luthier.cli.progress import progress

if TYPE_CHECKING:
    from luthier.catalogue.pull import PullProgress
    from luthier.cli.remote_embedder import RemoteEmbedder
    from luthier.services.embedder import Embedder
    from luthier.toolkit.frame import Frame

DEFAULT_MODEL = "text-embedding-ada-002"

File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="Parquet, CSV, TSV or JSONL, with embeddings as `luthier embed` writes them.",
        show_default=False,
    ),
]
TextTemplate = Annotated[
    str | None,
    typer.Option(
        "--text",
        metavar="TEMPLATE",
        help="Embed FILE on the way: a column, or 'Title: {Summary}; Content: {Text}'.",
        show_default=False,
    ),
]
VectorColumn = Annotated[
    str | None,
    typer.Option("--column", help="Column that holds the embeddings, if there are several.", show_default=False),
]
Model = Annotated[str, typer.Option("-m", "--model", help="The model that embeds.")]
EngineUrl = Annotated[
    str | None,
    typer.Option(
        "--url",
        help="Have a server of the OpenAI API embed; otherwise this command does it itself.",
        show_default=False,
    ),
]
QueryModel = Annotated[
    str | None,
    typer.Option(
        "-m", "--model", help="The model that embeds; by default the one that made the embeddings.", show_default=False
    ),
]


@dataclass(frozen=True)
class QuerySource:
    """The rows that a command works on, and who embeds them and what is asked of them."""

    file: File
    text: TextTemplate = None
    column: VectorColumn = None
    model: QueryModel = None
    url: EngineUrl = None

    def load(
        self,
        *,
        model: str | None = None,
        columns: Iterable[str | None] = (),
        templates: Iterable[str | None] = (),
        limit: int | None = None,
        check: "Callable[[Frame], object]" = lambda _rows: None,
    ) -> "Frame":
        """The rows with their embeddings.

        Args:
            model: that embeds them, where another one is wanted.
            columns, templates: that the command will ask for; what is not there is said before any row is embedded.
            limit: take the first rows alone.
            check: as of `load_frame`.

        Raises: as `load_frame`.
        """
        by = model or self.model or DEFAULT_MODEL
        return load_frame(
            self.file,
            text=self.text,
            column=self.column,
            model=by,
            url=self.url,
            columns=[name for name in columns if name is not None],
            templates=[template for template in templates if template is not None],
            limit=limit,
            check=check,
        )


@dataclass(frozen=True)
class Source(QuerySource):
    """The rows that a command works on, and who embeds them."""

    model: Model = DEFAULT_MODEL


@dataclass(frozen=True)
class PredictedSource(QuerySource):
    """The rows whose values are predicted, and who embeds them."""

    model: Annotated[
        str | None,
        typer.Option("-m", "--model", help="The model that embeds; by default the predictor's.", show_default=False),
    ] = None


def load_frame(
    file: Path,
    *,
    text: str | None = None,
    column: str | None = None,
    model: str = DEFAULT_MODEL,
    url: str | None = None,
    columns: Sequence[str] = (),
    templates: Sequence[str] = (),
    limit: int | None = None,
    check: "Callable[[Frame], object]" = lambda _rows: None,
) -> "Frame":
    """The rows of a file with their embeddings: its own, or, where `text` is given, made now.

    Args:
        columns: that must be there, which is found out before anything is embedded.
        templates: of texts whose columns must be there, likewise.
        limit: take the first rows alone.
        check: gets the rows that are to be embedded, with vectors (N, 0), and raises for what need not be embedded.

    Raises:
        DataError: the file does not fit, lacks a column, or a row has no text.
        LuthierError: the embeddings cannot be made.
    """
    import numpy as np

    from luthier.toolkit.frame import Frame, check_columns, read_frame, read_rows, texts_of

    if text is None:
        frame = read_frame(file, column)
        check_columns(frame.rows, columns, templates)
        return replace(frame, rows=frame.rows[:limit], vectors=frame.vectors[:limit])
    rows = read_rows(file)[:limit]
    check_columns(rows, columns, templates)
    texts = texts_of(rows, text)
    check(Frame(rows, np.empty((len(rows), 0), np.float32), model, text))
    with embedder(model, url) as embed, progress() as report:
        embed.check(texts, range(len(texts)))
        report(0, len(texts))
        pieces = []
        for at in range(0, len(texts), embed.at_once):
            pieces.append(embed(texts[at : at + embed.at_once]))
            report(min(at + embed.at_once, len(texts)), len(texts))
    return Frame(rows, np.concatenate(pieces), model, text)


def embedder(
    model: str = DEFAULT_MODEL,
    url: str | None = None,
    *,
    api_key: str | None = None,
    long_texts: str = "average",
    limit: int | None = None,
    cached: bool = True,
) -> "Embedder | RemoteEmbedder":
    """What makes embeddings of texts: this process, or a server. A context manager whose value is called with texts.

    Args:
        model: a name that the catalogue, or the server, knows.
        url: of a server that speaks the OpenAI API; None for this process.
        api_key: for the server; by default OPENAI_API_KEY.
        long_texts: `refuse`, `truncate` or `average` those of more tokens than the model reads at once.
        limit: tokens that a server's model reads at once; of weights here it is known.
        cached: texts that were embedded before cost nothing.

    Raises:
        LuthierError: there is no such model, its weights cannot be had, or the URL is none.
    """
    from luthier.config import load_settings
    from luthier.errors import InvalidRequestError
    from luthier.services.embedder import Embedder, LongTexts

    settings = load_settings()
    if url is not None:
        from luthier.cli.remote_embedder import RemoteEmbedder

        key = api_key or os.environ.get("OPENAI_API_KEY", "")
        return RemoteEmbedder(settings, model, url, key, long_texts=LongTexts(long_texts), limit=limit, cached=cached)
    if limit is not None or api_key is not None:
        raise InvalidRequestError("--limit and --api-key are for a server: name it with --url, or leave them out.")
    return Embedder(settings, model, long_texts=LongTexts(long_texts), cached=cached, pulling=_Pulling())


class _Pulling:
    """Says what is pulled, once for each stage: on a new machine the first embedding waits for its weights."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def __call__(self, news: "PullProgress") -> None:
        words = f"{PULL_WORDS[news.stage]} {news.what}"
        if words not in self._said:
            self._said.add(words)
            render.say(f"{words} …", stderr=True)
