"""/v1/models. Names hold colons and slashes, so they are path parameters."""

from fastapi import APIRouter

from luthier.server.dependencies import ServicesOf
from luthier.server.wire.base import Deleted, Listing
from luthier.server.wire.models import ModelObject

router = APIRouter(prefix="/v1/models", tags=["Models"])


@router.get("")
def list_models(services: ServicesOf) -> Listing[ModelObject]:
    """Every model that a request can name."""
    return Listing(data=[ModelObject.of(card) for card in services.models.list()])


@router.get("/{model:path}")
def retrieve_model(model: str, services: ServicesOf) -> ModelObject:
    """One model, and what stands behind its name."""
    return ModelObject.of(services.models.get(model))


@router.delete("/{model:path}")
def delete_model(model: str, services: ServicesOf) -> Deleted:
    """Delete a tuned model and its weights."""
    services.models.delete(model)
    return Deleted(id=model, object="model")
