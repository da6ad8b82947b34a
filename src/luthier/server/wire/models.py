"""Models on the wire."""

from typing import Literal, Self

from luthier.server.wire.base import Answer
from luthier.services.model_cards import ModelCard


class PermissionObject(Answer):
    object: Literal["model_permission"] = "model_permission"
    id: str
    created: int
    allow_create_engine: bool
    allow_sampling: bool
    allow_logprobs: bool
    allow_search_indices: bool
    allow_view: bool
    allow_fine_tuning: bool
    organization: str
    group: str | None
    is_blocking: bool


class DetailsObject(Answer):
    """What stands behind the name. Ours; OpenAI's API does not tell.

    `note` is there when other weights stand in for the name's own, and for embeddings says what becomes of long inputs;
    `dimensions` and `max_input_tokens` on models that make embeddings; `method`, `job_id` and `step` on tuned models.
    """

    weights: str
    title: str
    source: str
    license: str | None
    license_url: str | None
    context_length: int | None
    size_bytes: int | None
    pulled: bool
    note: str | None
    kind: str | None
    dimensions: int | None
    max_input_tokens: int | None
    method: str | None
    job_id: str | None
    step: int | None


class ModelObject(Answer):
    object: Literal["model"] = "model"
    id: str
    created: int
    owned_by: str
    root: str
    parent: str | None
    permission: list[PermissionObject]
    details: DetailsObject

    @classmethod
    def of(cls, card: ModelCard) -> Self:
        return cls.model_validate(card, from_attributes=True)
