"""The options of `luthier customize`: its pairs, its search, and what becomes of the result."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli.frames import Source
from luthier.cli.outputs import ends_in
from luthier.errors import InvalidRequestError

if TYPE_CHECKING:
    from luthier.toolkit.customize_search import Search

_PAIRS = "Pairs"
_SEARCH = "Search"
_RESULT = "Result"


@dataclass(frozen=True)
class PairSource(Source):
    """A file of pairs, or of texts that pairs are made of, and who embeds them."""

    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Pairs of texts with a label, or, with --class or --clusters, texts. Parquet, CSV, TSV or JSONL.",
            show_default=False,
        ),
    ]


@dataclass(frozen=True)
class PairOptions:
    """Which pairs there are, or how they are made."""

    text_1: Annotated[str, typer.Option("--text-1", help="Column of the first texts.", rich_help_panel=_PAIRS)] = (
        "text_1"
    )
    text_2: Annotated[str, typer.Option("--text-2", help="Column of the second texts.", rich_help_panel=_PAIRS)] = (
        "text_2"
    )
    label: Annotated[
        str | None,
        typer.Option(
            "--label",
            help="Column of 1 (alike) and -1 (not alike); `label` by default. Without one, all pairs are alike.",
            rich_help_panel=_PAIRS,
            show_default=False,
        ),
    ] = None
    positive: Annotated[
        str | None,
        typer.Option(
            "--positive",
            help="The label's word for alike, such as entailment. Rows with other words are left out.",
            rich_help_panel=_PAIRS,
            show_default=False,
        ),
    ] = None
    negative: Annotated[
        str | None,
        typer.Option("--negative", help="The label's word for not alike.", rich_help_panel=_PAIRS, show_default=False),
    ] = None
    class_column: Annotated[
        str | None,
        typer.Option(
            "--class",
            metavar="COLUMN",
            help="Make the pairs: texts of one class are alike, of different classes not.",
            rich_help_panel=_PAIRS,
            show_default=False,
        ),
    ] = None
    clusters: Annotated[
        int | None,
        typer.Option(
            "--clusters",
            help="Make the pairs from so many clusters (k-means) of the texts.",
            rich_help_panel=_PAIRS,
            show_default=False,
        ),
    ] = None
    pairs_per_text: Annotated[
        int, typer.Option(help="With --class and --clusters: positive pairs for each text.", rich_help_panel=_PAIRS)
    ] = 5
    negatives: Annotated[
        int | None,
        typer.Option(
            help="Negatives to be made for each positive pair; by default 1 where FILE has none.",
            rich_help_panel=_PAIRS,
            show_default=False,
        ),
    ] = None
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Use the first rows alone.", rich_help_panel=_PAIRS, show_default=False),
    ] = None
    test_fraction: Annotated[
        float, typer.Option(help="Share of the rows that is kept for the test.", rich_help_panel=_PAIRS)
    ] = 0.5
    keep_shared: Annotated[
        bool,
        typer.Option("--keep-shared", help="Learn also from rows with a text of a test row.", rich_help_panel=_PAIRS),
    ] = False

    @property
    def are_made(self) -> bool:
        """Whether the file has texts only, and the pairs are made of classes or clusters."""
        return self.class_column is not None or self.clusters is not None

    def check(self, text: str | None) -> None:
        """
        Args:
            text: template of the texts that pairs are made of.

        Raises:
            InvalidRequestError: options that do not go together.
        """
        words = self.positive or self.negative or self.label
        for wrong, said in (
            (self.class_column is not None and self.clusters is not None, "Give --class or --clusters, not both."),
            (self.are_made and words, "With --class or --clusters there are no labels of pairs to name."),
            (
                not self.are_made and text,
                "--text goes with --class or --clusters. The texts of pairs are --text-1 and --text-2.",
            ),
            (self.negative and not self.positive, "Give --positive too, the label's word for alike."),
        ):
            if wrong:
                raise InvalidRequestError(said)


@dataclass(frozen=True)
class SearchOptions:
    """What is tried."""

    batch_size: Annotated[
        str, typer.Option(help="Pairs of one step: numbers to be tried.", rich_help_panel=_SEARCH)
    ] = "32,128"
    rate: Annotated[str, typer.Option(help="Learning rates to be tried.", rich_help_panel=_SEARCH)] = "0.0003,0.001"
    dropout: Annotated[str, typer.Option(help="Dropouts to be tried, 0 to 0.99.", rich_help_panel=_SEARCH)] = "0,0.2"
    width: Annotated[
        str,
        typer.Option(help="Widths of the result to be tried; 0 is the embeddings' own.", rich_help_panel=_SEARCH),
    ] = "0"
    whitening: Annotated[
        str, typer.Option(help="Strengths of the start to be tried; 0 is none.", rich_help_panel=_SEARCH)
    ] = "0.01,0.03,0.1,0.3"
    max_epochs: Annotated[int, typer.Option(help="Of each run.", rich_help_panel=_SEARCH)] = 20
    folds: Annotated[
        int,
        typer.Option(help="Parts of the training rows; each is held out once to choose by.", rich_help_panel=_SEARCH),
    ] = 5
    seed: Annotated[int, typer.Option(min=0, help="Of the split and all that is drawn.", rich_help_panel=_SEARCH)] = 123

    def search(self) -> "Search":
        """
        Raises:
            InvalidRequestError: an option that makes no sense.
        """
        from luthier.toolkit.customize_search import Search

        made = Search(
            batch_sizes=_numbers("--batch-size", self.batch_size, int),
            learning_rates=_numbers("--rate", self.rate, float),
            dropouts=_numbers("--dropout", self.dropout, float),
            widths=_numbers("--width", self.width, int),
            whitenings=_numbers("--whitening", self.whitening, float),
            max_epochs=self.max_epochs,
            n_folds=self.folds,
            seed=self.seed,
        )
        made.check()
        return made


@dataclass(frozen=True)
class ResultOptions:
    """What becomes of the result."""

    name: Annotated[
        str | None,
        typer.Option(
            help="Keep the result as the model MODEL:custom-NAME, which /v1/embeddings serves.",
            rich_help_panel=_RESULT,
            show_default=False,
        ),
    ] = None
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of a model of that name.", rich_help_panel=_RESULT)
    ] = False
    matrix: Annotated[
        Path | None,
        typer.Option(
            metavar="NPY",
            help="Write the matrix there, for NumPy.",
            rich_help_panel=_RESULT,
            show_default=False,
            callback=ends_in(".npy"),
        ),
    ] = None
    results: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write a CSV for each run there: epoch, type, loss, accuracy and what was tried.",
            rich_help_panel=_RESULT,
            show_default=False,
        ),
    ] = None


def _numbers(option: str, text: str, kind: type[Any]) -> tuple[Any, ...]:
    try:
        return tuple(kind(part) for part in text.split(",") if part.strip())
    except ValueError:
        whole = "whole numbers, such as 32,128" if kind is int else "numbers, such as 0,0.2"
        raise InvalidRequestError(f"{option} has {text!r}, where {whole}, are wanted.") from None
