"""/openai/models"""

from fastapi import APIRouter

from luthier.server.azure.version import WithVersion
from luthier.server.dependencies import ServicesOf
from luthier.server.wire.azure import AzureModel
from luthier.server.wire.base import Deleted, Listing

router = APIRouter(prefix="/openai/models", tags=["Azure: models"], dependencies=[WithVersion])


@router.get("")
def list_models(services: ServicesOf) -> Listing[AzureModel]:
    """Every model. Deployments are listed on their own."""
    return Listing(data=[AzureModel.of(card) for card in services.models.models()])


@router.get("/{model:path}")
def retrieve_model(model: str, services: ServicesOf) -> AzureModel:
    """One model, and what it can do."""
    return AzureModel.of(services.models.model(model))


@router.delete("/{model:path}")
def delete_model(model: str, services: ServicesOf) -> Deleted:
    """Delete a tuned model and its weights."""
    services.models.delete(model)
    return Deleted(id=model, object="model")
