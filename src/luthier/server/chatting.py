"""Answering a request for a chat, for every path that takes one."""

import logging
from collections.abc import AsyncGenerator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from luthier.config import Settings
from luthier.server.connection import while_connected
from luthier.server.sse import EventStream
from luthier.server.wire.chat import ChatBody
from luthier.server.wire.chat_answers import ChatCompletionObject, chunk_object
from luthier.services.chat import ChatService, ChatStream

logger = logging.getLogger("luthier.server")


async def answer_chat(
    request: Request, body: ChatBody, chat: ChatService, settings: Settings
) -> Response | ChatCompletionObject:
    """The whole answer, or a stream of it as the body asks. The work ends when the client goes away.

    The route that returns it has `response_model_exclude_unset`: keys without a value are left out.
    """
    if body.user is not None:
        logger.info("A chat for user %r (%s)", body.user, request.state.request_id)
    wanted = body.to_domain()
    if not body.stream:
        return ChatCompletionObject.of(await while_connected(request, chat.create(wanted)))
    stream = await while_connected(request, chat.stream(wanted))
    with_usage = body.stream_options is not None and body.stream_options.include_usage
    return EventStream(_chunks(stream, with_usage=with_usage), settings.heartbeat_seconds, stream.aclose)


async def _chunks(stream: ChatStream, *, with_usage: bool) -> AsyncGenerator[dict[str, Any], None]:
    """The stream as the API's objects. With usage, each has the key, and one without choices ends them."""
    async for chunk in stream:
        yield chunk_object(stream, chunk, with_usage=with_usage)
    if with_usage:
        yield chunk_object(stream, None, with_usage=True)
