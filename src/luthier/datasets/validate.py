"""Is this data fit for a fine-tune? A quick look at an upload, and a thorough one at a table of examples."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from luthier.datasets import remedies
from luthier.datasets.checks import affixes, columns, labels, rows
from luthier.datasets.checks.context import Context, LengthLimit, Task, TokenCounter, infer_task
from luthier.datasets.checks.conversations import ChatContext, analyse_conversations
from luthier.datasets.examples import Format, LineParser, format_of
from luthier.datasets.findings import Finding, Force, Severity, visible
from luthier.datasets.jsonl import read_lines
from luthier.errors import DataError
from luthier.types import ChatRenderer, Tokenizer

_FORMS = {
    None: '{"prompt": "…", "completion": " …"}',
    Format.COMPLETION: '{"prompt": "…", "completion": " …"}',
    Format.CHAT: '{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}',
    Format.PREFERENCE: '{"input": {"messages": […]}, "preferred_output": […], "non_preferred_output": […]}',
}


@dataclass(frozen=True)
class LineError:
    """What is wrong with one line, counted from 1."""

    line: int
    message: str


@dataclass(frozen=True)
class TrainingFileReport:
    """What a look at a training file showed.

    Args:
        errors: the first lines that cannot be used.
        n_errors: how many there are.
        n_examples: lines that can be used.
        format: what the file holds, that of its first line; None when no line could be read.
        extra_keys: keys that training does not read; they do no harm.
    """

    errors: tuple[LineError, ...]
    n_errors: int
    n_examples: int
    format: Format | None = None
    extra_keys: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.n_errors and self.n_examples > 0

    def summary(self) -> str:
        """One paragraph for `status_details`; empty when there is nothing to say."""
        if self.n_errors:
            parts = [f"Line {error.line}: {error.message}" for error in self.errors]
            if more := self.n_errors - len(self.errors):
                parts.append(f"{more:,} more {'line is' if more == 1 else 'lines are'} wrong too.")
            if not self.n_examples:
                parts.append(f"No line is an example. Each should be an object such as {_FORMS[self.format]}.")
                if self.format in (None, Format.COMPLETION):
                    parts.append("`luthier prepare FILE` writes that from CSV, JSON and others.")
            return " ".join(parts)
        if not self.n_examples:
            return "The file is empty. It should hold one example a line."
        if self.extra_keys:
            return f"Training does not read {', '.join(map(visible, self.extra_keys))}."
        return ""


def check_training_file(path: Path, *, max_line_bytes: int, max_reported: int = 5) -> TrainingFileReport:
    """Look at every line of a JSONL file of examples, all of one format, holding one at a time.

    A byte order mark, CRLF and blank lines are fine.

    Args:
        max_line_bytes: longest line allowed; longer ones are skipped without being read into memory.
        max_reported: how many wrong lines the report names.
    """
    errors: list[LineError] = []
    n_errors = n_examples = 0
    extra: dict[str, None] = {}
    parse = LineParser()
    for number, raw in read_lines(path, max_line_bytes):
        try:
            if raw is None:
                raise DataError(f"it is longer than {max_line_bytes:,} bytes. Shorten or split it.")
            example = parse(number, raw)
        except DataError as error:
            n_errors += 1
            if len(errors) < max_reported:
                errors.append(LineError(number, error.message))
        else:
            n_examples += 1
            if len(extra) < max_reported:
                extra.update(dict.fromkeys(example.extra_keys[:max_reported]))
    return TrainingFileReport(tuple(errors), n_errors, n_examples, parse.format, tuple(extra))


_SHAPE_CHECKS: tuple[Callable[[pd.DataFrame], Iterator[Finding]], ...] = (
    columns.number_of_examples,
    columns.names_of_columns,
    columns.extra_columns,
    columns.empty_completions,
    columns.empty_prompts,
)
_CHECKS: tuple[Callable[[pd.DataFrame, Context], Iterator[Finding]], ...] = (
    rows.duplicates,
    rows.long_examples,
    rows.leaks,
    labels.single_label,
    labels.spellings,
    labels.balance,
    labels.contradictions,
    affixes.upper_case,
    affixes.separator,
    affixes.prompt_prefix,
    affixes.completion_prefix,
    affixes.ending,
    affixes.leading_space,
    labels.tokens_of_labels,
)


def analyse(
    frame: pd.DataFrame,
    tokenizer: Tokenizer | None,
    *,
    limit: LengthLimit | None = None,
    validation: pd.DataFrame | None = None,
    counter: TokenCounter | None = None,
    template: ChatRenderer | None = None,
) -> list[Finding]:
    """All that can be said about a table of examples, in the order in which remedies are to be applied.

    Checks of content see the table as it stands after the necessary remedies. An error ends the examination.

    Args:
        frame: as `formats.read_table` gives it; it is not changed. Its index must be unique.
        tokenizer: of the base model; None estimates tokens and leaves the tokens of labels out.
        limit: when an example is too long.
        validation: the validation set, with columns `prompt` and `completion` or those of conversations, to look for
            leaks.
        counter: counts of tokens from an earlier look, to be reused.
        template: of the base model, for conversations.
    """
    kind = format_of(map(str, frame.columns))
    if kind in (Format.CHAT, Format.PREFERENCE):
        limit = limit or LengthLimit()
        context_of_chat = ChatContext(tokenizer, template, limit, validation)
        return [*columns.number_of_examples(frame), *analyse_conversations(frame, kind, context_of_chat)]
    findings: list[Finding] = []
    for shape_check in _SHAPE_CHECKS:
        for finding in list(shape_check(frame)):
            findings.append(finding)
            if finding.severity is Severity.ERROR:
                return findings
            if finding.remedy and finding.remedy.force is Force.NECESSARY:
                frame = remedies.apply(frame, finding.remedy)
    task = infer_task(frame)
    findings.append(_task_finding(task))
    context = Context(task, counter or TokenCounter(tokenizer), limit or LengthLimit(), validation)
    for check in _CHECKS:
        if check is labels.tokens_of_labels and any(finding.code == "completion_prefix" for finding in findings):
            continue  # labels will be others; a second look sees them
        findings.extend(check(frame, context))
    return findings


def _task_finding(task: Task) -> Finding:
    message = f"This looks like {task}."
    if task is Task.CLASSIFICATION:
        message += " The smallest base model (`ada`) is usually enough; keep some examples aside to measure with."
    return Finding("task", Severity.INFO, message, data={"task": str(task)})
