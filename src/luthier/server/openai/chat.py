"""/v1/chat/completions"""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from luthier.server.body import JsonRoute
from luthier.server.chatting import answer_chat
from luthier.server.dependencies import ServicesOf, SettingsOf
from luthier.server.sse import MAY_STREAM
from luthier.server.wire.chat import ChatBody
from luthier.server.wire.chat_answers import ChatCompletionObject

router = APIRouter(prefix="/v1", tags=["Chat"], route_class=JsonRoute)


@router.post(
    "/chat/completions",
    response_model=ChatCompletionObject,
    response_model_exclude_unset=True,
    responses=MAY_STREAM,
)
async def create_chat_completion(
    request: Request, body: ChatBody, services: ServicesOf, settings: SettingsOf
) -> Response | ChatCompletionObject:
    """Answer a conversation; with `stream` as server-sent events."""
    return await answer_chat(request, body, services.chat, settings)
