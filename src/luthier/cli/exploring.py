"""What the commands that explore embeddings share: options, and where pictures go."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli import render
from luthier.errors import DataError

if TYPE_CHECKING:
    from luthier.reports.page import Page

Show = Annotated[
    str | None,
    typer.Option(
        "--show",
        metavar="TEMPLATE",
        help="What is shown of a row: a column, or '{Score}: {Summary}'. By default the text that was embedded.",
        show_default=False,
    ),
]
Png = Annotated[Path | None, typer.Option("--png", metavar="PNG", help="Write the picture there.", show_default=False)]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Two runs with one seed are alike.")]

WIDTH = 100  # characters of a text in a terminal


def check_targets(*targets: Path | None) -> None:
    """
    Raises:
        DataError: a file cannot be written where it is wanted; said before any work is done.
    """
    for target in targets:
        if target is None:
            continue
        if target.is_dir():
            raise DataError(f"{target} is a folder. Name a file.")
        if not target.parent.is_dir():
            raise DataError(f"There is no folder {target.parent} to write {target.name} into. Make it first.")


def write(page: "Page | None", report: Path | None, picture: bytes | None, png: Path | None, *, quiet: bool) -> None:
    """Write what was asked for, and say so unless the output is for programs."""
    if report is not None and page is not None:
        page.write(report)
    if png is not None and picture is not None:
        png.write_bytes(picture)
    for target in (report, png):
        if target is not None and not quiet:
            render.say(f"Written  {target}")


def rows_from_1(rows: Sequence[int] | None) -> list[int]:
    """Rows as a person counts them, from 1, as a program does."""
    return [row - 1 for row in rows or ()]
