"""The embedding engine behind HTTP while its passes are held up: a full queue, callers who leave, a huge request."""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from contract_helpers import Server, serve

from luthier.config import Settings
from luthier.modeling.encoder import SentenceEncoder, Vectors
from luthier.modeling.pieces import Piece
from luthier.testing import make_byte_vocabulary

ENDPOINT = "POST /v1/embeddings"
MODEL = "tiny"
BUDGET = 256  # tokens of a pass; a token is a byte, and each text has two special ones


class Gate:
    """Holds up the passes of the encoder, and remembers their texts."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Event()
        self.passes: list[list[bytes]] = []

    def hold(self, real: Callable[..., Vectors]) -> Callable[..., Vectors]:
        def embed(encoder: SentenceEncoder, pieces: Sequence[Piece]) -> Vectors:
            self.passes.append([bytes(piece.ids[1:-1]) for piece in pieces])
            self.entered.set()
            assert self.open.wait(60)
            return real(encoder, pieces)

        return embed


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    made = Gate()
    monkeypatch.setattr(SentenceEncoder, "embed", made.hold(SentenceEncoder.embed))
    yield made
    made.open.set()


@pytest.fixture
def held(gate: Gate, settings: Settings, tiny_encoder: Path) -> Iterator[Server]:
    """A server that takes two requests for embeddings at a time."""
    settings.home.mkdir(parents=True)
    settings.aliases_path.write_text(f"[aliases]\n{MODEL} = '{tiny_encoder.as_posix()}'\n", encoding="utf-8")
    make_byte_vocabulary(settings.models_dir)
    with serve(settings.model_copy(update={"max_waiting": 2, "embedding_batch_tokens": BUDGET})) as running:
        yield running
        gate.open.set()


def ask(server: Server, *texts: str) -> httpx.Response:
    return server.call("POST", "embeddings", json={"model": MODEL, "input": list(texts)})


def leave(server: Server, text: str) -> None:
    """Send a request and close the connection without waiting for its answer."""
    url = urlsplit(server.url)
    body = f'{{"model": "{MODEL}", "input": "{text}"}}'.encode()
    head = (
        f"POST {url.path}/embeddings HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((url.hostname, url.port)) as connection:
        connection.sendall(head.encode() + body)
        time.sleep(0.5)  # the request is in the queue


def wait_for(answer: Callable[[], httpx.Response], status: int) -> httpx.Response:
    deadline = time.monotonic() + 20
    while (got := answer()).status_code != status:
        assert time.monotonic() < deadline, got.text
        time.sleep(0.05)
    return got


@pytest.mark.contract(ENDPOINT, "", "honoured")
def test_a_full_queue_is_429_and_a_caller_who_leaves_makes_room(held: Server, gate: Gate) -> None:
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(ask, held, "first")
        assert gate.entered.wait(20)
        done, waiting = wait([pool.submit(ask, held, text) for text in ("second", "third")], 20, FIRST_COMPLETED)
        refused = done.pop().result()  # one of them has the last place, the other is one too many
        assert refused.status_code == 429
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert "LUTHIER_MAX_WAITING" in refused.json()["error"]["message"]
        assert float(refused.headers["Retry-After"]) > 0
        gate.open.set()
        assert [first.result(20).status_code, waiting.pop().result(20).status_code] == [200, 200]
    assert ask(held, "fourth").status_code == 200


@pytest.mark.contract(ENDPOINT, "", "honoured")
def test_a_caller_who_leaves_is_not_worked_for(held: Server, gate: Gate) -> None:
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, held, "first")
        assert gate.entered.wait(20)
        leave(held, "gone")
        last = pool.submit(wait_for, lambda: ask(held, "last"), 200)  # as soon as the second place is free again
        time.sleep(1)
        gate.open.set()
        assert [first.result(20).status_code, last.result(20).status_code] == [200, 200]
    assert [text for texts in gate.passes for text in texts] == [b"first", b"last"]


@pytest.mark.contract(ENDPOINT, "", "honoured")
def test_a_huge_request_lets_a_small_one_through(held: Server, gate: Gate) -> None:
    with ThreadPoolExecutor(2) as pool:
        huge = pool.submit(ask, held, *["h" * 20] * 2000)
        assert gate.entered.wait(20)
        small = pool.submit(ask, held, "small")
        time.sleep(1)  # it is read while the pass is held up
        before = len(gate.passes)
        gate.open.set()
        assert small.result(30).status_code == 200
        assert huge.result(60).status_code == 200
    served = next(at for at, texts in enumerate(gate.passes) if b"small" in texts)
    assert served <= before + 1
    assert len(gate.passes) > 150
    assert len(gate.passes[served]) > 1  # in one pass with texts of the other
    assert all(sum(len(text) + 2 for text in texts) <= BUDGET for texts in gate.passes)


def test_texts_of_like_length_go_together(held: Server, gate: Gate) -> None:
    gate.open.set()
    texts = ["x" * (1 + at * 7 % 30) for at in range(64)]
    assert ask(held, *texts).status_code == 200
    spread = [max(map(len, some)) - min(map(len, some)) for some in gate.passes]
    assert sum(spread) / len(spread) < 12  # in the request's own order it would be about 25
