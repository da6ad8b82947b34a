"""/v1/completions"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeVar

from fastapi import APIRouter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from luthier.server.body import JsonRoute
from luthier.server.dependencies import ServicesOf, SettingsOf
from luthier.server.sse import event_stream
from luthier.server.wire.completions import ChoiceObject, CompletionBody, CompletionObject, UsageObject
from luthier.services.completions import CompletionStream

logger = logging.getLogger("luthier.server")

router = APIRouter(prefix="/v1", tags=["Completions"], route_class=JsonRoute)

T = TypeVar("T")


@router.post("/completions", response_model=CompletionObject)
async def create_completion(
    request: Request, body: CompletionBody, services: ServicesOf, settings: SettingsOf
) -> Response | CompletionObject:
    """Continue one or several prompts; with `stream` as server-sent events."""
    if body.user is not None:
        logger.info("A completion for user %r (%s)", body.user, request.state.request_id)
    wanted = body.to_domain()
    if not body.stream:
        return CompletionObject.of(await _while_connected(request, services.completions.create(wanted)))
    stream = await _while_connected(request, services.completions.stream(wanted))
    with_usage = body.stream_options is not None and body.stream_options.include_usage
    return event_stream(_chunks(stream, with_usage=with_usage), settings.heartbeat_seconds)


async def _chunks(stream: CompletionStream, *, with_usage: bool) -> AsyncGenerator[dict[str, Any], None]:
    """The stream as the API's objects. With usage, each has the key, and one without choices ends them."""
    head = {"id": stream.id, "object": "text_completion", "created": stream.created, "model": stream.model}
    try:
        async for chunk in stream:
            choice = ChoiceObject.of(chunk).model_dump()
            yield {**head, "choices": [choice], **({"usage": None} if with_usage else {})}
        if with_usage:
            yield {**head, "choices": [], "usage": UsageObject.of(stream.usage).model_dump()}
    finally:
        await stream.aclose()


async def _while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client goes away.

    Raises:
        ClientDisconnect: it has gone.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        leaving.cancel()
        working.cancel()


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
