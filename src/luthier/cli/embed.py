"""`luthier embed`: a table with an embedding for each row."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli import render
from luthier.cli.frames import DEFAULT_MODEL, AsJson, EngineUrl, Model, embedder

if TYPE_CHECKING:
    from luthier.toolkit.obtain import Obtained
    from luthier.toolkit.obtain import Report as Progress

_LINE_SECONDS = 10.0  # between two lines of progress where there is no window


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
    from luthier.toolkit.obtain import obtain
    from luthier.toolkit.selection import Wish

    wish = Wish(max_tokens=max_tokens, drop_empty=drop_empty, newest=newest, by=by)
    with (
        embedder(model, url, api_key=api_key, long_texts=overlong.value, limit=limit, cached=not no_cache) as engine,
        _progress() as report,
    ):
        made_by: dict[str, Any] = {"revision": engine.revision, "overlong": overlong.value, "limit": engine.max_tokens}
        try:
            result = obtain(
                file,
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


@contextmanager
def _progress() -> "Iterator[Progress]":
    """Shows rows, rate and time left on standard error: a bar in a window, a line now and then elsewhere."""
    if sys.stderr.isatty():
        yield from _bar()
    else:
        yield _Lines()


def _bar() -> "Iterator[Progress]":
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("Embedding"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=render.console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None, rate="")
        rate = _Rate()

        def report(done: int, total: int) -> None:
            speed = rate.of(done)
            progress.update(task, completed=done, total=total, rate=f"{speed:,.0f} rows/s" if speed else "")

        yield report


class _Lines:
    """Progress as lines; the first after a while, so that a short run says nothing."""

    def __init__(self) -> None:
        self._rate = _Rate()
        self._next = time.monotonic() + _LINE_SECONDS

    def __call__(self, done: int, total: int) -> None:
        speed = self._rate.of(done)
        if time.monotonic() < self._next or not speed or done == total:
            return
        self._next = time.monotonic() + _LINE_SECONDS
        left = render.duration((total - done) / speed)
        render.say(f"{done:,} of {total:,} rows, {speed:,.0f} rows/s, {left} left", stderr=True)


class _Rate:
    """Rows a second of this run alone."""

    def __init__(self) -> None:
        self._start: tuple[float, int] | None = None

    def of(self, done: int) -> float | None:
        """None before any row of this run is embedded."""
        if self._start is None:
            self._start = time.monotonic(), done
            return None
        began, before = self._start
        return (done - before) / max(time.monotonic() - began, 1e-6) if done > before else None
