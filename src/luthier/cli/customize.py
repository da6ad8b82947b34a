"""`luthier customize`: a matrix that fits embeddings to pairs of one's own, and the model that it makes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from luthier.cli import frames, render
from luthier.cli.customize_options import PairOptions, PairSource, ResultOptions, SearchOptions
from luthier.cli.customize_result import Keeper, finish
from luthier.cli.grouped import grouped
from luthier.cli.outputs import PageOutput, check_targets
from luthier.errors import DataError, InvalidRequestError

if TYPE_CHECKING:
    from luthier.toolkit.customize import Plan
    from luthier.toolkit.customize_search import Progress, Search
    from luthier.toolkit.frame import Frame
    from luthier.types import Floats


@grouped
def customize(
    pairs: PairOptions, source: PairSource, options: SearchOptions, result: ResultOptions, out: PageOutput
) -> None:
    """Fit embeddings to your own pairs of texts: learn a matrix, and keep the result as a model that can be asked.

    The rows are split before negatives are made; what is best is chosen by rows of the training half that each run has
    not seen; the test half is looked at once. Ctrl-C keeps the best so far.
    """
    from luthier.toolkit.customize import fit

    pairs.check(source.text)
    if source.url and result.name:
        raise InvalidRequestError(
            "--name keeps a model of this machine's weights, and --url has others embed. Leave one of them out; "
            "--matrix writes the matrix to a file."
        )
    search = options.search()
    check_targets(result.matrix, out.report)
    if result.results is not None and result.results.exists() and not result.results.is_dir():
        raise InvalidRequestError(f"{result.results} is a file. Name a folder for --results.")
    keeper = Keeper(source.model, result.name, result.replace) if result.name else None
    if pairs.are_made:
        plan, vectors = _texts(source, pairs, search, keeps=keeper is not None)
    else:
        plan, vectors = _pairs(source, pairs, search)
    if keeper is not None:
        keeper.ready()
    with _progress() as tell:
        made = fit(plan, vectors, tell)
    finish(made, search, keeper, source.file, result, out)


def _pairs(source: PairSource, pairs: PairOptions, search: "Search") -> "tuple[Plan, Floats]":
    """What a file of pairs asks for, and the embeddings of its texts. Refuses bad rows before it embeds."""
    from luthier.toolkit.customize import plan_pairs
    from luthier.toolkit.customize_pairs import pairs_of_rows
    from luthier.toolkit.frame import read_rows

    rows = read_rows(source.file)[: pairs.limit]
    known = pairs.label or ("label" if "label" in rows.columns or pairs.positive or pairs.negative else None)
    texts, told = pairs_of_rows(rows, pairs.text_1, pairs.text_2, known, pairs.positive, pairs.negative)
    plan = plan_pairs(
        told,
        search,
        negatives=pairs.negatives,
        test_fraction=pairs.test_fraction,
        drop_shared=not pairs.keep_shared,
    )
    with frames.embedder(source.model, source.url) as embed:
        return plan, embed(texts)


def _texts(source: PairSource, pairs: PairOptions, search: "Search", *, keeps: bool) -> "tuple[Plan, Floats]":
    """As `_pairs`, for a file of texts that pairs are made of by class or cluster."""
    import pandas as pd

    from luthier.toolkit.customize import plan_classes, plan_clusters
    from luthier.toolkit.customize_made import check_clusters
    from luthier.toolkit.customize_pairs import split_texts

    made: dict[str, Any] = {
        "negatives": 1 if pairs.negatives is None else pairs.negatives,
        "pairs_per_text": pairs.pairs_per_text,
        "test_fraction": pairs.test_fraction,
    }

    def by_class(frame: "Frame") -> "Plan":
        assert pairs.class_column is not None  # or there would be clusters
        values = frame.column(pairs.class_column)
        if values.isna().any():
            row = int(values.isna().to_numpy().argmax()) + 1
            raise DataError(
                f"Row {row} of {source.file.name} has no class in the column '{pairs.class_column}'. Leave the row out."
            )
        classes = pd.factorize(values.astype(str))[0].astype("int64")
        return plan_classes(classes[frame.distinct()], search, **made)

    def check(frame: "Frame") -> None:
        if pairs.clusters is None:
            by_class(frame)
        else:
            n_texts = len(frame.distinct())
            check_clusters(pairs.clusters, len(split_texts(n_texts, pairs.test_fraction, search.seed)[0]))

    frame = source.load(limit=pairs.limit, check=check)
    if keeps and frame.model not in (None, source.model):
        raise InvalidRequestError(
            f"{source.file.name} holds embeddings of '{frame.model}', and the model to be kept would stand on "
            f"'{source.model}'. Give -m {frame.model}."
        )
    vectors = frame.vectors[frame.distinct()]  # a text in two rows would be learnt from and tested on
    if pairs.clusters is None:
        return by_class(frame), vectors
    return plan_clusters(vectors, pairs.clusters, search, **made), vectors


@contextmanager
def _progress() -> "Iterator[Callable[[Progress], None]]":
    """A bar on standard error with what was tried last and the time left."""
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(), TextColumn("{task.percentage:>3.0f}% {task.fields[left]}"), "{task.description}")
    with Bar(*columns, console=render.console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, left="")

        def tell(progress: "Progress") -> None:
            left = "" if progress.seconds_left is None else f"{render.duration(progress.seconds_left)} left"
            bar.update(task, completed=progress.done, total=progress.total, left=left, description=progress.message)

        yield tell
