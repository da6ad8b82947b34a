"""Embedding through a server: ours over a socket, and any other that speaks the API."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract_helpers import Server

from luthier.cli import remote_embedder
from luthier.cli.remote_embedder import RemoteEmbedder
from luthier.config import Settings
from luthier.errors import DataError, LuthierError
from luthier.services.embedder import LongTexts
from luthier.testing import make_byte_vocabulary
from luthier.toolkit.frame import read_frame
from luthier.toolkit.obtain import obtain

MODEL = "text-embedding-ada-002"


class Other:
    """A server of somebody else's: remembers the bodies, answers with lists of floats, or as it is told."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.script: list[tuple[int, Any]] = []  # the next answers
        self.url = ""

    def answer(self, body: dict[str, Any]) -> tuple[int, Any]:
        if self.script:
            return self.script.pop(0)
        vectors = [[float(len(text)), 1.0, text.count("y")] for text in body["input"]]
        data = [{"index": at, "embedding": vector} for at, vector in enumerate(vectors)]
        return 200, {"data": data[::-1]}  # the index tells the order

    @property
    def texts(self) -> list[str]:
        return [text for body in self.bodies for text in body["input"]]


@pytest.fixture
def other() -> Iterator[Other]:
    made, lock = Other(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                made.bodies.append(body)
                made.keys.append(self.headers["Authorization"])
                status, answer = made.answer(body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        made.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
        yield made
        http.shutdown()
        thread.join()


@pytest.fixture
def home(settings: Settings) -> Settings:
    make_byte_vocabulary(settings.models_dir)
    return settings


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between attempts, not waited."""
    waits: list[float] = []
    monkeypatch.setattr(remote_embedder.time, "sleep", waits.append)
    return waits


def expected(*texts: str) -> Any:
    vectors = np.array([[len(text), 1.0, text.count("y")] for text in texts])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_a_file_through_our_own_server(server: Server, home: Settings, tmp_path: Path) -> None:
    source, output = tmp_path / "r.csv", tmp_path / "o.parquet"
    source.write_text("Text\n" + "".join(f"text number {at}\n" for at in range(1500)), encoding="utf-8")
    with RemoteEmbedder(home, MODEL, server.url) as embed:
        result = obtain(source, output, "Text", embed, model=MODEL, made_by={"revision": embed.revision})
        once = embed(["text number 7"])
    vectors = read_frame(output).vectors
    assert (result.n_embedded, vectors.shape) == (1500, (1500, 32))
    assert np.array_equal(vectors[7], once[0])
    answer = server.call("POST", "embeddings", json={"model": MODEL, "input": ["text number 7", "text number 1499"]})
    theirs = [item["embedding"] for item in answer.json()["data"]]
    assert vectors[[7, 1499]] == pytest.approx(np.array(theirs), abs=2e-2)


def test_any_server_of_the_api(other: Other, home: Settings) -> None:
    texts = [f"text {at}" for at in range(600)] + ["text 0"]
    with RemoteEmbedder(home, "a-model", other.url.removesuffix("/v1"), "sk-key") as embed:
        assert embed(texts) == pytest.approx(expected(*texts), abs=1e-6)
        embed(texts)
    assert sorted(other.texts) == sorted(texts[:600])  # each once, and never again
    assert sorted(len(body["input"]) for body in other.bodies) == [88, 256, 256]  # several requests at once
    assert {body["model"] for body in other.bodies} == {"a-model"}
    assert set(other.keys) == {"Bearer sk-key"}


def test_a_request_is_bounded_by_its_bytes(other: Other, home: Settings) -> None:
    texts = [f"{at}" + "é" * 30_000 for at in range(10)]
    with RemoteEmbedder(home, "a-model", other.url, limit=100_000, cached=False) as embed:
        embed(texts)
    assert sorted(len(body["input"]) for body in other.bodies) == [2, 4, 4]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(other: Other, home: Settings, quick: list[float], status: int) -> None:
    other.script = [(status, {"error": {"message": "Slow down."}})] * 3
    with RemoteEmbedder(home, "a-model", other.url, cached=False) as embed:
        assert embed(["ab"]) == pytest.approx(expected("ab"), abs=1e-6)
    assert len(other.bodies) == 4
    assert quick == sorted(quick)
    assert quick[0] >= 1


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, {"error": {"message": "Incorrect API key."}}, "Incorrect API key"),
        (429, {"error": {"message": "No money.", "code": "insufficient_quota"}}, "No money"),
        (200, {"data": []}, "no list of embeddings"),
        (200, {"data": [{"index": 0, "embedding": [1.0]}] * 2}, "gave 2 embeddings for 1 texts"),
        (200, {"data": [{"index": 0, "embedding": ["x"]}]}, "no list of embeddings"),
        (200, {"hello": 1}, "no list of embeddings"),
    ],
)
def test_a_refusal_is_told_at_once(
    other: Other, home: Settings, quick: list[float], status: int, body: Any, said: str
) -> None:
    other.script = [(status, body)]
    with RemoteEmbedder(home, "a-model", other.url) as embed, pytest.raises(LuthierError, match=said):
        embed(["a"])
    assert len(other.bodies) == 1
    assert quick == []


def test_no_server(home: Settings, quick: list[float]) -> None:
    with RemoteEmbedder(home, "m", "http://127.0.0.1:9/v1") as embed, pytest.raises(LuthierError, match="No server"):
        embed(["a"])
    assert quick == []


def test_long_texts_are_cut_here(other: Other, home: Settings) -> None:
    long = "x" * 10 + "y" * 5  # a token is a byte
    with RemoteEmbedder(home, "m", other.url, limit=10) as embed:
        head, tail = expected("x" * 10, "y" * 5)
        mean = (10 * head + 5 * tail) / np.linalg.norm(10 * head + 5 * tail)
        assert embed(["a", long, "b"]) == pytest.approx(np.array([*expected("a"), mean, *expected("b")]), abs=1e-6)
    with RemoteEmbedder(home, "m", other.url, long_texts=LongTexts.TRUNCATE, limit=10) as embed:
        assert embed([long]) == pytest.approx(expected("x" * 10), abs=1e-6)
        embed(["é" * 8])
        assert other.texts[-1] == "é" * 5
    with RemoteEmbedder(home, "m", other.url, limit=1) as embed:
        with pytest.raises(DataError, match="A limit of 1 tokens cuts within characters"):
            embed(["é"])
        assert embed(["xé"]) == pytest.approx(expected("x"), abs=1e-6)
    with RemoteEmbedder(home, "m", other.url, long_texts=LongTexts.REFUSE, limit=10) as embed:
        embed(["x" * 10])
        with pytest.raises(DataError, match="Text 2 has 15 tokens, and the model reads 10 at once"):
            embed(["a", long])
        with pytest.raises(DataError, match="Row 8 has 15 tokens"):
            embed.check([long], [7])
