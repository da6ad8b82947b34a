"""Pulling from a hub, against a small server that speaks its API."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from luthier.catalogue.entry import HubSource, Kind
from luthier.catalogue.pull import PullProgress, Stage
from luthier.catalogue.sources.folder import check, kind
from luthier.catalogue.sources.hub import fetch
from luthier.errors import WeightsError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SOURCE = HubSource("me/tiny")


class Hub:
    """One repository, `me/tiny`, at one commit.

    Args:
        files: content by path in the repository.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.asked: list[str] = []
        self.claimed_sha256: str | None = None
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.asked.append(self.path)
                path = self.path.partition("?")[0]
                resolve = f"/me/tiny/resolve/{COMMIT}/"
                if path in ("/api/models/me/tiny", "/api/models/me/tiny/revision/main"):
                    self.answer(200, json.dumps(hub.card()).encode())
                elif path.startswith("/api/models/me/tiny/revision/"):
                    self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
                elif path.startswith("/api/models/me/gated"):
                    self.answer(403, b"{}", {"X-Error-Code": "GatedRepo"})
                elif path.startswith(resolve) and path.removeprefix(resolve) in hub.files:
                    content = hub.files[path.removeprefix(resolve)]
                    etag = f'"{hashlib.sha256(content).hexdigest()}"'
                    self.answer(200, content, {"X-Repo-Commit": COMMIT, "ETag": etag})
                else:
                    self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

            do_HEAD = do_GET

            def answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Keep the tests' output clean."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def card(self) -> dict[str, object]:
        siblings = []
        for name, content in self.files.items():
            sibling: dict[str, object] = {"rfilename": name, "size": len(content)}
            if name.endswith(".safetensors"):
                sha256 = self.claimed_sha256 or hashlib.sha256(content).hexdigest()
                sibling["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 134}
            siblings.append(sibling)
        return {"id": "me/tiny", "sha": COMMIT, "siblings": siblings, "cardData": {"license": "mit"}}


@pytest.fixture
def hub(tiny_base: Path) -> Iterator[Hub]:
    files = {path.name: path.read_bytes() for path in tiny_base.iterdir()}
    unwanted = ["pytorch_model.bin", "modeling_evil.py", "README.md", "onnx/model.safetensors"]
    hub = Hub(files | dict.fromkeys(unwanted, b"not wanted") | {"LICENSE": b"be nice"})
    thread = threading.Thread(target=hub.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield hub
    hub.server.shutdown()
    hub.server.server_close()
    thread.join()


def test_weights_configuration_and_tokenizer_come_and_nothing_else(hub: Hub, tiny_base: Path, tmp_path: Path) -> None:
    heard: list[PullProgress] = []
    snapshot = fetch(SOURCE, tmp_path, heard.append, endpoint=hub.url)
    check(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in tiny_base.iterdir()} | {"LICENSE"}
    weights = (tiny_base / "model.safetensors").read_bytes()
    assert (tmp_path / "model.safetensors").read_bytes() == weights
    assert (snapshot.commit, snapshot.license) == (COMMIT, "mit")
    assert snapshot.sha256 == {"model.safetensors": hashlib.sha256(weights).hexdigest()}
    assert not any("evil" in path or ".bin" in path for path in hub.asked)
    downloads = [news for news in heard if news.stage is Stage.DOWNLOAD]
    assert downloads[-1].done == downloads[-1].total == sum(p.stat().st_size for p in tmp_path.iterdir())


def test_a_sentence_encoder_comes_with_its_modules(hub: Hub, tiny_encoder: Path, tmp_path: Path) -> None:
    files = {path.relative_to(tiny_encoder).as_posix(): path for path in tiny_encoder.rglob("*") if path.is_file()}
    hub.files = {name: path.read_bytes() for name, path in files.items()}
    hub.files |= dict.fromkeys(["openvino/model.xml", "1_Pooling/pytorch_model.bin", "onnx/config.json"], b"not wanted")
    fetch(SOURCE, tmp_path, lambda _: None, endpoint=hub.url)
    check(tmp_path)
    assert kind(tmp_path) is Kind.EMBEDDING
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()} == set(files)


def test_a_revision_can_be_named(hub: Hub, tmp_path: Path) -> None:
    assert fetch(HubSource("me/tiny", "main"), tmp_path, print, endpoint=hub.url).commit == COMMIT


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (HubSource("me/tiny", "v9"), "me/tiny has no revision v9"),
        (HubSource("me/nothing"), "The hub knows no me/nothing, or it is private"),
        (HubSource("me/gated"), "accept its terms on the hub's page and set HF_TOKEN"),
    ],
)
def test_what_the_hub_does_not_give_is_told(hub: Hub, tmp_path: Path, source: HubSource, words: str) -> None:
    with pytest.raises(WeightsError, match=words):
        fetch(source, tmp_path, print, endpoint=hub.url)


def test_a_hub_that_cannot_be_reached_is_told(hub: Hub, tmp_path: Path) -> None:
    hub.server.server_close()
    with pytest.raises(WeightsError, match=r"could not be downloaded.*HF_ENDPOINT"):
        fetch(SOURCE, tmp_path, print, endpoint="http://127.0.0.1:9")


def test_a_repository_of_pickles_is_refused_before_anything_is_downloaded(hub: Hub, tmp_path: Path) -> None:
    del hub.files["model.safetensors"]
    with pytest.raises(WeightsError, match=r"hf:me/tiny has its weights as pickles only \(pytorch_model\.bin\)"):
        fetch(SOURCE, tmp_path, print, endpoint=hub.url)
    assert not any("resolve" in path for path in hub.asked)


def test_a_repository_without_a_tokenizer_is_refused(hub: Hub, tmp_path: Path) -> None:
    del hub.files["tokenizer.json"]
    with pytest.raises(WeightsError, match=r"has no tokenizer\.json"):
        fetch(SOURCE, tmp_path, print, endpoint=hub.url)


def test_weights_that_are_not_the_hubs_are_refused(hub: Hub, tmp_path: Path) -> None:
    hub.claimed_sha256 = "0" * 64
    with pytest.raises(WeightsError, match=f"expected {'0' * 64}"):
        fetch(SOURCE, tmp_path, print, endpoint=hub.url)
