"""Server-sent events as the OpenAI clients read them: `data: {json on one line}`, heartbeats, `data: [DONE]`."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from luthier.errors import LuthierError
from luthier.server.errors import error_body

logger = logging.getLogger("luthier.server")

MAY_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {"text/event-stream": {}},
        "description": "Whole, or with `stream` as server-sent events.",
    }
}
"""For the `responses` of a route whose answer may be a stream, so that the API's description says so."""

HEARTBEAT = b": heartbeat\n\n"
DONE = b"data: [DONE]\n\n"


def encode(data: Any) -> bytes:
    """One event. JSON in ASCII escapes every character that some client takes for a line's end."""
    return b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n"


class EventStream(StreamingResponse):
    """Sends each item as an event, a heartbeat whenever there was none for a while, and `[DONE]` at the end.

    An error on the way becomes an event with the `error` object, and the stream ends without `[DONE]`.

    Args:
        stop: called however the stream ends: also when the client has gone before `items` were begun, which then never
            are, and so cannot clean up themselves.
    """

    def __init__(
        self,
        items: AsyncGenerator[dict[str, Any], None],
        heartbeat_seconds: float,
        stop: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(_lines(items, heartbeat_seconds), media_type="text/event-stream", headers=headers)
        self._stop = stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self._stop is not None:
                await self._stop()


async def _lines(items: AsyncGenerator[dict[str, Any], None], heartbeat_seconds: float) -> AsyncIterator[bytes]:
    try:
        async for item in with_heartbeats(items, heartbeat_seconds):
            yield HEARTBEAT if item is None else encode(item)
        yield DONE
    except LuthierError as error:
        yield encode(error_body(error))
    except Exception:  # the boundary: the answer's status is gone out already, so the stream itself must tell
        logger.exception("A stream failed")
        yield encode(error_body(LuthierError("The server had an error while streaming.", code="internal_error")))


async def with_heartbeats(
    items: AsyncGenerator[dict[str, Any], None], seconds: float
) -> AsyncIterator[dict[str, Any] | None]:
    """The items as they come, and None each time that `seconds` passed without one. Closes `items` at the end."""
    pending: asyncio.Future[dict[str, Any]] | None = None
    try:
        while True:
            pending = pending or asyncio.ensure_future(anext(items))
            done, _ = await asyncio.wait({pending}, timeout=seconds)
            if not done:
                yield None
                continue
            finished, pending = pending, None
            try:
                item = finished.result()
            except StopAsyncIteration:
                return
            yield item
    finally:
        if pending is not None:
            pending.cancel()
            with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration):
                await pending
        await items.aclose()
