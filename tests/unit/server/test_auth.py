"""Keys, scopes, limits and web pages, before any service is asked."""

import asyncio
import re
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.datastructures import Headers

from luthier.config import Settings
from luthier.domain.key import ANYONE, Principal, Scope
from luthier.errors import AuthenticationError, UnavailableError
from luthier.server.app import create_app
from luthier.server.auth import OPEN_PATHS, SCOPES, credential_of, resource_of
from luthier.server.unoffered import REASONS, why_not
from luthier.services.limits import Limiter, usage_reporter

Call = Callable[..., httpx.Response]


class Access:
    """Knows callers by their secrets."""

    def __init__(self, **callers: Principal) -> None:
        self.callers = callers

    def identify(self, credential: str | None) -> Principal:
        if not self.callers:
            return ANYONE
        try:
            return self.callers[credential or ""]
        except KeyError:
            raise AuthenticationError("Incorrect API key provided.", code="invalid_api_key") from None


def caller(*scopes: Scope, requests: int | None = None, tokens: int | None = None) -> Principal:
    return Principal("key_1", "laptop", frozenset(scopes), requests, tokens)


def app_of(access: Access, **settings: Any) -> FastAPI:
    """The whole app, its services but for these two missing: what gets past them crashes. Time stands still."""
    app = create_app(Settings(home=Path("unused"), **settings))
    app.state.services = SimpleNamespace(access=access, limits=Limiter(lambda: 0.0))
    return app


def calling(app: FastAPI, base_url: str = "http://127.0.0.1:8080") -> Call:
    def call(method: str, path: str, key: str = "", **options: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url=base_url) as client:
                headers = {"Authorization": f"Bearer {key}"} if key else {}
                return await client.request(method, path, headers=headers | options.pop("headers", {}), **options)

        return asyncio.run(send())

    return call


def _routes() -> list[tuple[str, str]]:
    paths = create_app(Settings(home=Path("unused"))).openapi()["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods if path not in OPEN_PATHS]


@pytest.mark.parametrize(("method", "path"), _routes())
def test_every_route_needs_a_key_and_a_scope_of_the_table(method: str, path: str) -> None:
    call = calling(app_of(Access(weak=caller())))
    body = {} if method == "GET" else {"json": {}}
    where = re.sub(r"\{\w+\}", "x", path)
    assert call(method, where, **body).status_code == 401
    refused = call(method, where, "weak", **body)
    assert refused.status_code == 403, f"{method} {path} is behind no scope: authorize() does not run before it"
    resource = resource_of(path)
    assert resource in SCOPES, f"Give {path} its scopes in server/auth.py"
    needed = " or ".join(SCOPES[resource].of(method))
    assert refused.json()["error"]["message"].startswith(
        f"You have insufficient permissions for this operation. Missing scopes: {needed}. 'laptop' has: none."
    )


@pytest.mark.parametrize(("method", "path"), [route for route in _routes() if route[1].startswith("/v1/")])
def test_azures_paths_like_openais_are_no_back_door(method: str, path: str) -> None:
    call = calling(app_of(Access(weak=caller())))
    where = "/openai" + re.sub(r"\{\w+\}", "x", path)
    assert call(method, where).status_code == 401
    refused = call(method, where, "weak", **({} if method == "GET" else {"json": {}}))
    assert refused.status_code in (403, 404)
    assert refused.json()["error"]["code"] in ("missing_scope", "unknown_url", "not_offered")


@pytest.mark.parametrize("path", sorted(OPEN_PATHS))
def test_what_is_open_stays_open(path: str) -> None:
    assert calling(app_of(Access(known=caller())))("GET", path).status_code == 200


@pytest.mark.parametrize(
    ("template", "resource"),
    [
        ("/v1/chat/completions", "chat"),
        ("/v1/models/{model:path}", "models"),
        ("/v1/engines/{engine:path}/completions", "engines"),
        ("/openai/deployments", "deployments"),
        ("/openai/deployments/{deployment}", "deployments"),
        ("/openai/deployments/{deployment:path}/chat/completions", "chat"),
        ("/openai/v1/files/{file_id}/content", "files"),
        ("/fine-tunes/{fine_tune_id}/events", "fine-tunes"),
        ("/{anything}", ""),
    ],
)
def test_resources(template: str, resource: str) -> None:
    assert resource_of(template) == resource


def test_scopes_of_files() -> None:
    needs = SCOPES["files"]
    assert needs.of("GET") == (Scope.READ,)
    assert needs.of("POST") == (Scope.TRAIN, Scope.INFER)
    assert needs.of("DELETE") == (Scope.TRAIN,)


@pytest.mark.parametrize(
    ("headers", "credential"),
    [
        ({}, None),
        ({"Authorization": "Bearer sk-a"}, "sk-a"),
        ({"authorization": "bearer  sk-a "}, "sk-a"),
        ({"api-key": "sk-a"}, "sk-a"),
        ({"Authorization": "Basic eDp5", "api-key": "sk-a"}, "sk-a"),
        ({"Authorization": "Bearer sk-a", "api-key": "sk-b"}, "sk-a"),
        ({"Authorization": "Bearer "}, None),
        ({"Authorization": "sk-a"}, None),
    ],
)
def test_where_keys_are_read(headers: dict[str, str], credential: str | None) -> None:
    assert credential_of(Headers(headers)) == credential


def test_401_says_how_to_come_back() -> None:
    answer = calling(app_of(Access(known=caller())))("GET", "/v1/files")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["x-request-id"]
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("word", sorted(REASONS))
def test_what_is_not_offered_says_so(word: str) -> None:
    call = calling(app_of(Access()))
    for root in ("/v1", "/openai/v1", "/openai", "/openai/deployments/ada"):
        for method in ("GET", "POST", "DELETE"):
            answer = call(method, f"{root}/{word}/some/thing")
            error = answer.json()["error"]
            assert answer.status_code == 404
            assert error["message"] == f"Luthier does not offer {root}/{word}/some/thing. {REASONS[word]}"
            assert (error["type"], error["code"]) == ("invalid_request_error", "not_offered")


def test_other_unknown_paths_are_just_unknown() -> None:
    assert why_not("/v1/completion") is None
    assert why_not("/v1") is None
    assert why_not("/v1/files/images") is None
    answer = calling(app_of(Access()))("GET", "/v1/completion")
    assert answer.json()["error"]["code"] == "unknown_url"


def test_requests_beyond_the_limit_are_told_when_to_come_back() -> None:
    call = calling(app_of(Access(known=caller(requests=2))))
    first = call("GET", "/v1/nothing", "known")
    assert first.status_code == 404
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert "x-ratelimit-limit-tokens" not in first.headers
    call("GET", "/v1/nothing", "known")
    answer = call("GET", "/v1/nothing", "known")
    assert answer.status_code == 429
    assert answer.json()["error"]["message"].startswith("Rate limit reached for key 'laptop' on requests per min (RPM)")
    assert (answer.json()["error"]["type"], answer.json()["error"]["code"]) == ("requests", "rate_limit_exceeded")
    assert answer.headers["retry-after-ms"] == "30000"
    assert answer.headers["retry-after"] == "30"
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"


def test_tokens_are_taken_by_estimate_and_set_right() -> None:
    app = app_of(Access(known=caller(*Scope, tokens=1000)))

    async def compute(_: Any) -> None:
        usage_reporter()(100)
        raise UnavailableError("The weights are away.")

    app.state.services.completions = SimpleNamespace(create=compute)
    call = calling(app)

    def complete(**body: Any) -> httpx.Response:
        return call("POST", "/v1/completions", "known", json={"model": "ada", "prompt": "", **body})

    refused = complete(max_tokens=5, nonsense=1)
    assert refused.status_code == 400
    assert refused.headers["x-ratelimit-remaining-tokens"] == "1000"
    assert complete(max_tokens=900).headers["x-ratelimit-remaining-tokens"] == "1000"  # it failed: nothing is charged
    large = complete(max_tokens=1001)
    assert large.status_code == 429
    assert large.json()["error"]["message"].startswith("Request too large for key 'laptop' on tokens per min (TPM)")
    assert large.headers["x-should-retry"] == "false"
    assert "retry-after" not in large.headers


def test_who_needs_no_key_may_not_come_from_a_web_page() -> None:
    app = app_of(Access())
    call = calling(app)
    assert call("GET", "/v1/nothing").status_code == 404
    assert call("GET", "/v1/nothing", headers={"Origin": "http://127.0.0.1:8080"}).status_code == 404
    for origin in ("https://evil.example", "http://127.0.0.1:3000", "null"):
        refused = call("POST", "/v1/nothing", headers={"Origin": origin})
        assert refused.status_code == 403
        assert refused.json()["error"]["code"] == "origin_not_allowed"
    rebound = calling(app, "http://evil.example:8080")("GET", "/v1/nothing")
    assert rebound.status_code == 403
    assert rebound.json()["error"]["code"] == "host_not_allowed"
    assert calling(app, "http://[::1]:8080")("GET", "/v1/nothing").status_code == 404
    assert call("GET", "/v1/nothing", headers={"Host": "[bad"}).status_code == 403


def test_a_key_or_the_operators_word_opens_other_names() -> None:
    with_key = calling(app_of(Access(known=caller())), "http://models.example")
    assert with_key("GET", "/v1/nothing", "known", headers={"Origin": "https://else.example"}).status_code == 404
    without = calling(app_of(Access(), require_key=False), "http://models.example")
    assert without("GET", "/v1/nothing").status_code == 404


def test_web_pages_only_where_they_are_named() -> None:
    preflight = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    closed = calling(app_of(Access()))
    assert "access-control-allow-origin" not in closed("OPTIONS", "/v1/files", headers=preflight).headers
    open_ = calling(app_of(Access(known=caller(Scope.READ)), cors_origins=("https://app.example",)))
    asked = {**preflight, "Access-Control-Request-Headers": "authorization, content-type, x-stainless-os"}
    granted = open_("OPTIONS", "/v1/files", headers=asked)
    assert granted.status_code == 200
    assert granted.headers["access-control-allow-origin"] == "https://app.example"
    assert "authorization" in granted.headers["access-control-allow-headers"]
    refused = open_("GET", "/v1/files", headers={"Origin": "https://app.example"})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://app.example"
    assert "x-ratelimit-reset-tokens" in refused.headers["access-control-expose-headers"]
    other = open_("GET", "/v1/files", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers


def test_keys_are_looked_up_beside_the_event_loop() -> None:
    seen: list[str] = []

    class Slow(Access):
        def identify(self, credential: str | None) -> Principal:
            seen.append(threading.current_thread().name)
            return super().identify(credential)

    calling(app_of(Slow()))("GET", "/v1/nothing")
    assert seen != [threading.main_thread().name]
