"""`luthier cluster`: groups of rows that are like each other, with names."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli import render
from luthier.cli.exploring import WIDTH, Seed, Show
from luthier.cli.frames import Source
from luthier.cli.grouped import grouped
from luthier.cli.outputs import PictureOutput, check_targets, write
from luthier.errors import InvalidRequestError

if TYPE_CHECKING:
    from luthier.toolkit.cluster import Clustering
    from luthier.toolkit.frame import Frame
    from luthier.types import Floats


class ClusterMethod(StrEnum):
    """Methods of `luthier.toolkit.cluster`, whose import is slow."""

    KMEANS = "kmeans"
    HDBSCAN = "hdbscan"


@grouped
def cluster(
    source: Source,
    out: PictureOutput,
    *,
    k: Annotated[int | None, typer.Option("-k", help="Number of clusters.", show_default=False)] = None,
    auto: Annotated[
        bool, typer.Option("--auto", help="Choose the number, from 2 to 12, by silhouette; so it is without -k.")
    ] = False,
    method: Annotated[
        ClusterMethod, typer.Option("--method", help="k-means, or dense regions, with rows that belong nowhere.")
    ] = ClusterMethod.KMEANS,
    min_size: Annotated[
        int | None,
        typer.Option("--min-size", help="With hdbscan: rows of a cluster; by default 1 in 100.", show_default=False),
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option("--mean", metavar="COLUMN", help="Mean of a column in each cluster.", show_default=False),
    ] = None,
    samples: Annotated[int, typer.Option("--samples", min=1, help="Rows shown of each cluster.")] = 3,
    name_with: Annotated[
        str | None,
        typer.Option(
            "--name-with",
            metavar="MODEL",
            help="Have a completion model name each cluster too, such as ada.",
            show_default=False,
        ),
    ] = None,
    kind: Annotated[str, typer.Option("--kind", help="With --name-with: what the texts are.")] = "customer reviews",
    seed: Seed = 42,
    show: Show = None,
) -> None:
    """Group rows that are alike, and say what each group is about."""
    from luthier.reports.exploring import cluster_page, cluster_scatter, shorten
    from luthier.toolkit.cluster import check_k, check_size
    from luthier.toolkit.map import make_map
    from luthier.toolkit.naming import distinctive_terms
    from luthier.toolkit.shown import shown_texts

    _check(k, auto, method, min_size)
    check_targets(out.report, out.png, source=source.file)

    def fitting(frame: "Frame") -> None:
        if k is not None:
            check_k(k, len(frame))
        if min_size is not None:
            check_size(min_size, len(frame))
        if mean is not None:
            frame.numbers(mean)

    frame = source.load(templates=[show], check=fitting)
    values = frame.numbers(mean) if mean is not None else None
    texts = shown_texts(frame, show)
    found = _find(frame.vectors, k, method, min_size, samples, seed)
    terms = distinctive_terms(texts, found.labels)
    names = [", ".join(terms[cluster.label]) or "(no words)" for cluster in found.clusters]
    themes = _themes(found, texts, name_with, source.url, kind) if name_with is not None else None
    means = found.means(values) if values is not None else None
    place = make_map(frame.vectors, seed=seed) if out.report or out.png else None
    if out.as_json:
        answer = {"file": source.file.name, **found.as_dict()}
        for at, item in enumerate(answer["clusters"]):
            item["terms"] = list(terms[at])
            item |= {"theme": themes[at]} if themes else {}
            item |= {"mean": {mean: round(means[at], 6)}} if means else {}
        render.show_json(answer)
    else:
        headings = ["Cluster", "Rows", *([f"Mean {mean}"] if means else []), "Terms", *(["Theme"] if themes else [])]
        rows = [
            (
                str(item.label),
                f"{item.size:,}",
                *([f"{means[at]:.2f}"] if means else []),
                names[at],
                *([themes[at]] if themes else []),
            )
            for at, item in enumerate(found.clusters)
        ]
        render.console().print(render.table(headings, rows, right=("Rows", f"Mean {mean}")))
        outside = int((found.labels == -1).sum())
        if outside:
            render.say(f"{outside:,} of {len(frame):,} rows are in no cluster.")
        if found.silhouette is not None:
            render.say(f"Silhouette {found.silhouette:.3f}")
        for item in found.clusters:
            render.say(f"\nCluster {item.label}", style="bold")
            for row in item.nearest:
                render.say(f"  {row + 1:>6}  {shorten(texts[row], WIDTH)}")
    if place is None:
        return
    title = f"Clusters in {source.file.name}"
    called = [f"{theme} ({name})" for theme, name in zip(themes, names, strict=True)] if themes else names
    scatter = cluster_scatter(found, place, called, texts, title)
    told = (mean, means) if mean is not None and means is not None else None
    page = cluster_page(scatter, found, called, told, texts, title) if out.report else None
    write(page, out.report, scatter.png() if out.png else None, out.png, quiet=out.as_json)


def _check(k: int | None, auto: bool, method: ClusterMethod, min_size: int | None) -> None:
    """
    Raises:
        InvalidRequestError: options that contradict each other.
    """
    if k is not None and auto:
        raise InvalidRequestError("-k says the number of clusters and --auto chooses it: give one of the two.")
    if method is ClusterMethod.HDBSCAN and (k is not None or auto):
        raise InvalidRequestError("hdbscan finds the number of clusters itself: leave out -k and --auto.")
    if method is ClusterMethod.KMEANS and min_size is not None:
        raise InvalidRequestError("--min-size is for --method hdbscan; k-means has clusters of any size.")


def _find(
    vectors: "Floats", k: int | None, method: ClusterMethod, min_size: int | None, samples: int, seed: int
) -> "Clustering":
    from luthier.toolkit.cluster import best_kmeans, hdbscan, kmeans

    if method is ClusterMethod.HDBSCAN:
        return hdbscan(vectors, min_size=min_size, seed=seed, nearest=samples)
    if k is not None:
        return kmeans(vectors, k, seed=seed, nearest=samples)
    return best_kmeans(vectors, seed=seed, nearest=samples)


def _themes(found: "Clustering", texts: list[str], model: str, url: str | None, kind: str) -> list[str]:
    """What a completion model says that the texts nearest to each centre have in common."""
    from luthier.cli.completer import completer
    from luthier.toolkit.naming import ask_name

    with completer(model, url) as complete:
        return [ask_name([texts[row] for row in item.nearest], complete, kind) for item in found.clusters]
