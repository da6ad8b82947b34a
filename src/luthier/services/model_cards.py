"""What is told of a model: the entries of its lists."""

from dataclasses import dataclass, field

from luthier.catalogue.entry import Kind
from luthier.domain.hyperparameters import Method
from luthier.services.capabilities import Capabilities


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
