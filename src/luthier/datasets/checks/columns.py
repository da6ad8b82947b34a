"""The table's shape: how many rows, which columns, empty fields."""

from collections.abc import Iterator

import pandas as pd

from luthier.datasets.findings import Finding, Force, Remedy, Severity, count, name_rows, visible
from luthier.datasets.jsonl import FIELDS

_MIN_EXAMPLES = 100


def number_of_examples(frame: pd.DataFrame) -> Iterator[Finding]:
    message = f"Your file holds {count(len(frame), 'example')}."
    if few := len(frame) < _MIN_EXAMPLES:
        message += " A few hundred are a good start, and each doubling usually helps again."
    severity = Severity.WARNING if few else Severity.INFO
    yield Finding("examples", severity, message, data={"n_examples": len(frame)})


def names_of_columns(frame: pd.DataFrame) -> Iterator[Finding]:
    names = [str(name) for name in frame.columns]
    renamed: dict[str, str] = {}
    for wanted in FIELDS:
        if wanted in names:
            continue
        near = next((name for name in names if name.strip().lower() == wanted), None)
        if near:
            renamed[near] = wanted
        else:
            message = (
                f"The column `{wanted}` is missing; there {'are' if len(names) > 1 else 'is'} "
                f"{', '.join(visible(name) for name in names)}. Name the column of what the model "
                f"{'reads `prompt`' if wanted == 'prompt' else 'shall answer `completion`'} and try again."
            )
            yield Finding("missing_column", Severity.ERROR, message, data={"column": wanted, "columns": names})
    if renamed:
        pairs = ", ".join(f"{visible(old)} to `{new}`" for old, new in renamed.items())
        remedy = Remedy("rename_columns", f"Rename {pairs}", Force.NECESSARY, {"names": renamed})
        message = "Columns are named `prompt` and `completion`, in lower case."
        yield Finding("column_names", Severity.WARNING, message, data={"columns": list(renamed)}, remedy=remedy)


def extra_columns(frame: pd.DataFrame) -> Iterator[Finding]:
    extra = [str(name) for name in frame.columns if name not in FIELDS]
    if extra:
        shown = ", ".join(visible(name) for name in extra)
        message = f"Training reads `prompt` and `completion` alone. There is also {shown}."
        remedy = Remedy("keep_columns", f"Remove {shown}", Force.NECESSARY, {"columns": list(FIELDS)})
        yield Finding("extra_columns", Severity.WARNING, message, data={"columns": extra}, remedy=remedy)


def empty_completions(frame: pd.DataFrame) -> Iterator[Finding]:
    rows = tuple(frame.index[frame["completion"].str.strip() == ""].tolist())
    if rows:
        message = f"There is nothing to learn from an empty completion: {name_rows(rows)}."
        title = f"Remove {count(len(rows), 'row')} with an empty completion"
        remedy = Remedy("drop_rows", title, Force.NECESSARY, {"rows": list(rows)})
        yield Finding("empty_completions", Severity.WARNING, message, rows, remedy=remedy)
    if len(rows) == len(frame):
        yield Finding("no_examples", Severity.ERROR, "There is no example with a completion.")


def empty_prompts(frame: pd.DataFrame) -> Iterator[Finding]:
    """Some prompts empty and others not: probably a gap in the data. All empty is open-ended generation."""
    rows = tuple(frame.index[frame["prompt"].str.strip() == ""].tolist())
    if 0 < len(rows) < len(frame):
        message = f"The prompt is empty in {name_rows(rows)}, and not in the others."
        yield Finding("empty_prompts", Severity.WARNING, message, rows)
