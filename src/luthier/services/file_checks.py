"""What can be known of a fine-tune's files before it trains. `param` of each error names the field."""

import itertools
import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from luthier.config import Settings
from luthier.datasets.conversations import ChatExample
from luthier.datasets.examples import Format, iterate_examples
from luthier.datasets.jsonl import Example
from luthier.datasets.lengths import TooLong
from luthier.datasets.turns import write
from luthier.domain.file import File, FileStatus, Purpose
from luthier.domain.hyperparameters import Hyperparameters, Objective
from luthier.domain.job import Dialect, Job
from luthier.errors import DataError, InvalidRequestError, NotFoundError
from luthier.modeling.chat_template import ChatTemplate
from luthier.modeling.loader import context_length
from luthier.modeling.tokenizer import HFTokenizer
from luthier.storage.blobs import Blobs
from luthier.storage.files import FileStore

_MAX_SHOWN = 5
_MAX_COUNTED_BYTES = 2 << 20  # of a job's examples that are tokenized to see their length: about a second


@dataclass(frozen=True)
class JobData:
    """What a job trains on.

    Args:
        n_examples: lines of the training file.
        warnings: what the job's owner should know of it.
    """

    n_examples: int
    warnings: tuple[str, ...] = ()


@dataclass
class _Look:
    """What one file holds. `labels` are its completions, if it has such."""

    format: Format = Format.COMPLETION
    n_examples: int = 0
    labels: Counter[str] = field(default_factory=Counter)


class _Base:
    """How a base that is here reads examples: its chat template, and how many tokens they have.

    Only the tokens of examples that may be too long are counted. A token is a byte at least, so a text of fewer bytes
    than the limit never exceeds it. (Tokenizers that write a few rare characters as several may come to more; the job
    counts all examples again.) No more than a bounded number of bytes is tokenized, so that a request is answered soon.

    Args:
        folder: of the base.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bytes_left = _MAX_COUNTED_BYTES
        self.template = ChatTemplate.of(folder)
        self.limit = context_length(folder)

    @cached_property
    def _tokenizer(self) -> HFTokenizer:
        return HFTokenizer(self._folder)

    def count(self, texts: Sequence[str], *, start: bool) -> int:
        """The tokens of one sequence, 0 where they were not counted.

        Args:
            texts: tokenized apart.
            start: what the base wants before every text is not in them yet.
        """
        size = sum(len(text.encode()) for text in texts)
        if not self.limit < size + 1 <= self._bytes_left:  # a token may stand before the text
            return 0
        self._bytes_left -= size
        before = len(self._tokenizer.start_ids) if start else 0
        return before + sum(len(self._tokenizer.encode(text)) for text in texts)


class FileChecks:
    """Looks at a job's files, with the eyes of its base."""

    def __init__(self, settings: Settings, files: FileStore, blobs: Blobs) -> None:
        self._max_line_bytes = settings.max_line_bytes
        self._files = files
        self._blobs = blobs

    def check(self, job: Job, folder: Path | None) -> JobData:
        """
        Args:
            folder: of the base, None before it is pulled, when nobody knows how it reads.

        Raises:
            InvalidRequestError: the first thing found to be wrong.
        """
        hp = job.hyperparameters
        train = self._file(job.training_file, "training_file")
        valid = self._file(job.validation_file, "validation_file") if job.validation_file is not None else None
        if hp.compute_classification_metrics and valid is None:
            raise InvalidRequestError(
                "Classification metrics are computed on a validation file; set validation_file too.",
                param="validation_file",
            )
        base = _Base(folder) if folder is not None else None
        seen = self._look(train, "training_file", base)
        _check_format(job, seen.format, base)
        warnings: tuple[str, ...] = ()
        if valid is not None:
            other = self._look(valid, "validation_file", base)
            if other.format is not seen.format:
                raise InvalidRequestError(
                    f"A line of the training file is {seen.format}, one of the validation file {other.format}. Both "
                    "files must have one format.",
                    param="validation_file",
                )
            if hp.compute_classification_metrics:
                _check_classes(hp, seen.labels, other.labels)
                warnings = _warn_of_labels(seen.labels)
        return JobData(seen.n_examples, warnings)

    def _file(self, file_id: str, param: str) -> File:
        try:
            file = self._files.get(file_id)
        except NotFoundError:
            raise InvalidRequestError(f"There is no file {file_id}; it may have been deleted.", param=param) from None
        if file.purpose is not Purpose.FINE_TUNE:
            raise InvalidRequestError(
                f"{file_id} has the purpose '{file.purpose}'; files to train on have '{Purpose.FINE_TUNE}'.",
                param=param,
            )
        if file.status is FileStatus.ERROR:
            raise InvalidRequestError(f"{file_id} ({file.filename}) cannot be used. {file.status_details}", param=param)
        return file

    def _look(self, file: File, param: str, base: _Base | None) -> _Look:
        """
        Raises:
            InvalidRequestError: the template does not take a line, or leaves a part of it out; or lines are too long.
        """
        seen = _Look()
        name = f"{file.filename} ({file.id})"
        too_long = TooLong(base.limit if base is not None else 0)
        for number, example in iterate_examples(self._blobs.path(file.id), self._max_line_bytes):
            seen.n_examples += 1
            sequences: list[list[str]] = []
            if isinstance(example, Example):
                seen.labels[example.completion] += 1
                sequences.append([example.prompt, example.completion])
            else:
                seen.format = Format.CHAT if isinstance(example, ChatExample) else Format.PREFERENCE
                if base is not None and base.template is not None:
                    try:
                        sequences += [[text for text, _ in pieces] for pieces in write(example, base.template)]
                    except DataError as error:
                        raise InvalidRequestError(f"{name}, line {number}: {error.message}", param=param) from None
            if base is not None and not too_long.enough:
                for texts in sequences:
                    too_long.look(number, base.count(texts, start=isinstance(example, Example)))
        if message := too_long.message(name):
            raise InvalidRequestError(message, param=param)
        return seen


def _check_format(job: Job, found: Format, base: _Base | None) -> None:
    """
    Raises:
        InvalidRequestError: the method or the base is not for examples of this format.
    """
    hp = job.hyperparameters
    if hp.objective is Objective.DPO and found is not Format.PREFERENCE:
        raise InvalidRequestError(
            f"The method 'dpo' learns from preference examples, and a line of {job.training_file} is {found}. "
            "Give another file, or set the method to 'supervised'.",
            param="training_file",
        )
    if hp.objective is Objective.SUPERVISED and found is Format.PREFERENCE:
        where = " through /v1/fine_tuning/jobs" if job.dialect is Dialect.LEGACY else ""
        raise InvalidRequestError(
            f"{job.training_file} holds preference examples. They are for the method 'dpo': create the job{where} with "
            '"method": {"type": "dpo"}.',
            param="method" if job.dialect is Dialect.JOBS else "training_file",
        )
    if found is Format.COMPLETION:
        return
    if base is not None and base.template is None:
        raise InvalidRequestError(
            f"A line of {job.training_file} is {found}, but the base of '{job.model}' has no chat template. Take "
            "another base, or write the file as prompts and completions.",
            param="model",
        )
    for name in ("compute_classification_metrics", "prompt_loss_weight"):
        if getattr(hp, name):
            raise InvalidRequestError(
                f"{name} is for prompts with completions, and a line of {job.training_file} is {found}. Leave it out.",
                param=name,
            )


def _check_classes(hp: Hyperparameters, train: Counter[str], valid: Counter[str]) -> None:
    """
    Raises:
        InvalidRequestError: the completions of the files are not the classes that the job names.
    """
    labels = train | valid
    shown = ", ".join(json.dumps(label, ensure_ascii=False) for label, _ in labels.most_common(_MAX_SHOWN))
    there = f"the files have {len(labels)}: {shown}{', …' if len(labels) > _MAX_SHOWN else ''}."
    positive = hp.classification_positive_class
    if positive is not None and positive not in labels:
        near = next((label for label in labels if label.strip() == positive.strip()), None)
        hint = f" Did you mean {json.dumps(near, ensure_ascii=False)}?" if near is not None else ""
        raise InvalidRequestError(
            f"No completion is the positive class {json.dumps(positive, ensure_ascii=False)}; {there}{hint}",
            param="classification_positive_class",
        )
    expected = hp.classification_n_classes or 2
    if len(labels) != expected:
        raise InvalidRequestError(
            f"The job is for {expected} classes, but {there}",
            param="classification_n_classes" if positive is None else "classification_positive_class",
        )
    if unseen := [label for label in valid if label not in train]:
        label = json.dumps(unseen[0], ensure_ascii=False)
        raise InvalidRequestError(
            f"The validation file has a class that the training file lacks: {label}.",
            param="validation_file",
        )


def _warn_of_labels(labels: Collection[str]) -> tuple[str, ...]:
    """Labels of which one begins another. A whole label is scored by its tokens, and a longer one is never likelier
    than its own beginning, so such a pair is not judged fairly. Only the characters are compared here."""
    ordered = sorted(labels)
    pairs = [(short, long) for short, long in itertools.pairwise(ordered) if long.startswith(short)]
    if not pairs:
        return ()
    shown = "; ".join(
        f"{json.dumps(short, ensure_ascii=False)} begins {json.dumps(long, ensure_ascii=False)}"
        for short, long in pairs[:_MAX_SHOWN]
    )
    return (
        f"Labels begin other labels: {shown}{'; …' if len(pairs) > _MAX_SHOWN else ''}. If their tokens do so too, the "
        "classification metrics may favour the shorter ones, which cannot be told to be over. End all completions "
        "alike (`luthier prepare` offers to), and create the job again.",
    )
