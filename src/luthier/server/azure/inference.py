"""/openai/deployments/{deployment}/…: asking what is deployed."""

from typing import TypeVar

from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from luthier.server.azure.version import WithVersion
from luthier.server.body import JsonRoute
from luthier.server.chatting import answer_chat
from luthier.server.completing import answer_completion
from luthier.server.dependencies import ServicesOf, SettingsOf
from luthier.server.embedding import answer_embedding
from luthier.server.sse import MAY_STREAM
from luthier.server.wire.chat import ChatBody
from luthier.server.wire.chat_answers import ChatCompletionObject
from luthier.server.wire.completions import CompletionBody, CompletionObject
from luthier.server.wire.deployments import DeployedChatBody, DeployedCompletionBody, DeployedEmbeddingBody
from luthier.server.wire.embeddings import EmbeddingBody, EmbeddingList
from luthier.server.wiring import Services

router = APIRouter(
    prefix="/openai/deployments", tags=["Azure: deployments"], route_class=JsonRoute, dependencies=[WithVersion]
)

Body = TypeVar("Body", CompletionBody, ChatBody, EmbeddingBody)


@router.post(  # before completions, whose path would take it for one of `NAME/chat`
    "/{deployment:path}/chat/completions",
    response_model=ChatCompletionObject,
    response_model_exclude_unset=True,
    responses=MAY_STREAM,
)
async def create_deployed_chat_completion(
    request: Request, deployment: str, body: DeployedChatBody, services: ServicesOf, settings: SettingsOf
) -> Response | ChatCompletionObject:
    """Answer a conversation; with `stream` as server-sent events."""
    asked = await _of_deployment(services, deployment, body)
    return await answer_chat(request, asked, services.chat, settings)


@router.post("/{deployment:path}/completions", response_model=CompletionObject, responses=MAY_STREAM)
async def create_deployed_completion(
    request: Request, deployment: str, body: DeployedCompletionBody, services: ServicesOf, settings: SettingsOf
) -> Response:
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
