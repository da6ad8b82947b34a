"""The embedding engine with a fake encoder whose vectors tell the text, and whose passes can be held up."""

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from luthier.config import Settings
from luthier.embedding.batcher import EmbeddingEngine
from luthier.errors import LuthierError, RateLimitError, UnavailableError, WeightsError
from luthier.modeling import cores
from luthier.modeling.encoder import SentenceEncoder, Vectors, load_encoder
from luthier.modeling.encoder_card import EncoderCard, EncoderWeights
from luthier.modeling.pieces import Overlong, Piece, PieceReader
from luthier.modeling.shelf import Shelf
from luthier.testing import make_tiny_encoder

FOLDER = Path("encoder")


class Reader(PieceReader):
    """Remembers what it has begun to read."""

    def __init__(self, card: EncoderCard) -> None:
        super().__init__(card)
        self.begun: queue.Queue[str] = queue.Queue()

    def read(self, texts: Sequence[str], prompt: str = "", overlong: Overlong = Overlong.SPLIT) -> list[list[Piece]]:
        self.begun.put(texts[0])
        return super().read(texts, prompt, overlong)


class Fake:
    """Implements what the engine asks of an encoder: a piece's vector is (bytes, first byte, 1, 0, …)."""

    def __init__(self, card: EncoderCard) -> None:
        self.card = card
        self.reader = Reader(card)
        self.passes: list[list[bytes]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def embed(self, pieces: Sequence[Piece]) -> Vectors:
        texts = [bytes(piece.ids[1:-1]) for piece in pieces]
        self.passes.append(texts)
        self.entered.set()
        assert self.gate.wait(10)
        if any(text.startswith(b"!") for text in texts):
            raise ValueError("cannot compute")
        vectors = np.zeros((len(pieces), self.card.dimensions), dtype=np.float32)
        vectors[:, :3] = [[len(text), text[0], 1] for text in texts]
        return vectors


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> EncoderCard:
    folder = make_tiny_encoder(tmp_path_factory.mktemp("encoders") / "tiny", max_tokens=12)
    return replace(EncoderCard.read(folder), normalizes=False)


@pytest.fixture
def fake(card: EncoderCard) -> Fake:
    return Fake(card)


@pytest.fixture(params=[1, 3], ids=["one pass at a time", "three side by side"])
def engine(fake: Fake, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[EmbeddingEngine]:
    def load(path: Path) -> SentenceEncoder:
        if path != FOLDER:
            raise WeightsError(f"{path} is empty")
        return fake  # type: ignore[return-value]

    settings = Settings(home=tmp_path, max_waiting=3, embedding_batch_tokens=64)
    made = EmbeddingEngine(settings, load, computers=request.param)
    made.start()
    yield made
    fake.gate.set()
    made.stop()


def ask(engine: EmbeddingEngine, *texts: str, **options: str) -> "Future[Vectors]":
    return engine.submit(EncoderWeights(FOLDER), list(texts), **options)  # type: ignore[arg-type]


def test_vectors_come_in_the_order_of_the_texts(engine: EmbeddingEngine) -> None:
    texts = ["b" * (1 + at * 7 % 9) for at in range(200)]
    vectors = ask(engine, *texts).result(10)
    assert vectors[:, 0].tolist() == [len(text) for text in texts]


def test_a_text_in_pieces_is_their_average_by_tokens(engine: EmbeddingEngine) -> None:
    vector = ask(engine, "a" * 10 + "c" * 5).result(10)[0]
    assert vector[:3] == pytest.approx([(10 * 10 + 5 * 5) / 15, (97 * 10 + 99 * 5) / 15, 1])
    assert engine.submit(EncoderWeights(FOLDER), ["a" * 15], overlong=Overlong.CUT).result(10)[0, 0] == 10


def test_a_prompt_stands_before_each_text(engine: EmbeddingEngine, fake: Fake) -> None:
    assert ask(engine, "x", prompt="q:").result(10)[0, 0] == 3
    assert fake.passes == [[b"q:x"]]


def test_callers_share_passes_and_a_huge_request_starves_nobody(engine: EmbeddingEngine, fake: Fake) -> None:
    fake.gate.clear()
    huge = ask(engine, *["h" * 10] * 500)
    assert fake.entered.wait(10)
    small = ask(engine, "s")
    ask(engine, "t")
    while fake.reader.begun.get(timeout=10) != "t":  # then "s" has been read, and waits with the others
        pass
    before = len(fake.passes)
    fake.gate.set()
    assert small.result(10)[0, 0] == 1
    served = next(at for at, texts in enumerate(fake.passes) if b"s" in texts)
    assert served <= before  # the very next pass
    assert len(fake.passes[served]) > 1
    assert not huge.done() or len(fake.passes) > 50
    assert huge.result(10).shape[0] == 500
    assert all(sum(len(text) + 2 for text in texts) <= 64 for texts in fake.passes)


def test_a_full_queue_is_told(engine: EmbeddingEngine, fake: Fake) -> None:
    fake.gate.clear()
    waiting = [ask(engine, "a") for _ in range(3)]
    with pytest.raises(RateLimitError, match="3 requests for embeddings are waiting"):
        ask(engine, "b")
    fake.gate.set()
    assert all(future.result(10).shape == (1, 32) for future in waiting)
    assert ask(engine, "b").result(10)[0, 1] == ord("b")


def test_a_cancelled_request_is_not_worked_on(engine: EmbeddingEngine, fake: Fake) -> None:
    fake.gate.clear()
    first = ask(engine, "a")
    assert fake.entered.wait(10)
    gone = ask(engine, *["g" * 10] * 100)
    assert gone.cancel()
    last = ask(engine, "z")
    fake.gate.set()
    assert last.result(10).shape == first.result(10).shape
    assert sum(b"g" * 10 in texts for texts in fake.passes) == 0
    with pytest.raises(CancelledError):
        gone.result(0)
    assert [ask(engine, "b").result(10)[0, 0] for _ in range(5)] == [1] * 5  # its place in the queue is free


def test_failures_reach_their_caller_alone(engine: EmbeddingEngine) -> None:
    with pytest.raises(WeightsError, match="is empty"):
        engine.submit(EncoderWeights(Path("nowhere")), ["a"]).result(10)
    with pytest.raises(LuthierError, match="could not compute these embeddings"):
        ask(engine, "!").result(10)
    assert ask(engine, "a").result(10)[0, 0] == 1


def test_a_tokenizer_that_fails_is_not_told_as_a_model_that_cannot_be_loaded(
    engine: EmbeddingEngine, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake.reader, "read", lambda *_: 1 / 0)
    with pytest.raises(LuthierError, match="could not read these texts"):
        ask(engine, "a").result(10)


def test_an_encoder_of_another_width_than_its_folder_says_stops_nobody_else(
    engine: EmbeddingEngine, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(fake, "embed", lambda pieces: np.zeros((len(pieces), 7), dtype=np.float32))
        for _ in range(4):  # more than there are threads
            with pytest.raises(LuthierError, match="could not compute these embeddings"):
                ask(engine, "a").result(10)
    assert ask(engine, "a").result(10)[0, 0] == 1


def test_a_stopped_engine_says_so(engine: EmbeddingEngine, fake: Fake) -> None:
    fake.gate.clear()
    unfinished = ask(engine, *["a" * 10] * 100)
    assert fake.entered.wait(10)
    threading.Timer(0.05, fake.gate.set).start()
    engine.stop()
    with pytest.raises(UnavailableError, match="stopping"):
        unfinished.result(10)
    with pytest.raises(UnavailableError, match="not making embeddings"):
        ask(engine, "a")


def test_encoders_stay_in_memory_until_evicted(card: EncoderCard, tmp_path: Path) -> None:
    loaded: list[Path] = []

    def load(path: Path) -> SentenceEncoder:
        loaded.append(path)
        return Fake(card)  # type: ignore[return-value]

    engine = EmbeddingEngine(Settings(home=tmp_path), load, max_encoders=1)
    engine.start()
    try:
        for folder in ("a", "a", "b", "a"):
            engine.submit(EncoderWeights(Path(folder)), ["x"]).result(10)
        assert loaded == [Path("a"), Path("b"), Path("a")]
        engine.evict(EncoderWeights(Path("a")))
        engine.submit(EncoderWeights(Path("a")), ["x"]).result(10)
        assert loaded[3:] == [Path("a")]
        engine.pin(EncoderWeights(Path("a"))).result(10)
        for folder in ("b", "c", "a"):
            engine.submit(EncoderWeights(Path(folder)), ["x"]).result(10)
        assert loaded[4:] == [Path("b"), Path("c")]  # "a" has stayed
        engine.unpin(EncoderWeights(Path("a")))
        engine.submit(EncoderWeights(Path("a")), ["x"]).result(10)
        assert loaded[6:] == [Path("a")]
    finally:
        engine.stop()


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The cores that each pass was given."""
    taken: list[int] = []
    monkeypatch.setattr(cores, "take", taken.append)
    return taken


def test_passes_share_out_the_cores(fake: Fake, tmp_path: Path, taken: list[int]) -> None:
    settings = Settings(home=tmp_path, embedding_batch_tokens=64)
    engine = EmbeddingEngine(settings, lambda _: fake, computers=4)  # type: ignore[arg-type,return-value]
    engine.start()
    try:
        assert ask(engine, "alone").result(10)[0, 0] == 5
        assert taken == [4]
        fake.gate.clear()
        many = ask(engine, *["m" * 10] * 40)  # eight passes of five
        while len(fake.passes) < 5:
            time.sleep(0.01)
        assert taken[1:] == [1] * 4
        fake.gate.set()
        assert many.result(10)[:, 0].tolist() == [10] * 40
    finally:
        fake.gate.set()
        engine.stop()


def test_what_is_too_little_for_all_cores_is_split(fake: Fake, tmp_path: Path) -> None:
    engine = EmbeddingEngine(Settings(home=tmp_path), lambda _: fake, computers=2)  # type: ignore[arg-type,return-value]
    engine.start()
    try:
        ask(engine, *["m" * 10] * 50).result(10)  # 600 tokens, where a pass takes 2,048
        assert sorted(map(len, fake.passes)) == [4, 21, 25]  # halves of what waits, but 256 tokens at least
    finally:
        engine.stop()


def test_cores_are_taken_by_one_thread_alone() -> None:
    ours = torch.get_num_threads()
    other = 1 if ours > 1 else 2
    seen: list[int] = []

    def compute() -> None:
        cores.take(other)
        seen.append(torch.get_num_threads())

    for target in (compute, lambda: seen.append(torch.get_num_threads())):
        thread = threading.Thread(target=target)
        thread.start()
        thread.join()
    if seen[0] == ours:
        pytest.skip("PyTorch computes without OpenMP, or with one core alone")
    assert seen == [other, ours]
    assert torch.get_num_threads() == ours


def test_a_pin_that_nobody_waits_for_any_more_holds_nobody_up(card: EncoderCard, tmp_path: Path) -> None:
    gate = threading.Event()
    loaded: list[Path] = []

    def load(path: Path) -> SentenceEncoder:
        loaded.append(path)
        assert gate.wait(10)
        return Fake(card)  # type: ignore[return-value]

    engine = EmbeddingEngine(Settings(home=tmp_path), load)
    engine.start()
    try:
        first = engine.submit(EncoderWeights(Path("a")), ["x"])
        while not loaded:
            time.sleep(0.01)
        assert engine.pin(EncoderWeights(Path("b"))).cancel()
        gate.set()
        first.result(10)
        engine.submit(EncoderWeights(Path("c")), ["x"]).result(10)
        assert loaded == [Path("a"), Path("c")]
    finally:
        engine.stop()


def test_encoders_are_left_alone_while_a_stopping_engine_still_loads_one(
    card: EncoderCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading, gate, evicted = threading.Event(), threading.Event(), list[bool]()

    def load(_: Path) -> SentenceEncoder:
        loading.set()
        assert gate.wait(10)
        loading.clear()
        return Fake(card)  # type: ignore[return-value]

    monkeypatch.setattr(Shelf, "evict", lambda *_: evicted.append(loading.is_set()))
    engine = EmbeddingEngine(Settings(home=tmp_path, max_waiting=1), load)
    engine.start()
    engine.submit(EncoderWeights(Path("a")), ["x"])
    assert loading.wait(10)
    stopping = threading.Thread(target=engine.stop)
    stopping.start()
    with suppress(UnavailableError):
        while True:  # until it has begun to stop
            with suppress(RateLimitError):
                engine.submit(EncoderWeights(Path("a")), ["x"])
    engine.evict(EncoderWeights(Path("a")))
    gate.set()
    stopping.join(10)
    assert evicted == [False]
    engine.evict(EncoderWeights(Path("a")))  # no thread is left to do it
    assert evicted == [False, False]


def test_a_real_encoder_gives_each_text_what_it_gives_alone(tmp_path: Path) -> None:
    folder = make_tiny_encoder(tmp_path / "tiny")
    engine = EmbeddingEngine(Settings(home=tmp_path, embedding_batch_tokens=40))
    engine.start()
    try:
        texts = [f"text {at} " * (at % 9 + 1) for at in range(30)]
        together = engine.submit(EncoderWeights(folder), texts, overlong=Overlong.CUT).result(30)
    finally:
        engine.stop()
    encoder = load_encoder(folder)
    for text, vector in zip(texts, together, strict=True):
        alone = encoder.embed(encoder.reader.read([text], overlong=Overlong.CUT)[0])[0]
        np.testing.assert_allclose(vector, alone, atol=2e-2)
