"""Who may call what: every request is asked for its key here, and every route for its scope."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from anyio import to_thread
from fastapi.routing import APIRoute
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as Connection

from luthier.config import Settings
from luthier.domain.hosts import LOOPBACK
from luthier.domain.key import ANYONE, Principal, Scope
from luthier.errors import LuthierError, PermissionDeniedError
from luthier.server.errors import answer
from luthier.server.wiring import Services
from luthier.services.limits import counted

OPEN_PATHS = frozenset({"/health", "/openapi.json"})
"""What anybody may ask, key or not."""


@dataclass(frozen=True)
class Needs:
    """The scopes of which a caller needs one: to read (GET), to delete, and to do anything else."""

    read: tuple[Scope, ...]
    write: tuple[Scope, ...]
    delete: tuple[Scope, ...] | None = None

    def of(self, method: str) -> tuple[Scope, ...]:
        if method == "GET":
            return self.read
        return self.delete if method == "DELETE" and self.delete is not None else self.write


_INFERENCE = Needs(read=(Scope.READ,), write=(Scope.INFER,))
_TRAINING = Needs(read=(Scope.READ,), write=(Scope.TRAIN,))

SCOPES = {
    "batches": _INFERENCE,
    "capabilities": Needs(read=(Scope.READ, Scope.INFER), write=(Scope.ADMIN,)),
    "chat": _INFERENCE,
    "completions": _INFERENCE,
    "deployments": Needs(read=(Scope.READ, Scope.INFER), write=(Scope.TRAIN,)),  # after tuning comes deploying
    "detokenize": _INFERENCE,
    "embeddings": _INFERENCE,
    "engines": Needs(read=(Scope.READ, Scope.INFER), write=(Scope.INFER,)),
    "files": Needs(read=(Scope.READ,), write=(Scope.TRAIN, Scope.INFER), delete=(Scope.TRAIN,)),  # for batches too
    "fine-tunes": _TRAINING,
    "fine_tuning": _TRAINING,
    "models": Needs(read=(Scope.READ, Scope.INFER), write=(Scope.TRAIN,)),
    "refresh": _TRAINING,  # where the old client, speaking Azure, asks for a file
    "tokenize": _INFERENCE,
    "vector_stores": _INFERENCE,
}
"""The one table of scopes, by resource: the first word of a path behind /v1, /openai, /openai/v1 or a deployment."""
_UNLISTED = Needs(read=(Scope.ADMIN,), write=(Scope.ADMIN,))


def resource_of(template: str) -> str:
    """The word of `SCOPES` that a route belongs to; empty where there is none.

    Args:
        template: the route's path, such as `/openai/deployments/{deployment}/completions`, which is `completions`.
    """
    words = [word for word in template.split("/") if word and not word.startswith("{")]
    while words and words[0] in ("openai", "v1"):
        words = words[1:]
    if words[:1] == ["deployments"] and len(words) > 1:
        return words[1]
    return words[0] if words else ""


async def authorize(request: Request) -> None:
    """Of every route: the caller has its scope.

    Raises:
        PermissionDeniedError: naming the scope that is missing.
    """
    route: APIRoute = request.scope["route"]  # its own words: those of a request could pose as another route's
    principal: Principal = getattr(request.state, "principal", ANYONE)
    needed = SCOPES.get(resource_of(route.path), _UNLISTED).of(request.method)
    if route.path not in OPEN_PATHS and not principal.may(*needed):
        have = ", ".join(scope for scope in Scope if scope in principal.scopes) or "none"
        raise PermissionDeniedError(
            f"You have insufficient permissions for this operation. Missing scopes: {' or '.join(needed)}. "
            f"'{principal.name}' has: {have}. Whoever runs this server makes keys with other scopes: "
            "`luthier keys create NAME --scopes …`.",
            code="missing_scope",
        )


class AuthMiddleware:
    """Lets in who has a key, within the key's limits, and says so in `request.state.principal`.

    Where no key is asked, it keeps web pages out: a page from anywhere could otherwise have the visitor's browser call
    a server that listens on the visitor's own machine.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self._origins = settings.cors_origins
        self._guards = settings.require_key is None  # who says that no key is ever asked has a guard of their own

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] == "OPTIONS" or scope["path"] in OPEN_PATHS:
            await self.app(scope, receive, send)
            return
        services: Services = scope["app"].state.services
        headers = Headers(scope=scope)
        try:
            principal = await to_thread.run_sync(services.access.identify, credential_of(headers))
            if principal is ANYONE and self._guards:
                self._refuse_web_pages(headers)
        except LuthierError as error:
            await answer(scope["path"], error)(scope, receive, send)
            return
        scope.setdefault("state", {})["principal"] = principal
        allowance = services.limits.of(principal)
        if allowance is None:
            await self.app(scope, receive, send)
            return

        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                if message["status"] >= 400:
                    allowance.settle(0)
                MutableHeaders(scope=message).update(allowance.headers())
            await send(message)

        try:
            allowance.admit()
        except LuthierError as error:
            await answer(scope["path"], error)(scope, receive, send_with_limits)
            return
        with counted(allowance):
            await self.app(scope, receive, send_with_limits)

    def _refuse_web_pages(self, headers: Headers) -> None:
        """
        Raises:
            PermissionDeniedError: a web page of elsewhere asks, by its origin or by a name that it gave this machine.
        """
        host = _name(headers.get("host", ""))
        if host and host not in LOOPBACK:
            raise PermissionDeniedError(
                f"This server asks no key and so answers only to this machine, not as '{host}'. Make a key with "
                "`luthier keys create NAME`; or set LUTHIER_REQUIRE_KEY=false if something in front checks who calls.",
                code="host_not_allowed",
            )
        origin = headers.get("origin")
        if origin is None or "*" in self._origins or origin in self._origins:
            return
        if origin.partition("://")[2] != headers.get("host"):
            raise PermissionDeniedError(
                f"Web pages of {origin} may not call this server. Name them in LUTHIER_CORS_ORIGINS if they should.",
                code="origin_not_allowed",
            )


def _name(host: str) -> str:
    """A Host header without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return host


def credential_of(headers: Headers) -> str | None:
    """The key or token that a request bears: `Authorization: Bearer …`, or Azure's `api-key: …`."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get("api-key", "").strip() or None
