"""`luthier embed`: a table with an embedding for each row."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli import render
from luthier.cli.frames import DEFAULT_MODEL, EngineUrl, Model, embedder
from luthier.cli.outputs import AsJson
from luthier.cli.progress import progress

if TYPE_CHECKING:
    from luthier.toolkit.obtain import Obtained


class Overlong(StrEnum):
    """What happens to a text of more tokens than the model reads at once."""

    REFUSE = "refuse"
    TRUNCATE = "truncate"
    AVERAGE = "average"


def embed(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Rows as Parquet, CSV, TSV or JSONL.")],
    text: Annotated[
        str,
        typer.Option(
            "--text",
            metavar="TEMPLATE",
            help="What is embedded of a row: a column, or 'Title: {Summary}; Content: {Text}'.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            help="File to write, of the same kinds; Parquet is best.",
            show_default=False,
        ),
    ],
    model: Model = DEFAULT_MODEL,
    url: EngineUrl = None,
    api_key: Annotated[
        str | None, typer.Option("--api-key", help="Key for the server; otherwise OPENAI_API_KEY.", show_default=False)
    ] = None,
    overlong: Annotated[
        Overlong,
        typer.Option(
            "--overlong",
            help="Texts longer than the model reads at once: stop, take their beginning, or embed them in pieces and "
            "average those by their tokens.",
        ),
    ] = Overlong.AVERAGE,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            min=1,
            help="With --url: tokens that the server's model reads at once, as cl100k_base counts; by default 8,191.",
            show_default=False,
        ),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option("--max-tokens", min=1, help="Drop rows with more tokens (cl100k_base).", show_default=False),
    ] = None,
    newest: Annotated[
        int | None,
        typer.Option("--newest", min=1, help="Of the rows left keep so many of the newest.", show_default=False),
    ] = None,
    by: Annotated[str, typer.Option("--by", help="Column that says which rows are newer.")] = "Time",
    drop_empty: Annotated[bool, typer.Option("--drop-empty", help="Drop rows without a text.")] = False,
    column: Annotated[str, typer.Option("--column", help="Name of the embeddings in OUT.")] = "embedding",
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Embed every text anew, and do not keep what is made.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write a table with an embedding for each row.

    Stopped at any moment, the same command goes on where it was. A text that was ever embedded costs nothing again.
    """
    from luthier.errors import DataError
    from luthier.toolkit.obtain import obtain, open_source
    from luthier.toolkit.selection import Wish

    if output.resolve() == file.resolve():
        raise DataError(f"-o {output} is the table itself, which stays as it is. Name another file.")
    wish = Wish(max_tokens=max_tokens, drop_empty=drop_empty, newest=newest, by=by)
    table = open_source(file, output, text, wish=wish, column=column)
    with (
        embedder(model, url, api_key=api_key, long_texts=overlong.value, limit=limit, cached=not no_cache) as engine,
        progress() as report,
    ):
        made_by: dict[str, Any] = {"revision": engine.revision, "overlong": overlong.value, "limit": engine.max_tokens}
        try:
            result = obtain(
                table,
                output,
                text,
                engine,
                model=model,
                made_by=made_by,
                wish=wish,
                column=column,
                piece=engine.at_once,
                count=engine.count_cl100k if max_tokens is not None else None,
                check=engine.check,
                report=report,
            )
        except KeyboardInterrupt:
            render.say("\nStopped. The same command goes on from here.", stderr=True)
            raise typer.Exit(130) from None
    if as_json:
        render.show_json(result.as_dict())
    else:
        _tell(result)


def _tell(result: "Obtained") -> None:
    words = {"empty": "without a text", "long": "with too many tokens", "old": "not among the newest"}
    dropped = ", ".join(f"{n:,} {words[reason]}" for reason, n in result.dropped.items() if n)
    rows = [
        ("Written", f"{result.output}: {result.n_embedded:,} rows with {result.dimensions} numbers each"),
        ("Model", result.model),
        ("Took", render.duration(result.seconds)),
    ]
    if dropped:
        rows.insert(1, ("Left out", f"{dropped}, of {result.n_rows:,} rows"))
    if result.n_resumed:
        rows.insert(1, ("Went on", f"{result.n_resumed:,} rows had been embedded before"))
    render.console().print(render.details(rows))
