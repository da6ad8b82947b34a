"""`luthier recommend`: rows like those that somebody likes."""

from typing import Annotated

import typer

from luthier.cli import render
from luthier.cli.exploring import WIDTH, Show, rows_from_1
from luthier.cli.frames import Source
from luthier.cli.grouped import grouped
from luthier.cli.outputs import PageOutput, check_targets, write


@grouped
def recommend(
    source: Source,
    out: PageOutput,
    *,
    like: Annotated[
        list[int],
        typer.Option("--like", metavar="ROW", help="A row that is liked, counted from 1; may be given often."),
    ],
    dislike: Annotated[
        list[int] | None,
        typer.Option("--dislike", metavar="ROW", help="A row that is not; may be given often.", show_default=False),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="How many recommendations.")] = 5,
    diversity: Annotated[
        float, typer.Option("--diversity", help="From 0, the nearest, to below 1, the most unlike each other.")
    ] = 0.0,
    show: Show = None,
) -> None:
    """Recommend rows like those that are liked, and unlike those that are not."""
    from luthier.reports.exploring import recommendation_page, shorten
    from luthier.toolkit.recommend import check_wish
    from luthier.toolkit.recommend import recommend as find
    from luthier.toolkit.shown import shown_texts

    check_targets(out.report, source=source.file)
    likes, dislikes = rows_from_1(like), rows_from_1(dislike)
    frame = source.load(
        templates=[show], check=lambda rows: check_wish(likes, dislikes, k=k, diversity=diversity, n=len(rows))
    )
    texts = shown_texts(frame, show)
    found = find(frame.vectors, likes, dislikes, k=k, diversity=diversity)
    if out.as_json:
        answer = {"file": source.file.name, **found.as_dict()}
        for item in answer["recommendations"]:
            item["text"] = texts[item["row"] - 1]
        render.show_json(answer)
    else:
        for word, rows in (("Liked", found.likes), ("Disliked", found.dislikes)):
            for row in rows:
                render.say(f"{word:<9}{row + 1:>5}  {shorten(texts[row], WIDTH)}")
        lines = [(str(item.row + 1), f"{item.score:.3f}", shorten(texts[item.row], WIDTH)) for item in found.found]
        render.say()
        render.console().print(render.table(("Row", "Score", "Text"), lines, right=("Row", "Score")))
    page = recommendation_page(found, texts, f"Recommendations from {source.file.name}") if out.report else None
    write(page, out.report, None, None, quiet=out.as_json)
