"""Embeddings made in this process, and the cache before them."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from luthier.config import Settings
from luthier.errors import DataError, InvalidRequestError, NotFoundError
from luthier.modeling.bases import BaseStore
from luthier.modeling.encoder_card import EncoderWeights
from luthier.server.wiring import open_services
from luthier.services.embedder import Embedder, LongTexts
from luthier.services.embedding_cache import EmbeddingCache
from luthier.services.embeddings import EmbeddingRequest
from luthier.storage.db import Database
from luthier.storage.embeddings import EmbeddingStore
from luthier.testing import make_byte_vocabulary, make_tiny_encoder
from luthier.types import Floats

TEXTS = ["one", "two", "one", "and a longer one that the encoder reads in parts"]


@pytest.fixture
def named(settings: Settings, tiny_encoder: Path, tiny_base: Path) -> Settings:
    """Settings whose name `tiny` means the tiny encoder, which reads 32 tokens at once."""
    settings.home.mkdir(parents=True)
    aliases = f"[aliases]\ntiny = '{tiny_encoder.as_posix()}'\nwriter = '{tiny_base.as_posix()}'\n"
    settings.aliases_path.write_text(aliases, encoding="utf-8")
    make_byte_vocabulary(settings.models_dir)
    return settings


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The texts of each call that reached the engine."""
    calls: list[list[str]] = []
    real = Embedder._make

    def watched(self: Embedder, texts: list[str]) -> Floats:
        calls.append(list(texts))
        return real(self, texts)

    monkeypatch.setattr(Embedder, "_make", watched)
    return calls


def test_a_text_is_embedded_once_and_never_again(named: Settings, made: list[list[str]]) -> None:
    with Embedder(named, "tiny") as embed:
        first = embed(TEXTS)
        again = embed([*reversed(TEXTS), "new"])
    assert made == [["one", "two", TEXTS[3]], ["new"]]
    assert np.array_equal(first, again[3::-1])
    assert np.array_equal(first[0], first[2])
    assert np.linalg.norm(first, axis=1) == pytest.approx(np.ones(4), abs=1e-6)
    with Embedder(named, "tiny") as embed:  # as another run of a command would
        assert np.array_equal(embed(TEXTS), first)
    assert len(made) == 2


def test_without_the_cache_all_is_made(named: Settings, made: list[list[str]]) -> None:
    for _ in range(2):
        with Embedder(named, "tiny", cached=False) as embed:
            embed(["one"])
    assert made == [["one"], ["one"]]
    assert not (named.home / "luthier.db").exists()


def test_what_is_cached_needs_no_weights(named: Settings) -> None:
    with Embedder(named, "tiny") as embed:
        expected = embed(TEXTS)
    script = (
        "import sys; from pathlib import Path; from luthier.config import Settings;"
        "from luthier.services.embedder import Embedder\n"
        "with Embedder(Settings(home=Path(sys.argv[1])), 'tiny') as embed: vectors = embed(sys.argv[2:])\n"
        "assert 'torch' not in sys.modules; sys.stdout.buffer.write(vectors.tobytes())"
    )
    command = [sys.executable, "-c", script, str(named.home), *TEXTS]
    out = subprocess.run(command, capture_output=True, check=True).stdout
    assert out == expected.tobytes()


def test_another_revision_of_the_weights_is_another_model(
    named: Settings, tmp_path: Path, made: list[list[str]]
) -> None:
    folder = make_tiny_encoder(tmp_path / "own", seed=1)
    with Embedder(named, str(folder)) as embed:
        before = embed(["one"])
    make_tiny_encoder(folder, seed=2)
    with Embedder(named, str(folder)) as embed:
        after = embed(["one"])
    assert made == [["one"], ["one"]]
    assert float((before @ after.T)[0, 0]) < 0.99


def test_long_texts_as_asked_for(named: Settings) -> None:
    long = "x" * 30 + "y" * 15  # 30 bytes and two special tokens are read at once
    vectors = {}
    for how in LongTexts:
        with Embedder(named, "tiny", long_texts=how) as embed:
            vectors[how] = embed(["x" * 30])
            if how is LongTexts.REFUSE:
                with pytest.raises(DataError, match="Text 2 has 47 tokens, and the model reads 32 at once"):
                    embed(["x", long])
            else:
                vectors[how] = embed([long])
    with Embedder(named, "tiny") as embed:
        head, tail = embed(["x" * 30, "y" * 15])
    assert vectors[LongTexts.TRUNCATE][0] == pytest.approx(head, abs=2e-2)
    mean = (30 * head + 15 * tail) / np.linalg.norm(30 * head + 15 * tail)
    assert vectors[LongTexts.AVERAGE][0] == pytest.approx(mean, abs=2e-2)
    assert vectors[LongTexts.AVERAGE][0] != pytest.approx(head, abs=2e-2)  # the cache keeps the two apart


def test_refusals(named: Settings) -> None:
    with pytest.raises(InvalidRequestError, match="'writer' completes texts and makes no embeddings"):
        Embedder(named, "writer")
    with pytest.raises(NotFoundError, match=r"'tiyn' does not exist. Did you mean 'tiny'\?"):
        Embedder(named, "tiyn")
    with Embedder(named, "tiny") as embed, pytest.raises(DataError, match="Text 2 is empty"):
        embed(["a", " \n"])


def test_a_pulled_model_has_a_revision_of_its_own(settings: Settings, tiny_encoder: Path) -> None:
    base = BaseStore(settings).ensure(str(tiny_encoder))
    assert EncoderWeights.of(base) == EncoderWeights.of(BaseStore(settings).ensure(str(tiny_encoder)))
    assert len(EncoderWeights.of(base).revision) == 64


def test_the_server_keeps_embeddings_only_when_told_to(named: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def ask(settings: Settings, *texts: str) -> Floats:
        with open_services(settings) as services:
            engine = services.embeddings._engine
            real = engine.submit
            monkeypatch.setattr(engine, "submit", lambda *a, **k: asked.append(len(a[1])) or real(*a, **k))
            return asyncio.run(services.embeddings.create(EmbeddingRequest("tiny", texts))).vectors

    first = ask(named, *TEXTS)
    assert asked == [4]
    cached = named.model_copy(update={"embedding_cache": True})
    second = ask(cached, *TEXTS)
    third = ask(cached, *TEXTS, "new")
    assert asked == [4, 3, 1]
    assert np.array_equal(second, third[:4])
    assert second == pytest.approx(first, abs=2e-2)


@pytest.mark.parametrize("cached", [True, False])
def test_a_running_server_sees_other_weights_in_a_folder(named: Settings, tmp_path: Path, cached: bool) -> None:
    folder = make_tiny_encoder(tmp_path / "own", seed=1)

    def ask(text: str) -> Floats:
        return asyncio.run(services.embeddings.create(EmbeddingRequest(str(folder), (text,)))).vectors

    with open_services(named.model_copy(update={"embedding_cache": cached})) as services:
        ask("one")
        make_tiny_encoder(folder, seed=2)
        services.models._encoders.forget()  # as within a second
        now = ask("two")
    with Embedder(named, str(folder), cached=False) as embed:
        assert now == pytest.approx(embed(["two"]), abs=2e-2)


def test_look_tells_what_else_an_embedding_depends_on(settings: Settings) -> None:
    database = Database.open(settings)
    cache = EmbeddingCache(EmbeddingStore(database, 10))
    vectors = np.eye(2, dtype=np.float32)
    assert np.array_equal(cache.complete(cache.look("a", "1", ["x", "y"], ("query: ",)), vectors), vectors)
    assert cache.look("a", "1", ["x", "y"]).places == [0, 1]
    assert cache.look("a", "1", ["y", "x"], ("query: ",)).places == []
    assert np.array_equal(cache.complete(cache.look("a", "1", ["y", "y"], ("query: ",)), None), vectors[[1, 1]])
    database.close()


@pytest.mark.weights
def test_ten_thousand_texts_cost_one_pass(
    settings: Settings, encoder_folder: Callable[[str], Path], made: list[list[str]]
) -> None:
    folder = encoder_folder("text-embedding-3-small")
    texts = [f"text {at % 50}" for at in range(10_000)]
    with Embedder(settings, str(folder)) as embed:
        first = embed(texts)
        assert np.array_equal(embed(texts), first)
    assert [len(call) for call in made] == [50]
