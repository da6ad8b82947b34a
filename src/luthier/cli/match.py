"""`luthier match`: which of several categories a text is nearest to; asked one by one, or all at once."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli import render
from luthier.cli.frames import DEFAULT_MODEL, EngineUrl, Model, embedder
from luthier.cli.outputs import AsJson, Report, check_targets, write

if TYPE_CHECKING:
    from luthier.toolkit.match import Match

_PROMPT = "Enter a text here (empty to end): "


def match(
    categories: Annotated[
        list[str], typer.Argument(metavar="CATEGORY…", help="Two or more: plant reptile mammal.", show_default=False)
    ],
    item: Annotated[
        list[str] | None,
        typer.Option(
            "-i",
            "--item",
            metavar="TEXT",
            help="Match this text and end; may be given often. Without it, texts are asked for, or read from standard "
            "input, one a line.",
            show_default=False,
        ),
    ] = None,
    model: Model = DEFAULT_MODEL,
    url: EngineUrl = None,
    as_json: AsJson = False,
    report: Report = None,
) -> None:
    """Say which category each text is nearest to, with the cosine of each."""
    from luthier.reports.exploring import match_page
    from luthier.toolkit.match import Matcher

    check_targets(report)
    found: list[Match] = []
    with embedder(model, url) as embed:
        matcher = Matcher(categories, embed)
        if item:
            found = matcher.match(item)
            if not as_json:
                for one in found:
                    _tell(one)
        else:
            for text in _typed():
                [one] = matcher.match([text])
                found.append(one)
                if not as_json:
                    _tell(one)
    if as_json:
        render.show_json({"categories": list(matcher.categories), "matches": [one.as_dict() for one in found]})
    page = match_page(found, matcher.categories, "Matches") if report and found else None
    write(page, report if page else None, None, None, quiet=as_json)


def _typed() -> Iterator[str]:
    """Texts of a person, up to an empty line, Ctrl-D or Ctrl-C; of a pipe all lines that hold something."""
    if not sys.stdin.isatty():
        yield from (line.strip() for line in sys.stdin if line.strip())
        return
    while True:
        try:
            text = input(_PROMPT).strip()
        except (EOFError, KeyboardInterrupt):
            render.say()
            return
        if not text:
            return
        yield text


def _tell(found: "Match") -> None:
    render.say(found.text, style="bold")
    rows = [(name, f"{score:.3f}", "█" * max(0, round(score * 40))) for name, score in found.scores]
    render.console().print(render.table(("Category", "Cosine", ""), rows, right=("Cosine",)))
