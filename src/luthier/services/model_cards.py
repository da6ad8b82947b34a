"""What is told of a model: the entries of its lists."""

from dataclasses import dataclass, field, replace
from datetime import datetime

from luthier.catalogue.entry import Kind
from luthier.domain.embedding import manners_of
from luthier.domain.hyperparameters import Method
from luthier.domain.job import DEFAULT_ORGANIZATION
from luthier.domain.model import TunedModel
from luthier.embedding.projection import CustomModel
from luthier.errors import InvalidRequestError, NotFoundError, WeightsError
from luthier.modeling.bases import BaseStore, LocalBase
from luthier.modeling.encoder_card import EncoderCard
from luthier.modeling.loader import context_length
from luthier.services.capabilities import Capabilities, chats

BASE_OWNER = "luthier"


@dataclass(frozen=True)
class ModelDetails:
    """What stands behind a name, beyond what OpenAI's API tells.

    Args:
        weights: key of the base weights, `hf:owner/name` or a folder.
        title: their publisher's name for them.
        source: where they come from.
        license, license_url: their terms, None when not known before the pull.
        context_length: tokens, None when not known before the pull.
        size_bytes: of the base weights on disk, once pulled.
        pulled: they need no pulling.
        note: words for the user when other weights stand in for the name's own.
        kind: what it does, None for weights of a hub that are not pulled yet.
        dimensions: numbers of an embedding, None for models that make none and before the pull.
        max_input_tokens: of an embedding's input, counted in cl100k_base; None for models that make none.
        method, job_id, step: of a tuned model: how, by which fine-tune, and at which step of a checkpoint.
        capabilities: what it can be asked for.
    """

    weights: str
    title: str
    source: str = "unknown"
    license: str | None = None
    license_url: str | None = None
    context_length: int | None = None
    size_bytes: int | None = None
    pulled: bool = False
    note: str | None = None
    kind: Kind | None = None
    dimensions: int | None = None
    max_input_tokens: int | None = None
    method: Method | None = None
    job_id: str | None = None
    step: int | None = None
    capabilities: Capabilities = field(default_factory=Capabilities)


@dataclass(frozen=True)
class ModelPermission:
    """What one may do with a model, as the old API lists it. There is one owner here, who may do all that works."""

    id: str
    created: int
    allow_fine_tuning: bool = True
    allow_sampling: bool = True
    allow_logprobs: bool = True
    allow_view: bool = True
    allow_create_engine: bool = False
    allow_search_indices: bool = False
    organization: str = "*"
    group: str | None = None
    is_blocking: bool = False
    object: str = "model_permission"


@dataclass(frozen=True)
class ModelCard:
    """One entry of the list of models.

    Args:
        id: its name.
        created: Unix seconds: when it was tuned or its weights were pulled; 0 for a base that is not pulled yet.
        root: the name of the base below it.
        parent: what it was tuned from, None for a base.
    """

    id: str
    created: int
    owned_by: str
    root: str
    parent: str | None
    details: ModelDetails

    @property
    def permission(self) -> tuple[ModelPermission, ...]:
        writes = self.details.kind is not Kind.EMBEDDING
        return (
            ModelPermission(
                f"modelperm-{self.id}",
                self.created,
                allow_fine_tuning=writes,
                allow_sampling=writes,
                allow_logprobs=writes,
                allow_search_indices=not writes,
            ),
        )


class ModelCards:
    """Writes the cards of models, by what their weights say where those are here."""

    def __init__(self, bases: BaseStore) -> None:
        self._bases = bases

    def base(self, name: str) -> ModelCard:
        """A base. Raises NotFoundError for a name that nobody knows."""
        details = self._details(name)
        return ModelCard(name, self._pulled_at(name), BASE_OWNER, root=name, parent=None, details=details)

    def tuned(self, model: TunedModel) -> ModelCard:
        try:
            details = self._details(model.root)
        except NotFoundError as error:  # taken out of the alias file since; the record is still there to be deleted
            details = ModelDetails(model.root, model.root, note=f"This model cannot answer now: {error.message}")
        details = replace(details, method=model.method, job_id=model.job_id, step=model.step)
        return ModelCard(model.id, model.created_at, model.organization, model.root, model.parent, details)

    def custom(self, model: CustomModel) -> ModelCard:
        name, base = model.id, model.base
        try:
            details = self._details(base)
            local = self._bases.local(base)
            if local is not None:
                model.check(local, EncoderCard.read(local.path).dimensions)
        except (NotFoundError, InvalidRequestError, WeightsError) as error:
            details = ModelDetails(model.key, model.key, note=f"This model cannot answer now: {error.message}")
        else:
            changed = f"A matrix customizes the embeddings of {base}: cosines above {model.threshold:.3f} mean alike."
            details = replace(details, note=" ".join(filter(None, (changed, details.note))))
        details = replace(details, dimensions=model.dimensions, kind=Kind.EMBEDDING)
        return ModelCard(name, model.created_at, DEFAULT_ORGANIZATION, root=base, parent=base, details=details)

    def _details(self, name: str) -> ModelDetails:
        resolution = self._bases.registry.resolve(name)
        entry, note = resolution.entry, resolution.note
        try:
            local = self._bases.local(name)
        except WeightsError as error:
            local, note = None, f"This model cannot answer now: {error.message}"
        details = ModelDetails(
            weights=entry.key,
            title=entry.title,
            source=str(entry.source),
            license=local.license if local else entry.license,
            license_url=entry.license_url,
            context_length=entry.context_length,
            size_bytes=local.size_bytes if local else entry.size_bytes,
            pulled=local is not None,
            note=note,
            capabilities=Capabilities(chat_completion=local is not None and chats(local.path)),
            kind=local.kind if local else entry.kind,
        )
        if details.kind is Kind.EMBEDDING:
            return _encoder_details(name, details, local)
        return replace(details, context_length=context_length(local.path)) if local else details

    def _pulled_at(self, name: str) -> int:
        """Unix seconds; 0 for weights that are not here."""
        try:
            local = self._bases.local(name)
        except WeightsError:
            return 0
        if local is None:
            return 0
        if local.record is None:
            return int((local.path / "config.json").stat().st_mtime)
        return int(datetime.fromisoformat(local.record.pulled_at).timestamp())


def _encoder_details(name: str, details: ModelDetails, local: LocalBase | None) -> ModelDetails:
    """What is to be told of a model that makes embeddings."""
    can = Capabilities(fine_tune=False, completion=False, embeddings=True)
    details = replace(details, max_input_tokens=manners_of(name).max_tokens, capabilities=can)
    if local:
        try:
            card = EncoderCard.read(local.path)
        except WeightsError as error:
            return replace(details, note=f"This model cannot answer now: {error.message}")
        details = replace(details, context_length=card.max_tokens, dimensions=card.dimensions)
    long = f"{details.title} reads {details.context_length or 'some hundred'} tokens at once; longer inputs are "
    long += "embedded in pieces, whose average by numbers of tokens is the answer."
    return replace(details, note=" ".join(filter(None, (details.note, long))))
