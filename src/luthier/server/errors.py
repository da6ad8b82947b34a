"""Every error as the `error` object of OpenAI's API, with a status that both clients can read."""

import json
import logging
import math
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from luthier.errors import AuthenticationError, InvalidRequestError, LuthierError, NotFoundError, RateLimitError
from luthier.server.unoffered import why_not

logger = logging.getLogger("luthier.server")

_SHOWN_CHARS = 60
_METHODS = ("GET", "POST", "DELETE", "PUT", "PATCH")


class MethodNotAllowedError(InvalidRequestError):
    """The path exists, the method on it does not."""

    status = 405


_AZURE_CODES = {
    400: "invalidPayload",
    403: "forbidden",
    404: "notFound",
    409: "conflict",
    413: "invalidPayload",
    503: "serviceUnavailable",
}


def error_body(error: LuthierError, path: str = "") -> dict[str, dict[str, str | None]]:
    """The `error` object. For a path of Azure's API it has a code always, and names the field as `target` too."""
    body = error.body()
    if path.startswith("/openai/") and not path.startswith("/openai/v1/"):
        fallback = "internalFailure" if error.status >= 500 else str(error.status)
        body["error"]["code"] = error.code or _AZURE_CODES.get(error.status, fallback)
        body["error"]["target"] = error.param
    return body


def install(app: FastAPI) -> None:
    """Make the app answer each kind of error in the one shape."""
    app.add_exception_handler(LuthierError, _on_luthier_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)


def answer(path: str, error: LuthierError, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error as it is sent to who asked for a path."""
    return JSONResponse(error_body(error, path), error.status, {**_headers(error), **(headers or {})})


def _headers(error: LuthierError) -> dict[str, str]:
    if isinstance(error, AuthenticationError):
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, RateLimitError):
        if error.retry_after is None:
            return {"x-should-retry": "false"}  # read by today's client
        milliseconds = math.ceil(error.retry_after * 1000)
        return {"Retry-After": str(math.ceil(error.retry_after)), "retry-after-ms": str(milliseconds)}
    return {}


async def _on_luthier_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, LuthierError)
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.error("%s %s: %s", request.method, request.url.path, error.message)
    return answer(request.url.path, error)


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return answer(request.url.path, from_validation(error.errors()))


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    method, path = request.method, request.url.path
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = _allowed_methods(request)
        headers = {"Allow": ", ".join((*allowed, "OPTIONS"))}
        if method == "OPTIONS":
            return Response(status_code=HTTPStatus.NO_CONTENT, headers=headers)
        message = f"Not allowed to {method} on {path}. It takes {' and '.join(allowed)}."
        return answer(path, MethodNotAllowedError(message, code="method_not_allowed"), headers)
    if error.status_code == HTTPStatus.NOT_FOUND:
        if (reason := why_not(path)) is not None:
            return answer(path, NotFoundError(reason, code="not_offered"))
        hint = (
            ""
            if path.startswith(("/v1/", "/openai/"))
            else " The API's paths begin with /v1, or as Azure's with /openai: is it missing in the client's base URL?"
        )
        return answer(path, NotFoundError(f"Invalid URL ({method} {path}).{hint}", code="unknown_url"))
    other = InvalidRequestError if error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR else LuthierError
    return JSONResponse(error_body(other(str(error.detail)), path), error.status_code, error.headers)


def _allowed_methods(request: Request) -> list[str]:
    """The methods that some route takes on this path."""

    def takes(method: str) -> bool:
        scope = dict(request.scope, method=method)
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.router.routes)

    return [method for method in _METHODS if takes(method)]


def from_validation(errors: Sequence[Any]) -> InvalidRequestError:
    """The first of pydantic's errors in plain words, its place as `param`."""
    first = errors[0]
    loc = first["loc"][1:] if first["loc"][:1] in (("body",), ("query",), ("path",)) else first["loc"]
    parts = [str(part) for part in loc]
    place = ".".join(part for part in parts if not part.startswith("("))  # the name of one form of several
    if first["type"] == "missing":
        return InvalidRequestError(f"You must provide the parameter '{place}'.", param=place)
    message = f"'{place}' {_words(first)}, not {_shown(first['input'])}."
    return InvalidRequestError(message, param=place)


_WORDS = {
    "string_type": "must be a string",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "must be a smaller number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be an array",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "none_required": "must be null",
    "literal_error": "must be {expected}",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
}


def _words(error: Any) -> str:
    context = error.get("ctx", {})
    if error["type"] == "value_error":
        return str(context["error"])
    if error["type"] == "literal_error":
        context = {"expected": context["expected"].replace("False", "false").replace("True", "true")}
    known = _WORDS.get(error["type"])
    return known.format(**context) if known else f"does not fit ({error['msg']})"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"
