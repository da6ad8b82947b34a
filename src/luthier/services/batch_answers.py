"""One request of a batch: asking its endpoint, and the line that tells what came of it."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from luthier.datasets.batch_file import BatchRequest
from luthier.domain.names import batch_request_id
from luthier.errors import LuthierError, RateLimitError

Endpoint = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
"""Takes a request's body and gives the answer's body, as JSON has them; refuses with one of our errors."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 10.0  # seconds, before asking a server again that is full

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """What came of one request.

    Args:
        line: as it stands in the output or error file, with its end of line.
        ok: answered, not refused.
        input_tokens, output_tokens: as the answer's `usage` says.
    """

    line: bytes
    ok: bool
    input_tokens: int = 0
    output_tokens: int = 0


async def answer(batch_id: str, request: BatchRequest, endpoint: Endpoint) -> Answer:
    """Ask for one answer. Waits, and asks again, as long as the server has too much to do."""
    status, body = await _ask(endpoint, request, batch_id)
    response = {"status_code": status, "request_id": f"req_{uuid4().hex}", "body": body}
    usage = body.get("usage") or {}
    return Answer(
        _line(batch_id, request, response, None),
        status == HTTPStatus.OK,
        usage.get("prompt_tokens", 0),
        usage.get("completion_tokens", 0),
    )


def expired(batch_id: str, request: BatchRequest) -> bytes:
    """The line of a request that was not begun in time."""
    error = {
        "code": "batch_expired",
        "message": "This request could not be executed before the completion window expired.",
    }
    return _line(batch_id, request, None, error)


async def _ask(endpoint: Endpoint, request: BatchRequest, batch_id: str) -> tuple[int, dict[str, Any]]:
    pause = _FIRST_PAUSE
    while True:
        try:
            return HTTPStatus.OK, await endpoint(request.body)
        except RateLimitError:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        except LuthierError as error:
            return error.status, error.body()
        except Exception:  # the boundary of one request: the others of the batch go on
            logger.exception("Line %d of %s failed", request.number, batch_id)
            failure = LuthierError(
                "The server had an error while processing this request. Its log says why.", code="internal_error"
            )
            return failure.status, failure.body()


def _line(batch_id: str, request: BatchRequest, response: dict[str, Any] | None, error: dict[str, str] | None) -> bytes:
    line = {
        "id": batch_request_id(batch_id, request.number),
        "custom_id": request.custom_id,
        "response": response,
        "error": error,
    }
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
