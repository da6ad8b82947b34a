"""What the routes ask for: the services, the settings, and a query without unknown parameters."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from luthier.config import Settings
from luthier.errors import UnknownFieldError
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
    """
    route = request.scope["route"]
    known = [field.alias for field in route.dependant.query_params]
    if request.url.path.startswith("/openai/"):
        known.append("api-version")  # read by a dependency of the routers there
    objects = [parameter["name"] for parameter in (route.openapi_extra or {}).get("parameters", ())]
    for name in request.query_params:
        if name not in known and name.partition("[")[0] not in objects:
            raise UnknownFieldError(name, [*known, *objects], f"{request.method} {route.path}")


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
