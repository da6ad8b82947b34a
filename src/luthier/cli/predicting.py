"""What `luthier predict` does: the predictor read, the rows embedded as it wants them, the answers shown or written."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from luthier.cli.frames import PredictedSource
from luthier.cli.outputs import check_targets
from luthier.cli.render import console, say, show_json, table
from luthier.durable import whole_file
from luthier.errors import DataError
from luthier.toolkit.frame import Frame, NoVectorsError
from luthier.toolkit.predictor import Predictor, load
from luthier.toolkit.profiles import profile_of
from luthier.toolkit.tables import cell_text
from luthier.toolkit.writing import holds_return

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 10  # rows in the terminal


def run(
    path: Path,
    source: PredictedSource,
    output: Path | None,
    *,
    as_json: bool,
) -> None:
    """Predict each row of `source`, and show or write what came out. Arguments as of the command."""
    if output is not None:
        check_output(output, source.file)
    predictor = load(path)
    frame = _frame(predictor, source)
    answers = _answers(predictor, frame)
    if output is not None:
        written = beside(frame.rows, answers)
        write_rows(written, output)
    if as_json:
        show_json({"target": predictor.target, "rows": answers.to_dict(orient="records")})
    elif output is not None:
        made = [str(name) for name in written.columns[-answers.shape[1] :]]
        say(f"{len(answers):,} rows with {', '.join(made)} in {output}")
    else:
        columns = ("row", *map(str, answers))
        shown = [
            (str(row + 1), *(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in cells))
            for row, cells in enumerate(answers.head(_SHOWN).itertuples(index=False))
        ]
        console().print(table(columns, shown, right=columns[2:]))
        if len(answers) > _SHOWN:
            say(f"… and {len(answers) - _SHOWN:,} more; -o FILE writes all, --json prints them.")


def check_output(path: Path, source: Path) -> None:
    """Refuse, before any work is done, a name that does not say what kind of file to write, or is of the file read."""
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise DataError(f"{path} ends in neither .csv nor .parquet; name the file so that its kind is clear.")
    check_targets(path, source=source)


def beside(rows: "pd.DataFrame", made: "pd.DataFrame") -> "pd.DataFrame":
    """Rows with more columns at their right end. One whose name is taken gets a number: `label_2`."""
    import pandas as pd

    names: list[str] = []
    for name in map(str, made.columns):
        tried = (name if at == 1 else f"{name}_{at}" for at in count(1))
        names.append(next(one for one in tried if one not in rows.columns and one not in names))
    return pd.concat([rows, made.set_axis(names, axis=1)], axis=1)


def write_rows(rows: "pd.DataFrame", path: Path) -> None:
    """Write rows as CSV, lists as JSON, or as Parquet, by the file's ending."""
    with whole_file(path) as file:
        if path.suffix.lower() == ".csv":
            listed = {  # pandas would leave out most of a long list
                str(name): [
                    cell_text(cell) if isinstance(cell, list | dict | np.ndarray) else cell for cell in rows[name]
                ]
                for name in rows
                if rows[name].dtype == object
            }
            returns = any(holds_return(rows[name]) for name in rows)
            rows.assign(**listed).to_csv(file, index=False, quoting=csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL)
        else:
            rows.to_parquet(file, index=False)


def write_profiles(frame: Frame, columns: Sequence[str], path: Path) -> None:
    """Write the mean embedding of each name of each column, over all rows: `column`, `name`, `rows`, `embedding`."""
    import pandas as pd

    parts = []
    for column in columns:
        made = profile_of(frame, column)
        names = [str(name) for name in made.names]
        parts.append(
            pd.DataFrame({"column": column, "name": names, "rows": made.rows, "embedding": list(made.vectors)})
        )
    write_rows(pd.concat(parts, ignore_index=True), path)


def _frame(predictor: Predictor, source: PredictedSource) -> Frame:
    """The rows with vectors of the kind that the predictor learned from."""
    notes = predictor.notes or {}
    learned_from = notes.get("model")
    try:
        frame = source.load(model=source.model or learned_from)
    except NoVectorsError:
        template = notes.get("text")
        if template is None:
            raise
        return replace(source, text=template).load(model=source.model or learned_from)
    if source.text is None and source.model and frame.model and frame.model != source.model:
        raise DataError(
            f"The embeddings in {source.file.name} are by '{frame.model}', not by '{source.model}': leave -m out, or "
            "give --text to have the rows embedded anew."
        )
    if learned_from and frame.model and frame.model != learned_from:
        raise DataError(
            f"The predictor learned from embeddings by '{learned_from}', and these are by '{frame.model}'; "
            f"embed {source.file.name} with --model {learned_from}."
        )
    return frame


def _answers(predictor: Predictor, frame: Frame) -> "pd.DataFrame":
    """One row for each: the prediction, and for classes its probability and each class's."""
    import pandas as pd

    name = f"predicted_{predictor.target}"
    if not predictor.classes:
        return pd.DataFrame({name: predictor.estimate(frame.vectors)})
    shares = predictor.probabilities(frame.vectors)
    each = {f"p_{label}": shares[:, index] for index, label in enumerate(predictor.classes)}
    best = [predictor.classes[index] for index in shares.argmax(axis=1)]
    return pd.DataFrame({name: best, "probability": shares.max(axis=1), **each})
