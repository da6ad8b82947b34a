"""Where a command's result goes: the terminal, JSON, a page, a picture."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli import render
from luthier.durable import check_target, whole_file
from luthier.errors import DataError

if TYPE_CHECKING:
    from luthier.reports.page import Page


def ends_in(*endings: str) -> Callable[[Path | None], Path | None]:
    """For a file's option: refuses a name of another kind, such as that of the data."""

    def check(path: Path | None) -> Path | None:
        if path is not None and not path.is_dir() and path.suffix.lower() not in endings:
            raise DataError(f"{path} does not end in {' or '.join(endings)}. Name the file so that its kind is clear.")
        return path

    return check


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Report = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="HTML",
        help="Write a page with pictures there.",
        show_default=False,
        callback=ends_in(".html", ".htm"),
    ),
]
Png = Annotated[
    Path | None,
    typer.Option("--png", metavar="PNG", help="Write the picture there.", show_default=False, callback=ends_in(".png")),
]


@dataclass(frozen=True)
class Output:
    """The terminal, or JSON."""

    as_json: AsJson = False


@dataclass(frozen=True)
class PageOutput(Output):
    """The terminal or JSON, and a page."""

    report: Report = None


@dataclass(frozen=True)
class PictureOutput(PageOutput):
    """The terminal or JSON, a page, and a picture."""

    png: Png = None


def check_targets(*targets: Path | None, source: Path | None = None) -> None:
    """
    Args:
        source: the file that is read, which nothing may be written over.

    Raises:
        DataError: a file cannot be written where it is wanted; said before any work is done.
    """
    for target in targets:
        if target is None:
            continue
        check_target(target)
        if source is not None and target.exists() and source.exists() and target.samefile(source):
            raise DataError(f"{target} is the file that is read. Write to another name.")


def write(page: "Page | None", report: Path | None, picture: bytes | None, png: Path | None, *, quiet: bool) -> None:
    """Write what was asked for, and say so unless the output is for programs."""
    if report is not None and page is not None:
        page.write(report)
    if png is not None and picture is not None:
        with whole_file(png) as file:
            file.write_bytes(picture)
    for target in (report, png):
        if target is not None and not quiet:
            render.say(f"Written  {target}")
