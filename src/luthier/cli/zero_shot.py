"""`luthier zero-shot` and `luthier profiles`: labels without examples, and means of users and products."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.frames import Source
from luthier.cli.grouped import grouped
from luthier.cli.outputs import PageOutput, check_targets

if TYPE_CHECKING:
    import pandas as pd

    from luthier.toolkit.zero_shot import Judgement, ZeroShot


@grouped
def zero_shot(
    source: Source,
    out: PageOutput,
    *,
    labels: Annotated[
        str, typer.Option("--labels", help="Labels with commas between: negative,positive.", show_default=False)
    ],
    phrasing: Annotated[
        list[str] | None,
        typer.Option(
            help="How a label is said, with {} in its place: 'a {} review'. May be repeated: they are averaged.",
            show_default=False,
        ),
    ] = None,
    describe: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL=TEXT", help="A text that describes a label; may be repeated.", show_default=False),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Second label's score minus the first's, above which the second is taken. By default found from the "
            "scores' distribution.",
            show_default=False,
        ),
    ] = None,
    truth: Annotated[
        str | None, typer.Option(help="Column of true labels, to measure by; never used to decide.", show_default=False)
    ] = None,
    counts_as: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="VALUE=LABEL",
            help="What a value of --truth counts as; may be repeated. Rows of other values are not measured.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write CSV or Parquet there.", show_default=False),
    ] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="Compare whole texts, not their sentences: quicker, less exact.")
    ] = False,
) -> None:
    """Sort rows under labels that no row has yet.

    Each sentence is embedded by itself, which finds opinions better. Of a file with embeddings that does not say of
    what texts, whole texts are compared.
    """
    import pandas as pd

    from luthier.cli.frames import embedder
    from luthier.cli.predicting import beside, check_output, write_rows
    from luthier.cli.render import show_json
    from luthier.errors import InvalidRequestError
    from luthier.toolkit.frame import read_rows, texts_of
    from luthier.toolkit.zero_shot import Pieces, check_threshold, check_truth, judge, phrase
    from luthier.toolkit.zero_shot import zero_shot as find

    if output is not None:
        check_output(output, source.file)
    names = [label.strip() for label in labels.split(",")]
    described: dict[str, list[str]] = {}
    for label, words in _pairs(describe or (), "--describe"):
        described.setdefault(label, []).append(words)
    phrase(names, phrasing or (), described)  # what makes no sense is refused before anything is embedded
    check_threshold(threshold, len(names))
    check_targets(out.report, source=source.file)
    told = dict(_pairs(counts_as or (), "--map"))
    if told and truth is None:
        raise InvalidRequestError("--map says what values of --truth count as. Give --truth COLUMN, or leave it out.")
    frame, model, text = None, source.model, source.text
    if text is None:
        frame = source.load()
        rows, model, text = frame.rows, frame.model or model, frame.text
    else:
        rows = read_rows(source.file)
    true = _truth(rows, truth, told) if truth is not None else None
    if true is not None:
        check_truth(names, true)
    texts = [] if text is None or (whole and frame is not None) else texts_of(rows, text)
    with embedder(model, source.url) as embed:
        embed.check(texts, range(len(texts)))
        if texts and not whole:
            pieces = Pieces.of_sentences(texts, embed)
        else:
            pieces = Pieces.whole(frame.vectors if frame is not None else embed(texts))
        found = find(pieces, names, embed, phrasings=phrasing or (), described=described, threshold=threshold)
    judged = judge(found, true) if true is not None else None
    if output is not None:
        scores = {f"score_{label}": found.scores[:, index] for index, label in enumerate(found.labels)}
        write_rows(beside(rows, pd.DataFrame({"label": found.predicted, **scores})), output)
    if out.report is not None:
        from luthier.reports.zero_shot import zero_shot_page

        zero_shot_page(found, judged).write(out.report)
    if out.as_json:
        show_json(found.as_dict() | ({"judged": judged.as_dict()} if judged else {}))
    else:
        _tell(found, judged, output, out.report)


def _pairs(given: Sequence[str], option: str) -> list[tuple[str, str]]:
    """`NAME=TEXT` as pairs."""
    from luthier.errors import InvalidRequestError

    made = []
    for pair in given:
        name, equals, words = pair.partition("=")
        if not equals or not name.strip() or not words.strip():
            raise InvalidRequestError(f"{option} takes NAME=TEXT, such as positive='a happy customer', not {pair!r}.")
        made.append((name.strip(), words.strip()))
    return made


def _truth(rows: "pd.DataFrame", column: str, counts_as: Mapping[str, str]) -> list[str | None]:
    """True labels by row; None where the map leaves a value out, or the cell is empty."""
    from luthier.errors import DataError
    from luthier.toolkit.frame import is_empty

    if column not in rows:
        raise DataError(f"There is no column '{column}' for --truth; the columns are {', '.join(map(str, rows))}.")
    told: list[str | None] = []
    for cell in rows[column]:
        if is_empty(cell):
            told.append(None)
            continue
        name = str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)
        told.append(counts_as.get(name) if counts_as else name)
    return told


def _tell(found: "ZeroShot", judged: "Judgement | None", output: Path | None, report: Path | None) -> None:
    from luthier.cli.render import console, say, table

    rules = {
        "mixture": "the scores form two groups; the threshold lies where both are equally likely",
        "nearest": "the nearest phrasings win",
        "given": "by the threshold given",
    }
    say(f"{len(found.predicted):,} rows under {len(found.labels)} labels: {rules[found.rule]}")
    if found.threshold is not None:
        first, second = found.labels
        say(f"  threshold {found.threshold:.4f} of {second} minus {first}")
    scored = {one.name: one for one in judged.by_class} if judged else {}
    columns = ["label", "rows", "phrasings", *(("precision", "recall", "F1") if judged else ())]
    rows = []
    for label, texts in zip(found.labels, found.phrasings, strict=True):
        row = [label, f"{found.predicted.count(label):,}", str(len(texts))]
        if label in scored:
            one = scored[label]
            row += [f"{one.precision:.3f}", f"{one.recall:.3f}", f"{one.f1:.3f}"]
        rows.append(row)
    say()
    console().print(table(columns, rows, right=columns[1:]))
    if judged:
        auc = f", AUC {judged.auc:.3f}" if judged.auc is not None else ""
        say(
            f"\nAccuracy {judged.accuracy:.3f}{auc} on {judged.rows:,} rows with a true label; "
            f"always the commonest: {judged.majority:.3f}"
        )
    if output is not None:
        say(f"\nRows with their labels are in {output}.")
    if report is not None:
        say(f"\nThe page is {report}.")


@grouped
def profiles(
    source: Source,
    out: PageOutput,
    *,
    user: Annotated[str, typer.Option(help="Column of users.")] = "UserId",
    item: Annotated[str, typer.Option("--item", "--product", help="Column of products.")] = "ProductId",
    target: Annotated[str, typer.Option("--target", help="Column of stars, or another number.")] = "Score",
    test_size: Annotated[float, typer.Option("--test-size", help="Share of rows held out to measure.")] = 0.2,
    seed: Annotated[int, typer.Option("--seed", help="Of the split.")] = 42,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="PARQUET", help="Write the users' and products' means there.", show_default=False
        ),
    ] = None,
) -> None:
    """Users and products as means of their reviews, and whether their similarity foretells the stars."""
    from luthier.cli.predicting import check_output, write_profiles
    from luthier.cli.render import console, say, show_json, table
    from luthier.errors import DataError
    from luthier.toolkit.profiles import profiles as compare

    if output is not None:
        if output.suffix.lower() != ".parquet":
            raise DataError(f"{output} does not end in .parquet, which is how the means are written.")
        check_output(output, source.file)
    check_targets(out.report, source=source.file)
    make = partial(compare, user=user, item=item, target=target, test_size=test_size, seed=seed)
    frame = source.load(columns=[user, item, target], check=make)  # what is wrong needs no vectors
    made = make(frame)
    if output is not None:
        write_profiles(frame, (user, item), output)
    if out.report is not None:
        from luthier.reports.profiles import profiles_page

        profiles_page(made).write(out.report)
    if out.as_json:
        show_json(made.as_dict())
        return
    say(
        f"{len(made.users.names):,} of '{user}' and {len(made.items.names):,} of '{item}', means of "
        f"{made.train_rows:,} rows; {len(made.rows):,} of {made.test_rows:,} rows held out have both"
    )
    if made.correlation is None:
        say("  too few such rows, or all alike: no correlation")
    else:
        say(f"  correlation of percentile similarity with '{target}': {made.correlation:.2%}")
    say()
    rows = [
        (f"{one['value']:g}", str(one["rows"]), f"{one['q1']:.2f}", f"{one['median']:.2f}", f"{one['q3']:.2f}")
        for one in made.by_target()
    ]
    columns = (target, "rows", "lower quartile", "median", "upper quartile")
    console().print(table(columns, rows, right=columns[1:]))
    if output is not None:
        say(f"\nThe means are in {output}.")
    if out.report is not None:
        say(f"\nThe page is {out.report}.")
