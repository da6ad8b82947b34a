"""What the routes ask for: the services, the settings, and a query and a body in which nothing goes unread."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from luthier.config import Settings
from luthier.errors import InvalidRequestError, UnknownFieldError
from luthier.server.body import bounded_stream, parse_object
from luthier.server.wiring import Services


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def refuse_unknown_query(request: Request) -> None:
    """A query parameter that the route does not read is refused by name.

    Raises:
        UnknownFieldError: the first such parameter.
        InvalidRequestError: one that stands twice, of which only one could be read.
    """
    route = request.scope["route"]
    known = [field.alias for field in route.dependant.query_params]
    if request.url.path.startswith("/openai/"):
        known.append("api-version")  # read by a dependency of the routers there
    objects = [parameter["name"] for parameter in (route.openapi_extra or {}).get("parameters", ())]
    for name in request.query_params:
        if name not in known and name.partition("[")[0] not in objects:
            raise UnknownFieldError(name, [*known, *objects], f"{request.method} {route.path}")
        if len(request.query_params.getlist(name)) > 1:
            raise InvalidRequestError(f"The query parameter '{name}' stands twice. Give it once.", param=name)


async def refuse_unread_body(request: Request) -> None:
    """A body for a route that reads none is refused, unless it says nothing: empty, null, or an empty object.

    Raises:
        UnknownFieldError: its first field.
        InvalidRequestError: it is no JSON object.
        PayloadTooLargeError: it is larger than any body may be.
    """
    route = request.scope["route"]
    reads = route.body_field is not None or "requestBody" in (route.openapi_extra or {})
    if reads or not ("content-length" in request.headers or "transfer-encoding" in request.headers):
        return
    limit: int = request.app.state.settings.max_body_bytes
    message = f"The request's body is larger than {limit} bytes, the most that this server reads."
    body = b"".join([chunk async for chunk in bounded_stream(request, limit, message)])
    if body.strip() not in (b"", b"null"):
        for name in parse_object(body):
            raise UnknownFieldError(name, (), f"{request.method} {route.path} reads no body, and")


@dataclass(frozen=True)
class Owner:
    """On whose behalf a request is made, as its headers say; None where they say nothing."""

    organization: str | None
    project: str | None


async def _owner(request: Request) -> Owner:
    return Owner(
        request.headers.get("openai-organization", "").strip() or None,
        request.headers.get("openai-project", "").strip() or None,
    )


OwnerOf = Annotated[Owner, Depends(_owner)]
ServicesOf = Annotated[Services, Depends(_services)]
SettingsOf = Annotated[Settings, Depends(_settings)]
