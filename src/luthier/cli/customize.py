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
    from luthier.toolkit.customize_search import Progress
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
    pairs.check(source.text)
    if source.url and result.name:
        raise InvalidRequestError(
            "--name keeps a model of this machine's weights, and --url has others embed. Leave one of them out; "
            "--matrix writes the matrix to a file."
        )
    search = options.search()
    check_targets(result.matrix, out.report)
    keeper = Keeper(source.model, result.name, result.replace) if result.name else None
    if pairs.are_made:
        from luthier.toolkit.customize import customize_classes

        vectors, classes = _classes(source, pairs, keeps=keeper is not None)
        if keeper is not None:
            keeper.ready()
        with _progress() as tell:
            made = customize_classes(
                vectors,
                classes,
                search,
                negatives=1 if pairs.negatives is None else pairs.negatives,
                pairs_per_text=pairs.pairs_per_text,
                test_fraction=pairs.test_fraction,
                progress=tell,
            )
    else:
        from luthier.toolkit.customize import customize_pairs
        from luthier.toolkit.customize_pairs import pairs_of_rows
        from luthier.toolkit.frame import read_rows

        rows = read_rows(source.file)[: pairs.limit]
        known = pairs.label or ("label" if "label" in rows.columns or pairs.positive or pairs.negative else None)
        texts, told = pairs_of_rows(rows, pairs.text_1, pairs.text_2, known, pairs.positive, pairs.negative)
        with frames.embedder(source.model, source.url) as embed:
            vectors = embed(texts)
        if keeper is not None:
            keeper.ready()
        with _progress() as tell:
            made = customize_pairs(
                vectors,
                told,
                search,
                negatives=pairs.negatives,
                test_fraction=pairs.test_fraction,
                drop_shared=not pairs.keep_shared,
                progress=tell,
            )
    finish(made, search, keeper, source.file, result, out)


def _classes(source: PairSource, pairs: PairOptions, *, keeps: bool) -> "tuple[Floats, Any]":
    """The embeddings of a file's rows, and the class of each or the number of clusters."""
    import pandas as pd

    def classes(frame: "Frame") -> Any:
        if pairs.clusters is not None:
            return pairs.clusters
        assert pairs.class_column is not None  # one of the two was given
        values = frame.column(pairs.class_column)
        if values.isna().any():
            row = int(values.isna().to_numpy().argmax()) + 1
            raise DataError(
                f"Row {row} of {source.file.name} has no class in the column '{pairs.class_column}'. Leave the row out."
            )
        return pd.factorize(values.astype(str))[0].astype("int64")

    frame = source.load(limit=pairs.limit, check=classes)
    if keeps and frame.model not in (None, source.model):
        raise InvalidRequestError(
            f"{source.file.name} holds embeddings of '{frame.model}', and the model to be kept would stand on "
            f"'{source.model}'. Give -m {frame.model}."
        )
    return frame.vectors, classes(frame)


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
