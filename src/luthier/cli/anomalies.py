"""`luthier outliers`, `diversity` and `dedupe`: rows that are odd, alike, or there twice."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli import render
from luthier.cli.exploring import WIDTH, Seed, Show
from luthier.cli.frames import Source
from luthier.cli.grouped import grouped
from luthier.cli.outputs import PageOutput, PictureOutput, check_targets, write
from luthier.durable import whole_file

if TYPE_CHECKING:
    from luthier.toolkit.dedupe import Duplicates
    from luthier.toolkit.frame import Frame

_GROUPS = 20  # of duplicates in a terminal


class OutlierScore(StrEnum):
    """Scores of `luthier.toolkit.outliers`, whose import is slow."""

    DISTANCE = "distance"
    LOF = "lof"


@grouped
def outliers(
    source: Source,
    out: PictureOutput,
    *,
    score: Annotated[
        OutlierScore, typer.Option("--score", help="Distance to neighbours, or the local outlier factor.")
    ] = OutlierScore.DISTANCE,
    neighbours: Annotated[
        int | None, typer.Option("--neighbors", "--neighbours", help="Rows each is compared with; by default 10.")
    ] = None,
    share: Annotated[
        float | None,
        typer.Option("--share", help="Take this share of the rows, such as 0.02, and not those above a threshold."),
    ] = None,
    seed: Seed = 42,
    show: Show = None,
) -> None:
    """Find rows that are far from all others."""
    from luthier.reports.exploring import outlier_page, outlier_scatter, shorten
    from luthier.toolkit.map import make_map
    from luthier.toolkit.outliers import Score, check_settings, find_outliers
    from luthier.toolkit.shown import shown_texts

    check_targets(out.report, out.png, source=source.file)
    frame = source.load(templates=[show], check=lambda rows: check_settings(neighbours, share, len(rows)))
    texts = shown_texts(frame, show)
    found = find_outliers(frame.vectors, score=Score(score.value), neighbours=neighbours, share=share)
    place = make_map(frame.vectors, seed=seed) if out.report or out.png else None
    if out.as_json:
        render.show_json({"file": source.file.name, **found.as_dict()})
    else:
        rows = [(str(row + 1), f"{found.scores[row]:.3f}", shorten(texts[row], WIDTH)) for row in found.rows]
        if rows:
            render.console().print(render.table(("Row", "Score", "Text"), rows, right=("Row", "Score")))
        render.say(f"{len(rows):,} of {len(frame):,} rows are outliers (threshold {found.threshold:.3f}).")
    if place is None:
        return
    title = f"Outliers in {source.file.name}"
    scatter = outlier_scatter(found, place, texts, title)
    page = outlier_page(scatter, found, texts, title) if out.report else None
    write(page, out.report, scatter.png() if out.png else None, out.png, quiet=out.as_json)


@grouped
def diversity(
    source: Source,
    out: PictureOutput,
    *,
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="COLUMN", help="Measure each value of a column, too.", show_default=False),
    ] = None,
    seed: Seed = 42,
) -> None:
    """Measure how unlike each other the rows are."""
    from luthier.reports.exploring import diversity_page, diversity_png
    from luthier.toolkit.diversity import group_names, measure_diversity

    check_targets(out.report, out.png, source=source.file)
    frame = source.load(check=lambda rows: group_names(list(rows.column(by))) if by is not None else None)
    found = measure_diversity(frame.vectors, list(frame.column(by)) if by is not None else None, seed=seed)
    if out.as_json:
        render.show_json({"file": source.file.name, "by": by, **found.as_dict()})
    else:
        rows = [
            (group.name, f"{group.n_rows:,}", f"{group.mean_similarity:.3f}", f"{group.vendi:.1f}")
            for group in (found.whole, *found.groups)
        ]
        headings = (by or "Group", "Rows", "Mean similarity", "Vendi score")
        render.console().print(render.table(headings, rows, right=headings[1:]))
        spread = ", ".join(f"{at:.0%} {value:.3f}" for at, value in found.quantiles.items())
        render.say(f"Quantiles of the similarity of two rows: {spread}")
    if out.report is None and out.png is None:
        return
    title = f"Diversity of {source.file.name}"
    page = diversity_page(found, by, title) if out.report else None
    write(page, out.report, diversity_png(found, title) if out.png else None, out.png, quiet=out.as_json)


@grouped
def dedupe(
    source: Source,
    out: PageOutput,
    *,
    threshold: Annotated[
        float, typer.Option("--threshold", help="Cosine from which two rows are near duplicates.")
    ] = 0.95,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="OUT", help="Write the rows that stay there.", show_default=False),
    ] = None,
    show: Show = None,
) -> None:
    """Find rows that say the same as an earlier one, and write the others."""
    from luthier.reports.exploring import duplicates_page, shorten
    from luthier.toolkit.dedupe import check_threshold, find_duplicates
    from luthier.toolkit.shown import shown_texts
    from luthier.toolkit.writing import writer_for

    check_targets(out.report, output, source=source.file)
    if output is not None:
        writer_for(output)
    frame = source.load(templates=[show], check=lambda _rows: check_threshold(threshold))
    texts = shown_texts(frame, show)
    found = find_duplicates(frame.vectors, threshold)
    if out.as_json:
        render.show_json({"file": source.file.name, **found.as_dict()})
    else:
        for group in found.groups[:_GROUPS]:
            for row in group.rows:
                word = "keep" if row == group.rows[0] else "drop"
                render.say(f"{word}  {row + 1:>6}  {shorten(texts[row], WIDTH)}")
            render.say()
        if len(found.groups) > _GROUPS:
            render.say(f"… and {len(found.groups) - _GROUPS:,} more groups; --report and --json hold them all.")
        kept = int(found.keep.sum())
        render.say(f"{kept:,} of {len(frame):,} rows stay, {len(frame) - kept:,} repeat one of them.")
    if output is not None:
        _write_kept(frame, found, output, source.column or "embedding")
        if not out.as_json:
            render.say(f"Written  {output}")
    page = duplicates_page(found, texts, f"Near duplicates in {source.file.name}") if out.report else None
    write(page, out.report, None, None, quiet=out.as_json)


def _write_kept(frame: "Frame", found: "Duplicates", output: Path, column: str) -> None:
    """The rows that stay, with their embeddings, as `luthier embed` writes them."""
    import pyarrow as pa  # type: ignore[import-untyped]

    from luthier.toolkit.writing import writer_for

    rows = pa.Table.from_pandas(frame.rows[found.keep], preserve_index=False)
    vectors = frame.vectors[found.keep]
    told = {name: value for name, value in (("model", frame.model), ("text", frame.text)) if value is not None}
    write = writer_for(output)
    with whole_file(output) as file, write(file, rows.schema, column, vectors.shape[1], told) as put:
        put(rows, vectors)
