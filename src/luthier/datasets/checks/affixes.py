"""Where prompts end and completions begin and end: separators, prefixes, endings, letter case."""

from collections.abc import Iterator, Sequence

import pandas as pd

from luthier.datasets.checks.context import Context, Task
from luthier.datasets.findings import Finding, Force, Remedy, Severity, count, name_rows, visible
from luthier.datasets.text import common_prefix, common_suffix

_ARROW = " ->"  # the shortest separator; only where prompts are single lines
_SEPARATORS = ("\n\n###\n\n", "\n\n===\n\n", "\n\n---\n\n", "\n\n===>\n\n", "\n\n--->\n\n")
_LAST_SEPARATOR = "\n\n### =>\n\n"
_ENDINGS = ("\n", ".", " END", "***", "+++", "&&&", "$$$", "@@@", "%%%")
_LAST_ENDING = " [END]"
_LONG_SUFFIX = 10  # characters; a longer one is probably part of the text
_LONG_PROMPT_PREFIX = 12
_LONG_COMPLETION_PREFIX = 5


def upper_case(frame: pd.DataFrame, _: Context) -> Iterator[Finding]:
    for column in ("prompt", "completion"):
        text = "".join(frame[column])
        upper, lower = sum(map(str.isupper, text)), sum(map(str.islower, text))
        if upper * 2 > lower and text != text.lower():
            message = (
                f"More than a third of the letters in the {column}s are capitals. Base models know mixed case best; "
                "lower case helps unless capitals mean something in your data."
            )
            remedy = Remedy("lower_case", f"Write all {column}s in lower case", Force.RECOMMENDED, {"column": column})
            data = {"upper": upper, "lower": lower}
            yield Finding(f"upper_case_{column}s", Severity.WARNING, message, data=data, remedy=remedy)


def separator(frame: pd.DataFrame, context: Context) -> Iterator[Finding]:
    """The common end of prompts, which tells a model to start its completion."""
    if context.task is Task.OPEN_ENDED:
        return
    prompts = frame["prompt"].tolist()
    if len(set(prompts)) == 1 and len(prompts) > 1:
        message = (
            f"All prompts are the same: {visible(prompts[0])}. Leave prompts empty for open-ended generation; "
            "otherwise they must differ."
        )
        yield Finding("same_prompts", Severity.ERROR, message)
        return
    suffix = common_suffix(prompts) if len(prompts) > 1 else known_separator(prompts)
    offered = _unused(prompts, _SEPARATORS if any("\n" in text for text in prompts) else (_ARROW, *_SEPARATORS))
    title = f"Add the separator {visible(offered or _LAST_SEPARATOR)} to the end of all prompts"
    arguments = {"column": "prompt", "text": offered or _LAST_SEPARATOR}
    if not suffix:
        message = (
            "The prompts have no common end. A separator there tells the model where the completion begins. "
            "(For open-ended generation leave the prompts empty.)"
        )
        remedy = Remedy("append", title, Force.RECOMMENDED, arguments)
        yield Finding("no_separator", Severity.WARNING, message, remedy=remedy)
        return
    message = f"All prompts end in {visible(suffix)}."
    if len(suffix) > _LONG_SUFFIX:
        message += f" That is long for a separator; {visible(offered or _LAST_SEPARATOR)} would do."
    yield Finding("separator", Severity.INFO, message, data={"separator": suffix})
    rows = _rows_holding(frame, "prompt", suffix)
    if rows:
        message = (
            f"The separator {visible(suffix)} also occurs inside {count(len(rows), 'prompt')}, where it says nothing "
            f"about where the completion begins: {name_rows(rows)}."
        )
        remedy = Remedy("append", title, Force.OPTIONAL, arguments)
        yield Finding("separator_inside", Severity.WARNING, message, rows, {"separator": suffix}, remedy)


def prompt_prefix(frame: pd.DataFrame, _: Context) -> Iterator[Finding]:
    prompts = frame["prompt"].tolist()
    prefix = common_prefix(prompts) if len(set(prompts)) > 1 else ""
    if not prefix:
        return
    message = f"All prompts start with {visible(prefix)}."
    remedy = None
    separator = common_suffix(prompts).strip()
    empties = any(separator.endswith(text[len(prefix) :].strip()) for text in prompts)
    if len(prefix) > _LONG_PROMPT_PREFIX and not empties:
        message += " A tuned model needs no instruction: the input alone is enough, and shorter prompts train faster."
        title = f"Remove {visible(prefix)} from the start of all prompts"
        remedy = Remedy("remove_prefix", title, Force.RECOMMENDED, {"column": "prompt", "prefix": prefix})
    yield Finding("prompt_prefix", Severity.INFO, message, data={"prefix": prefix}, remedy=remedy)


def completion_prefix(frame: pd.DataFrame, _: Context) -> Iterator[Finding]:
    completions = frame["completion"].tolist()
    prefix = common_prefix(completions) if len(set(completions)) > 1 else ""
    if len(prefix) < _LONG_COMPLETION_PREFIX or any(not text[len(prefix) :].strip() for text in completions):
        return
    message = (
        f"All completions start with {visible(prefix)}. What always comes need not be learned: the completion should "
        "be the answer alone."
    )
    title = f"Remove {visible(prefix)} from the start of all completions"
    remedy = Remedy("remove_prefix", title, Force.RECOMMENDED, {"column": "completion", "prefix": prefix})
    yield Finding("completion_prefix", Severity.WARNING, message, data={"prefix": prefix}, remedy=remedy)


def ending(frame: pd.DataFrame, context: Context) -> Iterator[Finding]:
    """The common end of completions of conditional generation, which becomes the stop sequence."""
    if context.task is not Task.GENERATION:
        return
    completions = frame["completion"].tolist()
    if len(set(completions)) == 1:
        if len(completions) > 1:
            message = f"All completions are the same, {visible(completions[0])}: a model could only repeat it."
            yield Finding("same_completions", Severity.ERROR, message)
        return
    suffix = common_suffix(completions)
    offered = offered_ending(completions)
    if not suffix:
        message = (
            "The completions have no common end. One tells the model where to stop, and you what to give as `stop`."
        )
        title = f"Add {visible(offered)} to the end of all completions"
        remedy = Remedy("append", title, Force.RECOMMENDED, {"column": "completion", "text": offered})
        yield Finding("no_ending", Severity.WARNING, message, remedy=remedy)
        return
    message = f"All completions end in {visible(suffix)}."
    if len(suffix) > _LONG_SUFFIX:
        message += f" That is long for an ending; {visible(offered)} would do."
    yield Finding("ending", Severity.INFO, message, data={"ending": suffix})
    if rows := _rows_holding(frame, "completion", suffix):
        message = (
            f"The ending {visible(suffix)} also occurs inside {count(len(rows), 'completion')}, where `stop` would cut "
            f"the answer off: {name_rows(rows)}."
        )
        title = f"Add {visible(offered)} to the end of all completions"
        remedy = Remedy("append", title, Force.OPTIONAL, {"column": "completion", "text": offered})
        yield Finding("ending_inside", Severity.WARNING, message, rows, {"ending": suffix}, remedy)


def leading_space(frame: pd.DataFrame, _: Context) -> Iterator[Finding]:
    rows = tuple(frame.index[~frame["completion"].str.startswith(" ").astype(bool)].tolist())
    if rows:
        message = (
            "Completions should start with a space: in most tokenizers a word and the space before it are one token."
        )
        remedy = Remedy("start_with_space", "Start all completions with a space", Force.RECOMMENDED)
        yield Finding("no_leading_space", Severity.WARNING, message, rows, remedy=remedy)


def offered_ending(completions: Sequence[str]) -> str:
    """An ending that none of `completions` contains."""
    return _unused(completions, _ENDINGS) or _LAST_ENDING


def known_ending(completions: Sequence[str]) -> str:
    """The ending that all of `completions` have, if it is one that `offered_ending` offers."""
    marks = (*_ENDINGS, _LAST_ENDING)
    return next((mark for mark in marks if all(text.endswith(mark) for text in completions)), "")


def known_separator(prompts: Sequence[str]) -> str:
    """The separator that all of `prompts` end in, if it is one that is offered here."""
    marks = (_ARROW, *_SEPARATORS, _LAST_SEPARATOR)
    return next((mark for mark in marks if all(text.endswith(mark) for text in prompts)), "")


def _unused(texts: Sequence[str], candidates: Sequence[str]) -> str | None:
    return next((mark for mark in candidates if not any(mark in text for text in texts)), None)


def _rows_holding(frame: pd.DataFrame, column: str, suffix: str) -> tuple[int, ...]:
    """Rows that hold `suffix` before their end too."""
    return tuple(
        int(row) for row, text in zip(frame.index, frame[column], strict=True) if suffix in text.removesuffix(suffix)
    )
