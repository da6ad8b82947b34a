"""Embeddings as a service: the shape of what comes back, cancelling, and weights that cannot be had."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from luthier.config import Settings
from luthier.embedding.batcher import EmbeddingEngine
from luthier.errors import InvalidRequestError, LuthierError, UnavailableError, WeightsError
from luthier.modeling.bases import BaseStore
from luthier.modeling.encoder_card import EncoderWeights
from luthier.services.embeddings import EmbeddingRequest, EmbeddingService, Vectors
from luthier.services.limits import counted
from luthier.services.models import ModelService
from luthier.storage.db import Database
from luthier.storage.models import TunedModelStore
from luthier.testing import make_byte_vocabulary


class Engine:
    """Answers (3, 4, 0, …) for each text, or what it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[EncoderWeights, list[str], str]] = []
        self.error: LuthierError | None = None
        self.silent = False
        self.future: Future[Vectors] = Future()

    def submit(self, weights: EncoderWeights, texts: list[str], *, prompt: str) -> "Future[Vectors]":
        self.asked.append((weights, texts, prompt))
        self.future = Future()
        if self.error:
            self.future.set_exception(self.error)
        elif not self.silent:
            vectors = np.zeros((len(texts), 32), dtype=np.float32)
            vectors[:, :2] = (3, 4)
            self.future.set_result(vectors)
        return self.future


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def make(
    settings: Settings, tiny_base: Path, tiny_encoder: Path, engine: Engine
) -> Iterator[Callable[..., EmbeddingService]]:
    database = Database.open(settings)

    def service(**changes: object) -> EmbeddingService:
        changed = settings.model_copy(update=changes)
        settings.home.mkdir(parents=True, exist_ok=True)
        aliases = f"[aliases]\ntiny = '{tiny_encoder.as_posix()}'\nwriter = '{tiny_base.as_posix()}'\n"
        aliases += "text-search-ada-query-001 = 'tiny'\n"
        settings.aliases_path.write_text(aliases, encoding="utf-8")
        make_byte_vocabulary(settings.models_dir)
        bases = BaseStore(changed)
        models = ModelService(changed, bases, bases.registry, TunedModelStore(database), lambda _: None)
        return EmbeddingService(changed, models, bases, engine)  # type: ignore[arg-type]

    yield service
    database.close()


def ask(service: EmbeddingService, *inputs: str | tuple[int, ...], model: str = "tiny", **fields: int) -> Vectors:
    return asyncio.run(service.create(EmbeddingRequest(model, inputs, **fields))).vectors


def test_embeddings_have_length_1(make: Callable[..., EmbeddingService]) -> None:
    vectors = ask(make(), "a", "b")
    assert vectors.shape == (2, 32)
    assert vectors.dtype == np.float32
    assert vectors[:, :2] == pytest.approx(np.array([[0.6, 0.8]] * 2))


def test_zeros_fill_a_wider_column(make: Callable[..., EmbeddingService]) -> None:
    service = make(embedding_width=1536)
    (vector,) = ask(service, "a")
    assert vector.shape == (1536,)
    assert vector[:3] == pytest.approx([0.6, 0.8, 0])
    assert not vector[32:].any()
    assert ask(service, "a", dimensions=1).tolist() == [[1]]
    assert ask(service, "a", dimensions=40).shape == (1, 40)
    with pytest.raises(InvalidRequestError, match="have 1536 numbers"):
        ask(service, "a", dimensions=1537)
    assert ask(make(embedding_width=8), "a").shape == (1, 32)


def test_prompts_and_newlines_as_the_name_asks(make: Callable[..., EmbeddingService], engine: Engine) -> None:
    service = make()
    ask(service, "a\nb", tuple(b"c\nd"))
    ask(service, "a\nb", model="text-search-ada-query-001")
    assert [asked[1:] for asked in engine.asked] == [(["a\nb", "c\nd"], ""), (["a b"], "query: ")]


def test_usage_counts_the_inputs_alone(make: Callable[..., EmbeddingService]) -> None:
    request = EmbeddingRequest("text-search-ada-query-001", ("a\nb", "cd"))
    assert asyncio.run(make().create(request)).prompt_tokens == 5


def test_tokens_count_towards_the_callers_limit(make: Callable[..., EmbeddingService]) -> None:
    reported: list[int] = []
    with counted(SimpleNamespace(report=reported.append)):  # type: ignore[arg-type]
        ask(make(), "abc", "de")
    assert reported == [5]


def test_a_model_that_writes_makes_no_embeddings(make: Callable[..., EmbeddingService]) -> None:
    with pytest.raises(InvalidRequestError, match="completes texts and makes no embeddings"):
        ask(make(), "a", model="writer")


def test_weights_that_cannot_be_loaded_are_not_there_now(make: Callable[..., EmbeddingService], engine: Engine) -> None:
    engine.error = WeightsError("They are torn.")
    with pytest.raises(UnavailableError, match=r"'tiny' cannot answer now: They are torn\.") as raised:
        ask(make(), "a")
    assert raised.value.code == "model_not_available"


def test_a_caller_who_goes_away_cancels_the_work(make: Callable[..., EmbeddingService], engine: Engine) -> None:
    engine.silent = True

    async def leave() -> None:
        task = asyncio.ensure_future(make().create(EmbeddingRequest("tiny", ("a",))))
        while not engine.asked:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(leave())
    assert engine.future.cancelled()


@pytest.mark.weights
def test_the_real_weights_know_what_is_near(settings: Settings, encoder_folder: Callable[[str], Path]) -> None:
    folder = encoder_folder("text-embedding-3-small")
    engine = EmbeddingEngine(settings)
    engine.start()
    try:
        beans, soup, toaster = engine.submit(
            EncoderWeights(folder), ["delicious beans", "a tasty bean soup", "a broken toaster"]
        ).result()
    finally:
        engine.stop()
    assert beans @ soup > beans @ toaster + 0.2
