"""What `luthier prepare` does: talks to the terminal, or to a program in JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import typer

from luthier.catalogue.registry import Registry
from luthier.config import Settings, load_settings
from luthier.datasets import estimate
from luthier.datasets.checks.context import LengthLimit, Task, infer_task
from luthier.datasets.examples import Format, format_of
from luthier.datasets.findings import Finding, Force, Remedy, Severity, count, visible
from luthier.datasets.formats import Source, read_source
from luthier.datasets.jsonl import FIELDS
from luthier.datasets.prepare import Advice, Dialogue, Mended, Written, advise, mend, write_prepared
from luthier.domain.hyperparameters import Method
from luthier.errors import DataError, LuthierError, NotFoundError
from luthier.modeling.bases import BaseStore, LocalBase
from luthier.modeling.tokenizer import HFTokenizer
from luthier.training.defaults import automatic_epochs
from luthier.types import ChatRenderer, Tokenizer


@dataclass(frozen=True)
class Request:
    """What the user asked for; fields as the options of `cli.prepare`.

    Args:
        accept: ask nothing, take what is recommended.
    """

    file: Path
    accept: bool = False
    as_json: bool = False
    validation: Path | None = None
    model: str = "ada"
    max_tokens: int | None = None
    n_epochs: int | None = None
    tokens_per_second: float | None = None
    prices: Path | None = None


@dataclass(frozen=True)
class Estimate:
    """Of the training: None where nothing is known.

    Args:
        n_tokens: all epochs.
    """

    n_epochs: int
    n_tokens: int
    seconds: float | None
    cost: float | None
    currency: str | None


class Terminal:
    """Shows findings and asks, as the old tool did; or, with `accept`, answers for the user."""

    def __init__(self, accept: bool) -> None:
        self._accept = accept
        self._heading = "\nWhat will be done:"
        self._asked = False

    def show(self, findings: Sequence[Finding]) -> None:
        if self._asked and findings:
            typer.echo("\nAfter these changes:")
            self._heading = ""
        for finding in findings:
            if finding.severity is not Severity.ERROR:  # that one ends the command, as its error message
                typer.echo(f"{'!' if finding.severity is Severity.WARNING else '-'} {finding.message}")

    def announce(self, remedy: Remedy) -> None:
        self._head()
        typer.echo(f"- [Necessary] {remedy.title}")

    def confirm(self, remedy: Remedy) -> bool:
        self._head()
        wanted = remedy.force is Force.RECOMMENDED
        return self.ask(f"- [{'Recommended' if wanted else 'Optional'}] {remedy.title}", default=wanted)

    def ask(self, question: str, *, default: bool = True) -> bool:
        if not self._accept:
            return typer.confirm(question, default=default)
        typer.echo(f"{question} [{'Y/n]: Y' if default else 'y/N]: N'}")
        return default

    def _head(self) -> None:
        if self._heading:
            typer.echo(self._heading)
        self._heading = ""
        self._asked = True


class Silence:
    """Says nothing and takes what is recommended."""

    def show(self, findings: Sequence[Finding]) -> None:
        pass

    def announce(self, remedy: Remedy) -> None:
        pass

    def confirm(self, remedy: Remedy) -> bool:
        return remedy.force is Force.RECOMMENDED


def run(request: Request) -> None:
    """Prepare a file.

    Raises:
        LuthierError: the file or an option makes no sense; with `as_json` it is printed, and `typer.Exit` raised.
    """
    if not request.as_json:
        _converse(request)
        return
    try:
        report = _report(request)
    except LuthierError as error:
        report = {"error": {"message": error.message, "type": error.type, "param": error.param, "code": error.code}}
    typer.echo(json.dumps(report, ensure_ascii=False, indent=2))
    if "error" in report:
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Inputs:
    settings: Settings
    source: Source
    validation: Source | None
    tokenizer: Tokenizer | None
    limit: LengthLimit
    template: ChatRenderer | None = None

    def rewritten_validation(self, mended: Mended) -> pd.DataFrame | None:
        """The validation set, where an upload would not take its file as it is or its texts were changed."""
        if self.validation is None or mended.validation is None:
            return None
        same = mended.validation.equals(self.validation.frame)
        return None if same and not any(note.remedy for note in self.validation.notes) else mended.validation


def _read(request: Request) -> _Inputs:
    settings = load_settings()
    source = read_source(request.file)
    kind = format_of(map(str, source.frame.columns)) or Format.COMPLETION
    validation = _read_validation(request.validation, kind) if request.validation else None
    base = BaseStore(settings).local(request.model)
    if request.max_tokens:
        limit = LengthLimit(request.max_tokens, None)
    else:
        limit = LengthLimit(_context_length(base)) if base else LengthLimit()
    tokenizer = HFTokenizer(base.path) if base else None
    return _Inputs(settings, source, validation, tokenizer, limit, _template(base, kind))


def _template(base: LocalBase | None, kind: Format) -> ChatRenderer | None:
    """The chat template of the base, where it is needed."""
    if base is None or kind is Format.COMPLETION:
        return None
    from luthier.modeling.chat_template import ChatTemplate  # slow to import

    return ChatTemplate.of(base.path)


def _context_length(base: LocalBase) -> int:
    if base.entry.context_length:
        return base.entry.context_length
    from luthier.modeling.loader import context_length  # torch is slow to import, and the catalogue often knows

    return context_length(base.path)


def _read_validation(path: Path, kind: Format) -> Source:
    source = read_source(path)
    frame = source.frame.rename(columns=lambda name: str(name).strip().lower())
    if kind is not Format.COMPLETION:
        if (found := format_of(frame.columns)) is not kind:
            raise DataError(f"A row of {path.name} is {found or 'no example'}; each must be {kind}, as in your file.")
        return replace(source, frame=frame)
    for name in FIELDS:
        if name not in frame.columns:
            raise DataError(f"{path.name} has no column `{name}`; the validation set needs `prompt` and `completion`.")
    return replace(source, frame=frame[list(FIELDS)])


def _converse(request: Request) -> None:
    terminal = Terminal(request.accept)
    typer.echo(f"Looking at {request.file} …\n")
    inputs = _read(request)
    mended = _mend(inputs, terminal)
    if mended.error:
        raise DataError(f"{request.file.name} cannot be used as it is: {mended.error.message}")
    if not mended.applied:
        typer.echo("\nNothing was changed.")
    split = _can_split(request, mended) and terminal.ask("- [Recommended] Split into a training and a validation set?")
    written: list[Written] = []
    validation = inputs.rewritten_validation(mended)
    if validation is not None:
        name = visible(str(request.validation), limit=200)
        typer.echo(f"- [Necessary] Write {name} as JSONL in UTF-8, prepared as your file is")
    if mended.applied or split or validation is not None:
        if not terminal.ask("\nThe result is written to a new file. Go on?"):
            typer.echo("Nothing was written.")
            return
        written = _write(request, inputs, mended, split=split)
        names = (f"{visible(str(file.path), limit=200)} ({count(file.n_examples, 'example')})" for file in written)
        typer.echo(f"\nWritten: {', '.join(names)}")
    advice = _advice(request, inputs, mended, written)
    _tell(request, advice, _estimate(request, inputs.settings, advice), changed=bool(written))


def _report(request: Request) -> dict[str, Any]:
    inputs = _read(request)
    mended = _mend(inputs, Silence())
    report: dict[str, Any] = {
        "file": str(request.file),
        "format": inputs.source.format,
        "rows_counted_from": 1,
        "findings": [finding.to_dict() for finding in mended.findings],
        "applied": [asdict(remedy) for remedy in mended.applied],
        "declined": [asdict(remedy) for remedy in mended.declined],
        "files": [],
    }
    if mended.error:
        return {**report, "error": {"message": mended.error.message, "type": DataError.type, "code": mended.error.code}}
    split = _can_split(request, mended)
    written = _write(request, inputs, mended, split=split)
    advice = _advice(request, inputs, mended, written)
    files = [{"path": str(file.path), "n_examples": file.n_examples, "role": file.role} for file in written]
    return {
        **report,
        "files": files,
        "advice": asdict(advice),
        "estimate": asdict(_estimate(request, inputs.settings, advice)),
    }


def _write(request: Request, inputs: _Inputs, mended: Mended, *, split: bool) -> list[Written]:
    written = write_prepared(request.file, mended.frame, split=split) if mended.applied or split else []
    validation = inputs.rewritten_validation(mended)
    if request.validation is not None and validation is not None:
        (valid,) = write_prepared(request.validation, validation, split=False)
        written.append(replace(valid, role="valid"))
    return written


def _can_split(request: Request, mended: Mended) -> bool:
    return request.validation is None and infer_task(mended.frame) is Task.CLASSIFICATION


def _mend(inputs: _Inputs, dialogue: Dialogue) -> Mended:
    return mend(
        inputs.source,
        inputs.tokenizer,
        dialogue,
        limit=inputs.limit,
        validation=inputs.validation.frame if inputs.validation else None,
        template=inputs.template,
    )


def _advice(request: Request, inputs: _Inputs, mended: Mended, written: Sequence[Written]) -> Advice:
    paths = {file.role: file.path for file in written}
    return advise(
        mended.frame,
        train_path=paths.get("train", request.file),
        valid_path=paths.get("valid", request.validation),
        model=request.model,
        counter=mended.counter,
        n_train=next((file.n_examples for file in written if file.role == "train"), None),
        template=inputs.template,
    )


def _estimate(request: Request, settings: Settings, advice: Advice) -> Estimate:
    n_epochs = request.n_epochs or automatic_epochs(advice.n_train)
    n_tokens = advice.n_tokens * n_epochs
    rate = request.tokens_per_second or _measured_rate(request.model, settings)
    prices_path = request.prices or settings.home / estimate.PRICES_FILE
    prices = estimate.read_prices(prices_path) if request.prices or prices_path.is_file() else None
    cost = prices.cost(request.model, n_tokens) if prices else None
    return Estimate(n_epochs, n_tokens, n_tokens / rate if rate else None, cost, prices.currency if prices else None)


def _measured_rate(model: str, settings: Settings) -> float | None:
    try:
        weights = Registry.load(settings).resolve(model).entry.key
    except NotFoundError:
        return None
    return estimate.read_rate(settings.home / estimate.RATES_FILE, weights, Method.LORA)


def _tell(request: Request, advice: Advice, estimated: Estimate, *, changed: bool) -> None:
    typer.echo(f"\nNow tune {'a model with it' if changed else 'a model with your file as it is'}:")
    typer.echo(f"> {advice.command}\n")
    if advice.separator:
        typer.echo(f"Ask the tuned model with prompts that end in {visible(advice.separator)}.")
    if advice.stop:
        typer.echo(
            f"Give `stop=[{json.dumps(advice.stop, ensure_ascii=False)}]`, so that answers end where they should."
        )
    if advice.max_tokens:
        why = "the first token tells the labels apart" if advice.max_tokens == 1 else "the longest label has as many"
        typer.echo(f"Give `max_tokens={advice.max_tokens}`: {why}.")
    typer.echo(
        f"Training reads about {count(estimated.n_tokens, 'token')} in {count(estimated.n_epochs, 'epoch')}"
        + (
            f", about {estimate.format_duration(estimated.seconds)} at the speed measured here."
            if estimated.seconds is not None
            else f". How long that takes is not known here: no fine-tune of `{request.model}` has been timed yet."
        )
    )
    if estimated.cost is not None:
        typer.echo(f"Cost by your price file: {estimated.cost:.4f} {estimated.currency}.")
    elif estimated.currency:
        typer.echo(f"Your price file has no price for `{request.model}`.")
