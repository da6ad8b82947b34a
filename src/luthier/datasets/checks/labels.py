"""The labels of a classification: spelling, balance, contradictions, and what the tokenizer makes of them."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from luthier.datasets.checks.affixes import offered_ending
from luthier.datasets.checks.context import Context, Task
from luthier.datasets.findings import Finding, Force, Remedy, Severity, count, name_rows, visible
from luthier.datasets.text import common_suffix
from luthier.types import Tokenizer

_IMBALANCE = 4  # times the smallest class
_FEW = 10  # examples of a class
_SHOWN_LABELS = 20
_NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_LETTERS = list("ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def single_label(frame: pd.DataFrame, context: Context) -> Iterator[Finding]:
    if context.task is Task.CLASSIFICATION and frame["completion"].nunique() == 1:
        label = frame["completion"].iloc[0]
        message = f"All completions are the same, {visible(label)}: a model could only repeat it."
        yield Finding("same_completions", Severity.ERROR, message)


def spellings(frame: pd.DataFrame, context: Context) -> Iterator[Finding]:
    """Labels that differ in letter case or outer white space alone: each would be a class of its own."""
    if context.task is not Task.CLASSIFICATION:
        return
    groups: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for label, number in Counter(frame["completion"]).items():
        groups[label.strip().lower()][label] = number
    mixed = {key: spelled for key, spelled in groups.items() if len(spelled) > 1}
    if not mixed:
        return
    best = {key: spelled.most_common(1)[0][0] for key, spelled in mixed.items()}
    rows = tuple(
        int(row)
        for row, label in zip(frame.index, frame["completion"], strict=True)
        if best.get(label.strip().lower(), label) != label
    )
    shown = "; ".join(
        f"{visible(best[key])} also as {', '.join(visible(label) for label in spelled if label != best[key])}"
        for key, spelled in mixed.items()
    )
    message = f"Labels are spelled in several ways, each of which would be a class: {shown}."
    remedy = Remedy("relabel", "Spell each label as it is spelled most often", Force.RECOMMENDED, {"labels": best})
    yield Finding("spellings", Severity.WARNING, message, rows, {"labels": best}, remedy)


def balance(frame: pd.DataFrame, context: Context) -> Iterator[Finding]:
    if context.task is not Task.CLASSIFICATION:
        return
    sizes = Counter(frame["completion"])
    (largest, most), *_, (smallest, least) = [*sizes.most_common(), *sizes.most_common()[-1:]]
    data = {"sizes": dict(sizes.most_common())}
    if most > _IMBALANCE * least:
        message = (
            f"The classes are out of balance: {visible(largest)} has {count(most, 'example')}, {visible(smallest)} "
            f"{least:,}. Accuracy says little then: look at F1, precision and recall, and add examples of the rare one."
        )
        yield Finding("imbalance", Severity.WARNING, message, data=data)
    few = [label for label, size in sizes.items() if size < _FEW]
    if few:
        shown = ", ".join(visible(label) for label in few[:_SHOWN_LABELS])
        message = f"Fewer than {_FEW} examples each (a slip of the pen, perhaps?): {shown}. About 100 are a good start."
        yield Finding("rare_labels", Severity.WARNING, message, data={"labels": few})


def contradictions(frame: pd.DataFrame, context: Context) -> Iterator[Finding]:
    """The same prompt with two labels."""
    if context.task is not Task.CLASSIFICATION:
        return
    labels = frame["completion"].str.strip().groupby(frame["prompt"].str.strip())
    rows = tuple(frame.index[labels.transform("nunique") > 1].tolist())
    if rows:
        message = f"The same prompt has different labels in {count(len(rows), 'row')}: {name_rows(rows)}."
        title = f"Remove {count(len(rows), 'row')} whose prompt has several labels"
        remedy = Remedy("drop_rows", title, Force.OPTIONAL, {"rows": list(rows)})
        yield Finding("contradictions", Severity.WARNING, message, rows, remedy=remedy)


def tokens_of_labels(frame: pd.DataFrame, context: Context) -> Iterator[Finding]:
    """Labels of several tokens, labels that share their first one, labels that begin another.

    Looks at labels with the leading space that is recommended.
    """
    if context.task is not Task.CLASSIFICATION or context.tokenizer is None:
        return
    tokenizer = context.tokenizer
    labels = list(dict.fromkeys(" " + label.removeprefix(" ") for label in frame["completion"]))
    ids = {label: tokenizer.encode(label) for label in labels}
    longest = max(map(len, ids.values()))
    if longest == 1 or len(labels) < 2:
        return
    shown = {label: [token_text(tokenizer, token) for token in ids[label]] for label in labels}
    by_first: defaultdict[int, list[str]] = defaultdict(list)
    for label in labels:
        by_first[ids[label][0]].append(label)
    shared = {token_text(tokenizer, first): group for first, group in by_first.items() if len(group) > 1}
    new_names = _single_token_names(tokenizer, labels)
    remedy = None
    if new_names:
        pairs = ", ".join(f"{visible(old)} as {visible(new)}" for old, new in list(new_names.items())[:_SHOWN_LABELS])
        remedy = Remedy("relabel", f"Write each label as one token: {pairs}", Force.OPTIONAL, {"labels": new_names})
    data: dict[str, Any] = {"tokens": shown, "max_tokens": longest}
    pieces = "; ".join(
        f"{visible(label)} is {' + '.join(map(visible, tokens))}"
        for label, tokens in list(shown.items())[:_SHOWN_LABELS]
        if len(tokens) > 1
    )
    asks = f"Ask for `max_tokens={longest}` to get whole labels; metrics score whole labels either way."
    if shared:
        groups = "; ".join(
            f"{visible(first)} begins {', '.join(map(visible, group[:_SHOWN_LABELS]))}"
            for first, group in shared.items()
        )
        message = f"Labels share their first token, so one token of answer cannot tell them apart: {groups}. {asks}"
        yield Finding("shared_first_token", Severity.WARNING, message, data={**data, "shared": shared}, remedy=remedy)
    else:
        message = (
            f"Labels of several tokens: {pieces}. The first tokens differ, so one token of answer is enough to tell "
            f"them apart. {asks}"
        )
        yield Finding("long_labels", Severity.INFO, message, data=data, remedy=remedy)
    yield from _unended(frame, ids)


def _unended(frame: pd.DataFrame, ids: dict[str, list[int]]) -> Iterator[Finding]:
    """Labels of different lengths without a common end: the model cannot say that a short one is over."""
    begins = [
        (short, long)
        for short, tokens in ids.items()
        for long, others in ids.items()
        if len(tokens) < len(others) and others[: len(tokens)] == tokens
    ]
    same_length = len(set(map(len, ids.values()))) == 1
    same_end = len({tokens[-1] for tokens in ids.values()}) == 1
    if not begins and (same_length or same_end):
        return
    offered = offered_ending(frame["completion"].tolist())
    if begins:
        short, long = begins[0]
        message = f"{visible(short)} also begins {visible(long)}: without an end they cannot be told apart."
    else:
        message = "Labels differ in length and have no common end: an answer of full length runs on after a short one."
    remedy = Remedy(
        "append",
        f"Add {visible(offered)} to the end of all completions",
        Force.RECOMMENDED if begins else Force.OPTIONAL,
        {"column": "completion", "text": offered},
    )
    severity = Severity.WARNING if begins else Severity.INFO
    yield Finding("labels_without_end", severity, message, data={"beginnings": begins}, remedy=remedy)


def token_text(tokenizer: Tokenizer, token: int) -> str:
    return tokenizer.token_bytes(token).decode("utf-8", errors="replace")


def _single_token_names(tokenizer: Tokenizer, labels: Sequence[str]) -> dict[str, str] | None:
    """A new label of one token for each, all different: its own words or a number's word, else letters for all."""
    end = common_suffix(labels)
    end = end if not end.strip() else ""
    bare = sorted((label.strip() for label in labels), key=lambda label: len(tokenizer.encode(f" {label}")))
    for candidates in (_words, lambda _: _LETTERS):
        taken: set[int] = set()
        names: dict[str, str] = {}
        for label in bare:
            for word in candidates(label):
                tokens = tokenizer.encode(f" {word}")
                if len(tokens) == 1 and tokens[0] not in taken:
                    taken.add(tokens[0])
                    names[label] = f" {word}{end}"
                    break
        if len(names) == len(labels):
            return {label.strip(): names[label.strip()] for label in labels}
    return None


def _words(label: str) -> list[str]:
    number = [_NUMBERS[int(label)]] if label.isdecimal() and int(label) < len(_NUMBERS) else []
    return [label, *number, *label.split()]
