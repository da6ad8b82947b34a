"""Fetching files: from where it is allowed, whatever a URL, a redirect or a name server says."""

import socket
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from luthier.config import Settings
from luthier.domain.file import FileStatus
from luthier.errors import InvalidRequestError, PayloadTooLargeError, PermissionDeniedError
from luthier.services.file_import import FileImport
from luthier.services.files import FileService
from luthier.storage.blobs import Blobs
from luthier.storage.db import Database
from luthier.storage.files import FileStore

LINE = b'{"prompt": "a ->", "completion": " b"}\n'
PUBLIC, PRIVATE = "93.184.216.34", "10.1.2.3"
Handler = Callable[[httpx.Request], httpx.Response]


class World:
    """Hosts with their addresses and answers.

    Attributes:
        seen: the requests, as they went over the wire.
    """

    def __init__(self) -> None:
        self.addresses: dict[str, list[str]] = {"files.example": [PUBLIC], "other.example": [PUBLIC]}
        self.answer: Handler = lambda _: httpx.Response(200, content=LINE)
        self.seen: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        return self.answer(request)

    def look_up(self, host: str, port: int, **_: Any) -> list[Any]:
        if host in self.addresses:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in self.addresses[host]]
        if host.replace(".", "").isdigit() or ":" in host:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]
        raise socket.gaierror("unknown")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(socket, "getaddrinfo", world.look_up)
    return world


@pytest.fixture
def importer(settings: Settings, world: World) -> Iterator[Callable[..., FileImport]]:
    database = Database.open(settings)

    def make(*hosts: str, **changes: int) -> FileImport:
        own = settings.model_copy(update={"import_hosts": hosts, **changes})
        return FileImport(own, FileService(own, FileStore(database), Blobs(own)), httpx.MockTransport(world))

    yield make
    database.close()


Importer = Callable[..., FileImport]


def test_a_file_from_a_listed_host(importer: Importer, world: World) -> None:
    file = importer("files.example").create("https://files.example/a/t.jsonl?sig=x", "t.jsonl", "fine-tune")
    assert (file.filename, file.bytes, file.status) == ("t.jsonl", len(LINE), FileStatus.PROCESSED)
    (request,) = world.seen
    assert request.url == httpx.URL(f"https://{PUBLIC}/a/t.jsonl?sig=x")  # the address that was checked
    assert request.headers["host"] == "files.example"
    assert request.extensions["sni_hostname"] == "files.example"


def test_a_broken_file_is_kept_with_its_faults(importer: Importer, world: World) -> None:
    world.answer = lambda _: httpx.Response(200, content=b"no JSON\n")
    file = importer("files.example").create("http://files.example/t", "t.jsonl", "fine-tune")
    assert file.status is FileStatus.ERROR


@pytest.mark.parametrize(
    ("listed", "url"),
    [
        ((), "https://files.example/t"),
        (("other.example",), "https://files.example/t"),
        (("files.example:8443",), "https://files.example/t"),
        (("example",), "https://files.example/t"),
        (("files.example",), "https://files.example.evil/t"),
        (("files.example",), f"http://{PUBLIC}/t"),
    ],
)
def test_other_hosts_are_refused(importer: Importer, world: World, listed: tuple[str, ...], url: str) -> None:
    with pytest.raises(PermissionDeniedError, match="LUTHIER_IMPORT_HOSTS") as refused:
        importer(*listed).create(url, "t.jsonl", "fine-tune")
    assert refused.value.param == "content_url"
    assert world.seen == []


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", PRIVATE, "169.254.169.254", "0.0.0.0", "224.0.0.1", "::1", "fd00::1"),
        *("::ffff:10.1.2.3", "64:ff9b::a01:203", "2002:a01:203::1", "fe80::1%eth0"),
    ],
)
def test_a_listed_name_of_a_private_address_is_refused(importer: Importer, world: World, address: str) -> None:
    world.addresses["files.example"] = [address]
    with pytest.raises(PermissionDeniedError, match="not a public one"):
        importer("files.example").create("http://files.example/t", "t.jsonl", "fine-tune")
    assert world.seen == []


@pytest.mark.parametrize("network", [PRIVATE, "10.0.0.0/8"])
def test_a_private_address_that_is_listed_itself(importer: Importer, world: World, network: str) -> None:
    world.addresses["files.example"] = ["127.0.0.1", PRIVATE]
    importer("files.example", network).create("http://files.example/t", "t.jsonl", "fine-tune")
    importer(network).create(f"http://{PRIVATE}:9000/t", "t.jsonl", "fine-tune")
    assert [request.url.host for request in world.seen] == [PRIVATE, PRIVATE]


def test_a_listed_port(importer: Importer, world: World) -> None:
    importer("files.example:8443").create("https://FILES.example:8443/t", "t.jsonl", "fine-tune")
    importer("[fd00::1]:80").create("http://[fd00::1]/t", "t.jsonl", "fine-tune")
    assert [request.url.host for request in world.seen] == [PUBLIC, "fd00::1"]


def test_redirects_lead_to_listed_hosts_only(importer: Importer, world: World) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.headers["host"] == "files.example":
            return httpx.Response(302, headers={"location": "//other.example/there"})
        return httpx.Response(200, content=LINE)

    world.answer = answer
    with pytest.raises(PermissionDeniedError, match=r"other\.example"):
        importer("files.example").create("https://files.example/t", "t.jsonl", "fine-tune")
    assert len(world.seen) == 1
    importer("files.example", "other.example").create("https://files.example/t", "t.jsonl", "fine-tune")
    assert world.seen[-1].url.path == "/there"


def test_a_redirect_to_the_inside_is_refused(importer: Importer, world: World) -> None:
    world.answer = lambda _: httpx.Response(302, headers={"location": "http://169.254.169.254/latest"})
    with pytest.raises(PermissionDeniedError):
        importer("files.example").create("http://files.example/t", "t.jsonl", "fine-tune")


def test_redirects_come_to_an_end(importer: Importer, world: World) -> None:
    world.answer = lambda _: httpx.Response(302, headers={"location": "/again"})
    with pytest.raises(InvalidRequestError, match="redirects"):
        importer("files.example").create("http://files.example/t", "t.jsonl", "fine-tune")


def test_a_file_that_is_too_large(importer: Importer, world: World, settings: Settings) -> None:
    world.answer = lambda _: httpx.Response(200, content=iter([LINE] * 100))
    with pytest.raises(PayloadTooLargeError):
        importer("files.example", max_file_bytes=1000).create("http://files.example/t", "t.jsonl", "fine-tune")
    assert list(settings.blobs_dir.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("ftp://files.example/t", "http or https"),
        ("file:///etc/passwd", "http or https"),
        ("files.example/t", "http or https"),
        ("", "http or https"),
        ("http://[::1", "no URL"),
        ("https://user:secret@files.example/t", "password"),
        ("http://unknown.example/t", "not known"),
    ],
)
def test_urls_that_cannot_be_fetched(importer: Importer, url: str, word: str) -> None:
    with pytest.raises(InvalidRequestError, match=word):
        importer("files.example", "unknown.example").create(url, "t.jsonl", "fine-tune")


def _raise(error: Exception) -> Handler:
    def answer(_: httpx.Request) -> httpx.Response:
        raise error

    return answer


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (lambda _: httpx.Response(403), "status 403"),
        (_raise(httpx.ConnectTimeout("slow")), "cannot be reached"),
        (_raise(httpx.ConnectError("closed")), "cannot be reached"),
    ],
)
def test_a_host_that_does_not_give_the_file(importer: Importer, world: World, answer: Handler, word: str) -> None:
    world.answer = answer
    with pytest.raises(InvalidRequestError, match=word) as failed:
        importer("files.example").create("http://files.example/t", "t.jsonl", "fine-tune")
    assert failed.value.code == "fileImportFailed"


def test_the_setting_is_a_list_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_IMPORT_HOSTS", "files.example, 10.0.0.0/8,")
    assert Settings().import_hosts == ("files.example", "10.0.0.0/8")
