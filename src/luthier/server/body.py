"""Reading a request's JSON body: bounded, strict, with words for what is wrong."""

import json
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, NoReturn

from fastapi.routing import APIRoute
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response

from luthier.errors import InvalidRequestError, PayloadTooLargeError
from luthier.services.limits import reserve

_MAX_DIGITS = 1_000
"""Of a whole number: Python writes none of more than 4,300 into a message, and some are multiplied before."""

_DRAIN_FACTOR = 4
"""A body up to this many times its limit is read to its end, so that the client is still there to read the refusal."""


async def bounded_stream(request: Request, max_bytes: int, message: str) -> AsyncIterator[bytes]:
    """The body's chunks as they arrive, as long as the body keeps within `max_bytes`.

    Raises:
        InvalidRequestError: the body is compressed.
        PayloadTooLargeError: with `message`, once the body has shown to be larger.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise InvalidRequestError(f"The request's body is encoded as '{encoding}'. Send it plain: nothing is unpacked.")
    declared = request.headers.get("content-length", "")
    too_large = declared.isdecimal() and int(declared) > max_bytes
    if too_large and int(declared) > _DRAIN_FACTOR * max_bytes:
        raise PayloadTooLargeError(message)
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        too_large = too_large or received > max_bytes
        if received > _DRAIN_FACTOR * max_bytes:
            break
        if not too_large:
            yield chunk
    if too_large:
        raise PayloadTooLargeError(message)


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object that `body` holds.

    Raises:
        InvalidRequestError: nothing there, not UTF-8, not JSON, not an object, a field twice, NaN or Infinity, a number
            too long to be read, half a surrogate pair, or nesting without end.
    """
    if not body.strip():
        raise InvalidRequestError("The request has no body. Send a JSON object.")
    try:
        text = body.decode("utf-8-sig")
        value = json.loads(text, object_pairs_hook=_unique, parse_int=_integer, parse_constant=_refuse_constant)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"The request's body is not UTF-8 (byte {error.start}).") from None
    except UnicodeEncodeError:
        raise InvalidRequestError("The request's body has a \\u escape that is half a surrogate pair.") from None
    except json.JSONDecodeError as error:
        raise InvalidRequestError(
            f"The request's body is not JSON: {error.msg} (line {error.lineno}, column {error.colno})."
        ) from None
    except RecursionError:
        raise InvalidRequestError("The request's body is nested too deeply.") from None
    if not isinstance(value, dict):
        raise InvalidRequestError(f"The request's body must be a JSON object, not {_KINDS[type(value)]}.")
    return value


_KINDS: dict[type, str] = {
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a boolean",
    type(None): "null",
}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidRequestError(f"The field '{twice}' stands twice in one object.", param=twice)
    return result


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise InvalidRequestError("The request's body has a number with too many digits.")
    return int(digits)


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidRequestError(f"The request's body has {name}, which is not JSON. Send a finite number.")


class JsonRoute(APIRoute):
    """A route that reads its body by `parse_object`, whatever Content-Type the client gave it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def read_and_handle(request: Request) -> Response:
            limit: int = request.app.state.settings.max_body_bytes
            message = f"The request's body is larger than {limit} bytes, the most that this server reads."
            body = b"".join([chunk async for chunk in bounded_stream(request, limit, message)])
            value = parse_object(body)
            reserve(value)
            return await handle(_ParsedRequest(request, body, value))

        return read_and_handle


class _ParsedRequest(Request):
    """A request whose body has been read and parsed."""

    def __init__(self, request: Request, body: bytes, value: dict[str, Any]) -> None:
        scope = dict(request.scope, headers=list(request.scope["headers"]))
        MutableHeaders(scope=scope)["content-type"] = "application/json"
        super().__init__(scope, request.receive)
        self._parsed_body = body
        self._parsed = value

    async def body(self) -> bytes:
        return self._parsed_body

    async def json(self) -> Any:
        return self._parsed
