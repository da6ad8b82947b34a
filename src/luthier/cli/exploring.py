"""What the commands that explore embeddings share: how rows are shown and named."""

from collections.abc import Sequence
from typing import Annotated

import typer

Show = Annotated[
    str | None,
    typer.Option(
        "--show",
        metavar="TEMPLATE",
        help="What is shown of a row: a column, or '{Score}: {Summary}'. By default the text that was embedded.",
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Two runs with one seed are alike.")]

WIDTH = 100  # characters of a text in a terminal


def rows_from_1(rows: Sequence[int] | None) -> list[int]:
    """Rows as a person counts them, from 1, as a program does."""
    return [row - 1 for row in rows or ()]
