"""What holds for every route: one shape of errors, headers, unknown parameters, HEAD and OPTIONS, limits."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, cast

import httpx
import pytest
from anyio import to_thread
from fastapi import APIRouter, Depends, FastAPI, Query
from pydantic import Field
from starlette.requests import Request
from starlette.types import Message

from luthier.config import Settings
from luthier.errors import ConfigError, RateLimitError
from luthier.server import errors
from luthier.server.app import create_app
from luthier.server.body import JsonRoute
from luthier.server.dependencies import refuse_unknown_query
from luthier.server.middleware import RequestContextMiddleware
from luthier.server.multipart import receive_form
from luthier.server.wire.base import RequestBody
from luthier.server.wiring import Services


class Inner(RequestBody):
    title = "The inner object"
    whole: int | None = None


class Body(RequestBody):
    title = "The body"
    name: str
    share: float = Field(0.5, ge=0, le=1)
    flag: bool = False
    items: list[int] = Field([])
    inner: Inner = Inner()


router = APIRouter(prefix="/v1", route_class=JsonRoute, dependencies=[Depends(refuse_unknown_query)])


@router.post("/things")
def create(body: Body) -> Body:
    return body


@router.get("/things/{name:path}")
def get(name: str, limit: Annotated[int, Query(ge=1)] = 5) -> dict[str, str | int]:
    if name == "crash":
        raise RuntimeError("secret")
    if name == "full":
        raise RateLimitError("Too many.", code="full")
    return {"name": name, "limit": limit}


@router.delete("/things/{name:path}")
def delete(name: str) -> dict[str, str]:
    return {"name": name}


@router.post("/upload")
async def upload(request: Request) -> dict[str, str | int | None]:
    async with receive_form(request, request.app.state.settings.home / "uploads", 3_000_000) as form:
        return {"filename": form.filename, "size": len(form.file.read()), **form.fields}


class Client:
    """Synchronous calls to an ASGI app, its crashes answered as over the network."""

    def __init__(self, app: FastAPI) -> None:
        self.transport = httpx.ASGITransport(app, raise_app_exceptions=False)

    def __call__(self, method: str, path: str, **options: object) -> httpx.Response:
        async def call() -> httpx.Response:
            async with httpx.AsyncClient(transport=self.transport, base_url="http://test") as client:
                return await client.request(method, path, **options)  # type: ignore[arg-type]

        return asyncio.run(call())


@pytest.fixture
def client(tmp_path: Path) -> Client:
    app = FastAPI(redirect_slashes=False)
    app.state.settings = Settings(home=tmp_path, max_body_bytes=1000)
    errors.install(app)
    app.add_middleware(RequestContextMiddleware)
    app.include_router(router)
    return Client(app)


def _error(response: httpx.Response, status: int, param: str | None = None) -> str:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param
    return str(error["message"])


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({}, "name", "You must provide the parameter 'name'."),
        ({"name": None}, "name", "You must provide the parameter 'name'."),
        ({"name": 1}, "name", "'name' must be a string, not 1."),
        ({"name": "a", "share": "b"}, "share", "'share' must be a number, not \"b\"."),
        ({"name": "a", "share": True}, "share", "'share' must be a number, not true."),
        ({"name": "a", "share": 2}, "share", "'share' must be at most 1.0, not 2."),
        ({"name": "a", "flag": 1}, "flag", "'flag' must be true or false, not 1."),
        ({"name": "a", "items": "x"}, "items", "'items' must be an array, not \"x\"."),
        ({"name": "a", "items": [1, "x"]}, "items.1", "'items.1' must be a whole number, not \"x\"."),
        ({"name": "a", "inner": []}, "inner", "'inner' must be an object, not []."),
        ({"name": "a", "inner": {"whole": 1.5}}, "inner.whole", "'inner.whole' must be a whole number, not 1.5."),
    ],
)
def test_bodies_that_do_not_fit(client: Client, body: object, param: str, message: str) -> None:
    assert _error(client("POST", "/v1/things", json=body), 400, param) == message


def test_unknown_fields_name_the_nearest(client: Client) -> None:
    message = _error(client("POST", "/v1/things", json={"name": "a", "shares": 1}), 400, "shares")
    assert "Did you mean 'share'?" in message
    message = _error(client("POST", "/v1/things", json={"name": "a", "inner": {"hole": 1}}), 400, "hole")
    assert "Did you mean 'whole'?" in message
    message = _error(client("GET", "/v1/things/a", params={"limits": 1}), 400, "limits")
    assert "Did you mean 'limit'?" in message


def test_null_means_absent(client: Client) -> None:
    body = {"name": "a", "share": None, "flag": None, "items": None, "inner": {"whole": None}}
    assert client("POST", "/v1/things", json=body).json() == Body(name="a").model_dump()


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_json_is_read_whatever_its_content_type(client: Client, kind: str) -> None:
    response = client("POST", "/v1/things", content=b'{"name": "a"}', headers={"content-type": kind})
    assert response.json()["name"] == "a"


def test_query_values_that_do_not_fit(client: Client) -> None:
    message = _error(client("GET", "/v1/things/a", params={"limit": "many"}), 400, "limit")
    assert message == "'limit' must be a whole number, not \"many\"."
    assert "at least 1" in _error(client("GET", "/v1/things/a", params={"limit": 0}), 400, "limit")


def test_bodies_too_large(client: Client) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 100

    assert "1000 bytes" in _error(client("POST", "/v1/things", content=b"x" * 1001), 413)
    assert "1000 bytes" in _error(client("POST", "/v1/things", content=b"x" * 100_000), 413)
    assert "1000 bytes" in _error(client("POST", "/v1/things", content=endless()), 413)


def test_paths_and_methods_that_are_not_there(client: Client) -> None:
    assert _error(client("GET", "/v1/nothing"), 404) == "Invalid URL (GET /v1/nothing)."
    assert "/v1" in _error(client("GET", "/things/a"), 404)
    response = client("PUT", "/v1/things/a")
    assert _error(response, 405) == "Not allowed to PUT on /v1/things/a. It takes GET and DELETE."
    assert response.headers["allow"] == "GET, DELETE, OPTIONS"


def test_options_and_head(client: Client) -> None:
    response = client("OPTIONS", "/v1/things/a")
    assert (response.status_code, response.headers["allow"]) == (204, "GET, DELETE, OPTIONS")
    assert client("HEAD", "/v1/things/a").status_code == 200
    assert client("HEAD", "/v1/nothing").status_code == 404


def test_our_own_errors_keep_status_and_code(client: Client) -> None:
    response = client("GET", "/v1/things/full")
    assert _error(response, 429) == "Too many."
    assert response.json()["error"]["code"] == "full"


def test_a_crash_is_logged_and_told_without_its_inside(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "luthier.server"):
        response = client("GET", "/v1/things/crash")
    request_id = response.headers["x-request-id"]
    message = _error(response, 500)
    assert request_id in message
    assert "secret" not in response.text
    assert request_id in caplog.text
    assert "secret" in caplog.text


def test_headers_of_every_answer(client: Client) -> None:
    for path, given in (("/v1/things/a", "mine-1"), ("/v1/nothing", "not an id\t"), ("/v1/things/crash", "")):
        headers = client("GET", path, headers={"x-request-id": given}).headers
        assert headers["request-id"] == headers["x-request-id"]
        assert (headers["x-request-id"] == given) == (given == "mine-1")
        assert float(headers["openai-processing-ms"]) >= 0
        assert headers["openai-version"]


def test_names_with_slashes_and_colons(client: Client) -> None:
    assert client("GET", "/v1/things/hf:owner%2Fname%20x").json()["name"] == "hf:owner/name x"
    assert client("GET", "/v1/things/http%3A%2F%2Fa%2Fb").json()["name"] == "http://a/b"


def test_uploads(client: Client) -> None:
    content = bytes(range(256)) * 10_000
    files = {"file": ("데이터 a.jsonl", content)}
    answer = client("POST", "/v1/upload", data={"purpose": "fine-tune"}, files=files).json()
    assert answer == {"filename": "데이터 a.jsonl", "size": len(content), "purpose": "fine-tune"}


def test_uploads_that_cannot_be_read(client: Client, tmp_path: Path) -> None:
    form = "multipart/form-data; boundary=b"
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx'

    def upload(content: bytes, kind: str = form) -> httpx.Response:
        return client("POST", "/v1/upload", content=content, headers={"content-type": kind})

    assert "multipart/form-data" in _error(upload(b"{}", "application/json"), 400)
    assert "multipart/form-data" in _error(upload(b"{}", "multipart/form-data"), 400)
    assert "ends early" in _error(upload(part), 400)
    assert "ends early" in _error(upload(b""), 400)
    assert "cannot be read" in _error(upload(b"not a form at all"), 400)
    assert "two files" in _error(upload(part + b"\r\n" + part + b"\r\n--b--\r\n"), 400, "file")
    long = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n' + b"x" * 100_000 + b"\r\n--b--\r\n"
    assert "too long" in _error(upload(long), 400, "purpose")
    assert "3000000 bytes" in _error(upload(part + b"x" * 5_000_000 + b"\r\n--b--\r\n"), 413)
    assert not list((tmp_path / "uploads").iterdir())


def test_what_keeps_the_server_from_starting_is_told_in_words(tmp_path: Path) -> None:
    def broken(_: Settings) -> AbstractContextManager[Services]:
        raise ConfigError("The alias file is broken.")

    app = create_app(Settings(home=tmp_path), services=broken)
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        sent.append(message)

    with pytest.raises(ConfigError):
        asyncio.run(app({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send))
    assert sent == [{"type": "lifespan.startup.failed", "message": "The alias file is broken."}]


def test_many_requests_that_wait_in_threads_leave_room_for_others(tmp_path: Path) -> None:
    app = create_app(Settings(home=tmp_path), services=lambda _: nullcontext(cast(Services, None)))
    together = threading.Barrier(50)

    async def live() -> list[int]:
        async with app.router.lifespan_context(app):
            waiting = [asyncio.to_thread(together.wait, 10) for _ in range(50)]
            return await asyncio.gather(*waiting)

    assert sorted(asyncio.run(live())) == list(range(50))


def test_stopping_waits_for_no_thread_of_a_request(tmp_path: Path) -> None:
    app = create_app(Settings(home=tmp_path), services=lambda _: nullcontext(cast(Services, None)))
    free = threading.Event()

    async def live() -> None:
        async with app.router.lifespan_context(app):
            limiter = to_thread.current_default_thread_limiter()
            busy = [asyncio.create_task(to_thread.run_sync(free.wait, 30)) for _ in range(int(limiter.total_tokens))]
            while limiter.available_tokens:
                await asyncio.sleep(0.01)
        assert not free.is_set()
        free.set()
        await asyncio.gather(*busy)

    async def bounded() -> None:
        async with asyncio.timeout(20):
            await live()

    try:
        asyncio.run(bounded())
    finally:
        free.set()
