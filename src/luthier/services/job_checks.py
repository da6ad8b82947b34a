"""What can be known to be wrong with a fine-tune before it trains. `param` of each error names the field."""

import itertools
import json
import math
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from luthier.catalogue.entry import Kind
from luthier.config import Settings
from luthier.datasets.jsonl import parse_example, read_lines
from luthier.domain.file import FileStatus, Purpose
from luthier.domain.hyperparameters import Hyperparameters, Method, Objective, ResolvedHyperparameters
from luthier.domain.job import Job
from luthier.domain.names import MAX_SUFFIX, slug
from luthier.errors import InvalidRequestError, NotFoundError, WeightsError
from luthier.executors.parents import Parent, find_parent
from luthier.modeling.bases import BaseStore
from luthier.services.metadata import check_metadata
from luthier.storage.blobs import Blobs
from luthier.storage.files import FileStore
from luthier.storage.models import TunedModelStore
from luthier.training import defaults

# field → (least, most)
_WHOLE = {"n_epochs": (1, 50), "batch_size": (1, 256), "lora_rank": (1, 256), "seed": (0, 2**31 - 1)}
_MAX_MULTIPLIER = 10.0
_MAX_OWNER = 64  # characters of an organization or project
_MAX_SHOWN = 5


@dataclass(frozen=True)
class Checked:
    """A job that can work.

    Args:
        resolved: the hyperparameters that it will use.
        warnings: what its owner should know all the same.
    """

    resolved: ResolvedHyperparameters
    warnings: tuple[str, ...] = ()


class JobChecks:
    """Looks at a new job, its files and the model it starts from."""

    def __init__(
        self, settings: Settings, files: FileStore, blobs: Blobs, models: TunedModelStore, bases: BaseStore
    ) -> None:
        self._settings = settings
        self._files = files
        self._blobs = blobs
        self._models = models
        self._bases = bases

    def check(self, job: Job) -> Checked:
        """
        Raises:
            InvalidRequestError: the first thing found to be wrong.
        """
        check_hyperparameters(job.hyperparameters)
        _check_suffix(job.suffix, MAX_SUFFIX[job.dialect])
        _check_organization(job)
        if job.hyperparameters.objective is Objective.DPO:
            raise InvalidRequestError("The method 'dpo' is not supported by this server.", param="method.type")
        if job.wandb is not None:
            raise InvalidRequestError("'integrations' are not supported by this server.", param="integrations")
        check_metadata(job.metadata)
        parent = self._parent(job)
        train = self._file(job.training_file, "training_file")
        valid = self._file(job.validation_file, "validation_file") if job.validation_file is not None else None
        hp = job.hyperparameters
        if hp.compute_classification_metrics and valid is None:
            raise InvalidRequestError(
                "Classification metrics are computed on a validation file; set validation_file too.",
                param="validation_file",
            )
        limit = self._settings.max_line_bytes
        labels = Counter(_completions(train, limit))
        if hp.batch_size is not None and hp.batch_size > labels.total():
            raise InvalidRequestError(
                f"batch_size is {hp.batch_size}, but the training file has only {labels.total()} examples.",
                param="batch_size",
            )
        warnings: tuple[str, ...] = ()
        if valid is not None and hp.compute_classification_metrics:
            _check_classes(hp, labels, Counter(_completions(valid, limit)))
            warnings = _warn_of_labels(labels)
        return Checked(defaults.resolve(hp, n_examples=labels.total(), parent_rank=parent.rank), warnings)

    def _parent(self, job: Job) -> Parent:
        try:
            parent = find_parent(job.model, self._settings, self._models, self._bases)
            local = self._bases.local(parent.base)
        except NotFoundError as error:
            raise InvalidRequestError(error.message, param="model", code="model_not_found") from None
        except WeightsError as error:
            raise InvalidRequestError(error.message, param="model") from None
        if (local.kind if local else self._bases.registry.resolve(parent.base).entry.kind) is Kind.EMBEDDING:
            raise InvalidRequestError(
                f"'{job.model}' makes embeddings; fine-tunes start from models that complete texts, such as 'ada'.",
                param="model",
            )
        if local is None and (entry := self._bases.registry.resolve(parent.base).entry).accept_license:
            raise InvalidRequestError(
                f"{entry.title} comes under terms that have to be accepted first ({entry.license}: "
                f"{entry.license_url}): run `luthier pull {entry.key} --accept-license`.",
                param="model",
                code="license_not_accepted",
            )
        return parent

    def _file(self, file_id: str, param: str) -> Path:
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
        return self._blobs.path(file_id)


def check_hyperparameters(hp: Hyperparameters) -> None:
    """
    Raises:
        InvalidRequestError: a number out of its range, or classification fields that do not go together.
    """
    for name, (least, most) in _WHOLE.items():
        value = getattr(hp, name)
        if value is not None and not least <= value <= most:
            raise InvalidRequestError(f"{name} is {value}; it must be from {least} to {most}.", param=name)
    rate = hp.learning_rate_multiplier
    if rate is not None and not 0 < rate <= _MAX_MULTIPLIER:
        raise InvalidRequestError(
            f"learning_rate_multiplier is {rate}; it must be above 0 and at most {_MAX_MULTIPLIER:g}. "
            "It scales the base model's own rate; 0.02 to 2 are usual.",
            param="learning_rate_multiplier",
        )
    weight = hp.prompt_loss_weight
    if weight is not None and not 0 <= weight <= 1:
        raise InvalidRequestError(
            f"prompt_loss_weight is {weight}; it must be from 0 to 1.", param="prompt_loss_weight"
        )
    if hp.lora_rank is not None and hp.method is Method.FULL:
        raise InvalidRequestError("The method 'full' has no lora_rank. Leave it out.", param="lora_rank")
    _check_classification(hp)


def _check_classification(hp: Hyperparameters) -> None:
    n_classes, positive, betas = (
        hp.classification_n_classes,
        hp.classification_positive_class,
        hp.classification_betas,
    )
    if not hp.compute_classification_metrics:
        set_anyway = {
            "classification_n_classes": n_classes is not None,
            "classification_positive_class": positive is not None,
            "classification_betas": bool(betas),
        }
        for name, given in set_anyway.items():
            if given:
                raise InvalidRequestError(
                    f"{name} has no effect without compute_classification_metrics. Set that too, or leave it out.",
                    param=name,
                )
        return
    if n_classes is None and positive is None:
        raise InvalidRequestError(
            "Classification metrics need classification_positive_class, for two classes, or "
            "classification_n_classes, for more.",
            param="classification_n_classes",
        )
    if n_classes is not None and n_classes < 2:
        raise InvalidRequestError(
            f"classification_n_classes is {n_classes}; there must be at least 2 classes.",
            param="classification_n_classes",
        )
    if n_classes is not None and n_classes > 2 and positive is not None:
        raise InvalidRequestError(
            f"classification_positive_class is for two classes, and classification_n_classes is {n_classes}. "
            "Leave one of them out.",
            param="classification_positive_class",
        )
    if betas and positive is None:
        raise InvalidRequestError(
            "classification_betas weigh precision against recall, which needs classification_positive_class.",
            param="classification_betas",
        )
    if wrong := [beta for beta in betas if not (beta > 0 and math.isfinite(beta))]:
        raise InvalidRequestError(
            f"classification_betas holds {wrong[0]}; each beta must be above 0.", param="classification_betas"
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
    """Labels of which one begins another. A whole label is scored, and a longer one is never likelier than its own
    beginning, so such a pair is not judged fairly."""
    ordered = sorted(labels)
    pairs = [(short, long) for short, long in itertools.pairwise(ordered) if long.startswith(short)]
    if not pairs:
        return ()
    shown = "; ".join(
        f"{json.dumps(short, ensure_ascii=False)} begins {json.dumps(long, ensure_ascii=False)}"
        for short, long in pairs[:_MAX_SHOWN]
    )
    return (
        f"Labels begin other labels: {shown}{'; …' if len(pairs) > _MAX_SHOWN else ''}. The classification metrics "
        "favour the shorter ones, which cannot be told to be over. End all completions alike (`luthier prepare` offers "
        "to), and create the job again.",
    )


def _check_organization(job: Job) -> None:
    for header, value in (("OpenAI-Organization", job.organization), ("OpenAI-Project", job.project or "-")):
        if len(value) > _MAX_OWNER or not value.isprintable():
            raise InvalidRequestError(f"The header {header} takes up to {_MAX_OWNER} printable characters.")
    if not slug(job.organization):
        raise InvalidRequestError(
            f"Nothing of the organization '{job.organization}' can stand in a model's name. Send letters, digits and "
            "dashes in the header OpenAI-Organization, or leave it out."
        )


def _check_suffix(suffix: str | None, longest: int) -> None:
    if suffix is None:
        return
    if len(suffix) > longest:
        raise InvalidRequestError(f"The suffix has {len(suffix)} characters; {longest} are the most.", param="suffix")
    if not slug(suffix):
        raise InvalidRequestError(
            f"Nothing of the suffix '{suffix}' can stand in a model's name. Use letters, digits and dashes.",
            param="suffix",
        )


def _completions(path: Path, max_line_bytes: int) -> Iterator[str]:
    """The completion of each example of a checked training file, read line by line."""
    for _, raw in read_lines(path, max_line_bytes):
        if raw is not None:
            yield parse_example(raw).completion
