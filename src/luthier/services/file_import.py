"""Fetching a file from a URL: only from where the operator allows it, and never from where its name leads by a trick.

An address is looked up once, checked, and connected to as it is, so that a name cannot mean another host a moment
later. Redirects are checked like first URLs. Proxies of the environment are not used.
"""

import ipaddress
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from luthier.config import Settings
from luthier.domain.file import File
from luthier.errors import InvalidRequestError, PermissionDeniedError
from luthier.services.files import FileService

_TIMEOUT = httpx.Timeout(30, connect=10)  # seconds without a byte
_MAX_SECONDS = 600  # for the whole file
_MAX_REDIRECTS = 5
_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
FAILED = "fileImportFailed"

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class _Place:
    """A URL that may be fetched, and the one address to fetch it from."""

    url: httpx.URL
    address: _Address


class FileImport:
    """What `/openai/files/import` does.

    Args:
        files: takes in what was fetched.
        transport: replaces the network in tests.
    """

    def __init__(self, settings: Settings, files: FileService, transport: httpx.BaseTransport | None = None) -> None:
        self._hosts = settings.import_hosts
        self._files = files
        self._transport = transport

    def create(self, url: str, filename: str, purpose: str) -> File:
        """Fetch a file, streamed, and take it in as if it had been uploaded.

        Raises:
            PermissionDeniedError: the settings do not allow that host, or the address it has.
            InvalidRequestError: no http or https URL, or the host does not give the file.
            PayloadTooLargeError: it is larger than the settings allow.
        """
        with self._open(url) as response:
            return self._files.create(filename, purpose, _chunks(response))

    @contextmanager
    def _open(self, url: str) -> Iterator[httpx.Response]:
        """The answer with the file's bytes still to come, after redirects."""
        options = {"timeout": _TIMEOUT, "trust_env": False, "transport": self._transport}
        with httpx.Client(headers={"Accept-Encoding": "identity"}, **options) as http:  # type: ignore[arg-type]
            place = self._check(url)
            for _ in range(_MAX_REDIRECTS + 1):
                try:
                    response = http.send(_request(http, place), stream=True)
                except httpx.HTTPError as error:
                    raise _failed(f"{place.url.host} cannot be reached: {error or type(error).__name__}.") from None
                try:
                    if not response.has_redirect_location:
                        if response.status_code != httpx.codes.OK:
                            raise _failed(f"{place.url.host} answered with status {response.status_code}.")
                        yield response
                        return
                    target = str(place.url.join(response.headers["location"]))
                finally:
                    response.close()
                place = self._check(target)
            raise _failed(f"{url} leads through more than {_MAX_REDIRECTS} redirects.")

    def _check(self, url: str) -> _Place:
        """
        Raises: as `create`.
        """
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise InvalidRequestError(f"'content_url' is no URL: {error}.", param="content_url") from None
        if parsed.scheme not in _PORTS or not parsed.host:
            raise InvalidRequestError("'content_url' must be an http or https URL with a host.", param="content_url")
        if parsed.userinfo:
            raise InvalidRequestError(
                "'content_url' must not hold a user name or password. Put what the host needs to know into the query.",
                param="content_url",
            )
        port = parsed.port or _PORTS[parsed.scheme]
        if not self._is_listed(parsed, port):
            raise PermissionDeniedError(
                f"This server does not fetch files from {parsed.host}:{port}. Upload the file instead, or ask who runs "
                "the server to list that host in LUTHIER_IMPORT_HOSTS.",
                param="content_url",
                code="forbidden",
            )
        return _Place(parsed, self._address(parsed.host, port))

    def _is_listed(self, url: httpx.URL, port: int) -> bool:
        own = {url.host, f"{url.host}:{port}", f"[{url.host}]:{port}"}
        if any(entry.lower() in own for entry in self._hosts):
            return True
        literal = _parse_address(url.host)
        return literal is not None and self._is_in_listed_network(literal)

    def _is_in_listed_network(self, address: _Address) -> bool:
        return any(address in network for network in map(_parse_network, self._hosts) if network is not None)

    def _address(self, host: str, port: int) -> _Address:
        """What the host's name means now: public, or listed itself."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise _failed(f"{host} is not known: {error}.") from None
        for entry in found:
            address = ipaddress.ip_address(str(entry[4][0]).partition("%")[0])
            if _is_public(address) or self._is_in_listed_network(address) or _parse_address(host) == address:
                return address
        raise PermissionDeniedError(
            f"{host} has the address {address}, which is not a public one. Who runs the server can list that address "
            "itself, or its network, in LUTHIER_IMPORT_HOSTS.",
            param="content_url",
            code="forbidden",
        )


def _request(http: httpx.Client, place: _Place) -> httpx.Request:
    """A request to the checked address that asks for, and wants the certificate of, the host in the URL."""
    request = http.build_request("GET", place.url)
    request.url = place.url.copy_with(host=str(place.address))
    request.extensions["sni_hostname"] = place.url.host
    return request


def _chunks(response: httpx.Response) -> Iterator[bytes]:
    deadline = time.monotonic() + _MAX_SECONDS
    try:
        for chunk in response.iter_bytes():
            yield chunk
            if time.monotonic() > deadline:
                raise _failed(f"The file did not come within {_MAX_SECONDS} seconds.")
    except httpx.HTTPError as error:
        raise _failed(f"The file broke off: {error or type(error).__name__}.") from None


def _is_public(address: _Address) -> bool:
    """False too for what only wraps an IPv4 address, which may be any."""
    if isinstance(address, ipaddress.IPv6Address):
        wraps = address.ipv4_mapped or address.sixtofour or address.teredo or address in _NAT64
        if wraps:
            return False
    return address.is_global and not address.is_multicast


def _parse_address(text: str) -> _Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _parse_network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None


def _failed(message: str) -> InvalidRequestError:
    return InvalidRequestError(f"The file cannot be imported. {message}", param="content_url", code=FAILED)
