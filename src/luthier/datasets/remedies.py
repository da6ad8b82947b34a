"""Changes of a table that remedies name. Each takes the table and its remedy's arguments and returns a new table."""

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from luthier.datasets.findings import Remedy


def apply(frame: pd.DataFrame, remedy: Remedy) -> pd.DataFrame:
    """The table with `remedy` applied; `frame` stays as it is."""
    return REMEDIES[remedy.name](frame, **remedy.arguments)


def apply_to_validation(frame: pd.DataFrame, remedy: Remedy) -> pd.DataFrame:
    """The validation set as `remedy` of the training set leaves it: alike where that changes texts, else as it is."""
    if remedy.name == append.__name__:
        column, end = remedy.arguments["column"], remedy.arguments["text"]
        return _with_texts(frame, column, lambda text: text if text.endswith(end) else text + end)
    return apply(frame, remedy) if REMEDIES[remedy.name] in _OF_TEXTS else frame


def write_jsonl(frame: pd.DataFrame) -> pd.DataFrame:
    """Nothing to change in the table: it is the writing that mends the format."""
    return frame


def rename_columns(frame: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    return frame.rename(columns=dict(names))


def keep_columns(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    return frame[list(columns)].copy()


def drop_rows(frame: pd.DataFrame, rows: Sequence[int]) -> pd.DataFrame:
    return frame.drop(index=list(rows), errors="ignore")


def lower_case(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    return _with_texts(frame, column, str.lower)


def append(frame: pd.DataFrame, column: str, text: str) -> pd.DataFrame:
    return _with_texts(frame, column, lambda value: value + text)


def remove_prefix(frame: pd.DataFrame, column: str, prefix: str) -> pd.DataFrame:
    """Remove `prefix`, in whatever case, where a text starts with it. A completion keeps one leading space."""
    lead = " " if column == "completion" and prefix.startswith(" ") else ""
    wanted = prefix.lower()

    def without(text: str) -> str:
        return lead + text[len(prefix) :] if text[: len(prefix)].lower() == wanted else text

    return _with_texts(frame, column, without)


def start_with_space(frame: pd.DataFrame) -> pd.DataFrame:
    return _with_texts(frame, "completion", lambda text: text if text.startswith(" ") else f" {text}")


def relabel(frame: pd.DataFrame, labels: Mapping[str, str]) -> pd.DataFrame:
    """Exchange labels. `labels` leads from a label without outer white space, in whatever case, to the new one."""
    by_lower = {old.lower(): new for old, new in labels.items()}

    def exchanged(text: str) -> str:
        bare = text.strip()
        return labels.get(bare) or by_lower.get(bare.lower()) or text

    return _with_texts(frame, "completion", exchanged)


def _with_texts(frame: pd.DataFrame, column: str, change: Callable[[str], str]) -> pd.DataFrame:
    texts = [change(text) for text in frame[column]]
    return frame.assign(**{column: pd.Series(texts, index=frame.index, dtype=object)})


_OF_TEXTS = (lower_case, append, remove_prefix, start_with_space, relabel)
REMEDIES: dict[str, Callable[..., pd.DataFrame]] = {
    function.__name__: function
    for function in (
        write_jsonl,
        rename_columns,
        keep_columns,
        drop_rows,
        *_OF_TEXTS,
    )
}
