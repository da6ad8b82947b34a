"""Rows that come twice, are too long, or stand in the validation set too."""

from collections.abc import Iterator

import pandas as pd

from luthier.datasets.checks.affixes import known_separator
from luthier.datasets.checks.context import Context, Task
from luthier.datasets.findings import Finding, Force, Remedy, Severity, count, name_rows, visible
from luthier.datasets.jsonl import FIELDS

_SHOWN_LABELS = 3


def duplicates(frame: pd.DataFrame, _: Context) -> Iterator[Finding]:
    rows = tuple(frame.index[frame.duplicated(subset=list(FIELDS))].tolist())
    if rows:
        message = f"{count(len(rows), 'row')} repeat an earlier one, prompt and completion: {name_rows(rows)}."
        title = f"Remove {count(len(rows), 'duplicate row')}"
        remedy = Remedy("drop_rows", title, Force.RECOMMENDED, {"rows": list(rows)})
        yield Finding("duplicates", Severity.WARNING, message, rows, remedy=remedy)


def long_examples(frame: pd.DataFrame, context: Context) -> Iterator[Finding]:
    if context.tokenizer is None:
        message = "The base model is not here yet, so tokens are estimated: one for four bytes."
        yield Finding("tokens_estimated", Severity.INFO, message)
    if context.task is Task.OPEN_ENDED:
        return
    limit, counter = context.limit, context.counter
    found = {
        int(row): counter.count(prompt) + counter.count(completion)
        for row, prompt, completion in zip(frame.index, frame["prompt"], frame["completion"], strict=True)
        if (limit.characters is not None and len(prompt) + len(completion) > limit.characters)
        or counter.longer_than(limit.tokens, prompt, completion)
    }
    if not found:
        return
    rows = tuple(found)
    bound = f"{limit.tokens:,} tokens" + (f" or {limit.characters:,} characters" if limit.characters else "")
    estimated = "about " if context.tokenizer is None else ""
    message = (
        f"{count(len(rows), 'example')} {'is' if len(rows) == 1 else 'are'} very long (more than {bound}; the longest "
        f"has {estimated}{max(found.values()):,} tokens): {name_rows(rows)}. Long examples take the most time, and one "
        "that is longer than the base model takes cannot be trained on."
    )
    remedy = Remedy("drop_rows", f"Remove {count(len(rows), 'long example')}", Force.RECOMMENDED, {"rows": list(rows)})
    data = {"tokens": list(found.values()), "limit_tokens": limit.tokens, "limit_characters": limit.characters}
    yield Finding("long_examples", Severity.WARNING, message, rows, data, remedy)


def leaks(frame: pd.DataFrame, context: Context) -> Iterator[Finding]:
    """Training rows whose prompt is also in the validation set: metrics would measure memory."""
    valid = context.validation
    if valid is None or context.task is Task.OPEN_ENDED:
        return
    seen = dict(zip(_bare(valid["prompt"]), valid.index.tolist(), strict=True))
    pairs = [
        (row, seen[text])
        for row, text in zip(frame.index.tolist(), _bare(frame["prompt"]), strict=True)
        if text in seen
    ]
    if pairs:
        rows = tuple(row for row, _ in pairs)
        message = (
            f"The prompts of {count(len(rows), 'training row')} are in the validation set too, so validation would "
            f"measure memory: {name_rows(rows)}."
        )
        title = f"Remove {count(len(rows), 'row')} that {'leaks' if len(rows) == 1 else 'leak'} into validation"
        remedy = Remedy("drop_rows", title, Force.RECOMMENDED, {"rows": list(rows)})
        data = {"validation_rows": [row for _, row in pairs]}
        yield Finding("leaks", Severity.WARNING, message, rows, data, remedy)
    yield from _format_of_validation(frame, valid)
    if context.task is Task.CLASSIFICATION:
        yield from _labels_of_validation(frame, valid)


def _bare(prompts: pd.Series) -> list[str]:
    """Prompts without their separator and outer white space, so that a prepared and a raw file can be compared."""
    separator = known_separator(prompts.tolist())
    return [text.removesuffix(separator).strip() for text in prompts]


def _labels_of_validation(frame: pd.DataFrame, valid: pd.DataFrame) -> Iterator[Finding]:
    known = set(frame["completion"].str.strip().str.lower())
    unknown = valid["completion"][~valid["completion"].str.strip().str.lower().isin(known)]
    if len(unknown):
        labels = unknown.unique().tolist()
        message = (
            f"{count(len(unknown), 'validation row')} {'has' if len(unknown) == 1 else 'have'} labels that no training "
            f"row has, {', '.join(map(visible, labels[:_SHOWN_LABELS]))}{' …' if len(labels) > _SHOWN_LABELS else ''}: "
            "a model that never saw them cannot give them."
        )
        data = {"validation_rows": unknown.index.tolist(), "labels": labels}
        yield Finding("validation_labels", Severity.WARNING, message, data=data)


def _format_of_validation(frame: pd.DataFrame, valid: pd.DataFrame) -> Iterator[Finding]:
    """A separator or leading space that only one of the two files has."""
    separator = known_separator(frame["prompt"].tolist())
    if not valid["prompt"].str.endswith(separator).all():
        message = (
            f"The training prompts end in {visible(separator)}, those for validation do not. Prepare both files alike, "
            "or validation measures another task."
        )
        yield Finding("validation_format", Severity.WARNING, message, data={"separator": separator})
    elif frame["completion"].str.startswith(" ").all() and not valid["completion"].str.startswith(" ").all():
        message = "The training completions start with a space, those for validation do not. Prepare both files alike."
        yield Finding("validation_format", Severity.WARNING, message)
