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
from luthier.server.wire.completions import CompletionBody, CompletionObject
from luthier.server.wire.deployments import DeployedCompletionBody
from luthier.server.wiring import Services

router = APIRouter(
    prefix="/openai/deployments", tags=["Azure: deployments"], route_class=JsonRoute, dependencies=[WithVersion]
)

Body = TypeVar("Body", bound=CompletionBody)


@router.post("/{deployment:path}/completions", response_model=CompletionObject)
async def create_deployed_completion(
    request: Request, deployment: str, body: DeployedCompletionBody, services: ServicesOf, settings: SettingsOf
) -> Response | CompletionObject:
    """Continue one or several prompts; with `stream` as server-sent events."""
    asked = await _to_model(services, deployment, body)
    return await answer_completion(request, asked, services.completions, settings)


async def _to_model(services: Services, deployment: str, body: Body) -> Body:
    """The body with the name of the model behind the deployment."""
    model = await to_thread.run_sync(services.deployments.answering, deployment, body.model)
    return body.model_copy(update={"model": model})
