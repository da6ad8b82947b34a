"""`luthier customize`: a matrix that fits embeddings to pairs of one's own, and the model that it makes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli import frames, outputs, render
from luthier.errors import DataError, InvalidRequestError

if TYPE_CHECKING:
    from luthier.toolkit.customize import Customization
    from luthier.toolkit.customize_search import Progress, Search
    from luthier.types import Floats

_PAIRS = "Pairs"
_SEARCH = "Search"
_RESULT = "Result"


def customize(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Pairs of texts with a label, or, with --class or --clusters, texts. Parquet, CSV, TSV or JSONL.",
            show_default=False,
        ),
    ],
    text_1: Annotated[
        str, typer.Option("--text-1", help="Column of the first texts.", rich_help_panel=_PAIRS)
    ] = "text_1",
    text_2: Annotated[
        str, typer.Option("--text-2", help="Column of the second texts.", rich_help_panel=_PAIRS)
    ] = "text_2",
    label: Annotated[
        str | None,
        typer.Option(
            "--label",
            help="Column of 1 (alike) and -1 (not alike); `label` by default. Without one, all pairs are alike.",
            rich_help_panel=_PAIRS,
            show_default=False,
        ),
    ] = None,
    positive: Annotated[
        str | None,
        typer.Option(
            "--positive",
            help="The label's word for alike, such as entailment. Rows with other words are left out.",
            rich_help_panel=_PAIRS,
            show_default=False,
        ),
    ] = None,
    negative: Annotated[
        str | None,
        typer.Option("--negative", help="The label's word for not alike.", rich_help_panel=_PAIRS, show_default=False),
    ] = None,
    class_column: Annotated[
        str | None,
        typer.Option(
            "--class",
            metavar="COLUMN",
            help="Make the pairs: texts of one class are alike, of different classes not.",
            rich_help_panel=_PAIRS,
            show_default=False,
        ),
    ] = None,
    clusters: Annotated[
        int | None,
        typer.Option(
            "--clusters",
            help="Make the pairs from so many clusters (k-means) of the texts.",
            rich_help_panel=_PAIRS,
            show_default=False,
        ),
    ] = None,
    pairs_per_text: Annotated[
        int, typer.Option(help="With --class and --clusters: positive pairs for each text.", rich_help_panel=_PAIRS)
    ] = 5,
    negatives: Annotated[
        int | None,
        typer.Option(
            help="Negatives to be made for each positive pair; by default 1 where FILE has none.",
            rich_help_panel=_PAIRS,
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Use the first rows alone.", rich_help_panel=_PAIRS, show_default=False),
    ] = None,
    test_fraction: Annotated[
        float, typer.Option(help="Share of the rows that is kept for the test.", rich_help_panel=_PAIRS)
    ] = 0.5,
    keep_shared: Annotated[
        bool,
        typer.Option("--keep-shared", help="Learn also from rows with a text of a test row.", rich_help_panel=_PAIRS),
    ] = False,
    text: frames.TextTemplate = None,
    column: frames.VectorColumn = None,
    model: frames.Model = frames.DEFAULT_MODEL,
    url: frames.EngineUrl = None,
    batch_size: Annotated[
        str, typer.Option(help="Pairs of one step: numbers to be tried.", rich_help_panel=_SEARCH)
    ] = "32,128",
    rate: Annotated[str, typer.Option(help="Learning rates to be tried.", rich_help_panel=_SEARCH)] = "0.0003,0.001",
    dropout: Annotated[str, typer.Option(help="Dropouts to be tried, 0 to 0.99.", rich_help_panel=_SEARCH)] = "0,0.2",
    width: Annotated[
        str,
        typer.Option(help="Widths of the result to be tried; 0 is the embeddings' own.", rich_help_panel=_SEARCH),
    ] = "0",
    whitening: Annotated[
        str, typer.Option(help="Strengths of the start to be tried; 0 is none.", rich_help_panel=_SEARCH)
    ] = "0.01,0.03,0.1,0.3",
    max_epochs: Annotated[int, typer.Option(help="Of each run.", rich_help_panel=_SEARCH)] = 20,
    folds: Annotated[
        int,
        typer.Option(help="Parts of the training rows; each is held out once to choose by.", rich_help_panel=_SEARCH),
    ] = 5,
    seed: Annotated[
        int, typer.Option(min=0, help="Of the split and all that is drawn.", rich_help_panel=_SEARCH)
    ] = 123,
    name: Annotated[
        str | None,
        typer.Option(
            help="Keep the result as the model MODEL:custom-NAME, which /v1/embeddings serves.",
            rich_help_panel=_RESULT,
            show_default=False,
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of a model of that name.", rich_help_panel=_RESULT)
    ] = False,
    matrix: Annotated[
        Path | None,
        typer.Option(
            metavar="NPY", help="Write the matrix there, for NumPy.", rich_help_panel=_RESULT, show_default=False
        ),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write a CSV for each run there: epoch, type, loss, accuracy and what was tried.",
            rich_help_panel=_RESULT,
            show_default=False,
        ),
    ] = None,
    as_json: outputs.AsJson = False,
    report: outputs.Report = None,
) -> None:
    """Fit embeddings to your own pairs of texts: learn a matrix, and keep the result as a model that can be asked.

    The rows are split before negatives are made; what is best is chosen by rows of the training half that each run has
    not seen; the test half is looked at once. Ctrl-C keeps the best so far.
    """
    from luthier.toolkit.customize_search import Search

    _check_together(class_column, clusters, text, positive, negative, label, url, name)
    search = Search(
        batch_sizes=_numbers("--batch-size", batch_size, int),
        learning_rates=_numbers("--rate", rate, float),
        dropouts=_numbers("--dropout", dropout, float),
        widths=_numbers("--width", width, int),
        whitenings=_numbers("--whitening", whitening, float),
        max_epochs=max_epochs,
        n_folds=folds,
        seed=seed,
    )
    search.check()
    keep = _Keeper(model, name, replace) if name else None
    if class_column is not None or clusters is not None:
        vectors, classes = _classes(file, class_column, clusters, text, column, model, url, limit, name)
        with _progress() as tell:
            from luthier.toolkit.customize import customize_classes

            made = customize_classes(
                vectors,
                classes,
                search,
                negatives=1 if negatives is None else negatives,
                pairs_per_text=pairs_per_text,
                test_fraction=test_fraction,
                progress=tell,
            )
    else:
        from luthier.toolkit.customize import customize_pairs
        from luthier.toolkit.customize_pairs import pairs_of_rows
        from luthier.toolkit.frame import read_rows

        rows = read_rows(file)[:limit]
        known = label or ("label" if "label" in rows.columns or positive or negative else None)
        texts, pairs = pairs_of_rows(rows, text_1, text_2, known, positive, negative)
        with frames.embedder(model, url) as embed:
            vectors = embed(texts)
        with _progress() as tell:
            made = customize_pairs(
                vectors,
                pairs,
                search,
                negatives=negatives,
                test_fraction=test_fraction,
                drop_shared=not keep_shared,
                progress=tell,
            )
    _finish(made, search, keep, file, matrix, results, report, as_json=as_json)


def _check_together(
    class_column: str | None,
    clusters: int | None,
    text: str | None,
    positive: str | None,
    negative: str | None,
    label: str | None,
    url: str | None,
    name: str | None,
) -> None:
    """
    Raises:
        InvalidRequestError: options that do not go together.
    """
    made = class_column is not None or clusters is not None
    for wrong, words in (
        (class_column is not None and clusters is not None, "Give --class or --clusters, not both."),
        (made and (positive or negative or label), "With --class or --clusters there are no labels of pairs to name."),
        (not made and text, "--text goes with --class or --clusters. The texts of pairs are --text-1 and --text-2."),
        (negative and not positive, "Give --positive too, the label's word for alike."),
        (
            url and name,
            "--name keeps a model of this machine's weights, and --url has others embed. Leave one of them out; "
            "--matrix writes the matrix to a file.",
        ),
    ):
        if wrong:
            raise InvalidRequestError(words)


def _numbers(option: str, text: str, kind: type[Any]) -> tuple[Any, ...]:
    try:
        return tuple(kind(part) for part in text.split(",") if part.strip())
    except ValueError:
        whole = "whole numbers, such as 32,128" if kind is int else "numbers, such as 0,0.2"
        raise InvalidRequestError(f"{option} has {text!r}, where {whole}, are wanted.") from None


def _classes(
    file: Path,
    class_column: str | None,
    clusters: int | None,
    text: str | None,
    column: str | None,
    model: str,
    url: str | None,
    limit: int | None,
    name: str | None,
) -> "tuple[Floats, Any]":
    """The embeddings of a file's rows, and the class of each or the number of clusters."""
    import pandas as pd

    frame = frames.load_frame(file, text=text, column=column, model=model, url=url)
    if name and frame.model not in (None, model):
        raise InvalidRequestError(
            f"{file.name} holds embeddings of '{frame.model}', and the model to be kept would stand on '{model}'. "
            f"Give -m {frame.model}."
        )
    vectors = frame.vectors[:limit]
    if clusters is not None:
        return vectors, clusters
    assert class_column is not None  # one of the two was given
    values = frame.column(class_column)[:limit]
    if values.isna().any():
        row = int(values.isna().to_numpy().argmax()) + 1
        raise DataError(f"Row {row} of {file.name} has no class in the column '{class_column}'. Leave the row out.")
    return vectors, pd.factorize(values.astype(str))[0].astype("int64")


class _Keeper:
    """Keeps a result as a model; finds out before the work whether it can."""

    def __init__(self, model: str, name: str, replace: bool) -> None:
        from luthier.config import load_settings
        from luthier.embedding.projection import MARK, CustomModels, custom_name
        from luthier.modeling.bases import BaseStore
        from luthier.modeling.encoder_card import EncoderCard

        settings = load_settings()
        if MARK in model:
            raise InvalidRequestError(f"'{model}' is customized already. Customize '{model.partition(MARK)[0]}' anew.")
        self.id = custom_name(model, name)
        self._model, self._replace = model, replace
        self._store = CustomModels(settings)
        if not replace:
            self._store.refuse_taken(self.id)
        self._base = BaseStore(settings).ensure(model)
        self._width = EncoderCard.read(self._base.path).dimensions

    def keep(self, made: "Customization") -> Path:
        from luthier.embedding.projection import CustomModel, revision_of

        width, dimensions = made.matrix.shape
        if width != self._width:
            raise DataError(
                f"The embeddings have {width} numbers, and those of '{self._model}' {self._width}: they are another "
                "model's. Name it with -m."
            )
        card = CustomModel(
            id=self.id,
            base=self._model,
            key=self._base.key,
            revision=revision_of(self._base),
            width=width,
            dimensions=dimensions,
            threshold=made.learned.threshold,
            created_at=0,
            figures={"before": made.before.as_dict(), "after": made.after.as_dict()},
        )
        return self._store.save(card, made.matrix, replaces=self._replace)


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


def _finish(
    made: "Customization",
    search: "Search",
    keeper: _Keeper | None,
    file: Path,
    matrix: Path | None,
    results: Path | None,
    report: Path | None,
    *,
    as_json: bool,
) -> None:
    """Write what was asked for, and tell what came of it."""
    import numpy as np

    kept = keeper.keep(made) if keeper else None
    if matrix is not None:
        with matrix.open("wb") as out:
            np.save(out, made.matrix)
    if results is not None:
        results.mkdir(parents=True, exist_ok=True)
        for number, run in enumerate(made.learned.runs):
            table = run.table(number, search.max_epochs)
            table.to_csv(results / f"{number}_optimization_results.csv", index=False)
    if report is not None:
        from luthier.reports.customizing import customizing_page

        customizing_page(made, file.name).write(report)
    if as_json:
        model = {"model": keeper.id, "folder": str(kept)} if keeper else {}
        render.show_json({**model, **made.as_dict()})
        return
    _tell(made)
    if keeper:
        render.say(f"\nKept as {keeper.id}: ask it at /v1/embeddings, or with -m here.")


def _tell(made: "Customization") -> None:
    dropped = f", {made.n_dropped} left out for a text of a test row" if made.n_dropped else ""
    render.say(f"{made.n_train:,} rows to learn from{dropped}; {len(made.labels):,} pairs to test on.")
    rows = [
        (when, str(side.chosen), f"{side.chosen.threshold:.3f}", str(side.best), f"{side.best.threshold:.3f}")
        for when, side in (("before", made.before), ("after", made.after))
    ]
    columns = ("Test rows", "Accuracy", "Threshold", "At the best threshold", "which is")
    render.console().print(render.table(columns, rows, right=columns[1:]))
    run = made.learned.runs[made.learned.chosen]
    learnt = (
        f"batch size {run.recipe.batch_size}, rate {run.recipe.learning_rate:g}, dropout {run.recipe.dropout:g}, "
        f"{run.epoch} epochs, from "
        if run.recipe.batch_size
        else ""
    )
    found = f"{learnt}whitening {run.recipe.whitening:g}"
    if not learnt and not run.recipe.whitening:
        found = "the embeddings as they are"
    ended = "Ended early; the best until then" if made.learned.interrupted else "The best"
    render.say(
        f"{ended} of {len(made.learned.runs)} runs: {found}; {made.matrix.shape[0]} numbers become "
        f"{made.matrix.shape[1]}. ± is 1.96 standard errors; the threshold was chosen by training rows."
    )
