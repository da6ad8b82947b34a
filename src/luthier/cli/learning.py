"""`luthier regress`, `classify` and `predict`: learning from embeddings."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli.frames import PredictedSource, Source
from luthier.cli.grouped import grouped
from luthier.cli.outputs import Output, PageOutput, check_targets, ends_in

if TYPE_CHECKING:
    from luthier.toolkit.cross_validation import Trial
    from luthier.toolkit.frame import Frame
    from luthier.toolkit.predictor import Predictor

_SHOWN = 8  # methods in the table; --json has all

Target = Annotated[str, typer.Option("--target", help="Column to predict.", show_default=False)]
Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        help="linear, kernel, neighbours, forest or boosting; may be repeated. By default all compete.",
        show_default=False,
    ),
]
TestSize = Annotated[float, typer.Option("--test-size", help="Share of rows held out to measure.")]
Seed = Annotated[int, typer.Option("--seed", help="Of the split and of the folds.")]
Save = Annotated[
    Path | None,
    typer.Option(
        "--save",
        metavar="FILE",
        help="Keep what was learned, as .safetensors, for `luthier predict`.",
        show_default=False,
        callback=ends_in(".safetensors"),
    ),
]


class ErrorMetric(StrEnum):
    """The error that a regression makes small."""

    MAE = "mae"
    MSE = "mse"


@grouped
def regress(
    source: Source,
    out: PageOutput,
    *,
    target: Target,
    method: Methods = None,
    metric: Annotated[ErrorMetric, typer.Option(help="Error to make small: absolute or squared.")] = ErrorMetric.MAE,
    test_size: TestSize = 0.2,
    seed: Seed = 42,
    save: Save = None,
) -> None:
    """Predict a number, such as stars, from embeddings."""
    from luthier.cli.render import say, show_json
    from luthier.toolkit.regress import prepare
    from luthier.toolkit.regress import regress as learn

    check_targets(save, out.report, source=source.file)
    how: dict[str, Any] = {"methods": method or (), "test_size": test_size, "seed": seed}
    frame = source.load(columns=[target], check=lambda rows: prepare(rows, target, **how))
    learned = learn(frame, target, metric=metric.value, **how)
    figures = {"method": learned.method, **learned.test.as_dict()}
    _keep(learned.predictor, save, frame, figures)
    if out.report is not None:
        from luthier.reports.learning import regression_page

        regression_page(learned).write(out.report)
    if out.as_json:
        show_json(learned.as_dict())
        return
    say(f"Predicting '{target}' of {learned.test_rows} rows held out, learned from {learned.train_rows}")
    rows = [
        (name, f"{errors.mae:.3f}", f"{errors.mse:.3f}", f"{errors.r2:.3f}")
        for name, errors in ((learned.method, learned.test), ("always the same", learned.dummy))
    ]
    _show(("", "MAE", "MSE", "R²"), rows)
    _show_trials(learned.trials, learned.metric.upper())
    _show_written(save, out.report)


@grouped
def classify(
    source: Source,
    out: PageOutput,
    *,
    target: Target,
    method: Methods = None,
    test_size: TestSize = 0.2,
    seed: Seed = 42,
    save: Save = None,
) -> None:
    """Predict a class from embeddings, with calibrated probabilities."""
    from luthier.cli.render import say, show_json
    from luthier.toolkit.classify import classify as learn
    from luthier.toolkit.classify import prepare

    check_targets(save, out.report, source=source.file)
    how: dict[str, Any] = {"methods": method or (), "test_size": test_size, "seed": seed}
    frame = source.load(columns=[target], check=lambda rows: prepare(rows, target, **how))
    learned = learn(frame, target, **how)
    figures = {"method": learned.method, "accuracy": learned.accuracy, "log_loss": learned.log_loss}
    _keep(learned.predictor, save, frame, figures)
    if out.report is not None:
        from luthier.reports.learning import classification_page

        classification_page(learned).write(out.report)
    if out.as_json:
        show_json(learned.as_dict())
        return
    say(f"Classifying '{target}' of {learned.test_rows} rows held out, learned from {learned.train_rows}")
    say(f"  {learned.method}: accuracy {learned.accuracy:.3f}; always the commonest class: {learned.majority:.3f}")
    say(
        f"  average precision {learned.mean_average_precision:.3f} over the classes, "
        f"{learned.micro_average_precision:.3f} micro; calibration error {learned.reliability.error:.3f}"
    )
    precision = {curve.name: f"{curve.average_precision:.3f}" for curve in learned.curves}
    rows = [
        (
            one.name,
            f"{one.precision:.3f}",
            f"{one.recall:.3f}",
            f"{one.f1:.3f}",
            precision.get(one.name, ""),
            str(one.support),
        )
        for one in learned.by_class
    ]
    _show(("class", "precision", "recall", "F1", "average precision", "rows"), rows)
    counts = [
        (name, *(str(count) for count in counts))
        for name, counts in zip(learned.classes, learned.confusion.tolist(), strict=True)
    ]
    _show(("true \\ predicted", *learned.classes), counts)
    _show_trials(learned.trials, "log loss")
    _show_written(save, out.report)


@grouped
def predict(
    predictor: Annotated[
        Path,
        typer.Argument(metavar="PREDICTOR", help="What `classify` or `regress` kept by --save.", show_default=False),
    ],
    source: PredictedSource,
    out: Output,
    *,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write CSV or Parquet there.", show_default=False),
    ] = None,
) -> None:
    """Predict with what was learned. Texts without embeddings are embedded as the predictor's were."""
    from luthier.cli.predicting import run

    run(predictor, source, output, as_json=out.as_json)


def _keep(predictor: "Predictor", path: Path | None, frame: "Frame", figures: dict[str, object]) -> None:
    if path is None:
        return
    from luthier import __version__

    predictor.noted(model=frame.model, text=frame.text, figures=figures, made_by=f"luthier {__version__}").save(path)


def _show(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from luthier.cli.render import console, say, table

    say()
    console().print(table(columns, rows, right=columns[1:]))


def _show_trials(trials: "tuple[Trial, ...]", loss: str) -> None:
    from luthier.cli.render import say

    rows = [(trial.method, trial.settings, f"{trial.loss:.3f} ± {trial.error:.3f}") for trial in trials[:_SHOWN]]
    say()
    say("What competed, by cross-validation on the rows to learn from")
    _show(("method", "settings", loss), rows)


def _show_written(save: Path | None, report: Path | None) -> None:
    from luthier.cli.render import say

    if save is not None:
        say(f"\nKept in {save}; luthier predict {save} FILE uses it.")
    if report is not None:
        say(f"\nThe page is {report}.")
