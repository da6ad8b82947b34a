"""What the commands on embeddings share: the file they read, the texts they embed, and who embeds them."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from luthier.toolkit.frame import Frame
    from luthier.types import Embed, Floats

DEFAULT_MODEL = "text-embedding-ada-002"
_BATCH = 256  # texts of one request to a server

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
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Report = Annotated[
    Path | None, typer.Option("--report", metavar="HTML", help="Write a page with pictures there.", show_default=False)
]


def load_frame(
    file: Path,
    *,
    text: str | None = None,
    column: str | None = None,
    model: str = DEFAULT_MODEL,
    url: str | None = None,
) -> "Frame":
    """The rows of a file with their embeddings: its own, or, where `text` is given, made now.

    Raises:
        DataError: the file does not fit, or a row has no text.
        LuthierError: the embeddings cannot be made.
    """
    from luthier.errors import DataError
    from luthier.toolkit.frame import Frame, read_frame, read_rows, texts_of

    if text is None:
        return read_frame(file, column)
    rows = read_rows(file)
    texts = texts_of(rows, text)
    if (blank := next((at for at, one in enumerate(texts) if not one.strip()), None)) is not None:
        raise DataError(f"Row {blank + 1} of {file.name} gives no text by {text!r}. Leave the row out.")
    with embedder(model, url) as embed:
        return Frame(rows, embed(texts), model)


@contextmanager
def embedder(model: str = DEFAULT_MODEL, url: str | None = None) -> "Iterator[Embed]":
    """What makes embeddings of texts as long as the block runs: this process, or a server.

    Args:
        model: a name that the catalogue, or the server, knows.
        url: of a server that speaks the OpenAI API; None for this process.

    Raises:
        LuthierError: there is no such model, its weights cannot be had, or the server refuses.
    """
    if url is None:
        with _own_engine(model) as embed:
            yield embed
    else:
        with _server(model, url) as embed:
            yield embed


@contextmanager
def _own_engine(model: str) -> "Iterator[Embed]":
    from luthier.catalogue.entry import Kind
    from luthier.config import load_settings
    from luthier.domain.embedding import manners_of
    from luthier.embedding.batcher import EmbeddingEngine
    from luthier.errors import InvalidRequestError
    from luthier.modeling.bases import BaseStore
    from luthier.modeling.encoder_card import EncoderCard

    settings = load_settings()
    base = BaseStore(settings).ensure(model)
    if base.kind is not Kind.EMBEDDING:
        raise InvalidRequestError(
            f"The model '{model}' completes texts and makes no embeddings. Take one that does, such as "
            f"'{DEFAULT_MODEL}'."
        )
    prompt = EncoderCard.read(base.path).prompt(manners_of(model).side)
    engine = EmbeddingEngine(settings)
    engine.start()

    def embed(texts: Sequence[str]) -> "Floats":
        return engine.submit(base.path, texts, prompt=prompt).result()

    try:
        yield embed
    finally:
        engine.stop()


@contextmanager
def _server(model: str, url: str) -> "Iterator[Embed]":
    import numpy as np

    from luthier.cli.client import Client, base_url

    with Client(base_url(url), os.environ.get("OPENAI_API_KEY", "")) as client:

        def embed(texts: Sequence[str]) -> "Floats":
            vectors = []
            for at in range(0, len(texts), _BATCH):
                answer = client.post("embeddings", body={"model": model, "input": list(texts[at : at + _BATCH])})
                data = sorted(answer["data"], key=lambda item: item["index"])
                vectors += [item["embedding"] for item in data]
            return np.array(vectors, dtype=np.float32)

        yield embed
