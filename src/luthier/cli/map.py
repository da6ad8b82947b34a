"""`luthier map`: embeddings in two or three dimensions."""

from enum import StrEnum
from typing import Annotated

import typer

from luthier.cli import render
from luthier.cli.exploring import Png, Seed, Show, check_targets, write
from luthier.cli.frames import (
    DEFAULT_MODEL,
    AsJson,
    EngineUrl,
    File,
    Model,
    Report,
    TextTemplate,
    VectorColumn,
    load_frame,
)


class MapMethod(StrEnum):
    """Methods of `luthier.toolkit.map`, whose import is slow."""

    PCA = "pca"
    TSNE = "tsne"
    UMAP = "umap"


def map_(
    file: File,
    color: Annotated[
        str | None, typer.Option("--color", metavar="COLUMN", help="Colour the points by a column.", show_default=False)
    ] = None,
    method: Annotated[MapMethod, typer.Option("--method", help="How the map is made.")] = MapMethod.TSNE,
    dims: Annotated[int, typer.Option("--dims", min=2, max=3, help="Dimensions of the map.")] = 2,
    perplexity: Annotated[
        float | None,
        typer.Option("--perplexity", help="Of t-SNE: about how many neighbours a row has; by default 30."),
    ] = None,
    neighbours: Annotated[
        int | None, typer.Option("--neighbors", "--neighbours", help="Of UMAP, by default 15.")
    ] = None,
    seed: Seed = 42,
    show: Show = None,
    text: TextTemplate = None,
    column: VectorColumn = None,
    model: Model = DEFAULT_MODEL,
    url: EngineUrl = None,
    as_json: AsJson = False,
    report: Report = None,
    png: Png = None,
) -> None:
    """Draw a map on which rows that are alike lie together."""
    from luthier.reports.exploring import map_page, map_scatter
    from luthier.toolkit.map import Method, make_map
    from luthier.toolkit.shown import shown_texts

    check_targets(report, png)
    frame = load_frame(file, text=text, column=column, model=model, url=url)
    colours = frame.column(color) if color is not None else None
    texts = shown_texts(frame, show)
    kind = Method(method.value)
    found = make_map(frame.vectors, kind, dims, seed=seed, perplexity=perplexity, neighbours=neighbours)
    if as_json:
        render.show_json({"file": file.name, **found.as_dict()})
    else:
        told = ", ".join(f"{name} {value:g}" for name, value in found.settings.items())
        rows = [("Map", f"{len(frame):,} rows in {dims} dimensions by {kind.written} ({told})")]
        if found.explained:
            rows.append(("Explained", ", ".join(f"{share:.1%}" for share in found.explained) + " of the variance"))
        render.console().print(render.details(rows))
        if report is None and png is None:
            render.say("Nothing is drawn yet: add --report map.html or --png map.png, or --json for the places.")
    if report is None and png is None:
        return
    by = f", by {color}" if color else ""
    title = f"Map of {file.name}{by}"
    scatter = map_scatter(found, texts, colours, title)
    page = map_page(scatter, found, title) if report else None
    write(page, report, scatter.png() if png else None, png, quiet=as_json)
