"""What every answer carries, and the last net: request id, time taken, version, and no stack trace for anyone."""

import logging
import re
import time
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from luthier.errors import LuthierError
from luthier.server.errors import error_body

logger = logging.getLogger("luthier.server")

API_VERSION = "2020-10-01"
"""The value of `openai-version`, as the old service sent it."""
_REQUEST_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)
_BASE = re.compile(r"/+(?:(openai/v1|openai|v1)/+)?")


class RequestContextMiddleware:
    """Gives each request an id and a clock, answers HEAD as a GET without its body, and turns a crash into a 500.

    A client whose base URL ends with a slash, as Azure shows its endpoints, may ask for `//openai/files`: that is
    `/openai/files`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else f"req_{uuid4().hex}"
        answering = False
        head = scope["method"] == "HEAD"

        async def send_with_headers(message: Message) -> None:
            nonlocal answering
            if head and answering:
                return
            if message["type"] == "http.response.start":
                answering = True
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = headers["request-id"] = request_id
                headers["openai-processing-ms"] = str(round((time.perf_counter() - started) * 1000))
                headers["openai-version"] = API_VERSION
            await send(message)
            if head:  # the end at once: a stream has none of its own, and takes this for a client that went away
                await send({"type": "http.response.body"})

        inner = dict(scope, path=joined(scope["path"]), method="GET" if head else scope["method"])
        inner.setdefault("state", {})["request_id"] = request_id
        try:
            await self.app(inner, receive, send_with_headers)
        except ClientDisconnect:
            logger.info("%s %s: the client went away while sending (%s)", scope["method"], scope["path"], request_id)
        except Exception:  # the boundary: whatever nobody foresaw is logged here, and told without its inside
            logger.exception("%s %s failed (%s)", scope["method"], scope["path"], request_id)
            if answering:
                raise
            error = LuthierError(
                f"The server had an error while processing your request. Its log has the reason under {request_id}.",
                code="internal_error",
            )
            await JSONResponse(error_body(error, scope["path"]), error.status)(scope, receive, send_with_headers)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start and stop. What keeps the server from starting is told in its own words, without a stack trace."""
        failure: Message | None = None

        async def keep_failure(message: Message) -> None:
            nonlocal failure
            if message["type"] == "lifespan.startup.failed":
                failure = message
            else:
                await send(message)

        try:
            await self.app(scope, receive, keep_failure)
        except LuthierError as error:
            failure = {"type": "lifespan.startup.failed", "message": error.message}
            raise
        finally:
            if failure is not None:
                await send(failure)


def joined(path: str) -> str:
    """A path without the slashes that a base URL's end and the client's own path make twice."""
    return _BASE.sub(lambda match: f"/{match[1]}/" if match[1] else "/", path, count=1)
