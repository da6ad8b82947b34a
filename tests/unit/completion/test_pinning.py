"""Weights that are pinned stay in memory, whatever else is asked for, until they are unpinned."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier.completion.engine import CompletionEngine
from luthier.completion.fake import FakeDecoder
from luthier.completion.sequence import Weights
from luthier.config import Settings
from luthier.errors import UnavailableError, WeightsError

PINNED, ADAPTER, BROKEN = Path("pinned"), Path("adapter"), Path("broken")
SECONDS = 10


class Loader:
    """Loads fakes, and keeps count."""

    def __init__(self) -> None:
        self.loaded: list[Path] = []
        self.decoders: dict[Path, FakeDecoder] = {}

    def __call__(self, folder: Path) -> FakeDecoder:
        if folder == BROKEN:
            raise WeightsError("The weights are damaged.")
        self.loaded.append(folder)
        self.decoders[folder] = FakeDecoder(missing=[BROKEN])
        return self.decoders[folder]


@pytest.fixture
def loader() -> Loader:
    return Loader()


@pytest.fixture
def engine(settings: Settings, loader: Loader) -> Iterator[CompletionEngine]:
    engine = CompletionEngine(settings, loader, max_bases=1)
    engine.start()
    yield engine
    engine.stop()


def use(engine: CompletionEngine, *folders: str) -> None:
    """Have each base in memory once, one after the other."""
    for folder in folders:
        engine.pin(Weights(Path(folder))).result(SECONDS)
        engine.unpin(Weights(Path(folder)))


def test_pinned_weights_outlast_those_that_come_and_go(engine: CompletionEngine, loader: Loader) -> None:
    engine.pin(Weights(PINNED)).result(SECONDS)
    use(engine, "a", "b", "a")
    engine.pin(Weights(PINNED)).result(SECONDS)
    assert loader.loaded == [PINNED, Path("a"), Path("b"), Path("a")]


def test_unpinned_weights_leave_memory(engine: CompletionEngine, loader: Loader) -> None:
    use(engine, "a", "a")
    assert loader.loaded == [Path("a"), Path("a")]


def test_each_pin_wants_its_own_unpin(engine: CompletionEngine, loader: Loader) -> None:
    for _ in range(2):
        engine.pin(Weights(PINNED)).result(SECONDS)
    engine.unpin(Weights(PINNED))
    engine.pin(Weights(PINNED)).result(SECONDS)
    assert loader.loaded == [PINNED]


def test_an_adapter_is_pinned_with_its_base(engine: CompletionEngine, loader: Loader) -> None:
    tuned = Weights(PINNED, ADAPTER)
    engine.pin(tuned).result(SECONDS)
    assert loader.decoders[PINNED].adapters == {ADAPTER: 1}
    engine.unpin(tuned)
    engine.pin(Weights(PINNED)).result(SECONDS)
    assert loader.loaded == [PINNED, PINNED]


@pytest.mark.parametrize("weights", [Weights(BROKEN), Weights(PINNED, BROKEN)])
def test_what_cannot_be_loaded_is_not_pinned(engine: CompletionEngine, weights: Weights) -> None:
    with pytest.raises(WeightsError):
        engine.pin(weights).result(SECONDS)
    use(engine, "a")
    assert engine.pin(Weights(Path("b"))).result(SECONDS) is None


def test_a_stopped_engine_pins_nothing(engine: CompletionEngine) -> None:
    engine.stop()
    with pytest.raises(UnavailableError, match="stopping"):
        engine.pin(Weights(PINNED)).result(SECONDS)
