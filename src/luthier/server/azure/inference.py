"""/openai/deployments/{deployment}/…: asking what is deployed."""

from typing import TypeVar

from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from luthier.server.azure.version import WithVersion
from luthier.server.body import JsonRoute
from luthier.server.completing import answer_completion
from luthier.server.dependencies import ServicesOf, SettingsOf
from luthier.server.embedding import answer_embedding
from luthier.server.wire.completions import CompletionBody, CompletionObject
from luthier.server.wire.deployments import DeployedCompletionBody, DeployedEmbeddingBody
from luthier.server.wire.embeddings import EmbeddingBody, EmbeddingList
from luthier.server.wiring import Services

router = APIRouter(
    prefix="/openai/deployments", tags=["Azure: deployments"], route_class=JsonRoute, dependencies=[WithVersion]
)

Body = TypeVar("Body", CompletionBody, EmbeddingBody)


@router.post("/{deployment:path}/completions", response_model=CompletionObject)
async def create_deployed_completion(
    request: Request, deployment: str, body: DeployedCompletionBody, services: ServicesOf, settings: SettingsOf
) -> Response | CompletionObject:
    """Continue one or several prompts; with `stream` as server-sent events."""
    asked = await _of_deployment(services, deployment, body)
    return await answer_completion(request, asked, services.completions, settings)


@router.post("/{deployment:path}/embeddings", response_model=EmbeddingList)
async def create_deployed_embedding(
    request: Request, deployment: str, body: DeployedEmbeddingBody, services: ServicesOf
) -> Response:
    """Turn one or several texts into vectors of length 1."""
    asked = await _of_deployment(services, deployment, body)
    return await answer_embedding(request, asked, services.embeddings)


async def _of_deployment(services: Services, deployment: str, body: Body) -> Body:
    """The body with its deployment's name as the model. Raises as `DeploymentService.check_asked`."""
    await to_thread.run_sync(services.deployments.check_asked, deployment, body.model)
    return body.model_copy(update={"model": deployment})
