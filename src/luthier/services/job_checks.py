"""What can be known to be wrong with a fine-tune before it trains. `param` of each error names the field."""

import os
from dataclasses import dataclass

from luthier.catalogue.entry import Kind
from luthier.config import Settings
from luthier.domain.hyperparameters import Hyperparameters, Method, Objective, ResolvedHyperparameters
from luthier.domain.job import Job
from luthier.domain.names import MAX_SUFFIX, slug
from luthier.errors import InvalidRequestError, NotFoundError, WeightsError
from luthier.executors import tracking
from luthier.executors.parents import Parent, find_parent
from luthier.modeling.bases import BaseStore
from luthier.services.file_checks import FileChecks
from luthier.services.metadata import check_metadata
from luthier.storage.blobs import Blobs
from luthier.storage.files import FileStore
from luthier.storage.models import TunedModelStore
from luthier.training import defaults

# field → (least, most)
_WHOLE = {"n_epochs": (1, 50), "batch_size": (1, 256), "lora_rank": (1, 256), "seed": (0, 2**31 - 1)}
_MAX_MULTIPLIER = _MAX_BETA = 10.0
_CLASSIFICATION_BETAS = (0.001, 1000.0)  # beyond, the score is precision or recall alone, and their squares overflow
# what means nothing to an objective
_FOREIGN = {
    Objective.SUPERVISED: ("beta",),
    Objective.DPO: (
        "prompt_loss_weight",
        "compute_classification_metrics",
        "classification_n_classes",
        "classification_positive_class",
        "classification_betas",
    ),
}
_MAX_OWNER = 64  # characters of an organization or project


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
        self._files = FileChecks(settings, files, blobs)
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
        check_metadata(job.metadata)
        if job.wandb is not None:
            tracking.check(job.wandb, os.environ)
        parent = self._parent(job)
        local = self._bases.local(parent.base)
        data = self._files.check(job, local.path if local is not None else None)
        hp = job.hyperparameters
        if hp.batch_size is not None and hp.batch_size > data.n_examples:
            raise InvalidRequestError(
                f"batch_size is {hp.batch_size}, but the training file has only {data.n_examples} examples.",
                param="batch_size",
            )
        return Checked(defaults.resolve(hp, n_examples=data.n_examples, parent_rank=parent.rank), data.warnings)

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
    if hp.beta is not None and not 0 < hp.beta <= _MAX_BETA:
        raise InvalidRequestError(
            f"beta is {hp.beta}; it must be above 0 and at most {_MAX_BETA:g}. 0.1 is usual.", param="beta"
        )
    foreign = _FOREIGN[hp.objective]
    if wrong := next((name for name in foreign if getattr(hp, name) not in (None, False, ())), None):
        raise InvalidRequestError(f"The method '{hp.objective}' has no {wrong}. Leave it out.", param=wrong)
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
    least, most = _CLASSIFICATION_BETAS
    if wrong := [beta for beta in betas if not least <= beta <= most]:
        raise InvalidRequestError(
            f"classification_betas holds {wrong[0]}; each beta must be from {least:g} to {most:g}.",
            param="classification_betas",
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
