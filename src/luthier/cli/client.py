"""The API over HTTP, as the command line uses it: one method for each call, answers as the server's JSON."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, Self
from urllib.parse import quote, urlsplit

import httpx

from luthier import errors
from luthier.cli.remote import Json
from luthier.domain.hosts import LOOPBACK

AZURE_VERSION = "2022-12-01"
DEFAULT_URL = "http://127.0.0.1:8080/v1"
_URL_VARIABLES = ("OPENAI_BASE_URL", "OPENAI_API_BASE")
# Seconds. A first completion may wait for weights to be loaded; streams send heartbeats far more often than this.
_TIMEOUT = httpx.Timeout(600, connect=10)
_STREAM_TIMEOUT = httpx.Timeout(60, connect=10)

NO_SERVER = "no_server"  # code of the error when nothing listens at the URL

_ERROR_OF_STATUS: dict[int, type[errors.LuthierError]] = {
    kind.status: kind
    for kind in (
        errors.InvalidRequestError,
        errors.AuthenticationError,
        errors.PermissionDeniedError,
        errors.NotFoundError,
        errors.ConflictError,
        errors.PayloadTooLargeError,
        errors.RateLimitError,
        errors.UnavailableError,
    )
}


class ConnectionBrokenError(errors.UnavailableError):
    """An answer that ended early; asking again may go on."""


def base_url(given: str | None = None) -> str:
    """The server's URL: `given`, else OPENAI_BASE_URL, OPENAI_API_BASE, this machine's default. Without a path, /v1.

    Raises:
        InvalidRequestError: not an http or https URL.
    """
    url = given or next((os.environ[name] for name in _URL_VARIABLES if os.environ.get(name)), DEFAULT_URL)
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(httpx.URL(url).host)
    except (ValueError, httpx.InvalidURL):  # such as a port that is no number
        fits = False
    if not fits:
        raise errors.InvalidRequestError(f"'{url}' is no URL of a server. It should look like {DEFAULT_URL}.")
    return url.rstrip("/") if parts.path.strip("/") else f"{parts.scheme}://{parts.netloc}/v1"


class Client:
    """Calls one server. Use it as a context manager, so that its connections are closed.

    Args:
        url: base URL with its `/v1`, as `base_url` gives it.
        api_key: sent as a bearer token.
        transport: replaces the network in tests.

    Raises:
        InvalidRequestError: a key that cannot be sent.
    """

    def __init__(self, url: str, api_key: str = "", transport: httpx.BaseTransport | None = None) -> None:
        if not (api_key.isascii() and api_key.isprintable()):
            raise errors.InvalidRequestError(
                "The key has characters that no key has, such as a line's end or a letter with an accent. Give it as "
                "it was printed, by --api-key or OPENAI_API_KEY."
            )
        self.url = url
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        # A proxy of the environment is for the world outside: this machine's own server is reached directly.
        outside = urlsplit(url).hostname not in LOOPBACK
        self._http = httpx.Client(
            base_url=url, headers=headers, timeout=_TIMEOUT, transport=transport, trust_env=outside
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, *path: str, params: Mapping[str, str] | None = None) -> Json:
        return self._call("GET", path, params=params)

    def post(self, *path: str, body: Json | None = None) -> Json:
        return self._call("POST", path, json=body) if body is not None else self._call("POST", path)

    def delete(self, *path: str) -> Json:
        return self._call("DELETE", path)

    def upload(self, name: str, content: BinaryIO, purpose: str) -> Json:
        """Send a file as `name`, read piece by piece."""
        return self._call("POST", ("files",), data={"purpose": purpose}, files={"file": (name, content)})

    def content(self, file_id: str) -> Iterator[bytes]:
        """The bytes of a file, piece by piece."""
        with self._open("GET", ("files", file_id, "content"), timeout=_TIMEOUT) as response:
            yield from response.iter_bytes()

    def stream(self, method: str, *path: str, body: Json | None = None, **options: Any) -> Iterator[Json]:
        """The objects of a server-sent stream, up to its `[DONE]`.

        Raises:
            ConnectionBrokenError: it ended without `[DONE]`, or nothing came for a minute.
            LuthierError: the server's own error, also one sent within the stream.
        """
        timeout = _TIMEOUT if body is not None else _STREAM_TIMEOUT
        with self._open(method, path, timeout=timeout, **({"json": body} if body else {}), **options) as response:
            for line in response.iter_lines():
                if not line.startswith("data:"):
                    continue  # a heartbeat, or the blank line between two events
                data = line.removeprefix("data:").strip()
                if data == "[DONE]":
                    return
                try:
                    event = json.loads(data)
                except ValueError:
                    break  # the connection was cut within the line
                if event.get("error"):
                    error = event["error"]
                    stopping = error.get("type") == errors.UnavailableError.type
                    kind = errors.UnavailableError if stopping else errors.LuthierError
                    raise kind(str(error.get("message", error)))
                yield event
        raise ConnectionBrokenError(f"The stream from {self.url} ended early.")

    def azure(self, method: str, *path: str, body: Json | None = None) -> Json:
        """A call of what Azure's API alone has, beside /v1 under /openai."""
        root = self.url.removesuffix("/v1").removesuffix("/openai")
        return self._send(method, f"{root}/openai/{_join(path)}", params={"api-version": AZURE_VERSION}, json=body)

    def _call(self, method: str, path: tuple[str, ...], **options: Any) -> Json:
        return self._send(method, _join(path), **options)

    def _send(self, method: str, url: str, **options: Any) -> Json:
        with self._network_errors():
            response = self._http.request(method, url, **options)
        _raise_for_status(response)
        try:
            return dict(response.json())
        except ValueError:
            raise errors.LuthierError(
                f"{self.url} answered with something that is no JSON object. Is it the URL of an API, ending in /v1?"
            ) from None

    @contextmanager
    def _open(self, method: str, path: tuple[str, ...], **options: Any) -> Iterator[httpx.Response]:
        """An answer that is read as it comes."""
        with self._network_errors(), self._http.stream(method, _join(path), **options) as response:
            if response.is_error:
                response.read()
                _raise_for_status(response)
            yield response

    @contextmanager
    def _network_errors(self) -> Iterator[None]:
        """Turns httpx's errors into ours."""
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout):
            raise errors.UnavailableError(
                f"No server answers at {self.url}. Start one in another terminal with `luthier serve`, or name another "
                "one with --url or OPENAI_BASE_URL.",
                code=NO_SERVER,
            ) from None
        except httpx.TransportError as error:
            raise ConnectionBrokenError(
                f"The connection to {self.url} broke: {error or type(error).__name__}."
            ) from None


def _join(path: tuple[str, ...]) -> str:
    """A path under the base URL. Ids may hold slashes and colons, so each part is quoted whole."""
    return "/".join(quote(part, safe="") for part in path)


def _raise_for_status(response: httpx.Response) -> None:
    if not response.is_error:
        return
    kind = _ERROR_OF_STATUS.get(response.status_code, errors.LuthierError)
    try:
        error = response.json()["error"]
        raise kind(str(error["message"]), param=error.get("param"), code=error.get("code"))
    except (ValueError, KeyError, TypeError):
        start = " ".join(response.text[:200].split())
        raise kind(f"{response.url} answered with status {response.status_code}: {start or 'nothing more'}") from None
