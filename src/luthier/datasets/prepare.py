"""From a table of examples to files that a fine-tune takes: look, mend, split, write, and say what comes next.

`mend` looks and mends in rounds: a remedy may bring up what was hidden before (lower case makes duplicates), so it
looks again until nothing is left to do. Prepared data, prepared again, therefore stays as it is.
"""

import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pandas as pd

from luthier.datasets import remedies
from luthier.datasets.checks.affixes import known_ending
from luthier.datasets.checks.context import LengthLimit, Task, TokenCounter, infer_task
from luthier.datasets.checks.conversations import examples_of, tokens_of, values_of
from luthier.datasets.examples import Format, format_of
from luthier.datasets.findings import Finding, Force, Remedy, Severity
from luthier.datasets.formats import Source
from luthier.datasets.jsonl import FIELDS, write_lines
from luthier.datasets.split import split_table
from luthier.datasets.text import common_suffix
from luthier.datasets.validate import analyse
from luthier.errors import DataError
from luthier.types import ChatRenderer, Tokenizer

_MAX_ROUNDS = 10  # three were the most ever seen; this only bounds the unforeseen
_ESCAPES = str.maketrans({"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t"})
_COUNTED_EXAMPLES = 2000  # beyond, the length of a training set is estimated from as many, evenly spread


class Dialogue(Protocol):
    """Whom preparation talks to: a terminal, or nobody."""

    def show(self, findings: Sequence[Finding]) -> None:
        """Findings of one round."""
        ...

    def announce(self, remedy: Remedy) -> None:
        """A necessary remedy is applied."""
        ...

    def confirm(self, remedy: Remedy) -> bool:
        """Whether to apply a remedy that is recommended or optional."""
        ...


@dataclass(frozen=True)
class Mended:
    """A table after its remedies.

    Args:
        findings: all that was found, in all rounds.
        validation: the validation set, its texts changed as the table's are.
        error: the finding that makes the data unusable, if there is one.
    """

    frame: pd.DataFrame
    findings: tuple[Finding, ...]
    applied: tuple[Remedy, ...]
    declined: tuple[Remedy, ...]
    counter: TokenCounter
    validation: pd.DataFrame | None = None
    error: Finding | None = None


def mend(
    source: Source,
    tokenizer: Tokenizer | None,
    dialogue: Dialogue,
    *,
    limit: LengthLimit | None = None,
    validation: pd.DataFrame | None = None,
    template: ChatRenderer | None = None,
) -> Mended:
    """Look at a table and apply the remedies that `dialogue` agrees to, until there is nothing more to mend.

    Args and findings as in `validate.analyse`. `source.frame` is not changed.
    """
    frame, counter = source.frame, TokenCounter(tokenizer)
    findings: list[Finding] = []
    applied: list[Remedy] = []
    declined: dict[str, Remedy] = {}
    error = None
    for round_ in range(_MAX_ROUNDS):
        found = analyse(frame, tokenizer, limit=limit, validation=validation, counter=counter, template=template)
        if round_ == 0:
            found = [*found[:1], *source.notes, *found[1:]]
        else:
            known = {finding.code for finding in findings}
            found = [
                finding
                for finding in found
                if finding.code not in declined
                and (finding.remedy or (finding.severity is not Severity.INFO and finding.code not in known))
            ]
        findings += found
        dialogue.show(found)
        error = next((finding for finding in found if finding.severity is Severity.ERROR), None)
        if error:
            break
        before = len(applied)
        for finding in found:
            remedy = finding.remedy
            if remedy is None:
                continue
            if remedy.force is Force.NECESSARY:
                dialogue.announce(remedy)
            elif not dialogue.confirm(remedy):
                declined[finding.code] = remedy
                continue
            frame = remedies.apply(frame, remedy)
            if validation is not None:
                validation = remedies.apply_to_validation(validation, remedy)
            applied.append(remedy)
        if len(applied) == before:
            break
    return Mended(frame, tuple(findings), tuple(applied), tuple(declined.values()), counter, validation, error)


@dataclass(frozen=True)
class Written:
    """A file for a fine-tune: one that was written, or the user's own where nothing had to change."""

    path: Path
    n_examples: int
    role: str  # train or valid


def write_prepared(source_path: Path, frame: pd.DataFrame, *, split: bool) -> list[Written]:
    """Write `x_prepared.jsonl`, or `x_prepared_train.jsonl` and `x_prepared_valid.jsonl`, beside the source.

    Existing files are never overwritten: ` (1)`, ` (2)` … is put behind the name.
    """
    parts = zip(("train", "valid"), split_table(frame), strict=True) if split else [("train", frame)]
    paths = _free_paths(source_path, ("_train", "_valid") if split else ("",))
    written = []
    for path, (role, part) in zip(paths, parts, strict=True):
        write_lines(path, values_of(part))
        written.append(Written(path, len(part), role))
    return written


def _free_paths(source: Path, endings: Sequence[str]) -> list[Path]:
    number = 0
    while True:
        numbered = f" ({number})" if number else ""
        paths = [source.with_name(f"{source.stem}_prepared{ending}{numbered}.jsonl") for ending in endings]
        if not any(path.exists() for path in paths):
            return paths
        number += 1


@dataclass(frozen=True)
class Advice:
    """What to do with prepared data.

    Args:
        command: the command that starts the fine-tune.
        separator: what every prompt must end in when the tuned model is asked.
        stop: what ends its answer, if completions have a common end.
        max_tokens: how many tell the labels of a classification apart, None without a tokenizer: one where the first
            tokens differ and nothing ends a longer answer, else those of the longest label.
        n_train: examples of the training set.
        n_tokens: its tokens, one epoch; estimated from a sample where the table is large.
    """

    task: Task
    command: str
    separator: str
    stop: str
    max_tokens: int | None
    n_train: int
    n_tokens: int


def advise(
    frame: pd.DataFrame,
    *,
    train_path: Path,
    valid_path: Path | None,
    model: str,
    counter: TokenCounter,
    n_train: int | None = None,
    template: ChatRenderer | None = None,
) -> Advice:
    """Advice for prepared data.

    Args:
        frame: the whole table; classes and tokens are counted in it.
        n_train: number of rows that are trained on, None for all.
        template: of the base model, for conversations.
    """
    task = infer_task(frame)
    n_train = len(frame) if n_train is None else n_train
    if task in (Task.CHAT, Task.PREFERENCE):
        words = ["luthier", "tune", str(train_path), "-m", model]
        words += ["-v", str(valid_path)] if valid_path else []
        words += ["--dpo"] if task is Task.PREFERENCE else []
        n_tokens = round(_count_conversations(frame, counter.tokenizer, template) * n_train / len(frame))
        return Advice(task, " ".join(_quote(word) for word in words), "", "", None, n_train, n_tokens)
    words = ["luthier", "fine_tunes.create", "-t", str(train_path)]
    if valid_path:
        words += ["-v", str(valid_path)]
    words += ["-m", model]
    labels = frame["completion"]
    if task is Task.CLASSIFICATION and valid_path:
        words.append("--compute_classification_metrics")
        if labels.nunique() == 2:
            words += ["--classification_positive_class", positive_class(labels)]
        else:
            words += ["--classification_n_classes", str(labels.nunique())]
    endings = labels.unique().tolist()
    stop = known_ending(endings) if task is Task.CLASSIFICATION else common_suffix(endings) if len(endings) > 1 else ""
    prompts = frame["prompt"].tolist()
    return Advice(
        task=task,
        command=" ".join(_quote(word) for word in words),
        separator=common_suffix(prompts) if len(prompts) > 1 else "",
        stop=stop,
        max_tokens=_tokens_of_answer(endings, counter.tokenizer, stop) if task is Task.CLASSIFICATION else None,
        n_train=n_train,
        n_tokens=round(_count_tokens(frame, counter) * n_train / len(frame)),
    )


def _count_tokens(frame: pd.DataFrame, counter: TokenCounter) -> float:
    some = frame.iloc[:: max(1, len(frame) // _COUNTED_EXAMPLES)]
    counted = sum(counter.count(text) for column in FIELDS for text in some[column])
    return counted * len(frame) / len(some)


def _count_conversations(frame: pd.DataFrame, tokenizer: Tokenizer | None, template: ChatRenderer | None) -> float:
    some = frame.iloc[:: max(1, len(frame) // _COUNTED_EXAMPLES)]
    kind = format_of(map(str, frame.columns)) or Format.CHAT
    counted = 0
    for example in examples_of(some, kind).values():
        with suppress(DataError):  # a row that the template does not take, which its owner would not remove
            counted += tokens_of(example, tokenizer, template)
    return counted * len(frame) / len(some)


def _tokens_of_answer(labels: Sequence[str], tokenizer: Tokenizer | None, stop: str) -> int | None:
    if tokenizer is None:
        return None
    ids = [tokenizer.encode(label) for label in labels]
    if not stop and len({tokens[0] for tokens in ids}) == len(ids):
        return 1
    return max(map(len, ids))


def positive_class(labels: pd.Series) -> str:
    """The label that occurs most often; of two that occur equally often, the one that comes first."""
    return str(labels.groupby(labels, sort=False).size().idxmax())


def _quote(word: str) -> str:
    """`word` for a shell: in double quotes where these do, and `$'…'` for line breaks, as people write them."""
    if set(word) & set("\n\r\t"):
        return f"$'{word.translate(_ESCAPES)}'"
    if shlex.quote(word) == word:
        return word
    return shlex.quote(word) if set(word) & set('"$`\\!') else f'"{word}"'
