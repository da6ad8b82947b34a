"""Answering a request for completions, for every path that takes one."""

import logging
from collections.abc import AsyncGenerator
from typing import Any

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from luthier.config import Settings
from luthier.server.connection import while_connected
from luthier.server.sse import EventStream
from luthier.server.wire.completions import ChoiceObject, CompletionBody, CompletionObject, UsageObject
from luthier.services.completions import CompletionRequest, CompletionService, CompletionStream

logger = logging.getLogger("luthier.server")


async def answer_completion(
    request: Request, body: CompletionBody, completions: CompletionService, settings: Settings
) -> Response:
    """The whole answer, or a stream of it as the body asks. The work ends when the client goes away."""
    if body.user is not None:
        logger.info("A completion for user %r (%s)", body.user, request.state.request_id)
    wanted = body.to_domain()
    if not body.stream:
        content = await while_connected(request, _write(wanted, completions))
        return Response(content, media_type="application/json")
    stream = await while_connected(request, completions.stream(wanted))
    with_usage = body.stream_options is not None and body.stream_options.include_usage
    return EventStream(_chunks(stream, with_usage=with_usage), settings.heartbeat_seconds, stream.aclose)


async def _write(wanted: CompletionRequest, completions: CompletionService) -> str:
    result = await completions.create(wanted)
    # Log probabilities can be megabytes, for which the event loop does not wait.
    return await to_thread.run_sync(lambda: CompletionObject.of(result).model_dump_json())


async def _chunks(stream: CompletionStream, *, with_usage: bool) -> AsyncGenerator[dict[str, Any], None]:
    """The stream as the API's objects. With usage, each has the key, and one without choices ends them."""
    head = {"id": stream.id, "object": "text_completion", "created": stream.created, "model": stream.model}
    async for chunk in stream:
        choice = ChoiceObject.of(chunk).model_dump()
        yield {**head, "choices": [choice], **({"usage": None} if with_usage else {})}
    if with_usage:
        yield {**head, "choices": [], "usage": UsageObject.of(stream.usage).model_dump()}
