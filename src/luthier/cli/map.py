"""`luthier map`: embeddings in two or three dimensions."""

from enum import StrEnum
from typing import Annotated

import typer

from luthier.cli import render
from luthier.cli.exploring import Seed, Show
from luthier.cli.frames import Source
from luthier.cli.grouped import grouped
from luthier.cli.outputs import PictureOutput, check_targets, write


class MapMethod(StrEnum):
    """Methods of `luthier.toolkit.map`, whose import is slow."""

    PCA = "pca"
    TSNE = "tsne"
    UMAP = "umap"


@grouped
def map_(
    source: Source,
    out: PictureOutput,
    *,
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
) -> None:
    """Draw a map on which rows that are alike lie together."""
    from luthier.reports.exploring import map_page, map_scatter
    from luthier.toolkit.map import Method, check_settings, make_map
    from luthier.toolkit.shown import shown_texts

    check_targets(out.report, out.png, source=source.file)
    kind = Method(method.value)
    frame = source.load(
        columns=[color], templates=[show], check=lambda rows: check_settings(kind, perplexity, neighbours, len(rows))
    )
    colours = frame.column(color) if color is not None else None
    texts = shown_texts(frame, show)
    found = make_map(frame.vectors, kind, dims, seed=seed, perplexity=perplexity, neighbours=neighbours)
    if out.as_json:
        render.show_json({"file": source.file.name, **found.as_dict()})
    else:
        told = ", ".join(f"{name} {value:g}" for name, value in found.settings.items())
        rows = [("Map", f"{len(frame):,} rows in {dims} dimensions by {kind.written} ({told})")]
        if found.explained:
            rows.append(("Explained", ", ".join(f"{share:.1%}" for share in found.explained) + " of the variance"))
        render.console().print(render.details(rows))
        if out.report is None and out.png is None:
            render.say("Nothing is drawn yet: add --report map.html or --png map.png, or --json for the places.")
    if out.report is None and out.png is None:
        return
    by = f", by {color}" if color else ""
    title = f"Map of {source.file.name}{by}"
    scatter = map_scatter(found, texts, colours, title)
    page = map_page(scatter, found, title) if out.report else None
    write(page, out.report, scatter.png() if out.png else None, out.png, quiet=out.as_json)
